"""Disturb the changes that a process makes to its files: kill it before one of them, or let one fail."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
KILLED, FAILED = 9, 70  # exit codes of the child


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event of Python changes the file system; ``open`` counts where it may write."""
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in OPERATIONS


def at_change(number: int, then: Callable[[], object]) -> list[int]:
    """From now on, call ``then`` before the so-manieth change of the file system; the list counts what is left."""
    left = [number]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_change(event, arguments):
            left[0] -= 1
            if left[0] == 0:
                then()

    sys.addaudithook(hook)
    return left


def in_child(action: Callable[[], object], quiet: bool = False) -> int:
    """Start a child that does something; its process id. It exits with what ``action`` returns, 0 for None."""
    child = os.fork()
    if child == 0:
        try:
            if quiet:
                silence = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silence, 1)
                os.dup2(silence, 2)
            code = action()
            os._exit(code if isinstance(code, int) else 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(FAILED)
    return child


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_before(operation: int, action: Callable[[], object]) -> bool:
    """Do something in a child that is killed before its so-manieth change; whether there were that many."""

    def disturbed() -> object:
        at_change(operation, lambda: os._exit(KILLED))
        action()
        return 0

    code = code_of(in_child(disturbed))
    assert code in (0, KILLED), code
    return code == KILLED
