"""What ``twotower embed`` prints: the parts of user and title vectors, and the spectrum of the history."""

from itertools import pairwise

import numpy as np
from rich.console import Console

from twotower.data.features.embed import EmbedSummary, Spectrum
from twotower.report.table import COUNT, TEXT, Column, Table, decimal
from twotower.report.terminal import print_lines, print_table


def print_vectors(console: Console, summary: EmbedSummary) -> None:
    print_table(vectors_table(summary), console)
    if summary.spectrum is not None:
        print_lines(console, [""])
        print_table(spectrum_table(summary.spectrum), console)
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


def spectrum_table(spectrum: Spectrum) -> Table:
    """What the first columns of the history's SVD hold, up to a few of them."""
    counts = [Column("effective users", COUNT), Column("fewest", COUNT)]
    caption = "effective users: how many users a column is about, the median and the least of those columns"
    table = Table([Column("history columns", TEXT), Column("% of the history", decimal(1)), *counts], caption=caption)
    ends = np.unique(np.ceil(len(spectrum.users) * np.array([0, 1 / 4, 1 / 2, 1])).astype(int))
    for start, end in pairwise(ends):
        users = spectrum.users[start:end]
        name = f"{start + 1} to {end}" if end > start + 1 else f"{end}"
        table.add(name, 100 * spectrum.energy[end - 1], round(np.median(users)), round(users.min()))
    return table
