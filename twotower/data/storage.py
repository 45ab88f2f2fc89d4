"""Directories of arrays that appear whole or not at all, and say what they hold in a manifest."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from twotower.errors import InputError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
FLUSH_ROWS = 2_000_000  # rows that the growing columns keep in memory before they append them to their files
_NPY_HEADER_BYTES = 128  # fixed, so that a column's header can be written again once its length is known


class StagedDirectory:
    """Write a directory under a hidden name beside its target, and rename it when it is finished.

    Used as a context manager: when the body raises, or ``finish`` was never called, nothing remains.

    Errors: InputError when the target exists and ``overwrite`` is false, or its parent can't be written.
    """

    def __init__(self, target: Path, overwrite: bool = False):
        self.target = Path(target)
        self.path = self.target.with_name(f".{self.target.name}.partial-{os.getpid()}")
        self.finished = False
        if self.target.exists() and not overwrite:
            raise InputError(f"{self.target}: exists already; give another directory or --overwrite")

    def __enter__(self) -> "StagedDirectory":
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{self.target.parent}: cannot write there ({error.strerror})") from None
        return self

    def commit(self) -> None:
        """Put the staged directory in the target's place."""
        old = self.target.with_name(f".{self.target.name}.old-{os.getpid()}")
        if self.target.exists():
            self.target.rename(old)
        self.path.rename(self.target)
        shutil.rmtree(old, ignore_errors=True)
        self.finished = True

    def __exit__(self, *exc: object) -> None:
        if not self.finished:
            shutil.rmtree(self.path, ignore_errors=True)


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
            raise ValueError(f"columns {sorted(columns)} with lengths {sorted(lengths)} for {sorted(self.dtypes)}")
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


def load_array(path: Path, mmap: bool = True) -> np.ndarray:
    """Read one ``.npy`` file, memory-mapped unless it is empty; never unpickles.

    Errors: InputError that names the file when it is missing, cut short or not an array.
    """
    try:
        if mmap and path.stat().st_size > _NPY_HEADER_BYTES:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a readable .npy array ({error})") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON. Errors: InputError that names the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None


def file_facts(directory: Path, exclude: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Byte size and SHA-256 of every file under ``directory`` but its manifest and the excluded folders."""
    facts = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name != MANIFEST and name.split("/")[0] not in exclude:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
            facts[name] = {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
    return facts


def _digest(file: Any) -> Any:
    """``hashlib.file_digest`` for Python 3.10."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest


def check_files(directory: Path, manifest: dict[str, Any], checksums: bool = False) -> None:
    """Compare the directory with its manifest; sizes always, contents only when asked.

    Errors: InputError that names the first file that is missing, has another size or other contents.
    """
    for name, facts in manifest["files"].items():
        path = (directory / name).resolve()
        if not path.is_relative_to(directory.resolve()):
            raise InputError(f"{directory / MANIFEST}: path {name!r} leaves the directory")
        if not path.is_file():
            raise InputError(f"{directory / name}: missing (named in {MANIFEST})")
        if path.stat().st_size != facts["bytes"]:
            raise InputError(f"{directory / name}: {path.stat().st_size} bytes, {MANIFEST} says {facts['bytes']}")
        if checksums:
            with open(path, "rb") as file:
                if _digest(file).hexdigest() != facts["sha256"]:
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
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_VERSION or "files" not in manifest:
        raise InputError(f"{directory / MANIFEST}: not format {FORMAT_VERSION} of a {kind}")
    check_files(directory, manifest)
    return manifest
