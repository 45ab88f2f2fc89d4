"""What ``twotower import`` prints: the territories of the dataset, its days, and what was left out and why."""

from datetime import date

import numpy as np
from rich.console import Console

from twotower.core.formatting import counted
from twotower.data.ingest.import_log import ImportSummary
from twotower.report.table import COUNT, PERCENT, TEXT, Column, Table
from twotower.report.terminal import print_lines, print_table

BLOCKS = "▁▂▃▄▅▆▇█"
SPARKS = 40  # blocks at most
SHOWN = 20  # territories, most users first


def print_import(console: Console, summary: ImportSummary) -> None:
    print_table(import_table(summary), console)
    warnings = [f"Warning: {warning}" for warning in summary.warnings]
    days = [split_line(summary), *sparkline(summary)]
    print_lines(console, ["", *days, *summary.assumptions, *summary.notes, *warnings])


def import_table(summary: ImportSummary) -> Table:
    """A row per territory, most users first; those beyond 20 together, then the total."""
    counts = [Column(name, COUNT) for name in ("users", "pairs", "titles")]
    table = Table([Column("territory", TEXT), *counts, Column("share of pairs", PERCENT)])
    users, pairs, titles = summary.territories.users, summary.pairs, summary.titles  # each (C,)
    shown = len(users) if len(users) <= SHOWN + 1 else SHOWN
    for row in range(shown):
        name = summary.territories.name[row]
        table.add(name, users[row], pairs[row], titles[row], pairs[row] / pairs.sum())
    if shown < len(users):
        rest = pairs[shown:].sum()
        table.add(f"{len(users) - shown} others", users[shown:].sum(), rest, "", rest / pairs.sum(), tone="quiet")
    table.total("all", users.sum(), pairs.sum(), summary.n_titles, 1.0)
    return table


def split_line(summary: ImportSummary) -> str:
    """The days of history, training and test, or how the pairs were split without days."""
    split, n_labels = summary.split, summary.n_events - summary.n_history
    if split.dates is None:
        return f"No times: {summary.n_history:,} pairs are history, {n_labels:,} are for training and testing."
    ends = np.cumsum([0, split.history_days, split.train_days, split.test_days])
    parts = []
    for name, first, end in zip(("history", "training", "test"), ends[:-1], ends[1:], strict=True):
        if first < end:
            days = counted(int(end - first), f"{name} day")
            parts.append(f"{days} ({iso_date(split.dates[first])} … {iso_date(split.dates[end - 1])})")
    return f"{counted(summary.n_events, 'event')}: {', '.join(parts)}."


def sparkline(summary: ImportSummary) -> list[str]:
    """Events per day of the log as one line of blocks, at most so many wide; nothing without times."""
    split = summary.split
    if split.dates is None or split.counts is None or len(split.counts) < 2:
        return []
    bins = np.array_split(split.counts, min(len(split.counts), SPARKS))
    heights = np.array([part.mean() for part in bins])
    blocks = "".join(BLOCKS[round(h)] for h in heights / heights.max() * (len(BLOCKS) - 1))
    first, last = (iso_date(split.dates[i]) for i in (0, -1))
    return [f"Events per day: {first} {blocks} {last}"]


def iso_date(ordinal: int) -> str:
    return date.fromordinal(int(ordinal)).isoformat()
