"""Files that appear whole or not at all, and readers that name what is damaged. Nothing is ever unpickled."""

import csv
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.locks import create_held, sweep
from twotower.core.serialisation import plain, write_csv_to
from twotower.core.streams import is_stream, open_stream

FLUSH_ROWS = 1 << 18  # rows kept in memory before they go to disk; a log has a set of columns for every day
CELL_CHARACTERS = 1 << 28  # at most, in a table of text; left alone the csv module stops at 131,072
CHECKSUM = "checksum"  # the key of a JSON record's own SHA-256
_NPY_HEADER_BYTES = 128  # fixed, so that a column's header can be written again once its length is known
DURABLE = True  # whether files are on the disk before they get their names


def missing_parents(path: Path) -> list[Path]:
    """The directories above ``path`` that are not there yet, the innermost first."""
    return [folder for folder in path.parents if not folder.exists()]


def remove_if_empty(folders: list[Path]) -> None:
    """Take away directories that were made for something that came to nothing, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def name_place(error: object, path: Path) -> None:
    """Say where something could not be written: a full disk does not."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE) and error.filename is None:
        error.filename = str(path)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk: a rename must not arrive before them."""
    if not DURABLE:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do that for directories
            raise
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write under: the file moves to ``path`` when the body ends, and goes when it raises.

    A link stays: what it points to is replaced.
    """
    given, path = path, Path(os.path.realpath(path))
    try:
        sweep(path)
        partial, handle = create_held(path)
    except OSError as error:
        error.filename = str(given)
        raise
    try:
        yield partial
        flush_to_disk(partial)
        partial.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        name_place(error, given)
        raise
    finally:
        with suppress(OSError):  # moved
            partial.unlink()
        os.close(handle)


@contextmanager
def whole_text(path: str | Path) -> Iterator[IO[str]]:
    """A text file that appears under its name when the body ends; pipes and devices are written to as they are.

    Errors: InputError, at once, if it cannot.
    """
    path = Path(path)
    if not path.name or path.is_dir():  # ".", "/" and "" have no name
        raise InputError(f"{path}: cannot write (is a directory, expected the name of a file)")
    with ExitStack() as stack:
        try:
            if is_stream(path):
                file = stack.enter_context(open_stream(path))
            else:
                partial = stack.enter_context(whole_file(path))
                file = stack.enter_context(open(partial, "w", encoding="utf-8", newline=""))
        except OSError as error:
            raise InputError(f"{path}: cannot write ({error.strerror})") from None
        yield file


def write_file(path: str | Path, text: str) -> None:
    """Write a text file whole: a reader sees the old one or the new one. Errors: InputError that names it."""
    try:
        with whole_text(path) as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"{path}: cannot write ({error.strerror})") from None


def try_file(path: str | Path) -> None:
    """Errors: InputError when ``write_file`` could not write there. Nothing is left behind."""
    if is_stream(Path(path)):  # whose reader would take an attempt for all there is
        return
    with suppress(_Unwritten), whole_text(path):
        raise _Unwritten


class _Unwritten(Exception):
    """Ends an attempt to write before anything is replaced."""


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole; NaN and infinity become null."""
    with whole_file(path) as partial:
        text = json.dumps(plain(value), indent=1, sort_keys=True, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON. Errors: InputError that names the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object whole, with a checksum of itself."""
    values = plain(record)
    write_json(path, values | {CHECKSUM: _checksum(values)})


def read_record(path: Path) -> dict[str, Any]:
    """Read what ``write_record`` wrote. Errors: InputError when it is missing, damaged or has been edited."""
    record = read_json(path)
    if not isinstance(record, dict) or record.pop(CHECKSUM, None) != _checksum(record):
        raise InputError(f"{path}: damaged or edited (its checksum does not fit)")
    return record


