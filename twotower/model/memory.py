"""The memory part of the score: a linear form and a ReLU layer of a pair's memory terms m (F,).

    <m, w + d_k> + <h, v + e_k>      h = relu(m A + a)

w (F,), A (F, H), a (H,) and v (H,) are what all groups share; d_k (F,) and e_k (H,) are what group k adds. ``memory.A``
holds a as its last row. The linear form is the wide part of Wide & Deep (Cheng et al. 2016); the layer is what terms
mean together, such as cosines that count for more where the history is long.
"""

from typing import NamedTuple

import numpy as np

from twotower.core.config import MEMORY_TERMS, ModelConfig
from twotower.model.engine import kernels
from twotower.model.parameters import Arena, Floats, Parameter, uniform


class MemoryWeights(NamedTuple):
    """What the terms of a pair are weighed with, under each of K heads."""

    linear: Floats  # (K, F) w + d_k
    layer: Floats  # (F + 1, H) A, and a as its last row
    units: Floats  # (K, H) v + e_k

    def rows(self, group: np.ndarray) -> "MemoryWeights":
        """Those of the groups (n,) instead of all; a model with one group has the same for all."""
        at = group if len(self.linear) > 1 else np.zeros_like(group)
        return MemoryWeights(self.linear[at], self.layer, self.units[at])

    def active(self, m: Floats) -> np.ndarray:
        """Which units (H,) bool are above 0 for the terms m (F,) of a pair."""
        return m @ self.layer[:-1] + self.layer[-1] > 0


class MemoryPart:
    """Parameters, forward and backward of the memory part."""

    @staticmethod
    def parameters(model: ModelConfig) -> dict[str, Parameter]:
        """v, and what groups add, start at 0."""
        F, H, K = MEMORY_TERMS, model.memory_units, model.groups
        declared = {"memory.w": Parameter((F,))}
        if H:
            declared |= {"memory.A": Parameter((F + 1, H), uniform), "memory.v": Parameter((H,))}
        if K > 1:
            declared["memory.d"] = Parameter((K, F), owner="group", decay="bias")
        if K > 1 and H:
            declared["memory.e"] = Parameter((K, H), owner="group", decay="bias")
        return declared

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig):
        self.groups = model.groups
        none = {"memory.A": np.zeros((MEMORY_TERMS + 1, 0), np.float32), "memory.v": np.zeros(0, np.float32)}
        self.params = none | {name: value for name, value in params.items() if name.startswith("memory.")}
        self.grads = {name: value for name, value in grads.items() if name.startswith("memory.")}
        of_groups = [np.zeros((self.groups, *self.params[name].shape), np.float32) for name in SHARED]
        self.dw, self.dA, self.dv = of_groups  # each group's share in the gradients

    def weights(self) -> MemoryWeights:
        """The weights under every head, as they are now."""
        w, A, v = (self.params[name] for name in SHARED)
        d, e = (self.params.get(name, np.zeros((self.groups, 1), np.float32)) for name in ("memory.d", "memory.e"))
        return MemoryWeights(w + d, A, v + e)

    def begin(self) -> None:
        """A pass over a batch begins."""
        self.now = self.weights()

    def forward(self, z: Floats, m: Floats, group: int) -> None:
        """Add to the logits (n,) of pairs of one group with terms m (n, F)."""
        kernels.memory_score(z, m, self.now.linear[group], self.now.layer, self.now.units[group])

    def backward(self, dz: Floats, m: Floats, spans: list[slice]) -> None:
        """Gradients from dz (B,) of all pairs with terms m (B, F): group k has the pairs ``spans[k]``."""
        for k, span in enumerate(spans):
            outputs = self.dw[k], self.dA[k], self.dv[k]
            kernels.memory_score_backward(*outputs, dz[span], m[span], self.now.layer, self.now.units[k])
        for name, own in zip(SHARED, (self.dw, self.dA, self.dv), strict=True):
            if name in self.grads:
                np.sum(own, axis=0, out=self.grads[name])
        for name, own in (("memory.d", self.dw), ("memory.e", self.dv)):
            if name in self.grads:
                self.grads[name][...] = own


SHARED = ("memory.w", "memory.A", "memory.v")
