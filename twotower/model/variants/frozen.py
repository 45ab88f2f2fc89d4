"""Fine-tuning: some parameters stay as they are, whatever the objective."""

from collections.abc import Callable, Collection

from twotower.model.batch import Batch
from twotower.model.engine.threads import Threads
from twotower.model.loss import BatchLoss, Losses, MaskedLoss, Network
from twotower.model.parameters import Floats

BOTTOM = ("user.W1", "user.gamma1", "user.beta1", "title.")  # all below the last layer of the user tower; prefixes


class Frozen(MaskedLoss):
    """Another objective, without gradients of the parameters whose names begin with ``prefixes``.

    Adam with moments of 0 does not move what has gradient 0; weight decay would, and must not be set for them.
    """

    def __init__(self, whole: MaskedLoss, prefixes: Collection[str] = BOTTOM):
        self.whole, self.prefixes = whole, tuple(prefixes)

    def begin(self, batch: Batch, logits: Callable[[], Floats]) -> BatchLoss:
        return self.whole.begin(batch, logits)

    def gradients(self, model: Network, batch: Batch, step: int) -> Losses:
        losses = self.whole.gradients(model, batch, step)
        for name, gradient in model.grads.items():
            if name.startswith(self.prefixes):
                gradient[...] = 0
        return losses

    def update(self, losses: Losses, threads: Threads) -> None:
        self.whole.update(losses, threads)
