"""The layers: parameters, forward and backward, a tile of rows at a time.

A layer holds its parameters and their gradients, nothing of a batch: what backward needs is an explicit output of
forward, and where a tile's work goes is an argument. Every method may be called by several threads for different tiles.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from twotower.core.config import BATCHNORM_EPS, BATCHNORM_MOMENTUM
from twotower.model.engine import gemm, kernels
from twotower.model.engine.threads import TILE_ROWS, Tile, split
from twotower.model.exchange import Exchange
from twotower.model.gradients import Block, Panels, Product, WeightGradients
from twotower.model.parameters import Arena

PACKED_COLUMNS = 128  # of a matrix that one task lays out


class Scratch:
    """Buffers that hold one tile between two kernels; each thread borrows a set while it works."""

    def __init__(self, D: int, widest: int, middle: int, gates: int):
        self.A, self.dA, self.dZ = (np.empty((TILE_ROWS, D), np.float32) for _ in range(3))
        self.H, self.dH = (np.empty((TILE_ROWS, middle), np.float32) for _ in range(2))
        self.G, self.dG = (np.empty((TILE_ROWS, gates), np.float32) for _ in range(2))
        size = max(gemm.work_size(TILE_ROWS, max(widest, D, middle), columns) for columns in (D, max(D, middle)))
        self.gemm = np.empty(size, np.float32)


class ScratchPool:
    """As many sets of scratch as there are threads at work."""

    def __init__(self, D: int, widest: int, middle: int = 0, gates: int = 0):
        """``widest`` is the widest input of a tower; ``middle`` and ``gates`` are widths of layers within a head."""
        self.sizes = D, widest, middle, gates
        self.free: list[Scratch] = []

    @contextmanager
    def borrow(self) -> Iterator[Scratch]:
        try:
            scratch = self.free.pop()
        except IndexError:
            scratch = Scratch(*self.sizes)
        try:
            yield scratch
        finally:
            self.free.append(scratch)


class Packing(NamedTuple):
    """One task of laying a matrix out: some of its panels, or those of its transposed."""

    kernel: Callable[..., None]
    packed: np.ndarray
    W: np.ndarray
    first: int  # column of W, or row
    last: int

    def run(self) -> None:
        self.kernel(self.packed, self.W, self.first, self.last)


def _packing(kernel: Callable[..., None], packed: np.ndarray, W: np.ndarray, columns: int) -> list[Packing]:
    spans = split(columns, columns // PACKED_COLUMNS or 1, gemm.COLUMNS)
    return [Packing(kernel, packed, W, span.start, span.stop) for span in spans]


class Dense:
    """Z = X W, without bias: batch-norm follows."""

    def __init__(
        self, name: str, params: Mapping[str, np.ndarray], index: int | None = None, input_gradient: bool = True
    ):
        self.block: Block = name, index
        self.W = params[name] if index is None else params[name][index]  # (F, D)
        size = gemm.packed_size
        self.packed = np.empty(size(*self.W.shape), np.float32)
        self.packed_transposed = np.empty(size(*self.W.shape[::-1]) if input_gradient else 0, np.float32)

    def packing(self) -> list[Packing]:
        """The independent tasks that lay the weights out for the matrix product, once per step."""
        tasks = _packing(gemm.pack_columns, self.packed, self.W, self.W.shape[1])
        if self.packed_transposed.size:
            tasks += _packing(gemm.pack_rows, self.packed_transposed, self.W, self.W.shape[0])
        return tasks

    def forward(self, Z: np.ndarray, X: np.ndarray, scratch: Scratch) -> np.ndarray:
        gemm.matmul(Z, X, self.packed, scratch.gemm, 0)  # Z = X W
        return Z

    def backward_weights(
        self, gradients: WeightGradients, tile: Tile, X: np.ndarray, dZ: np.ndarray, scratch: Scratch
    ) -> None:
        """The part of one tile in the gradient of a small matrix."""
        gemm.matmul_transposed(gradients.target(*self.block, tile), X, dZ, scratch.gemm, 0)  # dW = Xᵀ dZ

    def weight_product(self, dW: np.ndarray, X: np.ndarray, dZ: Panels, tiles: list[Tile]) -> Product:
        """The gradient of a large matrix, still to be computed."""
        return Product(self.block, dW, X, dZ, tiles)

    def backward_input(self, dX: np.ndarray, dZ: np.ndarray, scratch: Scratch, accumulate: int = 0) -> np.ndarray:
        gemm.matmul(dX, dZ, self.packed_transposed, scratch.gemm, accumulate)  # dX = dZ Wᵀ
        return dX


Moments = tuple[float, np.ndarray, np.ndarray]  # pairs, their mean (D,), sums of squared deviations (D,); float64


class Pool(NamedTuple):
    """Rows of a batch whose pairs batch-norm takes its moments over: all rows, or those of one group."""

    tiles: slice  # of the batch's
    rows: int


def pools_of(tiles: list[Tile], pools: int) -> list[Pool]:
    """One pool of all tiles, or one per group; the tiles of a group are consecutive, and it may have none."""
    number = np.zeros(pools, np.int64)
    rows = np.zeros(pools, np.int64)
    for tile in tiles:
        at = tile.group if pools > 1 else 0
        number[at] += 1
        rows[at] += tile.height
    ends = np.cumsum(number).tolist()
    return [Pool(slice(start, end), n) for start, end, n in zip([0, *ends], ends, rows.tolist(), strict=False)]


class BatchStatistics:
    """What batch-norm's forward leaves for its backward: each pool's moments, and the tiles' shares in them."""

    def __init__(self, D: int, tiles: int, pools: int = 1):
        self.mean, self.rstd = np.empty((pools, D), np.float32), np.empty((pools, D), np.float32)
        self.dgamma, self.dbeta = np.empty((pools, D), np.float32), np.empty((pools, D), np.float32)
        self.pairs = np.zeros(pools, np.int64)  # which its moments are taken over
        self.weight = np.empty(tiles)  # pairs behind the rows of each tile
        self.tile_mean, self.tile_squares = np.empty((tiles, D), np.float32), np.empty((tiles, D), np.float32)
        self.tile_dgamma, self.tile_dbeta = np.empty((tiles, D), np.float32), np.empty((tiles, D), np.float32)
        self.double = np.empty((tiles, D))  # tiles are summed in float64

    def pool(self, group: int) -> int:
        """The pool that a group's rows belong to."""
        return group if len(self.pairs) > 1 else 0


