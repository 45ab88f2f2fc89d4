"""``twotower forget``"""

from pathlib import Path

import click

from twotower.core.formatting import counted


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--users", "file", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Ids, one per line, or the first column of a CSV.")  # fmt: skip
def forget(run: Path, file: Path) -> None:
    """Remove users from a run and all of its days.

    Ids, profiles, events, vectors and kept pairs go, in one step; weights and counts stay as they are, and the output
    says what they still hold. Days that are not served are removed as a whole. A user who comes back is a new one.

    \b
    Example:
      twotower forget runs/heads --users erased.txt
    """
    from twotower.daily.forget import forget as remove

    gone = remove(run, file)
    if gone.unknown:
        click.echo(f"{counted(len(gone.unknown), 'id')} of {file} not in {run}, such as {gone.unknown[0]!r}.", err=True)
    click.echo(f"{counted(gone.users, 'user')} forgotten: {counted(gone.events, 'event')} and "
               f"{counted(gone.vectors, 'vector')} removed from {counted(gone.days, 'day')} of {run}.")  # fmt: skip
    if gone.users:
        learned = f"what weights and counts hold of them ({gone.trained_on:,} not held out; train again without them)"
        click.echo(f"Still there: {learned}, and the imported log in {gone.dataset}.")
