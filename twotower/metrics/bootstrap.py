"""Intervals of gains by a bootstrap over test users and seeds.

A replicate of the test draws, in each territory, as many users as it has, with replacement; a user brings all pairs of
all periods along, and is the same for both methods and all seeds. So that pairs of one user, which are alike, count as
one observation (the cluster bootstrap: Field & Welsh 2007, "Bootstrapping clustered data"; Cameron, Gelbach & Miller
2008), that a territory keeps its number of users (strata), and that what a user decides for both methods cancels out.

Seeds are a second, much smaller sample, of trainings. A gain varies with the users, with the seed, and with what a seed
does to single users:

    variance of the mean = σ_u²/U + σ_s²/S + σ_us²/(U S)

Drawing users, with all seeds kept, shows the first and the last term. Drawing seeds too, independently, would count the
last one three times (Owen 2007, "The pigeonhole bootstrap"), and five values have no tails to draw from. So the middle
term is added to a replicate instead: √(σ_s²/S) times a draw from Student's t with S − 1 degrees of freedom, the same
draw for all territories. σ_s² is the variance of the gain over seeds less the part of it that users explain, σ_us²/U,
which the replicates show: the moment estimate of a variance component (Searle, Casella & McCulloch 1992), not below 0.
One seed says nothing of other trainings: the interval then holds for that training alone.

Undefined: a gain of a territory in a period in which no positive counts is NaN, and a replicate's gain is the mean over
the other periods. Where none is left the replicate is NaN for this territory, and left out. An interval needs
DEFINED_SHARE of the replicates.

Names: B pairs, S seeds, N periods, C territories, R replicates, U users with pairs.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.metrics.averages import mean_defined, spread
from twotower.metrics.checks import check_column, check_key, check_labels, check_pairs, check_weights
from twotower.metrics.gains import relative_gain
from twotower.metrics.weighted_precision import LANES, Ranking, empty_weights, order_by_score

STAGE = "bootstrap"
LEVEL = 0.95  # of intervals
DEFINED_SHARE = 0.9  # of the replicates must be defined for an interval to be given


@dataclass(frozen=True, eq=False)
class BootstrapGains:
    """Gains in percent of method over baseline, as measured and in the replicates; NaN: undefined."""

    seeds: np.ndarray  # (S, N, C) as measured, per seed and period
    overall_seeds: np.ndarray  # (S, N) the same for the pairs of all territories in one ranking
    resampled: np.ndarray  # (R, S, C) on resampled users, the mean over periods
    overall_resampled: np.ndarray  # (R, S)
    seed_noise: np.ndarray  # (R,) of the seeds: draws from Student's t, 0 with one seed
    users: np.ndarray  # (C,) int64, users with pairs
    positives: np.ndarray  # (C,) int64
    users_with_positives: np.ndarray  # (C,) int64

    @property
    def by_period(self) -> np.ndarray:
        """Gain per period and territory (N, C), the mean over seeds."""
        return self.seeds.mean(axis=0)

    @property
    def by_seed(self) -> np.ndarray:
        """Gain per seed and territory (S, C), the mean over the periods in which it is defined."""
        return mean_defined(self.seeds, axis=1)

    @property
    def estimate(self) -> np.ndarray:
        """Gain per territory (C,), the mean over periods and seeds."""
        return self.by_seed.mean(axis=0)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation (n − 1) over seeds (C,); NaN with one seed."""
        return spread(self.by_seed)

    @property
    def replicates(self) -> np.ndarray:
        """Gain per territory in each replicate (R, C), on resampled users, with the noise of seeds added."""
        return with_seed_noise(self.resampled, self.by_seed, self.seed_noise)

    @property
    def overall(self) -> float:
        """Gain in the ranking of all territories together, the mean over periods and seeds."""
        return float(mean_defined(self.overall_seeds, axis=1).mean())

    @property
    def overall_replicates(self) -> np.ndarray:
        """The same in each replicate (R,)."""
        return with_seed_noise(self.overall_resampled, mean_defined(self.overall_seeds, axis=1), self.seed_noise)

    def mean(self, rows: np.ndarray) -> float:
        """Mean gain over some territories, those where it is defined, each with the same weight."""
        return float(mean_defined(self.estimate[rows]))

    def mean_over(self, rows: np.ndarray) -> np.ndarray:
        """The same mean in each replicate (R,)."""
        resampled, by_seed = (
            mean_defined(self.resampled[:, :, rows], axis=2),
            mean_defined(self.by_seed[:, rows], axis=1),
        )
        return with_seed_noise(resampled, by_seed, self.seed_noise)


@dataclass(frozen=True, eq=False)
class Resampled:
    """A figure of one method per territory, and last of all territories together; NaN: undefined."""

    measured: np.ndarray  # (S, N, C + 1)
    resampled: np.ndarray  # (R, S, N, C + 1)


