"""The matrix products of the network, and who computes them in benchmarks/gemm.py.

n rows of a batch or a tile · F and D its features and hidden units · r rank of a low-rank head · K groups

A case is one product for each group of rows, as the heads have it; the towers have one group. Three kinds:

    Z = X W     forward                  W is laid out for the kernel once a step, which is counted below
    dX = dZ Wᵀ  backward to the input    likewise
    dW = Xᵀ dZ  backward to the weights  everything is counted
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.model.engine import gemm
from twotower.model.engine.threads import TILE_ROWS, Threads, cut_into_tiles, tile_height
from twotower.model.gradients import Panels, Product, WeightGradients, add, multiply

STEP_ROWS = 8192  # of a batch: a tile pays its share of laying W out
FORWARD, BACKWARD, WEIGHTS = "X W", "dZ Wᵀ", "Xᵀ dZ"


@dataclass(frozen=True)
class Case:
    """Products of one kind: rows of group k times matrix k."""

    name: str
    kind: str
    rows: tuple[int, ...]  # of each group
    inputs: int  # F: rows of W, whatever the kind
    outputs: int  # D: columns of W
    packing: float = 1.0  # share of laying W out that these rows pay
    batch: int = 0  # rows of the batch that they are part of, if it has others: tiles are cut by its size

    @property
    def flops(self) -> float:
        return 2.0 * sum(self.rows) * self.inputs * self.outputs

    def operands(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X (n,F) and dZ (n,D), of which a kind uses what it needs, and W (K,F,D)."""
        rng = np.random.default_rng(0)
        n = sum(self.rows)
        shapes = (n, self.inputs), (n, self.outputs), (len(self.rows), self.inputs, self.outputs)
        X, dZ, W = (rng.standard_normal(shape, np.float32) for shape in shapes)
        return X, dZ, W

    def result(self) -> np.ndarray:
        """Where the answer goes."""
        n, K = sum(self.rows), len(self.rows)
        shape: tuple[int, ...] = (n, self.outputs) if self.kind == FORWARD else (n, self.inputs)
        return np.full((K, self.inputs, self.outputs) if self.kind == WEIGHTS else shape, np.nan, np.float32)

    def spans(self) -> list[slice]:
        """The rows of each group."""
        ends = [0, *itertools.accumulate(self.rows)]
        return [slice(a, b) for a, b in itertools.pairwise(ends)]


