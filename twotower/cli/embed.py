"""``twotower embed``"""

from pathlib import Path
from shlex import quote
from typing import Any

import click

from twotower.core.presets import DEFAULT_GROUPS

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("directory", default="world", type=FILE, metavar="[DIR]")
@click.option(
    "--user-dims",
    type=click.IntRange(min=0),
    metavar="N",
    help="Columns from the SVD of the history, for users and for titles.  [default: 192]",
)
@click.option(
    "--history-power",
    type=float,
    metavar="P",
    help="Exponent of that SVD's singular values: larger ones let users share more.  [default: 3]",
)
@click.option(
    "--territory-onehot/--no-territory-onehot",
    default=None,
    help="A column for each territory in the user vectors.  [default: yes]",
)
@click.option("--profile", multiple=True, metavar="COL", help="A user column to be one-hot; may be repeated.")
@click.option(
    "--text",
    multiple=True,
    metavar="COL",
    help="A title column of words; may be repeated.  [default: all that are not categorical]",
)
@click.option(
    "--text-dims",
    default=256,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Columns from the SVD of the words' TF-IDF.",
)
@click.option("--categorical", multiple=True, metavar="COL", help="A title column to be one-hot; may be repeated.")
@click.option(
    "--title-side/--no-title-side",
    default=None,
    help="The titles' side of the history in the title vectors.  [default: yes]",
)
@click.option("--user-vectors", type=FILE, metavar="FILE", help="Own user vectors: .npy, or Parquet or CSV with ids.")
@click.option("--title-vectors", type=FILE, metavar="FILE", help="Own title vectors, likewise.")
@click.option(
    "--basis-from",
    type=FILE,
    metavar="DATASET",
    help="Make them as those of DATASET were made, in the same columns, for a run that was trained on it.",
)
@click.option("--overwrite", is_flag=True, help="Replace vectors that the dataset has.")
def embed(directory: Path, basis_from: Path | None, overwrite: bool, **options: Any) -> None:
    """Make user and title vectors where none exist.

    Users are described by their history, which no label is made of, and by their territory and profile; titles
    by their text and categories, and by the history of their users. Own vectors take the place of all that is
    made by default; what is asked for besides is put beside them.

    With --basis-from yesterday's model can score today's users: their histories are projected onto the factors that
    DATASET keeps, titles get its words, categories and history, and what it does not know has zeros.

    \b
    Example:
      twotower embed shop
      twotower embed film --profile age --categorical genre --text synopsis
      twotower embed film --user-vectors users.parquet --title-vectors bert.npy --categorical genre
      twotower embed today --basis-from shop
    """
    from twotower.cli.config_options import given_options
    from twotower.cli.summaries.features import print_vectors
    from twotower.core.no_effect import refuse_no_effect
    from twotower.data.features.embed import EmbedConfig
    from twotower.data.features.embed import embed as make
    from twotower.data.features.projection import embed_like
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console
    from twotower.training.job import known_groups

    own = {name: options[name] for name in ("user_vectors", "title_vectors")}
    if basis_from is not None:
        refuse_no_effect("embed", given_options(), {**options, "basis_from": basis_from})
        with show_progress() as progress:
            summary = embed_like(directory, basis_from, **own, progress=progress, overwrite=overwrite)
        print_vectors(stdout_console(), summary)
        click.echo(f"Vectors saved to {directory}. Next: twotower recommend RUN {quote(str(directory))}")
        return
    with show_progress() as progress:
        summary = make(directory, EmbedConfig(**options), progress, overwrite)
    print_vectors(stdout_console(), summary)
    groups = known_groups(directory) or min(DEFAULT_GROUPS, summary.n_territories)
    heads = f" --mtl --groups {groups}" if groups > 1 else ""
    click.echo(f"Vectors saved to {directory}. Next: twotower train {quote(str(directory))}{heads}")
