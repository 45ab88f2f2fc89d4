"""Kill a process before one of its file operations, as a power cut or ``kill -9`` would."""

import os
import sys
from collections.abc import Callable
from typing import Any

OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
KILLED, FAILED = 9, 3  # exit codes of the child


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event of Python changes the file system; ``open`` counts where it may write."""
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in OPERATIONS


def kill_before(operation: int) -> None:
    """From now on, end this process before its so-manieth change of the file system."""
    left = [operation]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_change(event, arguments):
            left[0] -= 1
            if left[0] == 0:
                os._exit(KILLED)

    sys.addaudithook(hook)


def killed_before(operation: int, action: Callable[[], object]) -> bool:
    """Do something in a child that is killed before its so-manieth change; whether there were that many."""
    child = os.fork()
    if child == 0:
        try:
            kill_before(operation)
            action()
            os._exit(0)
        finally:
            os._exit(FAILED)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), code
    return code == KILLED
