"""Relative gains of PR-AUC of one method over another, in the form of the paper's Table 2.

    gain = 100 · (method − baseline) / baseline      in percent, for each territory on each test day
    Average = mean of a territory's gains over the test days

A method may have been trained several times, with different seeds. Then each of our runs is matched with
their run of the same seed, so that what a seed decides for both cancels out; where the seeds are not the
same, each of our runs is matched with each of baseline. Gains are means over the matches, and their spread is
the standard deviation (n − 1) over the matches.

Names: S runs, M matches, N test days, C territories. Where there is no positive, a gain is NaN: undefined.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twotower.metrics.averages import mean_and_spread, mean_defined, ratio, spread
from twotower.metrics.results import TerritoryResults


@dataclass(frozen=True, eq=False)
class Method:
    """The PR-AUC of one method's runs, all on the same test pairs."""

    name: str
    seeds: Sequence[int]  # S of them
    by_day: np.ndarray  # (S, N, C) PR-AUC per test day and territory
    pooled: np.ndarray  # (S, C) PR-AUC per territory, the pairs of all test days in one ranking
    overall: np.ndarray  # (S,) PR-AUC of all pairs
    macro: np.ndarray  # (S,) mean PR-AUC over territories
    runs: Sequence[str] = ()  # where the figures come from

    @property
    def mean_pooled(self) -> np.ndarray:
        """PR-AUC per territory (C,) over all test days, the mean over runs."""
        return self.pooled.mean(axis=0)


@dataclass(frozen=True, eq=False)
class Gains:
    """One method evaluated against another."""

    method: Method
    baseline: Method
    same_seeds: bool  # whether runs were matched by seed
    matches: np.ndarray  # (M, N, C) gain in percent

    @property
    def by_day(self) -> np.ndarray:
        """Gain per test day and territory (N, C), the mean over matches."""
        return self.matches.mean(axis=0)

    @property
    def average(self) -> np.ndarray:
        """Gain per territory (C,): the mean over test days, then over matches."""
        return self._averages.mean(axis=0)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of the average (C,) over matches; NaN with a single match."""
        return spread(self._averages)

    def mean(self, rows: np.ndarray) -> tuple[float, float]:
        """Mean of the average gains of some territories, and its spread over matches."""
        return mean_and_spread(mean_defined(self._averages[:, rows], axis=1))

    def defined(self, rows: np.ndarray) -> int:
        """In how many of some territories there is a gain to speak of."""
        return int(np.count_nonzero(~np.isnan(self.average[rows])))

    def won(self, rows: np.ndarray) -> int:
        """In how many of some territories the average gain is above 0."""
        return int(np.count_nonzero(self.average[rows] > 0))

    @property
    def _averages(self) -> np.ndarray:
        """Gain per territory of each match (M, C), the mean over test days."""
        return mean_defined(self.matches, axis=1)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods side by side, the gains of those that were evaluated, and what both are told for."""

    methods: list[Method]
    gains: list[Gains]
    days: list[int | str]  # N test days, or one word for all of them in one ranking
    territories: TerritoryResults  # names and support, the same for all methods
    rows: np.ndarray  # the territories chosen
    test_digest: str  # of the test pairs that all runs were evaluated on


def relative_gain(method: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """100 · (method − baseline) / baseline, in percent; NaN where either is undefined."""
    return 100.0 * ratio(np.asarray(method) - np.asarray(baseline), np.asarray(baseline))


def gains_over(method: Method, baseline: Method) -> Gains:
    """Judge one method against another, match by match."""
    pairs, same_seeds = match_runs(method.seeds, baseline.seeds)
    matches = np.stack([relative_gain(method.by_day[a], baseline.by_day[b]) for a, b in pairs])
    return Gains(method, baseline, same_seeds, matches)


def match_runs(method: Sequence[int], baseline: Sequence[int]) -> tuple[list[tuple[int, int]], bool]:
    """Which of our runs meets which of baseline, as pairs of positions, and whether that went by seed."""
    if len(set(method)) == len(method) and sorted(method) == sorted(baseline):
        return [(a, baseline.index(seed)) for a, seed in enumerate(method)], True
    return list(itertools.product(range(len(method)), range(len(baseline)))), False
