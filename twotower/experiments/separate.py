"""A model for each group of territories: with nothing in common, or tuned from the model of all.

The first is what heads would have to beat if sharing were useless, the second if a shared bottom were enough. Each is
an ordinary run on the pairs of its group's users, ``METHOD-SEED/group-k``; together they are the run of the method,
with the scores of all test users and no weights of its own. What was interrupted goes on, part by part.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.config import Config
from twotower.core.errors import InputError
from twotower.core.locks import discard
from twotower.core.progress import Progress
from twotower.core.storage import read_record
from twotower.data.dataset import Dataset
from twotower.data.sample import Pairs, Sample
from twotower.experiments.methods import Method
from twotower.experiments.setup import Setup
from twotower.metrics.results import Evaluation
from twotower.training.job import fingerprint
from twotower.training.periods import train_and_score
from twotower.training.predict import evaluate_pairs
from twotower.training.run import PLAN, RUN, Origin, RunReader, RunWriter, can_resume
from twotower.training.trainer import Trainer


def train_separately(setup: Setup, method: Method, seed: int, progress: Progress) -> None:
    """Train, evaluate and save one run that consists of one model per group of territories.

    Errors: InputError, with the group, when one has nothing to learn from.
    """
    plan, sampled, dataset = setup.plan, setup.samples[method.sample], setup.dataset
    path, started, config = plan.run_path(method.name, seed), time.perf_counter(), plan.config(method, seed)
    groups = setup.geography
    names = [f"group-{k}" for k in range(plan.groups)]
    origin: Origin = {"label": method.name, "dataset": dataset.path, "sample": sampled.name, "seed": seed}
    logits, known = np.empty(len(setup.test_pairs), np.float32), {"fingerprint": fingerprint(dataset, sampled)}
    settings = config.to_dict()
    with begin_or_go_on(path, {**known, "groups_apart": names}, origin, settings, names) as whole:
        start = shared_start(setup, method, config, whole, progress) if method.finetune else None
        for k, name in enumerate(names):
            part = OfTerritories(dataset, sampled.name, np.flatnonzero(groups == k))
            if not (path / name / RUN).is_file():
                mine = {**known, "territories": np.flatnonzero(groups == k).tolist()}
                with begin_or_go_on(path / name, mine, origin, settings) as writer:
                    try:
                        if start is None:
                            trainer = Trainer(dataset, part, np.zeros_like(groups), config, progress)
                        else:
                            trainer = start.tuned(part.members)
                        trainer.resume(writer)
                        train_and_score(trainer, part, len(setup.periods), writer, progress)
                    except InputError as error:
                        raise InputError(f"{method.name}, group {k} of territories: {error}") from None
                    writer.training_path.unlink(missing_ok=True)
            logits[part.has(setup.test_pairs)] = RunReader(path / name).scores
        whole.training_path.unlink(missing_ok=True)
        results: Evaluation = evaluate_pairs(dataset, groups, setup.test_pairs, logits, progress)
        whole.save_results(results, logits, setup.test_pairs.digest())
        whole.facts["seconds"] = round(time.perf_counter() - started, 3)


def begin_or_go_on(
    path: Path, plan: Mapping[str, Any], origin: Origin, settings: Mapping[str, Any], parts: Sequence[str] = ()
) -> RunWriter:
    """A writer that goes on with a run of the same plan and configuration, or begins it anew."""
    resumed = can_resume(path, plan, settings)
    if not resumed:
        discard(path)
    return RunWriter(path, **origin, config=settings, plan=plan, parts=parts, resume=resumed)


class SharedStart:
    """The model of all, which each group goes on from."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.weights = trainer.model.params.flat.copy(), trainer.model.running.flat.copy()

    def tuned(self, members: np.ndarray) -> Trainer:
        """A trainer for some users, (U,) bool, from these weights. Errors: InputError without a positive to learn."""
        model = self.trainer.model
        model.params.flat[:], model.running.flat[:] = self.weights
        tuned = self.trainer.fine_tuned_on(members)
        if not 0 < tuned.pairs.label.sum() < len(tuned.pairs):
            raise InputError(f"{len(tuned.pairs)} training pairs, expected some of both labels")
        return tuned


def shared_start(setup: Setup, method: Method, config: Config, writer: RunWriter, progress: Progress) -> SharedStart:
    """Train the model of all; its steps are in the log of the whole."""
    trainer = Trainer(setup.dataset, setup.samples[method.sample], np.zeros_like(setup.geography), config, progress)
    trainer.resume(writer)
    trainer.run(writer, progress)
    writer.weights_path.unlink(missing_ok=True)
    return SharedStart(trainer)


class OfTerritories(Sample):
    """A sample with the pairs of users of some territories alone."""

    def __init__(self, dataset: Dataset, name: str, territories: np.ndarray):
        super().__init__(dataset, name)
        self.members = np.isin(np.asarray(dataset.user_territory), territories)

    def has(self, pairs: Pairs) -> np.ndarray:
        """Which pairs (n,) bool are of these users."""
        return self.members[pairs.user]

    def _pairs(self, split: str, day: int) -> Pairs:
        pairs = super()._pairs(split, day)
        return pairs.take(self.has(pairs))


def members_of(part: Path, dataset: Dataset) -> np.ndarray:
    """Which users (U,) bool a part's model is for. Errors: InputError when it does not say so."""
    try:
        return np.isin(np.asarray(dataset.user_territory), read_record(part / PLAN)["territories"])
    except (KeyError, TypeError):
        raise InputError(f"{part / PLAN}: damaged; remove {part} to train it again") from None
