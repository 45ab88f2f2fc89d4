"""Who is writing here: advisory locks (flock), which the kernel takes back from a process that dies.

They hold between containers that share a disk, whatever process ids these see. File systems without such locks let
everybody in.
"""

import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from twotower.core.errors import InputError

LOCK = ".lock"  # in the directory that it is for; says who holds it
WAIT, POLL = 60.0, 0.02  # seconds for a lock that is held for a moment; between two attempts
PARTIAL = ".partial-"  # in hidden names of what is not finished


@contextmanager
def locked(directory: Path, wait: bool = False) -> Iterator[None]:
    """Hold a directory alone until the body ends.

    Errors: InputError that names process, host and time of whoever holds it; with ``wait`` after WAIT seconds, in
    which every change is made, unless its process was stopped.
    """
    path, end = directory / LOCK, time.monotonic() + WAIT * wait
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if time.monotonic() < end:
                time.sleep(POLL)
                continue
            raise InputError(f"{directory}: in use by {holder(directory)}; wait for it, or stop it first") from None
        except OSError:
            pass
        if _is(path, handle):  # otherwise it was removed by the one before
            break
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(_this_process()).encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)  # which unlocks


def holder(directory: Path) -> str | None:
    """Who holds a directory, for messages; None if nobody does."""
    path = directory / LOCK
    if not path.is_file() or is_abandoned(path):
        return None
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def create_held(target: Path, directory: bool = False) -> tuple[Path, int]:
    """A new hidden file or directory beside ``target``, and a handle that marks it as in use until it is closed."""
    while True:
        path = target.with_name(f".{target.name}{PARTIAL}{secrets.token_hex(8)}")
        if directory:
            path.mkdir()
        flags = os.O_RDONLY if directory else os.O_RDWR | os.O_CREAT | os.O_EXCL
        handle = os.open(path, flags | os.O_CLOEXEC, 0o666)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is(path, handle):  # otherwise it was taken for abandoned before it was marked
            return path, handle
        os.close(handle)


def leftovers(target: Path) -> list[Path]:
    """What dead processes left beside ``target`` that was to become it."""
    prefix, found = f".{target.name}{PARTIAL}", []
    with suppress(OSError), os.scandir(target.parent) as entries:
        found = [target.with_name(entry.name) for entry in entries if entry.name.startswith(prefix)]
    return [path for path in found if is_abandoned(path)]


def sweep(target: Path) -> None:
    """Remove what dead processes left of ``target``."""
    for path in leftovers(target):
        is_abandoned(path, then=remove)  # looked at again: it must not be marked between the two


def remove(path: Path) -> None:
    """Remove a file or a directory, if that can be done."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def discard(directory: Path) -> None:
    """Remove a directory, which is never seen half removed."""
    with suppress(OSError):
        gone, handle = create_held(directory, directory=True)
        os.close(handle)
        directory.rename(gone)
        remove(gone)


def is_abandoned(path: Path, then: Callable[[Path], None] | None = None) -> bool:
    """Whether no living process has marked a file or directory as in use; ``then`` is called while none can."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if then is not None:
            then(path)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, str | int]:
    since = datetime.now(timezone.utc).isoformat(" ", "seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}
