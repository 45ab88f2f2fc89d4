"""Tables of an experiment with methods: what they are, popularity bias, calibration."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from twotower.core import formatting
from twotower.core.formatting import is_number
from twotower.experiments.report.cells import TONES, mean_cells, mean_columns, territory_cell
from twotower.experiments.report.territory_tables import tested
from twotower.experiments.report.wording import values
from twotower.experiments.schema import Compared, ExperimentRecord, Value
from twotower.metrics.averages import mean_and_spread
from twotower.report.pivot import pivoted
from twotower.report.table import (
    COUNT,
    PERCENT,
    SCORE,
    TEXT,
    Cell,
    Column,
    Kind,
    Table,
    data,
    decimal,
    is_undefined,
    signed,
    with_spread,
)

SHOWN_MEASURES = ("local_score", "global_score", "local_share", "global_share", "average_popularity", "coverage")
OVER_SEEDS = "mean ± standard deviation over seeds"
CALIBRATION = {
    "ece": "Expected calibration error per territory, 0 is perfect",
    "excess": "Mean predicted minus observed rate per territory, above 0: predictions are too high",
}
WORDS = {
    "about": Column("What it is", TEXT),
    "sample": Column("Sample", TEXT, on=("page",)),
    "grouping": Column("Groups", TEXT, on=("page",)),
}
FIGURES = {
    "overall": Column("Overall PR-AUC", with_spread(SCORE)),
    "macro": Column("Macro PR-AUC", with_spread(SCORE), hint="mean over all territories with a positive"),
    "macro_evaluated": Column("Macro evaluated", with_spread(SCORE), hint="mean over evaluated territories"),
    "worst": Column("Worst territory", with_spread(SCORE), hint="lowest PR-AUC of an evaluated territory"),
    "gap": Column("Gap", with_spread(SCORE), hint="highest PR-AUC of an evaluated territory minus the lowest"),
    "seconds": Column("Seconds", with_spread(decimal(1))),
}


def digits_of(mean: float) -> int:
    """After the point, for measures of any size: four up to 10, then two, from 100 on one."""
    return 1 if abs(mean) >= 100 else 2 if abs(mean) >= 10 else 4


def write_measure(pair: tuple[float, float | None]) -> str:
    """``0.1234 ± 0.0012``: the spread with as many digits as the mean."""
    return with_spread(decimal(digits_of(pair[0]))).write(pair)


def write_change(value: float) -> str:
    """A difference of two measures, with its sign."""
    return formatting.signed(value, digits_of(value))


MEASURE = Kind(write_measure)
CHANGE = Kind(write_change)
CHANGE_INTERVAL = Kind(lambda ends: " to ".join(map(write_change, ends)))
WANTED = {"higher": "more", "lower": "less"}


def over_seeds(values: Sequence[Value]) -> tuple[float, float] | None:
    """Mean and spread of the defined ones among the values of several runs."""
    known = [value for value in values if is_number(value)]
    return mean_and_spread(np.array(known)) if known else None


def method_table(record: Compared) -> Table:
    """What each method is, and its figures over seeds; compared runs have fewer facts than an experiment."""
    known = record["methods"][0]
    words = [(key, column) for key, column in WORDS.items() if key in known]
    figures = [(key, column) for key, column in FIGURES.items() if key in known]
    columns = [Column("Method", TEXT), *(column for _, column in words), Column("Seeds", TEXT)]
    title = f"Methods, {OVER_SEEDS}; overall: the test pairs of all periods in one ranking"
    table = Table([*columns, *(column for _, column in figures)], title, id="method-table")
    for method in record["methods"]:
        means = map(over_seeds, values(method, *(key for key, _ in figures)))
        seeds = ", ".join(map(str, method["seeds"]))
        table.add(method["name"], *values(method, *(key for key, _ in words)), seeds, *means)
    return table


def run_data(record: Compared) -> Table:
    """A row per run."""
    figures = [key for key in FIGURES if key in record["methods"][0]]
    table = Table([*map(data, ("method", "seed", *figures, "worst_territory"))])
    for method in record["methods"]:
        for i, seed in enumerate(method["seeds"]):
            found = (column[i] for column in values(method, *figures))
            table.add(method["name"], seed, *found, method.get("worst_territory"))
    return table


def bias_table(record: ExperimentRecord) -> Table:
    """Popularity bias: a row per method and measure, of all users and of each territory where any is defined."""
    columns = [
        data("method"),
        Column("Measure", TEXT, ("measure",)),
        Column("Less bias is", TEXT),
        Column("Territory", TEXT, ("territory",)),
        Column("Mean", MEASURE, ("mean", "spread")),
    ]
    table, bias = Table(columns), record["bias"]
    known = [
        any(column[c] is not None for of in bias.values() for column in of["territories"].values())
        for c in range(len(record["territories"]))
    ]
    for method, of in bias.items():
        for name, measure in record["measures"].items():
            words = (method, Cell(name, text=measure["title"]), measure["better"])
            table.add(*words, "", tuple(of["overall"][name]))
            for c, territory in enumerate(record["territories"]):
                if known[c]:
                    value = of["territories"][name][c], of["territory_spreads"][name][c]
                    table.add(*words, territory_cell(territory), value, minor=not territory["major"])
    return table


def overall_bias_table(record: ExperimentRecord, measures: Sequence[str] | None = None) -> Table:
    """Popularity bias of all users: a row per measure (all, or those named), a column per method."""
    title = f"Popularity bias over all test users, {OVER_SEEDS}"
    chosen = record["measures"] if measures is None else measures
    long = bias_table(record)
    rows = [row for row in long.rows if not row.cells[3].value and row.cells[1].value in chosen]
    keep = ("Measure", "Less bias is")
    return pivoted(replace(long, rows=rows), "method", "mean", keep, title, "bias-table")


def bias_territory_tables(record: ExperimentRecord) -> list[Table]:
    """Popularity bias per territory: a table per measure, a column per method."""
    long, tables = bias_table(record), []
    for i, (name, measure) in enumerate(record["measures"].items()):
        title = f"{measure['title']}, per territory, {OVER_SEEDS}"
        rows = [row for row in long.rows if row.cells[1].value == name and row.cells[3].value]
        rows = [row for row in rows if not is_undefined(row.cells[4].value)]
        tables.append(pivoted(replace(long, rows=rows), "method", "mean", ["Territory"], title, f"bias-{i}"))
    return tables


def change_table(record: ExperimentRecord) -> Table:
    """How much the main method's popularity bias differs from that of its baselines: a row per measure."""
    columns = [
        *map(data, ("method", "baseline")),
        Column("Measure", TEXT, ("measure",)),
        Column("Over", TEXT, on=("terminal", "page")),
        Column("Change", CHANGE, ("mean",)),
        Column("95 % interval", CHANGE_INTERVAL, ("low", "high")),
        Column("Direction", TEXT, ("direction",)),
        Column("Interval over", TEXT, ("over",)),
    ]
    title = f"Change of popularity bias under {record['main_method']}"
    table = Table(columns, title, id="bias-change-table")
    for told in record["bias_changes"]:
        measure = record["measures"][told["measure"]]
        tone = TONES["better" if told["direction"] == WANTED.get(measure["better"]) else "worse"]
        sure = told["direction"] in WANTED.values() and measure["better"] in WANTED
        ends = None if told["low"] is None else (told["low"], told["high"])
        words = Cell(told["measure"], text=measure["title"])
        direction = Cell(told["direction"], tone if sure else "")
        names = told["method"], told["baseline"], words, told["baseline"]
        table.add(*names, told["mean"], ends, direction, told["over"])
    return table


