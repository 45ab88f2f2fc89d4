"""Directories whose files are named by a manifest, and which change by one rename of it.

A file that a manifest names never changes: what replaces it has a name of its own, in a folder ``generation-2``,
``generation-3`` …, and counts from the moment when the next manifest takes the place of the last. Whoever has read a
manifest thus sees one state, or is told that a file is gone. Old files are removed after the change, by the process
that made it, or else by the next one that opens the directory to write.
"""

import ctypes
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twotower.core import storage
from twotower.core.errors import InputError
from twotower.core.locks import LOCK, PARTIAL, create_held, holder, is_abandoned, leftovers, locked, remove, sweep
from twotower.core.progress import Progress, silent
from twotower.core.storage import (
    array_header,
    flush_to_disk,
    load_array,
    missing_parents,
    name_place,
    read_csv,
    read_json,
    read_record,
    remove_if_empty,
    write_record,
)

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
RESTORE = "restore it, or make the directory again"
GENERATION = "generation-"
DIGEST_BYTES = 1 << 22  # read at a time for a checksum
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2
TOLD_BYTES = 1 << 28  # checksums of less take less than a second, and are not reported
FLUSHES = 16  # at the same time: a disk takes them together

Facts = dict[str, Any]  # of a file: bytes, sha256; of an array dtype and shape; path, where it is not the name


class Verification:
    """Whether contents are compared with their checksums when they are first used; sizes and shapes always are."""

    enabled = True
    done: ClassVar[set[tuple[Any, ...]]] = set()  # in this process: what was compared once is not compared again


class Files:
    """The files that a manifest names, each compared with what it says before it is used."""

    def __init__(self, directory: Path, manifest: Mapping[str, Any], source: str = MANIFEST, advice: str = RESTORE):
        """For messages, ``source`` is the manifest's name and ``advice`` what to do about damage.

        Errors: InputError for a list that is damaged.
        """
        self.directory, self.source, self.advice = directory, source, f"; {advice}"
        self.facts: dict[str, Facts] = {}
        self._pinned: dict[str, np.ndarray] = {}
        home = directory.resolve()
        try:
            for name, facts in manifest["files"].items():
                path = (home / facts.get("path", name)).resolve()
                if not path.is_relative_to(home):
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
        return self.directory / _place(name, self.facts[name])

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
            Verification.done.add(states[name])

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

    def csv(self, name: str) -> dict[str, list[str]]:
        return read_csv(self.path(name))

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
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; expected a {kind}")
    if not (directory / MANIFEST).is_file():
        raise InputError(f"{directory}: not a {kind} (it has no {MANIFEST})")
    manifest = read_record(directory / MANIFEST)
    if manifest.get("format") != FORMAT_VERSION:
        raise InputError(f"{directory / MANIFEST}: not format {FORMAT_VERSION} of a {kind}; make it again")
    Files(directory, manifest).check_sizes()
    return manifest


