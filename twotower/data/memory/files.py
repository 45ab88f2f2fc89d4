"""A memory on disk: all but the users, whose history comes from the dataset.

tables  (F_t, C, T) float32   terms of territories and titles        mean, spread  (F,) float32 of the terms
cosines.*                     (T, T) between titles as CSR: data float32, indices ascending in a row, indptr
watched, scored  (T, R) float32   factors of titles
"""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from twotower.core.checks import check_ascending, check_rows, check_shape, check_type
from twotower.core.errors import InputError
from twotower.core.storage import whole_file
from twotower.data.dataset import Dataset
from twotower.data.memory.factors import FACTORS, Factors
from twotower.data.memory.knowledge import read_history
from twotower.data.memory.memory import TERMS, TITLE_TERMS, Memory

ARRAYS = ("tables", "unwatched", "mean", "spread")
CSR = ("data", "indices", "indptr")
#: What NumPy and zipfile say to a damaged archive.
DAMAGED = (
    OSError, LookupError, ValueError, TypeError, EOFError, RuntimeError, ArithmeticError, MemoryError, SyntaxError,
    TokenError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def save_memory(memory: Memory, path: Path) -> None:
    """Write the file, which appears when it is complete."""
    kept: dict[str, Any] = {name: getattr(memory, name) for name in ARRAYS}
    kept |= {f"cosines.{part}": getattr(memory.cosines, part) for part in CSR} | memory.factors._asdict()
    with whole_file(path) as partial, open(partial, "wb") as file:
        np.savez(file, **kept)


class Kept(NamedTuple):
    """The arrays of a file."""

    tables: np.ndarray
    unwatched: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    cosines: sp.csr_array
    factors: Factors

    def for_users_of(self, dataset: Dataset) -> Memory:
        """The memory with the users of a dataset that has its territories and titles."""
        history, territory = read_history(dataset), np.asarray(dataset.user_territory).astype(np.int64)
        memory = Memory(history, territory, self.tables, self.cosines, self.factors)
        memory.unwatched, memory.mean, memory.spread = self.unwatched, self.mean, self.spread
        return memory


def read_memory(path: Path, C: int, T: int) -> Kept:
    """The arrays of a memory of C territories and T titles. Errors: InputError for damage and other shapes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: check_floats(name, file[name]) for name in ARRAYS}
            factors = Factors(*(check_floats(name, file[name]) for name in Factors._fields))
            kept = Kept(**arrays, cosines=read_weights(file, "cosines", T), factors=factors)
        shapes = (len(TITLE_TERMS), C, T), (len(TITLE_TERMS), C), (len(TERMS),), (len(TERMS),)
        for name, shape in zip(ARRAYS, shapes, strict=True):
            check_shape(name, arrays[name], shape)
        for name, array in factors._asdict().items():
            check_shape(name, array, (T, FACTORS))
        if not (kept.spread > 0).all() or not (kept.cosines.data >= 0).all():
            raise ValueError("a spread that is not above 0, or a cosine below 0")
    except DAMAGED as error:
        raise InputError(f"{path}: not the memory of {C} territories and {T} titles ({error})") from None
    return kept


def load_memory(path: Path, dataset: Dataset) -> Memory:
    """The memory of a run, for its own dataset. Errors: InputError as for ``read_memory``."""
    return read_memory(path, dataset.n_territories, dataset.n_titles).for_users_of(dataset)


def read_weights(kept: Mapping[str, np.ndarray], name: str, T: int) -> sp.csr_array:
    """Weights (T, T) between titles. Errors: ValueError and IndexError where they are no such matrix."""
    data, indices, indptr = (kept[f"{name}.{part}"] for part in CSR)
    check_floats(f"{name}.data", data)
    check_shape(f"{name}.data", data, (None,))
    check_shape(f"{name}.indices", indices, (len(data),))
    check_rows(f"{name}.indices", indices, T)
    check_shape(f"{name}.indptr", indptr, (T + 1,))
    check_ascending(f"{name}.indptr", indptr, len(data))
    matrix = sp.csr_array((data, indices, indptr), shape=(T, T))
    if not matrix.has_canonical_format:
        raise ValueError(f"{name}: titles of a row must ascend")
    return matrix


def check_floats(name: str, array: np.ndarray) -> np.ndarray:
    """The array. Errors: ValueError unless it is float32 and finite."""
    check_type(name, array, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(array))} numbers are not finite")
    return array
