"""Results of an evaluation: columns of numbers with a row per territory or title, and means over them.

Names: C territories, T titles. An undefined PR-AUC, where there is no positive, is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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


@dataclass(frozen=True, eq=False)
class TerritoryResults:
    """PR-AUC per territory with its support. Territories without test pairs are there too, with zeros."""

    code: list[str]
    name: list[str]
    group: np.ndarray  # (C,) int64, −1 where not grouped
    users: np.ndarray  # (C,) int64, users in the whole dataset
    test_users: np.ndarray  # (C,) int64, distinct users among the pairs
    pairs: np.ndarray  # (C,) int64
    positives: np.ndarray  # (C,) int64
    pr_auc: np.ndarray  # (C,) float64

    @property
    def base_rate(self) -> np.ndarray:
        """Positives over pairs (C,): what a constant score gets, NaN without pairs."""
        return ratio(self.positives, self.pairs)

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
        rows = np.flatnonzero((self.pairs > 0) & (self.positives >= min_positives))
        order = np.lexsort((rows, -self.test_users[rows], -self.users[rows]))
        return rows[order][:top]

    def columns(self) -> dict[str, list[Any]]:
        """The table by column, as plain Python values."""
        return {
            "code": list(self.code),
            "name": list(self.name),
            "group": self.group.tolist(),
            "users": self.users.tolist(),
            "test_users": self.test_users.tolist(),
            "pairs": self.pairs.tolist(),
            "positives": self.positives.tolist(),
            "base_rate": self.base_rate.tolist(),
            "pr_auc": self.pr_auc.tolist(),
        }


@dataclass(frozen=True, eq=False)
class TitleResults:
    """PR-AUC per title with its support, over the users of all territories."""

    title: list[str]
    kind: list[str]  # such as global, regional, local; empty where the dataset does not say
    pairs: np.ndarray  # (T,) int64
    positives: np.ndarray  # (T,) int64
    pr_auc: np.ndarray  # (T,) float64

    @property
    def base_rate(self) -> np.ndarray:
        """Positives over pairs (T,): what a constant score gets, NaN without pairs."""
        return ratio(self.positives, self.pairs)

    def most_positives(self, top: int | None = None, min_positives: int = 0) -> np.ndarray:
        """Rows of the ``top`` titles by positives (all when None), among those with test pairs."""
        rows = np.flatnonzero((self.pairs > 0) & (self.positives >= min_positives))
        order = np.lexsort((rows, -self.pairs[rows], -self.positives[rows]))
        return rows[order][:top]

    def columns(self) -> dict[str, list[Any]]:
        """The table by column, as plain Python values."""
        return {
            "title": list(self.title),
            "kind": list(self.kind),
            "pairs": self.pairs.tolist(),
            "positives": self.positives.tolist(),
            "base_rate": self.base_rate.tolist(),
            "pr_auc": self.pr_auc.tolist(),
        }


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
