"""A tower: two dense layers with batch-norm and ReLU, one pass over the tiles of rows for each.

Of a batch it keeps Z1, A1, Z2 and two gradients; those of the weights are products over all rows, at the end.
Both towers go through a layer in one pass, so that all threads have work until the layer is over.
"""

from collections.abc import Callable, Sequence

import numpy as np

from twotower.model.engine import gemm
from twotower.model.engine.threads import Threads, Tile, most_tiles
from twotower.model.exchange import Exchange
from twotower.model.gradients import Panels, Product
from twotower.model.layers import BatchNormReLU, BatchStatistics, Dense, Scratch, ScratchPool, pools_of
from twotower.model.parameters import Arena, Parameter, constant, uniform


class Tower:
    """Two dense layers, each with batch-norm and ReLU; ``floor`` is that of the last one."""

    @staticmethod
    def parameters(name: str, F: int, D: int) -> dict[str, Parameter]:
        """W1 (F, D), W2 (D, D), and a gamma and beta (D,) per layer, which all groups share."""
        declared: dict[str, Parameter] = {}
        for layer, inputs in (("1", F), ("2", D)):
            declared[f"{name}.W{layer}"] = Parameter((inputs, D), uniform, decay="tower")
            declared[f"{name}.gamma{layer}"] = Parameter((D,), constant(1))
            declared[f"{name}.beta{layer}"] = Parameter((D,))
        return declared

    def __init__(self, name: str, params: Arena, grads: Arena, running: Arena, floor: float):
        self.dense1 = Dense(f"{name}.W1", params, input_gradient=False)
        self.norm1 = BatchNormReLU(name, "1", params, grads, running, 0.0)
        self.dense2 = Dense(f"{name}.W2", params)
        self.norm2 = BatchNormReLU(name, "2", params, grads, running, floor)
        self.dW1, self.dW2 = grads[f"{name}.W1"], grads[f"{name}.W2"]


class TowerWork:
    """What a tower keeps of a batch between its passes."""

    def __init__(self, rows: int, D: int, groups: int, pools: int = 1):
        self.rows = rows
        self.Z1, self.A1, self.Z2 = (np.empty((rows, D), np.float32) for _ in range(3))
        self.d1, self.d2 = Panels(rows, D), Panels(rows, D)  # of each layer first dY in rows, then dZ in panels
        tiles = most_tiles(rows, groups)
        self.stats1, self.stats2 = BatchStatistics(D, tiles, pools), BatchStatistics(D, tiles, pools)


class TowerBatch:
    """A batch in a tower: its rows X (n, F), how often each occurs, counts (n,), and the tiles that they are cut into.

    A layer's method does one tile; it may be called by several threads for different tiles.
    """

    def __init__(self, tower: Tower, X: np.ndarray, counts: np.ndarray, tiles: list[Tile], work: TowerWork):
        self.tower, self.X, self.counts, self.tiles, self.work = tower, X, counts, tiles, work
        self.pools = pools_of(tiles, len(work.stats1.pairs))

    def first(self, tile: Tile, scratch: Scratch) -> None:
        """Z1 = X W1."""
        tower, work = self.tower, self.work
        Z1 = tower.dense1.forward(work.Z1[tile.rows], self.X[tile.rows], scratch)
        tower.norm1.observe(work.stats1, tile, Z1, self.counts[tile.rows])

    def second(self, tile: Tile, scratch: Scratch) -> None:
        """A1 = relu(batchnorm(Z1)), Z2 = A1 W2."""
        tower, work = self.tower, self.work
        Z1 = work.Z1[tile.rows]
        A1 = tower.norm1.forward(work.A1[tile.rows], Z1, work.stats1, tile.group)
        Z2 = tower.dense2.forward(work.Z2[tile.rows], A1, scratch)
        tower.norm2.observe(work.stats2, tile, Z2, self.counts[tile.rows])

    def second_backward(self, tile: Tile, scratch: Scratch) -> None:
        """From dY2, the gradient before the last ReLU, to dZ2, which W2's gradient needs, and dY1."""
        tower, work = self.tower, self.work
        Z1, Z2, n = work.Z1[tile.rows], work.Z2[tile.rows], tile.height
        dZ2 = tower.norm2.backward(
            scratch.dZ[:n], work.d2.rows(tile), Z2, self.counts[tile.rows], work.stats2, tile.group
        )
        gemm.pack(work.d2.packed(tile), dZ2)
        dA1 = tower.dense2.backward_input(scratch.dA[:n], dZ2, scratch)
        tower.norm1.backward_relu(work.stats1, tile, work.d1.rows(tile), dA1, work.A1[tile.rows], Z1)

    def first_backward(self, tile: Tile, scratch: Scratch) -> None:
        """From dY1, the gradient before the first ReLU, to dZ1, which W1's gradient needs."""
        work, dZ = self.work, scratch.dZ[: tile.height]
        dY1, Z1, counts = work.d1.rows(tile), work.Z1[tile.rows], self.counts[tile.rows]
        gemm.pack(work.d1.packed(tile), self.tower.norm1.backward(dZ, dY1, Z1, counts, work.stats1, tile.group))

    def products(self) -> list[Product]:
        """dW1 = Xᵀ dZ1 and dW2 = A1ᵀ dZ2, when all tiles have gone backward."""
        tower, work = self.tower, self.work
        return [
            tower.dense1.weight_product(tower.dW1, self.X, work.d1, self.tiles),
            tower.dense2.weight_product(tower.dW2, work.A1, work.d2, self.tiles),
        ]


def forward(
    towers: Sequence[TowerBatch], threads: Threads, scratches: ScratchPool, training: bool, exchange: Exchange
) -> None:
    """Z1 and Z2 of all rows, and batch-norm's moments: the batch's own in training, else the running ones."""
    for layer, number in ((TowerBatch.first, 1), (TowerBatch.second, 2)):
        sweep(towers, layer, threads, scratches)
        if training:
            combine_moments(towers, number, exchange)
        else:
            for on in towers:
                getattr(on.tower, f"norm{number}").use_running(getattr(on.work, f"stats{number}"))


def backward(
    towers: Sequence[TowerBatch], threads: Threads, scratches: ScratchPool, exchange: Exchange
) -> None:
    """All gradients of the towers but those of the weights, from dY2 with its tiles' sums."""
    for layer, number in ((TowerBatch.second_backward, 2), (TowerBatch.first_backward, 1)):
        combine_gradients(towers, number, exchange)
        sweep(towers, layer, threads, scratches)


def combine_moments(towers: Sequence[TowerBatch], number: int, exchange: Exchange) -> None:
    """The moments of a layer from those of all tiles, in their order; each row of the batch has been observed."""
    for on in towers:
        getattr(on.tower, f"norm{number}").combine(getattr(on.work, f"stats{number}"), on.pools, exchange)


def combine_gradients(towers: Sequence[TowerBatch], number: int, exchange: Exchange) -> None:
    """The gradients of gamma and beta of a layer from the sums of all tiles, in their order."""
    for on in towers:
        getattr(on.tower, f"norm{number}").combine_backward(getattr(on.work, f"stats{number}"), on.pools, exchange)


def sweep(towers: Sequence[TowerBatch], layer: Callable[..., None], threads: Threads, scratches: ScratchPool) -> None:
    """One pass over all tiles of the towers, each of them a task."""

    def one_tile(task: tuple[TowerBatch, Tile]) -> None:
        on, tile = task
        with scratches.borrow() as scratch:
            layer(on, tile, scratch)

    threads.run(one_tile, [(on, tile) for on in towers for tile in on.tiles])
