"""Weight gradients dW = Σ Xᵀ dZ over the tiles of a batch, always in the same order, in many independent tasks.

    R rows · M inputs · N outputs

A small matrix gets a part per tile, which the pass that makes its dZ writes itself. A large one is computed afterwards:
its rows are shared out, so that tasks write different cells, and only then are the batch's rows cut into CHUNKS with
sums of their own, since a part as large as the matrix costs memory bandwidth. Parts are added at the end, by spans.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from twotower.model.engine import gemm, kernels
from twotower.model.engine.threads import ROW_STEP, Tile, split
from twotower.model.parameters import Floats

CHUNKS = 4  # runs of tiles with sums of their own, at most
CHUNK_ROWS = 252  # a shorter run is not worth sums of its own
BLOCKS = 8  # of rows of a matrix: with CHUNKS, 32 tasks
SPAN = 1 << 14  # numbers whose parts one task adds

Block = tuple[str, int | None]  # a parameter by name, or the part of it that belongs to one group


class Panels:
    """An array (R, N) tile by tile: in rows, and in their place then in panels for the matrix product."""

    def __init__(self, rows: int, N: int):
        self.N, self.stride = N, gemm.packed_size(1, N)
        self.flat = np.empty(rows * self.stride, np.float32)

    def rows(self, tile: Tile) -> Floats:
        """The rows (n, N) of a tile."""
        start = tile.rows.start * self.stride
        return self.flat[start : start + tile.height * self.N].reshape(tile.height, self.N)

    def packed(self, tile: Tile) -> Floats:
        """The panels of a tile."""
        return self.flat[tile.rows.start * self.stride : tile.rows.stop * self.stride]


class Product(NamedTuple):
    """The gradient of one large matrix: dW (M, N) = Σ X[tile]ᵀ dZ[tile] over some tiles."""

    block: Block
    dW: Floats
    X: Floats  # (R, M)
    dZ: Panels  # in panels
    tiles: list[Tile]


class Piece(NamedTuple):
    """Some rows of a large gradient or of a part of it, from ``first`` on, over a run of tiles."""

    dW: Floats
    first: int
    product: Product
    tiles: list[Tile]


class Sum(NamedTuple):
    """What is left to add to a gradient: some numbers, and the parts of all of them."""

    gradient: Floats  # (SPAN,) at most, of the flat gradient
    parts: Floats  # (parts, size)
    first: int


def in_chunks(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """Consecutive runs of about equal length, of CHUNK_ROWS rows or more where there is more than one."""
    ends = np.cumsum([tile.height for tile in tiles])
    count = min(CHUNKS, max(1, int(ends[-1]) // CHUNK_ROWS))
    bounds = [0, *(1 + np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)).tolist(), len(tiles)]
    return [list(tiles[a:b]) for a, b in pairwise(bounds) if a < b]


class WeightGradients:
    """The weight gradients of a batch, and the parts that they are added up from."""

    def __init__(self, by_tile: Mapping[str, Floats], by_group: Mapping[str, Floats]):
        """Gradients that get a part per tile: those that tiles of all groups add to, and those (K, …) by group."""
        self.totals: dict[Block, Floats] = {(name, None): total for name, total in by_tile.items()}
        self.totals |= {(name, k): total for name, totals in by_group.items() for k, total in enumerate(totals)}
        self.parts: dict[Block | str, Floats] = {}
        self.first: dict[int | None, int] = {}
        self.last: dict[int | None, int] = {}

    def _room(self, key: Block | str, parts: int, size: int) -> Floats:
        """Space for so many parts; it grows and never shrinks."""
        have = self.parts.get(key)
        if have is None or len(have) < parts:
            have = self.parts[key] = np.empty((parts, size), np.float32)
        return have

    def begin(self, tiles: Sequence[Tile]) -> None:
        """Forget the last batch; ``tiles`` are those of the user rows of the next."""
        self.last = {tile.group: tile.number for tile in tiles} | {None: len(tiles) - 1}
        self.first = {tile.group: tile.number for tile in reversed(tiles)} | {None: 0}
        for (name, _), total in self.totals.items():
            self._room(name, len(tiles), total.size)

    def target(self, name: str, index: int | None, tile: Tile) -> Floats:
        """Where a tile's part of a gradient goes: the first tile writes the gradient itself."""
        total = self.totals[name, index]
        if tile.number == self.first[index]:
            return total
        return self.parts[name][tile.number].reshape(total.shape)

    def pieces(self, products: Sequence[Product]) -> list[Piece]:
        """The independent tasks of large gradients, the longest first."""
        pieces = []
        for product in products:
            M, N = product.dW.shape
            chunks = in_chunks(product.tiles)
            parts = self._room(product.block, len(chunks) - 1, M * N) if len(chunks) > 1 else None
            for number, chunk in enumerate(chunks):
                whole = parts[number - 1].reshape(M, N) if parts is not None and number else product.dW
                for span in split(M, BLOCKS, ROW_STEP):
                    pieces.append(Piece(whole[span], span.start, product, chunk))
        return sorted(pieces, key=lambda piece: -piece.dW.size * sum(tile.height for tile in piece.tiles))

    def sums(self, products: Sequence[Product]) -> list[Sum]:
        """The independent tasks that add up parts, when all of them are there."""
        left = [(self.totals[name, k], self.parts[name][self.first[k] + 1 : self.last[k] + 1])
                for name, k in self.totals if k in self.first]  # fmt: skip
        for product in products:
            chunks = len(in_chunks(product.tiles))
            if chunks > 1:
                left.append((product.dW, self.parts[product.block][: chunks - 1]))
        return [
            Sum(total.reshape(-1)[span], parts, span.start)
            for total, parts in left
            if len(parts)
            for span in split(total.size, -(-total.size // SPAN))
        ]


def multiply(piece: Piece, work: Floats) -> None:
    """Compute one piece, tile after tile; ``work`` is scratch of the matrix product."""
    product = piece.product
    for i, tile in enumerate(piece.tiles):
        X, panels = product.X[tile.rows], product.dZ.packed(tile)
        gemm.rows_of_transposed(piece.dW, X, piece.first, panels, work, int(i > 0))  # dW += Xᵀ dZ


def add(task: Sum) -> None:
    """Add the parts of some numbers."""
    kernels.sum_parts(task.gradient, task.parts, task.first)


