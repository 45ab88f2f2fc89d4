"""What ``twotower import`` prints: the territories of the dataset, its days, and what was left out and why."""

from datetime import date

import numpy as np
from rich.console import Console

from twotower.core.formatting import counted
from twotower.data.ingest.import_log import ImportSummary
from twotower.report.table import COUNT, PERCENT, TEXT, Column, Table
from twotower.report.terminal import print_lines, print_table

SHOWN = 20  # territories, most users first


def print_import(console: Console, summary: ImportSummary) -> None:
    print_table(import_table(summary), console)
    warnings = [f"Warning: {warning}" for warning in summary.warnings]
    print_lines(console, ["", split_line(summary), *summary.assumptions, *summary.notes, *warnings])


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


def iso_date(ordinal: int) -> str:
    return date.fromordinal(int(ordinal)).isoformat()
