"""Tables of rich, for rooms that do not use report/table.py yet."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text


def new_table(left: Sequence[str], right: Sequence[str], title: str | None = None, caption: str | None = None) -> Table:
    """An empty table: columns of words, which may fold, then columns of numbers, which may not."""
    table = Table(box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0), title=title, caption=caption)
    table.title_justify = table.caption_justify = "left"
    for name in left:
        table.add_column(name, overflow="fold", min_width=len(name))
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def count_text(count: int) -> str:
    return f"{count:,}"


def undefined() -> Text:
    return Text("undefined", style="dim")