class BatchNormReLU:
    """Batch normalisation over pairs, computed on unique rows with counts, and ReLU (``floor`` 0) or none (−inf).

    The moments are those of all pairs or, where the running statistics have a row per group, of each group's own pairs;
    all groups share gamma and beta.
    """

    def __init__(self, name: str, layer: str, params: Arena, grads: Arena, running: Arena, floor: float):
        self.gamma, self.beta = params[f"{name}.gamma{layer}"], params[f"{name}.beta{layer}"]  # (D,)
        self.dgamma, self.dbeta = grads[f"{name}.gamma{layer}"], grads[f"{name}.beta{layer}"]
        D = len(self.gamma)
        self.running_mean = running[f"{name}.mean{layer}"].reshape(-1, D)  # (pools, D)
        self.running_var = running[f"{name}.var{layer}"].reshape(-1, D)
        self.floor = floor

    def observe(self, stats: BatchStatistics, tile: Tile, Z: np.ndarray, counts: np.ndarray) -> None:
        """Store a tile's moments."""
        stats.weight[tile.number] = counts.sum()
        kernels.moments(stats.tile_mean[tile.number], stats.tile_squares[tile.number], Z, counts)

    def combine(self, stats: BatchStatistics, pools: list[Pool], exchange: Exchange) -> None:
        """Each pool's moments from its tiles', in float64 (Chan, Golub & LeVeque 1983); running ones follow.

        Of a group without a row in the batch nothing moves; nor do the running statistics of one with a single row,
        which has no spread, and would take that for the group's.
        """
        moments = [self._of_tiles(stats, tiles) if rows else None for tiles, rows in pools]
        all_rows = [rows for _, rows in pools]
        if exchange.shards > 1:
            moments, all_rows = self._of_shards(moments, all_rows, exchange)
        for k, (found, rows) in enumerate(zip(moments, all_rows, strict=True)):
            if found is not None:
                B, of_pool, squares = found
                stats.mean[k] = of_pool
                stats.rstd[k] = 1 / np.sqrt(squares / B + BATCHNORM_EPS)
                if rows > 1 or len(pools) == 1:
                    variance, mean = squares / max(B - 1, 1), self.running_mean[k]
                    mean += BATCHNORM_MOMENTUM * (stats.mean[k] - mean)
                    moved = BATCHNORM_MOMENTUM * (variance - self.running_var[k])
                    self.running_var[k] += moved.astype(np.float32)

    @staticmethod
    def _of_tiles(stats: BatchStatistics, tiles: slice) -> Moments:
        """Moments of the rows of some tiles."""
        weight, deviation = stats.weight[tiles], stats.double[tiles]
        B = weight.sum()
        deviation[...] = stats.tile_mean[tiles]
        mean = weight @ deviation / B
        for of_tile in deviation:  # at once it would be buffered, in 64 KiB
            of_tile -= mean
        deviation *= deviation
        squares = weight @ deviation
        deviation[...] = stats.tile_squares[tiles]
        squares += deviation.sum(0)
        return B, mean, squares

    def _of_shards(
        self, moments: list[Moments | None], rows: list[int], exchange: Exchange
    ) -> tuple[list[Moments | None], list[int]]:
        """Moments and rows of the pools of the whole batch, from those of each shard's part of it."""
        D = len(self.gamma)
        own = np.zeros((len(moments), 2 + 2 * D))
        for k, found in enumerate(moments):
            if found is not None:
                own[k] = np.concatenate([[rows[k], found[0]], found[1], found[2]])
        every = exchange.gather(own)  # (S, pools, 2 + 2·D)
        whole: list[Moments | None] = []
        for count, weight, mean, squares in (
            (part[:, 0], part[:, 1:2], part[:, 2 : 2 + D], part[:, 2 + D :]) for part in every.transpose(1, 0, 2)
        ):
            if not count.any():
                whole.append(None)
                continue
            B = weight.sum()
            common = (weight * mean).sum(0) / B
            whole.append((B, common, (squares + weight * (mean - common) ** 2).sum(0)))
        return whole, [int(count) for count in every[:, :, 0].sum(0)]

    def use_running(self, stats: BatchStatistics) -> None:
        """For evaluation: the running moments in place of the batch's."""
        stats.mean[:] = self.running_mean
        stats.rstd[:] = 1 / np.sqrt(self.running_var + BATCHNORM_EPS)

    def forward(self, A: np.ndarray, Z: np.ndarray, stats: BatchStatistics, group: int) -> np.ndarray:
        """``A`` of rows of one group."""
        k = stats.pool(group)
        kernels.batchnorm_relu(A, Z, stats.mean[k], stats.rstd[k], self.gamma, self.beta, self.floor)
        return A

    def backward_relu(
        self, stats: BatchStatistics, tile: Tile, dY: np.ndarray, dA: np.ndarray, A: np.ndarray, Z: np.ndarray
    ) -> None:
        """Gradient before the ReLU; its sums, which batch-norm's backward needs first, are stored per tile."""
        dgamma, dbeta = stats.tile_dgamma[tile.number], stats.tile_dbeta[tile.number]
        k = stats.pool(tile.group)
        kernels.relu_backward(dY, dgamma, dbeta, dA, A, Z, stats.mean[k], stats.rstd[k], self.floor)

    def combine_backward(self, stats: BatchStatistics, pools: list[Pool], exchange: Exchange) -> None:
        """Gradients of gamma and beta from the tiles' sums, in float64; each pool's pairs, and their sums.

        Of several shards each has its own share of the gradients, and the pools' sums of the whole batch.
        """
        for k, (tiles, _) in enumerate(pools):
            stats.pairs[k] = stats.weight[tiles].sum()
        double = stats.double[: pools[-1].tiles.stop]
        of_parts = (self.dgamma, stats.dgamma, stats.tile_dgamma), (self.dbeta, stats.dbeta, stats.tile_dbeta)
        for total, of_pool, of_tile in of_parts:
            double[...] = of_tile[: len(double)]
            total[:] = double.sum(0)
            for k, (tiles, _) in enumerate(pools):
                of_pool[k] = total if len(pools) == 1 else double[tiles].sum(0)
        if exchange.shards > 1:
            own = np.concatenate([stats.pairs[:, None], stats.dgamma, stats.dbeta], axis=1, dtype=np.float64)
            whole, D = exchange.gather(own).sum(0), len(self.gamma)
            stats.pairs[:], stats.dgamma[:], stats.dbeta[:] = whole[:, 0], whole[:, 1 : 1 + D], whole[:, 1 + D :]

    def backward(
        self, dZ: np.ndarray, dY: np.ndarray, Z: np.ndarray, counts: np.ndarray, stats: BatchStatistics, group: int
    ) -> np.ndarray:
        """``dZ`` of rows of one group; they moved the moments of their pool."""
        k = stats.pool(group)
        moments, sums = (stats.mean[k], stats.rstd[k]), (stats.dgamma[k], stats.dbeta[k])
        kernels.batchnorm_backward(dZ, dY, Z, counts, *moments, self.gamma, *sums, stats.pairs[k])
        return dZ
