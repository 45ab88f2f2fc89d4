"""A rival as a run of an experiment: on the same test pairs, knowing what the network knows in each period."""

import time

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.environment import usable_cores
from twotower.core.progress import Progress
from twotower.data.memory.knowledge import Knowledge, read_history
from twotower.data.sample import concatenate
from twotower.experiments.methods import Method
from twotower.experiments.rivals.registry import Calibrated
from twotower.experiments.setup import Setup
from twotower.training.predict import evaluate_pairs
from twotower.training.run import RunReader, RunWriter


def knowledge(setup: Setup, method: Method, period: int) -> Knowledge:
    """What is known before a period: history, training pairs, and training users' pairs of earlier periods."""
    dataset, sampled = setup.dataset, setup.samples[method.sample]
    passed = [day for days in setup.periods[:period] for day in days]
    return Knowledge(
        history=read_history(dataset),
        pairs=concatenate([sampled.train_pairs(), sampled.update_pairs(passed)]),
        territory=np.asarray(dataset.user_territory).astype(np.int64),
        group=np.asarray(setup.geography).astype(np.int64),
        availability=np.asarray(dataset.availability),
        launch_day=np.asarray(dataset.launch_day),
    )


def fitted(setup: Setup, method: Method, period: int) -> Calibrated:
    """The rival as it is before a period."""
    with threadpool_limits(usable_cores(), "blas"):
        return Calibrated(method.name, knowledge(setup, method, period))


def score_rival(setup: Setup, method: Method, seed: int, progress: Progress) -> None:
    """Score the test pairs, period by period, and keep the run. A rival has no seed: the first run stands for all."""
    plan, pairs, started = setup.plan, setup.test_pairs, time.perf_counter()
    logits = np.empty(len(pairs), np.float32) if seed == 0 else RunReader(plan.run_path(method.name, 0)).scores
    path, dataset, sample = plan.run_path(method.name, seed), setup.dataset, setup.samples[method.sample].name
    with RunWriter(
        path, label=method.name, dataset=dataset.path, sample=sample, seed=seed, rival=method.name,
        config={"rival": {"name": method.name}},
    ) as writer:  # fmt: skip
        for period in range(len(setup.periods) if seed == 0 else 0):
            progress("fitting", period, len(setup.periods))
            here = setup.period == period
            logits[here] = fitted(setup, method, period).of_pairs(pairs.user[here], pairs.title[here])
        results = evaluate_pairs(setup.dataset, np.zeros_like(setup.geography), pairs, logits, progress)
        writer.save_results(results, logits, pairs.digest())
        writer.facts["seconds"] = round(time.perf_counter() - started, 3)


def score_panel(setup: Setup, method: Method, users: np.ndarray) -> np.ndarray:
    """Logits (n, T) float32 of users for all titles, by what is known before the last period."""
    return fitted(setup, method, len(setup.periods) - 1).of_users(users)
