"""``twotower export``: a run's weights → embeddings of users and titles, for serving."""

from pathlib import Path

import click

from twotower.cli.user_options import chosen_users, user_options
from twotower.core.formatting import counted


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Directory to write to.")
@user_options
@click.option("--onnx", is_flag=True, help="Add the network as ONNX graphs (pip install 'twotower[onnx]').")
@click.option("--changed-since", "since", metavar="DAY",
              help="Only users who are new or watched after DAY, of a run with days; all titles.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an export in FOLDER.")
def export(
    run: Path,
    directory: Path | None,
    out: Path,
    territories: tuple[str, ...],
    file: Path | None,
    unknown_territory: str,
    onnx: bool,
    since: str | None,
    overwrite: bool,
) -> None:
    """Write user and title embeddings for scoring elsewhere.

    Writes users.npy (n, D), titles.npy (T, D) and bias.npy (C, T) to FOLDER, with the ids of their rows as CSV.
    The score users[u] · titles[t] + bias[territory of u, t] is the model's logit. Users are those of DIR, by
    default the dataset that RUN was trained on. To build a nearest-neighbour index for a territory, append its row
    of bias.npy to the titles as one more column, and a 1 to every user.

    --onnx adds user.onnx, title.onnx and score.onnx (and memory.onnx), which score users and titles that are not in
    the arrays from their features.

    A run with --memory adds the part of users' histories: memory.npy, history.npz, cosines.npz and ease.npz,
    which the formula in manifest.json puts together.

    \b
    Example:
      twotower export runs/001-mtl-4-upsampled --out embeddings
      twotower export runs/001-mtl-4-upsampled --onnx --out model
      twotower export runs/001-mtl-4-upsampled shop --users newcomers.txt --out newcomers
    """
    import numpy as np

    from twotower.report.progress import show_progress
    from twotower.serving.export import export as write_embeddings
    from twotower.serving.provenance import changed_since
    from twotower.training.days import served

    run, dataset = served(run, directory)
    users = chosen_users(run, dataset, territories, file, unknown_territory)
    if since is not None:
        users = users[np.isin(users, changed_since(dataset, since))]
    with show_progress() as progress:
        exported = write_embeddings(run, dataset, out, users, overwrite, progress, unknown_territory, onnx)
    rows = f"{counted(exported.users, 'user')} and {counted(exported.titles, 'title')}"
    click.echo(f"Embeddings of {rows}, {counted(exported.width, 'number')} each, saved to {out}.")
    if onnx:
        click.echo("The network as ONNX graphs beside them: docs/how-to/serve.md says what they take.")
