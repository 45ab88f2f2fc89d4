"""Adam over the arena: shared parameters in one loop, each head only when its group is in the batch."""

from collections.abc import Iterable

import numpy as np

from twotower.model.engine import kernels
from twotower.model.engine.threads import Threads
from twotower.model.parameters import Arena

PIECE = 1 << 14  # parameters that one thread updates at a time


def in_pieces(span: slice) -> list[slice]:
    """The tasks of one span of the flat parameters."""
    return [slice(start, min(start + PIECE, span.stop)) for start in range(span.start, span.stop, PIECE)]


class Adam:
    """Adam, Algorithm 1 of Kingma & Ba 2015: bias-corrected moments, eps added outside the root.

    Weight decay is decoupled from the gradient (AdamW, Algorithm 2 of Loshchilov & Hutter 2019): the moments never see
    it, and a step shrinks a weight by lr·decay of itself, however large its gradients are.

    The shared parameters and each group's block count their own updates. A head whose group is absent from a batch
    keeps its values, its moments and its count bit for bit, so that its bias correction stays right.
    """

    def __init__(self, params: Arena, shared: slice, group_blocks: list[list[slice]], lr: float, beta1: float = 0.9,
                 beta2: float = 0.999, eps: float = 1e-8):  # fmt: skip
        """``shared`` and ``group_blocks[k]`` say which spans of the flat parameters belong to all and to group k."""
        self.params = params
        self.m, self.v = params.like(), params.like()
        self.shared, self.group_blocks = shared, group_blocks
        self.lr, self.betas, self.eps = lr, (beta1, beta2), eps
        self.steps = [0] * (1 + len(group_blocks))  # updates so far: shared, then by group
        self.decays: list[list[tuple[slice, float]]] = [[] for _ in self.steps]  # spans and their rates, likewise

    def decay(self, matrices: list[list[slice]], rate: float) -> None:
        """Shrink spans of the flat parameters from now on: ``matrices[0]`` are shared, ``[1 + k]`` group k's."""
        for counter, spans in enumerate(matrices):
            self.decays[counter] += [(span, rate) for span in spans if rate]

    def update(self, grads: Arena, groups: Iterable[int], threads: Threads) -> None:
        """One step along ``grads`` for the shared parameters and the blocks of ``groups``.

        Raises ValueError for gradients of a network of another shape, IndexError for a block that there is not.
        """
        groups = list(groups)
        if grads.shapes != self.params.shapes or grads.flat.dtype != self.params.flat.dtype:
            raise ValueError("gradients of a network of another shape")
        if groups and not 0 <= min(groups) <= max(groups) < len(self.group_blocks):
            raise IndexError(f"blocks {min(groups)} to {max(groups)}, expected 0 to {len(self.group_blocks) - 1}")
        pieces: list[tuple[slice, int]] = []
        shrinking: list[tuple[slice, float]] = []
        for counter, spans in [(0, [self.shared]), *((1 + k, self.group_blocks[k]) for k in groups)]:
            self.steps[counter] += 1
            shrinking += [(part, rate) for span, rate in self.decays[counter] for part in in_pieces(span)]
            pieces += [(part, self.steps[counter]) for span in spans for part in in_pieces(span)]

        def piece(part: tuple[slice, int]) -> None:
            where, t = part
            P, M, V, G = (arena.flat[where] for arena in (self.params, self.m, self.v, grads))
            kernels.adam(P, M, V, G, self.lr, self.betas[0], self.betas[1], self.eps, t)

        def shrink(part: tuple[slice, float]) -> None:
            where, rate = part
            P = self.params.flat[where]
            np.multiply(P, np.float32(1 - self.lr * rate), out=P)  # P = P − lr·rate·P

        if shrinking:
            threads.run(shrink, shrinking)
        threads.run(piece, pieces)
