"""The answers that a contender must give before it is timed, from PyTorch in float64 on the expanded batch.

Float32 and float64 differ most where a ReLU's input is within rounding of 0: in a whole batch a few of some
twelve million activations fall on the other side, and a gradient moves by a thousandth. So there are two
batches: a small one, drawn until no activation is that near, where rounding alone is left; and a whole one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.peers import Arrays, Contender, Oracle
from benchmarks.workload import IndexBatch, Workload, draw_batch
from twotower.core.config import ModelConfig
from twotower.model.two_tower import TwoTower

SMALL_BATCH = 64  # pairs, two a user
FLIP_MARGIN = 2e-6  # an activation this near to 0 may flip in float32
ADAM_STEPS = 3
TOLERANCE = {
    "small": 2e-5,  # of a gradient, without flips
    "full": 1e-2,  # of a gradient, with them
    "steps": 1e-1,  # of the way that the parameters go: Adam's first steps are but the signs of the gradients
}


@dataclass(frozen=True)
class Answer:
    """Loss and gradients of one batch."""

    batch: IndexBatch
    loss: float
    gradients: Arrays


@dataclass(frozen=True)
class Answers:
    """What every contender must find, starting from ``start``."""

    start: Arrays
    small: Answer
    full: Answer
    way: Arrays  # parameters after ADAM_STEPS on the workload's batches, less ``start``


def start_values(model: ModelConfig, workload: Workload) -> Arrays:
    """Parameters as twotower draws them, zeros and ones perturbed so that no wrong term hides behind them."""
    rng = np.random.default_rng(0)
    widths = workload.user_table.shape[1], workload.title_table.shape[1]
    values = {name: value.copy() for name, value in TwoTower(model, *widths, rng).params.items()}
    for name, value in values.items():
        if "gamma" in name or "beta" in name:
            value += rng.uniform(-0.2, 0.2, value.shape)
        elif name.startswith(("head", "title_bias")) and not value.any():
            value[...] = rng.uniform(-1, 1, value.shape) / math.sqrt(value.shape[-1])
    return values


def find_answers(model: ModelConfig, workload: Workload, start: Arrays) -> Answers:
    """The oracle's answers on a small batch without flips, on a whole batch, and after a few steps."""
    oracle = Oracle(workload, model, start)
    small = without_flips(oracle, len(workload.user_table), np.random.default_rng(1))
    small_answer = Answer(small, *oracle.loss_and_gradients(small))
    full_answer = Answer(workload.batches[0], *oracle.loss_and_gradients(workload.batches[0]))
    return Answers(start, small_answer, full_answer, way_of(oracle, workload, start))


def without_flips(oracle: Oracle, users: int, rng: np.random.Generator, draws: int = 200) -> IndexBatch:
    """A small batch on which no activation is within FLIP_MARGIN of 0."""
    for _ in range(draws):
        batch = draw_batch(SMALL_BATCH, 2, users, rng)
        oracle.margin = math.inf
        oracle.loss_and_gradients(batch)
        if oracle.margin > FLIP_MARGIN:
            return batch
    raise RuntimeError(f"{draws} small batches, and each has an activation within {FLIP_MARGIN} of 0")


def way_of(contender: Contender, workload: Workload, start: Arrays) -> Arrays:
    """How far each parameter goes in ADAM_STEPS."""
    for i in range(ADAM_STEPS):
        contender.step(workload.batches[i % len(workload.batches)])
    return {name: value - start[name] for name, value in contender.parameters().items()}


def relative_error(found: Arrays, true: Arrays) -> float:
    """‖found − true‖ / ‖true‖ of the parameter where it is greatest."""
    return float(max(np.linalg.norm(found[n] - v) / np.linalg.norm(v) for n, v in true.items() if v.any()))


def errors_of(build: Callable[[], Contender], workload: Workload, answers: Answers) -> dict[str, float]:
    """Relative errors of a contender's gradients on both batches and of its way; ``build`` makes one."""
    contender, errors = build(), {}
    for name, answer in (("small", answers.small), ("full", answers.full)):
        loss, gradients = contender.loss_and_gradients(answer.batch)
        errors[name] = max(relative_error(gradients, answer.gradients), abs(loss / answer.loss - 1))
    errors["steps"] = relative_error(way_of(build(), workload, answers.start), answers.way)
    return errors


def complaint(errors: dict[str, float]) -> str:
    """What is above its tolerance, or nothing."""
    return ", ".join(f"{name} {error:.1e}" for name, error in errors.items() if not error <= TOLERANCE[name])
