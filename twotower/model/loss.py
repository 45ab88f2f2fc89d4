"""The loss: masked binary cross-entropy, and the training objective that other losses extend (see ``variants``)."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from twotower.model.batch import Batch
from twotower.model.engine import kernels
from twotower.model.engine.threads import Threads
from twotower.model.parameters import Arena, Floats


class Losses(NamedTuple):
    """Loss of one batch."""

    total: float  # mean over the pairs; an objective's penalties included
    by_group: list[float]  # what each group's pairs add to the total; 0.0 for an absent group
    pairs_by_group: list[int]
    present: list[int]  # blocks of parameters that the batch updates: group k is k, and territory c is K + c


class PairWork:
    """Per pair: dot product, logit, loss, and the gradients of the logit and of the dot product; (B,) float32 each."""

    def __init__(self, pairs: int):
        self.dots, self.z, self.loss, self.dz, self.ddots = np.empty((5, pairs), np.float32)
        self._double, self._whole = np.empty(pairs), np.empty(pairs, np.intp)  # NumPy would allocate them for each sum

    def total(self, values: Floats) -> float:
        """Sum of at most B numbers, in float64."""
        double = self._double[: len(values)]
        double[...] = values
        return float(double.sum())

    def total_by(self, key: np.ndarray, values: Floats, keys: int) -> Floats:
        """Sums (keys,) float64 of at most B numbers that have the same key."""
        double, whole = self._double[: len(values)], self._whole[: len(values)]
        double[...], whole[...] = values, key
        return np.bincount(whole, weights=double, minlength=keys)


def masked_binary_cross_entropy(work: PairWork, span: slice, labels: Floats, scale: Floats, B: int) -> None:
    """Loss and gradients of the pairs in ``span``, which all belong to the group whose head made their logits.

    The one-hot mask is this span: a pair meets the head of its own group only, so that the masked sum over K heads has
    one term per pair, and it is averaged over the B rows of the batch (not over the B·K cells).
    """
    kernels.binary_cross_entropy(work.loss[span], work.dz[span], work.z[span], labels[span], B)
    np.multiply(work.dz[span], scale, out=work.ddots[span])


class BatchLoss:
    """The loss of one batch, a tile at a time; this one is the plain masked loss."""

    added = 0.0  # to the sum over the pairs

    def tile(self, work: PairWork, span: slice, group: int, labels: Floats, scale: Floats, B: int) -> None:
        """Loss, dz and ddots of the pairs in ``span``, which belong to ``group``, from their logits in ``work.z``."""
        masked_binary_cross_entropy(work, span, labels, scale, B)


class Network(Protocol):
    """What an objective needs of a network: ``TwoTower`` is one."""

    params: Arena
    grads: Arena
    running: Arena  # running statistics of batch-norm
    objective: "MaskedLoss"

    def loss_and_gradients(self, batch: Batch, objective: "MaskedLoss | None" = None) -> Losses: ...


class MaskedLoss:
    """The training objective: what a batch's loss is, and how its gradients are made.

    The base of all objectives, and itself the plain one: mean over the pairs of the masked binary cross-entropy.
    """

    @property
    def steps(self) -> list[int] | None:
        """Updates so far of what an objective learns itself, to keep in a checkpoint; restored in place."""
        return None

    def begin(self, batch: Batch, logits: Callable[[], Floats]) -> BatchLoss:
        """The loss of a batch; ``logits()`` scores all its pairs (B,), for a loss that needs them at once."""
        return BatchLoss()

    def gradients(self, model: Network, batch: Batch, step: int) -> Losses:
        """Loss of a batch, and in ``model.grads`` what the optimiser follows at this step of training."""
        return model.loss_and_gradients(batch)

    def update(self, losses: Losses, threads: Threads) -> None:
        """Update what the objective learns itself, after the optimiser's step."""

    def state(self) -> dict[str, Floats]:
        """Arrays to keep in a checkpoint, by name; restored in place."""
        return {}
