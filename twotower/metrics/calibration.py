"""Whether probabilities mean what they say: of the pairs scored 0.3, are 30 % positive?

    predicted_m, observed_m    mean probability and share of positives of the B_m pairs whose probability is in bin m
    ECE = Σ_m B_m / B · |observed_m − predicted_m|        expected calibration error

Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, equation 3, with equal-width bins as there. Names: B pairs, M bins.
"""

from dataclasses import dataclass

import numpy as np

from twotower.core.errors import InputError
from twotower.metrics.averages import ratio
from twotower.metrics.checks import check_column, check_key, check_pairs

BINS = 20  # M, of equal width


@dataclass(frozen=True, eq=False)
class Reliability:
    """The reliability curve: observed against predicted, one point per bin, NaN in empty bins."""

    edges: np.ndarray  # (M+1,) from 0 to 1; the last bin contains 1
    predicted: np.ndarray  # (M,) mean probability
    observed: np.ndarray  # (M,) share of positives
    pairs: np.ndarray  # (M,) int64

    @property
    def ece(self) -> float:
        """Expected calibration error, from 0 to 1; NaN without pairs."""
        gaps = np.where(self.pairs > 0, np.abs(self.observed - self.predicted), 0.0)
        return float(ratio(self.pairs @ gaps, self.pairs.sum()))

    @property
    def excess(self) -> float:
        """Mean probability minus share of positives: above 0, the model overestimates."""
        mass = np.where(self.pairs > 0, self.predicted - self.observed, 0.0)
        return float(ratio(self.pairs @ mass, self.pairs.sum()))


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> Reliability:
    """The reliability curve of probabilities (B,) for labels (B,) of 0 and 1, in bins of equal width.

    A probability on an edge belongs, up to rounding, to the bin above it, 1 to the last.

    Errors: InputError when the shapes differ, a label is neither 0 nor 1, or a probability is not from 0 to 1.
    """
    positive, p = check_pairs(labels, probabilities)
    which = bin_of(p, bins)
    pairs = np.bincount(which, minlength=bins)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        predicted=ratio(np.bincount(which, weights=p, minlength=bins), pairs),
        observed=ratio(np.bincount(which[positive], minlength=bins), pairs),
        pairs=pairs,
    )


def calibration_by(
    labels: np.ndarray, probabilities: np.ndarray, key: np.ndarray, n: int, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray]:
    """Expected calibration error and excess of each key's own pairs, (n,) each; NaN without pairs.

    ``key`` (B,) integer from 0 to n − 1, such as the territory of each pair's user. Each is what ``reliability`` of
    these pairs alone gives.

    Errors: InputError as for ``reliability``, and for a key that does not exist.
    """
    positive, p = check_pairs(labels, probabilities)
    key = check_key(key, n, len(p))
    cell = key.astype(np.int64) * bins + bin_of(p, bins)  # (B,)
    gap = p.astype(np.float64) - positive
    sums = np.bincount(cell, weights=gap, minlength=n * bins).reshape(n, bins)
    pairs = np.bincount(key, minlength=n)
    return ratio(np.abs(sums).sum(axis=1), pairs), ratio(sums.sum(axis=1), pairs)


def bin_of(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each probability, of ``bins`` of equal width between 0 and 1, int64; 1 is in the last.

    Errors: InputError for a probability outside 0 to 1 (a logit, say) or NaN, and without bins.
    """
    p = np.asarray(probabilities)
    if bins < 1:
        raise InputError(f"{bins} bins, expected at least 1")
    if p.size and not (p.min() >= 0 and p.max() <= 1):  # NaN fails both
        raise InputError(f"probabilities: from {p.min()} to {p.max()}, expected 0 to 1")
    return np.minimum((p * bins).astype(np.int64), bins - 1)


def user_histograms(probabilities: np.ndarray, allowed: np.ndarray, bins: int = BINS) -> np.ndarray:
    """How many users score each title how high: counts (T, bins) int64 of the allowed pairs, the paper's Figure 2.

    ``probabilities`` (n, T); ``allowed`` (n, T) bool. Errors: InputError when shapes differ, and as for ``bin_of``.
    """
    allowed = check_column("allowed", allowed, np.shape(probabilities), "b")
    n_titles = allowed.shape[1]
    key = bin_of(probabilities, bins) + np.arange(n_titles) * bins
    return np.bincount(key[allowed], minlength=n_titles * bins).reshape(n_titles, bins)
