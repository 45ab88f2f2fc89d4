"""Cross-stitched heads (Misra et al. 2016, of layers): each group's matrix is a mixture of all groups' layers."""

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model.batch import Batch
from twotower.model.engine.threads import Threads
from twotower.model.heads import FullHead
from twotower.model.loss import PairWork
from twotower.model.parameters import Arena, Floats, Parameter

OWN_SHARE = 0.9  # of a group's own layer in its mixture, at the start


def mostly_own(alpha: Floats, rng: np.random.Generator) -> None:
    """Start from OWN_SHARE of each group's own layer, and equal shares of the others."""
    others = len(alpha) - 1
    own = OWN_SHARE if others else 1.0
    alpha[...] = (1 - own) / max(others, 1)
    np.fill_diagonal(alpha, own)


class CrossStitch(FullHead):
    """Residual heads with W̃_k = Σ_j α_kj W_j in place of W_k."""

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
        D, K = model.hidden, model.groups
        return {
            "stitch.W": Parameter((K, D, D), decay="head"),
            "head.alpha": Parameter((K, K), mostly_own, owner="group"),
            "head.b": Parameter((K, D), owner="group"),
        }

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig):
        super(FullHead, self).__init__(params, grads, model)
        K, self.residual = model.groups, 1.0
        self.layers, self.alpha = (params[name].reshape(K, -1) for name in ("stitch.W", "head.alpha"))
        self.dlayers, self.dalpha = (grads[name].reshape(K, -1) for name in ("stitch.W", "head.alpha"))
        mixed, dmixed = np.zeros((2, *params["stitch.W"].shape), np.float32)
        self.mixed, self.dmixed = mixed.reshape(K, -1), dmixed.reshape(K, -1)
        self._take(mixed, dmixed)

    def prepare(self) -> None:
        np.matmul(self.alpha, self.layers, out=self.mixed)

    def finish(self, batch: Batch, pairs: PairWork, V: Floats, threads: Threads) -> None:
        """A group's rows move every W_j through its row of α, and of the α its own row alone."""
        # forward: W̃_k = Σ_j α_kj W_j   so: dα_kj = <dW̃_k, W_j>, dW_j = Σ_k α_kj dW̃_k
        self.dmixed[np.diff(batch.segments) == 0] = 0
        np.matmul(self.dmixed, self.layers.T, out=self.dalpha)
        np.matmul(self.alpha.T, self.dmixed, out=self.dlayers)
