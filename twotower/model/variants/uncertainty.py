"""Weights of groups that are learned with the loss: a log-variance per group (Kendall, Gal & Cipolla 2018)."""

import numpy as np

from twotower.model.adam import Adam
from twotower.model.engine.threads import Threads
from twotower.model.parameters import Arena, Floats

LOG_VARIANCE = "group.log_variance"


class Uncertainty:
    """A log-variance s (K,) per group, with its gradient and its own optimiser: L = Σ_k e^(−s_k)·L_k + n_k·s_k/2B."""

    def __init__(self, groups: int, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        self.params = Arena({LOG_VARIANCE: (groups,)})
        self.grads = self.params.like()
        blocks = [[self.params.span(LOG_VARIANCE, k)] for k in range(groups)]
        self.adam = Adam(self.params, slice(0, 0), blocks, lr, beta1, beta2, eps)

    @property
    def log_variance(self) -> Floats:
        """s (K,) float32."""
        return self.params[LOG_VARIANCE]

    def update(self, by_group: list[float], pairs_by_group: list[int], threads: Threads) -> None:
        """One step, given what each group's weighted pairs added to the loss."""
        # forward: L = Σ_k e^(−s_k)·L_k + n_k·s_k/2B   so: ds_k = n_k/2B − e^(−s_k)·L_k
        counts = np.array(pairs_by_group)
        self.grads[LOG_VARIANCE][...] = counts / (2 * counts.sum()) - np.array(by_group)
        self.adam.update(self.grads, np.flatnonzero(counts).tolist(), threads)
