"""``twotower inspect``: a run or a dataset, and one batch → which groups' rows moved which weight."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twotower.cli.subject_options import subject_options
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from twotower.lab.subject import Subject


@click.command()
@subject_options
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of tables.")
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Also write an interactive page.")
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
    from twotower.core.serialisation import json_text
    from twotower.lab.attribution.inspection import inspect as inspect_batch
    from twotower.lab.attribution.tables import print_inspection
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    if page:
        from twotower.lab.page import check_place, write_page

        check_place(page)
    with show_progress() as progress:
        record = inspect_batch(subject(progress), progress)
    if page:
        write_page(record, page)
        click.echo(f"Saved to {page}.", err=True)
    if as_json:
        click.echo(json_text(record))
    else:
        print_inspection(record, stdout_console())