def part_table(record: ExperimentRecord) -> Table:
    """What each part of the main method brings, and its share in the whole."""
    columns = [
        Column("Part", TEXT, ("part",)),
        Column("Models", TEXT, on=("terminal", "page")),
        *map(data, ("method", "baseline")),
        *mean_columns("Gain over all pairs", "overall"),
        *mean_columns("Mean of territories", "mean"),
        Column("Share of the gain", PERCENT, ("share",)),
    ]
    title = f"Parts of {record['main_method']}: gains in percent, and shares in overall PR-AUC"
    table = Table(columns, title, id="part-table")
    for part in record["parts"]:
        names, cells = (part["method"], part["baseline"]), [*mean_cells(part["overall"]), *mean_cells(part["mean"])]
        table.add(part["part"], " over ".join(names), *names, *cells, part["share"])
    return table


def calibration_table(record: ExperimentRecord) -> Table:
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


def reliability_data(record: ExperimentRecord) -> Table:
    """The reliability curve of each method: a row per bin, pairs of all seeds; its error is in each row."""
    table = Table([*map(data, ("method", "low", "high", "pairs", "predicted", "observed", "ece"))])
    for method, curve in record["calibration"].items():
        for i, pairs in enumerate(curve["pairs"]):
            ends = curve["edges"][i : i + 2]
            table.add(method, *ends, pairs, curve["predicted"][i], curve["observed"][i], curve["ece"])
    return table


def calibration_territory_table(record: ExperimentRecord) -> Table:
    """Calibration in each territory with test pairs: a row per method and territory, and the support it rests on."""
    columns = [
        data("method"),
        Column("Territory", TEXT, ("territory",)),
        data("major"),
        data("evaluated"),
        Column("Test pairs", COUNT, ("test_pairs",)),
        Column("Test positives", COUNT, ("test_positives",)),
        Column("Expected calibration error", with_spread(decimal(4)), ("ece", "ece_spread")),
        Column("Predicted minus observed", with_spread(signed(4)), ("excess", "excess_spread")),
    ]
    table = Table(columns)
    for method, of in record["calibration"].items():
        for c, territory in tested(record):
            support = values(territory, "major", "evaluated", "test_pairs", "test_positives")
            found = ((of["territories"][name][c], of["territory_spreads"][name][c]) for name in CALIBRATION)
            table.add(method, territory_cell(territory), *support, *found, minor=not territory["major"])
    return table


def calibration_territory_tables(record: ExperimentRecord) -> list[Table]:
    """Calibration per territory: a table per figure, a column per method."""
    table, keep = calibration_territory_table(record), ("Territory", "Test pairs", "Test positives")
    return [
        pivoted(table, "method", name, keep, f"{title}, {OVER_SEEDS}", f"calibration-territory-{name}")
        for name, title in CALIBRATION.items()
    ]
