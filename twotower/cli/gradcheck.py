"""``twotower gradcheck``: engine, textbook and finite differences on your own batch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from twotower.cli.subject_options import refuse_options, subject_options
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from twotower.lab.subject import Subject


@click.command()
@subject_options
@click.option("--pairs", type=int, metavar="N",
              help="Pairs of the batch to check, taken evenly from all groups.  [default: 256, or 8 per group if more]")
@click.option("--break", "bug", is_flag=False, flag_value="", metavar="[NAME]",
              help="Lesson: plant a known bug and see it caught. Without NAME: list the bugs.")
@click.option("--all", "everything", is_flag=True, help="Show a row for every block, even for groups that agree.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of tables.")  # fmt: skip
def gradcheck(
    subject: "Callable[[Progress], Subject]", pairs: int | None, bug: str | None, everything: bool, as_json: bool
) -> None:
    """Check every gradient against finite differences, on your own data.

    Compares, for each block of weights, a central difference of the loss in float64, the textbook's gradient
    (model/reference.py, float64) and the one used in training (model/two_tower.py, float32). Also checks three
    steps of Adam against its formula, and that a head gets exactly 0 from the rows of other groups.

    The exit code is 1 if anything disagrees or, with --break, if the bug is not caught.

    \b
    Example:
      twotower gradcheck world
      twotower gradcheck runs/001-mtl-4-upsampled --batch 3
      twotower gradcheck world --break batchnorm-mean
    """
    from twotower.core.serialisation import json_text
    from twotower.lab.gradcheck.checks import check
    from twotower.lab.gradcheck.planted_bugs import PLANTED, known_bug
    from twotower.lab.gradcheck.tables import print_bugs, print_gradcheck
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    context = click.get_current_context()
    if bug == "":
        others = {str(p.name) for p in context.command.params} - {"bug", "source"}
        refuse_options(others, "with --break alone, which lists the bugs; expected --break NAME")
        print_bugs(stdout_console(), ((each.name, each.sentence) for each in PLANTED.values()))
        return
    if as_json:
        refuse_options(["everything"], "with --json, which has every block")
    planted = None if bug is None else known_bug(bug)
    with show_progress() as progress:
        record = check(subject(progress), pairs, planted, progress)
    if as_json:
        click.echo(json_text(record))
    else:
        print_gradcheck(record, stdout_console(), everything)
    context.exit(0 if record["agrees"] == (planted is None) else 1)
