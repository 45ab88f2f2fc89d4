"""Known bugs of one line each that can be planted in the running program, to show what a check catches.

A bug is a line of a function and the wrong line that replaces it. Planting compiles the function's changed source and
puts the result in the function's place until the context ends; no file changes. The test suite plants bugs from the
same table and expects its own tests to fail.
"""

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from twotower.core.config import ModelConfig
from twotower.core.errors import InputError
from twotower.core.jit import njit
from twotower.lab.gradcheck.record import BugFacts

FIRST_LAYERS = {f"{tower}.{array}1" for tower in ("user", "title") for array in ("W", "gamma", "beta")}
BELOW_BATCHNORM = FIRST_LAYERS | {"user.W2", "title.W2"}  # what batch-norm's backward sends gradients to
LAST_NORMS = {f"{tower}.{array}2" for tower in ("user", "title") for array in ("gamma", "beta")}


class PlantedBug(NamedTuple):
    """One wrong line."""

    name: str  # of --break
    sentence: str  # what is wrong
    module: str
    function: str  # "matmul", or "Tower.forward" of a class
    right: str  # occurs exactly once in the function and in its file
    wrong: str
    maths: tuple[str, str]  # the right formula, and the wrong one
    reach: Callable[[str, ModelConfig], bool]  # whether a parameter's gradient is wrong
    why: str  # why these parameters and no others
    tests: str  # the test file that must fail
    of_steps: bool = False  # a bug of the optimiser: all gradients are right
    grouped: bool = False  # only with several groups

    @property
    def file(self) -> str:
        """Path of the module in the package."""
        return self.module.removeprefix("twotower.").replace(".", "/") + ".py"


def relu_reach(parameter: str, model: ModelConfig) -> bool:
    """The first layers, and all of a tower whose output has a ReLU."""
    tower = parameter.partition(".")[0]
    floor = {"user": model.tower_floor, "title": model.output_floor}.get(tower)
    return parameter in FIRST_LAYERS or (floor == 0 and parameter in BELOW_BATCHNORM | LAST_NORMS)


