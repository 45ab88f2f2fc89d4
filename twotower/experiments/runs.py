"""Train the runs of an experiment that are missing."""

import time
from pathlib import Path

from twotower.core.errors import InputError
from twotower.core.locks import discard
from twotower.core.progress import Progress
from twotower.experiments.methods import Method
from twotower.experiments.rivals.runs import score_rival
from twotower.experiments.separate import begin_or_go_on, train_separately
from twotower.experiments.setup import Setup
from twotower.training.callbacks import Callback
from twotower.training.job import make_plan
from twotower.training.periods import train_and_score
from twotower.training.run import RUN, Origin, RunReader
from twotower.training.trainer import Trainer


def train_missing(setup: Setup, progress: Progress) -> int:
    """Train every run of the plan that has not finished; how many those were. A run that was interrupted goes on.

    Errors: InputError when an existing run was evaluated on other test pairs.
    """
    plan = setup.plan
    missing = [(method, seed) for method, seed in plan.runs() if not finished(plan.run_path(method.name, seed))]
    for done, (method, seed) in enumerate(missing):
        stage = f"training runs · {method.name}, seed {seed}"
        progress(stage, done, len(missing))
        train_one(setup, method, seed, as_detail(progress, stage, done, len(missing)))
    if missing:
        progress("training runs", len(missing), len(missing))
    digest = setup.test_pairs.digest()
    for method, seed in plan.runs():
        path = plan.run_path(method.name, seed)
        if RunReader(path).test_digest != digest:
            raise InputError(f"{path}: was evaluated on other test pairs; remove it to train it again")
    return len(missing)


def finished(path: Path) -> bool:
    return (path / RUN).is_file()


def as_detail(progress: Progress, stage: str, done: int, total: int) -> Progress:
    """Progress within one run, reported as a detail of the stage that counts runs."""

    def tell(detail: str, _: int, __: int) -> None:
        progress(f"{stage}: {detail.replace(' · ', ', ')}", done, total)

    return tell


def train_one(
    setup: Setup, method: Method, seed: int, progress: Progress, callback: Callback | None = None,
    goes_on: bool = False,
) -> None:  # fmt: skip
    """Train, evaluate and save one run. One that ``goes_on`` keeps what daily updates go on from."""
    plan, sampled = setup.plan, setup.samples[method.sample]
    path, started = plan.run_path(method.name, seed), time.perf_counter()
    config = plan.config(method, seed)
    if method.rival:
        discard(path)  # what is left of one that was interrupted
        return score_rival(setup, method, seed, progress)
    if method.separate:
        return train_separately(setup, method, seed, progress)
    dataset, groups = setup.heads(method, seed)
    trainer = Trainer(dataset, sampled, groups, config, progress, callback)
    kept, settings = make_plan(dataset, sampled, method.name, groups, method.grouping == "shuffled"), config.to_dict()
    origin: Origin = {"label": method.name, "dataset": dataset.path, "sample": sampled.name, "seed": seed}
    with begin_or_go_on(path, kept, origin, settings) as writer:
        trainer.resume(writer)
        train_and_score(trainer, sampled, len(setup.periods), writer, progress)
        if not goes_on:
            writer.training_path.unlink(missing_ok=True)  # three times the size of the weights
        writer.facts["seconds"] = round(time.perf_counter() - started, 3)
