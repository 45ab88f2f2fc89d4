"""Memory: what a title's counts and a user's history say of the two, without a network, as F numbers m(u, t).

    of a territory and a title   log rates everywhere, in the group over that, in the territory over that: of the
                                 history, and of the labels; the latest labels over all of them; days since the launch
    of a user and a title        how well the title goes with the user's history (cosines, factors), and the log of
                                 the history's length

What is counted for a training pair is of the days before or, without days, of the users of other folds, so that no
label predicts itself.
"""

from collections.abc import Callable
from copy import copy
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from twotower.core.checks import check_rows, check_shape
from twotower.core.progress import Progress, silent
from twotower.data.memory.factors import FACTORS, SCALES, Factors
from twotower.data.memory.knowledge import FOLDS, Knowledge, viewers_of
from twotower.data.memory.neighbours import (
    DenseRows,
    add_pair_terms,
    combine_profiles,
    neighbours_of,
    with_dense_rows,
)
from twotower.data.memory.rates import LEVELS, log_rates, recent_log_rates
from twotower.data.memory.together import parts

USERS_AT_ONCE = 1 << 15  # whose pairs are scored between two ticks
BLOCKS = 4  # of days, whose training pairs know the labels of the blocks before
SMALLEST_COSINE = 1e-3  # added before the log
PRODUCTS, LEAST_USERS = 1 << 16, 8  # of profiles and titles that are held at a time, by scale; and users at least

TITLE_TERMS = (
    *(f"{kind}, {level}" for kind in ("history", "labels") for level in LEVELS), "latest labels", "days since launch"
)  # fmt: skip
USER_TERMS = ("cosine", "log cosine", "length", *(f"{n} factors" for n in SCALES))
TERMS = TITLE_TERMS + USER_TERMS

Array = np.ndarray


class Layer(NamedTuple):
    """A layer of H units over the terms, h = relu(m A + a), ready to be scored for all titles."""

    weights: Array  # (F + 1, H) A, and a as its last row
    of_titles: Array  # (C, H, T) float32: what territories and titles bring each unit, a included


