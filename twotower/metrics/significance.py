"""Significance of gains: p-values, corrections for many territories, verdicts.

Only territories with enough support are evaluated, chosen by their support and never by their gain: leaving out the
others favours no method and costs the evaluated territories nothing in the correction.

Names: C territories, R replicates. NaN is undefined everywhere, and is not one of the tests that are corrected for.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.stats import binomtest, false_discovery_control

from twotower.metrics.bootstrap import DEFINED_SHARE, LEVEL, BootstrapGains, percentile_interval
from twotower.metrics.results import ENOUGH_POSITIVES

ENOUGH_USERS = 30  # with positives; with fewer clusters resampling them is not to be trusted (Cameron et al. 2008)
BETTER, WORSE, UNDECIDED, TOO_SMALL = "better", "worse", "undecided", "too small"


@dataclass(frozen=True)
class MeanWithInterval:
    """A mean, such as a gain in percent, with the ends of its interval; NaN is undefined."""

    mean: float
    low: float
    high: float

    def cut(self, lowest: float, highest: float) -> "MeanWithInterval":
        """The same with an interval that stays between two values."""
        low, high = np.clip([self.low, self.high], lowest, highest).tolist()
        return replace(self, low=low, high=high)


@dataclass(frozen=True)
class MeanOverTerritories(MeanWithInterval):
    """The mean over evaluated territories, each with the same weight."""

    won: int  # territories with a gain above 0
    evaluated: int
    better: int  # by their verdicts
    worse: int
    sign_p: float  # p-value of the sign test


@dataclass(frozen=True, eq=False)
class GainSummary:
    """Gains of one method over another, in percent. NaN is undefined."""

    by_period: np.ndarray  # (N, C)
    average: np.ndarray  # (C,) over periods and seeds
    spread: np.ndarray  # (C,) standard deviation over seeds
    low: np.ndarray  # (C,) ends of the interval
    high: np.ndarray
    p: np.ndarray  # (C,)
    p_adjusted: np.ndarray  # (C,) corrected for the number of territories
    verdict: np.ndarray  # (C,) str: BETTER, WORSE, UNDECIDED or TOO_SMALL
    major: MeanOverTerritories
    all: MeanOverTerritories
    overall: MeanWithInterval  # of the rankings of all territories together

    def ordered(self, order: np.ndarray) -> "GainSummary":
        """The same with territories in another order (C,)."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        columns = {name: values[..., order] for name, values in columns.items() if isinstance(values, np.ndarray)}
        return replace(self, **columns)


def sign_test(wins: int, n: int) -> float:
    """Two-sided p-value of ``wins`` among ``n`` comparisons without a draw, if either side were as likely to win.

    Exact: the binomial distribution with 1/2 (Arbuthnott 1710; Conover 1999, §3.4). 1 when there is no comparison.
    It assumes independent comparisons. Territories evaluated with the same trained models are not: the noise of a seed
    affects many of them alike, so the p-value is optimistic.
    """
    return float(binomtest(wins, n).pvalue) if n else 1.0


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values (C,): at 5 %, at most 5 % of the *verdicts* are expected to be wrong.

    Benjamini & Hochberg 1995; it holds for independent tests, and for tests that rise and fall together in the sense of
    Benjamini & Yekutieli 2001.
    """
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested])
    return adjusted


def bootstrap_p(replicates: np.ndarray) -> np.ndarray:
    """Two-sided p-value (C,) of the gain being 0, from its replicates (R, C), by turning the interval round.

    The p-value is the smallest 1 − level whose percentile interval leaves 0 out: 2 · min(share ≤ 0, share ≥ 0)
    (Efron & Tibshirani 1993, §15.4 of intervals and tests), where one is added above and below the line so that it is
    never 0 (Davison & Hinkley 1997, §4.2): at least 2 / (R + 1). NaN where an interval is.
    """
    replicates = np.asarray(replicates)
    defined = np.count_nonzero(~np.isnan(replicates), axis=0)
    below, above = np.count_nonzero(replicates <= 0, axis=0), np.count_nonzero(replicates >= 0, axis=0)
    p = np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (defined + 1))
    return np.where(defined >= max(1, DEFINED_SHARE * len(replicates)), p, np.nan)


def enough_support(
    gains: BootstrapGains, min_positives: int = ENOUGH_POSITIVES, min_users: int = ENOUGH_USERS
) -> np.ndarray:
    """Which territories (C,) bool can be evaluated: so many positives, of so many users, and a gain that is defined."""
    enough = (gains.positives >= min_positives) & (gains.users_with_positives >= min_users)
    return enough & ~np.isnan(bootstrap_p(gains.replicates))


def verdicts(estimate: np.ndarray, p_adjusted: np.ndarray, evaluated: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """ "better", "worse" or "undecided" (C,); "too small" where not evaluated.

    ``estimate`` (C,) gains, ``p_adjusted`` (C,) for the evaluated territories.
    """
    sure = p_adjusted <= 1 - level + 1e-12  # 1 − 0.95 is not quite 0.05
    known = np.where(sure & (estimate > 0), BETTER, np.where(sure & (estimate < 0), WORSE, UNDECIDED))
    return np.where(evaluated, known, TOO_SMALL)


def summarise(
    gains: BootstrapGains,
    major: np.ndarray,
    evaluated: np.ndarray | None = None,
    level: float = LEVEL,
) -> GainSummary:
    """Gains of one method over another with intervals, p-values and verdicts.

    ``major`` (C,) bool marks the territories of the first mean; ``evaluated`` (C,) bool is ``enough_support`` when
    None. p is given wherever there is an interval, p_adjusted for evaluated territories, which are one family of tests.
    """
    evaluated = enough_support(gains) if evaluated is None else np.asarray(evaluated, bool)
    low, high = percentile_interval(gains.replicates, level)
    p = bootstrap_p(gains.replicates)
    p_adjusted = benjamini_hochberg(np.where(evaluated, p, np.nan))
    verdict = verdicts(gains.estimate, p_adjusted, evaluated, level)

    def over(chosen: np.ndarray) -> MeanOverTerritories:
        rows = np.flatnonzero(chosen & evaluated)
        won, lost = int((gains.estimate[rows] > 0).sum()), int((gains.estimate[rows] < 0).sum())
        return MeanOverTerritories(
            *with_interval(gains.mean(rows), gains.mean_over(rows), level),
            won=won,
            evaluated=len(rows),
            better=int((verdict[rows] == BETTER).sum()),
            worse=int((verdict[rows] == WORSE).sum()),
            sign_p=sign_test(won, won + lost),
        )

    return GainSummary(
        by_period=gains.by_period,
        average=gains.estimate,
        spread=gains.spread,
        low=low,
        high=high,
        p=p,
        p_adjusted=p_adjusted,
        verdict=verdict,
        major=over(np.asarray(major, bool)),
        all=over(np.ones(len(evaluated), bool)),
        overall=MeanWithInterval(*with_interval(gains.overall, gains.overall_replicates, level)),
    )


def with_interval(mean: float, replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """A mean and the ends of the interval of its replicates (R,)."""
    low, high = percentile_interval(replicates, level)
    return mean, float(low), float(high)
