"""The k best of a few candidate titles per user, ranked exactly.

    n users · m candidates of a list · T titles · C territories · D hidden width · H ReLU units of memory

Candidates are those of two lists and, of the neighbours of the user's history, the ``m`` that memory and bias speak
most for. What a user has left in the arrays of all titles is cleared title by title: no pass over T per user.
"""

import math

import numpy as np

from twotower.core.jit import njit


@njit(cache=True, nogil=True)
def add_near(total, near, number, is_near, titles, start, neighbour, weight):
    """Add to total (T,) the weights of the neighbours of ``titles``, and list in ``near`` those that are not there yet.

    ``near`` (T,) holds ``number`` titles, those of ``is_near`` (T,); returns how many it holds now.
    """
    for title in titles:
        for j in range(start[title], start[title + 1]):
            t = neighbour[j]
            total[t] += weight[j]
            if not is_near[t]:
                near[number] = t
                number += 1
                is_near[t] = 1
    return number


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def dot(a, b, first, end):
    """Σ a·b of the entries from ``first`` to ``end``."""
    total = np.float32(0)
    for d in range(first, end):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def rank_candidates(
    titles, scores, found, popular, U, V, bias, place, seen_start, seen,
    start, history, cosine_start, cosine_title, cosine_weight, profile, factors, scales, coefficient,
    smallest, of_title, of_unit, unit_weight,
):  # fmt: skip
    """Fill titles and scores (n, k) with the best of ``found`` (n, m), ``popular`` (C, m) and history's neighbours.

    Logits are <U, V> + bias (C, T) of the user's place (n,), and what memory adds, as in ``combine_profiles``, with
    ``factors`` (T, R), of which so many leading ones as the three ``scales`` say are a term each. A bias of −inf
    excludes a title, and so does ``seen``. Of equal logits the lower title comes first.
    """
    T, D = V.shape
    H, zero, (few, some, every) = unit_weight.shape[1], np.float32(0), scales
    cosine, gain = np.zeros(T, np.float32), np.empty(T, np.float32)
    is_near, is_out = np.zeros(T, np.uint8), np.zeros(T, np.uint8)  # neighbours; seen titles, and candidates so far
    near, candidates = np.empty(T, np.int64), np.empty(T, np.int64)
    log_of_0 = np.float32(math.log(smallest))
    for r in range(len(titles)):
        offset, a, b, v, p = bias[place[r]], coefficient[r], of_unit[r], unit_weight[r], profile[r]
        for i in range(seen_start[r], seen_start[r + 1]):
            is_out[seen[i]] = 1
        neighbours, number = 0, 0
        own = history[start[r] : start[r + 1]]
        neighbours = add_near(cosine, near, neighbours, is_near, own, cosine_start, cosine_title, cosine_weight)
        root = np.float32(math.sqrt(max(len(own), 1)))
        for i in range(neighbours):
            t = near[i]
            cosine[t] /= root
            if is_out[t]:
                gain[i] = -np.float32(np.inf)
                continue
            log, of_few = np.float32(math.log(cosine[t] + smallest)) - log_of_0, dot(p, factors[t], 0, few)
            of_some = of_few + dot(p, factors[t], few, some)
            of_all = of_some + dot(p, factors[t], some, every)
            gain[i] = offset[t] + a[0] * cosine[t] + a[1] * log + a[2] * of_few + a[3] * of_some + a[4] * of_all
        m, least = found.shape[1], -np.float32(np.inf)
        if neighbours > m:
            least = np.partition(gain[:neighbours], neighbours - m)[neighbours - m]
        for i in range(neighbours):
            if gain[i] >= least and not is_out[near[i]]:
                candidates[number] = near[i]
                number += 1
                is_out[near[i]] = 1
        for i in range(m):
            for t in (found[r, i], popular[place[r], i]):
                if t >= 0 and not is_out[t]:
                    candidates[number] = t
                    number += 1
                    is_out[t] = 1
        for i in range(number):
            t = candidates[i]
            z, log = offset[t] + a[5], log_of_0 if cosine[t] == 0 else np.float32(math.log(cosine[t] + smallest))
            of_few = dot(p, factors[t], 0, few)
            of_some = of_few + dot(p, factors[t], few, some)
            of_all = of_some + dot(p, factors[t], some, every)
            z += dot(U[r], V[t], 0, D) + a[0] * cosine[t] + a[1] * log + a[2] * of_few + a[3] * of_some + a[4] * of_all
            for h in range(H):
                unit = of_title[place[r], t, h] + b[0, h] * cosine[t] + b[1, h] * log + b[5, h]
                z += v[h] * max(unit + b[2, h] * of_few + b[3, h] * of_some + b[4, h] * of_all, zero)
            is_out[t] = 0
            at = titles.shape[1]
            while at > 0 and (z > scores[r, at - 1] or (z == scores[r, at - 1] and 0 <= t < titles[r, at - 1])):
                at -= 1
                if at + 1 < titles.shape[1]:
                    scores[r, at + 1], titles[r, at + 1] = scores[r, at], titles[r, at]
                scores[r, at], titles[r, at] = z, t
        for i in range(neighbours):
            cosine[near[i]] = 0
            is_near[near[i]] = 0
        for i in range(seen_start[r], seen_start[r + 1]):
            is_out[seen[i]] = 0
