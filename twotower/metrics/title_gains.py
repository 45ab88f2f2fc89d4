"""Local titles beside global ones with as many positives, and what a model gains on each: the paper's Table 3.

A model that lowers all popular titles would raise local ones by the way. So a local title is compared with a global one
that had as many training positives in that territory: what is left between the two is not the number of examples.

Names: C territories, T titles, S runs (seeds).
"""

from typing import NamedTuple

import numpy as np

from twotower.core.errors import InputError
from twotower.metrics.averages import mean_defined
from twotower.metrics.gains import relative_gain
from twotower.metrics.local_titles import TitleLocality


class TitlePair(NamedTuple):
    """A local title, and the global one that is comparable to it in the local one's home."""

    territory: int
    local: int  # title
    global_: int  # title
    local_positives: int  # in training, in the territory
    global_positives: int


class KindGains(NamedTuple):
    """The gains of all titles of a kind, each counted once; quartiles are NaN without titles."""

    titles: int
    ahead: int  # of them, with a gain above 0
    lower_quartile: float
    median: float
    upper_quartile: float


def gains_of_kind(gained: np.ndarray, chosen: np.ndarray) -> KindGains:
    """What the ``chosen`` (T,) bool of the ``gained`` (T,) percent come to; undefined gains are left out.

    Quartiles and not a mean: a title whose PR-AUC was next to nothing may gain some hundred percent.
    """
    gains = gained[chosen & ~np.isnan(gained)]
    quartiles = np.quantile(gains, [0.25, 0.5, 0.75]).tolist() if len(gains) else [np.nan] * 3
    return KindGains(len(gains), int(np.count_nonzero(gains > 0)), *quartiles)


def comparable_pairs(
    positives: np.ndarray,
    locality: TitleLocality,
    territories: np.ndarray | None = None,
    eligible: np.ndarray | None = None,
    per_territory: int = 1,
) -> list[TitlePair]:
    """For each territory its local titles with most training positives there, and a global title beside each.

    ``positives`` (C, T) training positives; ``territories``, in whose order the pairs come, by default all;
    ``eligible`` (T,) bool, the titles to choose from, such as those with enough test positives to be evaluated by.
    The global title is the one whose number of training positives in the territory is closest, of equally close ones
    the one with fewer, then the lower one; none is taken twice in one territory. Territories without a local or a
    global title are left out.

    Errors: InputError when shapes do not fit.
    """
    positives = np.asarray(positives)
    C, T = locality.local.shape
    eligible = np.ones(T, bool) if eligible is None else np.asarray(eligible, bool)
    if positives.shape != (C, T) or eligible.shape != (T,):
        raise InputError(f"positives {positives.shape}, eligible {eligible.shape}: expected {(C, T)} and {(T,)}")
    pairs = []
    for c in range(C) if territories is None else np.asarray(territories).tolist():
        here = positives[c]
        local = np.flatnonzero(locality.is_local & (locality.home_territory == c) & eligible)
        free = locality.is_global & eligible & (here > 0)
        for title in local[np.argsort(-here[local], kind="stable")][:per_territory]:
            rivals = np.flatnonzero(free)
            if not len(rivals):
                break
            closest = rivals[np.lexsort((rivals, here[rivals], np.abs(here[rivals] - here[title])))[0]]
            free[closest] = False
            pairs.append(TitlePair(c, int(title), int(closest), int(here[title]), int(here[closest])))
    return pairs


def title_gains(method: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Relative gain of PR-AUC of each title in percent (T,), from PR-AUC (S, T) of the same seeds of both.

    100 · (method − baseline) / baseline, the mean over seeds where it is defined; NaN where it never is.

    Errors: InputError when shapes differ.
    """
    if method.ndim != 2 or method.shape != baseline.shape:
        raise InputError(f"PR-AUC {method.shape} and {baseline.shape}: expected two tables, seeds × titles")
    return mean_defined(relative_gain(method, baseline), axis=0)
