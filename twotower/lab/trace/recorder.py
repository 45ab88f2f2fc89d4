"""Record every array that a statement of ``model/reference.py`` makes or changes, in order.

A second implementation of the network could differ from the first. So the textbook's own source is compiled once more,
with a call before each function, before each parameter that is read and after each assignment; its numbers are those of
any other run. The formula of a step is the comment of its line.
"""

import ast
import functools
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from twotower.model import reference
from twotower.model.parameters import Parameter

ALLOCATIONS = ("np.zeros", "np.ones")  # an array made by one of these is no step
RENAMED = ("V",)  # known arrays that are a step under this name, too


@dataclass(frozen=True, eq=False)
class Observation:
    """An array as a line of the textbook left it."""

    function: str
    name: str  # the local's, grads["head.W"][1] for a part of a dictionary's entry, user.W1 for a parameter
    value: np.ndarray  # a copy
    source: str  # the statement
    line: int  # of reference.py
    maths: str
    layer: str | None  # user.1, where a tower is at work
    group: int | None  # k, where a head is at work
    backward: bool  # inside a function of the backward pass
    parameter: str | None = None  # the one that is read


class Statement(NamedTuple):
    """A statement of the textbook without its body, and its comment."""

    node: ast.stmt
    text: str
    comment: str


class Source(NamedTuple):
    """The textbook with its observing calls, and what stands in its lines."""

    code: CodeType
    statements: dict[int, Statement]
    head_loop: range  # lines


@functools.cache
def source() -> Source:
    """The textbook, read once."""
    lines = inspect.getsource(reference).splitlines()
    tree = ast.parse("\n".join(lines))
    statements, loop = {}, range(0)
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.stmt)):
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
        parts = [line.partition("  # ") for line in lines[node.lineno - 1 : last]]
        above = lines[node.lineno - 2].strip()
        comment = next((tail for _, _, tail in reversed(parts) if tail), above[2:] if above.startswith("# ") else "")
        text = " ".join(part.strip() for part, *_ in parts if part.strip()[:1] != "#")
        statements[node.lineno] = Statement(node, text, comment)
        if isinstance(node, ast.For) and ast.unparse(node.iter) == "range(model.groups)":
            loop = range(node.lineno, (node.end_lineno or node.lineno) + 1)  # the last one: that of the gradients
    observed = ast.fix_missing_locations(Observing().visit(tree))
    return Source(compile(observed, "reference.py", "exec"), statements, loop)


class Observing(ast.NodeTransformer):
    """Adds ``_enter(…)`` to functions, ``_read(…)`` before what reads a parameter, ``_made(…)`` after assignments."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.body = [each for statement in node.body for each in self.observed(statement)]
        names = [argument.arg for argument in node.args.args]
        node.body.insert(0, call(node.lineno, "_enter", *(f"{n}={n}" for n in names)))
        return node

    def observed(self, node: ast.stmt) -> Iterator[ast.stmt]:
        """A statement and the calls around it; those of its body are inside."""
        for name in ("body", "orelse"):
            if nested := getattr(node, name, None):
                setattr(node, name, [each for statement in nested for each in self.observed(statement)])
        for parameter in [] if hasattr(node, "body") else parameters_read(node):
            yield call(node.lineno, "_read", "p", *name_and_part(parameter))
        yield node
        for index, target in enumerate(targets_of(node)):
            yield call(node.lineno, "_made", *part_of(target), str(index))


def call(line: int, function: str, *arguments: str) -> ast.stmt:
    """A statement of a line that calls ``function`` with arguments given as text."""
    return ast.increment_lineno(ast.parse(f"{function}({', '.join(arguments)})"), line - 1).body[0]


def name_and_part(node: ast.expr) -> tuple[str, str]:
    """``p["head.W"][k]`` or ``p.get("memory.e", …)[k]`` as its name and part; None without a part, or for a slice."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Subscript | ast.Call):
        part = "None" if isinstance(node.slice, ast.Slice) else ast.unparse(node.slice)
        return name_and_part(node.value)[0], part
    name = node.args[0] if isinstance(node, ast.Call) else node.slice  # type: ignore[attr-defined]
    return ast.unparse(name), "None"


