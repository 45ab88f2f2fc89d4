"""How far apart the scores of two models for the same pairs are distributed.

    ks           sup_x |F(x) − G(x)|      largest gap between the distribution functions, from 0 to 1
    wasserstein  ∫ |F(x) − G(x)| dx       average distance to move scores to turn one distribution into the other
    shift        mean of the method − mean of the baseline

Wasserstein = |shift| when all scores move in one direction; a larger value means that some rise and others fall.
Massey 1951; Ramdas, García Trillos & Cuturi 2017. No test is made of them: pairs of one user are not independent.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from twotower.core.errors import InputError


class Distance(NamedTuple):
    """Of the method's scores from the baseline's; NaN without scores."""

    ks: float
    wasserstein: float  # in the unit of the scores
    shift: float  # in the unit of the scores


def distance(method: np.ndarray, baseline: np.ndarray) -> Distance:
    """Distances between two samples of scores, of any shape and length; NaN where one is empty.

    Errors: InputError for scores that are not finite.
    """
    a, b = (np.asarray(scores, np.float64).ravel() for scores in (method, baseline))
    for name, scores in (("method", a), ("baseline", b)):
        if not np.isfinite(scores).all():
            raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(scores))} scores are not finite")
    if not len(a) or not len(b):
        return Distance(np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore"):  # of the p-value, which is not used; "asymp" computes it fastest
        ks = stats.ks_2samp(a, b, method="asymp").statistic
    return Distance(float(ks), float(stats.wasserstein_distance(a, b)), float(a.mean() - b.mean()))
