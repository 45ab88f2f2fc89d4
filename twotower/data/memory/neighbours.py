"""Titles that go together: item-based nearest neighbours, and the factors of titles.

Neighbours score a title for a user by what the user watched before: x K, with x (T,) the history and K (T, T) between
titles. Of every title only the strongest ``NEIGHBOURS`` are kept, so that K is sparse.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from twotower.core import checks
from twotower.core.jit import njit
from twotower.data.memory.factors import SCALES, Factors
from twotower.data.memory.knowledge import Knowledge
from twotower.data.memory.together import Together, parts

NEIGHBOURS = 200  # of each title that are kept
MOST_TITLES = 10_000  # that are counted in a dense matrix: three such matrices are 1.2 GB
ROWS_AT_ONCE = 512  # of a dense matrix that are made sparse together
FEW, SOME, ALL = SCALES
DENSE_SHARE = 16  # rows in which at least one title of so many is a neighbour are dense
UNIT_BLOCK = 512  # titles that pass through all ReLU units while they are in the first-level cache
ROOT_HALF_BITS = np.int32(0x3F3504F3)  # √½ as float32

DenseRows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # weights as ``add_rows`` takes them


class Neighbours(NamedTuple):
    """What goes with each title."""

    cosines: sp.csr_array  # (T, T) float32
    factors: Factors


KEPT_BYTES = 512 << 20  # of neighbours that a process keeps: the runs of an experiment ask for the same again and again
_kept: OrderedDict[bytes, Neighbours] = OrderedDict()  # by digest of the matrix; the last asked for stands last


def neighbours_of(known: Knowledge, tick: Callable[[], object] = lambda: None) -> Neighbours:
    """Both of who watched what, labels included. They are kept for the next call that knows the same: read only."""
    key = known.digest + MOST_TITLES.to_bytes(8)
    if key not in _kept:
        if known.history.shape[1] <= MOST_TITLES:
            together = known.together(tick)
            found = Neighbours(cosine_neighbours(together), Factors.of(together.cosine, np.diag(together.users)))
        else:
            found = neighbours_of_many_titles(known.watched, tick)
        for array in (found.cosines.data, *found.factors):
            array.flags.writeable = False
        _kept[key] = found
        while len(_kept) > 1 and sum(a.nbytes for kept in _kept.values() for a in arrays_of(kept)) > KEPT_BYTES:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def arrays_of(found: Neighbours) -> tuple[np.ndarray, ...]:
    """The arrays of both."""
    return found.cosines.data, found.cosines.indices, found.cosines.indptr, *found.factors


def neighbours_of_many_titles(watched: sp.csr_array, tick: Callable[[], object]) -> Neighbours:
    """The same where titles are too many for dense matrices."""
    viewers = watched.sum(0)
    unit = watched @ sp.diags_array((1 / np.sqrt(np.maximum(viewers, 1))).astype(np.float32))
    tick()
    cosine = (unit.T @ unit).tocsr()
    row = np.repeat(np.arange(cosine.shape[0]), np.diff(cosine.indptr))
    cosine.data[cosine.indices == row] = 0
    tick()
    factors = Factors.of(cosine, viewers)
    tick()
    return Neighbours(keep_largest(cosine, NEIGHBOURS), factors)


def cosine_neighbours(together: Together, most: int = NEIGHBOURS) -> sp.csr_array:
    """Cosine of the viewers of every two titles, (T, T) float32: the ``most`` nearest of each (Sarwar et al. 2001)."""
    return largest_of_rows(together.cosine, most)


def largest_of_rows(dense: np.ndarray, most: int) -> sp.csr_array:
    """The same of a dense matrix, a block of rows at a time."""
    blocks = range(0, len(dense), ROWS_AT_ONCE)
    kept = [keep_largest(sp.csr_array(dense[first : first + ROWS_AT_ONCE]), most) for first in blocks]
    return sp.csr_array(sp.vstack(kept, "csr"))


def keep_largest(matrix: sp.csr_array, most: int) -> sp.csr_array:
    """The ``most`` values of each row with the largest magnitude."""
    matrix.eliminate_zeros()
    for row in np.flatnonzero(np.diff(matrix.indptr) > most):
        values = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        size = np.abs(values)
        values[size < np.partition(size, -most)[-most]] = 0
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def profile_cosines(history: sp.csr_array, cosines: sp.csr_array) -> np.ndarray:
    """Σ of cosines between each title and the histories (n, T), over the root of their lengths: (n, T) float32."""
    length = np.sqrt(np.maximum(np.diff(history.indptr), 1)).astype(np.float32)
    scores = profile_scores(history, cosines)
    scores /= length[:, None]
    return scores


def profile_scores(history: sp.csr_array, weights: sp.csr_array) -> np.ndarray:
    """x K of histories x (n, T) of ones and weights K (T, T) between titles: (n, T) float32, dense."""
    checks.check_shape("weights", weights, (history.shape[1], history.shape[1]))
    scores = np.zeros(history.shape, np.float32)
    start, title, _ = parts(history)
    add_profiles(scores, start, title, *parts(weights))
    return scores


def with_dense_rows(matrix: sp.csr_array) -> DenseRows:
    """The parts of weights (T, T), the place (T,) of each row among the dense ones or −1, and these: what ``add_rows``
    takes. Rows with many neighbours are added up as vectors: a title may be near to most.
    """
    is_dense = np.diff(matrix.indptr) * DENSE_SHARE > matrix.shape[1]
    place = np.where(is_dense, np.cumsum(is_dense) - 1, -1)
    return *parts(matrix), place, np.ascontiguousarray(matrix[np.flatnonzero(is_dense)].toarray())


@njit(cache=True, nogil=True)
def add_neighbours(
    row: np.ndarray, titles: np.ndarray, start: np.ndarray, neighbour: np.ndarray, weight: np.ndarray
) -> None:
    """Add to a row (T,) the weights of the neighbours of ``titles``."""
    for title in titles:
        for j in range(start[title], start[title + 1]):
            row[neighbour[j]] += weight[j]


@njit(cache=True, nogil=True)
def add_profiles(
    scores: np.ndarray, start: np.ndarray, title: np.ndarray,
    neighbour_start: np.ndarray, neighbour: np.ndarray, weight: np.ndarray,
) -> None:  # fmt: skip
    """Add to scores (n, T) the weights of the neighbours of each user's titles, title[start[r]:start[r + 1]]."""
    for r in range(len(scores)):
        add_neighbours(scores[r], title[start[r] : start[r + 1]], neighbour_start, neighbour, weight)


