"""A memory on disk: all but the users, whose history comes from the dataset.

tables  (F_t, C, T) float32   terms of territories and titles        mean, spread  (F,) float32 of the terms
cosines.*, ease.*             weights (T, T) between titles as CSR: data float32, indices ascending in a row, indptr
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from twotower.core.checks import check_ascending, check_rows, check_shape, check_type
from twotower.core.errors import InputError
from twotower.core.storage import whole_file
from twotower.data.dataset import Dataset
from twotower.data.memory.knowledge import read_history
from twotower.data.memory.memory import TERMS, TITLE_TERMS, Memory

CSR = ("data", "indices", "indptr")


def save_memory(memory: Memory, path: Path) -> None:
    """Write the file, which appears when it is complete."""
    kept: dict[str, Any] = {"tables": memory.tables, "mean": memory.mean, "spread": memory.spread}
    for name, matrix in (("cosines", memory.cosines), ("ease", memory.ease)):
        kept |= {f"{name}.{part}": getattr(matrix, part) for part in CSR}
    with whole_file(path) as partial, open(partial, "wb") as file:
        np.savez(file, **kept)


def load_memory(path: Path, dataset: Dataset, shape: tuple[int, int] | None = None) -> Memory:
    """The memory of a run, with the users of a dataset.

    ``shape`` is the number of territories and of titles, by default those of the dataset.

    Errors: InputError for a damaged file, and for another shape.
    """
    C, T = shape or (dataset.n_territories, dataset.n_titles)
    try:
        with np.load(path, allow_pickle=False) as kept:
            tables, mean, spread = (check_floats(name, kept[name]) for name in ("tables", "mean", "spread"))
            cosines, ease = (read_weights(kept, name, T) for name in ("cosines", "ease"))
        check_shape("tables", tables, (len(TITLE_TERMS), C, T))
        check_shape("mean", mean, (len(TERMS),))
        check_shape("spread", spread, (len(TERMS),))
        if not (spread > 0).all() or not (cosines.data >= 0).all():
            raise ValueError("a spread that is not above 0, or a cosine below 0")
    except (OSError, KeyError, ValueError, IndexError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not the memory of {C} territories and {T} titles ({error})") from None
    history, territory = read_history(dataset), np.asarray(dataset.user_territory).astype(np.int64)
    memory = Memory(history, territory, tables, cosines, ease)
    memory.mean, memory.spread = mean, spread
    return memory


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
