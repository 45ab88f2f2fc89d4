"""Walk-forward training: test days are evaluated period by period, and the model learns from each before the next.

The paper (section 4.2) trains all models on the train data of day i−1 before it evaluates them on the test data of
day i. Here the test days are cut into periods. The first is evaluated with the model as it was trained; before each
later one the model is trained one more epoch on the pairs of the *training* users on the days of the period before.
Test users are never learned from, and no day is learned from before it has been evaluated.
"""

from collections.abc import Sequence

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample, concatenate
from twotower.metrics.results import Evaluation
from twotower.training.checkpoint import save_weights
from twotower.training.learning import evaluate_then_learn
from twotower.training.run import RunWriter
from twotower.training.trainer import Trainer


def periods(test_days: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """The days in order, cut into ``n`` blocks of one length or, in front, of one day more; fewer where days are fewer.

    Errors: ValueError for ``n`` below 1.
    """
    if n < 1:
        raise ValueError(f"{n} periods: expected at least 1")
    days = sorted(int(day) for day in test_days)
    blocks = np.array_split(np.array(days, int), min(n, len(days)) or 1)
    return [tuple(block.tolist()) for block in blocks if len(block)]


def period_of(day: np.ndarray, blocks: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The period (n,) int64, from 0, of each ``day`` (n,). Errors: ValueError for a day outside all periods."""
    period = np.full(len(day), -1, np.int64)
    for number, block in enumerate(blocks):
        period[np.isin(day, block)] = number
    if (period < 0).any():
        raise ValueError(f"day {day[np.argmin(period)]} is in no period")
    return period


def check_days(dataset: Dataset, sampled: Sample, n_periods: int) -> None:
    """Errors: InputError for more periods than test days, and when there is nothing to learn between two periods."""
    if n_periods and dataset.test_days < 2:
        days = ("no test days", "one test day")[dataset.test_days]
        raise InputError(f"{dataset.path}: {days}, so nothing to learn between two of them; leave out --incremental")
    if n_periods > dataset.test_days:
        days = f"{dataset.path} has {dataset.test_days} test days"
        raise InputError(f"--periods {n_periods}: {days}; expected at most as many periods")
    if n_periods:
        check_sample(sampled, n_periods)


def check_sample(sampled: Sample, n_periods: int) -> None:
    """Errors: InputError when the sample lacks the pairs that incremental training learns from.

    A single period, as where there are no test days, needs none.
    """
    if len(periods(sampled.test_days, n_periods)) > 1 and not sampled.update_days:
        raise InputError(
            f"{sampled.path}: no pairs of training users on test days (none has a first stream there); sample other "
            "users with twotower sample --overwrite, or leave out --incremental"
        )


def train_and_score(
    trainer: Trainer, sampled: Sample, n_periods: int, writer: RunWriter, progress: Progress = silent
) -> Evaluation:
    """Train, then evaluate each period and learn from it before the next; everything is saved with the run.

    The run's scores are those of each period's own model, in the order of ``sampled.test_pairs()``, and its weights
    those after the last update, with which the last period was evaluated. With one period this is plain training and
    testing. A resumed trainer gives the same result as an uninterrupted one: updates are made again from the end of
    training.

    Errors: InputError as for ``check_sample``, and when training diverges.
    """
    check_sample(sampled, n_periods)
    blocks = periods(sampled.test_days, n_periods)
    trainer.run(writer, progress)
    pairs = sampled.test_pairs()
    period = period_of(pairs.day, blocks)
    logits = np.empty(len(pairs), np.float32)
    new = [*(sampled.update_pairs(block) for block in blocks[:-1]), concatenate([])]  # after the last there is nothing
    both = ((pairs.take(period == number), new[number]) for number in range(len(blocks)))
    for number, found in enumerate(evaluate_then_learn(trainer, both, writer, progress)):
        logits[period == number] = found
    save_weights(writer.weights_path, trainer.model)
    return trainer.save_results(pairs, logits, writer, progress)