def read_record_or_none(path: Path) -> dict[str, Any] | None:
    """A record that can be made again, unless it is missing or damaged."""
    try:
        return read_record(path)
    except InputError:
        return None


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write equally long columns as CSV with a header, whole; NaN and None become empty cells."""
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        write_csv_to(file, columns)


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read a CSV with a header into columns of text. Errors: InputError when it is missing or ragged."""
    csv.field_size_limit(CELL_CHARACTERS)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        odd = next((number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])), None)
        if odd:
            raise ValueError(f"row {odd} has {len(rows[odd - 1])} fields, the first {len(rows[0])}")
        return {name: list(column) for name, *column in zip(*rows, strict=True)}
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a readable table ({error})") from None


def load_array(path: Path) -> np.ndarray:
    """One ``.npy`` array of numbers, memory-mapped and read-only; never more than the file holds.

    Errors: InputError that names the file when it is missing, cut short or no such array.
    """
    shape, dtype, fortran, start = array_header(path)
    if not math.prod(shape):
        return np.empty(shape, dtype)
    try:
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable .npy array ({error})") from None


def array_header(path: Path) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Shape, dtype, whether in Fortran's order, and where the numbers begin. Errors: as for ``load_array``."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version} of the format")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            start = file.tell()
            size = os.fstat(file.fileno()).st_size - start
        if dtype.kind not in "biuf":
            raise ValueError(f"of {dtype}, expected numbers")
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != size:
            raise ValueError(f"{dtype} {shape} do not take the {size} bytes that there are")
        return shape, dtype, fortran, start
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (ValueError, EOFError, OSError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())  # a header is a Python literal
        raise InputError(f"{path}: not a readable .npy array ({reason})") from None


def reserve_array(path: Path, shape: tuple[int, ...], dtype: Any) -> np.memmap:
    """An array on disk to be filled in blocks. Its space is reserved first: a mapped file on a full disk is a crash."""
    dtype = np.dtype(dtype)
    with open(path, "wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        start = file.tell()
        os.posix_fallocate(file.fileno(), 0, start + math.prod(shape) * dtype.itemsize)
    if not math.prod(shape):
        return np.empty(shape, dtype)  # type: ignore[return-value]
    return np.memmap(path, dtype, "r+", start, shape)


class GrowingColumns:
    """Columns of equal length that grow by blocks, each kept as one ``.npy`` file in ``directory``."""

    def __init__(self, directory: Path, **dtypes: Any):
        self.directory = directory
        self.dtypes = {name: np.dtype(dtype) for name, dtype in dtypes.items()}
        self.blocks: dict[str, list[np.ndarray]] = {name: [] for name in dtypes}
        self.rows = self.flushed_rows = 0
        directory.mkdir(parents=True, exist_ok=True)
        for name in self.dtypes:
            (directory / f"{name}.npy").write_bytes(b" " * _NPY_HEADER_BYTES)

    def append(self, **columns: np.ndarray) -> None:
        """Add one block; every column must have the same number of rows."""
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1 or set(columns) != set(self.dtypes):
            got = f"columns {sorted(columns)} with lengths {sorted(lengths)}"
            raise ValueError(f"{got} for {sorted(self.dtypes)}")
        for name, column in columns.items():
            self.blocks[name].append(np.asarray(column).astype(self.dtypes[name], casting="same_kind"))
        self.rows += lengths.pop()
        if self.rows - self.flushed_rows >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        for name, blocks in self.blocks.items():
            with open(self.directory / f"{name}.npy", "ab") as file:
                for block in blocks:
                    file.write(block.tobytes())
            blocks.clear()
        self.flushed_rows = self.rows

    def close(self) -> None:
        self.flush()
        for name, dtype in self.dtypes.items():
            header = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({self.rows},), }}"
            magic = b"\x93NUMPY\x01\x00" + (_NPY_HEADER_BYTES - 10).to_bytes(2, "little")
            with open(self.directory / f"{name}.npy", "r+b") as file:
                file.write(magic + header.ljust(_NPY_HEADER_BYTES - 11).encode() + b"\n")


def rows_of(ids: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """The row of each id (n,) among the ``known`` ones, −1 where it is not: int64."""
    place = {name: row for row, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in ids], np.int64)
