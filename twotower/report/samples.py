"""What a sample holds, as a table for the terminal."""

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from twotower.report.progress import short

SHOWN = 20  # territories by default, largest audience first
TERMINAL, NAME_WIDTH = 80, 13  # characters: with names of 13 the table fits a terminal of 80
CAPTION = "random: by random users alone · all: with the active ones · share: of all positives"
COLUMNS = (
    "users\nrandom", "\nactive", "\ntest", "positives\nrandom", "\nall",
    "negatives\nrandom", "\nall", "share\nrandom", "\nall",
)  # fmt: skip


def print_sample(console: Console, summary: Any, every_territory: bool = False) -> None:
    """Print a ``SampleSummary``: users and pairs per territory, and how the imbalance changed."""
    name_width = NAME_WIDTH + max(0, console.width - TERMINAL)
    console.print(sample_table(summary, every_territory, name_width))
    for line in sample_notes(summary):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def sample_table(summary: Any, every_territory: bool = False, name_width: int = NAME_WIDTH) -> Table:
    """A row a territory, largest audience first, those beyond 20 in one row unless all are asked for."""
    table = Table(
        box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False, caption=CAPTION, caption_justify="left"
    )
    table.add_column("territory", no_wrap=True, max_width=name_width, vertical="bottom")
    for header in COLUMNS:
        table.add_column(header, justify="right", no_wrap=True, vertical="bottom")
    rows = np.argsort(-summary.audience, kind="stable")  # (C,)
    shown = len(rows) if every_territory or len(rows) <= SHOWN + 1 else SHOWN
    for row in rows[:shown]:
        table.add_row(summary.territories.name[row], *_cells(summary, rows=[row]))
    if shown < len(rows):
        table.add_row(f"{len(rows) - shown} others", *_cells(summary, rows=rows[shown:]), style="dim")
    table.add_section()
    table.add_row("all", *_cells(summary, rows=rows), style="bold")
    return table


def sample_notes(summary: Any) -> list[str]:
    """How the imbalance changed, and what could not be drawn."""
    train, test = summary.train, summary.test
    (before, after), (effective, then) = summary.spread(), summary.effective_territories()
    lines = [
        f"Most over fewest positives among the {len(summary.majors)} largest territories: "
        f"{before:.1f} by random users, {after:.1f} with the active ones.",
        f"Effective number of territories: {effective:.2f} by random users, {then:.2f} with the active ones.",
        f"Negatives a positive: {train.negatives.sum() / train.positives.sum():.2f} in training, "
        f"{test.negatives.sum() / test.positives.sum():.2f} in the test; asked for {summary.alpha:.4g}.",
    ]
    if summary.shortfall.any():
        worst = int(np.argmax(summary.shortfall))
        missing, there = _number(summary.shortfall.sum()), _number(summary.shortfall[worst])
        lines.append(
            f"{missing} negatives are missing, {there} of them in {summary.territories.name[worst]}: "
            "too few titles there that a user has not watched."
        )
    return lines


def _cells(summary: Any, rows: Any) -> list[str]:
    """The numbers of some territories together, one for each of COLUMNS."""
    random, train = summary.random, summary.train
    kinds = summary.random.users, summary.active.users, summary.test.users
    counts = (*kinds, random.positives, train.positives, random.negatives, train.negatives)
    shares = (_share(drawn.positives[rows].sum(), drawn.positives.sum()) for drawn in (random, train))
    return [*(_number(count[rows].sum()) for count in counts), *shares]


def _number(value: Any) -> str:
    return f"{value:,}" if value < 10_000 else short(float(value))


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"
