"""What a group or a territory has to itself on top of the user tower, a tile of rows at a time; see ``layers``."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model.engine import kernels
from twotower.model.engine.arena import Arena
from twotower.model.engine.threads import CHUNKS, Tile, Workers
from twotower.model.layers import Dense, GradientSums, Scratch
from twotower.model.loss import PairWork


def head_shapes(model: ModelConfig) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Names and shapes of the heads' parameters: those that all groups update, and those with a row a group."""
    D, K, r, E = model.hidden, model.groups, model.rank, model.experts
    shared: dict[str, tuple[int, ...]] = {}
    own: dict[str, tuple[int, ...]] = {}
    if model.head in ("plain", "residual"):
        own = {"head.W": (K, D, D), "head.b": (K, D)}
    elif model.head == "lowrank":
        own = {"head.P": (K, D, r), "head.Q": (K, r, D)}
    elif model.head == "mmoe":
        shared, own = {"experts.P": (D, E * r), "experts.Q": (E * r, D)}, {"head.G": (K, D, E)}
    elif model.head == "cross-stitch":
        shared, own = {"stitch.W": (K, D, D)}, {"head.alpha": (K, K), "head.b": (K, D)}
    return shared, own


def make_heads(params: Arena, grads: Arena, model: ModelConfig) -> "GroupedHeads | Experts | None":
    """The heads of a model, if it has any."""
    if model.head == "none":
        return None
    if model.head == "mmoe":
        return Experts(params, model)
    return CrossStitch(params, grads, model) if model.head == "cross-stitch" else GroupedHeads(params, model)


class GroupedHeads:
    """One head a group on top of the user tower. A tile holds rows of one group, so that a head sees no other row."""

    shared: tuple[str, ...] = ()  # parameters with gradients of all groups' tiles

    def __init__(self, params: Mapping[str, np.ndarray], model: ModelConfig):
        self.kind, self.floor = model.head, model.head_floor
        self.residual = float(model.head != "plain")
        groups = range(model.groups)
        self.b = params["head.b"] if "head.b" in params else np.zeros((0, 0))  # (K, D)
        self.W = [Dense("head.W", params, k) for k in groups] if "head.W" in params else []  # K of (D, D)
        self.P = [Dense("head.P", params, k) for k in groups] if "head.P" in params else []  # K of (D, r)
        self.Q = [Dense("head.Q", params, k) for k in groups] if "head.Q" in params else []  # K of (r, D)
        self.no_bias = np.zeros(model.hidden, np.float32)
        self.own = tuple(name for name in ("head.W", "head.b", "head.P", "head.Q") if name in params)
        self.pulled: dict[str, np.ndarray] = {}  # gradients of what is no parameter

    @property
    def matrices(self) -> list[Dense]:
        return [*self.W, *self.P, *self.Q]

    def prepare(self) -> None:
        """Compute the matrices from the parameters, once a step."""

    def finish(self, segments: np.ndarray) -> None:
        """Gradients of the parameters from those of the matrices; group k has rows segments[k]:segments[k+1]."""

    def forward(self, U: np.ndarray, A: np.ndarray, k: int, scratch: Scratch) -> np.ndarray:
        """U = A W_k + b_k, with A added for a residual head, or A + A P_k Q_k for a low-rank one."""
        if self.kind == "lowrank":
            H = self.P[k].forward(scratch.H[: len(A)], A, scratch)
            self.Q[k].forward(U, H, scratch)
            kernels.head_output(U, A, self.no_bias, self.residual, self.floor)
        else:
            self.W[k].forward(U, A, scratch)
            kernels.head_output(U, A, self.b[k], self.residual, self.floor)
        return U

    def backward(
        self, sums: GradientSums, tile: Tile, first_chunk: int,
        dA: np.ndarray, dU: np.ndarray, U: np.ndarray, A: np.ndarray, scratch: Scratch,
    ) -> np.ndarray:  # fmt: skip
        """Gradients of head k = tile.group, and dA of the tower's output; ``dU`` is overwritten."""
        k, where = tile.group, (sums, tile, first_chunk)
        if math.isfinite(self.floor):
            kernels.head_output_backward(dU, U, self.floor)
        if self.kind == "lowrank":
            H, dH = scratch.H[: len(A)], scratch.dH[: len(A)]
            self.P[k].forward(H, A, scratch)
            self.Q[k].backward_weights(*where, H, dU, scratch)
            self.Q[k].backward_input(dH, dU, scratch)
            self.P[k].backward_weights(*where, A, dH, scratch)
            np.copyto(dA, dU)
            return self.P[k].backward_input(dA, dH, scratch, accumulate=1)
        db, accumulate = sums.target("head.b", k, tile, first_chunk)
        np.add(db if accumulate else 0, dU.sum(0), out=db)
        self.W[k].backward_weights(*where, A, dU, scratch)
        if self.residual:
            np.copyto(dA, dU)
        return self.W[k].backward_input(dA, dU, scratch, accumulate=int(self.residual))


