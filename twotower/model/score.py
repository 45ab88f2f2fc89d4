"""The score: the logit of a user for a title, in training, prediction and retrieval.

    z = s·<U, V> + c + <X, C_k> + memory(m)        p = sigmoid(z)

U (D,) embedding of the user under the head of group k · V (D,) embedding of the title · X (F_t,) the title's features ·
m (F,) the memory terms of the pair (see ``memory``). What the model does not have is left out.
In training and prediction a pair at a time, in retrieval all titles for a tile of users: there c and the title's bias
are one offset per title. ``reference.score`` is the same in the textbook.
"""

import math

import numpy as np

from twotower.core.config import ModelConfig
from twotower.core.jit import njit
from twotower.model.batch import Batch
from twotower.model.engine import kernels
from twotower.model.engine.threads import Threads, column_spans
from twotower.model.loss import PairWork
from twotower.model.memory import MemoryPart
from twotower.model.parameters import Arena, Floats, Owner, Parameter, constant


class Score:
    """The scale s, the bias c and, where the model has them, the groups' title biases C (K, F_t) and memory."""

    @staticmethod
    def parameters(model: ModelConfig, title_width: int, base_rate: float) -> dict[str, Parameter]:
        """A learned scale starts at 1/√D, where s·<U, V> has unit variance, and c at the log-odds of ``base_rate``.

        Without them every probability would start far too high, and the negatives would drive all activations to 0.
        """
        learned = model.learned_logit
        s, c = (1 / math.sqrt(model.hidden), math.log(base_rate / (1 - base_rate))) if learned else (1.0, 0.0)
        owner: Owner = "all" if learned else "nobody"
        declared = {
            "logit.scale": Parameter((1,), constant(s), owner),
            "logit.bias": Parameter((1,), constant(c), owner),
        }
        if model.title_bias:
            declared["title_bias.C"] = Parameter((model.groups, title_width), owner="group", decay="bias")
        if model.memory:
            declared |= MemoryPart.parameters(model)
        return declared

    def __init__(self, params: Arena, grads: Arena, model: ModelConfig):
        self.s, self.c, self.C = params["logit.scale"], params["logit.bias"], params.get("title_bias.C")
        self.ds, self.dc, self.dC = grads["logit.scale"], grads["logit.bias"], grads.get("title_bias.C")
        self.learned = model.learned_logit
        self.memory = MemoryPart(params, grads, model) if model.memory else None
        self.title_bias: Floats | None = None  # (K, T) of a batch's titles

    def begin(self, batch: Batch) -> None:
        """The title biases of a batch."""
        self.title_bias = None if self.C is None else self.C @ batch.title_features.T
        if self.memory is not None:
            self.memory.begin()

    def forward(self, work: PairWork, batch: Batch, rows: slice, group: int, U: Floats, V: Floats) -> slice:
        """Dot products and logits of the pairs of a tile's user rows, U (n, D); returns the pairs as a span."""
        start = batch.pair_start[rows.start : rows.stop + 1]
        span = slice(int(start[0]), int(start[-1]))
        kernels.pair_dots(work.dots[span], U, V, start, batch.pair_title)
        z = work.z[span]
        np.multiply(work.dots[span], self.s, out=z)
        np.add(z, self.c, out=z)
        if self.title_bias is not None:
            np.add(z, self.title_bias[group][batch.pair_title[span]], out=z)
        if self.memory is not None:
            self.memory.forward(z, batch.memory[span], group)
        return span

    def backward_users(self, dU: Floats, work: PairWork, batch: Batch, rows: slice, span: slice, V: Floats) -> None:
        """dU (n, D) of a tile's user rows, from ``work.ddots`` of their pairs."""
        # forward: dot_i = <U_u, V_t>   so: dU_u = Σ ddot_i·V_t over the pairs of u, and dV_t = Σ ddot_i·U_u
        start = batch.pair_start[rows.start : rows.stop + 1]
        kernels.user_gradient(dU, work.ddots[span], V, start, batch.pair_title)

    def backward_titles(self, dV: Floats, work: PairWork, batch: Batch, U: Floats, threads: Threads) -> None:
        """dV (T, D) from ``work.ddots`` of all pairs; threads take different columns."""
        ddots = work.ddots[: len(batch.labels)]

        def columns(span: np.ndarray) -> None:
            kernels.title_gradient(dV, ddots, U, batch.pair_user, batch.pair_title, span)

        threads.run(columns, column_spans(dV.shape[1]))

    def finish(self, work: PairWork, batch: Batch, spans: list[slice]) -> None:
        """Gradients of s and c, and of the title biases of each group with pairs: group k has the pairs spans[k]."""
        B, T = len(batch.labels), len(batch.title_counts)
        dz = work.dz[:B]
        if self.learned:
            self.ds[0] = np.dot(dz, work.dots[:B])
            self.dc[0] = work.total(dz)
        if self.dC is not None:
            for k, span in enumerate(spans):
                if span.start < span.stop:
                    by_title = work.total_by(batch.pair_title[span], dz[span], T)
                    self.dC[k] = by_title.astype(np.float32) @ batch.title_features
        if self.memory is not None:
            self.memory.backward(dz, batch.memory[:B], spans)

    def title_terms(self, X: Floats, groups: int) -> Floats:
        """What is added to s·<U, V> of titles with features X (T, F_t), for users of each group: (K, T)."""
        terms = np.zeros((groups, len(X)), np.float32) if self.C is None else self.C @ X.T
        terms += self.c
        return terms


@njit(cache=True, nogil=True)
def logits(dots: Floats, scale: float, offset: Floats, kind: np.ndarray, first: int) -> None:
    """z = s·<U, V> + offset, in place: dots (n, w), offset (M, T), kind (n,); the block begins with title ``first``.

    No multiply-add is fused, so that a logit has one value, wherever it is computed.
    """
    width = dots.shape[1]
    for r in range(dots.shape[0]):
        row = offset[kind[r], first : first + width]
        for j in range(width):
            dots[r, j] = scale * dots[r, j] + row[j]
