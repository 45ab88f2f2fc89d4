"""Tables and lines on a terminal, by rich. Whatever they say is text: never markup, never a control character."""

import os
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from twotower.core.formatting import UNDEFINED, visible
from twotower.report.table import Cell, Column, Row, Table, Tone, text_of

PIPE_WIDTH = 120  # characters per line where the output is no terminal
LONGEST_WORD = 24  # characters that are not broken where a table is too wide
STYLES: dict[Tone, str] = {
    "": "",
    "good": "green",
    "bad": "red",
    "alarm": "bold red",
    "warning": "yellow",
    "strong": "bold",
    "quiet": "dim",
}


def stdout_console() -> Console:
    """A console for results. A pipe has no width of its own: it gets one that cuts no table short."""
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPE_WIDTH if wide else None)


def line(text: str, tone: Tone = "") -> Text:
    """A text from anywhere as it is, without markup; control characters are made visible."""
    return Text(visible(text), style=STYLES[tone])


def print_lines(console: Console, lines: Iterable[str | Text]) -> None:
    """Print each as a line, which the terminal may wrap but rich does not: a path can be copied."""
    for item in lines:
        console.print(line(item) if isinstance(item, str) else item, highlight=False, soft_wrap=True)


def print_table(table: Table, console: Console) -> None:
    """Print a table with its title and caption, as wide as the console at most."""
    console.print(rendered(table, console.width), highlight=False)


def rendered(table: Table, width: int = PIPE_WIDTH) -> Group:
    """A table as something that rich prints; columns ``across`` that do not fit continue below in equal blocks."""
    parts: list[RenderableType] = [Text(visible(table.title), style="table.title")] if table.title else []
    for i, block in enumerate(blocks(table, width)):
        parts += ["", block] if i else [block]
    if table.caption:
        parts.append(Text(visible(table.caption), style="table.caption"))
    return Group(*parts)


def blocks(table: Table, width: int) -> list[RichTable]:
    """The table in as few blocks as ``width`` allows."""
    columns = table.shown_on("terminal")
    fixed = [i for i in columns if not table.columns[i].across]
    across = [i for i in columns if table.columns[i].across]
    ruler = Console(width=10_000)
    for n in range(1, len(across) + 1):
        size = -(-len(across) // n)
        result = [block_of(table, fixed + across[start : start + size]) for start in range(0, len(across), size)]
        if size == 1 or max(ruler.measure(block).maximum for block in result) <= width:
            return result
    whole = block_of(table, fixed)
    return [whole if ruler.measure(whole).minimum <= width else block_of(table, fixed, gap=0)]


def block_of(table: Table, columns: Sequence[int], gap: int = 1) -> RichTable:
    """Some columns of the table. Text wraps, numbers do not; ``gap``: spaces between columns, besides one."""
    block = RichTable(box=box.SIMPLE, show_edge=False, padding=(0, gap, 0, 0))
    lines = max(table.columns[i].name.count("\n") for i in columns)
    for i in columns:
        column = table.columns[i]
        names = [visible(name) for name in column.name.split("\n")]
        heading = Text("\n" * (lines + 1 - len(names)) + "\n".join(names))
        if column.kind.numeric:
            block.add_column(heading, justify="right", no_wrap=True)
        elif column.max_width:
            block.add_column(heading, max_width=column.max_width, no_wrap=True)
        else:
            words = [word for row in table.rows for word in (text_of(row.cells[i], column) or "").split()]
            longest = max(map(len, words), default=0)
            block.add_column(heading, overflow="fold", min_width=max(*map(len, names), min(longest, LONGEST_WORD)))
    for i, row in enumerate([*table.rows, *table.totals]):
        ends = row.section or i + 1 == len(table.rows)
        cells = [cell_text(row.cells[c], table.columns[c]) for c in columns]
        block.add_row(*cells, style=row_style(row), end_section=ends)
    return block


def cell_text(cell: Cell, column: Column) -> Text:
    """A cell; what is undefined says so."""
    text = text_of(cell, column)
    return Text(UNDEFINED, style=STYLES["quiet"]) if text is None else line(text, cell.tone)


def row_style(row: Row) -> str | None:
    return STYLES[row.tone] or None
