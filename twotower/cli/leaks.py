"""``twotower leaks``"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from twotower.cli.subject_options import subject_options
from twotower.core.errors import InputError
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from twotower.lab.subject import Subject

OF_THE_NETWORK = {"head": "--head", "hidden": "--hidden", "preset": "--preset", "batchnorm": "--batchnorm"}


@click.command()
@subject_options
@click.option("--model", metavar="FILE.py:NAME", help="Check your own gradient function: docs/how-to/own-model.md.")
@click.option("--draws", type=click.IntRange(1), default=3, show_default=True, help="Disturbances of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of a table.")
def leaks(subject: "Callable[[Progress], Subject]", model: str | None, draws: int, as_json: bool) -> None:
    """Check that no head learns from the rows of another group.

    Disturbs the labels, the user features and the title features of all rows outside a group, one kind at a
    time, and looks for changes in the gradient of what the group has to itself. Labels must change nothing,
    bit for bit; features may act through the moments of batch-norm alone. With --model the same is asked of a
    Python function that returns gradients. The exit code is 1 when there is a leak.

    \b
    Example:
      twotower leaks world
      twotower leaks runs/001-mtl-4-upsampled --batch 5
      twotower leaks world --model examples/heads_with_their_own_batchnorm.py:gradients
    """
    from twotower.core.serialisation import json_text
    from twotower.lab.leaks.leaks import find_leaks
    from twotower.lab.leaks.own_model import find_leaks_of
    from twotower.lab.leaks.tables import print_leaks
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    context = click.get_current_context()
    idle = [flag for name, flag in OF_THE_NETWORK.items() if model
            and context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT)]  # fmt: skip
    if idle:
        raise InputError(f"{', '.join(idle)}: of the network, and --model takes its place")
    with show_progress() as progress:
        opened = subject(progress)
        record = find_leaks_of(model, opened, draws, progress) if model else find_leaks(opened, draws, progress)
    if as_json:
        click.echo(json_text(record))
    else:
        print_leaks(stdout_console(), record)
    context.exit(1 if record["leaks"] else 0)
