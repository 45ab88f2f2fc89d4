"""``twotower accept``"""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("day", metavar="DAY")
def accept(run: Path, day: str) -> None:
    """Serve a day that the gate held back.

    \b
    Example:
      twotower accept runs/heads 2024-03-02
    """
    from twotower.daily.history import accept as serve

    serve(run, day)
    click.echo(f"{day} is served. Next: twotower recommend {run} --out best.csv")
