"""The state before the first day: a run as it was trained, with the test days learned from after all."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from twotower.core.config import Config
from twotower.core.errors import InputError
from twotower.core.manifest import Files, digest_of
from twotower.core.progress import Progress, silent
from twotower.core.storage import read_record
from twotower.daily.counts import Counts
from twotower.daily.growth import vectors_of_users
from twotower.daily.learner import Day, DayLearner, history_of, make_optimiser
from twotower.daily.part_files import save_part
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.first_streams import FirstStreams, group_by_user
from twotower.data.grown import HELD_OUT, KINDS, OTHER, RANDOM, VECTOR_FILES, DayRecord, GrownDataset, Part
from twotower.data.memory.files import Kept
from twotower.data.sample import Sample
from twotower.training.checkpoint import load_model, load_training
from twotower.training.days import START, day_path
from twotower.training.job import fingerprint
from twotower.training.predict import predict_pairs
from twotower.training.remembering import known_to
from twotower.training.run import PLAN, RunReader, RunWriter
from twotower.training.trainer import Trainer

NOTHING: DayRecord = {
    "date": START, "number": -1, "previous": "", "content": "", "lineage": "", "skipped": [],
    "events": 0, "late": 0, "moved": 0, "new_users": 0, "new_titles": 0, "new_territories": [],
    "training_pairs": 0, "replayed_pairs": 0, "frozen_pr_auc": None, "frozen_pairs": 0, "frozen_positives": 0,
    "reasons": [], "accepted": False, "digests": [], "compacted": 0,
    "seconds": 0.0, "bytes": 0, "peak_mib": 0.0,
}  # fmt: skip


def open_run(run: RunReader) -> tuple[Dataset, Sample, Config, np.ndarray]:
    """Dataset, sample, configuration and groups of a run. Errors: InputError for a run that cannot go on by day."""
    plan = read_record(run.files.path(PLAN)) if PLAN in run.files else {}
    if run.parts or run.rival or "day" in run.facts or plan.get("shuffled", True):
        raise InputError(f"{run.path}: not a single trained model, so it is not updated by day")
    dataset = Dataset.open(run.dataset)
    if not dataset.has_time:
        raise InputError(f"{dataset.path}: has no times, so there is no next day (twotower import --time COLUMN)")
    if not run.training_path.is_file():
        raise InputError(f"{run.path}: has no training state to go on from; train again")
    sampled = Sample(dataset, plan["sample"])
    if fingerprint(dataset, sampled) != plan["fingerprint"]:
        raise InputError(f"{sampled.path}: its pairs or vectors are not those that {run.path} was trained on")
    if sampled.config["dev_users"]:
        raise InputError(f"{sampled.path}: of development users; train on a sample of test users for daily updates")
    return dataset, sampled, Config.from_dict(run.config, str(run.path)), np.array(plan["groups"], np.int16)


def make_start(run_path: Path, run: RunReader, threads: int, progress: Progress = silent) -> None:
    """Write ``days/start``. Its cost grows with the log that the run was trained on; that of a day does not."""
    dataset, sampled, config, groups = open_run(run)
    config = replace(config, train=replace(config.train, threads=threads))
    trainer = Trainer(dataset, sampled, groups, config, progress)
    trainer.optimiser = make_optimiser(trainer.model, config, dataset.n_titles)
    load_training(run.training_path, trainer.model, trainer.optimiser, trainer.state)
    if trainer.state.best is not None:
        trainer.model.params.flat[:], trainer.model.running.flat[:] = trainer.state.best
        trainer.state.best = None
    if not config.train.incremental_periods:
        trained = load_model(run.weights_path).params.flat
        if not np.array_equal(trained, trainer.model.params.flat):
            raise InputError(f"{run.path}: its training state is not that of its weights; train again")

    learner, part = learner_of(trainer, run, sampled), part_of(dataset, sampled)
    grown = GrownDataset(dataset, [part])
    before = dataset.history()
    with RunWriter(day_path(run_path, START), label=run.label, dataset=dataset.path, sample=run.sample,
                   seed=run.seed, config=config.to_dict()) as writer:  # fmt: skip
        held_out = part.array("role") == HELD_OUT
        streams = FirstStreams.read(dataset)
        for number in sampled.update_days:
            pairs = sampled.update(number)
            users = np.unique(pairs.user)
            mine = np.isin(before[0], users)
            history = history_of(users, before[0][mine], before[1][mine], dataset.n_titles)
            learner.begin(Day(number, users, np.asarray(dataset.user_vectors[users]), history, grown))
            if len(pairs):
                learner.update(pairs, writer, progress)
            user, title, _ = streams.between(np.arange(dataset.n_users), number, number + 1)
            count_day(learner, grown, user, title, held_out, pairs)
        learner.remember(grown, part.day["number"] + 1)
        add_latest_vectors(part, grown)
        save_part(part, writer.path)
        learner.save(writer)
        writer.facts["day"] = part.day
        writer.save_results(run.evaluation, run.scores, run.test_digest)
        writer.facts |= grown_identity(dataset, [part], writer)


def learner_of(trainer: Trainer, run: RunReader, sampled: Sample) -> DayLearner:
    """What a trainer has learned, with counts in place of the pairs."""
    dataset, config = trainer.dataset, trainer.config
    group = trainer.territory_group if config.model.groups > 1 or trainer.memory is None else trainer.memory_group
    known = known_to(dataset, trainer.remembered, group, config.train.seed)
    streams = FirstStreams.read(dataset)
    user, title, _ = streams.between(np.arange(dataset.n_users), 0, dataset.train_days)
    held_out = np.zeros(dataset.n_users, bool)
    held_out[sampled.test_users] = True
    viewers = streams.viewers(dataset.user_territory, (dataset.n_titles, dataset.n_territories)).T
    counts = Counts.of(known, held_out, (user, title), viewers, dataset.train_days)
    trainer.model.title_offsets = None
    if config.model.title_offsets != "none":
        pairs = trainer.learned
        logits = predict_pairs(trainer.model, trainer.scorer, pairs)
        territory = np.asarray(dataset.user_territory)[pairs.user]
        counts.offsets.add(territory, pairs.title, pairs.label, logits, config.model.offset_prior)
    memory = None
    if trainer.memory is not None:
        kept = trainer.memory
        memory = Kept(kept.tables, kept.unwatched, kept.mean, kept.spread, kept.cosines, kept.factors)
    prior = run.facts.get("title_offsets", {}).get("group_prior")
    groups = np.asarray(group, np.int16)
    return DayLearner(config, trainer.model, trainer.optimiser, trainer.state, groups, counts, memory,
                      np.inf if prior is None else prior)  # fmt: skip


def part_of(dataset: Dataset, sampled: Sample) -> Part:
    """The first part: the whole log by user, and the roles that the sample gave to users."""
    user, title, day = dataset.all_events()
    start, title, day = group_by_user(user, title, day.astype(np.int16), dataset.n_users)
    role = np.full(dataset.n_users, OTHER, np.int8)
    role[sampled.train_users[~sampled.active]] = RANDOM
    role[sampled.test_users] = HELD_OUT
    nothing = np.empty(0, np.int32)
    arrays = {
        "start": start, "log_title": title, "log_day": day, "role": role, "vector_user": nothing,
        "available": np.empty((0, 2), np.int32), "moved": np.empty((0, 2), np.int32),
        **{f"{kind}_{what}": nothing for kind in KINDS for what in ("user", "title")},
    }  # fmt: skip
    record = {**NOTHING, "number": dataset.train_days + dataset.test_days - 1}
    return Part(cast(DayRecord, record), arrays, {})


def add_latest_vectors(part: Part, grown: GrownDataset) -> None:
    """Vectors of all who watched on training and test days, with these days in their histories."""
    if not grown.embedding:
        part.arrays["vectors"] = np.empty((0, grown.base.user_vectors.shape[1]), grown.base.user_vectors.dtype)
        return
    user, title, day = grown.base.all_events()
    users = np.unique(user[day > HISTORY])
    mine = np.isin(user, users)
    territory = np.asarray(grown.user_territory)[users]
    vectors = vectors_of_users(grown, users, territory, user[mine], title[mine], None, grown.n_users)
    part.arrays |= {"vector_user": users.astype(np.int32), "vectors": vectors}


def count_day(
    learner: DayLearner, dataset: GrownDataset, user: np.ndarray, title: np.ndarray, held_out: np.ndarray, pairs: Any
) -> None:
    """Count a day's first streams (n,) and the positive labels that were learned from."""
    territory = np.asarray(dataset.user_territory)
    positive = pairs.label > 0
    learner.counts.add(territory[user], title, held_out[user], territory[pairs.user[positive]], pairs.title[positive])


def grown_identity(dataset: Dataset, parts: list[Part], writer: RunWriter) -> dict[str, str]:
    """The digests of vectors and titles, once the last part is on the disk."""
    return GrownDataset(dataset, [*parts[:-1], written(parts[-1], writer)]).identity


def written(part: Part, writer: RunWriter) -> Part:
    """A part whose vectors are in a run that is being written."""
    names = [f"data/{name}.npy" for name in VECTOR_FILES]
    facts = {name: {"bytes": (writer.path / name).stat().st_size, "sha256": digest_of(writer.path / name)}
             for name in names if (writer.path / name).is_file()}  # fmt: skip
    return Part(part.day, part.arrays, part.tables, Files(writer.path, {"files": facts}))
