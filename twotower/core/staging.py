"""Change a directory by one rename of its manifest (see ``manifest``), and remove what is left of changes.

New files wait under a hidden name until they are complete and on the disk.
"""

import ctypes
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from twotower.core import storage
from twotower.core.errors import InputError
from twotower.core.locks import LOCK, create_held, holder, is_abandoned, leftovers, locked, remove, sweep
from twotower.core.manifest import FORMAT_VERSION, MANIFEST, Facts, describe, place_of, read_manifest
from twotower.core.progress import Progress, silent
from twotower.core.storage import (
    flush_to_disk,
    missing_parents,
    name_place,
    read_record,
    remove_if_empty,
    write_record,
)

GENERATION = "generation-"
FLUSHES = 16  # at the same time: a disk takes them together
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


class StagedDirectory:
    """Write files under a hidden name beside a directory, and put them in their place when they are finished.

    Used as a context manager: when the body raises, or neither ``commit`` nor ``update`` was called, nothing remains.
    Only a directory with a manifest of the same kind, a damaged one, or an empty one is ever replaced, so that a slip
    of the hand cannot cost someone's home, nor an export the dataset.

    Errors: InputError when the target may not be replaced, or its parent can't be written.
    """

    def __init__(self, target: Path, overwrite: bool = False, plain: bool = False, mark: str = ""):
        """With ``plain`` the files always have their plain names, for readers who know of no manifest. ``mark`` is a
        key that the manifests have of what may be replaced."""
        self.given, self.plain, self.mark = target, plain, mark
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
            raise InputError(f"{self.given}: has no {MANIFEST}, so it will not be overwritten; give another directory")
        keys = ["", self.mark]
        with suppress(OSError, ValueError, TypeError):  # a damaged one may be made again
            keys = ["", *json.loads((self.target / MANIFEST).read_text("utf-8"))]
        if self.mark not in keys:
            other = f"its {MANIFEST} is of something else than what is to be written"
            raise InputError(f"{self.given}: {other}, so it will not be overwritten; give another directory")

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
            before = {place_of(name, facts) for name, facts in manifest["files"].items()}
            change(manifest)
            manifest["files"] = {k: v for k, v in manifest["files"].items() if k not in files} | files
            gone = before - {place_of(name, facts) for name, facts in manifest["files"].items() if name not in files}
            self._install(manifest, files, gone)

    def _install(self, manifest: dict[str, Any], files: Mapping[str, Facts], gone: set[str]) -> None:
        """Under the lock: the files become the next generation, then the manifest names them, then others go."""
        clear(self.target)
        numbers = [int(path.name.removeprefix(GENERATION)) for path in generations(self.target)]
        generation = f"{GENERATION}{max(numbers, default=1) + 1}"
        for name, facts in files.items():
            facts["path"] = f"{generation}/{name}"
        self.path.rename(self.target / generation)
        try:
            flush_to_disk(self.target)
            write_record(self.target / MANIFEST, manifest | {"obsolete": sorted(gone)})
        finally:  # what the manifest names stays, be it the last or, on a disk without room for it, the one before
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
        named = {directory / place_of(name, facts) for name, facts in manifest["files"].items()}
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
    for target in (directory, directory / "files", directory / MANIFEST):
        sweep(target)
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
        return {place_of(name, facts) for name, facts in read_record(directory / MANIFEST)["files"].items()}
    except (InputError, KeyError, TypeError, AttributeError):
        known = [p.relative_to(directory) for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST]
        return {path.as_posix() for path in known if not any(part.startswith(".") for part in path.parts)}
