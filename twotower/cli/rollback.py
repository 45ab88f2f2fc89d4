"""``twotower rollback``"""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--to", "day", required=True, metavar="DAY", help="YYYY-MM-DD, or start: before the first day.")
def rollback(run: Path, day: str) -> None:
    """Serve an earlier day again.

    The days after it stay on the disk until they are taken in again: with the same events at once, with others anew.

    \b
    Example:
      twotower rollback runs/heads --to 2024-03-01
    """
    from twotower.daily.history import rollback as go_back

    before = go_back(run, day)
    click.echo(f"{day} is served, in place of {before}. Next: twotower update {run} --events FILE")
