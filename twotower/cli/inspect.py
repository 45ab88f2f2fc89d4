"""``twotower inspect``: a run or a dataset, and one batch → which groups' rows moved which weight."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twotower.cli.lab_output import json_option, page_option, show
from twotower.cli.subject_options import subject_options
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from twotower.lab.subject import Subject


@click.command()
@subject_options
@json_option
@page_option
def inspect(subject: Callable[[Progress], "Subject"], as_json: bool, page: Path | None) -> None:
    """Show which groups' rows moved which weights in one batch.

    Runs the real backward pass once per group and prints the norm of each block's gradient by the group of
    the rows: every group contributes to the towers, but only a head's own group to the head. Also shows whether
    the groups' gradients conflict, what would leak without the mask, dead units, and how far the next step moves
    the weights. Nothing is trained or changed. RUN is a finished run; DIR is a dataset, for a fresh network.

    \b
    Example:
      twotower inspect
      twotower inspect runs/001-mtl-4 --batch 3 --html batch.html
      twotower inspect world --head residual --groups 6 --json > batch.json
    """
    from twotower.lab.attribution.inspection import inspect as inspect_batch
    from twotower.lab.attribution.tables import print_inspection

    show(lambda progress: inspect_batch(subject(progress), progress), as_json, print_inspection, page)
