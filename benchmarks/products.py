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
from twotower.model.engine.kernels import sum_parts
from twotower.model.engine.threads import TILE_ROWS, Threads, Tile, chunked_tiles

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

    tile = TILE_ROWS / STEP_ROWS, STEP_ROWS
    found = three("users", (STEP_ROWS,), 512, 512) + three("users, 8 pairs each", (1024,), 512, 512)
    found += three("titles, layer 1", (700,), 896, 512) + three("titles, layer 2", (700,), 512, 512)
    found += three("four heads", (3277, 2458, 1638, 819), 512, 512)
    found += three("40 heads, ragged", tuple(25 + 9 * k for k in range(40)), 512, 512)
    found += three("rank 8, P", (STEP_ROWS,), 512, 8) + three("rank 8, Q", (STEP_ROWS,), 8, 512)
    found += three("a tile", (TILE_ROWS,), 512, 512, *tile)
    found += three("a tile, rank 8, P", (TILE_ROWS,), 512, 8, *tile)
    found += three("a tile, rank 8, Q", (TILE_ROWS,), 8, 512, *tile)
    for n in (1, 2, 3, 7, 13, 31, 64, 101, 333, 1000, 2000):
        found += three("a segment", (n,), 512, 512, batch=STEP_ROWS)
    for D in (128, 256, 1024):
        found += three("widths", (STEP_ROWS // 2,), D, D)
    for F, D in ((300, 100), (333, 77), (65, 513)):
        found += three("odd widths", (1000,), F, D)
    for shape in ((1, 1, 1), (2, 3, 4), (5, 8, 8), (12, 16, 32), (13, 17, 33)):
        found += three("tiny", shape[:1], *shape[1:], batch=STEP_ROWS)
    return found


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
        runs = [[tile for tile in run if tile.group < len(case.rows)] for run in chunked_tiles(np.array(ends + rest))]
        runs = [run for run in runs if run]
        self.groups = list(range(len(case.rows)))
        self.matrices = list(zip(self.packed, self.W, strict=True))
        self.sums: list[tuple[np.ndarray, np.ndarray]] = []
        self.runs = self._weight_calls(runs) if case.kind == WEIGHTS else [self._row_calls(run) for run in runs]
        self.pack()

    def _scratch(self) -> np.ndarray:
        widest = max(self.case.inputs, self.case.outputs)
        return np.full(gemm.work_size(TILE_ROWS, widest, widest), np.nan, np.float32)

    def _row_calls(self, run: list[Tile]) -> list[tuple[Any, ...]]:
        """The arguments of each product of a run of tiles."""
        A, work = self.X if self.case.kind == FORWARD else self.dZ, self._scratch()
        return [(self.C[t.rows], A[t.rows], self.packed[t.group], work, 0) for t in run]

    def _weight_calls(self, runs: list[list[Tile]]) -> list[list[tuple[Any, ...]]]:
        """The first run that reaches a group writes its gradient, the others parts that are added at the end."""
        calls: list[list[tuple[Any, ...]]] = []
        parts = np.empty((len(self.groups), len(runs), *self.W[0].shape), np.float32)
        writers: dict[int, list[int]] = {k: [] for k in self.groups}
        for number, run in enumerate(runs):
            calls.append([])
            work = self._scratch()
            for tile in run:
                k, mine = tile.group, writers[tile.group]
                fresh = number not in mine
                if fresh:
                    mine.append(number)
                C = self.C[k] if number == mine[0] else parts[k, len(mine) - 2]
                calls[-1].append((C, self.X[tile.rows], self.dZ[tile.rows], work, int(not fresh)))
        for k, mine in writers.items():
            if len(mine) > 1:
                self.sums.append((self.C[k].reshape(-1), parts[k, : len(mine) - 1].reshape(len(mine) - 1, -1)))
        return calls

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
        if len(self.runs) == len(self.runs[0]) == 1:  # a lone tile is never shared out
            (gemm.matmul_transposed if self.case.kind == WEIGHTS else gemm.matmul)(*self.runs[0][0])
            return
        self.threads.run(self._weights if self.case.kind == WEIGHTS else self._rows, self.runs)
        if self.sums:
            self.threads.run(self._sum, self.sums)

    def _rows(self, run: list[tuple[Any, ...]]) -> None:
        for call in run:
            gemm.matmul(*call)

    def _weights(self, run: list[tuple[Any, ...]]) -> None:
        for call in run:
            gemm.matmul_transposed(*call)

    def _sum(self, part: tuple[np.ndarray, np.ndarray]) -> None:
        sum_parts(*part)

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
