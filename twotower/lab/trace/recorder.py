"""The textbook watched at work: every array that a line of ``model/reference.py`` made, in order.

A trace that computed the network a second time could drift away from it. This one runs the textbook itself, with a
tracing function that Python calls before every line of it, and asks the frame which local arrays are new or changed.
The textbook knows nothing of this, and its numbers are those of any other run.
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
ROOM = ("np.zeros", "np.ones")  # a line with one of them makes room, or counts every pair once: no step
RETURNED = {"sigmoid": "p", "adam": "P"}  # what these functions return under no name of their own
RETOLD = {("adam", "P"), ("adam", "G"), ("loss_and_gradients", "V")}  # told again, under the name that they have here


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
    in_turns: bool  # inside the loop over the heads
    reads: tuple[tuple[Any, Any], ...]  # code of the names of the parameters that it reads, and of their part


@functools.cache
def statements() -> dict[int, Statement]:
    """The statement of each line of the textbook."""
    text = inspect.getsource(reference)
    found: dict[int, Statement] = {}

    def visit(node: ast.stmt, in_turns: bool) -> None:
        bodies = [body for name in ("body", "orelse") for body in getattr(node, name, [])]
        last = bodies[0].lineno - 1 if bodies else node.end_lineno or node.lineno
        lines = [line.partition("# ")[0].strip() for line in text.splitlines()[node.lineno - 1 : last]]
        parts = [part for part in ast.iter_child_nodes(node) if part not in bodies]
        statement = Statement(" ".join(filter(None, lines)), node.lineno, in_turns, tuple(reads(parts)))
        found.update(dict.fromkeys(range(node.lineno, last + 1), statement))
        inside = in_turns or (isinstance(node, ast.For) and ast.unparse(node.iter) == "range(model.groups)")
        for body in bodies:
            visit(body, inside)

    for node in ast.parse(text).body:
        visit(node, False)
    return found


def reads(parts: list[ast.AST]) -> Iterator[tuple[Any, Any]]:
    """``p["head.W"][k]`` in these expressions, as code for its name and for its part; None where it has none."""
    nodes = [node for part in parts for node in ast.walk(part)]
    of_parameters = [
        node
        for node in nodes
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "p"
    ]
    part_of = {id(node.value): node.slice for node in nodes if isinstance(node, ast.Subscript)}
    for node in sorted(of_parameters, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.ctx, ast.Load):
            yield tuple(  # type: ignore[misc]
                None if code is None else compile(ast.Expression(code), "reference", "eval")
                for code in (node.slice, part_of.get(id(node)))
            )


class Recorder:
    """Tells the arrays of the textbook while it runs: ``Recorder(params).watch(reference.…, …)``."""

    def __init__(self, params: Mapping[str, np.ndarray]) -> None:
        self.told: list[Observation] = []
        self.params = dict(params)
        self.read: set[tuple[str, Any]] = set()  # parameters that were told
        self.known: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # id → the array, and what was in it
        self.statements = statements()
        self.memory: set[int] = set()  # ids of the arrays that own the memory of those
        for value in self.params.values():
            self.know(value)

    def watch(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What the function returns, its call watched. A debugger, or whoever else was watching, gets its turn back.

        Set and taken back in one frame: who counts calls and returns, as coverage does, misses none of either.
        """
        before = sys.gettrace()
        sys.settrace(self.enter)
        try:
            return function(*arguments, **options)
        finally:
            sys.settrace(before)

    def enter(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        """What Python calls for every call of a function: one of the textbook gets a watch of its own."""
        if frame.f_globals is not vars(reference) or frame.f_code.co_name.startswith("<"):
            return None
        return Watch(self, frame).follow

    def know(self, value: np.ndarray) -> bool:
        """Whether this array was seen before, with the same contents; from now on it was."""
        found = self.known.get(id(value))
        if found is not None and same(found[1], value):
            return True
        self.known[id(value)] = value, value.copy()  # with the array itself, so that nothing else gets its id
        self.memory.add(id(value if value.base is None else value.base))
        return False

    def is_part(self, value: Any) -> bool:
        """Whether this is a view of an array that was seen before, as one head's ``p["head.W"][k]``."""
        known = id(value) in self.known
        return not known and getattr(value, "base", None) is not None and id(value.base) in self.memory

    def is_number_told(self, name: str, value: Any) -> bool:
        """Whether this is a number that was told under this name for all groups, as s and c are."""
        return np.ndim(value) == 0 and any(
            old.name == name and old.group is None and same(old.value, value) for old in self.told
        )

    def tell(self, frame: FrameType, name: str, value: np.ndarray, statement: Statement) -> None:
        layer, group, backward = place(frame, self.statements)
        function = frame.f_code.co_name
        self.told.append(
            Observation(function, name, np.array(value), statement.text, statement.line, layer, group, backward)
        )


class Watch:
    """One call of a function of the textbook, line by line."""

    def __init__(self, recorder: Recorder, frame: FrameType) -> None:
        self.recorder = recorder
        self.statement = recorder.statements[frame.f_lineno]  # the def, and then the statement at work
        self.seen: dict[str, Any] = {}
        self.take_arguments(frame)
        self.seen = arrays(frame)

    def take_arguments(self, frame: FrameType) -> None:
        """An argument is a step when the call made it, as in ``head(p, k, A[mine], model)``."""
        recorder, caller = self.recorder, frame.f_back
        inside = caller is not None and caller.f_globals is vars(reference)
        statement = recorder.statements[caller.f_lineno] if inside and caller else self.statement
        for name, value in arrays(frame).items():
            is_part = recorder.is_part(value)
            made_before = is_part or (isinstance(value, np.ndarray) and recorder.know(value))
            here = place(frame, recorder.statements)[:2]
            told = [old for old in recorder.told if (old.name, (old.layer, old.group)) == (name, here)]
            again = any(same(old.value, value) for old in told) or recorder.is_number_told(name, value)
            if (frame.f_code.co_name, name) in RETOLD or (inside and not made_before and not again):
                recorder.tell(frame, name, value, statement)

    def follow(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        """What Python calls before each line, and at the end."""
        if event == "line":
            following = self.recorder.statements[frame.f_lineno]
            if following is not self.statement:
                self.compare(frame)
                self.statement = following
                self.tell_parameters(frame)
        elif event == "return" and argument is not None:
            self.compare(frame)
            function = frame.f_code.co_name
            value = argument[0] if isinstance(argument, tuple) else argument
            if function in RETURNED and not self.recorder.know(value):
                self.recorder.tell(frame, RETURNED[function], value, self.statement)
        return self.follow

    def compare(self, frame: FrameType) -> None:
        """Tell what the statement has made or changed."""
        now, text = arrays(frame), self.statement.text
        for name, value in sorted(now.items(), key=lambda item: text.find(item[0].partition("[")[0])):
            told_again = (frame.f_code.co_name, name) in RETOLD and value is not self.seen.get(name)
            if isinstance(value, np.ndarray):
                old = self.recorder.known.get(id(value), (None, None))[1]
                is_part = self.recorder.is_part(value)
                if ((self.recorder.know(value) or is_part) and not told_again) or any(call in text for call in ROOM):
                    continue
                for part, content in changed_parts(name, old, value, self.group_of(frame)):
                    self.recorder.tell(frame, part, content, self.statement)
            elif (name not in self.seen or self.seen[name] != value) and not self.recorder.is_number_told(name, value):
                self.recorder.tell(frame, name, value, self.statement)
        self.seen = now

    def group_of(self, frame: FrameType) -> int | None:
        return place(frame, self.recorder.statements)[1]

    def tell_parameters(self, frame: FrameType) -> None:
        """The parameters that the next statement reads, each once, before it does."""
        names = {"p": None} | dict(frame.f_locals)
        for name_code, part_code in self.statement.reads:
            name = eval(name_code, frame.f_globals, names)
            part: Any = None if part_code is None else eval(part_code, frame.f_globals, names)
            if (name, part) not in self.recorder.read and np.ndim(part) == 0 and self.is_told(name, part_code):
                self.recorder.read.add((name, part))
                value = frame.f_locals["p"][name]
                label = name if part is None else f"{name}[{part}]"
                self.recorder.tell(frame, label, value if part is None else value[part], self.statement)

    def is_told(self, name: str, part_code: Any) -> bool:
        """Not ``s = p["logit.scale"][0]``, which gives it a name of its own."""
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
    """The array, or its part of group k where a head has changed no other of a stack of all heads'."""
    if old is not None and group is not None and name.startswith("grads[") and len(new) > 1:
        elsewhere = np.delete(new, group, 0), np.delete(old, group, 0)
        if same(*elsewhere):
            yield f"{name}[{group}]", new[group]
            return
    yield name, new


def place(frame: FrameType, statement_of: Mapping[int, Statement]) -> tuple[str | None, int | None, bool]:
    """Where in the network a call is: layer of a tower, group of a head, and whether on the way back."""
    layer, group, backward = None, None, False
    at: FrameType | None = frame
    while at is not None and at.f_globals is vars(reference):
        function, names = at.f_code.co_name, at.f_locals
        backward |= function.endswith("_backward")
        if function in ("tower", "tower_backward"):
            layer = f"{names['name']}.{names.get('layer', '1')}"
        if function == "loss_and_gradients" and statement_of[at.f_lineno].in_turns:
            group = names.get("k")
        at = at.f_back
    return layer, group, backward


def same(old: Any, new: Any) -> bool:
    return np.shape(old) == np.shape(new) and bool(np.array_equal(old, new, equal_nan=False))
