"""Is a run what it says: its files, the data it was trained on, and, on demand, what training again gives."""

import hashlib
import tempfile
from pathlib import Path
from typing import TypedDict

import numpy as np

from twotower.core.config import Config
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.storage import read_record
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.training.job import begin_run, fingerprint, read_single_plan, train_and_test, with_heads
from twotower.training.records import Plan
from twotower.training.run import PLAN, RunReader
from twotower.training.trainer import Trainer


class Verified(TypedDict, total=False):
    """What was compared, and held."""

    run: str
    files: int  # of the run, with their checksums
    data: str  # "as in training", or why that cannot be said
    trained_again: str


def verify(path: Path, directory: Path | None = None, again: bool = False, progress: Progress = silent) -> Verified:
    """Compare all checksums of a run, and its data with those it was trained on; with ``again``, train once more.

    ``directory`` is where the dataset is now, if it has moved.

    Errors: InputError with the first file, or the first result, that is another.
    """
    run = RunReader(path)
    run.files.verify(progress)
    for part in run.parts:
        RunReader(part).files.verify(progress)
    verified: Verified = {"run": str(path), "files": len(run.files.facts)}
    if PLAN not in run.files or run.parts or "groups" not in read_record(run.files.path(PLAN)):
        if again:
            raise InputError(f"{path}: not a single model with a {PLAN}, so leave out --retrain")
        return verified | {"data": f"not compared: not a single model with a {PLAN}"}
    plan = read_single_plan(run.files.path(PLAN))
    dataset = Dataset.open(directory or plan["dataset"])
    sampled = Sample(dataset, plan["sample"])
    if fingerprint(dataset, sampled) != plan["fingerprint"]:
        raise InputError(f"{sampled.path}: its pairs or vectors are not those that {path} was trained on")
    dataset.files.verify(progress)
    sampled.files.verify(progress)
    verified["data"] = "as in training"
    if again:
        compare(run, plan, dataset, sampled, progress)
        verified["trained_again"] = "the same weights and scores, bit for bit"
    return verified


def compare(run: RunReader, plan: Plan, dataset: Dataset, sampled: Sample, progress: Progress) -> None:
    """Errors: InputError unless the same weights and scores come of training again."""
    from contextlib import ExitStack

    config = Config.from_dict(run.config, str(run.path))
    heads = with_heads(dataset, plan, config.train.seed)
    trainer = Trainer(heads, sampled, np.array(plan["groups"], np.int16), config, progress)
    with tempfile.TemporaryDirectory(prefix="twotower-") as folder:
        with ExitStack() as stack:
            writer = begin_run(stack, Path(folder) / "run", dataset, config, plan)
            train_and_test(trainer, sampled, writer, progress)
        once = RunReader(Path(folder) / "run")
        for name, mine, theirs in (
            ("weights", run.weights_path.read_bytes(), once.weights_path.read_bytes()),
            ("scores", run.scores.tobytes(), once.scores.tobytes()),
        ):
            if hashlib.sha256(mine).digest() != hashlib.sha256(theirs).digest():
                kernels = f"{run.environment.get('gemm')}, now {once.environment.get('gemm')}"
                other = f"trained with {run.version} and the kernels {kernels}"
                raise InputError(f"{run.path}: training again gives other {name} ({other})")
