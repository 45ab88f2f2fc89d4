"""Histograms of the probabilities that the users of a territory get for a title: the paper's Figure 2.

Counts are kept, since counts of several runs and territories can be added; ``normalised`` makes shares of them.

Names: n users, T titles, C territories, M bins of equal width between 0 and 1.
"""

import numpy as np

from twotower.core.errors import InputError
from twotower.metrics.averages import ratio
from twotower.metrics.calibration import BINS, bin_of
from twotower.metrics.checks import check_column, check_key
from twotower.metrics.recommended import BLOCK


def user_histograms(
    probabilities: np.ndarray,
    user_territory: np.ndarray,
    n_territories: int,
    bins: int = BINS,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """How many users of each territory score each title how high: counts (C, T, M) uint32, and edges (M+1,).

    ``probabilities`` (n, T); ``user_territory`` (n,) integer; with ``allowed`` (n, T) bool, those pairs alone.
    A probability on an edge belongs, up to rounding, to the bin above it, 1 to the last.

    Errors: InputError when shapes do not fit, a territory does not exist or a probability is not from 0 to 1.
    """
    p = np.asarray(probabilities)
    if p.ndim != 2:
        raise InputError(f"probabilities {p.shape}: expected users × titles")
    n, T = p.shape
    user_territory = check_key(user_territory, n_territories, n, "user_territory")
    allowed = None if allowed is None else check_column("allowed", allowed, p.shape, "b")
    counts = np.zeros((n_territories, T * bins), np.uint32)
    of_title = np.arange(T) * bins  # where the bins of each title begin
    by_territory = np.argsort(user_territory, kind="stable")
    bounds = np.searchsorted(user_territory[by_territory], np.arange(n_territories + 1))
    step = max(1, BLOCK // max(1, T))
    for c in range(n_territories):
        for start in range(bounds[c], bounds[c + 1], step):
            users = by_territory[start : min(start + step, bounds[c + 1])]
            key = bin_of(p[users], bins) + of_title  # (users, T)
            chosen = key.ravel() if allowed is None else key[allowed[users]]
            counts[c] += np.bincount(chosen, minlength=T * bins).astype(np.uint32)
    return counts.reshape(n_territories, T, bins), np.linspace(0, 1, bins + 1)


def normalised(counts: np.ndarray) -> np.ndarray:
    """Shares of the users in each bin, (…, M) float64, adding up to 1; NaN where there are no users."""
    return ratio(counts, np.broadcast_to(counts.sum(axis=-1, keepdims=True), counts.shape))