class CrossStitch(GroupedHeads):
    """Residual heads that borrow from each other: head k is W̃_k = Σ_j α_kj W_j (Misra et al. 2016, of layers)."""

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig):
        self.stitched, self.alpha = (params[name].reshape(model.groups, -1) for name in ("stitch.W", "head.alpha"))
        self.dstitched, self.dalpha = (grads[name].reshape(model.groups, -1) for name in ("stitch.W", "head.alpha"))
        mixed, dmixed = np.zeros((2, *params["stitch.W"].shape), np.float32)
        super().__init__({"head.W": mixed, "head.b": params["head.b"]}, model)
        self.mixed, self.pulled = mixed.reshape(model.groups, -1), {"head.W": dmixed}

    def prepare(self) -> None:
        np.matmul(self.alpha, self.stitched, out=self.mixed)

    def finish(self, segments: np.ndarray) -> None:
        """A group's rows move every W_j through its row of α, and of the α its own row alone."""
        dmixed = self.pulled["head.W"].reshape(self.mixed.shape)
        dmixed[np.diff(segments) == 0] = 0
        np.matmul(dmixed, self.stitched.T, out=self.dalpha)
        np.matmul(self.alpha.T, dmixed, out=self.dstitched)


def softmax(L: np.ndarray) -> np.ndarray:
    """Shares (n, E) of each row's logits, in place."""
    L -= L.max(1, keepdims=True)
    np.exp(L, out=L)
    L /= L.sum(1, keepdims=True)
    return L


class Experts:
    """Multi-gate mixture of experts (Ma et al. 2018): experts of low rank for all groups, and a gate for each.

    U = A + Σ_e g_e·A P_e Q_e with g = softmax(A G_k): all experts side by side are one low-rank layer P (D, E·r),
    Q (E·r, D), whose middle the gate scales a block of r columns an expert.
    """

    shared, own = ("experts.P", "experts.Q"), ("head.G",)

    def __init__(self, params: Arena, model: ModelConfig):
        self.floor, self.experts = model.head_floor, model.experts
        self.P, self.Q = Dense("experts.P", params), Dense("experts.Q", params)
        self.G = [Dense("head.G", params, k) for k in range(model.groups)]
        self.no_bias = np.zeros(model.hidden, np.float32)
        self.pulled: dict[str, np.ndarray] = {}

    @property
    def matrices(self) -> list[Dense]:
        return [self.P, self.Q, *self.G]

    def prepare(self) -> None:
        """Nothing: the matrices are parameters."""

    def finish(self, segments: np.ndarray) -> None:
        """Nothing: the matrices' gradients are the parameters'."""

    def _gated(self, A: np.ndarray, k: int, scratch: Scratch) -> tuple[np.ndarray, np.ndarray]:
        """A P (n, E·r), which lies in ``scratch.H``, and the gate (n, E)."""
        gate = self.G[k].forward(scratch.gate[: len(A)], A, scratch)
        return self.P.forward(scratch.H[: len(A)], A, scratch), softmax(gate)

    def _by_expert(self, H: np.ndarray) -> np.ndarray:
        return H.reshape(len(H), self.experts, -1)  # (n, E, r), a view

    def _scale(self, H: np.ndarray, gate: np.ndarray) -> None:
        """Each expert's block of H times its gate, in place; column by column, since a broadcast would be buffered."""
        for column in H.reshape(gate.size, -1).T:
            column *= gate.reshape(-1)

    def forward(self, U: np.ndarray, A: np.ndarray, k: int, scratch: Scratch) -> np.ndarray:
        """U = A + (g ⊗ A P) Q."""
        H, gate = self._gated(A, k, scratch)
        self._scale(H, gate)
        self.Q.forward(U, H, scratch)
        kernels.head_output(U, A, self.no_bias, 1.0, self.floor)
        return U

    def backward(
        self, sums: GradientSums, tile: Tile, first_chunk: int,
        dA: np.ndarray, dU: np.ndarray, U: np.ndarray, A: np.ndarray, scratch: Scratch,
    ) -> np.ndarray:  # fmt: skip
        """Gradients of the experts and of the gate of group k = tile.group, and dA; ``dU`` is overwritten."""
        k, dH = tile.group, scratch.dH[: len(A)]
        if math.isfinite(self.floor):
            kernels.head_output_backward(dU, U, self.floor)
        H, gate = self._gated(A, k, scratch)
        self.Q.backward_input(dH, dU, scratch)  # of the gated H
        dlogits = np.einsum("ner,ner->ne", self._by_expert(H), self._by_expert(dH), out=scratch.dgate[: len(A)])
        dlogits -= np.einsum("ne,ne->n", gate, dlogits)[:, None]
        dlogits *= gate
        for middle in (H, dH):
            self._scale(middle, gate)
        self.Q.backward_weights(sums, tile, 0, H, dU, scratch)
        self.P.backward_weights(sums, tile, 0, A, dH, scratch)
        self.G[k].backward_weights(sums, tile, first_chunk, A, dlogits, scratch)
        np.copyto(dA, dU)
        self.P.backward_input(dA, dH, scratch, accumulate=1)
        return self.G[k].backward_input(dA, dlogits, scratch, accumulate=1)


