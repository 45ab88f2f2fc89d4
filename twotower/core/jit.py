"""Numba's ``njit``, and where compiled kernels are kept: in one place of the user's own.

    $NUMBA_CACHE_DIR, if it is set; else $XDG_CACHE_HOME/twotower; else ~/.cache/twotower

Numba itself keeps them beside the source, keyed by the file's path, and up to version 0.67 by its date: a new virtual
environment or the same version installed again would compile everything anew, and where neither the installation nor
the home directory can be written, ``import`` would fail. Here a module's kernels lie under its name and a digest of its
source, so that equal sources share them and different ones never meet; where nothing can be written they are kept for
the one process. Every module with kernels takes ``njit`` from here. Functions of other packages are not concerned.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numba
from numba import njit
from numba.core import caching

__all__ = ["COMPILES", "CacheState", "cache_directory", "cache_state", "forget_unused", "njit"]

COMPILES = not vars(numba.config)["DISABLE_JIT"]  # with NUMBA_DISABLE_JIT=1 kernels run as plain Python
UNUSED_DAYS = 90  # after which the kernels of a source that nobody has loaded are forgotten
DAY = 86_400  # seconds
MIB = 2**20
DIGEST_BYTES = hashlib.sha256().digest_size


class CacheState(NamedTuple):
    """Where compiled kernels are kept, and what is there."""

    directory: str
    lasting: bool  # or for this process alone, since no directory could be written
    mib: float
    kernels: int  # compiled functions, a file each


def wanted_directories() -> list[Path]:
    """Where compiled kernels may lie, in the order of preference."""
    set_by_user = vars(numba.config)["CACHE_DIR"]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    # Another version of Numba would take what it finds for out of date and overwrite it: each has its own.
    own = Path("twotower", f"numba-{numba.__version__}")
    return [Path(place) / own for place in (set_by_user, base) if place]


def writable(directory: Path) -> bool:
    """Whether files can be written there; makes the directory, and marks it as in use by its date."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True


@cache
def cache_directory() -> Path:
    """Where this process keeps compiled kernels; decided once, at the first of them."""
    return next(filter(writable, wanted_directories()), None) or Path(_of_this_process().name)


@cache
def _of_this_process() -> Any:
    """A directory that ends with the process."""
    return tempfile.TemporaryDirectory(prefix="twotower-kernels-")


class KernelCacheLocator(caching._CacheLocator):
    """Tells Numba where the compiled code of one function lies: a directory a module and state of its source."""

    def __init__(self, module: str, source: Path, line: int) -> None:
        self.digest = hashlib.sha256(source.read_bytes()).hexdigest()
        self._py_file, self._lineno = str(source), line  # Numba names them where it cannot keep code (NUMBA_OPT=0)
        self.directory = cache_directory() / f"{module.partition('.')[2]}-{self.digest[:16]}"

    def get_cache_path(self) -> str:
        return str(self.directory)

    def get_source_stamp(self) -> str:
        return self.digest

    def get_disambiguator(self) -> str:
        return str(self._lineno)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "KernelCacheLocator | None":
        """The locator of a kernel of this package; None for all other functions, which Numba looks after itself."""
        if not py_func.__module__.startswith("twotower.") or not os.path.isfile(py_file):
            return None
        locator = cls(py_func.__module__, Path(py_file), py_func.__code__.co_firstlineno)
        return locator if writable(locator.directory) else None


def cache_state() -> CacheState:
    """Where compiled kernels are kept, and how much of it there is."""
    directory = cache_directory()
    sizes = [file.stat().st_size for file in directory.rglob("*.nbc")]
    return CacheState(str(directory), directory in wanted_directories(), sum(sizes) / MIB, len(sizes))


def forget_unused(days: float = UNUSED_DAYS) -> int:
    """Remove the kernels of sources that no process has loaded for so long. Returns of how many sources."""
    limit = time.time() - days * DAY
    kept = [d for place in wanted_directories() for d in place.parent.glob("numba-*/*-*") if d.is_dir()]
    unused = [directory for directory in kept if directory.stat().st_mtime < limit]
    for directory in unused:
        shutil.rmtree(directory, ignore_errors=True)
    return len(unused)


_numba: Any = caching  # it has no types


class CheckedCacheFile(_numba.IndexDataCacheFile):  # type: ignore[misc]
    """Numba's files of one function. Ours end with a checksum: a damaged one is as good as none, and compiled again.

    Numba itself would unpickle, load and call whatever is there.
    """

    def __init__(self, cache_path: str, filename_base: str, source_stamp: str) -> None:
        super().__init__(cache_path, filename_base, source_stamp)
        self._checked = Path(cache_path).parent == cache_directory()

    def save(self, key: Any, data: Any) -> None:
        """Save an entry, one process at a time.

        The index is read, gets an entry and is written back: of two processes that compile two signatures at once, one
        entry would be lost, or name the file of the other, which is then called with arrays of the wrong type.
        """
        with open(Path(self._index_path).parent / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            super().save(key, data)

    def load(self, key: Any) -> Any:
        name = self._load_index().get(key)
        return super().load(key) if name and self._is_whole(self._data_path(name)) else None

    def _load_index(self) -> dict[Any, str]:
        index: dict[Any, str] = super()._load_index() if self._is_whole(self._index_path) else {}
        return index

    def _is_whole(self, path: str) -> bool:
        if not self._checked:
            return os.path.exists(path)
        try:
            content = Path(path).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[IO[bytes]]:
        content = BytesIO()
        yield content
        digest = hashlib.sha256(content.getvalue()).digest() if self._checked else b""
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + digest)  # a pickle ends before it


_numba.IndexDataCacheFile = CheckedCacheFile
_numba.CacheImpl._locator_classes.insert(0, KernelCacheLocator)
