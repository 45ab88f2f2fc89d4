"""From a directory to a finished run: what is missing on the way is made, and everything is kept with the run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twotower.config import Config, ModelConfig, load_toml
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.data.sampling import SampleConfig, sample
from twotower.data.simulate import simulate
from twotower.data.storage import read_json, write_json
from twotower.data.territories import Territories, geographic_groups, grouping_from_file
from twotower.errors import InputError
from twotower.evaluation.results import Evaluation
from twotower.progress import Progress
from twotower.run import CONFIG, RunWriter, next_run_path
from twotower.trainer import Trainer
from twotower.warmup import compile_kernels

DEFAULT_WORLD = Path("world")  # the dataset that is made when there is none
RUNS = Path("runs")
PLAN = "plan.json"  # what a run needs to be resumed: dataset, sample, label and groups


@dataclass(frozen=True)
class TrainingJob:
    """All that ``twotower train`` was asked for."""

    directory: Path
    config: Config
    sample_name: str = "default"
    grouping: Path | None = None  # a CSV of groups, instead of the dataset's or of geographic ones
    run_path: Path | None = None
    label: str | None = None

    def run(self, progress: Progress) -> tuple[Path, Evaluation]:
        """Make what is missing, train, evaluate on the test pairs, and return the run's directory and its results."""
        dataset = open_dataset(self.directory, progress)
        sampled = open_sample(dataset, self.sample_name, progress)
        groups = choose_groups(dataset.territories, self.config.model.groups, self.grouping)
        label = self.label or default_label(self.config.model, sampled)
        path = self.run_path or next_run_path(RUNS, label)
        trainer = Trainer(dataset, sampled, groups, self.config)
        facts = {"label": label, "dataset": dataset.path, "sample": sampled.name, "seed": self.config.train.seed}
        with RunWriter(path, **facts) as writer:
            writer.save_config(self.config.to_dict())
            plan = {"dataset": str(dataset.path.resolve()), "sample": sampled.name, "label": label}
            write_json(path / PLAN, plan | {"groups": groups.tolist()})
            compile_kernels(progress)
            trainer.run(writer, progress)
            return path, trainer.test(sampled, writer, progress)


def resume(path: Path, progress: Progress) -> tuple[Path, Evaluation]:
    """Go on with an interrupted run from its last finished epoch; the result is that of an uninterrupted one."""
    plan = read_json(path / PLAN)
    config = Config.from_dict(load_toml(path / CONFIG), source=str(path / CONFIG))
    dataset = Dataset.open(plan["dataset"])
    sampled = Sample(dataset, plan["sample"])
    trainer = Trainer(dataset, sampled, np.array(plan["groups"], np.int16), config)
    facts = {"label": plan["label"], "dataset": dataset.path, "sample": sampled.name, "seed": config.train.seed}
    with RunWriter(path, **facts, resume=True) as writer:
        trainer.resume(writer)
        compile_kernels(progress)
        trainer.run(writer, progress)
        return path, trainer.test(sampled, writer, progress)


def open_dataset(directory: Path, progress: Progress) -> Dataset:
    """A dataset; the built-in world is made in its usual place where there is none yet."""
    if directory == DEFAULT_WORLD and not directory.exists():
        simulate(directory, progress=progress)
    return Dataset.open(directory)


def open_sample(dataset: Dataset, name: str, progress: Progress) -> Sample:
    """A sample of the dataset; the default one is drawn with the default settings where there is none."""
    if name == "default" and name not in dataset.samples():
        sample(dataset, SampleConfig(), progress, name)
    return Sample(dataset, name)


def choose_groups(territories: Territories, groups: int, file: Path | None = None) -> np.ndarray:
    """Group of each territory (C,): from a file, else the dataset's own if it has that many, else geographic.

    Errors: InputError when there are fewer territories than groups, or the file has another number of groups.
    """
    if file is not None:
        chosen = grouping_from_file(file, territories)
        if len(np.unique(chosen)) != groups:
            raise InputError(f"{file}: {len(np.unique(chosen))} groups, but --groups is {groups}")
        return chosen
    if groups == 1:
        return np.zeros(len(territories), np.int16)
    stored = territories.group
    if stored.min() >= 0 and stored.max() + 1 == groups:
        return stored
    return geographic_groups(territories, groups)


def default_label(model: ModelConfig, sampled: Sample) -> str:
    """A method's name: baseline or mtl, with the paper's upsampling or without."""
    method = "baseline" if model.groups == 1 else f"mtl-{model.groups}"
    return f"{method}-upsampled" if sampled.active.any() else method
