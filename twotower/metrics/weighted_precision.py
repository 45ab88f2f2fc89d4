"""Average precision of one ranking under many weightings of its users: sorted once, then a linear pass for 64 of them.

A weight is how often a user counts: with weight w each pair of the user stands in the list w times. So for the
distinct scores t_1 > t_2 > … of the pairs that count, with sums of weights in place of numbers of pairs,

    AP = Σ_n (R_n − R_{n−1}) P_n       P_n = weight of positives retrieved / weight retrieved, R_n likewise

as in ``average_precision``, exact where scores are tied; weights of 1 give the same bits as it does. What a weighting
needs is worked out beforehand: between two blocks of positives that share a score, which negatives are retrieved.
Negatives below the last positive move nothing and are never visited.

A pass takes LANES weightings at once. In the order of scores users come at random, so that a pass costs what fetching
their weights costs; as bytes, LANES of them are the one cache line that is fetched anyway.

Names: B pairs, U users, K cells (a territory in a period), M blocks of positives, R weightings.
"""

import numpy as np

from twotower.core.jit import COMPILES, njit
from twotower.metrics.checks import check_key, check_pairs, check_weights

LANES = 64 if COMPILES else 4  # weightings of one pass: a cache line of weights


class Ranking:
    """The pairs of each cell from the highest score down, ready to be weighted."""

    def __init__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        user: np.ndarray,
        cell: np.ndarray,
        n_cells: int,
        by_score: np.ndarray | None = None,
    ):
        """Sort ``scores`` (B,), whose ``labels`` (B,) are 0 and 1, within each ``cell`` (B,), 0 to ``n_cells`` − 1.

        ``user`` (B,) says whose weight a pair has, as a row from 0. ``by_score`` (B,) is what ``order_by_score`` gives,
        where several rankings of the same scores share it.

        Errors: InputError as for ``average_precision_by``, and for users that are no integers or negative.
        """
        positive, scores = check_pairs(labels, scores)
        cell = check_key(cell, n_cells, len(scores))
        user = np.asarray(user)
        self.n_users = int(np.max(user, initial=-1)) + 1
        user = check_key(user, self.n_users, len(scores), "users")
        by_score = order_by_score(positive, scores) if by_score is None else by_score
        keys = cell[by_score].astype(np.uint16 if n_cells <= 2**16 else np.int32)  # 16 bits: NumPy sorts by radix
        order = by_score[np.argsort(keys, kind="stable")]
        positive, scores, cell = positive[order], scores[order], cell[order]
        self.user = user[order]  # (B,)

        joined = positive[1:] & positive[:-1] & (scores[1:] == scores[:-1]) & (cell[1:] == cell[:-1])
        begins = np.flatnonzero(positive & ~np.append([False], joined)[: len(order)])
        ends = 1 + np.flatnonzero(positive & ~np.append(joined, [False])[: len(order)])
        before = np.append([0], ends[:-1])[: len(ends)]  # the end of the block above, of this cell or the one before
        cell_begins = np.searchsorted(cell, cell[begins])
        # (M, 3): where the negatives since the last block begin, where the positives of this one begin, where they end
        self.bounds = np.ascontiguousarray(np.stack([np.maximum(before, cell_begins), begins, ends], axis=1), np.int64)
        self.blocks = np.searchsorted(cell[begins], np.arange(n_cells + 1)).astype(np.int64)  # (K+1,) blocks of cells

    def average_precision(self, weight: np.ndarray) -> np.ndarray:
        """Average precision of each cell (K, R) float64 when user u counts ``weight[u, r]`` times, R ≤ LANES.

        NaN for a cell in which no positive counts. Errors: InputError for a user without a weight, and for weights
        that are no integers, negative or above MAX_WEIGHT.
        """
        weight = np.asarray(weight)
        n_weightings = weight.shape[1]
        weight = check_weights(weight, (max(len(weight), self.n_users), n_weightings))
        if n_weightings < LANES:
            padded = empty_weights(len(weight))
            padded[:, :n_weightings], padded[:, n_weightings:] = weight, 0
            weight = padded
        out = np.empty((len(self.blocks) - 1, LANES))
        weigh_blocks(out, weight, self.user, self.bounds, self.blocks)
        return out[:, :n_weightings]


def order_by_score(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Pairs (B,) from the highest score down; in a block of ties the negatives come first."""
    return np.lexsort((positive, -scores))


def empty_weights(n_users: int) -> np.ndarray:
    """Weights (U, LANES) uint8 to be filled, each user's in one cache line."""
    buffer = np.empty((n_users + 1) * LANES, np.uint8)  # one row more, to begin where a line does
    start = -buffer.ctypes.data % LANES
    return buffer[start : start + n_users * LANES].reshape(n_users, LANES)


def weighted_average_precision(labels: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> float:
    """Average precision when pair i stands in the list ``weight[i]`` times, a whole number ≥ 0: all (B,).

    NaN when no positive has a weight.

    Errors: InputError as for ``average_precision``, or unless weights are integers from 0 to MAX_WEIGHT.
    """
    weight = check_weights(weight, (len(scores),))
    ranking = Ranking(labels, scores, np.arange(len(weight)), np.zeros(len(weight), np.int32), 1)
    return float(ranking.average_precision(weight[:, None])[0, 0])


@njit(cache=True, nogil=True)
def weigh_blocks(out: np.ndarray, weight: np.ndarray, user: np.ndarray, bounds: np.ndarray, blocks: np.ndarray) -> None:
    """out (K, LANES) is the output; weight (U, LANES), user (B,), bounds (M, 3) and blocks (K+1,) are those of Ranking.

    Sums of weights are whole numbers, exact in float64. Loops over lanes have a fixed length: they become vector code.
    """
    block = np.empty(LANES, np.int32)
    positives, retrieved, total = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for k in range(len(out)):
        positives[:], retrieved[:], total[:] = 0, 0, 0
        for m in range(blocks[k], blocks[k + 1]):
            add_weights(block, weight, user, bounds[m, 0], bounds[m, 1])
            for lane in range(LANES):
                retrieved[lane] += block[lane]
            add_weights(block, weight, user, bounds[m, 1], bounds[m, 2])
            for lane in range(LANES):
                positives[lane] += block[lane]
                retrieved[lane] += block[lane]
                total[lane] += block[lane] * (positives[lane] / max(retrieved[lane], 1.0))
        for lane in range(LANES):
            out[k, lane] = total[lane] / positives[lane] if positives[lane] > 0 else np.nan


@njit(cache=True, nogil=True)
def add_weights(block: np.ndarray, weight: np.ndarray, user: np.ndarray, start: int, end: int) -> None:
    """block (LANES,) int32 = the weights of the users of pairs ``start`` to ``end``, four at a time."""
    block[:] = 0
    i = start
    while i + 4 <= end:
        a, b, c, d = user[i], user[i + 1], user[i + 2], user[i + 3]
        for lane in range(LANES):
            two = np.int32(weight[a, lane]) + np.int32(weight[b, lane])
            block[lane] += two + np.int32(weight[c, lane]) + np.int32(weight[d, lane])
        i += 4
    while i < end:
        a = user[i]
        for lane in range(LANES):
            block[lane] += np.int32(weight[a, lane])
        i += 1
