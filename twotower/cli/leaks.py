"""``twotower leaks``: do rows of other groups reach the gradients of a head?"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from twotower.cli.lab_output import json_option, refuse_options, show
from twotower.cli.subject_options import subject_options
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from twotower.lab.subject import Subject


@click.command()
@subject_options
@click.option("--model", metavar="FILE.py:NAME",
              help="Check your own function instead; see docs/how-to/own-model.md.")  # fmt: skip
@click.option("--draws", type=click.IntRange(1), metavar="N", default=3, show_default=True,
              help="Perturbations of each input.")  # fmt: skip
@json_option
def leaks(subject: "Callable[[Progress], Subject]", model: str | None, draws: int, as_json: bool) -> None:
    """Check that no head learns from the rows of another group.

    Perturbs the labels, then the user features, then the title features of all rows outside a group, and
    compares the gradient of the group's own parameters. Labels must change nothing, bit for bit; features may
    act only through the batch-norm statistics. With --model, checks a Python function that returns gradients.
    The exit code is 1 if there is a leak.

    \b
    Example:
      twotower leaks world
      twotower leaks runs/001-mtl-4-upsampled --batch 5
      twotower leaks world --model examples/heads_with_their_own_batchnorm.py:gradients
    """
    from twotower.lab.leaks.detector import find_leaks
    from twotower.lab.leaks.record import LeakRecord
    from twotower.lab.leaks.tables import print_leaks
    from twotower.lab.leaks.user_model import find_leaks_in

    if model:
        refuse_options(("head", "hidden", "preset", "batchnorm"), "with --model, which replaces the network")

    def check(progress: Progress) -> LeakRecord:
        opened = subject(progress)
        return find_leaks_in(model, opened, draws, progress) if model else find_leaks(opened, draws, progress)

    record = show(check, as_json, print_leaks)
    click.get_current_context().exit(1 if record.leaks else 0)
