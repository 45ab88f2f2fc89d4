"""The training loop: batch → forward → loss → backward → step → record; it yields results, prints nothing."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower.core.config import TrainConfig
from twotower.model.adam import Adam
from twotower.model.batch import Batch
from twotower.model.loss import Losses
from twotower.model.two_tower import TwoTower


class Scores(NamedTuple):
    """What a validation measured: PR-AUC, NaN where it is undefined."""

    macro: float  # mean over territories, which early stopping looks at
    overall: float


class Step(NamedTuple):
    """One batch was learned from."""

    epoch: int  # from 0
    step: int  # of the epoch, from 1
    losses: Losses


class Validation(NamedTuple):
    """The model was evaluated on the validation users."""

    epoch: int
    steps: int  # so far, over all epochs
    scores: Scores
    best: bool  # no validation before was better: these weights are kept


class Settled(NamedTuple):
    """A step is over, with its validation if it has one, or an epoch: a moment for a checkpoint."""

    epoch: int  # finished ones
    at_end: bool  # of an epoch, or training stopped early in it


@dataclass
class TrainingState:
    """Where training stands between two steps."""

    epoch: int = 0  # finished
    step: int = 0  # taken of the epoch after these
    steps: int = 0  # taken in all
    best_score: float = -1.0  # macro PR-AUC of the best validation
    misses: int = 0  # validations since then
    best: tuple[np.ndarray, np.ndarray] | None = None  # parameters and running statistics of that moment


def fit(
    model: TwoTower,
    optimiser: Adam,
    batches: Callable[[int, int], Iterable[Batch]],
    steps_per_epoch: int,
    validate: Callable[[], Scores] | None,
    config: TrainConfig,
    state: TrainingState,
) -> Iterator[Step | Validation | Settled]:
    """Train until the epochs are over or validation has not improved ``config.patience`` times in a row.

    ``batches(epoch, n)`` yields an epoch's batches but for the first n, and ``validate`` scores the held-out users;
    without it the last weights count. Afterwards ``model`` holds the best weights. A ``state`` from a checkpoint is
    where training goes on.
    """
    validations_per_epoch = min(config.validations_per_epoch, steps_per_epoch)
    checks = {round(steps_per_epoch * (i + 1) / validations_per_epoch) for i in range(validations_per_epoch)}
    while state.epoch < config.epochs and state.misses < config.patience:
        for step, batch in enumerate(batches(state.epoch, state.step), state.step + 1):
            losses = train_step(model, optimiser, batch, state.steps)
            state.step, state.steps = step, state.steps + 1
            yield Step(state.epoch, step, losses)
            if validate is not None and step in checks:
                scores = validate()
                improved = keep_best(model, state, scores.macro)
                yield Validation(state.epoch, state.steps, scores, improved)
                if state.misses >= config.patience:
                    break
            yield Settled(state.epoch, False)
        state.epoch, state.step = state.epoch + 1, 0
        yield Settled(state.epoch, True)
    if state.best is not None:
        model.params.flat[:], model.running.flat[:] = state.best


def train_step(model: TwoTower, optimiser: Adam, batch: Batch, step: int) -> Losses:
    """One step along the gradient of a batch, the one after ``step`` others."""
    losses = model.objective.gradients(model, batch, step)
    optimiser.update(model.grads, losses.present, model.threads)
    model.objective.update(losses, model.threads)
    return losses


def keep_best(model: TwoTower, state: TrainingState, score: float) -> bool:
    """Copy the weights when ``score`` is the best so far, and count the misses otherwise."""
    if not score > state.best_score:
        state.misses += 1
        return False
    state.best_score, state.misses = score, 0
    state.best = model.params.flat.copy(), model.running.flat.copy()
    return True


def make_optimiser(model: TwoTower, config: TrainConfig) -> Adam:
    """Adam over all parameters of ``model``, with the decay of its matrices."""
    spans = model.shared_span(), model.group_spans() + model.territory_spans()
    adam = Adam(model.params, *spans, config.learning_rate, config.beta1, config.beta2, config.eps)
    adam.decay(model.decayed_spans("tower"), config.tower_decay)
    adam.decay(model.decayed_spans("head"), config.head_decay)
    adam.decay(model.decayed_spans("bias"), config.bias_decay)
    return adam
