"""What a group or a territory has to itself on top of the user tower, a tile of rows at a time; see ``layers``."""

import math
from typing import Any

import numpy as np

from twotower.config import ModelConfig
from twotower.nn import kernels
from twotower.nn.arena import Arena
from twotower.nn.layers import Dense, GradientSums, Scratch
from twotower.nn.loss import PairWork
from twotower.nn.workers import CHUNKS, Tile, Workers


class GroupedHeads:
    """One head a group on top of the user tower. A tile holds rows of one group, so that a head sees no other row."""

    def __init__(self, params: Arena, model: ModelConfig):
        self.kind, self.floor = model.head, model.head_floor
        self.residual = float(model.head != "plain")
        groups = range(model.groups)
        self.b = params["head.b"] if "head.b" in params else np.zeros((0, 0))  # (K, D)
        self.W = [Dense("head.W", params, k) for k in groups] if "head.W" in params else []  # K of (D, D)
        self.P = [Dense("head.P", params, k) for k in groups] if "head.P" in params else []  # K of (D, r)
        self.Q = [Dense("head.Q", params, k) for k in groups] if "head.Q" in params else []  # K of (r, D)
        self.no_bias = np.zeros(model.hidden, np.float32)

    @property
    def matrices(self) -> list[Dense]:
        return [*self.W, *self.P, *self.Q]

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