class StagedDirectory:
    """Write files under a hidden name beside a directory, and put them in their place when they are finished.

    Used as a context manager: when the body raises, or neither ``commit`` nor ``update`` was called, nothing remains.
    Only a directory with a manifest, or an empty one, is ever replaced, so that a slip of the hand cannot cost
    someone's home.

    Errors: InputError when the target may not be replaced, or its parent can't be written.
    """

    def __init__(self, target: Path, overwrite: bool = False, plain: bool = False):
        """With ``plain`` the files always have their plain names, for readers who know of no manifest."""
        self.given, self.plain = target, plain
        self.target = Path(os.path.realpath(target))  # behind a link, and "." has no name to stand beside
        self.overwrite = overwrite
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
        inside = not self.plain and (self.target / MANIFEST).is_file()  # the directory above it need not be writable
        place = self.target / "files" if inside else self.target
        self.made = missing_parents(place)
        try:
            sweep(self.target)
            sweep(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            self.path, self._handle = create_held(place, directory=True)
        except OSError as error:
            raise InputError(f"{self.given}: cannot write there ({error.strerror})") from None
        return self

    def commit(
        self,
        manifest: Mapping[str, Any],
        progress: Progress = silent,
        of_files: Callable[[Mapping[str, Facts]], Mapping[str, Any]] = lambda files: {},
    ) -> None:
        """Give the files their place, as all that the directory has.

        Their facts are added to ``manifest``, and what ``of_files`` makes of these.

        Errors: InputError when someone else has made the target meanwhile and ``overwrite`` is false.
        """
        files = describe(self.path, progress)
        flush_all(self.path)
        self._check_target()
        record = {"format": FORMAT_VERSION, **manifest, **of_files(files), "files": files}
        if self.plain or not (self.target / MANIFEST).exists():
            write_record(self.path / MANIFEST, record)
            try:
                swap(self.path, self.target) if self.plain and self.target.exists() else self.path.rename(self.target)
                return flush_to_disk(self.target.parent)
            except OSError:
                self._check_target()
                if self.plain or not (self.target / MANIFEST).exists():  # otherwise somebody else was faster
                    raise
        with locked(self.target, wait=True):
            self._install(record, files, _all_files(self.target))

    def update(self, kind: str, change: Callable[[dict[str, Any]], None], progress: Progress = silent) -> None:
        """Add the files to those of the directory, or in their place; ``change`` is called with the last manifest.

        What it removes from the list of files is removed; what others have changed meanwhile is kept.
        """
        files = describe(self.path, progress)
        flush_all(self.path)
        with locked(self.target, wait=True):
            manifest = read_manifest(self.target, kind)
            before = {_place(name, facts) for name, facts in manifest["files"].items()}
            change(manifest)
            manifest["files"] = {k: v for k, v in manifest["files"].items() if k not in files} | files
            gone = before - {_place(name, facts) for name, facts in manifest["files"].items() if name not in files}
            self._install(manifest, files, gone)

    def _install(self, manifest: dict[str, Any], files: Mapping[str, Facts], gone: set[str]) -> None:
        """Under the lock: the files become the next generation, then the manifest names them, then others go."""
        clear(self.target)
        numbers = [int(path.name.removeprefix(GENERATION)) for path in generations(self.target)]
        generation = f"{GENERATION}{max(numbers, default=1) + 1}"
        for name, facts in files.items():
            facts["path"] = f"{generation}/{name}"
        self.path.rename(self.target / generation)
        flush_to_disk(self.target)
        write_record(self.target / MANIFEST, manifest | {"obsolete": sorted(gone)})
        clear(self.target)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        os.close(self._handle)
        remove(self.path)
        remove_if_empty(self.made)
        name_place(error, self.given)


def flush_all(directory: Path) -> None:
    """Wait until everything in a directory is on the disk."""
    if storage.DURABLE:
        with ThreadPoolExecutor(FLUSHES) as threads:
            list(threads.map(flush_to_disk, [*directory.rglob("*"), directory]))


def swap(new: Path, old: Path) -> None:
    """Exchange the names of two directories in one step, or in three where the system knows no such step."""
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
        done = exchange(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(old), RENAME_EXCHANGE) == 0
    except (AttributeError, OSError):
        done = False
    if not done:
        third = new.with_name(f"{new.name}-old")
        old.rename(third)
        new.rename(old)
        third.rename(new)


def generations(directory: Path) -> list[Path]:
    return [path for path in directory.glob(f"{GENERATION}*") if re.fullmatch(rf"{GENERATION}\d{{1,9}}", path.name)]


def clear(directory: Path) -> None:
    """Under the lock: remove the files of former generations, and those of one that was never named."""
    try:
        manifest = read_record(directory / MANIFEST)
        named = {directory / _place(name, facts) for name, facts in manifest["files"].items()}
        gone = [directory / place for place in manifest.get("obsolete", ())]
    except (InputError, KeyError, TypeError, AttributeError):
        return  # damaged: nothing is certain
    sweep(directory / MANIFEST)
    home = directory.resolve()
    for path in [*gone, *(p for folder in generations(directory) for p in folder.rglob("*") if p.is_file())]:
        if path not in named and path.resolve().is_relative_to(home):
            with suppress(OSError):
                path.unlink()
            remove_if_empty([folder for folder in path.parents if folder.is_relative_to(directory)][:-1])
    for folder in generations(directory):
        remove_if_empty([*sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True), folder])


def clear_leftovers(directory: Path) -> None:
    """Remove what dead processes left in and beside a directory, if it can be written and nobody holds it."""
    sweep(directory)
    with suppress(OSError, InputError):
        lock = directory / LOCK
        if _obsolete(directory) or is_abandoned(lock):
            with locked(directory):
                clear(directory)


def place_facts(directory: Path) -> dict[str, Any]:
    """Who holds a directory, how much dead processes left in and beside it, and the free space of its disk."""
    left = leftovers(directory) + leftovers(directory / "files") + leftovers(directory / MANIFEST)
    free = shutil.disk_usage(directory).free if directory.is_dir() else 0
    facts = {"in_use_by": holder(directory) or "nobody", "leftovers": len(left) + _obsolete(directory)}
    return facts | {"disk_free_gib": round(free / 2**30, 1)}


def _obsolete(directory: Path) -> bool:
    try:
        manifest = read_record(directory / MANIFEST)
        current = {facts["path"].partition("/")[0] for facts in manifest["files"].values() if "path" in facts}
        return any(path.name not in current for path in generations(directory)) or any(
            (directory / place).exists() for place in manifest.get("obsolete", ())
        )
    except (InputError, KeyError, TypeError, AttributeError):
        return False


def _all_files(directory: Path) -> set[str]:
    """The files that a manifest names, or what is there where it is damaged."""
    try:
        return {_place(name, facts) for name, facts in read_record(directory / MANIFEST)["files"].items()}
    except (InputError, KeyError, TypeError, AttributeError):
        known = [p.relative_to(directory) for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST]
        return {path.as_posix() for path in known if not any(part.startswith(".") for part in path.parts)}


def _place(name: str, facts: Facts) -> str:
    return str(facts.get("path", name))