@njit(cache=True, nogil=True)
def add_pair_terms(
    m: np.ndarray, order: np.ndarray, title: np.ndarray, users: np.ndarray, bounds: np.ndarray,
    territory: np.ndarray, start: np.ndarray, watched: np.ndarray, length: np.ndarray, tables: np.ndarray,
    cosine_start: np.ndarray, cosine_title: np.ndarray, cosine_weight: np.ndarray,
    of_cosine_start: np.ndarray, of_cosine_title: np.ndarray, of_cosine_weight: np.ndarray,
    watched_factors: np.ndarray, scored_factors: np.ndarray, smallest: np.float32,
) -> None:  # fmt: skip
    """Fill rows of m (n, F) with the terms of pairs: ``order[bounds[k]:bounds[k + 1]]`` are the pairs of ``users[k]``.

    ``tables`` (C, T, F_t) holds the terms of territories and titles, ``…_factors`` (T, R) those of titles. The cosines
    come by the title watched and, as ``of_…``, by the title scored: a user with many pairs has all titles scored, one
    with few has those few looked up, and both add the same numbers in the same order.
    """
    T, F, R, one = tables.shape[1], tables.shape[2], watched_factors.shape[1], np.float32(1)
    cosine, own, profile = np.zeros(T, np.float32), np.zeros(T, np.float32), np.empty(R, np.float32)
    for k in range(len(users)):
        u, pairs = users[k], order[bounds[k] : bounds[k + 1]]
        titles = watched[start[u] : start[u + 1]]
        whole, single = T, 0  # additions
        for t in titles:
            whole += cosine_start[t + 1] - cosine_start[t]
        for i in pairs:
            single += of_cosine_start[title[i] + 1] - of_cosine_start[title[i]]
        if whole < single:
            cosine[:] = 0
            add_neighbours(cosine, titles, cosine_start, cosine_title, cosine_weight)
        else:
            for t in titles:
                own[t] = one
            for i in pairs:
                t = title[i]
                cosine[t] = 0
                for j in range(of_cosine_start[t], of_cosine_start[t + 1]):
                    cosine[t] += of_cosine_weight[j] * own[of_cosine_title[j]]
            for t in titles:
                own[t] = 0
        root = np.float32(math.sqrt(max(len(titles), 1)))
        profile[:] = 0
        for t in titles:
            for d in range(R):
                profile[d] += watched_factors[t, d]
        for d in range(R):
            profile[d] /= root
        for i in pairs:
            row, t = m[i], title[i]
            row[:F] = tables[territory[u], t]
            c = cosine[t] / root
            row[F], row[F + 1], row[F + 2] = c, np.float32(math.log(c + smallest)), length[u]
            row[F + 3] = dot(profile, scored_factors[t], 0, FEW)
            row[F + 4] = row[F + 3] + dot(profile, scored_factors[t], FEW, SOME)
            row[F + 5] = row[F + 4] + dot(profile, scored_factors[t], SOME, ALL)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def dot(a: np.ndarray, b: np.ndarray, first: int, end: int) -> np.float32:
    """Σ a·b of the entries from ``first`` to ``end``."""
    total = np.float32(0)
    for d in range(first, end):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def add_rows(
    row: np.ndarray, titles: np.ndarray, start: np.ndarray, neighbour: np.ndarray, weight: np.ndarray,
    dense_row: np.ndarray, dense: np.ndarray,
) -> None:  # fmt: skip
    """As ``add_neighbours``, of weights with some dense rows: that of title i is ``dense[dense_row[i]]`` unless −1."""
    for title in titles:
        if dense_row[title] >= 0:
            own = dense[dense_row[title]]
            for t in range(len(row)):
                row[t] += own[t]
        else:
            for j in range(start[title], start[title + 1]):
                row[neighbour[j]] += weight[j]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def combine_profiles(
    scores: np.ndarray, start: np.ndarray, title: np.ndarray,
    cosine_start: np.ndarray, cosine_title: np.ndarray, cosine_weight: np.ndarray, cosine_row: np.ndarray,
    dense_cosine: np.ndarray, bands: np.ndarray, coefficient: np.ndarray, smallest: np.float32,
    territory: np.ndarray, of_title: np.ndarray, of_unit: np.ndarray, unit_weight: np.ndarray,
) -> None:  # fmt: skip
    """Fill scores (n, T) with a₀·cos + a₁·log(cos + smallest) + a₂·few + a₃·some + a₄·all + a₅.

    a (n, 6) float32 is ``coefficient``. ``bands`` (3, n, T) are the products of profiles and factors: of the few
    leading ones, of those that make them some, and of those that make them all.
    H ReLU units are added with weights ``unit_weight`` (n, H): each of the same form, with ``of_unit`` (n, 6, H), plus
    what a title has in a territory, ``of_title`` (C, H, T); ``territory`` (n,) is the user's.
    A row stays in the first-level cache: the (n, T) cosines never exist. Loops run over titles, to become vectors.
    """
    T, H, zero = scores.shape[1], unit_weight.shape[1], np.float32(0)
    cosine, logs, exponent = np.empty(T, np.float32), np.empty(T, np.float32), np.empty(T, np.float32)
    bits = logs.view(np.int32)  # rows of one array would not become vectors
    for r in range(len(scores)):
        row, own = scores[r], title[start[r] : start[r + 1]]
        few, more, most = bands[0, r], bands[1, r], bands[2, r]
        cosine[:] = 0
        add_rows(cosine, own, cosine_start, cosine_title, cosine_weight, cosine_row, dense_cosine)
        over_root = np.float32(1 / math.sqrt(max(len(own), 1)))
        for t in range(T):
            cosine[t] *= over_root
            logs[t] = cosine[t] + smallest
        take_logs(logs, bits, exponent)
        a0, a1, a2, a3, a4, a5 = of_bands(coefficient[r])
        for t in range(T):
            row[t] = a0 * cosine[t] + a1 * logs[t] + a2 * few[t] + a3 * more[t] + a4 * most[t] + a5
        for first in range(0, T if H else 0, UNIT_BLOCK):
            part = slice(first, min(first + UNIT_BLOCK, T))
            z, c, log, f, g, h = row[part], cosine[part], logs[part], few[part], more[part], most[part]
            for i in range(0, H, 2):  # two units at a time, so that what they share is loaded once
                j = min(i + 1, H - 1)
                v, w = unit_weight[r, i], unit_weight[r, j] if j > i else zero
                x, y = of_title[territory[r], i, part], of_title[territory[r], j, part]
                b0, b1, b2, b3, b4, b5 = of_bands(of_unit[r, :, i])
                d0, d1, d2, d3, d4, d5 = of_bands(of_unit[r, :, j])
                for t in range(len(z)):
                    one = x[t] + b0 * c[t] + b1 * log[t] + b2 * f[t] + b3 * g[t] + b4 * h[t] + b5
                    two = y[t] + d0 * c[t] + d1 * log[t] + d2 * f[t] + d3 * g[t] + d4 * h[t] + d5
                    z[t] += v * max(one, zero) + w * max(two, zero)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def of_bands(a: np.ndarray) -> tuple[np.float32, ...]:
    """Coefficients (6,) of cos, its log, few, some, all and 1, as those of the bands: each term holds those before."""
    return a[0], a[1], a[2] + a[3] + a[4], a[3] + a[4], a[4], a[5]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def take_logs(x: np.ndarray, bits: np.ndarray, exponent: np.ndarray) -> None:
    """The natural logs of positive x (T,) float32, in place; ``bits`` are the same memory as int32.

    x = m·2ᵉ with m from √½ to √2, and log m by the polynomial of Cephes' logf (Moshier 1992): within 2 units in the
    last place, and eight at a time, which a call of the C library is not.
    """
    for t in range(len(x)):
        e = np.int32(np.int32(bits[t] - ROOT_HALF_BITS) >> np.int32(23))
        exponent[t] = np.float32(e)
        bits[t] = np.int32(bits[t] - np.int32(e << np.int32(23)))
    for t in range(len(x)):
        f = x[t] - np.float32(1)
        y = np.float32(7.0376836292e-2) * f - np.float32(1.1514610310e-1)
        y = y * f + np.float32(1.1676998740e-1)
        y = y * f - np.float32(1.2420140846e-1)
        y = y * f + np.float32(1.4249322787e-1)
        y = y * f - np.float32(1.6668057665e-1)
        y = y * f + np.float32(2.0000714765e-1)
        y = y * f - np.float32(2.4999993993e-1)
        y = y * f + np.float32(3.3333331174e-1)
        y = y * f * f * f - np.float32(0.5) * f * f + np.float32(-2.12194440e-4) * exponent[t]
        x[t] = f + y + np.float32(0.693359375) * exponent[t]
