"""Runs compared: methods, and gains in the form of the paper's Table 2 or with a row per territory."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from twotower.core import formatting
from twotower.core.formatting import counted, signed
from twotower.metrics.averages import mean_and_spread
from twotower.metrics.gains import Comparison, Gains, Method
from twotower.report.evaluation import group_cell
from twotower.report.table import COUNT, GAIN, SCORE, TEXT, Cell, Column, Table, decimal, with_spread
from twotower.report.terminal import print_lines, print_table

SPREAD = decimal(2)  # of gains, in percent


def print_comparison(comparison: Comparison, console: Console, by_rows: bool = False) -> None:
    """Methods, gains as in Table 2 (or ``by_rows``: a row per territory), and each comparison in a line."""
    print_table(method_table(comparison.methods), console)
    tables = [territory_gains_table(gains, comparison) for gains in comparison.gains] if by_rows else []
    for table in tables or [gains_table(comparison)]:
        console.print()
        print_table(table, console)
    console.print()
    print_lines(console, [summary(gains, comparison.rows) for gains in comparison.gains])


def method_table(methods: Sequence[Method]) -> Table:
    """Overall and macro PR-AUC of each method: the mean over its seeds, and their spread."""
    columns = [Column("method", TEXT), Column("seeds", TEXT)]
    table = Table([*columns, *(Column(f"{over} PR-AUC", with_spread(SCORE)) for over in ("overall", "macro"))])
    for method in methods:
        seeds = ", ".join(map(str, method.seeds))
        table.add(method.name, seeds, mean_and_spread(method.overall), mean_and_spread(method.macro))
    return table


def gains_table(comparison: Comparison) -> Table:
    """Relative gains in the form of the paper's Table 2: a column per territory, a row per test day, the average."""
    rows, several_days = comparison.rows, len(comparison.days) > 1
    codes = [comparison.territories.code[c] for c in rows]
    table = Table([Column("gain, %", TEXT), Column("", TEXT), *(Column(code, GAIN, across=True) for code in codes)])
    for gains in comparison.gains:
        names = [f"{gains.method.name} over", gains.baseline.name] if several_days else [names_of(gains)]
        names += [""] * len(comparison.days)
        if several_days:
            for day, values in zip(comparison.days, gains.by_day, strict=True):
                table.add(names.pop(0), f"day {day}", *values[rows])
        averages = [gain_cell(gains, c) for c in rows]
        table.add(names.pop(0), "average" if several_days else "gain", *averages, tone="strong")
        if len(gains.matches) > 1:
            table.add("", "± spread", *(spread_cell(gains, c) for c in rows))
        table.section()
    return table


def territory_gains_table(gains: Gains, comparison: Comparison) -> Table:
    """One comparison with a row per territory: support, PR-AUC of both over all test days, gain, spread.

    CSV also has the gain of each test day.
    """
    territories, several = comparison.territories, len(gains.matches) > 1
    columns = [
        Column("method", TEXT, ("method",), on=("csv",)),
        Column("baseline", TEXT, ("baseline",), on=("csv",)),
        Column("code", TEXT, ("code",)),
        Column("territory", TEXT, ("name",)),
        Column("group", COUNT, ("group",)),
        Column("users", COUNT, ("users",), on=("csv",)),
        Column("positives", COUNT, ("positives",)),
        Column(gains.method.name, SCORE, ("pr_auc_method",)),
        Column(gains.baseline.name, SCORE, ("pr_auc_baseline",)),
        Column("gain, %", GAIN, ("gain",)),
        Column("± spread", SPREAD, ("spread",), on=("terminal", "csv") if several else ("csv",)),
        *(Column(f"day {day}", GAIN, (f"gain_day_{day}",), on=("csv",)) for day in comparison.days),
    ]
    table = Table(columns, title=f"PR-AUC of {gains.method.name} and {gains.baseline.name}")
    for c in comparison.rows:
        table.add(
            gains.method.name,
            gains.baseline.name,
            territories.code[c],
            territories.name[c],
            group_cell(territories.group[c]),
            territories.users[c],
            territories.positives[c],
            gains.method.mean_pooled[c],
            gains.baseline.mean_pooled[c],
            gain_cell(gains, c),
            spread_cell(gains, c),
            *gains.by_day[:, c],
        )
    return table


def gain_cell(gains: Gains, c: int) -> Cell:
    """A territory's average gain: green or red where it is beyond the spread over seeds, else without colour."""
    gain, spread = gains.average[c], gains.spread[c]
    sure = abs(gain) > spread  # false without a spread
    return Cell(gain, ("good" if gain > 0 else "bad") if sure else "")


def spread_cell(gains: Gains, c: int) -> Cell:
    spread = gains.spread[c]
    return Cell(spread, "quiet", text=None if np.isnan(spread) else formatting.decimal(spread, 2))


def names_of(gains: Gains) -> str:
    return f"{gains.method.name} over {gains.baseline.name}"


def summary(gains: Gains, rows: np.ndarray) -> str:
    """One comparison in one line."""
    mean, spread = gains.mean(rows)
    told = signed(mean) if np.isnan(spread) else formatting.with_spread(signed(mean), formatting.decimal(spread, 2))
    over = ""
    if len(gains.matches) > 1:
        over = f" over {len(gains.matches)} {'seeds' if gains.same_seeds else 'pairs of runs'}"
    territories = counted(int(gains.defined(rows)), "territory", "territories")
    return f"{names_of(gains)}: better in {gains.won(rows)} of {territories}, mean gain {told} %{over}"
