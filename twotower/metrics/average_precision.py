"""Average precision, the area under the precision-recall curve, exact where scores are tied.

    thresholds t_1 > t_2 > … are the distinct scores; a pair is retrieved at t when its score is ≥ t
    P_n = positives retrieved / pairs retrieved            precision at t_n
    R_n = positives retrieved / positives                  recall at t_n
    AP  = Σ_n (R_n − R_{n−1}) P_n

Pairs with one score stand or fall together, so a block of ties is one threshold and the order of the rows
cannot matter. This is the definition of scikit-learn's ``average_precision_score``.

The road taken: only the positives move recall, so all that AP needs is, for each positive score, how many
negatives are at or above it. Positives and negatives are set apart, each side is sorted as bare numbers (by
NumPy's vectorised sort, no index to carry along), and one merge from the top counts both. The usual road, an
argsort of all pairs and cumulative sums, moves an index of eight bytes with every score; both are timed in
``benchmarks/average_precision.py``.

Names: B pairs, K keys (territories, titles).
"""

import numpy as np

from twotower.core.errors import InputError
from twotower.core.jit import njit


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The average precision of ``scores`` (B,) for ``labels`` (B,) of 0 and 1; NaN when no label is 1.

    Infinite scores are scores like others: above, or below, everything else.

    Errors: InputError when the shapes differ, a label is neither 0 nor 1, or a score is NaN.
    """
    positive, scores = check_pairs(labels, scores)
    parted = np.empty_like(scores)  # (B,) the negatives, then the positives
    middle = part_by_label(parted, positive, scores)
    return sorted_average_precision(parted[:middle], parted[middle:])


def average_precision_by(labels: np.ndarray, scores: np.ndarray, key: np.ndarray, n_keys: int) -> np.ndarray:
    """Average precision among the pairs of each key: (K,) float64, NaN for a key without a positive.

    One counting sort brings each key's negatives and positives together, however many keys there are.
    ``key`` (B,) holds integers from 0 to ``n_keys`` − 1.

    Errors: InputError as for ``average_precision``, or when a key is out of range.
    """
    positive, scores = check_pairs(labels, scores)
    key = check_key(key, n_keys, len(scores))
    grouped = np.empty_like(scores)  # (B,) key by key: its negatives, then its positives
    bounds = np.empty((n_keys, 3), np.int64)  # where a key begins, where its positives begin, where it ends
    group_by_key(grouped, bounds, key, positive, scores)

    return np.array([sorted_average_precision(grouped[a:b], grouped[b:c]) for a, b, c in bounds.tolist()])


def sorted_average_precision(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Average precision from the scores of negatives (M,) and positives (P,), which it sorts in place."""
    if not positives.size:
        return float("nan")
    negatives.sort()
    positives.sort()
    return merge_sorted(negatives, positives)


def support_by(labels: np.ndarray, key: np.ndarray, n_keys: int) -> tuple[np.ndarray, np.ndarray]:
    """How many pairs, and how many positives, each key has: two (K,) int64 arrays.

    Errors: InputError when the shapes differ, a label is neither 0 nor 1, or a key is out of range.
    """
    positive = check_labels(labels)
    key = check_key(key, n_keys, len(positive))
    return np.bincount(key, minlength=n_keys), np.bincount(key[positive], minlength=n_keys)


def check_pairs(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool and scores as contiguous float32 or float64, both (B,).

    Errors: InputError that says which row is wrong (rows count from 0).
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise InputError(f"labels {labels.shape}, scores {scores.shape}: expected two columns of one length")
    positive = check_labels(labels)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    if scores.size and np.isnan(scores.min()):  # a minimum hands NaN on, and allocates nothing
        bad = np.isnan(scores)
        raise InputError(f"scores: {bad.sum()} of {len(bad)} are NaN, the first in row {bad.argmax()}")
    return positive, np.ascontiguousarray(scores)


def check_labels(labels: np.ndarray) -> np.ndarray:
    """Labels (B,) as bool. Errors: InputError that names the first row that holds neither 0 nor 1."""
    labels = np.asarray(labels)
    positive = labels == 1
    known = np.count_nonzero(positive) + np.count_nonzero(labels == 0)
    if known < labels.size:
        row = int(np.argmin(positive | (labels == 0)))
        raise InputError(f"labels: row {row} holds {labels[row]}, expected 0 or 1")
    return positive


def check_key(key: np.ndarray, n_keys: int, n_pairs: int, what: str = "keys") -> np.ndarray:
    """Keys (B,) as contiguous int32.

    Errors: InputError when there are not B of them, or with the first row outside 0 … K − 1.
    """
    key = np.asarray(key)
    if key.shape != (n_pairs,) or key.dtype.kind not in "iu":
        raise InputError(f"{what}: {key.dtype} {key.shape}, expected {n_pairs} integers, one a pair")
    if key.size and (key.min() < 0 or key.max() >= n_keys):
        row = int(np.argmax((key < 0) | (key >= n_keys)))
        raise InputError(f"{what}: row {row} holds {key[row]}, expected 0 to {n_keys - 1}")
    return np.ascontiguousarray(key, np.int32)


@njit(cache=True, nogil=True)
def part_by_label(parted, positive, scores):
    """Negatives to the front of parted (B,), positives to its back; returns how many negatives there are.

    Each score is written to both ends and one end moves on: no branch, which random labels would mispredict.
    """
    front = 0
    back = scores.size - 1
    for i in range(scores.size):
        parted[front] = scores[i]
        parted[back] = scores[i]
        front += not positive[i]
        back -= positive[i]
    return front


@njit(cache=True, nogil=True)
def group_by_key(grouped, bounds, key, positive, scores):
    """Counting sort by key, within a key negatives before positives; order inside those is arbitrary.

    grouped (B,) and bounds (K, 3) are outputs: key k's negatives are grouped[bounds[k, 0]:bounds[k, 1]], its
    positives grouped[bounds[k, 1]:bounds[k, 2]].
    """
    bounds[:] = 0
    for i in range(key.size):
        bounds[key[i], 1 + positive[i]] += 1  # first the counts, negatives in column 1, positives in column 2
    start = 0
    for k in range(len(bounds)):
        negatives, positives = bounds[k, 1], bounds[k, 2]
        bounds[k, 0] = start
        bounds[k, 1] = start
        bounds[k, 2] = start + negatives
        start += negatives + positives
    for i in range(key.size):  # columns 1 and 2 run on to where the next score goes, and end at the bounds
        place = bounds[key[i], 1 + positive[i]]
        grouped[place] = scores[i]
        bounds[key[i], 1 + positive[i]] = place + 1


@njit(cache=True, nogil=True)
def merge_sorted(negatives, positives):
    """Average precision from the scores of negatives (M,) and positives (P,), P ≥ 1, both ascending."""
    i = positives.size - 1
    j = negatives.size - 1
    retrieved_positives = 0
    total = 0.0
    while i >= 0:
        threshold = positives[i]
        block = 0
        while i >= 0 and positives[i] == threshold:
            block += 1
            i -= 1
        while j >= 0 and negatives[j] >= threshold:
            j -= 1
        retrieved_positives += block
        retrieved = retrieved_positives + negatives.size - 1 - j
        total += block * (retrieved_positives / retrieved)
    return total / positives.size
