"""Record every array that a line of ``model/reference.py`` makes or changes, in order.

A second implementation of the network could differ from the first. The recorder therefore runs the textbook itself
under a tracing function, which Python calls before every line, and looks for new or changed arrays among the frame's
locals. The textbook's numbers are those of any other run.
"""

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from twotower.model import reference

WATCHED = ("p", "grads", "head_grads")  # dictionaries of arrays: parameters, gradients
ALLOCATIONS = ("np.zeros", "np.ones")  # a line with one of these is no step
RETURNED = {"sigmoid": "p", "adam": "P"}  # names of what these functions return without a local name
REPEATED = {("adam", "P"), ("adam", "G"), ("loss_and_gradients", "V")}  # recorded again under this name


@dataclass(frozen=True, eq=False)
class Observation:
    """An array as a line of the textbook left it."""

    function: str
    name: str  # the local's, grads["head.W"][1] for a part of a dictionary's entry, user.W1 for a parameter
    value: np.ndarray  # a copy
    source: str  # the line
    line: int  # of reference.py
    layer: str | None  # user.1, where a tower is at work
    group: int | None  # k, where a head is at work
    backward: bool  # inside a function of the backward pass


@dataclass(frozen=True)
class Statement:
    """A simple statement of the textbook, or the header of a compound one."""

    text: str
    line: int
    in_head_loop: bool
    reads: tuple[tuple[Any, Any], ...]  # the parameters that it reads: code of their name and part


@functools.cache
def statements() -> dict[int, Statement]:
    """The statement of each line of the textbook."""
    text = inspect.getsource(reference)
    by_line: dict[int, Statement] = {}

    def visit(node: ast.stmt, in_head_loop: bool) -> None:
        bodies = [body for name in ("body", "orelse") for body in getattr(node, name, [])]
        last = bodies[0].lineno - 1 if bodies else node.end_lineno or node.lineno
        lines = [line.partition("# ")[0].strip() for line in text.splitlines()[node.lineno - 1 : last]]
        parts = [part for part in ast.iter_child_nodes(node) if part not in bodies]
        statement = Statement(" ".join(filter(None, lines)), node.lineno, in_head_loop, tuple(reads(parts)))
        by_line.update(dict.fromkeys(range(node.lineno, last + 1), statement))
        inside = in_head_loop or (isinstance(node, ast.For) and ast.unparse(node.iter) == "range(model.groups)")
        for body in bodies:
            visit(body, inside)

    for node in ast.parse(text).body:
        visit(node, False)
    return by_line


def reads(parts: list[ast.AST]) -> Iterator[tuple[Any, Any]]:
    """``p["head.W"][k]`` in these expressions, as code for the name and the part; None without a part."""
    nodes = [node for part in parts for node in ast.walk(part) if isinstance(node, ast.Subscript)]
    part_of = {id(node.value): node.slice for node in nodes}
    of_parameters = [node for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "p"]
    for node in sorted(of_parameters, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.ctx, ast.Load):
            name, part = node.slice, part_of.get(id(node))
            yield code(name), None if part is None else code(part)


def code(expression: ast.expr) -> Any:
    return compile(ast.Expression(expression), "reference", "eval")


class Recorder:
    """Records the arrays of the textbook while it runs: ``Recorder(params).run(reference.…, …)``."""

    def __init__(self, params: Mapping[str, np.ndarray]) -> None:
        self.observations: list[Observation] = []
        self.params = dict(params)
        self.read: set[tuple[str, Any]] = set()  # parameters that were recorded
        self.known: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # id → the array, and a copy of its values
        self.statements = statements()
        self.memory: set[int] = set()  # ids of the arrays that own the memory of known ones
        for value in self.params.values():
            self.remember(value)

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the function, record its arrays and return its result. Another tracing function is restored afterwards.

        Both happen in one frame, so that coverage, which counts calls and returns, misses none of either.
        """
        before = sys.gettrace()
        sys.settrace(self.enter)
        try:
            return function(*arguments, **options)
        finally:
            sys.settrace(before)

    def enter(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        """The tracing function for calls: each call of a textbook function gets a ``CallRecorder``."""
        if frame.f_globals is not vars(reference) or frame.f_code.co_name.startswith("<"):
            return None
        return CallRecorder(self, frame).trace

    def remember(self, value: np.ndarray) -> bool:
        """Whether this array was known with the same values; it is known afterwards."""
        known = self.known.get(id(value))
        if known is not None and same(known[1], value):
            return True
        self.known[id(value)] = value, value.copy()  # keeps the array, so that no other gets its id
        self.memory.add(id(value if value.base is None else value.base))
        return False

    def is_part(self, value: Any) -> bool:
        """Whether this is a view of a known array, such as one head's ``p["head.W"][k]``."""
        known = id(value) in self.known
        return not known and getattr(value, "base", None) is not None and id(value.base) in self.memory

    def is_known_number(self, name: str, value: Any) -> bool:
        """Whether this is a number that was recorded under this name for all groups, such as s and c."""
        return np.ndim(value) == 0 and any(
            old.name == name and old.group is None and same(old.value, value) for old in self.observations
        )

    def record(self, frame: FrameType, name: str, value: np.ndarray, statement: Statement) -> None:
        layer, group, backward = place(frame, self.statements)
        function = frame.f_code.co_name
        self.observations.append(
            Observation(function, name, np.array(value), statement.text, statement.line, layer, group, backward)
        )


