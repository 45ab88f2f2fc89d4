"""Runs on the tiny world that take a moment, for the tests of training."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from twotower.cli import cli
from twotower.core.config import Config
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.training.job import TrainingJob
from twotower.training.run import RunReader
from twotower.training.trainer import Trainer

MTL = {"head": "lowrank", "title_bias": True, "groups": 2, "rank": 2}
SMALL = {"hidden": 8}, {"batch_size": 128, "epochs": 2, "seed": 3}


def small_config(model: dict | None = None, **train) -> Config:
    """A configuration for the tiny world."""
    return Config.from_dict({"model": SMALL[0] | (model or {}), "train": SMALL[1] | train})


def make_trainer(world: Path, model: dict | None = None, **train) -> Trainer:
    """A trainer on the default sample, with the territories in two groups."""
    dataset = Dataset.open(world)
    groups = np.arange(dataset.n_territories, dtype=np.int16) % 2
    return Trainer(dataset, Sample(dataset), groups, small_config(model, **train))


def train(world: Path, path: Path, model: dict | None = None, progress: Progress = silent, **settings) -> RunReader:
    """A finished run at ``path``."""
    TrainingJob(world, small_config(model, **settings), run_path=path).run(progress)
    return RunReader(path)


def interrupt_at(stage: str, times: int = 1):
    """A progress callback that presses Ctrl-C at the ``times``-th report of a stage whose name begins so."""
    left = [times]

    def progress(name: str, done: int, total: int) -> None:
        if name.startswith(stage):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    return progress


class NoWriter:
    """A run that keeps nothing but its log."""

    def __init__(self, folder: Path):
        self.training_path, self.weights_path = folder / "training.safetensors", folder / "weights.safetensors"
        self.lines: list[dict] = []
        self.facts: dict = {}

    def log(self, values: dict) -> None:
        self.lines.append(values)


def failing_line(*arguments) -> str:
    """The one line that a command prints when it fails with exit code 2."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith(("twotower: error: ", "Error: "))]
    assert len(errors) == 1 and errors[0] == result.stderr.splitlines()[-1]
    return errors[0].removeprefix("twotower: error: ")
