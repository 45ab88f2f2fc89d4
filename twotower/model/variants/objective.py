"""Variants of the loss: weights and logit offsets of pairs, learned weights of groups, a penalty on popularity.

    L = 1/B Σ_i (w_i·BCE(z_i + o_i, y_i) + s_k(i)/2) + λ Σ_y corr(z, x | y)²

    w_i = title weight (by label and title) · group weight · e^(−s_k)      o_i by title, in training only
    s_k is a group's log-variance, x a title's popularity; what is not asked for is not in L
    (docs/explanation/maths.md, section 12)

A model without an objective computes the plain masked loss and nothing of this.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from twotower.model.adam import Adam
from twotower.model.engine.arena import Arena
from twotower.model.engine.threads import Workers
from twotower.model.loss import PairWork

LOG_VARIANCE = "group.log_variance"


class PairTerms(NamedTuple):
    """What an objective says to the pairs of one batch."""

    weight: np.ndarray | None = None  # (B,) float32, times the loss of the pair
    offset: np.ndarray | None = None  # (B,) float32, on top of the logit
    dz: np.ndarray | None = None  # (B,) float32, gradient of the penalty
    added: float = 0.0  # to the loss of the batch
    only: int | None = None  # the group whose pairs alone send gradients back

    def shift(self, work: PairWork, span: slice) -> None:
        """Add the offsets to the logits of the pairs in ``span``."""
        if self.offset is not None:
            work.z[span] += self.offset[span]

    def weigh(self, work: PairWork, span: slice, scale: np.ndarray, group: int) -> None:
        """Weights and penalty on losses and gradients of the pairs in ``span``, which belong to ``group``."""
        loss, dz = work.loss[span], work.dz[span]
        if self.weight is not None:
            loss *= self.weight[span]
            dz *= self.weight[span]
        if self.dz is not None:
            dz += self.dz[span]
        if self.only not in (None, group):
            dz[...] = 0  # chosen, not multiplied: NaN·0 is NaN
        np.multiply(dz, scale, out=work.ddots[span])


@dataclass
class Objective:
    """Tables that make the terms of a batch. T titles of the whole table, K groups; None and 0 are not asked for."""

    title_weight: np.ndarray | None = None  # (2, T) float32, by label
    group_weight: np.ndarray | None = None  # (K,) float32
    title_offset: np.ndarray | None = None  # (T,) float32
    popularity: np.ndarray | None = None  # (T,) float32, for the penalty
    penalty: float = 0.0  # λ
    uncertainty: "Uncertainty | None" = None

    def terms(self, batch: Any) -> PairTerms:
        """Weights and offsets of a batch's pairs."""
        pairs = np.diff(batch.pair_start[batch.segments])  # (K,)
        weight, offset, added = None, None, 0.0
        title = batch.title_rows[batch.pair_title]
        if self.title_weight is not None:
            weight = self.title_weight[batch.labels.astype(np.intp), title]
        by_group = self.group_weight
        if self.uncertainty is not None:
            precision = np.exp(-self.uncertainty.log_variance)
            by_group = precision if by_group is None else precision * by_group
            added = float(pairs @ self.uncertainty.log_variance.astype(np.float64)) / (2 * len(title))
        if by_group is not None:
            group_weight = np.repeat(by_group, pairs)
            weight = group_weight if weight is None else weight * group_weight
        if self.title_offset is not None:
            offset = self.title_offset[title]
        return PairTerms(weight, offset, added=added)

    def penalised(self, terms: PairTerms, batch: Any, z: np.ndarray) -> PairTerms:
        """The terms with the penalty's, given all logits (B,) of the batch."""
        assert self.popularity is not None
        x = self.popularity[batch.title_rows[batch.pair_title]]
        loss, dz = correlation_penalty(z, batch.labels, x, self.penalty)
        return terms._replace(dz=dz.astype(np.float32), added=terms.added + loss)


def correlation_penalty(z: np.ndarray, y: np.ndarray, x: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
    """Squared correlation of logits z and popularity x among the pairs of each label, and its gradient for z.

    After Zhu et al. 2021 (popularity-opportunity bias), who look at positives; negatives are what a user is shown next.
    A label whose logits or titles are all alike has no correlation, and no penalty.
    """
    z, total, dz = z.astype(np.float64), 0.0, np.zeros(len(z))
    for label in (0, 1):
        mine = np.flatnonzero(y == label)
        if len(mine) < 3:  # two points always correlate
            continue
        Z, X = z[mine] - z[mine].mean(), x[mine].astype(np.float64) - x[mine].mean(dtype=np.float64)
        Z_size, X_size = np.linalg.norm(Z), np.linalg.norm(X)
        if min(Z_size, X_size) < 1e-6:
            continue
        Z_hat, X_hat = Z / Z_size, X / X_size
        correlation = float(Z_hat @ X_hat)
        total += strength * correlation**2
        # forward: ρ = <Ẑ, X̂>, R = λρ²   so: dz = 2λρ·(X̂ − ρẐ)/‖Z‖
        dz[mine] = 2 * strength * correlation * (X_hat - correlation * Z_hat) / Z_size
    return total, dz


class Uncertainty:
    """A log-variance per group, learned with the loss (Kendall, Gal & Cipolla 2018), with its optimiser."""

    def __init__(self, groups: int, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        self.params = Arena({LOG_VARIANCE: (groups,)})
        self.grads = self.params.like()
        blocks = [[self.params.span(LOG_VARIANCE, k)] for k in range(groups)]
        self.adam = Adam(self.params, slice(0, 0), blocks, lr, beta1, beta2, eps)

    @property
    def log_variance(self) -> np.ndarray:
        """s (K,) float32."""
        return self.params[LOG_VARIANCE]

    def update(self, by_group: list[float], pairs_by_group: list[int], workers: Workers) -> None:
        """One step, given what each group's weighted pairs added to the loss."""
        # forward: L = Σ_k e^(−s_k)·L_k + n_k·s_k/2B   so: ds_k = n_k/2B − e^(−s_k)·L_k
        counts = np.array(pairs_by_group)
        self.grads[LOG_VARIANCE][...] = counts / (2 * counts.sum()) - np.array(by_group)
        self.adam.update(self.grads, np.flatnonzero(counts).tolist(), workers)