class CallRecorder:
    """One call of a textbook function, line by line."""

    def __init__(self, recorder: Recorder, frame: FrameType) -> None:
        self.recorder = recorder
        self.statement = recorder.statements[frame.f_lineno]  # the def, then the current statement
        self.seen: dict[str, Any] = {}
        self.record_arguments(frame)
        self.seen = arrays(frame)

    def record_arguments(self, frame: FrameType) -> None:
        """An argument is a step if the call made it, as in ``head(p, k, A[mine], model)``."""
        recorder, caller = self.recorder, frame.f_back
        inside = caller is not None and caller.f_globals is vars(reference)
        statement = recorder.statements[caller.f_lineno] if inside and caller else self.statement
        for name, value in arrays(frame).items():
            is_part = recorder.is_part(value)
            made_before = is_part or (isinstance(value, np.ndarray) and recorder.remember(value))
            here = place(frame, recorder.statements)[:2]
            earlier = [old for old in recorder.observations if (old.name, (old.layer, old.group)) == (name, here)]
            again = any(same(old.value, value) for old in earlier) or recorder.is_known_number(name, value)
            if (frame.f_code.co_name, name) in REPEATED or (inside and not made_before and not again):
                recorder.record(frame, name, value, statement)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        """The tracing function within the call: before each line, and at the end."""
        if event == "line":
            following = self.recorder.statements[frame.f_lineno]
            if following is not self.statement:
                self.compare(frame)
                self.statement = following
                self.record_parameters(frame)
        elif event == "return" and argument is not None:
            self.compare(frame)
            function = frame.f_code.co_name
            value = argument[0] if isinstance(argument, tuple) else argument
            if function in RETURNED and not self.recorder.remember(value):
                self.recorder.record(frame, RETURNED[function], value, self.statement)
        return self.trace

    def compare(self, frame: FrameType) -> None:
        """Record what the statement has made or changed."""
        now, text = arrays(frame), self.statement.text
        for name, value in sorted(now.items(), key=lambda item: text.find(item[0].partition("[")[0])):
            repeated = (frame.f_code.co_name, name) in REPEATED and value is not self.seen.get(name)
            if isinstance(value, np.ndarray):
                old = self.recorder.known.get(id(value), (None, None))[1]
                is_part = self.recorder.is_part(value)
                is_old = self.recorder.remember(value) or is_part
                if (is_old and not repeated) or any(call in text for call in ALLOCATIONS):
                    continue
                for part, content in changed_parts(name, old, value, self.group_of(frame)):
                    self.recorder.record(frame, part, content, self.statement)
            elif (name not in self.seen or self.seen[name] != value) and not self.recorder.is_known_number(name, value):
                self.recorder.record(frame, name, value, self.statement)
        self.seen = now

    def group_of(self, frame: FrameType) -> int | None:
        return place(frame, self.recorder.statements)[1]

    def record_parameters(self, frame: FrameType) -> None:
        """Record the parameters that the next statement reads, each once."""
        names = {"p": None} | dict(frame.f_locals)
        for name_code, part_code in self.statement.reads:
            name = eval(name_code, frame.f_globals, names)
            part: Any = None if part_code is None else eval(part_code, frame.f_globals, names)
            part = None if np.ndim(part) else part  # some rows: the whole parameter
            if (name, part) not in self.recorder.read and self.is_step(name, part_code):
                self.recorder.read.add((name, part))
                value = frame.f_locals["p"][name]
                label = name if part is None else f"{name}[{part}]"
                self.recorder.record(frame, label, value if part is None else value[part], self.statement)

    def is_step(self, name: str, part_code: Any) -> bool:
        """Not ``s = p["logit.scale"][0]``, which gets a name of its own."""
        return name in self.recorder.params and (part_code is None or bool(part_code.co_names))


def arrays(frame: FrameType) -> dict[str, Any]:
    """The arrays and NumPy numbers among a call's locals, those in dictionaries too."""
    found: dict[str, Any] = {}
    for name, value in dict(frame.f_locals).items():
        if isinstance(value, np.ndarray | np.floating):
            found[name] = value
        elif name in WATCHED and isinstance(value, dict):
            found |= {f'{name}["{key}"]': entry for key, entry in value.items()}
    return found


def changed_parts(
    name: str, old: np.ndarray | None, new: np.ndarray, group: int | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The array, or only the part of group k where a head has changed no other part."""
    if old is not None and group is not None and name.startswith("grads[") and len(new) > 1:
        elsewhere = np.delete(new, group, 0), np.delete(old, group, 0)
        if same(*elsewhere):
            yield f"{name}[{group}]", new[group]
            return
    yield name, new


def place(frame: FrameType, statement_of: Mapping[int, Statement]) -> tuple[str | None, int | None, bool]:
    """Where in the network a call is: layer of a tower, group of a head, and whether in the backward pass."""
    layer, group, backward = None, None, False
    at: FrameType | None = frame
    while at is not None and at.f_globals is vars(reference):
        function, names = at.f_code.co_name, at.f_locals
        backward |= function.endswith("_backward")
        if function in ("tower", "tower_backward"):
            layer = f"{names['name']}.{names.get('layer', '1')}"
        if function == "loss_and_gradients" and statement_of[at.f_lineno].in_head_loop:
            group = names.get("k")
        at = at.f_back
    return layer, group, backward


def same(old: Any, new: Any) -> bool:
    return np.shape(old) == np.shape(new) and bool(np.array_equal(old, new, equal_nan=False))
