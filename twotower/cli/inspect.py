"""``twotower inspect``: a run or a dataset, and one batch → whose rows moved which weight."""

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
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON instead of tables.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write an interactive page to FILE, too."
)
def inspect(subject: Callable[[Progress], "Subject"], as_json: bool, page: Path | None) -> None:
    """See whose rows moved which weight in one batch.

    Runs the real backward pass once a group and prints the norm of each block's gradient that comes from
    that group's rows: towers hear all groups, a head hears its own. Beside it: whether the groups agree, what
    would leak with the mask off, dead units, and how far the next step moves the weights. Nothing is trained,
    and nothing changes. RUN is a finished run, DIR a dataset on which a fresh network is made.

    \b
    Example:
      twotower inspect
      twotower inspect runs/001-mtl-4 --batch 3 --html batch.html
      twotower inspect world --head residual --groups 6 --json > batch.json
    """
    from twotower.core.serialisation import json_text
    from twotower.lab.attribution.inspection import inspect as look
    from twotower.lab.attribution.tables import print_inspection
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    if page:
        from twotower.lab.page import check_place, write_page

        check_place(page)
    with show_progress() as progress:
        record = look(subject(progress), progress)
    if page:
        write_page(record, page)
        click.echo(f"The page is in {page}.", err=True)
    if as_json:
        click.echo(json_text(record))
    else:
        print_inspection(record, stdout_console())
