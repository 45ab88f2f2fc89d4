"""Means of a figure of each user, such as nDCG, with intervals over users and seeds: levels, gains and changes.

Users are resampled, and the noise of seeds is added, as in ``metrics/bootstrap.py``. Names: S seeds, n users,
C territories, R replicates.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twotower.core.errors import InputError
from twotower.metrics.averages import mean_defined, ratio
from twotower.metrics.bootstrap import Replicates, Resampled, percentile_interval, with_seed_noise
from twotower.metrics.significance import ENOUGH_USERS, GainSummary, MeanWithInterval, summarise


@dataclass(frozen=True, eq=False)
class Level:
    """A mean of figures from 0 to 1 over users and seeds, with the ends of its interval there; NaN is undefined."""

    overall: MeanWithInterval  # of all users
    macro: MeanWithInterval  # of territories with enough users, each with the same weight
    mean: np.ndarray  # (C,)
    low: np.ndarray
    high: np.ndarray


class UserMeans(Replicates):
    """Replicates of users of whom a figure each is known."""

    def __init__(self, territory: np.ndarray, n_territories: int, rng: np.random.Generator, replicates: int = 1000):
        """``territory`` (n,) of each user. Errors: InputError for a territory that does not exist."""
        n = len(territory)
        super().__init__(np.arange(n), territory, n_territories, np.ones(n, bool), rng, replicates)

    @property
    def enough(self) -> np.ndarray:
        """Which territories (C,) have enough users for an interval."""
        return self.population.residents >= ENOUGH_USERS

    @cached_property
    def drawn(self) -> np.ndarray:
        """How often each user counts in each replicate, (R, U) uint8."""
        return np.concatenate([self.weights(turn).T for turn in self.turns])

    def means(self, values: np.ndarray) -> Resampled:
        """Means per territory, and last of all users, of figures (S, n); users without one (NaN) are left out.

        Errors: InputError when shapes differ.
        """
        values = np.asarray(values, np.float64)
        if values.ndim != 2 or values.shape[1] != self.population.size or not len(values):
            raise InputError(f"values {values.shape}: expected a table, seeds × {self.population.size} users")
        by_user = np.empty_like(values.T)  # (U, S), territory by territory
        by_user[self.population.row] = values.T
        defined = ~np.isnan(by_user)
        columns = np.concatenate([np.where(defined, by_user, 0.0), defined], axis=1)  # (U, 2 S)
        ends = np.cumsum(self.population.residents)
        starts = ends - self.population.residents

        def mean(weight: np.ndarray) -> np.ndarray:  # (R, U) → (R, S, 1, C + 1)
            sums = np.stack([weight[:, a:b] @ columns[a:b] for a, b in zip(starts, ends, strict=True)], axis=-1)
            sums = np.concatenate([sums, sums.sum(axis=-1, keepdims=True)], axis=-1)  # (R, 2 S, C + 1)
            return ratio(*np.split(sums, 2, axis=1))[:, :, None]

        resampled = np.concatenate([mean(self.drawn[turn.start : turn.stop].astype(float)) for turn in self.turns])
        return Resampled(mean(np.ones((1, self.population.size)))[0], resampled)

    def level(self, found: Resampled) -> Level:
        """The means of one method."""
        measured, resampled = found.measured[:, 0], found.resampled[:, :, 0]
        low, high = np.clip(self._interval(measured[:, :-1], resampled[:, :, :-1]), 0, 1)
        of_territories = (mean_defined(values[..., :-1][..., self.enough], -1) for values in (measured, resampled))
        overall = self._with_interval(measured[:, -1], resampled[:, :, -1]).cut(0, 1)
        macro = self._with_interval(*of_territories).cut(0, 1)
        return Level(overall, macro, measured[:, :-1].mean(axis=0), low, high)

    def gain(self, method: Resampled, baseline: Resampled, major: np.ndarray) -> GainSummary:
        """The relative gain of a method over a baseline, in percent; ``major`` (C,) bool as in ``summarise``."""
        return summarise(self.gains(method, baseline), major, self.enough)

    def change(self, method: Resampled, baseline: Resampled) -> MeanWithInterval:
        """The difference of the means of all users, method minus baseline."""
        measured = method.measured[:, 0, -1] - baseline.measured[:, 0, -1]
        return self._with_interval(measured, method.resampled[:, :, 0, -1] - baseline.resampled[:, :, 0, -1])

    def _interval(self, measured: np.ndarray, resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return percentile_interval(with_seed_noise(resampled, measured, self.seed_noise(len(measured))))

    def _with_interval(self, measured: np.ndarray, resampled: np.ndarray) -> MeanWithInterval:
        """A figure of each seed (S,), with an interval from its replicates (R, S)."""
        low, high = self._interval(measured, resampled)
        return MeanWithInterval(float(measured.mean()), float(low), float(high))
