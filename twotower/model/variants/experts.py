"""Multi-gate mixture of experts (Ma et al. 2018): experts of low rank for all groups, and a gate for each group."""

import math

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model.engine import kernels
from twotower.model.engine.threads import Tile
from twotower.model.gradients import WeightGradients
from twotower.model.heads import Head
from twotower.model.layers import Dense, Scratch
from twotower.model.parameters import Arena, Floats, Parameter, uniform


def softmax(L: Floats) -> Floats:
    """Shares (n, E) of each row's logits, in place."""
    L -= L.max(1, keepdims=True)
    np.exp(L, out=L)
    L /= L.sum(1, keepdims=True)
    return L


class Experts(Head):
    """U = A + Σ_e g_e·A P_e Q_e with g = softmax(A G_k).

    All experts side by side are one low-rank layer P (D, E·r), Q (E·r, D), whose middle the gate scales, a block of r
    columns per expert.
    """

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
        D, r, E = model.hidden, model.rank, model.experts
        return {
            "experts.P": Parameter((D, E * r), uniform, decay="head"),
            "experts.Q": Parameter((E * r, D), decay="head"),
            "head.G": Parameter((model.groups, D, E), owner="group", decay="head"),
        }

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig):
        super().__init__(params, grads, model)
        self.P, self.Q = Dense("experts.P", params), Dense("experts.Q", params)
        self.G = [Dense("head.G", params, k) for k in range(model.groups)]
        self.matrices = [self.P, self.Q, *self.G]
        self.shared = {name: grads[name] for name in ("experts.P", "experts.Q")}
        self.by_group = {"head.G": grads["head.G"]}
        self.scratch = model.experts * model.rank, model.experts

    def _gated(self, A: Floats, k: int, scratch: Scratch) -> tuple[Floats, Floats]:
        """A P (n, E·r) in ``scratch.H``, and the gate (n, E)."""
        gate = self.G[k].forward(scratch.G[: len(A)], A, scratch)
        return self.P.forward(scratch.H[: len(A)], A, scratch), softmax(gate)

    def _by_expert(self, H: Floats) -> Floats:
        return H.reshape(len(H), self.model.experts, -1)  # (n, E, r), a view

    def _scale(self, H: Floats, gate: Floats) -> None:
        """Each expert's block of H times its gate, in place; column by column, since a broadcast would be buffered."""
        for column in H.reshape(gate.size, -1).T:
            column *= gate.reshape(-1)

    def forward(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        H, gate = self._gated(A, group, scratch)
        self._scale(H, gate)
        self.Q.forward(U, H, scratch)
        kernels.head_output(U, A, self.no_bias, 1.0, self.floor)
        return U

    def backward(
        self, gradients: WeightGradients, tile: Tile, dA: Floats, dU: Floats, U: Floats, A: Floats,
        territory: np.ndarray, scratch: Scratch,
    ) -> Floats:  # fmt: skip
        G, dH = self.G[tile.group], scratch.dH[: len(A)]
        if math.isfinite(self.floor):
            kernels.head_output_backward(dU, U, self.floor)
        H, gate = self._gated(A, tile.group, scratch)
        self.Q.backward_input(dH, dU, scratch)  # of the gated H
        # forward: g = softmax(L), gated H_e = g_e·H_e   so: dg_e = <H_e, dH_e>, dL_e = g_e·(dg_e − Σ_f g_f·dg_f)
        dlogits = np.einsum("ner,ner->ne", self._by_expert(H), self._by_expert(dH), out=scratch.dG[: len(A)])
        dlogits -= np.einsum("ne,ne->n", gate, dlogits)[:, None]
        dlogits *= gate
        for middle in (H, dH):
            self._scale(middle, gate)
        self.Q.backward_weights(gradients, tile, H, dU, scratch)
        self.P.backward_weights(gradients, tile, A, dH, scratch)
        G.backward_weights(gradients, tile, A, dlogits, scratch)
        np.copyto(dA, dU)
        self.P.backward_input(dA, dH, scratch, accumulate=1)
        return G.backward_input(dA, dlogits, scratch, accumulate=1)
