"""The gradient of one group's pairs alone, under the loss of the whole batch."""

from collections.abc import Callable

import numpy as np

from twotower.model.batch import Batch
from twotower.model.loss import BatchLoss, Losses, MaskedLoss, Network, PairWork
from twotower.model.parameters import Floats


class OneGroup(MaskedLoss):
    """Another objective, of which only the pairs of one group send gradients back; the loss stays the same."""

    def __init__(self, whole: MaskedLoss, group: int):
        self.whole, self.group = whole, group

    def begin(self, batch: Batch, logits: Callable[[], Floats]) -> BatchLoss:
        return OneGroupLoss(self.whole.begin(batch, logits), self.group)


class OneGroupLoss(BatchLoss):
    """The loss of a batch, with gradients of one group."""

    def __init__(self, whole: BatchLoss, group: int):
        self.whole, self.group, self.added = whole, group, whole.added

    def tile(self, work: PairWork, span: slice, group: int, labels: Floats, scale: Floats, B: int) -> None:
        self.whole.tile(work, span, group, labels, scale, B)
        if group != self.group:
            work.dz[span] = 0  # chosen, not multiplied: NaN·0 is NaN
            np.multiply(work.dz[span], scale, out=work.ddots[span])


def gradients_of_group(model: Network, batch: Batch, group: int) -> Losses:
    """Loss of a batch, and in ``model.grads`` the gradient of one group's pairs."""
    return model.loss_and_gradients(batch, OneGroup(model.objective, group))
