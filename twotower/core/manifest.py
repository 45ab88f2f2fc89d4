"""Directories whose files are named by a manifest, and which change by one rename of it.

A file that a manifest names never changes: what replaces it has a name of its own, in a folder ``generation-2``,
``generation-3`` …, and counts from the moment when the next manifest takes the place of the last. Whoever has read a
manifest thus sees one state, or is told that a file is gone. Old files are removed after the change, by the process
that made it, or else by the next one that opens the directory to write.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twotower.core.errors import InputError
from twotower.core.locks import LOCK, PARTIAL
from twotower.core.progress import Progress, silent
from twotower.core.storage import (
    array_header,
    load_array,
    read_csv,
    read_json,
    read_record,
)

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
RESTORE = "restore it, or make the directory again"
DIGEST_BYTES = 1 << 22  # read at a time for a checksum
MOST_REMEMBERED = 1 << 14  # files: a process that opens others for ever does not grow
TOLD_BYTES = 1 << 28  # checksums of less take less than a second, and are not reported

Facts = dict[str, Any]  # of a file: bytes, sha256; of an array dtype and shape; path, where it is not the name


class Verification:
    """Whether contents are compared with their checksums when they are first used; sizes and shapes always are."""

    enabled = True
    done: ClassVar[dict[tuple[Any, ...], None]] = {}  # in this process: what was compared once is not compared again

    @classmethod
    def remember(cls, state: tuple[Any, ...]) -> None:
        """A file in this state need not be compared again; the oldest of too many are forgotten."""
        cls.done[state] = None
        while len(cls.done) > MOST_REMEMBERED:
            cls.done.pop(next(iter(cls.done)), None)


class Files:
    """The files that a manifest names, each compared with what it says before it is used."""

    def __init__(self, directory: Path, manifest: Mapping[str, Any], source: str = MANIFEST, advice: str = RESTORE):
        """For messages, ``source`` is the manifest's name and ``advice`` what to do about damage.

        Errors: InputError for a list that is damaged.
        """
        self.directory, self.source, self.advice = directory, source, f"; {advice}"
        self.facts: dict[str, Facts] = {}
        self._pinned: dict[str, np.ndarray] = {}
        leaves = _outside_of(directory)
        try:
            for name, facts in manifest["files"].items():
                if leaves(facts.get("path", name)):
                    raise InputError(f"{directory / source}: path {name!r} leaves the directory")
                if not isinstance(facts["bytes"], int) or not isinstance(facts["sha256"], str):
                    raise TypeError
                self.facts[name] = facts
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{directory / source}: its list of files is damaged; {RESTORE}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.facts

    def where(self, name: str) -> Path:
        """Where a file is, which need not be there. Errors: InputError for one that the manifest does not name."""
        if name not in self.facts:
            raise InputError(f"{self.directory / name}: missing (not named in {self.source})")
        return self.directory / place_of(name, self.facts[name])

    def check_sizes(self, names: Iterable[str] | None = None) -> None:
        """Errors: InputError that names the first file that is missing or has another size."""
        for name in self.facts if names is None else names:
            path = self.where(name)
            if not path.is_file():
                raise InputError(f"{path}: missing (named in {self.source}){self.advice}")
            if path.stat().st_size != self.facts[name]["bytes"]:
                found = f"{path.stat().st_size} bytes, {self.source} says {self.facts[name]['bytes']}"
                raise InputError(f"{path}: {found}{self.advice}")

    def path(self, name: str, progress: Progress = silent) -> Path:
        """Where a file is, after its contents were compared. Errors: InputError when it is missing or other."""
        self.check_sizes([name])
        path = self.where(name)
        if Verification.enabled:
            self._verify([name], progress)
        return path

    def verify(self, progress: Progress = silent) -> None:
        """Compare all contents. Errors: InputError that names the first file that is missing or has others."""
        self.check_sizes()
        self._verify(list(self.facts), progress, again=True)

    def _verify(self, names: list[str], progress: Progress, again: bool = False) -> None:
        states = {name: _state(self.where(name), self.facts[name]) for name in names}
        due = [name for name in names if again or states[name] not in Verification.done]
        if not again and sum(self.facts[name]["bytes"] for name in due) < TOLD_BYTES:
            progress = silent
        digests = _digests(f"checksums of {self.directory}", [self.where(name) for name in due], progress)
        for name, digest in zip(due, digests, strict=True):
            if digest != self.facts[name]["sha256"]:
                raise InputError(f"{self.where(name)}: contents differ from the checksum in {self.source}{self.advice}")
            Verification.remember(states[name])

    def array(
        self, name: str, dtypes: Any = None, shape: tuple[int | None, ...] | None = None, expected: str = ""
    ) -> np.ndarray:
        """An array, memory-mapped. Errors: InputError unless it has one of ``dtypes`` and this shape (None: any)."""
        array = self._pinned.get(name)
        if array is None:
            array = load_array(self.path(name))
        fits = array.flags.c_contiguous and (dtypes is None or array.dtype in np.atleast_1d(dtypes))
        if shape is not None:
            fits &= array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if not fits:
            expected = expected or f"{' or '.join(map(str, np.atleast_1d(dtypes)))} {shape}".replace("None", "any")
            raise InputError(f"{self.where(name)}: {array.dtype} {array.shape}, expected {expected}")
        return array

    def rows(self, name: str, rows: int, length: int | None = None) -> np.ndarray:
        """An array (n,) of rows of a table that has ``rows``. Errors: InputError with the first that is none."""
        expected = "whole numbers" if length is None else f"{length} whole numbers"
        array = self.array(name, [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)], (length,), expected)
        if len(array) and (array.min() < 0 or array.max() >= rows):
            row = int(np.argmax((array < 0) | (array >= rows)))
            raise InputError(f"{self.where(name)}: row {row} holds {array[row]}, expected 0 to {rows - 1}")
        return array

    def csv(self, name: str, rows: int | None = None, needed: Iterable[str] = ()) -> dict[str, list[str]]:
        """A table. Errors: InputError unless it has so many rows and the columns that are needed."""
        columns = read_csv(self.path(name))
        if missing := [column for column in needed if column not in columns]:
            raise InputError(f"{self.where(name)}: no column {missing[0]!r}")
        found = len(next(iter(columns.values()), ()))
        if rows not in (None, found):
            raise InputError(f"{self.where(name)}: {found} rows, expected {rows}")
        return columns

    def json(self, name: str) -> Any:
        return read_json(self.path(name))

    def pin(self, names: Iterable[str], progress: Progress = silent) -> None:
        """Open arrays now, and keep them whatever happens to the directory: a mapped file outlives its name."""
        names = list(names)
        self.check_sizes(names)
        if Verification.enabled:
            self._verify(names, progress)
        for name in names:
            self._pinned[name] = self.array(name)


def _outside_of(directory: Path) -> Callable[[str], bool]:
    """Whether a path leaves the directory, by ``..`` or a link. A folder is followed once, not per file."""
    home = os.path.realpath(directory)
    followed = cache(lambda folder: os.path.realpath(os.path.join(home, folder)))

    def leaves(path: str) -> bool:
        folder, _, file = path.rpartition("/")
        place = os.path.join(followed(folder), file)
        if file == ".." or "\0" in path or os.path.islink(place):
            place = os.path.realpath(place)
        return not place.startswith(home + os.sep)

    return leaves


def describe(directory: Path, progress: Progress = silent) -> dict[str, Facts]:
    """The facts of every file under ``directory`` but its manifest, by path relative to it."""
    outside = {directory / MANIFEST, directory / LOCK}
    paths = [p for p in sorted(directory.rglob("*")) if p.is_file() and p not in outside and PARTIAL not in p.name]
    return {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": digest, **_array_facts(path)}
        for path, digest in zip(paths, _digests("checksums", paths, progress), strict=True)
    }


def _array_facts(path: Path) -> Facts:
    if path.suffix != ".npy":
        return {}
    shape, dtype, _, _ = array_header(path)
    return {"dtype": str(dtype), "shape": list(shape)}


def _state(path: Path, facts: Facts) -> tuple[Any, ...]:
    status = path.stat()
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, facts["sha256"]


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return next(_digests("checksum", [path], silent))


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


def read_manifest(directory: Path, kind: str) -> dict[str, Any]:
    """The manifest of a directory, with its files checked by size.

    Errors: InputError when the directory is not a ``kind``, is of another format, or is incomplete.
    """
    hint = "; twotower import makes one" if kind == "dataset" else ""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; expected a {kind}{hint}")
    if not (directory / MANIFEST).is_file():
        raise InputError(f"{directory}: not a {kind} (it has no {MANIFEST}){hint}")
    manifest = read_record(directory / MANIFEST)
    if manifest.get("format") != FORMAT_VERSION:
        raise InputError(f"{directory / MANIFEST}: not format {FORMAT_VERSION} of a {kind}; make it again")
    Files(directory, manifest).check_sizes()
    return manifest


def place_of(name: str, facts: Facts) -> str:
    return str(facts.get("path", name))