class TerritoryOffsets:
    """What every territory adds to its group: U = head_k(A) + b_c and, with title biases, z + <X_t, C_c>.

    Both gradients are sums over the pairs of a territory, as the titles' are over theirs, and use the same kernel: all
    territories at once, threads on different columns. Those of absent territories are 0.
    """

    def __init__(self, params: Arena, grads: Arena):
        self.b, self.db = params["territory.b"], grads["territory.b"]  # (C, D)
        self.C, self.dC = params.get("territory.C"), grads.get("territory.C")  # (C, F_t), or None
        self.reserve(0, 0)

    def reserve(self, pairs: int, titles: int) -> None:
        """Workspaces for so many pairs and titles."""
        self.of_pair = np.empty(pairs, np.int32)
        self.bias = np.empty((len(self.b), 0 if self.C is None else titles), np.float32)

    def begin(self, batch: Any) -> None:
        """What the territories add to the titles of a batch, (C, T)."""
        if self.C is not None:
            np.matmul(self.C, batch.title_features.T, out=self.bias[:, : len(batch.title_counts)])

    def add(self, U: np.ndarray, territory: np.ndarray, scratch: Scratch) -> None:
        """U + b_c for the rows of a tile, in place."""
        offset = np.take(self.b, territory, axis=0, out=scratch.dA[: len(U)], mode="clip")  # "raise" would copy
        np.add(U, offset, out=U)

    def add_to_logits(self, z: np.ndarray, span: slice, batch: Any) -> None:
        """z + <X_t, C_c> for the pairs in ``span``, in place; their territories are noted."""
        of_pair = np.take(batch.user_territory, batch.pair_user[span], out=self.of_pair[span], mode="clip")
        if self.C is not None:
            np.add(z, self.bias[of_pair, batch.pair_title[span]], out=z)

    def backward(self, pairs: PairWork, V: np.ndarray, batch: Any, workers: Workers) -> None:
        """Gradients of all offsets from those of the dot products and logits of a batch's pairs."""
        B, title = len(batch.labels), batch.pair_title
        sums = [(self.db, pairs.ddots[:B], V)]  # dU = ddot·V_t, and db_c = Σ dU over the pairs of c
        if self.dC is not None:
            sums.append((self.dC, pairs.dz[:B], batch.title_features))  # dC_c = Σ dz·X_t

        def columns(task: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> None:
            total, weights, rows, span = task
            kernels.title_gradient(total, weights, rows, title, self.of_pair[:B], span)

        tasks = []
        for total, weights, rows in sums:
            edges = np.linspace(0, total.shape[1], CHUNKS + 1).astype(np.int64)
            tasks += [(total, weights, rows, edges[i : i + 2]) for i in range(CHUNKS)]
        workers.run(columns, tasks)
