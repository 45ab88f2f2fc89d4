"""Tables of an experiment with methods: what they are, popularity bias, calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from twotower.core.formatting import is_number
from twotower.experiments.report.cells import territory_cell
from twotower.experiments.report.territory_tables import tested
from twotower.experiments.report.wording import Record
from twotower.metrics.averages import mean_and_spread
from twotower.report.table import (
    COUNT,
    SCORE,
    TEXT,
    Column,
    Kind,
    Table,
    data,
    decimal,
    signed,
    with_spread,
)

SHOWN_MEASURES = ("local_score", "global_score", "local_share", "global_share", "average_popularity", "coverage")
OVER_SEEDS = "mean ± standard deviation over seeds"
CALIBRATION = (
    ("ece", "Expected calibration error per territory, 0 is perfect", with_spread(decimal(4))),
    (
        "excess",
        "Mean predicted minus observed rate per territory, above 0: predictions are too high",
        with_spread(signed(4)),
    ),
)


WORDS = {
    "about": Column("What it is", TEXT),
    "sample": Column("Sample", TEXT, on=("page",)),
    "grouping": Column("Groups", TEXT, on=("page",)),
}
FIGURES = {
    "overall": Column("Overall PR-AUC", with_spread(SCORE)),
    "macro": Column("Macro PR-AUC", with_spread(SCORE), hint="mean over territories"),
    "seconds": Column("Seconds", with_spread(decimal(1))),
}


def digits_of(mean: float) -> int:
    """After the point, for measures of any size: four up to 10, then two, from 100 on one."""
    return 1 if abs(mean) >= 100 else 2 if abs(mean) >= 10 else 4


def write_measure(pair: tuple[float, float | None]) -> str:
    """``0.1234 ± 0.0012``: the spread with as many digits as the mean."""
    return with_spread(decimal(digits_of(pair[0]))).write(pair)


MEASURE = Kind(write_measure)


def over_seeds(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Mean and spread of the defined ones among the values of several runs."""
    known = [value for value in values if is_number(value)]
    return mean_and_spread(np.array(known)) if known else None


def method_table(record: Record) -> Table:
    """What each method is, and its figures over seeds; compared runs have fewer facts than an experiment."""
    known = record["methods"][0]
    words = [(key, column) for key, column in WORDS.items() if key in known]
    figures = [(key, column) for key, column in FIGURES.items() if key in known]
    columns = [Column("Method", TEXT), *(column for _, column in words), Column("Seeds", TEXT)]
    title = f"Methods, {OVER_SEEDS}; overall: the test pairs of all periods in one ranking"
    table = Table([*columns, *(column for _, column in figures)], title, id="method-table")
    for method in record["methods"]:
        values = (over_seeds(method[key]) for key, _ in figures)
        seeds = ", ".join(map(str, method["seeds"]))
        table.add(method["name"], *(method[key] for key, _ in words), seeds, *values)
    return table


def run_data(record: Record) -> Table:
    """A row per run."""
    table = Table([*map(data, ("method", "seed", "overall", "macro", "seconds"))])
    for method in record["methods"]:
        for i, seed in enumerate(method["seeds"]):
            table.add(method["name"], seed, *(method[name][i] for name in ("overall", "macro", "seconds")))
    return table


def bias_table(record: Record, measures: Sequence[str] | None = None) -> Table:
    """Popularity bias of all users: a row per measure (all, or those named), a column per method."""
    methods = list(record["bias"])
    columns = [Column("Measure", TEXT), Column("Less bias is", TEXT), *(Column(name, MEASURE) for name in methods)]
    table = Table(columns, f"Popularity bias over all test users, {OVER_SEEDS}", id="bias-table")
    for name, measure in record["measures"].items():
        if measures is None or name in measures:
            values = (tuple(record["bias"][method]["overall"][name]) for method in methods)
            table.add(measure["title"], measure["better"], *values)
    return table


