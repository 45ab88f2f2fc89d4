"""Locks of a search that several processes share: on its journal, and on its directory while they search."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class JournalLock:
    """As Optuna's locks, by flock: it ends with the process that holds it, while the lock file of a killed one would
    stop all others for ever. What a killed process wrote of a line is cut off."""

    def __init__(self, journal: Path):
        self.journal = journal

    def acquire(self) -> bool:
        """Wait for it."""
        self.file = open(self.journal, "ab+")  # noqa: SIM115 (closed by release)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.file.seek(0)
        whole = self.file.read().rfind(b"\n") + 1
        if whole < self.file.tell():
            self.file.truncate(whole)
        return True

    def release(self) -> None:
        """Let others have it."""
        self.file.close()


@contextmanager
def searching(directory: Path) -> Iterator[bool]:
    """Mark a directory as searched in by this process; whether no other one searched there when it began."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield alone
    finally:
        os.close(handle)
