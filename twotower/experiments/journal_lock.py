"""The lock on a journal of trials, which several processes append to."""

import fcntl
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
