"""Heads: the user embedding U (n, D) from the user tower's output A (n, D), a tile of rows at a time.

A head declares its parameters, says how to start and what to decay, and goes forward and backward. ``HEADS`` lists all;
the default ones stand here, the others in ``variants``, where each is imported only by a model that has it.

    n rows of one group · D hidden width · r rank · K groups · C territories
"""

import importlib
import math
from collections.abc import Mapping

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model.batch import Batch
from twotower.model.engine import gemm, kernels
from twotower.model.engine.threads import Threads, Tile
from twotower.model.gradients import Panels, Product, WeightGradients
from twotower.model.layers import Dense, Scratch
from twotower.model.loss import PairWork
from twotower.model.parameters import Arena, Floats, Parameter, uniform

#: The value of ``--head``, and where its class stands.
HEADS = {
    "none": "twotower.model.heads:Head",
    "plain": "twotower.model.heads:FullHead",
    "residual": "twotower.model.heads:FullHead",
    "lowrank": "twotower.model.heads:LowRankHead",
    "mmoe": "twotower.model.variants.experts:Experts",
    "cross-stitch": "twotower.model.variants.cross_stitch:CrossStitch",
    "market-gate": "twotower.model.variants.market_gate:MarketGate",
}
#: What stands around the head where ``territory_bias`` is set.
AROUND = "twotower.model.variants.territory_bias:TerritoryBias"


