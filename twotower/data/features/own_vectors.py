"""Read vectors made elsewhere: ``.npy`` in the dataset's order, or Parquet or CSV with a column of ids."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from twotower.core.errors import InputError
from twotower.core.storage import load_array
from twotower.data.ingest.arrow_table import ArrowTable
from twotower.data.ingest.cleaning import MISSING, clean_id
from twotower.data.ingest.tables import Table, open_table

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK"
CHECKED_ROWS = 65_536  # checked together

Block = tuple[int, list[str], np.ndarray]  # first row, (b,) ids, (b, F) float32


def read_vectors(path: str | Path, what: str, n: int, ids: Sequence[str] | None) -> np.ndarray:
    """Vectors (n, F) float32 of the ``n`` users or titles of a dataset; ``what`` is "user" or "title".

    A ``.npy`` array has one row each, in the dataset's order. In Parquet and CSV files the first column holds ids, in
    any order; the others hold numbers, or (Parquet) a single one holds lists of numbers. Unknown ids are ignored.
    Nothing is ever unpickled.

    Errors: InputError for a wrong number of rows or dimensions, ids that are missing or occur twice, and NaN
    or infinite values, with the first row and how many rows have them.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            magic = file.read(len(NPY_MAGIC))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if magic.startswith(ZIP_MAGIC):
        raise InputError(f"{path}: an archive, expected a single array as numpy.save writes it")
    if magic == NPY_MAGIC:
        return _read_npy(path, what, n)
    if ids is None:
        raise InputError(f"{path}: this dataset has no {what} ids; expected a .npy array in its order")
    return _read_table(path, what, ids)


def _read_npy(path: Path, what: str, n: int) -> np.ndarray:
    array = load_array(path)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {array.dtype} {array.shape}, expected numbers of shape ({n}, dimensions)")
    if len(array) != n:
        raise InputError(f"{path}: {len(array):,} rows, expected {n:,}: one for each {what} in the dataset's order")
    vectors = _float32(array)
    _check_finite(vectors, lambda row: f"{path}, row {row}")
    return vectors


def _read_table(path: Path, what: str, ids: Sequence[str]) -> np.ndarray:
    """Vectors of a table, put in the order of ``ids``."""
    table = open_table(path)
    if len(table.columns) < 2:
        raise InputError(f"{path}: one column, expected ids in the first and numbers in the others")
    place = {name: i for i, name in enumerate(ids)}
    row_of = np.full(len(ids), -1, np.int64)  # the table's row of each id
    vectors = np.empty((len(ids), 0), np.float32)
    for start, names, block in _arrow_blocks(table) if isinstance(table, ArrowTable) else _text_blocks(table):
        if start == 0:
            vectors = np.empty((len(ids), block.shape[1]), np.float32)
        if block.shape[1] != vectors.shape[1]:
            width, expected = block.shape[1], vectors.shape[1]
            raise InputError(f"{table.where(start)}: {width} dimensions, the rows before have {expected}")
        for i, name in enumerate(names):
            at = place.get(clean_id(name))
            if at is None:
                continue
            if row_of[at] >= 0:
                raise InputError(f"{table.where(start + i, table.columns[0])}: {name!r} occurs a second time")
            row_of[at] = start + i
            vectors[at] = block[i]
    if (row_of < 0).any():
        first = ids[int(np.argmax(row_of < 0))]
        raise InputError(f"{path}: {(row_of < 0).sum():,} of {len(ids):,} {what}s have no vector, such as {first!r}; "
            "add theirs, or import without them")
    _check_finite(vectors, lambda row: f"{table.where(int(row_of[row]))}, {what} {ids[row]!r}")
    return vectors


def _text_blocks(table: Table) -> Iterator[Block]:
    for block in table.blocks(table.columns):
        ids, *columns = [cast(list[str], texts) for texts in block.columns]  # of CSV
        numbers = [
            _numbers(texts, partial(_where, table, block.start, name))
            for name, texts in zip(table.columns[1:], columns, strict=True)
        ]
        yield block.start, ids, _float32(np.stack(numbers, axis=1))


def _where(table: Table, start: int, name: str, row: int) -> str:
    return table.where(start + row, name)


def _numbers(texts: list[str], where: Callable[[int], str]) -> np.ndarray:
    """Text as (n,) float64, missing values as NaN. Errors: InputError for what is no number."""
    try:
        return np.array(texts, np.float64)
    except ValueError:
        numbers = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        try:
            if text.strip() not in MISSING:
                numbers[row] = float(text)
        except ValueError:
            raise InputError(f"{where(row)}: {text!r} is not a number") from None
    return numbers


def _arrow_blocks(table: ArrowTable) -> Iterator[Block]:
    start = 0
    for batch in table.batches(table.columns):
        names, *columns = batch.columns
        ids = table.texts(table.columns[0], names)
        yield start, ids, _float32(_arrow_numbers(table, columns, start))
        start += len(batch)


def _arrow_numbers(table: ArrowTable, columns: list[Any], start: int) -> np.ndarray:
    """Columns of numbers, or a single one of lists of them, as (n, F)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(columns) == 1 and isinstance(columns[0].type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        lengths = np.array(pc.list_value_length(columns[0]).fill_null(-1))
        odd = np.flatnonzero(lengths != lengths[:1])
        if len(odd) or lengths[0] < 1:
            row = int(odd[0]) if len(odd) else 0
            length = max(int(lengths[row]), 0)
            raise InputError(f"{table.where(start + row)}: {length} dimensions, the first row has {lengths[0]}")
        flat = columns[0].flatten()
        _check_numeric(table, flat.type, table.columns[1])
        return flat.to_numpy(zero_copy_only=False).reshape(len(lengths), -1)
    for name, column in zip(table.columns[1:], columns, strict=True):
        _check_numeric(table, column.type, name)
    return np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)


def _check_numeric(table: ArrowTable, kind: Any, name: str) -> None:
    import pyarrow as pa

    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise InputError(f"{table.path}, column {name!r}: {kind}, expected numbers")


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which _check_finite reports
        return np.ascontiguousarray(array, np.float32)


def _check_finite(vectors: np.ndarray, where: Callable[[int], str]) -> None:
    """Errors: InputError with the place of the first row that holds NaN or infinity, and how many there are."""
    bad = [
        start + np.flatnonzero(~np.isfinite(vectors[start : start + CHECKED_ROWS]).all(axis=1))
        for start in range(0, len(vectors), CHECKED_ROWS)
    ]
    rows = np.concatenate(bad)
    if len(rows):
        raise InputError(f"{where(int(rows[0]))}: NaN or infinity, in {len(rows):,} of {len(vectors):,} rows")
