"""The textbook in float64 on one batch: its loss, its gradients, and finite differences of the loss.

A ReLU has a kink. A central difference across it is no derivative, however right the gradient is; so the textbook's
ReLUs are watched and their open units compared on both sides. Where a unit switches, the step is made smaller; where
one switches at the smallest step too, the difference says so.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from twotower.data.batches import PairBatch
from twotower.model import reference
from twotower.model.loss import MaskedLoss
from twotower.model.two_tower import TwoTower
from twotower.model.variants.objective import Objective
from twotower.model.variants.uncertainty import LOG_VARIANCE

#: Steps of a difference, tried in turn while a ReLU switches: each is ten times nearer to the derivative and has ten
#: times the rounding. Along a direction all elements of a block move at once, so a step goes further.
STEPS_OF_ELEMENT = (1e-5, 1e-6, 1e-7, 1e-8)
STEPS_OF_DIRECTION = (1e-6, 1e-7, 1e-8)
#: Rounding of a loss, in units of float64's 2.2e-16 of it. Measured on 256 pairs at D 512: below 1.
ULPS = 16
#: A ReLU's input nearer to 0 than this may have the other sign in float32, and then another gradient.
#: Measured at D 512: inputs differ by up to 1e-6. Batches are tried until no input is so near.
NEAR_A_KINK = 2e-6
RELU_FUNCTIONS = ("batchnorm_relu", "head_output")  # of the reference; the last argument is the floor

Value = TypeVar("Value", float, np.ndarray)


def central_difference(f: Callable[[float], Value], step: float) -> Value:
    """The derivative of f at 0, with an error of order step² and rounding of order ε·|f|/step: (f(h) − f(−h)) / 2h."""
    ahead, behind = f(step), f(-step)
    return (ahead - behind) / (2 * step)


class Difference(NamedTuple):
    """A central difference of the loss."""

    value: float
    step: float
    noise: float  # possible rounding of the value
    kinks: int  # ReLUs that switch between its two points
    extrapolated: bool = False


class Relus(threading.local):
    """Inputs of the ReLUs in one evaluation, per thread."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.open: list[np.ndarray] = []
        self.nearest = np.inf

    def observe(self, Y: np.ndarray, floor: float) -> None:
        self.open.append(floor < Y)
        if Y.size:
            self.nearest = min(self.nearest, float(np.abs(Y - floor).min()))


