"""``twotower export``: a run's weights → embeddings of users and titles, for serving."""

from pathlib import Path

import click

from twotower.cli.config_options import given_options
from twotower.cli.user_options import chosen_users, user_options
from twotower.core.formatting import counted


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Directory to write to.")
@user_options
@click.option("--onnx", is_flag=True, help="Add the network as ONNX graphs (pip install 'twotower[onnx]').")
@click.option("--ann", is_flag=True, help="Add a nearest-neighbour index of the titles (pip install 'twotower[ann]').")
@click.option(
    "--min-recall", type=click.FloatRange(0, 1), metavar="R", default=0.95, show_default=True,
    help="Of --ann: refuse an index that brings a smaller share of the ten best titles.",
)
@click.option(
    "--candidates", type=click.IntRange(1), metavar="N",
    help="Of --ann: titles that the index brings per user before exact ranking.  [default: as few as the recall needs]",
)
@click.option("--changed-since", "since", metavar="DAY",
              help="Of a run with days: only users who are new or watched after DAY, and a list of the titles that are "
                   "new or newly available. Embeddings of all titles: learning moves each.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an export in FOLDER.")
def export(
    run: Path,
    directory: Path | None,
    out: Path,
    territories: tuple[str, ...],
    file: Path | None,
    unknown_territory: str,
    onnx: bool,
    ann: bool,
    min_recall: float,
    candidates: int | None,
    since: str | None,
    overwrite: bool,
) -> None:
    """Write user and title embeddings for scoring elsewhere.

    Writes users.npy (n, D), titles.npy (T, D) and bias.npy (C, T) to FOLDER, with the ids of their rows as CSV.
    The score users[u] · titles[t] + bias[territory of u, t] is the model's logit. Users are those of DIR, by
    default the dataset that RUN was trained on.

    A run with memory adds the part of users' histories: memory.npy, history.npz, cosines.npz, profiles.npy and
    factors.npy, which the formula in manifest.json puts together.

    --onnx adds user.onnx, title.onnx and score.onnx (and memory.onnx), which score users and titles that are not in
    the arrays from their features.

    --ann adds index.voy, which finds candidates for users without scoring every title, and available.npy (C, T). It
    measures how many of the best titles it finds, and how fast, beside exact ranking.

    \b
    Example:
      twotower export runs/001-mtl-4-upsampled --out embeddings
      twotower export runs/001-mtl-4-upsampled --onnx --ann --out model
      twotower export runs/001-mtl-4-upsampled shop --users newcomers.txt --out newcomers
    """
    from twotower.core.no_effect import refuse_no_effect
    from twotower.report.progress import show_progress
    from twotower.serving.export import IndexOptions
    from twotower.serving.export import export as write_embeddings
    from twotower.training.days import served

    options = {"ann": ann, "min_recall": min_recall, "candidates": candidates}
    refuse_no_effect("export", given_options(), options)
    run, dataset = served(run, directory)
    users = chosen_users(run, dataset, territories, file, unknown_territory)
    index = IndexOptions(min_recall, candidates) if ann else None
    with show_progress() as progress:
        exported = write_embeddings(
            run, dataset, out, users, overwrite, progress, unknown_territory, onnx, index, since
        )
    rows = f"{counted(exported.users, 'user')} and {counted(exported.titles, 'title')}"
    click.echo(f"Embeddings of {rows}, {counted(exported.width, 'number')} each, saved to {out}.")
    if onnx:
        click.echo("The network as ONNX graphs beside them: docs/how-to/serve.md says what they take.")
    if exported.nearest:
        click.echo(exported.nearest.summary())
