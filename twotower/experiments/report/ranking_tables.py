"""Tables of ranking metrics: levels of each method and territory with intervals, and gains of one over another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from twotower.experiments.report.cells import count_cells, count_columns, mean_cells, mean_columns, territory_cell
from twotower.experiments.report.wording import values
from twotower.experiments.schema import Compared, MeanRecord, Value
from twotower.metrics.averages import lowest_and_gap
from twotower.metrics.origins import FIGURES
from twotower.metrics.recommended import RANKING_METRICS
from twotower.metrics.significance import ENOUGH_USERS
from twotower.report.pivot import pivoted
from twotower.report.table import COUNT, LEVEL, TEXT, Column, Table, data


def title_of(metric: str, k: int) -> str:
    """``nDCG@10``."""
    return f"{FIGURES[metric]}@{k}"


def figures_of(record: Compared) -> list[str]:
    """Those that the record has: not all datasets know where titles come from."""
    of = next(iter(record["rankings"].values()), None)
    return list(RANKING_METRICS) if of is None else [name for name in FIGURES if name in of["overall"]]


def level_keys(metric: str) -> tuple[str, str, str]:
    """The names of a level in CSV."""
    return metric, f"{metric}_low", f"{metric}_high"


def ranking_table(record: Compared) -> Table:
    """Rows per method: the mean of all users of each metric, of the territories with enough users, and their lowest."""
    columns = [Column("Method", TEXT, ("method",)), Column("Mean over", TEXT, ("over",))]
    for metric in figures_of(record):
        columns.append(Column(title_of(metric, record["k"]), LEVEL, level_keys(metric), across=True))
    title = f"The {record['k']} titles recommended to {sum(record['ranking_users']):,} users, with 95 % intervals"
    table = Table(columns, title, id="ranking-table")
    for method, of in record["rankings"].items():
        for means, words in ((of["overall"], "users"), (of["macro"], "territories")):
            table.add(method, words, *(level(means[metric]) for metric in figures_of(record)))
        ends = [lowest_and_gap(judged(record, of["territories"][metric]["mean"])) for metric in figures_of(record)]
        for words, figures in zip(("lowest territory", "gap to the highest"), zip(*ends, strict=True), strict=True):
            table.add(method, words, *(None if np.isnan(figure) else (figure, None, None) for figure in figures))
    return table


def judged(record: Compared, means: Sequence[Value]) -> np.ndarray:
    """The means of the territories with enough users who have something to find."""
    users = np.array(record["ranking_users"])
    return np.array(means, float)[users >= ENOUGH_USERS]


def level(of: MeanRecord) -> tuple[Any, ...] | None:
    """A mean with its interval; None where it is undefined."""
    return None if of["mean"] is None else (of["mean"], of["low"], of["high"])


def ranking_territory_table(record: Compared) -> Table:
    """A row per method, metric and territory with users that have something to find."""
    columns = [
        Column("Method", TEXT, ("method",)),
        Column("Metric", TEXT, ("metric",)),
        Column("Territory", TEXT, ("territory",)),
        Column("Users", COUNT, ("users",)),
        Column("Mean", LEVEL, ("mean", "low", "high")),
    ]
    table = Table(columns, "Ranking metrics per territory", id="ranking-territory-table")
    for method, of in record["rankings"].items():
        for metric, means in of["territories"].items():
            for c, territory in enumerate(record["territories"]):
                if users := record["ranking_users"][c]:
                    found = level({"mean": means["mean"][c], "low": means["low"][c], "high": means["high"][c]})
                    table.add(method, metric, territory_cell(territory), users, found, minor=not territory["major"])
    return table


def ranking_territory_tables(record: Compared) -> list[Table]:
    """The same as a table per metric, with a column per method."""
    long, tables = ranking_territory_table(record), []
    for metric in figures_of(record):
        rows = [row for row in long.rows if row.cells[1].value == metric]
        title = f"{title_of(metric, record['k'])} per territory, with 95 % intervals"
        keep = ("Territory", "Users")
        tables.append(pivoted(replace(long, rows=rows), "method", "mean", keep, title, f"ranking-{metric}"))
    return tables


def ranking_gain_table(record: Compared) -> Table:
    """A row per comparison and metric: relative gain over all users, and the mean over territories."""
    columns = [
        Column("Models", TEXT, on=("terminal", "page")),
        *map(data, ("method", "baseline")),
        Column("Metric", TEXT, ("metric",)),
        *mean_columns("Gain over all users", "overall"),
        *mean_columns("Mean of territories", "all"),
        *count_columns("all"),
    ]
    title = "Gains of ranking metrics in percent; territories with enough users who have something to find"
    table = Table(columns, title, id="ranking-gain-table")
    for told in record["ranking_gains"]:
        names = told["method"], told["baseline"]
        cells = [*mean_cells(told["overall"]), *mean_cells(told["all"]), *count_cells(told["all"])]
        table.add(" over ".join(names), *names, title_of(told["metric"], record["k"]), *cells)
    return table


def ranking_gain_data(record: Compared) -> Table:
    """A row per comparison, metric and territory."""
    keys = ("average", "spread", "low", "high", "p", "p_adjusted", "verdict")
    table = Table([*map(data, ("method", "baseline", "metric", "territory", *keys))])
    for told in record["ranking_gains"]:
        for c, territory in enumerate(record["territories"]):
            if record["ranking_users"][c]:
                names = told["method"], told["baseline"], told["metric"], territory["code"]
                table.add(*names, *(column[c] for column in values(told, *keys)))
    return table
