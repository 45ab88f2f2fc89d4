"""Files and directories that appear whole or not at all; directories list their files in a manifest."""

import csv
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain, write_csv_to
from twotower.core.streams import is_stream, open_stream

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
FLUSH_ROWS = 1 << 18  # rows kept in memory before they go to disk; a log has a set of columns for every day
DIGEST_BYTES = 1 << 22  # read at a time for a checksum
CELL_CHARACTERS = 1 << 28  # at most, in a table of text; left alone the csv module stops at 131,072
_NPY_HEADER_BYTES = 128  # fixed, so that a column's header can be written again once its length is known


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


class StagedDirectory:
    """Write a directory under a hidden name beside its target, and rename it when it is finished.

    Used as a context manager: when the body raises, or ``commit`` was never called, nothing remains. With
    ``overwrite`` the old directory stays until the new one is complete; only a directory with a manifest, or
    an empty one, is ever replaced, so that a slip of the hand cannot cost someone's home.

    Errors: InputError when the target may not be replaced, or its parent can't be written.
    """

    def __init__(self, target: Path, overwrite: bool = False):
        self.given = target
        self.target = Path(os.path.realpath(target))  # behind a link, and "." has no name to stand beside
        self.overwrite = overwrite
        self.path = self.target.with_name(f".{self.target.name}.partial-{os.getpid()}")
        self.finished = False
        self._check_target()

    def _check_target(self) -> None:
        if not self.target.exists():
            return
        if not self.overwrite:
            raise InputError(f"{self.given}: exists already; give another directory or --overwrite")
        ours = self.target.is_dir() and ((self.target / MANIFEST).is_file() or not any(self.target.iterdir()))
        if not ours:
            raise InputError(f"{self.given}: has no {MANIFEST}, so it will not be overwritten")

    def __enter__(self) -> "StagedDirectory":
        shutil.rmtree(self.path, ignore_errors=True)
        self.made = missing_parents(self.path)
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{self.given}: cannot write there ({error.strerror})") from None
        return self

    def commit(self) -> None:
        """Put the staged directory in the target's place.

        Errors: InputError when someone else has made the target meanwhile and ``overwrite`` is false.
        """
        self._check_target()
        old = self.target.with_name(f".{self.target.name}.old-{os.getpid()}")
        replaced = self.target.exists()
        if replaced:
            self.target.rename(old)
        try:
            self.path.rename(self.target)
        except OSError:
            if replaced:
                old.rename(self.target)
            raise
        self.finished = True
        shutil.rmtree(old, ignore_errors=True)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not self.finished:
            shutil.rmtree(self.path, ignore_errors=True)
            remove_if_empty(self.made)
        name_place(error, self.given)


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


def load_array(path: Path) -> np.ndarray:
    """Read one ``.npy`` file, memory-mapped unless it is empty; never unpickles.

    Errors: InputError that names the file when it is missing, cut short or not an array.
    """
    try:
        mapped = path.stat().st_size > _NPY_HEADER_BYTES
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("a .npz archive")
        return array
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (ValueError, EOFError, OSError, SyntaxError, TokenError) as error:  # a header is a Python literal
        raise InputError(f"{path}: not a readable .npy array ({error})") from None


def load_rows(path: Path, rows: int, length: int | None = None) -> np.ndarray:
    """An array (n,) of rows of a table that has ``rows`` of them. Errors: InputError with the first that is none."""
    array = load_array(path)
    if array.ndim != 1 or array.dtype.kind not in "iu" or length not in (None, len(array)):
        expected = "whole numbers" if length is None else f"{length} whole numbers"
        raise InputError(f"{path}: {array.dtype} {array.shape}, expected {expected}")
    if len(array) and (array.min() < 0 or array.max() >= rows):
        row = int(np.argmax((array < 0) | (array >= rows)))
        raise InputError(f"{path}: row {row} holds {array[row]}, expected 0 to {rows - 1}")
    return array


