"""The memory part of a logit, by term and by title of the user's history.

    <m, w + d_k> = Σ_f m_f (w_f + d_kf)        m standardised: 0 is the mean of the training pairs

The cosine and EASE terms are sums over the history, so that each of its titles has a part of what they add before
standardising. The log of the cosine is no sum: it is divided among the titles as the cosine is, from its value at
cosine 0 on. Terms and weights as in ``data/memory/memory.py``; T titles, F terms.
"""

import math
from typing import NamedTuple

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.memory.memory import SMALLEST_COSINE, TERMS, Memory
from twotower.lab.explain.record import MemoryPart, MemoryTerm, WatchedTitle


class Recalled(NamedTuple):
    """A memory and its weights under the heads of a model."""

    memory: Memory
    w: np.ndarray  # (F,) of all groups
    weights: np.ndarray  # (K, F): w + d_k

    def logits(self, user: int, assumed: np.ndarray) -> np.ndarray:
        """What memory adds to the logits of all titles under every head, (K, T); ``assumed`` (K,) territories."""
        moved = (self.memory.living_in(int(c), user) for c in assumed)
        return np.concatenate([m.logits(np.array([user]), w[None]) for m, w in zip(moved, self.weights, strict=True)])

    def of_pair(self, user: int, title: int, territory: int) -> np.ndarray:
        """m (F,) float64 of a pair, the user living in a territory."""
        moved = self.memory.living_in(territory, user)
        return moved.of_pairs(np.array([user]), np.array([title]))[0].astype(np.float64)


def memory_part(
    recalled: Recalled, dataset: Dataset, user: int, title: int, home: int, own: int, top: int
) -> MemoryPart:
    """The record under the own head, with the ``top`` titles of the history that matter most."""
    m, weights, w = recalled.of_pair(user, title, home), recalled.weights[own].astype(np.float64), recalled.w
    columns = zip(TERMS, m, w, weights - w, m * weights, strict=True)
    terms = [MemoryTerm(name, *map(float, numbers)) for name, *numbers in columns]
    memory = recalled.memory
    history = memory.history[[user]].indices
    cosine, ease = (
        matrix[:, [title]].toarray()[:, 0][history].astype(np.float64) for matrix in (memory.cosines, memory.ease)
    )
    part = parts_of_history(memory, user, weights, cosine, ease)
    ids, names = dataset.title_ids, dataset.titles.get("name", dataset.title_ids)
    related = np.flatnonzero((cosine != 0) | (ease != 0))
    titles = [
        WatchedTitle(ids[t], int(t), names[t] or ids[t], float(cosine[i]), float(ease[i]), float(part[i]))
        for i, t in ((i, history[i]) for i in related[np.argsort(-np.abs(part[related]), kind="stable")][:top])
    ]
    return MemoryPart(terms, len(history), len(related), titles)


def parts_of_history(
    memory: Memory, user: int, weights: np.ndarray, cosine: np.ndarray, ease: np.ndarray
) -> np.ndarray:
    """Contributions (h,) of the h titles of a history: a₀·cos + a₁·(log(cos + ε) − log ε) + a₂·ease, divided."""
    a = memory.coefficients(np.array([user]), weights)[0].astype(np.float64)
    cosine = cosine / math.sqrt(max(len(cosine), 1))
    total = cosine.sum()
    log = math.log1p(total / SMALLEST_COSINE) / total if total > 0 else 0.0
    return (a[0] + a[1] * log) * cosine + a[2] * ease
