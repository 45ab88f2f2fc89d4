"""What vectors are made of, as a table for the terminal."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def print_vectors(console: Console, summary: Any) -> None:
    """Print an ``EmbedSummary``: the parts of user and title vectors, and what should be known of them."""
    console.print(vectors_table(summary))
    for line in summary.notes:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def vectors_table(summary: Any) -> Table:
    """A row a part, in the order of the columns."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("vectors")
    table.add_column("part")
    table.add_column("columns", justify="right")
    for what, parts in (("users", summary.user_parts), ("titles", summary.title_parts)):
        for i, (name, width) in enumerate(parts):
            table.add_row("" if i else what, name, f"{width:,}")
        table.add_row("", "all", f"{sum(width for _, width in parts):,}", style="bold", end_section=True)
    return table
