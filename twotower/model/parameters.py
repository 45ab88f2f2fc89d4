"""Parameters: what each one is, and one flat array that holds them all under their names.

    D hidden width · F features of a tower · K groups · C territories

Each part of the network declares its own parameters. Those that every batch updates come first in the flat array, then
those with a row per group, then those with a row per territory: Adam walks over the first in one loop, and over the
rows of the groups and territories that are in the batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

ALIGNMENT = 16  # floats: every array starts on a cache line of 64 bytes (float32)

Shapes = Mapping[str, tuple[int, ...]]
Floats = np.ndarray[Any, np.dtype[Any]]  # of one dtype: float32, or float64 in the textbook
Owner = Literal["all", "nobody", "group", "territory"]
OWNERS: tuple[Owner, ...] = ("all", "nobody", "group", "territory")  # the order in the flat array
Decay = Literal["none", "tower", "head", "bias"]  # the setting that says how fast weight decay shrinks it
Initial = Callable[[Floats, np.random.Generator], None]


def zeros(value: Floats, rng: np.random.Generator) -> None:
    """Start from 0."""
    value[...] = 0


def uniform(value: Floats, rng: np.random.Generator) -> None:
    """Start from weights (…, inputs, outputs) that are uniform in ±1/√inputs."""
    value[...] = rng.uniform(-1, 1, value.shape) / math.sqrt(value.shape[-2])


def constant(number: float) -> Initial:
    """Start from this number."""

    def fill(value: Floats, rng: np.random.Generator) -> None:
        value[...] = number

    return fill


class Parameter(NamedTuple):
    """One parameter of the network. Where ``owner`` is "group" or "territory", the first axis has a row for each."""

    shape: tuple[int, ...]
    initial: Initial = zeros
    owner: Owner = "all"  # batches that update it: all, none, or those with the row's group or territory
    decay: Decay = "none"


def in_order(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters in the order of the flat array."""
    return dict(sorted(parameters.items(), key=lambda item: OWNERS.index(item[1].owner)))


class Arena(Mapping[str, Floats]):
    """A flat array and, by name, the arrays that it is made of.

    Parameters, gradients and both moments of Adam share one layout, so that a gradient has its parameter's address.
    """

    def __init__(self, shapes: Shapes, dtype: type = np.float32):
        self.shapes = dict(shapes)
        self.offsets: dict[str, int] = {}
        size = 0
        for name, shape in self.shapes.items():
            self.offsets[name] = size
            size += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT
        self.flat: Floats = np.zeros(size, dtype)  # (size,) padding included; it stays zero
        self._views = {name: self.flat[self.span(name)].reshape(shape) for name, shape in self.shapes.items()}

    def span(self, name: str, index: int | None = None) -> slice:
        """The span of an array in ``flat``; with ``index``, of that row along its first axis."""
        start, shape = self.offsets[name], self.shapes[name]
        if index is not None:
            part = math.prod(shape[1:])
            return slice(start + index * part, start + (index + 1) * part)
        return slice(start, start + math.prod(shape))

    def like(self) -> "Arena":
        """An arena of zeros with the same layout."""
        return Arena(self.shapes, self.flat.dtype.type)

    def __getitem__(self, name: str) -> Floats:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


def make_arena(parameters: Mapping[str, Parameter], rng: np.random.Generator, dtype: type = np.float32) -> Arena:
    """The parameters with the values to start from."""
    params = Arena({name: parameter.shape for name, parameter in parameters.items()}, dtype)
    for name, parameter in parameters.items():
        parameter.initial(params[name], rng)
    return params


def owned_spans(
    params: Arena, parameters: Mapping[str, Parameter], owner: Owner, rows: int, decay: Iterable[Decay] = ()
) -> list[list[slice]]:
    """The flat parameters of each of an owner's ``rows``; with ``decay`` only those that these settings shrink."""
    kinds = tuple(decay)
    own = [name for name, p in parameters.items() if p.owner == owner and (not kinds or p.decay in kinds)]
    return [[params.span(name, row) for name in own] for row in range(rows)]
