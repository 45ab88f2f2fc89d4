"""``twotower gradcheck``: engine, textbook and finite differences on your own batch."""

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
@click.option("--pairs", type=int, metavar="N",
              help="Pairs of the batch to check, taken evenly from all groups.  [default: 256, or 8 per group if more]")
@click.option("--break", "bug", is_flag=False, flag_value="", metavar="[NAME]",
              help="Lesson: plant a known bug and see it caught. Without NAME: list the bugs.")
@click.option("--all", "everything", is_flag=True, help="Show a row for every block, even for groups that agree.")
@json_option
def gradcheck(
    subject: "Callable[[Progress], Subject]", pairs: int | None, bug: str | None, everything: bool, as_json: bool
) -> None:
    """Check every gradient against finite differences, on your own data.

    Compares, for each block of weights, a central difference of the loss in float64, the textbook's gradient
    (model/reference.py, float64) and the one used in training (model/two_tower.py, float32). Also checks three
    steps of Adam against its formula, and that a head gets exactly 0 from the rows of other groups.

    The exit code is 1 if anything disagrees or, with --break, if the bug is not caught.

    \b
    Example:
      twotower gradcheck world
      twotower gradcheck runs/001-mtl-4-upsampled --batch 3
      twotower gradcheck world --break batchnorm-mean
    """
    from twotower.lab.gradcheck.checks import check
    from twotower.lab.gradcheck.planted_bugs import bug_table, known_bug
    from twotower.lab.gradcheck.tables import print_gradcheck
    from twotower.report.terminal import print_table, stdout_console

    context = click.get_current_context()
    if bug == "":
        others = {str(p.name) for p in context.command.params} - {"bug", "source"}
        refuse_options(others, "with --break alone, which lists the bugs; expected --break NAME")
        print_table(bug_table(), stdout_console())
        return
    if as_json:
        refuse_options(["everything"], "with --json, which has every block")
    planted = None if bug is None else known_bug(bug)
    record = show(lambda progress: check(subject(progress), pairs, planted, progress), as_json,
                  lambda record, console: print_gradcheck(record, console, everything))  # fmt: skip
    context.exit(0 if record.agrees == (planted is None) else 1)
