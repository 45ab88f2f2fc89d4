"""A gate per territory on the user embedding, after the market-aware gates of Bhargav et al. (ECIR 2023)."""

import math

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model.batch import Batch
from twotower.model.engine import kernels
from twotower.model.engine.threads import Threads, Tile, column_spans
from twotower.model.gradients import WeightGradients
from twotower.model.heads import Head
from twotower.model.layers import Scratch
from twotower.model.loss import PairWork
from twotower.model.parameters import Arena, Floats, Parameter


class MarketGate(Head):
    """U = A ⊙ (1 + m_c), with a vector m_c (D,) per territory c that starts at 0 and is decayed to the shared model."""

    by_territory = True

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, territories: int) -> dict[str, Parameter]:
        return {"territory.m": Parameter((territories, model.hidden), owner="territory", decay="head")}

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig, inner: Head | None = None):
        super().__init__(params, grads, model, inner)
        self.m, self.dm = params["territory.m"], grads["territory.m"]  # (C, D)
        self.dm_of_row = np.empty((0, model.hidden), np.float32)  # (R, D) dU ⊙ A of a batch's rows

    def begin(self, batch: Batch) -> None:
        R = len(batch.user_counts)
        if len(self.dm_of_row) < R:
            self.dm_of_row = np.empty((R, self.model.hidden), np.float32)
            self.row, self.once = np.arange(R, dtype=np.int32), np.ones(R, np.float32)

    def forward(self, U: Floats, A: Floats, group: int, territory: np.ndarray, scratch: Scratch) -> Floats:
        np.take(self.m, territory, axis=0, out=U, mode="clip")  # "raise" would copy
        np.multiply(U, A, out=U)
        kernels.head_output(U, A, self.no_bias, 1.0, self.floor)
        return U

    def backward(
        self, gradients: WeightGradients, tile: Tile, dA: Floats, dU: Floats, U: Floats, A: Floats,
        territory: np.ndarray, scratch: Scratch,
    ) -> Floats:  # fmt: skip
        # forward: U = A ⊙ (1 + m)   so: dA = dU ⊙ (1 + m), and dm_c = Σ dU ⊙ A over the rows of c
        if math.isfinite(self.floor):
            kernels.head_output_backward(dU, U, self.floor)
        np.multiply(dU, A, out=self.dm_of_row[tile.rows])
        np.take(self.m, territory, axis=0, out=dA, mode="clip")
        np.add(dA, 1, out=dA)
        return np.multiply(dA, dU, out=dA)

    def finish(self, batch: Batch, pairs: PairWork, V: Floats, threads: Threads) -> None:
        """Sum the rows of each territory in their order; those of an absent one are 0."""
        R, territory = len(batch.user_counts), batch.user_territory

        def columns(span: np.ndarray) -> None:
            kernels.title_gradient(self.dm, self.once[:R], self.dm_of_row, self.row[:R], territory, span)

        threads.run(columns, column_spans(self.dm.shape[1]))