class Replicates:
    """Resampled users: the same for every method, so that what a user decides for two methods cancels out."""

    def __init__(
        self,
        user: np.ndarray,
        territory: np.ndarray,
        n_territories: int,
        positive: np.ndarray,
        rng: np.random.Generator,
        replicates: int,
    ):
        """``user`` (B,) any integers, the ``territory`` (B,) of each; ``positive`` (B,) bool: what supports the figure.

        Errors: InputError when shapes differ, a territory does not exist, or a user has pairs in two territories.
        """
        if replicates < 1:
            raise InputError(f"{replicates} replicates: expected at least 1")
        self.territory = check_key(territory, n_territories, len(territory), "territories")
        self.population = Population(np.asarray(user), self.territory, n_territories)
        self.positive = positive
        self.starts = rng.integers(0, 2**63 - 1, replicates)  # a generator for each replicate, whoever computes it
        self.rng = rng  # of the seeds' noise
        self.turns = [range(start, min(start + LANES, replicates)) for start in range(0, replicates, LANES)]

    def weights(self, turn: range) -> np.ndarray:
        """How often each user counts in some replicates, (U, len(turn)) uint8."""
        weight = empty_weights(self.population.size)[:, : len(turn)]
        for lane, r in enumerate(turn):
            drawn = self.population.draw(np.random.default_rng(self.starts[r]))
            weight[:, lane] = check_weights(drawn, (self.population.size,))
        return weight

    def seed_noise(self, n_seeds: int) -> np.ndarray:
        """Draws from Student's t (R,), the same for every two methods; 0 with one seed."""
        R = len(self.starts)
        return deepcopy(self.rng).standard_t(n_seeds - 1, R) if n_seeds > 1 else np.zeros(R)

    def gains(self, method: Resampled, baseline: Resampled) -> BootstrapGains:
        """The gain of a method over a baseline with as many seeds, matched one to one."""
        measured = relative_gain(method.measured, baseline.measured)
        resampled = mean_defined(relative_gain(method.resampled, baseline.resampled), axis=2)
        return BootstrapGains(
            seeds=measured[..., :-1],
            overall_seeds=measured[..., -1],
            resampled=resampled[..., :-1],
            overall_resampled=resampled[..., -1],
            seed_noise=self.seed_noise(len(measured)),
            users=self.population.residents,
            positives=np.bincount(self.territory[self.positive], minlength=len(self.population.residents)),
            users_with_positives=self.population.residents_among(self.population.row[self.positive]),
        )


class Resampling(Replicates):
    """Replicates of some test pairs, in which PR-AUC is computed again; each method is ranked once."""

    def __init__(
        self,
        labels: np.ndarray,
        user: np.ndarray,
        territory: np.ndarray,
        n_territories: int,
        period: np.ndarray,
        *,
        rng: np.random.Generator,
        replicates: int = 1000,
        threads: int = 1,
        n_periods: int | None = None,
    ):
        """``labels`` (B,) are 0 and 1, ``user`` (B,) any integers, ``territory`` (B,) 0 to ``n_territories`` − 1,
        ``period`` (B,) 0 to N − 1, where N is by default that of the last pair. The same ``rng`` gives the same bits on
        any number of threads.

        Errors: InputError when shapes differ, a label or key is out of range, or a user has pairs in two territories.
        """
        if threads < 1:
            raise InputError(f"{threads} threads: expected at least 1")
        positive, self.threads = check_labels(labels), threads
        check_column("territories", territory, positive.shape, "iu")
        period = check_column("periods", period, positive.shape, "iu")
        n_periods = int(np.max(period, initial=0)) + 1 if n_periods is None else n_periods
        self.period = check_key(period, n_periods, positive.size, "periods")
        self.shape = n_periods, n_territories
        super().__init__(user, territory, n_territories, positive, rng, replicates)

    def pr_auc(self, scores: np.ndarray, progress: Progress = silent) -> Resampled:
        """PR-AUC of scores (S, B), as measured and in each replicate. Errors: InputError for shapes and NaN."""
        scores = np.asarray(scores)
        if scores.ndim != 2 or scores.shape[1:] != self.positive.shape or not len(scores):
            raise InputError(f"scores {scores.shape}: expected a table, seeds × {self.positive.size} pairs")
        replicates = len(self.starts)
        progress(STAGE, 0, replicates)
        cells = self.population.row, self.territory, self.period, self.shape
        rankings = [CellRankings(self.positive, of_seed, *cells) for of_seed in scores]
        resampled = np.empty((replicates, len(scores), self.shape[0], self.shape[1] + 1))

        def weigh(weight: np.ndarray) -> np.ndarray:  # (S, N, C + 1, R)
            return np.stack([ranking.average_precision(weight) for ranking in rankings])

        def take_turn(turn: range) -> int:
            resampled[turn.start : turn.stop] = np.moveaxis(weigh(self.weights(turn)), -1, 0)
            return turn.stop

        with ThreadPoolExecutor(self.threads) as pool:
            done: Iterable[int] = pool.map(take_turn, self.turns)
            for count in done:
                progress(STAGE, count, replicates)
        return Resampled(weigh(np.ones((self.population.size, 1), np.uint8))[..., 0], resampled)


