"""``twotower simulate``"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import click

from twotower.core.settings import kind_of
from twotower.data.synthetic.world import WorldConfig

Command = TypeVar("Command", bound=Callable[..., Any])


def world_options(command: Command) -> Command:
    """One option per setting of a world."""
    for item in reversed(fields(WorldConfig)):
        command = click.option(
            f"--{item.name.replace('_', '-')}",
            item.name,
            type={"int": int, "float": float}[kind_of(item)],
            default=item.default,
            show_default=True,
            help=item.metadata["help"],
        )(command)
    return command


@click.command()
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@world_options
@click.option("--overwrite", is_flag=True, help="Replace the dataset in DIR.")
def simulate(directory: Path, overwrite: bool, **options: Any) -> None:
    """Simulate a streaming service whose true tastes are known.

    DIR becomes a dataset with a watch log, user vectors and title vectors, all derived from tastes that are stored in
    DIR/truth. A million users take up about 1.3 GB.

    \b
    Example:
      twotower simulate
      twotower simulate toy --users 2000 --titles 80 --territories 30
      twotower simulate alike --shift 0 --seed 1
      twotower simulate large --users 1000000
    """
    from twotower.cli.summaries.world import print_world
    from twotower.data.synthetic.simulate import simulate as make
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    config = WorldConfig(**options)
    with show_progress() as progress:
        world = make(directory, config, progress, overwrite)
    print_world(stdout_console(), world)
    heads = f" --mtl --groups {config.groups}" if config.groups > 1 else ""
    click.echo(f"Saved to {directory}. Next: twotower train {quote(str(directory))}{heads}")
