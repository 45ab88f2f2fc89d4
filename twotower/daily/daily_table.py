"""``days/daily.csv``: the evaluation of each day, overall and per territory."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from twotower.core.storage import whole_text
from twotower.metrics.results import ENOUGH_POSITIVES
from twotower.training.days import DAYS, chain, day_path
from twotower.training.run import RunReader

TABLE = "daily.csv"


HEADER = "day", "territory", "test_users", "pairs", "positives", "base_rate", "pr_auc"


def write_daily(run_path: Path, name: str) -> None:
    """Add a day to the table, or make it again where it does not end with the day before."""
    path, days = run_path / DAYS / TABLE, [part.day["date"] for part in chain(run_path, name)][-2::-1]
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    there = list(dict.fromkeys(line.split(",")[0] for line in text.splitlines()[1:]))
    if text.endswith("\n") and there == days[:-1]:
        with open(path, "a", encoding="utf-8", newline="") as file:
            write_rows(file, [rows_of_day(run_path, name)])
    elif there != days:
        with whole_text(path) as file:
            write_rows(file, [[HEADER], *(rows_of_day(run_path, day) for day in days)])


def write_rows(file: IO[str], blocks: Iterable[Iterable[Sequence[Any]]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for rows in blocks:
        writer.writerows(rows)


def rows_of_day(run_path: Path, day: str) -> list[tuple[Any, ...]]:
    """All pairs, the mean of territories, the worst one of those with enough positives, and each territory."""
    evaluation = RunReader(day_path(run_path, day)).evaluation
    table = evaluation.territories
    of_all = int(table.test_users.sum()), evaluation.pairs, evaluation.positives, cell(evaluation.base_rate)
    worst = np.where(table.counted(ENOUGH_POSITIVES), table.pr_auc, np.inf).min(initial=np.inf)
    rows: list[tuple[Any, ...]] = [(day, "all", *of_all, cell(evaluation.overall))]
    rows += [(day, "macro", *of_all, cell(evaluation.macro())), (day, "worst", *of_all, cell(float(worst)))]
    for c in np.flatnonzero(table.pairs).tolist():
        support = table.test_users[c], table.pairs[c], table.positives[c], cell(table.base_rate[c])
        rows.append((day, table.code[c], *support, cell(table.pr_auc[c])))
    return rows


def cell(value: float) -> str:
    """A number; empty where it is undefined."""
    return f"{value:.6f}" if np.isfinite(value) else ""
