"""Results of an evaluation: columns of numbers with a row per territory or title, and means over them.

Names: C territories, T titles. An undefined PR-AUC, where there is no positive, is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypedDict

import numpy as np

from twotower.metrics.averages import mean_defined, ratio

ENOUGH_POSITIVES = 50  # with fewer, the PR-AUC of a territory is largely chance, and too high on average


class TerritoryTable(Protocol):
    """What an evaluation needs to know of territories: the tables of datasets and of runs both have it."""

    @property
    def code(self) -> Sequence[str]: ...
    @property
    def name(self) -> Sequence[str]: ...
    @property
    def group(self) -> np.ndarray: ...  # (C,) int, −1 where not grouped
    @property
    def users(self) -> np.ndarray: ...  # (C,) int, users in the whole dataset


class Support:
    """What results per territory and per title have in common."""

    pairs: np.ndarray  # (n,) int64
    positives: np.ndarray  # (n,) int64
    pr_auc: np.ndarray  # (n,) float64

    @property
    def base_rate(self) -> np.ndarray:
        """Positives over pairs (n,): what a constant score gets, NaN without pairs."""
        return ratio(self.positives, self.pairs)

    def columns(self) -> dict[str, list[Any]]:
        """The table by column, as plain Python values; the base rate stands before PR-AUC."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        columns = {name: getattr(self, name) for name in (*names[:-1], "base_rate", names[-1])}
        return {name: list(column) if isinstance(column, list) else column.tolist() for name, column in columns.items()}

    def first_by(self, *order: np.ndarray, top: int | None, min_positives: int) -> np.ndarray:
        """The ``top`` rows (all when None) with pairs and so many positives, by descending ``order``."""
        rows = np.flatnonzero((self.pairs > 0) & (self.positives >= min_positives))
        return rows[np.lexsort((rows, *(-values[rows] for values in reversed(order))))][:top]


@dataclass(frozen=True, eq=False)
class TerritoryResults(Support):
    """PR-AUC per territory with its support. Territories without test pairs are there too, with zeros."""

    code: list[str]
    name: list[str]
    group: np.ndarray  # (C,) int64, −1 where not grouped
    users: np.ndarray  # (C,) int64, users in the whole dataset
    test_users: np.ndarray  # (C,) int64, distinct users among the pairs
    pairs: np.ndarray
    positives: np.ndarray
    pr_auc: np.ndarray

    def counted(self, min_positives: int = 1) -> np.ndarray:
        """Which territories (C,) have at least ``min_positives`` positives, and at least one."""
        return self.positives >= max(1, min_positives)

    def macro(self, min_positives: int = 1) -> float:
        """Mean PR-AUC of the counted territories, each with the same weight; NaN when there is none.

        The PR-AUC of a territory with few positives is mostly chance: ``min_positives`` leaves it out.
        """
        return float(mean_defined(self.pr_auc[self.counted(min_positives)]))

    def largest(self, top: int | None = None, min_positives: int = 0) -> np.ndarray:
        """Rows of the ``top`` territories with most users (all when None), among those with test pairs."""
        return self.first_by(self.users, self.test_users, top=top, min_positives=min_positives)


@dataclass(frozen=True, eq=False)
class TitleResults(Support):
    """PR-AUC per title with its support, over the users of all territories."""

    title: list[str]
    kind: list[str]  # such as global, regional, local; empty where the dataset does not say
    pairs: np.ndarray
    positives: np.ndarray
    pr_auc: np.ndarray

    def most_positives(self, top: int | None = None, min_positives: int = 0) -> np.ndarray:
        """Rows of the ``top`` titles by positives (all when None), among those with test pairs."""
        return self.first_by(self.positives, self.pairs, top=top, min_positives=min_positives)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All results of one set of scores."""

    overall: float  # PR-AUC of all pairs in one ranking
    territories: TerritoryResults
    titles: TitleResults
    days: dict[int, TerritoryResults]  # the territories again, on the pairs of each test day alone

    def macro(self, min_positives: int = 1) -> float:
        """Mean PR-AUC of the territories that have at least ``min_positives`` positives."""
        return self.territories.macro(min_positives)

    @property
    def pairs(self) -> int:
        return int(self.territories.pairs.sum())

    @property
    def positives(self) -> int:
        return int(self.territories.positives.sum())

    @property
    def base_rate(self) -> float:
        return self.positives / self.pairs if self.pairs else float("nan")

    def record(self, min_positives: int = ENOUGH_POSITIVES) -> "EvaluationRecord":
        """The figures of the whole test set; the macro also of the territories with enough positives alone."""
        return {
            "overall": self.overall,
            "macro": self.macro(),
            "macro_territories": int(self.territories.counted().sum()),
            "min_positives": min_positives,
            "macro_supported": self.macro(min_positives),
            "macro_supported_territories": int(self.territories.counted(min_positives).sum()),
            "pairs": self.pairs,
            "positives": self.positives,
            "base_rate": self.base_rate,
        }


class EvaluationRecord(TypedDict):
    """An evaluation's figures for JSON; what is undefined is NaN here and null there."""

    overall: float
    macro: float
    macro_territories: int
    min_positives: int
    macro_supported: float
    macro_supported_territories: int
    pairs: int
    positives: int
    base_rate: float