def without_replicates(seeds: np.ndarray, overall_seeds: np.ndarray) -> BootstrapGains:
    """Gains (S, N, C) and overall gains (S, N) of which nothing but the figures is known: no interval is defined."""
    none = np.full((1, len(seeds)), np.nan)
    counts = np.zeros(seeds.shape[-1], np.int64)
    resampled = np.broadcast_to(none[..., None], (1, len(seeds), seeds.shape[-1]))
    return BootstrapGains(seeds, overall_seeds, resampled, none, np.zeros(1), counts, counts, counts)


def with_seed_noise(resampled: np.ndarray, by_seed: np.ndarray, seed_noise: np.ndarray) -> np.ndarray:
    """Mean over seeds in each replicate (R, …), with the part of the seeds added: √(σ_s²/S) · seed_noise.

    ``resampled`` (R, S, …) gains on resampled users, ``by_seed`` (S, …) as measured, ``seed_noise`` (R,).
    """
    of_users = resampled.mean(axis=1)
    n_seeds = len(by_seed)
    if n_seeds == 1:
        return of_users
    apart = resampled - of_users[:, None]
    apart -= mean_defined(apart, axis=0)
    users_part = mean_defined(apart**2, axis=0).sum(axis=0) / (n_seeds - 1)  # σ_us²/U
    seed_variance = np.maximum(0.0, spread(by_seed) ** 2 - users_part)  # σ_s²
    return of_users + seed_noise.reshape(-1, *[1] * (of_users.ndim - 1)) * np.sqrt(seed_variance / n_seeds)


def percentile_interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of the percentile interval (Efron & Tibshirani 1993, §13.3) along the first axis.

    ``replicates`` (R, …); NaN where fewer than DEFINED_SHARE of them are defined.
    """
    replicates = np.asarray(replicates)
    trusted = np.count_nonzero(~np.isnan(replicates), axis=0) >= max(1, DEFINED_SHARE * len(replicates))
    tail = (1 - level) / 2
    ends = np.nanquantile(np.where(trusted, replicates, 0.0), [tail, 1 - tail], axis=0)
    low, high = np.where(trusted, ends, np.nan)
    return low, high


class Population:
    """The users with pairs, numbered territory by territory, and how replicates draw them."""

    def __init__(self, user: np.ndarray, territory: np.ndarray, n_territories: int):
        """Errors: InputError when ``user`` (B,) are not as many integers as ``territory`` (B,), or one has two."""
        if user.shape != territory.shape or user.dtype.kind not in "iu":
            raise InputError(f"users: {user.dtype} {user.shape}, expected {len(territory)} integers, one per pair")
        known, first, number = np.unique(user, return_index=True, return_inverse=True)
        moved = np.flatnonzero(territory[first][number] != territory)
        if moved.size:
            raise InputError(f"users: user {user[moved[0]]} has pairs in two territories, the second in row {moved[0]}")
        order = np.argsort(territory[first], kind="stable")
        rank = np.empty(len(known), np.int32)
        rank[order] = np.arange(len(known))
        self.size = len(known)
        self.row = rank[number]  # (B,) each pair's user, from 0 to U − 1
        self.home = territory[first][order]  # (U,)
        self.residents = np.bincount(self.home, minlength=n_territories)  # (C,)
        self._first = (np.cumsum(self.residents) - self.residents)[self.home]  # (U,) the first user of the territory

    def residents_among(self, rows: np.ndarray) -> np.ndarray:
        """How many distinct users (C,) of each territory are among some rows."""
        return np.bincount(self.home[np.unique(rows)], minlength=len(self.residents))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """How often each user counts (U,) int32 when each territory draws its number of users with replacement."""
        resampled = self._first + (rng.random(self.size) * self.residents[self.home]).astype(np.int64)
        return np.bincount(resampled, minlength=self.size).astype(np.int32)


class CellRankings:
    """One method's scores of one seed, ranked within each territory and period, and within each period."""

    def __init__(
        self,
        positive: np.ndarray,
        scores: np.ndarray,
        row: np.ndarray,
        territory: np.ndarray,
        period: np.ndarray,
        shape: tuple[int, int],
    ):
        """``row`` (B,) is each pair's user in weightings, ``shape`` (N, C)."""
        self.shape = shape
        positive, scores = check_pairs(positive, scores)
        order = order_by_score(positive, scores)
        cell = period * np.int32(shape[1]) + territory
        self.by_territory = Ranking(positive, scores, row, cell, shape[0] * shape[1], order)
        self.together = Ranking(positive, scores, row, period, shape[0], order)

    def average_precision(self, weight: np.ndarray) -> np.ndarray:
        """PR-AUC per period and territory, and last of all territories together, of each weighting: (N, C + 1, R)."""
        by_territory = self.by_territory.average_precision(weight)
        together = self.together.average_precision(weight)
        return np.concatenate([by_territory.reshape(*self.shape, -1), together[:, None]], axis=1)
