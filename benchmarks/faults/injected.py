"""Let one file operation of this process fail, by a C library that stands before the system's (``faulty.c``).

Without it (no C compiler, or a process that was not started anew), an audit hook of Python stands in: it sees files
that are opened, renamed and removed, but not what is written to them.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from benchmarks.faults.children import KILLED, at_change

NEVER = 1 << 40


class Mode(IntEnum):
    """What happens to the operation; as in ``faulty.c``."""

    KILL = 1  # SIGKILL before it
    TORN = 2  # SIGKILL when half of it is written
    FAIL = 3  # an error
    FULL = 4  # an error of it and of all later ones that take space
    HOOK = 5  # a function is called before it


def start_anew(module: str, folder: Path) -> None:
    """Start the program again with the library before all others."""
    if loaded() or "TWOTOWER_FAULTY" in os.environ:
        return
    library = folder / "faulty.so"
    source = Path(__file__).with_name("faulty.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    os.environ |= {"LD_PRELOAD": str(library), "TWOTOWER_FAULTY": "1"}
    os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def loaded() -> bool:
    return hasattr(ctypes.CDLL(None), "faulty_arm")


class Fault:
    """A fault of the ``operation``-th change of files under ``folder``, from when it is armed."""

    def __init__(
        self, folder: Path, operation: int, mode: Mode, error: int = 0, call: Callable[[], None] = lambda: None
    ):  # fmt: skip
        self.folder, self.operation, self.mode, self.error, self.call = folder, operation, mode, error, call

    def arm(self) -> None:
        if loaded():
            self._hook = ctypes.CFUNCTYPE(None)(self.call)  # which must live as long as the process
            where = str(self.folder.resolve()).encode()
            ctypes.CDLL(None).faulty_arm(where, ctypes.c_long(self.operation), self.mode, self.error, self._hook)
        else:
            self._left = at_change(self.operation, self._happen)

    def _happen(self) -> None:
        if self.mode in (Mode.KILL, Mode.TORN):
            os._exit(KILLED)
        if self.mode == Mode.HOOK:
            return self.call()
        raise OSError(self.error, os.strerror(self.error))

    def count(self) -> int:
        """Operations since it was armed."""
        if not loaded():
            return self.operation - self._left[0]
        library = ctypes.CDLL(None)
        library.faulty_count.restype = ctypes.c_long
        return int(library.faulty_count())


def set_clock_back(seconds: int) -> None:
    """From now on each look at the calendar clock finds it ``seconds`` earlier than the last."""
    ctypes.CDLL(None).faulty_clock(ctypes.c_long(seconds))
