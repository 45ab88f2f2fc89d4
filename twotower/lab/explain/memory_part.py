"""The memory part of a logit, by term and by title of the user's history.

    <m, w + d_k> + Σ_j (v_j + e_kj)·relu(<m, A_j> + a_j) = <m, w'> + constant      m standardised: 0 is the mean pair

The units of the ReLU layer that are above 0 for a pair make a linear form, which is added to w + d_k: so the sum over
the terms is exact for this pair. The cosine and the factors are sums over the history, so that each of its titles has
a part of what they add. The log of the cosine is no sum: it is divided among the titles as the cosine is, from its
value at cosine 0 on. Terms and weights as in ``data/memory/memory.py``; T titles, F terms.
"""

import math
from typing import NamedTuple

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.memory.factors import SCALES
from twotower.data.memory.memory import SMALLEST_COSINE, TERMS, Memory
from twotower.lab.explain.record import MemoryPart, MemoryTerm, WatchedTitle
from twotower.model.two_tower import TwoTower

UNITS = "active units"  # the constant of the ReLU layer, as a term of its own


class PairTerms(NamedTuple):
    """The terms of a pair and their weights under one head, float64."""

    m: np.ndarray  # (F,)
    shared: np.ndarray  # (F,) of w and of the active units' v
    own: np.ndarray  # (F,) of d_k and of the active units' e_k
    constant: tuple[float, float]  # of the active units: shared, and own

    @property
    def total(self) -> float:
        """The memory part of the logit."""
        return float(self.m @ (self.shared + self.own)) + sum(self.constant)


class Recalled:
    """A memory and its weights under the heads of a model."""

    def __init__(self, memory: Memory, model: TwoTower):
        self.memory, self.params, self.weights = memory, model.params, model.memory_weights()

    def logits(self, user: int, assumed: np.ndarray) -> np.ndarray:
        """What memory adds to the logits of all titles under every head, (K, T); ``assumed`` (K,) territories."""
        rows, own = [], self.weights
        for k, territory in enumerate(assumed.tolist()):
            moved = self.memory.living_in(territory, user)
            layer = moved.layer(own.layer)
            rows.append(moved.logits(np.array([user]), own.linear[k : k + 1], layer, own.units[k : k + 1]))
        return np.concatenate(rows)

    def of_pair(self, user: int, title: int, territory: int, k: int) -> PairTerms:
        """The terms of a pair under head k, the user living in a territory."""
        moved = self.memory.living_in(territory, user)
        m = moved.of_pairs(np.array([user]), np.array([title]))[0].astype(np.float64)
        weights, w = self.weights, self.params["memory.w"].astype(np.float64)
        A = weights.layer[:, weights.active(m)].astype(np.float64)
        v = self.params.get("memory.v", np.zeros(0))[weights.active(m)].astype(np.float64)
        e = weights.units[k][weights.active(m)] - v
        of_v, of_e = A @ v, A @ e
        constant = float(of_v[-1]), float(of_e[-1])
        return PairTerms(m, w + of_v[:-1], weights.linear[k] - w + of_e[:-1], constant)


def memory_part(
    recalled: Recalled, dataset: Dataset, user: int, title: int, home: int, own: int, top: int
) -> MemoryPart:
    """The record under the own head, with the ``top`` titles of the history that matter most."""
    pair = recalled.of_pair(user, title, home, own)
    names, values = [*TERMS, UNITS], [*pair.m, 1.0]
    shared, deviation = [*pair.shared, pair.constant[0]], [*pair.own, pair.constant[1]]
    terms = [
        MemoryTerm(name, float(m), float(w), float(d), float(m * (w + d)))
        for name, m, w, d in zip(names, values, shared, deviation, strict=True)
        if name != UNITS or recalled.weights.layer.size
    ]
    memory = recalled.memory
    history = memory.history[[user]].indices
    cosine = memory.cosines[:, [title]].toarray()[:, 0][history].astype(np.float64)
    products = memory.factors.watched[history].astype(np.float64) * memory.factors.scored[title]  # (h, R)
    part = parts_of_history(memory, user, pair.shared + pair.own, cosine, products)
    ids, labels = dataset.title_ids, dataset.titles.get("name", dataset.title_ids)
    titles = [
        WatchedTitle(ids[t], int(t), labels[t] or ids[t], float(cosine[i]), float(products[i].sum()), float(part[i]))
        for i, t in ((i, history[i]) for i in np.argsort(-np.abs(part), kind="stable")[:top])
    ]
    return MemoryPart(terms, len(history), int(np.count_nonzero(cosine)), titles)


def parts_of_history(
    memory: Memory, user: int, weights: np.ndarray, cosine: np.ndarray, products: np.ndarray
) -> np.ndarray:
    """Contributions (h,) of the h titles of a history: of cos, log(cos + ε) − log ε, and the factors.

    ``products`` (h, R) are those of each title's factors with the explained one's.
    """
    a = memory.coefficients(np.array([user]), weights)[0].astype(np.float64)
    root = math.sqrt(max(len(cosine), 1))
    cosine = cosine / root
    total = cosine.sum()
    log = math.log1p(total / SMALLEST_COSINE) / total if total > 0 else 0.0
    of_factors = sum(weight * products[:, :scale].sum(1) for scale, weight in zip(SCALES, a[2:5], strict=True))
    return (a[0] + a[1] * log) * cosine + of_factors / root