BUGS = (
    PlantedBug(
        name="batchnorm-mean",
        sentence="batch-norm backward without its mean term",
        module="twotower.model.engine.kernels",
        function="batchnorm_backward",
        right="weight * (dbeta[j] + Z_hat * dgamma[j])",
        wrong="weight * (Z_hat * dgamma[j])",
        maths=("dZ = γ·rstd·(dY − c·ΣdY/B − c·Ẑ·Σ(dY·Ẑ)/B)", "dZ = γ·rstd·(dY − c·Ẑ·Σ(dY·Ẑ)/B)"),
        reach=lambda parameter, model: parameter in BELOW_BATCHNORM,
        why="Batch-norm subtracts the batch's mean, so each row also acts on all other rows through the mean; the "
        "missing term is that part of the gradient. It belongs to dZ, the gradient of batch-norm's input, so "
        "everything computed from a dZ is wrong: W2 from dZ2 and, through dA1 = dZ2·W2ᵀ, the whole first layer. "
        "gamma2 and beta2 are right, since they are sums of dY, above batch-norm. Heads, title biases and the logit "
        "are higher still. The loss is right because the forward pass has not changed.",
        tests="model/test_kernels.py",
    ),
    PlantedBug(
        name="duplicates",
        sentence="batch-norm backward that ignores repeated rows",
        module="twotower.model.engine.kernels",
        function="batchnorm_backward",
        right="weight = counts[i] * share",
        wrong="weight = share",
        maths=("dZ = γ·rstd·(dY − c·ΣdY/B − c·Ẑ·Σ(dY·Ẑ)/B)", "dZ = γ·rstd·(dY − ΣdY/B − Ẑ·Σ(dY·Ẑ)/B)"),
        reach=lambda parameter, model: parameter in BELOW_BATCHNORM,
        why="The towers work on unique rows. A row with c pairs has moved mean and variance c times, so its correction "
        "counts c times. Without c, the forward pass and the loss stay right, and so does dY, which is summed over "
        "the pairs: heads, title biases, the logit, gamma2 and beta2 are right. Every dZ is wrong, and with it W2 "
        "and the first layer. In a batch without repeated rows every c is 1 and the bug would be invisible, so a "
        "check needs a batch as in training.",
        tests="model/test_kernels.py",
    ),
    PlantedBug(
        name="unmasked",
        sentence="a loss without its mask: every head learns from every row",
        module="twotower.model.reference",
        function="loss_and_gradients",
        right="mine = batch.group == k  # column",
        wrong="mine = batch.group >= 0  # column",
        maths=("L = Σ_k Σ_i mask_ik·BCE(z_ik, y_i)/B", "L = Σ_k Σ_i BCE(z_ik, y_i)/B"),
        reach=lambda parameter, model: True,
        why="This bug is in the textbook, and it is a different loss rather than a wrong gradient. Textbook and finite "
        "differences therefore agree: a finite difference tells whether a gradient belongs to its loss, not whether "
        "the loss is the intended one. Two checks do notice. The engine selects the rows of each group, so its mask "
        "is built in; and a head without rows must get exactly 0. Every block is wrong, not only the heads: each "
        "row passes through all K heads and sends K gradients into the logit and down the towers.",
        tests="model/test_reference.py",
        grouped=True,
    ),
    PlantedBug(
        name="adam-bias",
        sentence="Adam without its bias correction",
        module="twotower.model.engine.kernels",
        function="adam",
        right="kind(lr / (1 - beta1**t)), kind(1 / math.sqrt(1 - beta2**t)), kind(eps)",
        wrong="kind(lr), kind(1), kind(eps)",
        maths=("P −= lr·M̂/(√V̂ + ε) with M̂ = M/(1 − β1ᵗ), V̂ = V/(1 − β2ᵗ)", "P −= lr·M/(√V + ε)"),
        reach=lambda parameter, model: False,
        why="Every gradient is right, and finite differences cannot notice a wrong optimiser: only the steps are off. "
        "Both moments start at 0 and are too small at first, M by 1 − β1ᵗ and √V by √(1 − β2ᵗ). With β 0.9 and "
        "0.999 the first step is 0.1/√0.001 = 3.2 times as long as it should be, for every weight of every block. "
        "After some thousand steps both corrections are 1, so the bug disappears in long runs; it returns with "
        "every head that is rarely updated, since each head counts its own steps.",
        tests="model/test_adam.py",
        of_steps=True,
    ),
    PlantedBug(
        name="relu-gate",
        sentence="a ReLU backward that reads the open units from the wrong array",
        module="twotower.model.engine.kernels",
        function="relu_backward",
        right="if A[i, j] > bound else",
        wrong="if Z[i, j] > bound else",
        maths=("dY = dA where A > 0", "dY = dA where Z > 0"),
        reach=relu_reach,
        why="A unit is open where the ReLU's output A is above 0. Z is the input of the preceding batch-norm, before "
        "the mean is subtracted: about as many units are open, but different ones. dY is wrong in every layer that "
        "ends in a ReLU, and with it gamma, beta and W of that layer and of all layers below. Layers without a ReLU "
        "are right: W2, gamma2 and beta2 where the towers' outputs are linear. Heads, title biases and the logit "
        "are above, and the loss is right because the forward pass is.",
        tests="model/test_kernels.py",
    ),
    PlantedBug(
        name="stale-activations",
        sentence="a weight gradient from activations of other rows, left in a buffer",
        module="twotower.model.tower",
        function="TowerBatch.second_backward",
        right="A1 = tower.norm1.forward(scratch.A[:n], Z1, work.stats1, tile.group)",
        wrong="A1 = scratch.A[:n]",
        maths=("dW2 = A1ᵀ·dZ2 with A1 = relu(batchnorm(Z1))", "dW2 = A1ᵀ·dZ2 with A1 from an old buffer"),
        reach=lambda parameter, model: parameter in BELOW_BATCHNORM,
        why="A1 is not stored in the forward pass but recomputed in the backward pass. Without that line the buffer "
        "still holds activations of other rows or another layer: the shapes fit and nothing fails. dW2 is a product "
        "with A1, and A1 also tells which units of the first ReLU are open, so gamma1, beta1 and W1 are wrong too. "
        "Everything computed before A1 is right: gamma2, beta2, heads, title biases, the logit, and the loss.",
        tests="model/test_two_tower.py",
    ),
)
PLANTED = {bug.name: bug for bug in BUGS}


