"""Users and pairs of a sample per territory, and how unequal the territories are. C territories."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower.data.territories import MAJORS, Territories


class SampledCounts(NamedTuple):
    """Users of one kind, and their pairs, per territory."""

    users: np.ndarray  # (C,) int64
    positives: np.ndarray  # (C,) int64
    negatives: np.ndarray  # (C,) int64


@dataclass(frozen=True)
class SampleSummary:
    """The contents of a sample per territory."""

    territories: Territories
    users: np.ndarray  # (C,) int64 users of the dataset
    random: SampledCounts  # random training users
    active: SampledCounts  # active training users
    test: SampledCounts
    alpha: float  # negatives per positive asked for
    shortfall: np.ndarray  # (C,) int64 negatives that could not be sampled, for lack of titles
    unavailable: np.ndarray  # (C,) int64 positives left out: their titles are not available, and so never negatives

    @property
    def train(self) -> SampledCounts:
        """Random and active users together."""
        return SampledCounts(*(random + active for random, active in zip(self.random, self.active, strict=True)))

    @property
    def majors(self) -> np.ndarray:
        """Rows of the territories with most users, at most 16, largest first."""
        order = np.argsort(-self.users, kind="stable")[:MAJORS]
        return order[self.users[order] > 0]

    def spread(self) -> tuple[float, float]:
        """Largest over smallest number of positives among the majors: of random users alone, and of all."""
        before, after = self.random.positives[self.majors], self.train.positives[self.majors]
        return max_over_min(before), max_over_min(after)

    def effective_territories(self) -> tuple[float, float]:
        """Effective number of territories by positives: of random users alone, and of all."""
        return effective_number(self.random.positives), effective_number(self.train.positives)


def max_over_min(counts: np.ndarray) -> float:
    """The largest count over the smallest: inf when one is 0, nan when all are."""
    largest, smallest = float(np.max(counts, initial=0)), float(np.min(counts)) if len(counts) else 0.0
    if smallest:
        return largest / smallest
    return np.inf if largest else np.nan


def effective_number(counts: np.ndarray) -> float:
    """The inverse Simpson index 1 / Σ p², p = counts / Σ counts: nan when all are 0.

    The number of equal territories that are as concentrated as these (Hill 1973, order 2).
    """
    total = float(counts.sum())
    return 1.0 / float(np.sum((counts / total) ** 2)) if total else np.nan
