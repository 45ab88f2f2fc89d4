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
    help="Columns from the SVD of the watch history, for users and for titles.  [default: 192]",
)
@click.option(
    "--history-power",
    type=float,
    metavar="P",
    help="Exponent of the singular values: the larger, the more alike users who share titles become.  [default: 3]",
)
@click.option(
    "--weighting",
    type=click.Choice(["auto", "degree", "regularised", "bm25", "idf", "none"]),
    help="How counts of the history are weighted before the SVD; auto: by held-out titles.  [default: auto]",
)
@click.option(
    "--popularity/--no-popularity",
    default=None,
    help="Add columns of each title's share of viewers by territory, and of the length of histories.  [default: yes]",
)
@click.option(
    "--territory-onehot/--no-territory-onehot",
    default=None,
    help="Add one column per territory to the user vectors.  [default: yes]",
)
@click.option("--profile", multiple=True, metavar="COL", help="One-hot encode a user column; repeatable.")
@click.option(
    "--text",
    multiple=True,
    metavar="COL",
    help="A title column of text; repeatable.  [default: all that are not --categorical]",
)
@click.option(
    "--text-dims",
    default=256,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Columns from the SVD of the words' TF-IDF.",
)
@click.option("--categorical", multiple=True, metavar="COL", help="One-hot encode a title column; repeatable.")
@click.option(
    "--title-side/--no-title-side",
    default=None,
    help="Add columns from the SVD of the watch history to the title vectors.  [default: yes]",
)
@click.option(
    "--user-vectors", type=FILE, metavar="FILE", help="Your own user vectors: .npy, or Parquet or CSV with ids."
)
@click.option("--title-vectors", type=FILE, metavar="FILE", help="Your own title vectors, in the same formats.")
@click.option(
    "--basis-from",
    type=FILE,
    metavar="DATASET",
    help="Project onto the basis of DATASET's vectors, for use with a run trained on DATASET.",
)
@click.option("--overwrite", is_flag=True, help="Replace the vectors that DIR already has.")
def embed(directory: Path, basis_from: Path | None, overwrite: bool, **options: Any) -> None:
    """Build user and title vectors from a dataset.

    Users are described by their history (what they watched before the training days), territory and profile; titles
    by their text, their categories and who watched them. Your own vectors replace all this; other options, given
    explicitly, then add columns to them.

    With --basis-from, yesterday's model can score today's users: histories are projected onto DATASET's factors, and
    titles get columns for DATASET's words, categories and history. Whatever DATASET does not know becomes 0.

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
    from twotower.data.features.projection import embed_with_basis
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console
    from twotower.training.job import known_groups

    own = {name: options[name] for name in ("user_vectors", "title_vectors")}
    if basis_from is not None:
        refuse_no_effect("embed", given_options(), {**options, "basis_from": basis_from})
        with show_progress() as progress:
            summary = embed_with_basis(directory, basis_from, **own, progress=progress, overwrite=overwrite)
        print_vectors(stdout_console(), summary)
        saved = f"Vectors saved to {directory}, with the basis of {basis_from}."
        click.echo(f"{saved} Next: twotower recommend RUN {quote(str(directory))}")
        return
    with show_progress() as progress:
        summary = make(directory, EmbedConfig(**options), progress, overwrite)
    print_vectors(stdout_console(), summary)
    groups = known_groups(directory) or min(DEFAULT_GROUPS, summary.n_territories)
    heads = f" --mtl --groups {groups}" if groups > 1 else ""
    click.echo(f"Vectors saved to {directory}. Next: twotower train {quote(str(directory))}{heads}")
