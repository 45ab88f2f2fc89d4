"""What ``twotower sample`` prints: users and pairs per territory, and how the imbalance changed."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from twotower.core.formatting import count, counted, short
from twotower.data.sampling.imbalance import SampleSummary
from twotower.report.table import COUNT, PERCENT, TEXT, Column, Kind, Table
from twotower.report.terminal import print_lines, print_table

SHOWN = 20  # territories by default, most users first
NARROW, NAME_WIDTH = 80, 11  # characters: with short numbers and names of 11 the table fits a terminal of 80
EXACT = 100  # characters: from here on there is room for numbers in full
SHORT = Kind(lambda value: count(value) if value < 10_000 else short(value))
LEGEND = "random: random users only; all: with active users; share: of all positives."
COUNTS = ("users\nrandom", "\nactive", "\ntest", "positives\nrandom", "\nall", "negatives\nrandom", "\nall")
SHARES = ("share\nrandom", "\nall")


def print_sample(console: Console, summary: SampleSummary, every_territory: bool = False) -> None:
    print_table(sample_table(summary, every_territory, console.width), console)
    print_lines(console, ["", LEGEND, *sample_notes(summary)])


def sample_table(summary: SampleSummary, every_territory: bool = False, width: int = NARROW) -> Table:
    """A row per territory, most users first; those beyond 20 in one row unless all are asked for."""
    wide = width >= EXACT
    columns = [Column("territory", TEXT, max_width=None if wide else NAME_WIDTH)]
    columns += [Column(name, COUNT if wide else SHORT) for name in COUNTS]
    table = Table([*columns, *(Column(name, PERCENT) for name in SHARES)])
    rows = np.argsort(-summary.users, kind="stable")  # (C,)
    shown = len(rows) if every_territory or len(rows) <= SHOWN + 1 else SHOWN
    for row in rows[:shown]:
        table.add(summary.territories.name[row], *cells(summary, [row]))
    if shown < len(rows):
        table.add(f"{len(rows) - shown} others", *cells(summary, rows[shown:]), tone="quiet")
    table.total("all", *cells(summary, rows))
    return table


def cells(summary: SampleSummary, rows: Sequence[int] | np.ndarray) -> list[float | None]:
    """The sums of some territories, a cell for each of COUNTS and SHARES."""
    random, train = summary.random, summary.train
    kinds = summary.random.users, summary.active.users, summary.test.users
    counts = (*kinds, random.positives, train.positives, random.negatives, train.negatives)
    shares = (ratio(sampled.positives[rows].sum(), sampled.positives.sum()) for sampled in (random, train))
    return [*(int(column[rows].sum()) for column in counts), *shares]


def sample_notes(summary: SampleSummary) -> list[str]:
    """How the imbalance changed, and what could not be sampled."""
    train, test = summary.train, summary.test
    (before, after), (effective, then) = summary.spread(), summary.effective_territories()
    territories = f"{len(summary.majors)} largest territories" if len(summary.majors) > 1 else "largest territory"
    lines = [
        f"Ratio of the most to the fewest positives among the {territories}: "
        f"{times(before)} with random users, {times(after)} with active users added.",
        f"Effective number of territories: {effective:.2f} with random users, {then:.2f} with active users added.",
        f"Negatives per positive: {train.negatives.sum() / train.positives.sum():.2f} in training, "
        f"{test.negatives.sum() / test.positives.sum():.2f} in the test; requested: {summary.alpha:.4g}.",
    ]
    if missing := int(summary.shortfall.sum()):
        worst = int(np.argmax(summary.shortfall))
        lines.append(
            f"{counted(missing, 'negative')} {'is' if missing == 1 else 'are'} missing, {summary.shortfall[worst]:,} "
            f"of them in {summary.territories.name[worst]}, because users there have too few unwatched titles."
        )
    if left_out := int(summary.unavailable.sum()):
        kept = int(train.positives.sum() + test.positives.sum())
        lines.append(
            f"{counted(left_out, 'positive')} ({left_out / (left_out + kept):.1%}) {'is' if left_out == 1 else 'are'} "
            "left out: of titles that are not available in the user's territory, which no negative can be of."
        )
    return lines


def times(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "∞ (one has none)"


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
