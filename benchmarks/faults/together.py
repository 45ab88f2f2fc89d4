"""Two commands at once: of one machine, of two containers that see equal process ids, and with one that is stopped."""

import ctypes
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.children import code_of, is_change
from benchmarks.faults.commands import COMMANDS, begin, contents, copied, give, removed, said
from benchmarks.faults.injected import set_clock_back
from benchmarks.faults.operations import Outcomes, bad, undisturbed
from twotower.core import locks
from twotower.core.errors import InputError
from twotower.core.locks import LOCK
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.training.run import RUN, RunReader

NEW_PROCESS_IDS = 0x20000000  # of unshare(2)


def writers(first: str, second: str, made: Path, work: Path, containers: bool = False) -> str:
    """Two commands at the same time: afterwards everything can be read, and is checked in whole."""
    place = copied(made, work)
    with container(containers):
        children = [begin(COMMANDS[name], place) for name in (first, second)]
    codes = [code_of(child) for child in children]
    outcome = whole(place) if all(code in (0, 2) for code in codes) else f"EXIT {codes}: {said(place)}"
    removed(place)
    return outcome if outcome[0].islower() else f"{outcome} after {first} and {second}"


class container:
    """Children that are begun inside have process ids of a space of their own, beginning at 1, each."""

    def __init__(self, wanted: bool):
        self.wanted = wanted

    def __enter__(self) -> None:
        self.before = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self.fork, libc = os.fork, ctypes.CDLL(None, use_errno=True)

        def fork() -> int:
            if libc.unshare(NEW_PROCESS_IDS):
                raise OSError(ctypes.get_errno(), "unshare")
            child = self.fork()
            if child:
                libc.setns(self.before, NEW_PROCESS_IDS)
            return child

        if self.wanted:
            os.fork = fork

    def __exit__(self, *error: object) -> None:
        os.fork = self.fork
        os.close(self.before)


def whole(place: Path) -> str:
    """Whether all datasets, samples and runs in a folder can be read, and nothing was left."""
    try:
        for path in place.glob("*/manifest.json"):
            if path.parent.name in ("w", "new", "shop"):
                dataset = Dataset.open(path.parent)
                dataset.check()
                for name in dataset.samples():
                    Sample(dataset, name).check()
        for path in place.rglob(RUN):
            RunReader(path.parent).files.verify()
    except InputError as error:
        if "drawn from another log" not in str(error):  # which is said, and by design
            return f"DAMAGED: {error}"
    left = [name for name in contents(place) if name.startswith("LEFT")]
    return f"LEFT {left}" if left else "all is whole"


def stopped(name: str, made: Path, work: Path) -> str:
    """A command stops itself (SIGSTOP) with a lock in its hands; the same one, given beside it, says who holds it."""
    wanted, _ = undisturbed(name, made, work)
    place = copied(made, work)
    child = begin(COMMANDS[name], place, partial(stop_with_a_lock, place))
    if not os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]):
        removed(place)
        return "done before"
    arguments = COMMANDS[name]
    if arguments[0] == "train":
        arguments = ["train", "--resume", "t"]
    code = give(arguments, place, partial(setattr, locks, "WAIT", 1.0))
    refused = code == 2 and f"in use by process {child} on" in said(place)
    os.kill(child, signal.SIGCONT)
    outcome = "said who holds it" if refused else bad(place, code, 0)
    if code_of(child) != 0 or contents(place) != wanted:
        outcome = f"OTHER FILES: {said(place)}"
    removed(place)
    return outcome


def stop_with_a_lock(place: Path) -> None:
    """Stop this process before the first change of a file that it makes while a lock in ``place`` names it."""
    waiting = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if waiting and is_change(event, arguments) and any(path.stat().st_size for path in place.rglob(LOCK)):
            waiting.clear()
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(hook)


def clock_back(name: str, made: Path, work: Path) -> Outcomes:
    """A command while each look at the clock finds it a minute earlier."""
    wanted, _ = undisturbed(name, made, work)
    place = copied(made, work)
    set_back: Callable[[], None] = lambda: set_clock_back(60)  # noqa: E731
    code = give(COMMANDS[name], place, set_back)
    outcome = "the same files" if code == 0 and contents(place) == wanted else f"{bad(place, code, 0)} OTHER FILES"
    removed(place)
    return Counter([outcome])


