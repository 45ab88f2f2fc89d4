"""The subject of a study: a network, trained or fresh, and one batch of its training pairs."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from twotower.core.config import MEMORY_TERMS, Config, ModelConfig, TrainConfig
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.batches import Batcher, PairBatch
from twotower.data.dataset import Dataset
from twotower.data.epochs import epoch_batches
from twotower.data.sample import Pairs, Sample
from twotower.data.territories import Territories
from twotower.model.two_tower import TwoTower
from twotower.serving.open_run import check_fits
from twotower.training.checkpoint import load_model, load_training
from twotower.training.job import choose_groups, open_dataset, open_sample
from twotower.training.loop import TrainingState
from twotower.training.predict import user_territories
from twotower.training.run import LOG, RUN, TRAINING, RunReader
from twotower.training.trainer import Trainer
from twotower.training.warm_up import compile_kernels

NAMED_TERRITORIES = 3  # in the name of a group, the largest


@dataclass
class SubjectFacts:
    """What every record of the lab says about its subject."""

    name: str
    trained: bool
    dataset: str
    sample: str
    batch: int
    pairs: int
    users: int
    titles: int
    model: ModelConfig
    train: TrainConfig
    widths: list[int]

    def network(self, state: str) -> str:
        """``world, as trained: lowrank heads, D 512, K 4.``"""
        heads = "without heads" if self.model.head == "none" else f"{self.model.head} heads"
        return f"{self.name}, {state}: {heads}, D {self.model.hidden}, K {self.model.groups}."


@dataclass(frozen=True)
class Subject:
    """A network with its data, and one batch."""

    name: str  # of the run or the dataset
    trained: bool
    trainer: Trainer
    sample: Sample
    group_names: list[str]  # (K,)
    number: int  # of the batch in the first epoch, from 1
    batch: PairBatch  # a copy, which no later batch overwrites

    @property
    def config(self) -> Config:
        return self.trainer.config

    @property
    def model(self) -> TwoTower:
        return self.trainer.model

    @property
    def dataset(self) -> Dataset:
        return self.trainer.dataset

    @property
    def territory_group(self) -> np.ndarray:
        """Group of each territory (C,)."""
        return self.trainer.territory_group

    def make_batch(self, pairs: Pairs, members: np.ndarray | None = None) -> PairBatch:
        """A batch of some pairs, with ``members`` (U,) as the users' groups instead of their own."""
        trainer = self.trainer
        territory, terms = user_territories(self.dataset, self.model), MEMORY_TERMS * self.config.model.memory
        batcher = Batcher(
            self.dataset.user_vectors, self.dataset.title_vectors, trainer.members if members is None else members,
            self.config.model.groups, len(pairs), 1, territory, self.dataset.n_territories, terms,
        )  # fmt: skip
        return batcher.batch(pairs.user, pairs.title, pairs.label, pairs.memory if terms else None)

    def facts(self) -> SubjectFacts:
        """The subject's part of a record."""
        batch, config = self.batch, self.config
        sizes = len(batch), len(batch.user_rows), len(batch.title_rows)
        return SubjectFacts(self.name, self.trained, self.dataset.path.name, self.sample.name, self.number, *sizes,
                            config.model, config.train, list(self.model.widths))  # fmt: skip


def pairs_of(batch: PairBatch) -> Pairs:
    """The pairs of a batch by rows of the tables; their days are unknown and set to 0."""
    user, title = batch.user_rows[batch.pair_user], batch.title_rows[batch.pair_title]
    return Pairs(user, title, batch.labels, np.zeros(len(batch), np.int32), batch.memory)


def is_run(path: Path) -> bool:
    """Whether a directory holds a run, finished or not, rather than a dataset."""
    return (path / RUN).is_file() or (path / LOG).is_file()


def subject_of_run(
    path: Path, directory: Path | None = None, number: int = 1, batch_size: int | None = None,
    progress: Progress = silent,
) -> Subject:  # fmt: skip
    """A trained network with the settings, groups and sample of its run; ``directory`` is where its dataset is now.

    Errors: InputError when the run is incomplete, does not fit the dataset, or has no such batch.
    """
    run = RunReader(path)
    dataset = Dataset.open(directory or run.dataset)
    config = Config.from_dict(run.config, str(path / "config.toml"))
    trained = load_model(run.weights_path)
    check_fits(run, dataset, trained)
    subject = make_subject(path.name, dataset, Sample(dataset, run.sample), run.evaluation.territories.group, config,
                           number, batch_size, progress)  # fmt: skip
    model = subject.model
    if (path / TRAINING).is_file():  # Adam's moments; the weights in it are the last epoch's, not the best
        load_training(path / TRAINING, model, subject.trainer.optimiser, TrainingState())
    model.params.flat[:], model.running.flat[:] = trained.params.flat, trained.running.flat
    model.title_offsets = trained.title_offsets
    return replace(subject, trained=True)


def subject_of_dataset(
    directory: Path, config: Config, sample_name: str = "default", grouping: Path | None = None,
    number: int = 1, batch_size: int | None = None, progress: Progress = silent,
) -> Subject:  # fmt: skip
    """A fresh network on a dataset's sample. Creates the built-in world and its sample where ``train`` would."""
    dataset = open_dataset(directory, progress)
    sample = open_sample(dataset, sample_name, progress)
    groups = choose_groups(dataset.territories, config.model.groups, grouping)
    return make_subject(dataset.path.name, dataset, sample, groups, config, number, batch_size, progress)


def make_subject(
    name: str, dataset: Dataset, sample: Sample, territory_group: np.ndarray, config: Config,
    number: int = 1, batch_size: int | None = None, progress: Progress = silent,
) -> Subject:  # fmt: skip
    """A fresh network and batch ``number`` of its first epoch; ``batch_size`` replaces that of the config.

    Errors: InputError when there is no such batch.
    """
    if batch_size is not None:
        config = replace(config, train=replace(config.train, batch_size=batch_size))
    compile_kernels(progress)
    trainer = Trainer(dataset, sample, territory_group, config, progress)
    names = group_names(dataset.territories, territory_group, config.model.groups)
    return Subject(name, False, trainer, sample, names, number, one_batch(trainer, number))


def one_batch(trainer: Trainer, number: int) -> PairBatch:
    """Batch ``number``, from 1, of the first epoch, as a copy. Errors: InputError when there are fewer."""
    if not 1 <= number <= trainer.steps():
        raise InputError(f"--batch {number}: an epoch has the batches 1 to {trainer.steps()}")
    pairs = trainer.pairs
    order = epoch_batches(pairs, trainer.batch_size, trainer.order(0), trainer.config.train.batching)
    index = next(islice(order, number - 1, None))
    memory = None if pairs.memory is None else pairs.memory[index]
    return trainer.batcher.batch(pairs.user[index], pairs.title[index], pairs.label[index], memory)


def group_names(territories: Territories, territory_group: np.ndarray, groups: int) -> list[str]:
    """Names of groups: number and largest territories, such as ``0 · US GB CA …``."""
    names = []
    for k in range(groups):
        members = [c for c in territories.majors(len(territories)) if groups == 1 or territory_group[c] == k]
        codes = " ".join(territories.code[c] for c in members[:NAMED_TERRITORIES])
        names.append(f"{k} · {codes}{' …' if len(members) > NAMED_TERRITORIES else ''}")
    return names
