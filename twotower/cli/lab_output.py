"""What the lab's commands share at their end: a record as tables or as JSON, and its page; options without effect."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from twotower.core.errors import InputError
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

Record = TypeVar("Record")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of tables.")
page_option = click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE",
                           help="Also write an interactive page.")  # fmt: skip


def show(
    make: Callable[[Progress], Record], as_json: bool, tables: Callable[[Record, "Console"], Any],
    page: Path | None = None, mask: str = "on",
) -> Record:  # fmt: skip
    """Make a record, print it and write its page, whose place is checked before the work. Returns the record."""
    from twotower.core.serialisation import json_text
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    if page is not None:
        from twotower.lab.page import check_place, write_page

        check_place(page)
    with show_progress() as progress:
        record = make(progress)
    if page is not None:
        write_page(record, page, mask)  # type: ignore[arg-type]
        click.echo(f"Saved to {page}.", err=True)
    if as_json:
        click.echo(json_text(record))
    else:
        tables(record, stdout_console())
    return record


def refuse_options(names: Iterable[str], reason: str) -> None:
    """Errors: InputError where options of the current command were given that have no effect."""
    context, names = click.get_current_context(), set(names)
    default = None, ParameterSource.DEFAULT
    flags = [str(p.opts[0]) for p in context.command.params
             if p.name in names and context.get_parameter_source(str(p.name)) not in default]  # fmt: skip
    if flags:
        raise InputError(f"{', '.join(sorted(flags))} {'has' if len(flags) == 1 else 'have'} no effect {reason}")
