"""``twotower explain``: a run, a user and a title → the parts of the score."""

from pathlib import Path

import click

from twotower.cli.lab_output import json_option, show


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--user", required=True, metavar="U", help="Id of the user, or # and a row number, as in '#17'.")
@click.option("--title", required=True, metavar="T", help="Id of the title, or # and a row number in titles.csv.")
@click.option("--dataset", "directory", type=click.Path(path_type=Path), metavar="DIR",
              help="Dataset with users and titles.  [default: the run's]")
@click.option("--top", type=click.IntRange(1), metavar="N", default=5, show_default=True,
              help="How many to show: titles per head, and of the user's history.")  # fmt: skip
@json_option
def explain(run: Path, user: str, title: str, directory: Path | None, top: int, as_json: bool) -> None:
    """Explain the score of a title for a user.

    Splits the logit into its terms: user times title, what the head of the user's group adds, memory;
    and the biases. Then scores the user under every other head, as if the user lived in the largest territory of
    that head's group, and shows the titles whose scores change most.

    \b
    Example:
      twotower explain runs/001-mtl-4-upsampled --user 0 --title 'Velvet Republic'
      twotower explain runs/001-mtl-4-upsampled --user '#17' --title '#3' --json
    """
    from twotower.lab.explain.explanation import explain as explain_score
    from twotower.lab.explain.tables import print_explanation
    from twotower.training.days import served

    run, dataset = served(run, directory)
    show(lambda progress: explain_score(run, dataset, user, title, top, progress), as_json, print_explanation)
