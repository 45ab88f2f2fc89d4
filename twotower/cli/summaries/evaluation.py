"""The results of an evaluation as tables: PR-AUC per territory and per title."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twotower.core.formatting import counted
from twotower.metrics.results import ENOUGH_POSITIVES, Evaluation
from twotower.report.table import COUNT, SCORE, TEXT, Cell, Column, Table

TOP = 20  # rows on a terminal, unless all are asked for


def territory_table(evaluation: Evaluation, top: int | None = None, min_positives: int = ENOUGH_POSITIVES) -> Table:
    """PR-AUC of the ``top`` territories by users (all when None); below them the macro mean and that of all pairs.

    The macro mean is given twice: over territories with a positive, and over those with ``min_positives``.
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
        ],
        caption=shown(rows, results.largest(), "territories", "users"),
    )
    add_rows(table, results.columns() | {"group": [group_cell(group) for group in results.group]}, rows)
    for least in dict.fromkeys((1, min_positives)):
        counts = counted(int(results.counted(least).sum()), "territory", "territories")
        table.total("macro", counts, "", "", "", "", f"{least}+", "", results.macro(least))
    support = (results.test_users.sum(), evaluation.pairs, evaluation.positives)
    table.total("overall", "all pairs", "", "", *support, evaluation.base_rate, evaluation.overall)
    return table


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
