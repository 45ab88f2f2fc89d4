"""What ``twotower embed`` prints: the parts of user and title vectors."""

from rich.console import Console

from twotower.data.features.embed import EmbedSummary
from twotower.report.table import COUNT, TEXT, Column, Table
from twotower.report.terminal import print_lines, print_table


def print_vectors(console: Console, summary: EmbedSummary) -> None:
    print_table(vectors_table(summary), console)
    print_lines(console, ["", *summary.notes])


def vectors_table(summary: EmbedSummary) -> Table:
    """A row per part, in the order of the columns."""
    table = Table([Column("vectors", TEXT), Column("part", TEXT), Column("columns", COUNT)])
    for what, parts in (("users", summary.user_parts), ("titles", summary.title_parts)):
        for i, (name, width) in enumerate(parts):
            table.add("" if i else what, name, width)
        table.add("", "all", sum(width for _, width in parts), tone="strong")
        table.section()
    return table
