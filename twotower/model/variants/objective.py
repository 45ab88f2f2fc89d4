"""Variants of the loss: weights and logit offsets of pairs, learned weights of groups, a penalty on popularity.

    L = 1/B Σ_i (w_i·BCE(z_i + o_i, y_i) + s_k(i)/2) + λ Σ_y corr(z, x | y)²

    w_i = title weight (by label and title) · group weight · e^(−s_k)      o_i by title, in training only
    s_k is a group's log-variance, x a title's popularity; what is not asked for is not in L. With dro or cvar the group
    weight makes L the sum of q_k times the mean loss of group k, or the mean of the worst groups' (``robust``)
    (docs/explanation/maths.md, section 12)

A model with the plain masked loss computes nothing of this.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from twotower.core.config import Config
from twotower.core.random_streams import Stream, generator
from twotower.model.batch import Batch
from twotower.model.engine.threads import Threads
from twotower.model.loss import BatchLoss, Losses, MaskedLoss, Network, PairWork, masked_binary_cross_entropy
from twotower.model.parameters import Floats
from twotower.model.variants import debiasing, pcgrad
from twotower.model.variants.penalty import correlation_penalty
from twotower.model.variants.robust import WORST_SHARE, GroupDRO, weights_of_pairs, worst_groups
from twotower.model.variants.uncertainty import Uncertainty


@dataclass
class PairTerms(BatchLoss):
    """What an objective says of the pairs of one batch."""

    weight: Floats | None = None  # (B,) float32, times the loss of the pair
    offset: Floats | None = None  # (B,) float32, on top of the logit
    dz: Floats | None = None  # (B,) float32, gradient of the penalty
    added: float = 0.0  # to the loss of the batch

    def times(self, weight: Floats) -> Floats:
        """The weights of the pairs, each times another (B,)."""
        return weight if self.weight is None else self.weight * weight

    def tile(self, work: PairWork, span: slice, group: int, labels: Floats, scale: Floats, B: int) -> None:
        if self.offset is not None:
            work.z[span] += self.offset[span]
        masked_binary_cross_entropy(work, span, labels, scale, B)
        loss, dz = work.loss[span], work.dz[span]
        if self.weight is not None:
            loss *= self.weight[span]
            dz *= self.weight[span]
        if self.dz is not None:
            dz += self.dz[span]
        np.multiply(dz, scale, out=work.ddots[span])


@dataclass
class Objective(MaskedLoss):
    """Tables that make the terms of a batch. T titles of the whole table, K groups; None and 0 are not asked for."""

    title_weight: Floats | None = None  # (2, T) float32, by label
    group_weight: Floats | None = None  # (K,) float32
    title_offset: Floats | None = None  # (T,) float32
    popularity: Floats | None = None  # (T,) float32, for the penalty
    penalty: float = 0.0  # λ
    uncertainty: Uncertainty | None = None
    dro: GroupDRO | None = None
    worst_share: float = 0.0  # of the groups, whose losses alone count
    pcgrad_seed: int | None = None  # of the order in which gradients of groups are projected

    @property
    def steps(self) -> list[int] | None:
        return None if self.uncertainty is None else self.uncertainty.adam.steps

    def begin(self, batch: Batch, logits: Callable[[], Floats]) -> PairTerms:
        terms = self.terms(batch)
        if self.worst_share:
            terms.weight = terms.times(self.weights_of_worst(batch, logits()))
        if self.penalty:
            assert self.popularity is not None
            x = self.popularity[batch.title_rows[batch.pair_title]]
            loss, dz = correlation_penalty(logits(), batch.labels, x, self.penalty)
            terms.dz, terms.added = dz.astype(np.float32), terms.added + loss
        return terms

    def terms(self, batch: Batch) -> PairTerms:
        """Weights and offsets of a batch's pairs, without the penalty."""
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
        if self.dro is not None:
            by_group = weights_of_pairs(self.dro.q, pairs)
        if by_group is not None:
            group_weight = np.repeat(by_group, pairs)
            weight = group_weight if weight is None else weight * group_weight
        if self.title_offset is not None:
            offset = self.title_offset[title]
        return PairTerms(weight, offset, added=added)

    def weights_of_worst(self, batch: Batch, z: Floats) -> Floats:
        """Weight (B,) float32 of each pair, so that only the groups with the largest mean losses count."""
        starts = batch.pair_start[batch.segments]
        pairs = np.diff(starts)
        total = np.cumsum(np.logaddexp(0, z) - z * batch.labels, dtype=np.float64)
        sums = np.diff(np.concatenate([[0.0], total])[starts])
        share = worst_groups(sums / np.maximum(pairs, 1), pairs, self.worst_share)
        return np.repeat(weights_of_pairs(share, pairs), pairs)

    def gradients(self, model: Network, batch: Batch, step: int) -> Losses:
        if self.pcgrad_seed is None:
            return model.loss_and_gradients(batch)
        return pcgrad.loss_and_gradients(model, batch, generator(self.pcgrad_seed, Stream.GRADIENT_SURGERY, step))

    def update(self, losses: Losses, threads: Threads) -> None:
        if self.uncertainty is not None:
            self.uncertainty.update(losses.by_group, losses.pairs_by_group, threads)
        if self.dro is not None:
            self.dro.update(losses.by_group, losses.pairs_by_group)

    def state(self) -> dict[str, Floats]:
        if self.dro is not None:
            return {"q": self.dro.q}
        learned = self.uncertainty
        if learned is None:
            return {}
        return {"params": learned.params.flat, "m": learned.adam.m.flat, "v": learned.adam.v.flat}


def make_objective(
    config: Config, group: np.ndarray, title: np.ndarray, label: np.ndarray, titles: int
) -> MaskedLoss:
    """The objective of a configuration. Counts are of the training pairs alone.

    ``group``, ``title`` and ``label`` (n,) are of the training pairs, ``titles`` how many there are in all.
    """
    settings, K = config.train, config.model.groups
    if settings.task_weights == "equal" and settings.debias == "none" and not settings.pcgrad:
        return MaskedLoss()
    objective, strength = Objective(), settings.debias_strength
    objective.pcgrad_seed = settings.seed if settings.pcgrad else None
    if settings.task_weights == "uncertainty":
        betas = settings.beta1, settings.beta2
        objective.uncertainty = Uncertainty(K, settings.learning_rate, *betas, settings.eps)
    elif settings.task_weights == "dro":
        objective.dro = GroupDRO(K)
    elif settings.task_weights == "cvar":
        objective.worst_share = WORST_SHARE
    elif settings.task_weights != "equal":
        objective.group_weight = debiasing.group_weights(np.bincount(group, minlength=K), settings.task_weights)
    negatives, positives = (np.bincount(title[label == y], minlength=titles) for y in (0, 1))
    if settings.debias == "ipw":
        of_positives = debiasing.inverse_propensities(positives, strength)
        objective.title_weight = np.stack([np.ones_like(of_positives), of_positives])
    elif settings.debias == "logq":
        objective.title_offset = debiasing.title_log_odds(positives, negatives, strength)
    elif settings.debias == "penalty":
        objective.popularity, objective.penalty = np.log1p(positives).astype(np.float32), strength
    return objective