class Head:
    """The base of all heads, and itself the one of a model without heads: U = A.

    A tile holds rows of one group, so that what a group has to itself sees no other row. Several threads call
    ``forward`` and ``backward`` for different tiles at once; everything else is called by one, once per pass.
    """

    by_territory = False  # whether U depends on the territory of the row, so that scoring needs to know it

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
        """The head's parameters by name: head.… with a row per group, territory.… per territory, others shared."""
        return {}

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig, inner: "Head | None" = None):
        """``inner`` is the head that one around another adds to."""
        self.params, self.grads, self.model, self.floor = params, grads, model, model.head_floor
        self.no_bias = np.zeros(model.hidden, np.float32)
        self.matrices: list[Dense] = []  # laid out for the matrix product at every step
        self.shared: Mapping[str, Floats] = {}  # gradients that tiles of all groups add to
        self.by_group: Mapping[str, Floats] = {}  # gradients (K, …) that tiles of a group add to
        self.scratch = 0, 0  # columns of Scratch.H and of Scratch.G that a tile needs

    def prepare(self) -> None:
        """Compute the matrices from the parameters, once per step."""

    def begin(self, batch: Batch) -> None:
        """A pass over a batch begins."""

    def forward(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        """U (n, D) of the rows of a tile, all of one group; ``territory`` is (n,), or (0,) where unknown."""
        np.copyto(U, A)
        return U

    def embed(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        """U without what ``title_terms`` says of all users of a territory at once; for retrieval."""
        return self.forward(U, A, group, territory, scratch)

    def title_terms(self, V: Floats, X: Floats) -> Floats | None:
        """What a territory adds to the logits of titles with embeddings V (T, D) and features X (T, F): (C, T)."""
        return None

    def add_to_logits(self, z: Floats, span: slice, batch: Batch) -> None:
        """Add to the logits of the pairs in ``span`` what does not pass through U, in place."""

    def backward(
        self, gradients: WeightGradients, tile: Tile, dA: Floats, dU: Floats, U: Floats, A: Floats,
        territory: np.ndarray, scratch: Scratch,
    ) -> Floats:  # fmt: skip
        """dA of a tile's rows from dU, which may be overwritten; those of matrices go to ``gradients``."""
        return dU

    def products(self, tiles: list[Tile]) -> list[Product]:
        """Gradients of matrices that are too large for a part per tile, when all tiles have gone backward."""
        return []

    def finish(self, batch: Batch, pairs: PairWork, V: Floats, threads: Threads) -> None:
        """Gradients of the parameters that are not sums over tiles, when all tiles have gone backward."""


class FullHead(Head):
    """U = A W_k + b_k, and for residual heads + A: then W starts at 0, from the shared model."""

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
        D, K = model.hidden, model.groups
        W = Parameter((K, D, D), owner="group", decay="head")
        plain = model.head == "plain"
        return {"head.W": W._replace(initial=uniform) if plain else W, "head.b": Parameter((K, D), owner="group")}

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig):
        super().__init__(params, grads, model)
        self.residual = float(model.head != "plain")
        self._take(params["head.W"], grads["head.W"])

    def _take(self, W: Floats, dW: Floats) -> None:
        """Matrices (K, D, D) and where their gradients go."""
        self.W = self.matrices = [Dense("head.W", {"head.W": W}, k) for k in range(len(W))]
        self.b = self.params["head.b"]  # (K, D)
        self.dW, self.by_group = dW, {"head.b": self.grads["head.b"]}
        self.A, self.dU = np.empty((0, W.shape[1]), np.float32), Panels(0, W.shape[2])  # of a batch's rows

    def begin(self, batch: Batch) -> None:
        R, D = len(batch.user_counts), self.model.hidden
        if len(self.A) < R:
            self.A, self.dU = np.empty((R, D), np.float32), Panels(R, D)

    def forward(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        self.W[group].forward(U, A, scratch)
        kernels.head_output(U, A, self.b[group], self.residual, self.floor)
        return U

    def backward(
        self, gradients: WeightGradients, tile: Tile, dA: Floats, dU: Floats, U: Floats, A: Floats,
        territory: np.ndarray, scratch: Scratch,
    ) -> Floats:  # fmt: skip
        # forward: U = A W + b (+ A)   so: dW = Aᵀ dU, db = Σ dU, dA = dU Wᵀ (+ dU)
        k = tile.group
        if math.isfinite(self.floor):
            kernels.head_output_backward(dU, U, self.floor)
        dU.sum(0, out=gradients.target("head.b", k, tile))
        np.copyto(self.A[tile.rows], A)
        gemm.pack(self.dU.packed(tile), dU)
        if self.residual:
            np.copyto(dA, dU)
        return self.W[k].backward_input(dA, dU, scratch, accumulate=int(self.residual))

    def products(self, tiles: list[Tile]) -> list[Product]:
        own = [(k, [tile for tile in tiles if tile.group == k]) for k in range(len(self.W))]
        return [self.W[k].weight_product(self.dW[k], self.A, self.dU, some) for k, some in own if some]


class LowRankHead(Head):
    """U = A + A P_k Q_k with P (D, r) and Q (r, D): Q starts at 0, from the shared model."""

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
        D, K, r = model.hidden, model.groups, model.rank
        return {
            "head.P": Parameter((K, D, r), uniform, owner="group", decay="head"),
            "head.Q": Parameter((K, r, D), owner="group", decay="head"),
        }

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig):
        super().__init__(params, grads, model)
        self.P, self.Q = ([Dense(name, params, k) for k in range(model.groups)] for name in ("head.P", "head.Q"))
        self.matrices = self.P + self.Q
        self.by_group = {name: grads[name] for name in ("head.P", "head.Q")}
        self.scratch = model.rank, 0

    def forward(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        H = self.P[group].forward(scratch.H[: len(A)], A, scratch)  # (n, r)
        self.Q[group].forward(U, H, scratch)
        kernels.head_output(U, A, self.no_bias, 1.0, self.floor)
        return U

    def backward(
        self, gradients: WeightGradients, tile: Tile, dA: Floats, dU: Floats, U: Floats, A: Floats,
        territory: np.ndarray, scratch: Scratch,
    ) -> Floats:  # fmt: skip
        # forward: H = A P, U = A + H Q   so: dQ = Hᵀ dU, dH = dU Qᵀ, dP = Aᵀ dH, dA = dU + dH Pᵀ
        P, Q = self.P[tile.group], self.Q[tile.group]
        if math.isfinite(self.floor):
            kernels.head_output_backward(dU, U, self.floor)
        H, dH = scratch.H[: len(A)], scratch.dH[: len(A)]
        P.forward(H, A, scratch)
        Q.backward_weights(gradients, tile, H, dU, scratch)
        Q.backward_input(dH, dU, scratch)
        P.backward_weights(gradients, tile, A, dH, scratch)
        np.copyto(dA, dU)
        return P.backward_input(dA, dH, scratch, accumulate=1)


def registered(place: str) -> type[Head]:
    """The class of a place in ``HEADS``."""
    module, _, name = place.partition(":")
    head: type[Head] = getattr(importlib.import_module(module), name)
    return head


def head_parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
    """What a model's head declares, and what territories add to it."""
    declared = registered(HEADS[model.head]).parameters(model, title_width, territories)
    if model.territory_bias:
        declared = declared | registered(AROUND).parameters(model, title_width, territories)
    return declared


def make_head(params: Arena, grads: Arena, model: ModelConfig) -> Head:
    """The head of a model."""
    head = registered(HEADS[model.head])(params, grads, model)
    if model.territory_bias:
        return registered(AROUND)(params, grads, model, head)
    return head