def parameters_read(node: ast.stmt) -> list[ast.expr]:
    """``p[…]`` or ``p.get(…)`` in a statement, and their parts, in its order."""

    def of_parameters(each: ast.AST) -> bool:
        if isinstance(each, ast.Call):
            return ast.unparse(each.func) == "p.get"
        return isinstance(each, ast.Subscript) and isinstance(each.ctx, ast.Load) and ast.unparse(each.value) == "p"

    whole: list[Any] = [each for each in ast.walk(node) if of_parameters(each)]
    parts = [each for each in ast.walk(node) if isinstance(each, ast.Subscript) and each.value in whole]
    reads = parts + [each for each in whole if all(each is not part.value for part in parts)]
    return sorted(reads, key=lambda each: (each.lineno, each.col_offset))


def targets_of(node: ast.stmt) -> Iterator[ast.expr]:
    """What a statement makes or changes: targets of an assignment, and the first argument of ``np.add.at``."""
    if isinstance(node, ast.Assign | ast.AugAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from target.elts if isinstance(target, ast.Tuple) else [target]
    if isinstance(node, ast.Expr) and ast.unparse(node).startswith("np.add.at("):
        yield node.value.args[0]  # type: ignore[attr-defined]


def part_of(target: ast.expr) -> tuple[str, str, str]:
    """Name, value and part for ``_made``: ``dV[mine]`` is all of dV, ``grads[name][k]`` part k of an entry."""
    if not isinstance(target, ast.Subscript):
        return repr(ast.unparse(target)), ast.unparse(target), "None"
    entry = target.value if isinstance(target.value, ast.Subscript) else target
    name = ast.unparse(entry.value)
    if name not in ("p", "grads"):
        return repr(name), name, "None"
    key, part = name_and_part(target)
    return f"'{name}[\"' + {key} + '\"]'", f"{name}[{key}]", part


class Recorder:
    """Records the arrays of the textbook while it runs: ``Recorder(…).run("loss_and_gradients", …)``."""

    def __init__(self, params: Mapping[str, np.ndarray], declared: Mapping[str, Parameter]) -> None:
        self.params, self.declared = params, declared
        self.observations: list[Observation] = []
        self.read: set[tuple[str, Any]] = set()  # parameters that were recorded
        self.known: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # id → the array, and a copy of its values
        self.textbook = vars(reference) | {"_enter": self.enter, "_read": self.reads, "_made": self.made}
        exec(source().code, self.textbook)

    def run(self, function: str, *arguments: Any, **options: Any) -> Any:
        """The result of a function of the textbook; its arrays are recorded."""
        return self.textbook[function](*arguments, **options)

    def enter(self, **arguments: Any) -> None:
        """An argument is a step if the call made it, as in ``head(p, k, A[mine], model)``."""
        frame = sys._getframe(1)
        caller = frame.f_back if frame.f_back and frame.f_back.f_globals is self.textbook else None
        statement = source().statements[caller.f_lineno if caller else frame.f_lineno]
        for name, value in arguments.items():
            if isinstance(value, np.ndarray) and not self.is_parameter(value) and not self.is_known(value):
                place = place_of(frame)
                if not any(old.name == name and (old.layer, old.group) == place[:2] and same(old.value, value)
                           for old in self.observations):  # fmt: skip
                    maths = argument_text(statement.node, frame.f_code.co_name, list(arguments).index(name))
                    self.record(frame, name, value, statement, f"{name} = {maths}" if maths else "")

    def reads(self, p: Mapping[str, np.ndarray], name: str, part: Any) -> None:
        """A statement is about to read a parameter. Those that groups share are recorded for all of them."""
        part = part if isinstance(part, int) and self.declared_as(name) == "group" else None
        if name not in self.declared or name.startswith("logit.") or (name, part) in self.read:
            return
        self.read.add((name, part))
        owner = {"group": f"of head {part} alone" if part is not None else "of each head",
                 "territory": "a row per territory"}.get(self.declared_as(name), "that all pairs update")  # fmt: skip
        label, frame = name if part is None else f"{name}[{part}]", sys._getframe(1)
        statement = source().statements[frame.f_lineno]
        value = p[name] if part is None else p[name][part]
        self.record(frame, label, value, statement, f"parameters {owner}", name, shared=part is None)

    def made(self, name: str, value: Any, part: Any, index: int) -> None:
        """A statement has made or changed its ``index``-th target, an array or part ``part`` of one."""
        frame = sys._getframe(1)
        statement = source().statements[frame.f_lineno]
        if not isinstance(value, np.ndarray | np.floating) or self.is_parameter(value):
            return
        if isinstance(value, np.ndarray) and self.is_known(value) and name not in RENAMED:
            return
        if not source_of(statement.node, index).startswith(ALLOCATIONS):
            label, entry = (name, value) if part is None else (f"{name}[{part}]", np.asarray(value)[part])
            self.record(frame, label, entry, statement, formula(statement, index))

    def declared_as(self, name: str) -> str:
        return self.declared[name].owner if name in self.declared else ""

    def is_parameter(self, value: Any) -> bool:
        """Whether this is a parameter or a part of one."""
        return any(value is own or getattr(value, "base", None) is own for own in self.params.values())

    def is_known(self, value: np.ndarray) -> bool:
        """Whether this array was known with the same values; it is known afterwards."""
        known = self.known.get(id(value))
        if known is not None and same(known[1], value):
            return True
        self.known[id(value)] = value, value.copy()  # keeps the array, so that no other gets its id
        return False

    def record(
        self, frame: FrameType, name: str, value: Any, statement: Statement, maths: str,
        parameter: str | None = None, shared: bool = False,
    ) -> None:  # fmt: skip
        layer, group, backward = place_of(frame)
        function = frame.f_code.co_name
        if any((old.function, old.name, old.group) == (function, name, group) and old.layer == layer
               and old.parameter is None and same(old.value, value) for old in self.observations):  # fmt: skip
            return  # computed once more
        self.observations.append(
            Observation(function, name, np.array(value), statement.text, statement.node.lineno, maths,
                        layer, None if shared else group, backward, parameter)
        )  # fmt: skip


def place_of(frame: FrameType) -> tuple[str | None, int | None, bool]:
    """Where in the network a call is: layer of a tower, group of a head, and whether in the backward pass."""
    layer, group, backward = None, None, False
    at: FrameType | None = frame
    while at is not None and at.f_globals is frame.f_globals:
        function, names = at.f_code.co_name, at.f_locals
        backward |= function.endswith("_backward")
        if function in ("tower", "tower_backward"):
            layer = f"{names['name']}.{names.get('layer', '1')}"
        if function == "loss_and_gradients" and at.f_lineno in source().head_loop:
            group = names["k"]
        at = at.f_back
    return layer, group, backward


@functools.cache
def formula(statement: Statement, index: int) -> str:
    """The comment of a statement without shapes; of several targets with a part each, that of the ``index``-th."""
    comment = re.sub(r"^\([\w·, ]+\) ", "", statement.comment)
    parts = comment.split("; ")
    return parts[index] if len(parts) == len(list(targets_of(statement.node))) else comment


@functools.cache
def source_of(node: ast.stmt, index: int) -> str:
    """What is assigned to the ``index``-th target of a statement."""
    value = getattr(node, "value", None)
    return ast.unparse(value.elts[index] if isinstance(value, ast.Tuple) else value) if value is not None else ""


@functools.cache
def argument_text(node: ast.stmt, function: str, index: int) -> str:
    """What a statement passes to a function as its ``index``-th argument."""
    calls = [each for each in ast.walk(node) if isinstance(each, ast.Call) and ast.unparse(each.func) == function]
    return ast.unparse(calls[0].args[index]) if calls and len(calls[0].args) > index else ""


def same(old: Any, new: Any) -> bool:
    return np.shape(old) == np.shape(new) and bool(np.array_equal(old, new, equal_nan=False))