def known_bug(name: str) -> PlantedBug:
    """A bug by name. Errors: InputError for an unknown name."""
    if name not in PLANTED:
        raise InputError(f"--break {name}: expected one of {', '.join(PLANTED)}")
    return PLANTED[name]


def require_possible(bug: PlantedBug | None, model: ModelConfig) -> None:
    """Errors: InputError for a bug that this model cannot have."""
    if bug is not None and bug.grouped and model.groups == 1:
        raise InputError(f"--break {bug.name}: with a single group nothing is masked; expected a model with groups")


def place_of(bug: PlantedBug) -> tuple[Any, str]:
    """The module or class that holds the bug's function, and the name there."""
    *owners, name = bug.function.split(".")
    holder: Any = importlib.import_module(bug.module)
    for owner in owners:
        holder = getattr(holder, owner)
    return holder, name


def source_of(bug: PlantedBug) -> tuple[str, int]:
    """The source of the right function, and its first line in the file."""
    holder, name = place_of(bug)
    function = vars(holder)[name]
    lines, first = inspect.getsourcelines(getattr(function, "py_func", function))
    source = "".join(lines)
    if source.count(bug.right) != 1:
        times = source.count(bug.right)
        raise ValueError(f"{bug.right!r} occurs {times} times in {bug.module}.{bug.function}, expected once")
    return source, first


def changed_line(bug: PlantedBug) -> tuple[int, str, str]:
    """Line number in the file, the line, and the wrong line."""
    source, first = source_of(bug)
    at = source[: source.index(bug.right)].count("\n")
    line = source.splitlines()[at]
    return first + at, line.strip(), line.replace(bug.right, bug.wrong).strip()


def bug_facts(bug: PlantedBug) -> BugFacts:
    """A bug's part of the record."""
    line, right, wrong = changed_line(bug)
    return {
        "name": bug.name,
        "sentence": bug.sentence,
        "file": bug.file,
        "function": bug.function,
        "line": line,
        "right": right,
        "wrong": wrong,
        "maths": list(bug.maths),
        "why": bug.why,
    }


def wrong_function(bug: PlantedBug) -> Callable[..., Any]:
    """The function with the bug, compiled like the right one and with its globals."""
    holder, name = place_of(bug)
    original = vars(holder)[name]
    source, first = source_of(bug)
    tree = ast.parse(textwrap.dedent(source.replace(bug.right, bug.wrong)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    ast.increment_lineno(tree, first - 1)
    namespace: dict[str, Any] = {}
    exec(compile(tree, f"<{bug.name}>", "exec"), vars(sys.modules[bug.module]), namespace)
    function: Callable[..., Any] = namespace[name]
    options = getattr(original, "targetoptions", None)
    if options is None:  # plain Python
        return function
    return njit(**{key: options[key] for key in ("nogil", "fastmath") if key in options})(function)  # never cached


@contextmanager
def planted(bug: PlantedBug | None) -> Iterator[None]:
    """The program with the bug until the context ends; None plants nothing."""
    if bug is None:
        yield
        return
    holder, name = place_of(bug)
    original, wrong = vars(holder)[name], wrong_function(bug)
    setattr(holder, name, wrong)
    try:
        yield
    finally:
        setattr(holder, name, original)
