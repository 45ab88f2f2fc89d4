"""Known bugs of one line each that can be planted in the running program, to show what a check catches.

A bug is a line of a function and the wrong line that replaces it (``planted_bugs.toml``). Planting compiles the
function's changed source and puts the result in the function's place until the context ends; no file changes. The test
suite plants the same bugs and expects its own tests to fail.
"""

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twotower.core.config import ModelConfig, load_toml
from twotower.core.errors import InputError
from twotower.core.jit import njit
from twotower.lab.gradcheck.record import BugFacts
from twotower.report.record_table import shown, table_of
from twotower.report.table import TEXT, Table


@dataclass
class PlantedBug:
    """One wrong line."""

    module: str
    function: str  # "matmul", or "Tower.forward" of a class
    right: str  # occurs exactly once in the function and in its file
    wrong: str
    maths: list[str]  # the right formula, and the wrong one
    why: str  # why these parameters and no others
    name: str = shown("--break", TEXT)
    sentence: str = shown("the bug", TEXT)  # what is wrong
    grouped: bool = False  # only with several groups

    @property
    def file(self) -> str:
        """Path of the module in the package."""
        return self.module.removeprefix("twotower.").replace(".", "/") + ".py"

    def place(self) -> tuple[Any, str]:
        """The module or class that holds the function, and the name there."""
        *owners, name = self.function.split(".")
        holder: Any = importlib.import_module(self.module)
        for owner in owners:
            holder = getattr(holder, owner)
        return holder, name

    def source(self) -> tuple[str, int]:
        """The source of the right function, and its first line in the file."""
        holder, name = self.place()
        function = vars(holder)[name]
        lines, first = inspect.getsourcelines(getattr(function, "py_func", function))
        source = "".join(lines)
        if source.count(self.right) != 1:
            times = source.count(self.right)
            raise ValueError(f"{self.right!r} occurs {times} times in {self.module}.{self.function}, expected once")
        return source, first

    def facts(self) -> BugFacts:
        """The bug's part of a record, with its line in the file."""
        source, first = self.source()
        at = source[: source.index(self.right)].count("\n")
        line = source.splitlines()[at]
        right, wrong = line.strip(), line.replace(self.right, self.wrong).strip()
        return BugFacts(self.name, self.sentence, self.file, self.function, first + at, right, wrong, self.maths,
                        " ".join(self.why.split()))  # fmt: skip

    def wrong_function(self) -> Callable[..., Any]:
        """The function with the bug, compiled like the right one and with its globals."""
        holder, name = self.place()
        source, first = self.source()
        tree = ast.parse(textwrap.dedent(source.replace(self.right, self.wrong)))
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef)
        definition.decorator_list = []
        ast.increment_lineno(tree, first - 1)
        namespace: dict[str, Callable[..., Any]] = {}
        exec(compile(tree, f"<{self.name}>", "exec"), vars(sys.modules[self.module]), namespace)
        options = getattr(vars(holder)[name], "targetoptions", None)
        if options is None:  # plain Python
            return namespace[name]
        kept = {key: options[key] for key in ("nogil", "fastmath") if key in options}
        return njit(**kept)(namespace[name])  # never cached


BUGS = [PlantedBug(**bug) for bug in load_toml(Path(__file__).with_suffix(".toml"))["bug"]]
PLANTED = {bug.name: bug for bug in BUGS}


def bug_table() -> Table:
    """Names of bugs, and what is wrong with them."""
    return table_of(PlantedBug, BUGS)


def known_bug(name: str) -> PlantedBug:
    """A bug by name. Errors: InputError for an unknown name."""
    if name not in PLANTED:
        raise InputError(f"--break {name}: expected one of {', '.join(PLANTED)}")
    return PLANTED[name]


def require_possible(bug: PlantedBug | None, model: ModelConfig) -> None:
    """Errors: InputError for a bug that this model cannot have."""
    if bug is not None and bug.grouped and model.groups == 1:
        raise InputError(f"--break {bug.name}: with a single group nothing is masked; expected a model with groups")


@contextmanager
def planted(bug: PlantedBug | None) -> Iterator[None]:
    """The program with the bug until the context ends; None plants nothing."""
    if bug is None:
        yield
        return
    holder, name = bug.place()
    original, wrong = vars(holder)[name], bug.wrong_function()
    setattr(holder, name, wrong)
    try:
        yield
    finally:
        setattr(holder, name, original)
