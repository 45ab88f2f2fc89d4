"""How far apart two models' scores of the same pairs are distributed.

    KS           sup_x |F(x) − G(x)|      the largest gap between the distribution functions, from 0 to 1
    Wasserstein  ∫ |F(x) − G(x)| dx       how far scores must be moved on average to make one of the other (of order 1)
    shift        mean of method − mean of baseline, with its sign

All scores that move in one direction make Wasserstein = |shift|; one that is larger says that some went up and some
down. Massey 1951; Ramdas, García Trillos & Cuturi 2017. The figures describe: no test is made of them, since pairs of
one user are not independent.
"""

from typing import Any, NamedTuple

import numpy as np

from twotower.core.errors import InputError


class Distance(NamedTuple):
    """From their scores to method; NaN without scores."""

    ks: float
    wasserstein: float  # in the unit of the scores
    shift: float  # in the unit of the scores

    def record(self) -> dict[str, Any]:
        """Plain Python values, None where undefined."""
        return {name: None if np.isnan(value) else value for name, value in self._asdict().items()}


def distance(method: np.ndarray, baseline: np.ndarray) -> Distance:
    """Distances between two samples of scores, of any shape and length; NaN where one is empty.

    Errors: InputError for scores that are not finite.
    """
    a, b = (np.sort(np.asarray(scores, np.float64), axis=None) for scores in (method, baseline))
    for name, scores in (("method", a), ("baseline", b)):
        if not np.isfinite(scores).all():
            raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(scores))} scores are not finite")
    if not len(a) or not len(b):
        return Distance(np.nan, np.nan, np.nan)
    x = np.concatenate([a, b])
    x.sort(kind="stable")  # a merge: both halves are sorted
    gap = np.abs(np.searchsorted(a, x, "right") / len(a) - np.searchsorted(b, x, "right") / len(b))
    return Distance(float(gap.max()), float(gap[:-1] @ np.diff(x)), float(a.mean() - b.mean()))
