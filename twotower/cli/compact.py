"""``twotower compact``"""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--keep", type=int, default=30, show_default=True, metavar="DAYS",
              help="Last days that stay as they are, to roll back to; at least 30.")  # fmt: skip
def compact(run: Path, keep: int) -> None:
    """Put old days of a run together, so that they take less disk.

    The model of the last of them and the data of all are kept; what is served, and what later updates make, is the
    same to the bit. Days that are not served are removed.

    \b
    Example:
      twotower compact runs/heads --keep 60
    """
    from twotower.daily.compact import compact as put_together

    done = put_together(run, keep)
    if done.days == 1:
        click.echo(f"{run}: no more than {keep} days, nothing to put together.")
        return
    before, after = done.bytes_before / 2**20, done.bytes_after / 2**20
    click.echo(f"{done.days} days are one now, {done.into}: {before:.1f} MiB before, {after:.1f} MiB after.")
