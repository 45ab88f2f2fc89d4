"""What every territory adds to its group: U = head_k(A) + b_c and, with title biases, z + <X_t, C_c>."""

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model.batch import Batch
from twotower.model.engine import kernels
from twotower.model.engine.threads import Threads, Tile, column_spans
from twotower.model.gradients import Product, WeightGradients
from twotower.model.heads import Head
from twotower.model.layers import Scratch
from twotower.model.loss import PairWork
from twotower.model.parameters import Arena, Floats, Parameter


class TerritoryBias(Head):
    """A head around another, to whose output it adds; b (C, D) and C (C, F_t) start at 0.

    Both gradients are sums over the pairs of a territory, and use the kernel that sums over the pairs of a title: all
    territories at once, threads on different columns. Those of absent territories are 0.
    """

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
        declared = {"territory.b": Parameter((territories, model.hidden), owner="territory")}
        if model.title_bias:
            declared["territory.C"] = Parameter((territories, title_width), owner="territory")
        return declared

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig, inner: Head | None = None):
        assert inner is not None
        super().__init__(params, grads, model)
        self.b, self.db = params["territory.b"], grads["territory.b"]
        self.C, self.dC = params.get("territory.C"), grads.get("territory.C")
        self.of_pair = np.empty(0, np.int32)
        self.bias = np.empty((len(self.b), 0), np.float32)
        self.head, self.matrices, self.scratch = inner, inner.matrices, inner.scratch
        self.shared, self.by_group, self.by_territory = inner.shared, inner.by_group, inner.by_territory


    def prepare(self) -> None:
        self.head.prepare()

    def begin(self, batch: Batch) -> None:
        """What the territories add to the titles of a batch, (C, T)."""
        self.head.begin(batch)
        B, T = len(batch.labels), len(batch.title_counts)
        if len(self.of_pair) < B:
            self.of_pair = np.empty(B, batch.user_territory.dtype)
        if self.C is not None:
            if self.bias.shape[1] < T:
                self.bias = np.empty((len(self.b), T), np.float32)
            np.matmul(self.C, batch.title_features.T, out=self.bias[:, :T])

    def forward(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        self.head.forward(U, A, group, territory, scratch)
        offset = np.take(self.b, territory, axis=0, out=scratch.dA[: len(U)], mode="clip")  # "raise" would copy
        return np.add(U, offset, out=U)

    def embed(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        return self.head.embed(U, A, group, territory, scratch)

    def title_terms(self, V: Floats, X: Floats) -> Floats:
        """s·<b_c, V> + <X, C_c>: <U + b_c, V> = <U, V> + <b_c, V>, and the second is the same for all users."""
        bias = np.zeros((len(self.b), len(V)), np.float32) if self.C is None else self.C @ X.T
        bias += self.params["logit.scale"] * (self.b @ V.T)
        return bias

    def add_to_logits(self, z: Floats, span: slice, batch: Batch) -> None:
        """z + <X_t, C_c>; the territory of each pair is kept for the backward pass."""
        self.head.add_to_logits(z, span, batch)
        of_pair = np.take(batch.user_territory, batch.pair_user[span], out=self.of_pair[span], mode="clip")
        if self.C is not None:
            np.add(z, self.bias[of_pair, batch.pair_title[span]], out=z)

    def backward(
        self, gradients: WeightGradients, tile: Tile, dA: Floats, dU: Floats, U: Floats, A: Floats,
        territory: np.ndarray, scratch: Scratch,
    ) -> Floats:  # fmt: skip
        """As the head's own: outputs are linear, so that it does not read U."""
        return self.head.backward(gradients, tile, dA, dU, U, A, territory, scratch)

    def products(self, tiles: list[Tile]) -> list[Product]:
        return self.head.products(tiles)

    def finish(self, batch: Batch, pairs: PairWork, V: Floats, threads: Threads) -> None:
        self.head.finish(batch, pairs, V, threads)
        B, title = len(batch.labels), batch.pair_title
        sums = [(self.db, pairs.ddots[:B], V)]  # dU = ddot·V_t, and db_c = Σ dU over the pairs of c
        if self.dC is not None:
            sums.append((self.dC, pairs.dz[:B], batch.title_features))  # dC_c = Σ dz·X_t

        def columns(task: tuple[Floats, Floats, Floats, np.ndarray]) -> None:
            total, weights, rows, span = task
            kernels.title_gradient(total, weights, rows, title, self.of_pair[:B], span)

        threads.run(columns, [(*each, span) for each in sums for span in column_spans(each[0].shape[1])])
