"""From a directory to a finished run: missing data are made first, and everything is saved."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from twotower.core.config import Config, ModelConfig, load_toml
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.manifest import Files
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.core.storage import read_record
from twotower.data.dataset import Dataset
from twotower.data.grouping import geographic_groups, grouping_from_file
from twotower.data.sample import Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampler import sample
from twotower.data.synthetic.simulate import simulate
from twotower.data.synthetic.world import WorldConfig
from twotower.data.territories import Territories
from twotower.metrics.results import Evaluation
from twotower.training.callbacks import Callback, Callbacks
from twotower.training.periods import check_days, train_and_score
from twotower.training.records import Plan
from twotower.training.run import CONFIG, PLAN, RUN, Origin, RunWriter, next_run_path
from twotower.training.trainer import CHECKPOINT_EVERY, Trainer
from twotower.training.warm_up import compile_kernels

DEFAULT_WORLD = Path("world")  # the dataset that is made when there is none
RUNS = Path("runs")


@dataclass(frozen=True)
class TrainingJob:
    """Everything that ``twotower train`` needs. Paths may be texts. Errors: TypeError for another ``config``."""

    directory: Path
    config: Config
    sample_name: str = "default"
    grouping: Path | None = None  # a CSV of groups, instead of the dataset's or of geographic ones
    run_path: Path | None = None
    label: str | None = None
    checkpoint_every: float = CHECKPOINT_EVERY  # seconds, inside an epoch

    def __post_init__(self) -> None:
        for name in ("directory", "grouping", "run_path"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Path(value))
        if not isinstance(self.config, Config):
            raise TypeError(f"config is {type(self.config).__name__}, expected Config")

    def run(self, progress: Progress = silent, callbacks: Sequence[Callback] = ()) -> tuple[Path, Evaluation]:
        """Make what is missing, train and test; returns the run's directory and its results."""
        check_place(self.run_path, self.label)  # now, rather than after minutes of work
        dataset = open_dataset(self.directory, progress)
        sampled = open_sample(dataset, self.sample_name, progress)
        check_days(dataset, sampled, self.config.train.incremental_periods)
        groups = choose_groups(dataset.territories, self.config.model.groups, self.grouping)
        label = self.label or default_label(self.config.model, sampled)
        trainer = Trainer(dataset, sampled, groups, self.config, progress, Callbacks(*callbacks))
        trainer.checkpoint_every = self.checkpoint_every
        plan = make_plan(dataset, sampled, label, groups)
        with ExitStack() as stack:
            writer = begin_run(stack, self.run_path, dataset, self.config, plan)
            return writer.path, train_and_test(trainer, sampled, writer, progress)


def make_plan(dataset: Dataset, sampled: Sample, label: str, groups: np.ndarray, shuffled: bool = False) -> Plan:
    """What a run needs to be resumed, besides its configuration."""
    return {
        "dataset": str(dataset.path.resolve()),
        "sample": sampled.name,
        "label": label,
        "fingerprint": fingerprint(dataset, sampled),
        "groups": np.asarray(groups).tolist(),
        "shuffled": shuffled,
    }


def resume(
    path: Path, progress: Progress, directory: Path | None = None, checkpoint_every: float = CHECKPOINT_EVERY
) -> tuple[Path, Evaluation]:
    """Continue an interrupted run from its last checkpoint; the result is that of an uninterrupted run.

    ``directory`` is where the dataset is now, if it has moved.

    Errors: InputError when there is nothing to resume, or dataset or sample are not those of the run.
    """
    if not (path / PLAN).is_file():
        raise InputError(f"{path}: no run to resume (it has no {PLAN}); start one without --resume")
    if (path / RUN).is_file():
        raise InputError(f"{path}: this run has finished; there is nothing to resume")
    plan: Plan = read_single_plan(path / PLAN)
    config = Config.from_dict(load_toml(Files(path, plan, PLAN).path(CONFIG)), str(path / CONFIG))
    try:
        dataset = with_heads(Dataset.open(directory or plan["dataset"]), plan, config.train.seed)
        sampled = Sample(dataset, plan["sample"])
        groups, label = np.array(plan["groups"], np.int16), plan["label"]
        same = fingerprint(dataset, sampled) == plan["fingerprint"]
    except (KeyError, TypeError):
        raise InputError(f"{path / PLAN}: damaged; start another run without --resume") from None
    if not same:
        raise InputError(
            f"{sampled.path}: "
            f"its pairs or vectors have changed since {path} was started; start another run without --resume"
        )
    trainer = Trainer(dataset, sampled, groups, config, progress)
    trainer.checkpoint_every = checkpoint_every
    origin: Origin = {"label": label, "dataset": dataset.path, "sample": sampled.name, "seed": config.train.seed}
    with RunWriter(path, **origin, resume=True) as writer:
        trainer.resume(writer)
        return path, train_and_test(trainer, sampled, writer, progress)


def read_single_plan(path: Path) -> Plan:
    """The plan of a run that ``train`` could have made. Errors: InputError for one that is part of something else."""
    plan = read_record(path)
    if "fingerprint" in plan and "groups" not in plan:
        raise InputError(f"{path.parent}: one of several models of an experiment; give twotower experiment again")
    return plan  # type: ignore[return-value]


