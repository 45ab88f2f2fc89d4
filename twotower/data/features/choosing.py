"""Choose how the history is weighted: by titles of the history that are held out."""

import numpy as np
from scipy import sparse

from twotower.core.progress import Progress
from twotower.core.random_streams import Stream, generator
from twotower.data.features.svd import truncated_svd
from twotower.data.features.weighting import WEIGHTINGS, Weighting
from twotower.data.memory.regression import logistic_regression

SVD_USERS = 50_000  # whose histories are factorised, at most
HELD_OUT_USERS = 5_000  # of these, at most, each with a title held out: the time is bounded, however large the log
NEGATIVES = 4  # titles per held-out one that the user did not watch, at random
MOST_DIMS = 64  # columns that are compared, at most
FEWEST_USERS = 200  # below, there is too little to choose by: degree


def choose_weighting(counts: sparse.csr_matrix, dims: int, power: float, progress: Progress) -> dict[str, float]:
    """How well each weighting of counts (U, T) tells held-out titles from others, the best first.

    Every weighting gives users x and titles y of ``dims`` columns, at most ``MOST_DIMS``, from the history without the
    held-out titles. A logistic regression of the products x_i·y_i and the log of the title's popularity, as two towers
    could learn it, is fitted to half of the users. The measure is the average precision of the others' pairs. Empty
    where fewer than ``FEWEST_USERS`` users watched two titles.
    """
    rng = generator(0, Stream.HELD_OUT_TITLES)
    if counts.shape[0] > SVD_USERS:
        counts = counts[np.sort(rng.permutation(counts.shape[0])[:SVD_USERS])]
    watched = np.diff(counts.indptr)
    users = rng.permutation(np.flatnonzero(watched > 1))[:HELD_OUT_USERS]
    if len(users) < FEWEST_USERS:
        return {}
    at = counts.indptr[users] + (rng.random(len(users)) * watched[users]).astype(np.int64)
    others = rng.integers(counts.shape[1], size=(len(users), NEGATIVES))  # few were watched, and then they are noise
    title = np.concatenate([counts.indices[at], others.ravel()])
    row = np.concatenate([np.arange(len(users)), np.repeat(np.arange(len(users)), NEGATIVES)])
    label, fit = np.arange(len(title)) < len(users), row % 2 == 0
    rest = counts.copy()
    rest.data[at] = 0
    rest.eliminate_zeros()
    popularity = np.log1p(np.bincount(rest.indices, minlength=counts.shape[1]))[title, None]
    measured = {}
    for done, name in enumerate(WEIGHTINGS):
        progress("choosing the weighting", done, len(WEIGHTINGS))
        A = Weighting.of(name, rest).weigh(rest)
        factors = truncated_svd(A, min(dims, MOST_DIMS))
        x, y = factors.rows(A[users], power), factors.columns(power)
        X = np.concatenate([x[row] * y[title], popularity], axis=1)
        w, bias = logistic_regression(X[fit], label[fit])
        z = X[~fit] @ w + bias
        measured[name] = _average_precision(label[~fit], z)
    progress("choosing the weighting", len(WEIGHTINGS), len(WEIGHTINGS))
    return dict(sorted(measured.items(), key=lambda item: -item[1]))


def _average_precision(label: np.ndarray, z: np.ndarray) -> float:
    """Mean over the positives of the precision down to them, by falling z (n,); ``label`` (n,) bool."""
    positive = label[np.argsort(-z, kind="stable")]
    return float(np.mean((np.cumsum(positive) / np.arange(1, len(z) + 1))[positive]))