def rows_of(ids: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """The row of each id (n,) among the ``known`` ones, −1 where it is not: int64."""
    place = {name: row for row, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in ids], np.int64)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time; on file systems that know no locks, all of them."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which unlocks


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write under: the file moves to ``path`` when the body ends, and goes when it raises.

    A link stays: what it points to is replaced.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        name_place(error, path)
        raise
    finally:
        with suppress(OSError):  # moved, or never there
            partial.unlink()


@contextmanager
def whole_text(path: str | Path) -> Iterator[IO[str]]:
    """A text file that appears under its name when the body ends; pipes and devices are written to as they are.

    Errors: InputError, at once, if it cannot.
    """
    path = Path(path)
    if not path.name or path.is_dir():  # ".", "/" and "" have no name
        raise InputError(f"{path}: cannot write (Is a directory)")
    if is_stream(path):
        try:
            stream = open_stream(path)
        except OSError as error:
            raise InputError(f"{path}: cannot write ({error.strerror})") from None
        with stream:
            yield stream
        return
    with whole_file(path) as partial:
        try:
            file = open(partial, "w", encoding="utf-8", newline="")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise InputError(f"{path}: cannot write ({error.strerror})") from None
        with file:
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
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None


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


def file_facts(directory: Path, progress: Progress = silent) -> dict[str, dict[str, Any]]:
    """Byte size and SHA-256 of every file under ``directory`` but its manifest, by path relative to it."""
    paths = [p for p in sorted(directory.rglob("*")) if p.is_file() and p != directory / MANIFEST]
    digests = _digests("checksums", paths, progress)
    return {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(paths, digests, strict=True)
    }


def _digests(stage: str, paths: list[Path], progress: Progress) -> Iterator[str]:
    """SHA-256 of one file after the other; progress is in bytes of all of them."""
    done, total = 0, sum(path.stat().st_size for path in paths)
    for path in paths:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(DIGEST_BYTES):
                digest.update(block)
                done += len(block)
                progress(stage, done, total)
        yield digest.hexdigest()


def check_files(directory: Path, manifest: dict[str, Any]) -> None:
    """Compare the files of a directory with its manifest, by size.

    Errors: InputError that names the first file that is missing or has another size.
    """
    home = directory.resolve()
    for name, facts in manifest["files"].items():
        path = (home / name).resolve()
        if not path.is_relative_to(home):
            raise InputError(f"{directory / MANIFEST}: path {name!r} leaves the directory")
        if not path.is_file():
            raise InputError(f"{directory / name}: missing (named in {MANIFEST})")
        size = path.stat().st_size
        if size != facts["bytes"]:
            raise InputError(f"{directory / name}: {size} bytes, {MANIFEST} says {facts['bytes']}")


def check_contents(directory: Path, manifest: dict[str, Any], progress: Progress = silent) -> None:
    """Compare the files of a directory with their checksums in its manifest.

    Errors: InputError that names the first file with other contents.
    """
    names = list(manifest["files"])
    digests = _digests(f"checksums of {directory}", [directory / name for name in names], progress)
    for name, digest in zip(names, digests, strict=True):
        if digest != manifest["files"][name]["sha256"]:
            raise InputError(f"{directory / name}: contents differ from the checksum in {MANIFEST}")


def read_manifest(directory: Path, kind: str) -> dict[str, Any]:
    """The manifest of a directory, with its files checked by size.

    Errors: InputError when the directory is not a ``kind``, is of another format, or is incomplete.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; expected a {kind}")
    if not (directory / MANIFEST).is_file():
        raise InputError(f"{directory}: not a {kind} (it has no {MANIFEST})")
    manifest = read_json(directory / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_VERSION:
        raise InputError(f"{directory / MANIFEST}: not format {FORMAT_VERSION} of a {kind}")
    try:
        check_files(directory, manifest)
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{directory / MANIFEST}: its list of files is damaged") from None
    return manifest