class Memory:
    """The terms of every user and title: U users, T titles, C territories, F terms."""

    def __init__(
        self, history: sp.csr_array, territory: Array, tables: Array, cosines: sp.csr_array, factors: Factors
    ):
        """history (U, T), territory (U,), tables (F_t, C, T) float32, cosines (T, T), factors of T titles."""
        self.history, self.territory = history, territory
        self.tables, self.cosines, self.factors = tables, cosines, factors.read_only()
        T = history.shape[1]
        if cosines.shape != (T, T) or any(part.shape != (T, FACTORS) for part in factors):
            raise ValueError(f"cosines {cosines.shape} and factors {factors.scored.shape} of {T} titles")
        self.length = np.log1p(np.diff(history.indptr)).astype(np.float32)  # (U,)
        self.unwatched = np.zeros(tables.shape[:2], np.float32)  # (F_t, C) of a new title that nobody has watched
        self.mean, self.spread = np.zeros(len(TERMS), np.float32), np.ones(len(TERMS), np.float32)

    @cached_property
    def _weights(self) -> tuple[DenseRows, Array]:
        """Cosines, ready to be added up for histories, and factors (R, T) of the titles that are scored."""
        return with_dense_rows(self.cosines), np.ascontiguousarray(self.factors.scored.T)

    @classmethod
    def of(cls, known: Knowledge, tick: Callable[[], object] = lambda: None) -> "Memory":
        """What is remembered of what is known. ``tick`` is called now and then, here and below."""
        memory = cls(known.history, known.territory, title_terms(known), *neighbours_of(known, tick))
        memory.unwatched = title_terms(known.of_new_title())[:, :, 0]
        labels = TERMS.index("labels, world")  # over the mean title's: shares of labels grow with the days counted
        mean = np.log(np.exp(memory.tables[labels]).mean())
        memory.tables[labels] -= mean
        memory.unwatched[labels] -= mean
        return memory

    def standardise(self, m: Array) -> Array:
        """Terms (n, F) with mean 0 and spread 1, in place; those that come from now on are shifted and scaled alike."""
        self.mean, spread = m.mean(0, dtype=np.float64).astype(np.float32), m.std(0, dtype=np.float64)
        self.spread = np.where(spread < 1e-6, 1, spread).astype(np.float32)
        m -= self.mean
        m /= self.spread
        return m

    def like(self, other: "Memory") -> "Memory":
        """This memory, with terms shifted and scaled as in ``other``."""
        self.mean, self.spread = other.mean, other.spread
        return self

    def of_pairs(self, user: Array, title: Array, tick: Callable[[], object] = lambda: None) -> Array:
        """m (n, F) float32 of pairs (n,), in any order. Errors: ValueError, IndexError for rows that there are not."""
        check_shape("title", title, (len(user),))
        check_rows("user", user, len(self.territory))
        check_rows("title", title, self.tables.shape[2])
        m, order = np.empty((len(user), len(TERMS)), np.float32), np.argsort(user, kind="stable")
        users, first = np.unique(user[order], return_index=True)
        bounds = np.r_[first, len(user)]
        history, tables = parts(self.history)[:2], np.ascontiguousarray(self.tables.transpose(1, 2, 0))
        cosines = *parts(self.cosines), *parts(self.cosines.T.tocsr())
        for start in range(0, len(users), USERS_AT_ONCE):
            end = min(start + USERS_AT_ONCE, len(users))
            add_pair_terms(
                m, order, title.astype(np.int32, copy=False), users[start:end].astype(np.int64),
                bounds[start : end + 1], self.territory, *history, self.length, tables, *cosines, *self.factors,
                np.float32(SMALLEST_COSINE),
            )  # fmt: skip
            tick()
        m -= self.mean
        m /= self.spread
        return m

    def of_territories(self, w: Array) -> Array:
        """What the terms of territories and titles add to logits, (C, T) float32; w (F,), or (C, F) by territory."""
        w = np.broadcast_to(w / self.spread, (self.tables.shape[1], len(TERMS))).astype(np.float32)
        found = np.einsum("cf,fct->ct", w[:, : len(TITLE_TERMS)], self.tables)
        return np.asarray(found - (w @ self.mean)[:, None], np.float32)

    def coefficients(self, users: Array, w: Array) -> Array:
        """a (n, 6) float32 of users (n,): histories add a₀·cos + a₁·log(cos + ε) + a₂·few + a₃·some + a₄·all + a₅.

        Few, some and all are the factors of the three ``SCALES``. w (F,), or (n, F) by user. The length of a history is
        one number per user, which a₅ holds.
        """
        of_terms = np.broadcast_to(w / self.spread, (len(users), len(TERMS)))[:, len(TITLE_TERMS) :]
        a = np.ascontiguousarray(of_terms[:, [0, 1, 3, 4, 5, 2]], np.float32)
        a[:, 5] *= self.length[users]
        return a

    def unit_coefficients(self, users: Array, weights: Array) -> Array:
        """The ``coefficients`` (n, 6, H) of users (n,) for each unit of a layer with weights (F + 1, H)."""
        of_terms = (weights[:-1] / self.spread[:, None])[len(TITLE_TERMS) :]
        a = np.tile(np.float32(of_terms[[0, 1, 3, 4, 5, 2]]), (len(users), 1, 1))
        a[:, 5] *= self.length[users][:, None]
        return a

    def profiles(self, users: Array) -> Array:
        """Profiles (n, R) float32 of users (n,): with the factors of titles they make the last three terms."""
        return self.factors.profiles(*self.histories(users))

    def histories(self, users: Array) -> tuple[Array, Array]:
        """What users (n,) watched: bounds (n + 1,) int64, and titles."""
        if len(users) == 1:  # an indexed sparse matrix costs more than all that follows
            first, end = self.history.indptr[users[0]], self.history.indptr[users[0] + 1]
            return np.array([0, end - first], np.int64), self.history.indices[first:end].view(np.uint32)
        return parts(self.history[users])[:2]

    def layer(self, weights: Array) -> Layer:
        """A layer with these weights (F + 1, H)."""
        C, T = self.tables.shape[1:]
        of_titles = np.empty((C, weights.shape[1], T), np.float32)
        for j, unit in enumerate(weights.T):
            of_titles[:, j] = self.of_territories(unit[:-1]) + unit[-1]
        return Layer(weights, of_titles)

    def of_users(
        self, users: Array, w: Array, out: Array | None = None, layer: Layer | None = None, v: Array | None = None,
        territory: Array | None = None,
    ) -> Array:  # fmt: skip
        """What the terms of users (n,) and all titles add to logits, (n, T) float32; w (F,), or (n, F) by user.

        With a ``layer``, what its units add with weights v (n, H) is part of it: all of it, since that is no sum over
        terms. ``out`` (at least n, T) is filled and returned, as far as it is needed. ``territory`` (n,) is where the
        users are taken to live.
        """
        found = np.empty((len(users), self.history.shape[1]), np.float32) if out is None else out[: len(users)]
        if layer is None or v is None:
            layer, v = self.layer(np.empty((len(TERMS) + 1, 0), np.float32)), np.empty((len(users), 0), np.float32)
        home = self.territory[users] if territory is None else territory
        start, title = self.histories(users)
        cosines, factors = self._weights
        profiles, of_users = self.factors.profiles(start, title), self.coefficients(users, w)
        of_units, v = self.unit_coefficients(users, layer.weights), np.ascontiguousarray(v)
        step = max(LEAST_USERS, PRODUCTS // factors.shape[1])
        bands = np.empty((len(SCALES), min(step, len(users)), factors.shape[1]), np.float32)
        for first in range(0, len(users), step):
            part = slice(first, min(first + step, len(users)))
            n = part.stop - part.start
            for products, low, high in zip(bands, (0, *SCALES), SCALES, strict=False):
                np.matmul(profiles[part, low:high], factors[low:high], out=products[:n])
            combine_profiles(
                found[part], start[part.start : part.stop + 1], title, *cosines, bands, of_users[part],
                np.float32(SMALLEST_COSINE), home[part], layer.of_titles, of_units[part], v[part],
            )  # fmt: skip
        return found

    def living_in(self, territory: int, user: int | Array) -> "Memory":
        """The same memory, where some users (rows) live in another territory."""
        moved = copy(self)
        moved.territory = self.territory.copy()
        moved.territory[user] = territory
        return moved

    def logits(self, users: Array, w: Array, layer: Layer | None = None, v: Array | None = None) -> Array:
        """All that memory adds to the logits of users (n,) for all titles, (n, T) float32; w (n, F) and v by user."""
        found = self.of_users(users, w, None, layer, v)
        found -= (w / self.spread @ self.mean)[:, None].astype(np.float32)
        for f in range(len(TITLE_TERMS)):
            found += (w[:, f] / self.spread[f]).astype(np.float32)[:, None] * self.tables[f, self.territory[users]]
        return found


def title_terms(known: Knowledge) -> Array:
    """``TITLE_TERMS`` of all territories and titles, (F_t, C, T) float32."""
    tables = []
    of_labels = viewers_of(known.labels, known.territory, len(known.group))
    for viewers, counted in ((known.counts.viewers, None), (of_labels, known.counted)):
        world, group, territory = (log_rates(viewers, known, level, counted) for level in LEVELS)
        tables += [world, group - world, territory - group]
    tables.append(recent_log_rates(known) - territory)
    age = np.log1p(np.maximum(known.day - known.launch_day, 0)).astype(np.float32)
    tables.append(np.tile(age, (len(known.group), 1)))
    return np.stack(tables)


def training_terms(known: Knowledge, progress: Progress = silent) -> Array:
    """m (n, F) float32 of the training pairs, of which no label counts itself.

    In a log with days it is what was known before: the pairs of each block of days know the labels of the blocks
    before. Those of the first block, and of a log without days, leave out the labels of their user's fold.
    """
    m, block = np.empty((len(known.pairs), len(TERMS)), np.float32), blocks_of_days(known.pairs.day)
    for number in range(int(block.max(initial=0)) + 1):
        own = np.flatnonzero(block == number)
        pairs = known.pairs.take(own)
        tick = partial(progress, "computing memory terms", int((block < number).sum()), len(block))
        tick()
        if number:
            before = known.only(known.pairs.take(block < number))
            m[own] = Memory.of(before, tick).of_pairs(pairs.user, pairs.title, tick)
        else:
            m[own] = terms_by_fold(known.only(pairs), tick)
    progress("computing memory terms", len(block), len(block))
    return m


def blocks_of_days(day: Array) -> Array:
    """A block (n,) from 0 of each pair: ``BLOCKS`` of about equal size in the order of their days, as far as there are
    days."""
    edges = np.quantile(day, np.arange(1, BLOCKS) / BLOCKS) if len(day) else day
    return np.unique(np.searchsorted(edges, day), return_inverse=True)[1]


def terms_by_fold(known: Knowledge, tick: Callable[[], object] = lambda: None) -> Array:
    """m (n, F) float32 of the training pairs, each without the labels of its user's fold."""
    m = np.empty((len(known.pairs), len(TERMS)), np.float32)
    for fold in range(FOLDS):
        own = np.flatnonzero(known.fold[known.pairs.user] == fold)
        pairs = known.pairs.take(own)
        m[own] = Memory.of(known.without_labels_of(fold), tick).of_pairs(pairs.user, pairs.title, tick)
    return m
