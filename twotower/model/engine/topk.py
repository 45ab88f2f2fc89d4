"""The best titles of each user, kept up to date while logits come a block of titles at a time.

    n rows of logits, a user each · w titles of a block · k titles kept for a user · M kinds of users

Two kernels that are called one after the other while a block is in cache: dot products become logits, and logits above
the worst one kept take its place. What may not be recommended costs next to nothing: an offset of −inf, or a search
among what a user has seen for those few logits that would be kept.
"""

import numpy as np

from twotower.core.jit import njit

LOOK = 64  # logits that are compared with the worst kept one together; LLVM makes vectors of 64, none of 32
NO_TITLE = -1  # where a user has fewer than k titles to recommend


@njit(cache=True, nogil=True)
def keep_best(titles, scores, who, z, first, seen_start, seen):
    """Merge logits z (n, w) of the titles from ``first`` into the best so far of users ``who``: (N, k) each, in order.

    Titles come in ascending order and an equal one does not displace, so that ties go to the lower title. Almost all
    logits are below the worst one kept: LOOK of them together are dismissed by one branch.
    """
    width = z.shape[1]
    whole = width - width % LOOK
    for r in range(z.shape[0]):
        row, best, best_scores = z[r], titles[who[r]], scores[who[r]]
        my_seen = seen[seen_start[who[r]] : seen_start[who[r] + 1]]
        worst = best_scores[-1]
        for start in range(0, whole, LOOK):
            few = row[start : start + LOOK]
            better = np.uint8(0)
            for x in range(LOOK):  # without a branch, and long enough to become vectors
                better |= np.uint8(few[x] > worst)
            if better:
                for x in range(LOOK):
                    title = first + start + x
                    if few[x] > worst and not _contains(my_seen, title):
                        worst = _insert(best, best_scores, title, few[x])
        for j in range(whole, width):
            if row[j] > worst and not _contains(my_seen, first + j):
                worst = _insert(best, best_scores, first + j, row[j])


@njit(cache=True, nogil=True)
def _insert(titles, scores, title, z):
    """Put a title where it belongs among one user's best, (k,) each, which the last one leaves; the new worst."""
    at = len(scores) - 1
    while at > 0 and z > scores[at - 1]:
        scores[at], titles[at] = scores[at - 1], titles[at - 1]
        at -= 1
    scores[at], titles[at] = z, title
    return scores[-1]


@njit(cache=True, nogil=True)
def _contains(ascending, value):
    """Whether a value is among ascending ones; only candidates ask, so that seen titles cost next to nothing."""
    low, high = 0, len(ascending)
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(ascending) and ascending[low] == value
