"""``days/daily.csv``: the evaluation of each day with support and interval, overall and per territory."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from twotower.core.random_streams import Stream, generator
from twotower.core.storage import read_csv, whole_text
from twotower.data.grown import GrownDataset, Part
from twotower.data.sample import Pairs
from twotower.metrics.averages import mean_defined
from twotower.metrics.bootstrap import Resampling, percentile_interval
from twotower.metrics.results import ENOUGH_POSITIVES, Evaluation
from twotower.training.days import DAYS, chain, day_path
from twotower.training.run import RunReader

TABLE = "daily.csv"
INTERVALS = "intervals"  # table of a day
REPLICATES = 200
EVALUATIONS = "evaluations"  # table of a compacted day: the lines until then
HEADER = "day", "territory", "test_users", "pairs", "positives", "base_rate", "pr_auc", "low", "high"


def write_daily(run_path: Path, name: str) -> None:
    """Add a day to the table, or make it again where it does not end with the day before."""
    path, parts = run_path / DAYS / TABLE, list(chain(run_path, name))[::-1]
    earlier, days = parts[0].table(EVALUATIONS), [part.day["date"] for part in parts[1:]]
    expected = [*dict.fromkeys(earlier.get("day", ())), *days]
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    there = list(dict.fromkeys(line.split(",")[0] for line in text.splitlines()[1:]))
    if days and text.endswith("\n") and there == expected[:-1]:
        with open(path, "a", encoding="utf-8", newline="") as file:
            write_rows(file, [rows_of_day(run_path, name)])
    elif there != expected:
        with whole_text(path) as file:
            before = zip(*earlier.values(), strict=True)
            write_rows(file, [[HEADER], before, *(rows_of_day(run_path, day) for day in days)])


def evaluations_until(run_path: Path, day: str) -> dict[str, list[str]]:
    """The table until a day, for the day to keep."""
    columns = read_csv(run_path / DAYS / TABLE)
    rows = [i for i, date in enumerate(columns["day"]) if date <= day]
    return {name: [column[i] for i in rows] for name, column in columns.items()}


def write_rows(file: IO[str], blocks: Iterable[Iterable[Sequence[Any]]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for rows in blocks:
        writer.writerows(rows)


def rows_of_day(run_path: Path, day: str) -> list[tuple[Any, ...]]:
    """All pairs, the mean of territories, the worst one of those with enough positives, the frozen pairs of the first
    days, and each territory."""
    evaluation = RunReader(day_path(run_path, day)).evaluation
    part = Part.read(day_path(run_path, day))
    bounds = intervals_in(part)
    table, nothing = evaluation.territories, ("", "")
    of_all = int(table.test_users.sum()), evaluation.pairs, evaluation.positives, cell(evaluation.base_rate)
    rows: list[tuple[Any, ...]] = [(day, "all", *of_all, cell(evaluation.overall), *bounds.get("all", nothing))]
    rows.append((day, "macro", *of_all, cell(evaluation.macro()), *bounds.get("macro", nothing)))
    of_territories = {}
    for c in np.flatnonzero(table.pairs).tolist():
        support = table.test_users[c], table.pairs[c], table.positives[c], cell(table.base_rate[c])
        of_territories[c] = (*support, cell(table.pr_auc[c]), *bounds.get(table.code[c], nothing))
    judged = np.where(table.counted(ENOUGH_POSITIVES), table.pr_auc, np.inf)
    worst = int(np.argmin(judged)) if np.isfinite(judged).any() else -1
    rows.append((day, "worst", *of_territories.get(worst, (0, 0, 0, "", "", *nothing))))
    if part.day["frozen_pr_auc"] is not None:
        n, positives = part.day["frozen_pairs"], part.day["frozen_positives"]
        rows.append((day, "frozen", "", n, positives, cell(positives / n), cell(part.day["frozen_pr_auc"]), *nothing))
    return rows + [(day, table.code[c], *cells) for c, cells in of_territories.items()]


def intervals_in(part: Part) -> dict[str, tuple[str, str]]:
    """Low and high end as they were written, by territory."""
    table = part.table(INTERVALS)
    return {name: (low, high) for name, low, high in zip(*table.values(), strict=True)} if table else {}


def intervals(
    dataset: GrownDataset, evaluation: Evaluation, pairs: Pairs, logits: np.ndarray, seed: int, day: int
) -> dict[str, list[str]]:
    """95 % intervals of PR-AUC of a day's pairs (n,): of all, of the mean of territories, and of each territory.

    Users are drawn with replacement, territory by territory; the ranking stays.
    """
    if not evaluation.positives:
        return {}
    territory = np.asarray(dataset.user_territory)[pairs.user].astype(np.int64)
    rng = generator(seed, Stream.DAILY_INTERVALS, day)
    resampling = Resampling(pairs.label, pairs.user, territory, dataset.n_territories, np.zeros(len(pairs), np.int64),
                            rng=rng, replicates=REPLICATES)  # fmt: skip
    replicates = resampling.pr_auc(logits[None]).resampled[:, 0, 0]  # (R, C + 1)
    macro = mean_defined(replicates[:, np.flatnonzero(evaluation.territories.positives)], axis=1)
    low, high = percentile_interval(np.column_stack([replicates[:, -1], macro, replicates[:, :-1]]))
    names = ["all", "macro", *evaluation.territories.code]
    return {"territory": names, "low": [cell(x) for x in low.tolist()], "high": [cell(x) for x in high.tolist()]}


def cell(value: float) -> str:
    """A number; empty where it is undefined."""
    return f"{value:.6f}" if np.isfinite(value) else ""
