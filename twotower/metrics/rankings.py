"""Average precision of one ranking under many weightings of its users: sorted once, then a linear pass each.

A weight is how often a user counts: with weight w each pair of the user stands in the list w times. So for the
distinct scores t_1 > t_2 > … of the pairs that count, with sums of weights in place of numbers of pairs,

    AP = Σ_n (R_n − R_{n−1}) P_n       P_n = weight of positives retrieved / weight retrieved, R_n likewise

as in ``average_precision``, exact where scores are tied; weights of 1 give the same bits as it does. What a weighting
needs is worked out beforehand: between two blocks of positives that share a score, which negatives are retrieved.
Negatives below the last positive move nothing and are never visited.

Names: B pairs, U users, K cells (a territory in a period), M blocks of positives.
"""

import numpy as np

from twotower.core.jit import njit
from twotower.metrics.checks import check_key, check_pairs, check_weights


class Ranking:
    """The pairs of each cell from the highest score down, ready to be weighted."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray, user: np.ndarray, cell: np.ndarray, n_cells: int):
        """Sort ``scores`` (B,), whose ``labels`` (B,) are 0 and 1, within each ``cell`` (B,), 0 to ``n_cells`` − 1.

        ``user`` (B,) says whose weight a pair has, as a row from 0.

        Errors: InputError as for ``average_precision_by``, and for users that are no integers or negative.
        """
        positive, scores = check_pairs(labels, scores)
        cell = check_key(cell, n_cells, len(scores))
        user = np.asarray(user)
        self.n_users = int(np.max(user, initial=-1)) + 1
        user = check_key(user, self.n_users, len(scores), "users")
        order = np.lexsort((positive, -scores, cell))  # in a block of ties the negatives come first
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
        """Average precision of each cell (K,) float64 when user u counts ``weight[u]`` times, an integer.

        NaN for a cell in which no positive counts. Errors: InputError for a user without a weight, and for weights
        that are no integers, negative or above MAX_WEIGHT.
        """
        weight = check_weights(weight, max(len(weight), self.n_users))
        out = np.empty(len(self.blocks) - 1)
        weigh_blocks(out, weight, self.user, self.bounds, self.blocks)
        return out


def weighted_average_precision(labels: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> float:
    """Average precision when pair i stands in the list ``weight[i]`` times, a whole number ≥ 0: all (B,).

    NaN when no positive has a weight.

    Errors: InputError as for ``average_precision``, or unless weights are integers from 0 to MAX_WEIGHT.
    """
    weight = check_weights(weight, len(scores))
    ranking = Ranking(labels, scores, np.arange(len(weight)), np.zeros(len(weight), np.int32), 1)
    return float(ranking.average_precision(weight)[0])


@njit(cache=True, nogil=True)
def weigh_blocks(out: np.ndarray, weight: np.ndarray, user: np.ndarray, bounds: np.ndarray, blocks: np.ndarray) -> None:
    """out (K,) is the output; weight (U,), user (B,), bounds (M, 3) and blocks (K+1,) are those of Ranking."""
    for k in range(out.size):
        positives = 0
        retrieved = 0
        total = 0.0
        for m in range(blocks[k], blocks[k + 1]):
            for i in range(bounds[m, 0], bounds[m, 1]):
                retrieved += weight[user[i]]
            block = 0
            for i in range(bounds[m, 1], bounds[m, 2]):
                block += weight[user[i]]
            if block > 0:
                positives += block
                retrieved += block
                total += block * (positives / retrieved)
        out[k] = total / positives if positives > 0 else np.nan