def cases() -> list[Case]:
    """Every shape of the model, and those around it."""

    def three(name: str, rows: tuple[int, ...], F: int, D: int, packing: float = 1.0, batch: int = 0) -> list[Case]:
        return [Case(name, kind, rows, F, D, packing, batch) for kind in (FORWARD, BACKWARD, WEIGHTS)]

    height = tile_height(STEP_ROWS)
    tile = height / STEP_ROWS, STEP_ROWS
    found = three("users", (STEP_ROWS,), 512, 512) + three("users, 8 pairs each", (1024,), 512, 512)
    found += three("titles, layer 1", (700,), 896, 512) + three("titles, layer 2", (700,), 512, 512)
    found += three("four heads", (3277, 2458, 1638, 819), 512, 512)
    found += three("40 heads, ragged", tuple(25 + 9 * k for k in range(40)), 512, 512)
    found += three("rank 8, P", (STEP_ROWS,), 512, 8) + three("rank 8, Q", (STEP_ROWS,), 8, 512)
    found += three("a tile", (height,), 512, 512, *tile)
    found += three("a tile, rank 8, P", (height,), 512, 8, *tile)
    found += three("a tile, rank 8, Q", (height,), 8, 512, *tile)
    for n in (1, 2, 3, 7, 13, 31, 64, 101, 333, 1000, 2000):
        found += three("a segment", (n,), 512, 512, batch=STEP_ROWS)
    for D in (128, 256, 1024):
        found += three("widths", (STEP_ROWS // 2,), D, D)
    for F, D in ((300, 100), (333, 77), (65, 513)):
        found += three("odd widths", (1000,), F, D)
    for shape in ((1, 1, 1), (2, 3, 4), (5, 8, 8), (12, 16, 32), (13, 17, 33)):
        found += three("tiny", shape[:1], *shape[1:], batch=STEP_ROWS)
    return found


LOW_RANK = 64  # of a matrix whose gradient gets a part per tile


class Contender(Protocol):
    """Somebody who computes a case: set up once, then called again and again."""

    def __init__(self, case: Case, threads: int) -> None: ...
    def run(self) -> object: ...  # into the array that ``result`` gives
    def result(self) -> np.ndarray: ...


class Ours:
    """This project's products, a tile at a time on the threads of ``Threads``, as the model has them."""

    def __init__(self, case: Case, threads: int) -> None:
        self.case, self.C, self.threads = case, case.result(), Threads(threads)
        self.X, self.dZ, self.W = case.operands()
        inputs, outputs = case.inputs, case.outputs
        sides = (inputs, outputs) if case.kind == FORWARD else (outputs, inputs)
        self.packed = np.full((len(case.rows), gemm.packed_size(*sides)), np.nan, np.float32)
        ends = [0, *itertools.accumulate(case.rows)]
        rest = [case.batch] if case.batch else []  # a last group, whose tiles are not computed
        tiles = cut_into_tiles(np.array(ends + rest), tile_height(sum(case.rows) + sum(rest)))
        self.tiles = [tile for tile in tiles if tile.group < len(case.rows)]
        self.matrices = list(zip(self.packed, self.W, strict=True))
        self.large = min(inputs, outputs) > LOW_RANK and len(self.tiles) > 1
        self.panels = Panels(ends[-1] if self.large else 0, outputs)
        self.gradients = WeightGradients({}, {} if self.large else {"W": self.C})
        self.products: list[Product] = []
        if case.kind != WEIGHTS:
            self.calls = self._row_calls()
        elif self.large:
            own = [[tile for tile in self.tiles if tile.group == k] for k in range(len(case.rows))]
            self.products = [Product(("W", k), self.C[k], self.X, self.panels, some) for k, some in enumerate(own)]
            self.calls = [(piece, self._scratch()) for piece in self.gradients.pieces(self.products)]
        else:
            self.gradients.begin(self.tiles)
            parts = [(self.gradients.target("W", t.group, t), self.X[t.rows], self.dZ[t.rows]) for t in self.tiles]
            self.calls = [(*part, self._scratch(), 0) for part in parts]
        self.sums = self.gradients.sums(self.products) if case.kind == WEIGHTS else []
        self.pack()

    def _scratch(self) -> np.ndarray:
        widest = max(self.case.inputs, self.case.outputs)
        return np.full(gemm.work_size(TILE_ROWS, widest, widest), np.nan, np.float32)

    def _row_calls(self) -> list[tuple[Any, ...]]:
        """The arguments of each tile's product."""
        A = self.X if self.case.kind == FORWARD else self.dZ
        return [(self.C[t.rows], A[t.rows], self.packed[t.group], self._scratch(), 0) for t in self.tiles]

    def pack(self) -> None:
        """Lay all matrices out; once a step, and not part of ``run``."""
        if self.case.kind != WEIGHTS:
            if len(self.matrices) == 1:
                self._pack(self.matrices[0])
            else:
                self.threads.run(self._pack, self.matrices)

    def _pack(self, matrix: tuple[np.ndarray, np.ndarray]) -> None:
        (gemm.pack if self.case.kind == FORWARD else gemm.pack_transposed)(*matrix)

    def run(self) -> None:
        weights = gemm.matmul_transposed if self.case.kind == WEIGHTS else gemm.matmul
        if len(self.tiles) == 1:  # a lone tile is never shared out
            weights(*self.calls[0])
        elif self.large and self.case.kind == WEIGHTS:
            self.threads.run(lambda tile: gemm.pack(self.panels.packed(tile), self.dZ[tile.rows]), self.tiles)
            self.threads.run(lambda call: multiply(*call), self.calls)
        else:
            self.threads.run(lambda call: weights(*call), self.calls)
        self.threads.run(add, self.sums)

    def result(self) -> np.ndarray:
        return self.C


class NumPy:
    """``np.matmul`` into an array that is there, a call a group, on the BLAS's own threads."""

    def __init__(self, case: Case, threads: int) -> None:
        self.C, self.threads = case.result(), threads
        X, dZ, W = case.operands()
        spans = case.spans()
        if case.kind == FORWARD:
            self.calls = [(X[s], w, self.C[s]) for s, w in zip(spans, W, strict=True)]
        elif case.kind == BACKWARD:
            self.calls = [(dZ[s], w.T, self.C[s]) for s, w in zip(spans, W, strict=True)]
        else:
            self.calls = [(X[s].T, dZ[s], c) for s, c in zip(spans, self.C, strict=True)]

    def run(self) -> None:
        for A, B, C in self.calls:
            np.matmul(A, B, C)

    def result(self) -> np.ndarray:
        return self.C


class TorchMM:
    """``torch.mm`` into a tensor that is there, a call a group; PyTorch asks MKL."""

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.mm, self.numpy = torch.mm, NumPy(case, threads)
        self.calls = [tuple(map(torch.from_numpy, call)) for call in self.numpy.calls]

    def run(self) -> None:
        for A, B, C in self.calls:
            self.mm(A, B, out=C)

    def result(self) -> np.ndarray:
        return self.numpy.C


class TorchOneDNN:
    """The product as a 1 × 1 convolution, which allocates its result.

    PyTorch gives it to oneDNN on several threads; on one it takes a way of its own.
    """

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.case, self.conv, self.cat = case, torch.nn.functional.conv2d, torch.cat
        self.calls = []
        for A, B, _ in NumPy(case, threads).calls:
            left, right = torch.from_numpy(A), torch.from_numpy(B)
            image = left.reshape(1, len(A), 1, A.shape[1]).permute(0, 3, 1, 2)  # channels last: a pixel a row
            kernel = right.T.contiguous()[:, :, None, None]
            self.calls.append((image, kernel))

    def run(self) -> None:
        self.parts = [self.conv(image, kernel) for image, kernel in self.calls]

    def result(self) -> np.ndarray:
        rows = [part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]).numpy() for part in self.parts]
        return np.stack(rows) if self.case.kind == WEIGHTS else np.concatenate(rows)


CONTENDERS: dict[str, Callable[[Case, int], Contender]] = {
    "twotower": Ours, "numpy": NumPy, "torch.mm": TorchMM, "oneDNN": TorchOneDNN,
}  # fmt: skip


def error(case: Case, contender: Contender) -> float:
    """Largest difference from the float64 product, over k·eps: a few rounding errors of a sum of k terms."""
    X, dZ, W = (a.astype(np.float64) for a in case.operands())
    exact = np.empty(case.result().shape)
    for k, span in enumerate(case.spans()):
        if case.kind == WEIGHTS:
            exact[k] = X[span].T @ dZ[span]
        else:
            exact[span] = X[span] @ W[k] if case.kind == FORWARD else dZ[span] @ W[k].T
    terms = {FORWARD: case.inputs, BACKWARD: case.outputs, WEIGHTS: max(case.rows)}[case.kind]
    contender.run()
    return float(np.abs(contender.result() - exact).max() / (terms * np.finfo(np.float32).eps))


def blas_threads(threads: int) -> Any:
    """Threads of NumPy's BLAS while its products are timed."""
    return threadpool_limits(threads, user_api="blas")
