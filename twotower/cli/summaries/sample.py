"""What a sample holds, as a table for the terminal."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from twotower.core.formatting import counted
from twotower.report.progress import short

SHOWN = 20  # territories by default, most users first
NARROW, NAME_WIDTH = 80, 13  # characters: with short numbers and names of 13 the table fits a terminal of 80
EXACT = 100  # characters: from here on there is room for numbers in full
LEGEND = "random: random users alone; all: with the active ones; share: of all positives."
COLUMNS = (
    "users\nrandom", "\nactive", "\ntest", "positives\nrandom", "\nall",
    "negatives\nrandom", "\nall", "share\nrandom", "\nall",
)  # fmt: skip


def print_sample(console: Console, summary: Any, every_territory: bool = False) -> None:
    """Print a ``SampleSummary``: users and pairs per territory, and how the imbalance changed."""
    console.print(sample_table(summary, every_territory, console.width))
    for line in ("", LEGEND, *sample_notes(summary)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def sample_table(summary: Any, every_territory: bool = False, width: int = NARROW) -> Table:
    """A row a territory, most users first, those beyond 20 in one row unless all are asked for."""
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    name_width = NAME_WIDTH if width < EXACT else None
    number = _short_number if width < EXACT else _full_number
    table.add_column("territory", no_wrap=True, max_width=name_width, vertical="bottom")
    for header in COLUMNS:
        table.add_column(header, justify="right", no_wrap=True, vertical="bottom")
    rows = np.argsort(-summary.users, kind="stable")  # (C,)
    shown = len(rows) if every_territory or len(rows) <= SHOWN + 1 else SHOWN
    for row in rows[:shown]:
        table.add_row(summary.territories.name[row], *_cells(summary, [row], number))
    if shown < len(rows):
        table.add_row(f"{len(rows) - shown} others", *_cells(summary, rows[shown:], number), style="dim")
    table.add_section()
    table.add_row("all", *_cells(summary, rows, number), style="bold")
    return table


def sample_notes(summary: Any) -> list[str]:
    """How the imbalance changed, and what could not be drawn."""
    train, test = summary.train, summary.test
    (before, after), (effective, then) = summary.spread(), summary.effective_territories()
    lines = [
        f"Most over fewest positives among the {largest(len(summary.majors))}: "
        f"{_times(before)} by random users, {_times(after)} with the active ones.",
        f"Effective number of territories: {effective:.2f} by random users, {then:.2f} with the active ones.",
        f"Negatives a positive: {train.negatives.sum() / train.positives.sum():.2f} in training, "
        f"{test.negatives.sum() / test.positives.sum():.2f} in the test; asked for {summary.alpha:.4g}.",
    ]
    if summary.shortfall.any():
        worst = int(np.argmax(summary.shortfall))
        missing, there = summary.shortfall.sum(), summary.shortfall[worst]
        lines.append(
            f"{counted(int(missing), 'negative')} {'is' if missing == 1 else 'are'} missing, {there:,} of them in "
            f"{summary.territories.name[worst]}: "
            "too few titles there that a user has not watched."
        )
    return lines


def largest(n: int) -> str:
    """The n largest territories, in words."""
    return f"{n} largest territories" if n > 1 else "largest territory"


def _cells(summary: Any, rows: Any, number: Callable[[int], str]) -> list[str]:
    """What some territories have together, a cell for each of COLUMNS."""
    random, train = summary.random, summary.train
    kinds = summary.random.users, summary.active.users, summary.test.users
    counts = (*kinds, random.positives, train.positives, random.negatives, train.negatives)
    shares = (_share(drawn.positives[rows].sum(), drawn.positives.sum()) for drawn in (random, train))
    return [*(number(int(count[rows].sum())) for count in counts), *shares]


def _full_number(value: int) -> str:
    return f"{value:,}"


def _short_number(value: int) -> str:
    return _full_number(value) if value < 10_000 else short(value)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if np.isfinite(ratio) else "∞ (one has none)"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"
