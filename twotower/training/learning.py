"""Learning from pairs, and "evaluate, then learn": shared by first training, periods of test days and updates."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.config import TrainConfig
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.data.batches import Batcher, PairBatch
from twotower.data.epochs import batch_bounds, prefetch
from twotower.data.sample import Pairs
from twotower.model.adam import Adam
from twotower.model.two_tower import TwoTower
from twotower.training import loop
from twotower.training.callbacks import Callback
from twotower.training.records import EpochRecord, EvaluationRecord, StepRecord
from twotower.training.run import RunWriter
from twotower.training.shards import ShardedBatcher


class Learner(Protocol):
    """A model that scores pairs and learns from others."""

    def predict(self, pairs: Pairs, progress: Progress = silent) -> np.ndarray: ...  # logits (n,) float32

    def update(self, pairs: Pairs, writer: RunWriter, progress: Progress = silent) -> None: ...


def evaluate_then_learn(
    learner: Learner, periods: Iterable[tuple[Pairs, Pairs]], writer: RunWriter, progress: Progress = silent
) -> Iterator[np.ndarray]:
    """Of each period's pairs, held-out ones and new ones: logits of the first, before the second are learned from."""
    for held_out, new in periods:
        yield learner.predict(held_out, progress) if len(held_out) else np.empty(0, np.float32)
        if len(new):
            learner.update(new, writer, progress)


class Trained(NamedTuple):
    """What an epoch trains."""

    model: TwoTower
    optimiser: Adam
    batch_size: int


def events_of(
    trained: Trained, pairs: Pairs, batches: Callable[[int, int], Iterator[PairBatch]], config: TrainConfig,
    state: loop.TrainingState, validate: Callable[[], loop.Scores] | None, told: Callback,
    days: tuple[int, int] | None = None,
) -> Iterator[loop.Settled]:  # fmt: skip
    """Train, telling callbacks of all that happens; the moments between two steps. ``days`` are an update's.

    Errors: InputError when the loss is no longer finite.
    """
    steps, begun = len(batch_bounds(len(pairs), trained.batch_size)) - 1, time.perf_counter()
    seen, learned, lost, started = state.step * trained.batch_size, 0, 0.0, begun
    with threadpool_limits(1, "blas"):
        for event in loop.fit(trained.model, trained.optimiser, batches, steps, validate, config, state):
            if isinstance(event, loop.Step):
                losses, n = event.losses, sum(event.losses.pairs_by_group)
                if not math.isfinite(losses.total):
                    raise diverged(f"the loss is {losses.total}", state.steps, config)
                seen, learned, lost = seen + n, learned + n, lost + n * losses.total
                told.on_step(
                    StepRecord(
                        epoch=None if days else event.epoch + 1, step=event.step, steps=state.steps,
                        loss=losses.total, loss_by_group=losses.by_group, pairs_by_group=losses.pairs_by_group,
                        pairs_per_second=n / (time.perf_counter() - started), seen=seen, pairs=len(pairs), days=days,
                    )
                )  # fmt: skip
            elif isinstance(event, loop.Validation):
                told.on_evaluation(EvaluationRecord("validation", event.steps, *event.scores, event.best))
            else:
                if event.at_end and days is None:
                    seconds = time.perf_counter() - begun
                    told.on_epoch(EpochRecord(event.epoch, state.steps, lost / max(1, learned), seconds))
                    seen, learned, lost, begun = 0, 0, 0.0, time.perf_counter()
                yield event
            started = time.perf_counter()


def learn_once(
    trained: Trained, batcher: Batcher | ShardedBatcher, pairs: Pairs, days: tuple[int, int], config: TrainConfig,
    state: loop.TrainingState, told: Callback,
) -> None:  # fmt: skip
    """One epoch on new pairs, from the present weights and moments; ``days`` are the first and the last.

    Order and batches depend on the seed and the first day alone.
    """
    rng = generator(config.seed, Stream.UPDATE_ORDER, days[0])
    batches = prefetch(batcher.batch_views(pairs, rng, config.batching, pairs.memory, 0))
    once, now = replace(config, epochs=1), loop.TrainingState(steps=state.steps)
    for _ in events_of(trained, pairs, lambda *_: batches, once, now, None, told, days):
        pass
    state.steps = now.steps


def diverged(what: str, steps: int, config: TrainConfig) -> InputError:
    return InputError(f"{what} after step {steps}: train with a --learning-rate below {config.learning_rate}")