@contextmanager
def watched_relus() -> Iterator[Relus]:
    """Watch the ReLUs of the textbook, in any thread."""
    originals = {name: getattr(reference, name) for name in (*RELU_FUNCTIONS, "memory_score")}
    relus, memory_score = Relus(), reference.memory_score

    def watch(operation: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def watching(*arguments: Any) -> np.ndarray:
            *rest, floor = arguments
            if not np.isfinite(floor):
                return operation(*arguments)
            Y = operation(*rest, -np.inf)
            relus.observe(Y, floor)
            return np.maximum(Y, floor)

        return watching

    def watching_memory(z: Any, m: Any, w: Any, A: np.ndarray, v: Any) -> np.ndarray:
        relus.observe(m @ A[:-1] + A[-1], 0.0)
        return memory_score(z, m, w, A, v)

    try:
        watched = {name: watch(originals[name]) for name in RELU_FUNCTIONS}
        vars(reference).update(watched | {"memory_score": watching_memory})
        yield relus
    finally:
        vars(reference).update(originals)


@contextmanager
def loss_only() -> Iterator[None]:
    """The textbook without its backward pass, which a loss does not need: gradients are 0, in a third of the time."""
    nothing: dict[str, Any] = {"tower_backward": lambda *_: {}, "head_backward": lambda *_: ({}, 0.0)}
    originals = {name: getattr(reference, name) for name in nothing}
    try:
        vars(reference).update(nothing)
        yield
    finally:
        vars(reference).update(originals)


class Textbook:
    """``model.reference`` in float64 at a network's parameters, on one batch expanded to a row a pair."""

    def __init__(self, network: TwoTower, batch: PairBatch):
        self.model, self.batch = network.config, reference.expand(batch)
        self.params = {name: value.astype(np.float64) for name, value in network.params.items()}
        self.terms = terms_of(network.objective, batch)
        learned = network.objective.uncertainty if isinstance(network.objective, Objective) else None
        if learned is not None:
            self.params[LOG_VARIANCE] = learned.log_variance.astype(np.float64)

    def loss_and_gradients(self, moved: Mapping[str, np.ndarray] | None = None) -> tuple[float, dict[str, np.ndarray]]:
        """Loss, and a gradient for every parameter; ``moved`` are parameters with other values."""
        params = {**self.params, **(moved or {})}
        terms, log_variance = self.terms, params.pop(LOG_VARIANCE, None)
        if terms is not None and log_variance is not None:
            terms = terms._replace(log_variances=log_variance)
        return reference.loss_and_gradients(params, self.batch, self.model, terms)

    def difference(self, direction: "Direction", relus: Relus) -> Difference:
        """Central difference of the loss, with a step at which no ReLU switches if there is one.

        A difference that is not as expected is extrapolated from the step and half of it (Richardson), which leaves an
        error of order step⁴ instead of step²: batch-norm over a few rows makes the loss bend sharply. A right gradient
        then agrees, and a wrong one stays wrong.
        """
        steps = STEPS_OF_ELEMENT if isinstance(direction.along, tuple) else STEPS_OF_DIRECTION
        for step in steps:
            result = self.at_step(direction, step, relus)
            if not result.kinks:
                break
        if result.kinks or abs(result.value - direction.expected) <= direction.allowed + result.noise:
            return result
        half = self.at_step(direction, step / 2, relus)
        value, noise = (4 * half.value - result.value) / 3, (4 * half.noise + result.noise) / 3
        return Difference(value, step, noise, half.kinks, extrapolated=True)

    def at_step(self, direction: "Direction", step: float, relus: Relus) -> Difference:
        """Central difference with one step."""
        losses, sides = [], []

        def loss(t: float) -> float:
            moved = self.params[direction.name].copy()
            if isinstance(direction.along, tuple):
                moved[direction.along] += t
            else:
                moved += t * direction.along
            relus.clear()
            losses.append(self.loss_and_gradients({direction.name: moved})[0])
            sides.append(relus.open)
            return losses[-1]

        value = central_difference(loss, step)
        kinks = sum(int((ahead ^ behind).sum()) for ahead, behind in zip(*sides, strict=True))
        noise = ULPS * np.finfo(np.float64).eps * max(map(abs, losses)) / (2 * step)
        return Difference(value, step, noise, kinks)


class Direction(NamedTuple):
    """Direction of a difference, and the expected derivative."""

    name: str  # of the parameter
    along: np.ndarray | tuple[int, ...]  # of the parameter's shape, or an index into it
    expected: float = 0.0
    allowed: float = np.inf  # error beside rounding that needs no extrapolation


def terms_of(objective: MaskedLoss, batch: PairBatch) -> reference.Terms | None:
    """An objective's terms for a batch, in the textbook's form."""
    if not isinstance(objective, Objective):
        return None
    title, label = batch.title_rows[batch.pair_title], batch.labels.astype(np.intp)
    weights: Any = np.ones(len(label))
    if objective.title_weight is not None:
        weights = weights * objective.title_weight[label, title]
    if objective.group_weight is not None:
        weights = weights * np.repeat(objective.group_weight, np.diff(batch.pair_start[batch.segments]))
    offsets: Any = 0.0 if objective.title_offset is None else objective.title_offset[title].astype(np.float64)
    popularity: Any = 0.0 if objective.popularity is None else objective.popularity[title].astype(np.float64)
    return reference.Terms(weights, offsets, 0.0, popularity, objective.penalty)