def with_heads(dataset: Dataset, plan: Plan, seed: int) -> Dataset:
    """The dataset with the heads that the users of a run go through."""
    return shuffled_heads(dataset, seed) if plan["shuffled"] else dataset


def shuffled_heads(dataset: Dataset, seed: int) -> Dataset:
    """The dataset, but each user goes through the head of some other user's territory: a control.

    Heads are as large as before, and learn from anybody. Users are evaluated where they live.
    """
    other = copy(dataset)
    other.head_territory = generator(seed, Stream.SHUFFLED_HEADS).permutation(np.asarray(dataset.user_territory))
    return other


def check_place(run_path: Path | None, label: str | None) -> None:
    """Errors: InputError when a run could not be written where it is meant to be."""
    path = run_path or next_run_path(RUNS, label or "baseline")
    if path.exists():
        raise InputError(f"{path}: exists already; give another directory (--run)")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise InputError(f"{path}: cannot write in {parent}; give another directory (--run)")


def begin_run(
    stack: ExitStack, path: Path | None, dataset: Dataset, config: Config, plan: Plan
) -> RunWriter:
    """Open a run at ``path``, or under the next free number; several runs may be started at once."""
    label, seed = plan["label"], config.train.seed
    origin: Origin = {"label": label, "dataset": dataset.path, "sample": plan["sample"], "seed": seed}
    while True:
        place = path or next_run_path(RUNS, label)
        try:
            return stack.enter_context(RunWriter(place, **origin, config=config.to_dict(), plan=plan))
        except InputError:
            if path is not None or not place.exists():  # otherwise another process was faster
                raise


def train_and_test(trainer: Trainer, sampled: Sample, writer: RunWriter, progress: Progress) -> Evaluation:
    """Train to the end and evaluate on the test pairs, incrementally where the settings say so.

    Errors: where there is a checkpoint, KeyboardInterrupt, OSError and MemoryError have as ``hint`` the command that
    resumes the run.
    """
    try:
        compile_kernels(progress)
        return train_and_score(trainer, sampled, max(1, trainer.config.train.incremental_periods), writer, progress)
    except (KeyboardInterrupt, OSError, MemoryError) as stop:
        if writer.training_path.is_file():
            stop.hint = f"twotower train --resume {quote(str(writer.path))}"  # type: ignore[union-attr]
        raise


def fingerprint(dataset: Dataset, sampled: Sample) -> str:
    """A digest of the pairs, vectors and territories of users that a model is trained on."""
    files = dataset.manifest["files"]
    vectors = {name: files[name]["sha256"] for name in ("users.npy", "titles.npy")}
    pairs = {name: facts["sha256"] for name, facts in sampled.files.facts.items()}
    parts = json.dumps([vectors, dataset.manifest["log"], pairs], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def open_dataset(directory: Path, progress: Progress) -> Dataset:
    """A dataset; the synthetic world is made first in ``DEFAULT_WORLD`` if it is missing."""
    if directory == DEFAULT_WORLD:
        make_if_missing(directory, lambda: simulate(directory, progress=progress))
    return Dataset.open(directory)


def open_sample(dataset: Dataset, name: str, progress: Progress) -> Sample:
    """A sample of the dataset; the default one is made first with the default settings if it is missing."""
    if name == "default":
        make_if_missing(dataset.path / "samples" / name, lambda: sample(dataset, SampleConfig(), progress, name))
    return Sample(dataset, name)


def make_if_missing(path: Path, make: Callable[[], object]) -> None:
    """Make a directory unless it exists; if another process makes it meanwhile, use that one."""
    if path.exists():
        return
    try:
        make()
    except InputError:
        if not path.exists():
            raise


def choose_groups(territories: Territories, groups: int, file: Path | None = None) -> np.ndarray:
    """Group of each territory (C,): from a file, else the dataset's own if it has that many, else geographic.

    Errors: InputError when there are fewer territories than groups, or the file has another number of groups.
    """
    if file is not None:
        chosen = grouping_from_file(file, territories)
        found = int(chosen.max()) + 1
        if found != groups:
            raise InputError(f"{file}: {counted(found, 'group')}, but the model has {groups} (see --mtl and --groups)")
        return chosen
    if groups == 1:
        return np.zeros(len(territories), np.int16)
    stored = territories.group
    if stored.min() >= 0 and stored.max() + 1 == groups:
        return stored
    return geographic_groups(territories, groups)


def known_groups(directory: Path, file: Path | None = None) -> int | None:
    """The number of territory groups in a file, or else in a dataset; None if there are none yet."""
    if not directory.exists():
        return None
    territories = Dataset.open(directory).territories
    groups = territories.group if file is None else grouping_from_file(file, territories)
    return int(groups.max()) + 1 if groups.min() >= 0 else None


def known_test_days(directory: Path) -> int:
    """The number of test days of a dataset, or of the synthetic world if it has not been made yet."""
    return Dataset.open(directory).test_days if directory.exists() else WorldConfig().test_days


def default_label(model: ModelConfig, sampled: Sample) -> str:
    """A method's name: baseline or mtl, with the paper's upsampling or without."""
    method = f"mtl-{model.groups}" if model.multi_task else "baseline"
    method += "-territories" if model.territory_bias else ""
    method += "-group-batchnorm" if model.batchnorm == "group" else ""
    return f"{method}-upsampled" if sampled.active.any() else method