def bias_territory_tables(record: Record) -> list[Table]:
    """Popularity bias per territory: a table per measure, a column per method."""
    bias, tables = record["bias"], []
    for i, (name, measure) in enumerate(record["measures"].items()):
        title = f"{measure['title']}, per territory, {OVER_SEEDS}"
        columns = [Column("Territory", TEXT), *(Column(method, MEASURE) for method in bias)]
        table = Table(columns, title, id=f"bias-{i}")
        for c, territory in enumerate(record["territories"]):
            values = [(of["territories"][name][c], of["territory_spreads"][name][c]) for of in bias.values()]
            if any(is_number(mean) for mean, _ in values):
                table.add(territory_cell(territory), *values, minor=not territory["major"])
        tables += [table] if table.rows else []
    return tables


def bias_data(record: Record) -> Table:
    """A row per method and measure, overall and in each territory where any method has one."""
    bias = record["bias"]
    table = Table([*map(data, ("method", "measure", "territory", "mean", "spread"))])
    known = [
        any(of["territories"][name][c] is not None for of in bias.values() for name in of["territories"])
        for c in range(len(record["territories"]))
    ]
    for method, of in bias.items():
        for name, (mean, spread) in of["overall"].items():
            table.add(method, name, "", mean, spread)
            for c, territory in enumerate(record["territories"]):
                if known[c]:
                    values = (of[key][name][c] for key in ("territories", "territory_spreads"))
                    table.add(method, name, territory["code"], *values)
    return table


def calibration_table(record: Record) -> Table:
    """Expected calibration error per method."""
    columns = [
        Column("Method", TEXT),
        Column("Expected calibration error", decimal(4)),
        Column("Predicted minus observed", signed(4)),
        Column("Test pairs, all seeds", COUNT),
    ]
    table = Table(columns, "Calibration, 0 is perfect", id="calibration-table")
    for name, curve in record["calibration"].items():
        table.add(name, curve["ece"], curve["excess"], sum(curve["pairs"]))
    return table


def reliability_data(record: Record) -> Table:
    """The reliability curve of each method: a row per bin, pairs of all seeds; its error is in each row."""
    table = Table([*map(data, ("method", "low", "high", "pairs", "predicted", "observed", "ece"))])
    for method, curve in record["calibration"].items():
        for i, pairs in enumerate(curve["pairs"]):
            ends = curve["edges"][i : i + 2]
            table.add(method, *ends, pairs, curve["predicted"][i], curve["observed"][i], curve["ece"])
    return table


def calibration_territory_tables(record: Record) -> list[Table]:
    """Calibration per territory: a table per figure, a column per method, and the support that it rests on."""
    curves, tables = record["calibration"], []
    support = [Column("Test pairs", COUNT), Column("Test positives", COUNT)]
    for name, title, kind in CALIBRATION:
        columns = [Column("Territory", TEXT), *(Column(method, kind) for method in curves), *support]
        table = Table(columns, f"{title}, {OVER_SEEDS}", id=f"calibration-territory-{name}")
        for c, territory in tested(record):
            table.add(
                territory_cell(territory),
                *((of["territories"][name][c], of["territory_spreads"][name][c]) for of in curves.values()),
                territory["test_pairs"],
                territory["test_positives"],
                minor=not territory["major"],
            )
        tables.append(table)
    return tables


def calibration_territory_data(record: Record) -> Table:
    """Calibration in each territory with test pairs, mean and spread over seeds."""
    support = ("major", "evaluated", "test_pairs", "test_positives")
    figures = ("ece", "ece_spread", "excess", "excess_spread")
    table = Table([*map(data, ("method", "territory", *support, *figures))])
    for method, of in record["calibration"].items():
        for c, territory in tested(record):
            values: list[Any] = []
            for name in ("ece", "excess"):
                values += [of["territories"][name][c], of["territory_spreads"][name][c]]
            table.add(method, territory["code"], *(territory[key] for key in support), *values)
    return table
