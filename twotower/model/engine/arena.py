"""Named views over one flat array: parameters, gradients and both Adam moments share one layout."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

ALIGNMENT = 16  # floats: every array starts on a cache line of 64 bytes (float32)

Shapes = Mapping[str, tuple[int, ...]]


class Arena(Mapping[str, np.ndarray]):
    """A flat array and, by name, the arrays that it is made of.

    Adam walks over ``flat`` in one loop, a checkpoint stores it by names, and a gradient has its parameter's address.
    """

    def __init__(self, shapes: Shapes, dtype: type = np.float32):
        self.shapes = dict(shapes)
        self.offsets: dict[str, int] = {}
        size = 0
        for name, shape in self.shapes.items():
            self.offsets[name] = size
            size += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT
        self.flat: np.ndarray = np.zeros(size, dtype)  # (size,) padding included; it stays zero
        self._views = {name: self.flat[self.span(name)].reshape(shape) for name, shape in self.shapes.items()}

    def span(self, name: str, index: int | None = None) -> slice:
        """Where an array lies in ``flat``; with ``index``, where its ``index``-th part along the first axis lies."""
        start, shape = self.offsets[name], self.shapes[name]
        if index is not None:
            part = math.prod(shape[1:])
            return slice(start + index * part, start + (index + 1) * part)
        return slice(start, start + math.prod(shape))

    def like(self) -> "Arena":
        """An arena of zeros with the same layout."""
        return Arena(self.shapes, self.flat.dtype.type)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)
