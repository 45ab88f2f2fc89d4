"""Checks of arrays at public entries: after them a compiled kernel, which checks nothing, may trust what it is given.

Each takes the array's name for its message. ValueError: shape, type or value; IndexError: a row outside a table. A pass
over the 8192 pairs of a batch takes microseconds.
"""

from typing import Any

import numpy as np

VECTOR_TYPES = (np.float16, np.float32)  # of feature tables


def check_count(name: str, value: int, least: int = 1) -> None:
    """``value`` is a whole number of at least ``least``. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} {value!r}: expected a whole number of at least {least}")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """low < ``value`` < high; NaN is not. Raises ValueError."""
    if not low < value < high:
        raise ValueError(f"{name} {value}: expected more than {low:g} and less than {high:g}")


def check_shape(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """The array has this shape, where None stands for any length. Raises ValueError."""
    fits = len(array.shape) == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} has shape {array.shape}, expected ({expected}{',' if len(shape) == 1 else ''})")


def check_type(name: str, array: np.ndarray, *types: Any) -> None:
    """The array is C-contiguous and of one of these dtypes. Raises ValueError."""
    if array.dtype not in types:
        raise ValueError(f"{name} is {array.dtype}, expected {' or '.join(np.dtype(t).name for t in types)}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous")


def check_vectors(name: str, table: np.ndarray, width: int | None = None) -> None:
    """A feature table (rows, ``width``), float32 or float16; None is any width. Raises ValueError."""
    if table.ndim != 2 or table.dtype not in VECTOR_TYPES or (width is not None and table.shape[1] != width):
        expected = "(rows, features)" if width is None else f"of width {width}"
        raise ValueError(f"{name}: {table.dtype} {table.shape}, expected float32 or float16 {expected}")


def check_rows(name: str, rows: np.ndarray, n: int) -> None:
    """Integers from 0 to n − 1. Raises ValueError for another dtype (1.9 is no row), IndexError outside the range."""
    if rows.dtype.kind not in "iu":
        raise ValueError(f"{name} is {rows.dtype}, expected integers")
    if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < n:
        raise IndexError(f"{name} goes from {rows.min()} to {rows.max()}, expected 0 to {n - 1}")


def check_ascending(name: str, starts: np.ndarray, last: int) -> None:
    """Bounds of segments: integers from 0 to ``last``, none below the one before. Raises ValueError."""
    if starts.dtype.kind not in "iu":
        raise ValueError(f"{name} is {starts.dtype}, expected integers")
    if not len(starts) or starts[0] != 0 or starts[-1] != last or (starts[1:] < starts[:-1]).any():
        raise ValueError(f"{name}: expected bounds that ascend from 0 to {last}")


def check_labels(name: str, labels: np.ndarray) -> None:
    """Labels 0 or 1, of any real dtype. Raises ValueError."""
    if labels.dtype.kind not in "biuf" or not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"{name}: expected 0 or 1")
