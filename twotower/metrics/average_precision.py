"""Average precision, the area under the precision-recall curve, exact where scores are tied.

    thresholds t_1 > t_2 > … are the distinct scores; a pair is retrieved at t when its score is ≥ t
    P_n = positives retrieved / pairs retrieved            precision at t_n
    R_n = positives retrieved / positives                  recall at t_n
    AP  = Σ_n (R_n − R_{n−1}) P_n

Pairs with one score stand or fall together, so a block of ties is one threshold and the order of the rows
cannot matter. This is the definition of scikit-learn's ``average_precision_score``.

Algorithm: only positives change recall, so AP needs, for each positive score, the number of negatives at or above it.
Positives and negatives are separated, each side is sorted as plain numbers (NumPy's vectorised sort, no index to move),
and one merge from the top counts both. The usual way, an argsort of all pairs and cumulative sums, moves an index of
eight bytes with every score; ``benchmarks/average_precision.py`` times both.

Names: B pairs, K keys (territories, titles).
"""

import numpy as np

from twotower.core.jit import njit
from twotower.metrics.checks import check_key, check_labels, check_pairs


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


@njit(cache=True, nogil=True)
def part_by_label(parted: np.ndarray, positive: np.ndarray, scores: np.ndarray) -> int:
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
def group_by_key(
    grouped: np.ndarray, bounds: np.ndarray, key: np.ndarray, positive: np.ndarray, scores: np.ndarray
) -> None:
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
def merge_sorted(negatives: np.ndarray, positives: np.ndarray) -> float:
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
