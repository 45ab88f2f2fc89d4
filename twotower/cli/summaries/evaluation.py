"""The results of an evaluation as tables: PR-AUC per territory and per title."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twotower.core.formatting import counted
from twotower.metrics.averages import lowest_and_gap
from twotower.metrics.origins import FIGURES
from twotower.metrics.results import ENOUGH_POSITIVES, Evaluation
from twotower.metrics.significance import ENOUGH_USERS
from twotower.metrics.user_means import Level
from twotower.report.table import COUNT, LEVEL, SCORE, TEXT, Cell, Column, Table, data

TOP = 20  # rows on a terminal, unless all are asked for


def territory_table(
    evaluation: Evaluation,
    top: int | None = None,
    min_positives: int = ENOUGH_POSITIVES,
    levels: Mapping[str, Level] | None = None,
) -> Table:
    """PR-AUC of the ``top`` territories by users (all when None); below them the macro mean and that of all pairs.

    The macro mean is given twice: over territories with a positive, and over those with ``min_positives``. Ranking
    metrics, ``levels`` by name, are columns for programs alone; people see ``ranking_table``.
    """
    results = evaluation.territories
    rows = results.largest(top)
    table = Table(
        [
            Column("code", TEXT, ("code",)),
            Column("territory", TEXT, ("name",)),
            Column("group", COUNT, ("group",)),
            Column("users", COUNT, ("users",), on=("csv",)),
            Column("users", COUNT, ("test_users",)),
            Column("pairs", COUNT, ("pairs",)),
            Column("positives", COUNT, ("positives",)),
            Column("base rate", SCORE, ("base_rate",)),
            Column("PR-AUC", SCORE, ("pr_auc",)),
            *(data(metric, f"{metric}_low", f"{metric}_high") for metric in levels or ()),
        ],
        caption=shown(rows, results.largest(), "territories", "users"),
    )
    ranked = {metric: level_cells(level) for metric, level in (levels or {}).items()}
    add_rows(table, results.columns() | ranked | {"group": [group_cell(group) for group in results.group]}, rows)
    blanks = [""] * len(ranked)
    for least in dict.fromkeys((1, min_positives)):
        counts = counted(int(results.counted(least).sum()), "territory", "territories")
        table.total("macro", counts, "", "", "", "", f"{least}+", "", results.macro(least), *blanks)
    support = (results.test_users.sum(), evaluation.pairs, evaluation.positives)
    table.total("overall", "all pairs", "", "", *support, evaluation.base_rate, evaluation.overall, *blanks)
    return table


def level_cells(level: Level) -> list[tuple[float, float, float] | None]:
    """Mean and interval of each territory; None where there is no user."""
    columns = zip(level.mean.tolist(), level.low.tolist(), level.high.tolist(), strict=True)
    return [None if np.isnan(mean) else (mean, low, high) for mean, low, high in columns]


def ranking_table(
    evaluation: Evaluation, users: np.ndarray, levels: Mapping[str, Level], k: int, top: int | None = None
) -> Table:
    """Ranking metrics of the ``top`` territories by users, of which ``users`` (C,) have something to find."""
    results = evaluation.territories
    rows = [row for row in results.largest(top) if users[row]]
    columns = [Column("code", TEXT), Column("territory", TEXT), Column("users", COUNT)]
    metrics = [Column(f"{FIGURES[metric]}@{k}", LEVEL, across=True) for metric in levels]
    title = f"The {k} titles recommended to users who then watched some, with 95 % intervals"
    table = Table([*columns, *metrics], title)
    by_metric = [level_cells(level) for level in levels.values()]
    for row in rows:
        table.add(results.code[row], results.name[row], users[row], *(cells[row] for cells in by_metric))
    for name, which in (("macro", f"{ENOUGH_USERS}+ users each"), ("overall", "all users")):
        means = (getattr(level, name) for level in levels.values())
        cells = [(mean.mean, mean.low, mean.high) for mean in means]
        table.total(name, which, int(users.sum()) if name == "overall" else "", *cells)
    for name, which, figures in zip(("lowest", "gap"), ("of these", "highest over lowest"),
                                    zip(*lowest_of(users, levels).values(), strict=True), strict=True):  # fmt: skip
        table.total(name, which, "", *(None if np.isnan(figure) else (figure, None, None) for figure in figures))
    return table


def lowest_of(users: np.ndarray, levels: Mapping[str, Level]) -> dict[str, tuple[float, float]]:
    """The lowest mean of each metric among territories with enough ``users`` (C,), and the highest over that."""
    return {name: lowest_and_gap(level.mean[users >= ENOUGH_USERS]) for name, level in levels.items()}


def worst_line(evaluation: Evaluation, min_positives: int) -> str:
    """The territory with the lowest PR-AUC among those with enough positives, and how far the best is above it."""
    results = evaluation.territories
    rows = np.flatnonzero(results.counted(min_positives))
    if len(rows) < 2:
        return ""
    worst, (lowest, gap) = rows[np.argmin(results.pr_auc[rows])], lowest_and_gap(results.pr_auc[rows])
    which = f"{len(rows)} territories with {min_positives}+ positives"
    return f"Lowest PR-AUC of {which}: {results.name[worst]}, {lowest:.4f}; the highest is {gap:.4f} above."


def title_table(evaluation: Evaluation, top: int | None = None) -> Table:
    """PR-AUC of the ``top`` titles by positives (all when None)."""
    results = evaluation.titles
    rows = results.most_positives(top)
    table = Table(
        [
            Column("title", TEXT, ("title",)),
            Column("kind", TEXT, ("kind",), on=("terminal", "csv") if any(results.kind) else ("csv",)),
            Column("pairs", COUNT, ("pairs",)),
            Column("positives", COUNT, ("positives",)),
            Column("base rate", SCORE, ("base_rate",)),
            Column("PR-AUC", SCORE, ("pr_auc",)),
        ],
        caption=shown(rows, results.most_positives(), "titles", "positives"),
    )
    add_rows(table, results.columns(), rows)
    return table


def add_rows(table: Table, columns: Mapping[str, Sequence[Any]], rows: np.ndarray) -> None:
    """Some rows of columns that are called as in CSV."""
    for row in rows:
        table.add(*(columns[column.keys[0]][row] for column in table.columns))


def group_cell(group: int) -> Cell:
    """The number of a group, a dash without one."""
    return Cell(int(group), text="–" if group < 0 else str(group))


def shown(rows: np.ndarray, of: np.ndarray, what: str, order: str) -> str:
    """What a table leaves out, if anything."""
    return "" if len(rows) == len(of) else f"{len(rows)} of {len(of)} {what}, those with the most {order}"
