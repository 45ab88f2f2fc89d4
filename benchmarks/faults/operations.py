"""Each single file operation of a command disturbed in turn; then the same command is given again."""

import errno
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.faults.children import KILLED
from benchmarks.faults.commands import COMMANDS, contents, copied, give, give_again, removed, said
from benchmarks.faults.injected import NEVER, Fault, Mode

#: Kind of fault → what happens, and its error.
KINDS = {
    "kill": (Mode.KILL, 0),
    "torn": (Mode.TORN, 0),
    "full": (Mode.FULL, errno.ENOSPC),
    "io": (Mode.FAIL, errno.EIO),
    "vanish": (Mode.HOOK, 0),
}
Outcomes = Counter[str]


def undisturbed(name: str, made: Path, work: Path) -> tuple[dict[str, Any], int]:
    """The folder's contents after a command, and the changes that it makes to files."""
    place = copied(made, work)
    fault, counted = Fault(place, NEVER, Mode.KILL), work / "count"

    def before() -> None:
        fault.arm()
        end = os._exit

        def finish(code: int) -> None:
            counted.write_text(str(fault.count()))
            end(code)

        os._exit = finish  # type: ignore[assignment]

    assert give(COMMANDS[name], place, before) == 0, (name, said(place))
    wanted = contents(place)
    removed(place)
    return wanted, int(counted.read_text())


def each_operation(kind: str, name: str, made: Path, work: Path, operations: Iterable[int] | None = None) -> Outcomes:
    """Disturb a command at each of its operations, or some of them."""
    wanted, total = undisturbed(name, made, work)
    return Counter(
        one_operation(kind, name, made, work, operation, wanted) for operation in operations or range(1, total + 1)
    )


def one_operation(kind: str, name: str, made: Path, work: Path, operation: int, wanted: dict[str, Any]) -> str:
    mode, error = KINDS[kind]
    place = copied(made, work)

    def vanish() -> None:
        for folder in ("w", "new", "shop", "t", "out", "e"):
            shutil.rmtree(place / folder, ignore_errors=True)

    fault = Fault(place, operation, mode, error, vanish)
    code = give(COMMANDS[name], place, fault.arm)
    if kind == "vanish":  # nothing can be made again from what is gone; but it must be said in a line
        line = "said in a line" if is_line(place, code) else bad(place, code, operation)
        outcome = "done before" if code == 0 else line
    else:
        expected = (KILLED, -signal.SIGKILL, 0) if mode in (Mode.KILL, Mode.TORN) else (0, 2)
        fine = code in expected and (code != 2 or is_line(place, code))
        outcome = again(name, place, wanted) if fine else bad(place, code, operation)
        outcome += f" at {operation}" if outcome[0].isupper() else ""
    removed(place)
    return outcome


def again(name: str, place: Path, wanted: dict[str, Any]) -> str:
    """What became of a disturbed command when it was given again."""
    code = give_again(COMMANDS[name], place)
    found = contents(place)
    if found == wanted and code == 0:
        return "the same files"
    wrong = sorted(set(found.items()) ^ set(wanted.items()))[:3]
    return f"OTHER FILES ({code}; {said(place)}): {[file for file, _ in wrong]}"


def is_line(place: Path, code: int) -> bool:
    """Whether a command failed as it should: exit code 2, and a line that says why."""
    text = Path(f"{place}.stderr").read_text(errors="replace")
    return code == 2 and "Traceback" not in text and "twotower: error" in text


def bad(place: Path, code: int, operation: int) -> str:
    return f"EXIT {code} at {operation}: {said(place)}"
