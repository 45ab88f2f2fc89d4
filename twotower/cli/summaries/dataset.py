"""What an import made of a log, as a table for the terminal."""

from datetime import date
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from twotower.core.formatting import counted

SHOWN = 20  # territories, most users first


def print_import(console: Console, summary: Any) -> None:
    """Print an ``ImportSummary``: its territories, its days, and what was left out and why."""
    console.print(import_table(summary))
    for line in [split_line(summary), *summary.notes]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def import_table(summary: Any) -> Table:
    """A row a territory, most users first; those beyond 20 together, then the total."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("territory")
    for header in ("users", "pairs", "titles", "share of pairs"):
        table.add_column(header, justify="right")
    users, pairs, titles = summary.territories.users, summary.pairs, summary.titles  # each (C,)
    shown = len(users) if len(users) <= SHOWN + 1 else SHOWN
    for row in range(shown):
        counts = f"{users[row]:,}", f"{pairs[row]:,}", f"{titles[row]:,}"
        table.add_row(summary.territories.name[row], *counts, f"{pairs[row] / pairs.sum():.1%}")
    if shown < len(users):
        rest = slice(shown, None)
        counts = f"{users[rest].sum():,}", f"{pairs[rest].sum():,}", ""
        share = f"{pairs[rest].sum() / pairs.sum():.1%}"
        table.add_row(f"{len(users) - shown} others", *counts, share, style="dim")
    table.add_section()
    table.add_row("all", f"{users.sum():,}", f"{pairs.sum():,}", f"{summary.n_titles:,}", "100.0%", style="bold")
    return table


def split_line(summary: Any) -> str:
    """Which days are history, training and test, or how the pairs were split without days."""
    split, n_labels = summary.split, summary.n_events - summary.n_history
    if not split.has_time:
        return (
            f"No times: {summary.n_history:,} pairs are history, {n_labels:,} are there to learn from and to test on."
        )
    ends = np.cumsum([0, split.history_days, split.train_days, split.test_days])
    parts = []
    for name, first, end in zip(("history", "training", "test"), ends[:-1], ends[1:], strict=True):
        if first < end:
            days = counted(int(end - first), "day")
            parts.append(f"{days} of {name} ({_date(split.dates[first])} … {_date(split.dates[end - 1])})")
    return f"{counted(summary.n_events, 'event')}: {', '.join(parts)}."


def _date(ordinal: int) -> str:
    return date.fromordinal(int(ordinal)).isoformat()
