"""From data to step: what preparing a batch costs, and how much of the bare step's speed an epoch of `train` keeps.

    python -m benchmarks.feed
    python -m benchmarks.feed --pairs-per-user 8 --rounds 11

A dataset lies on disk with users in half precision, memory-mapped, as a simulated world has them. The *bare step* is
forward, backward and Adam on batches that were prepared beforehand. The *epoch* is ``Trainer.run`` itself, with
shuffling, the thread that prepares the next batch, the log of a run and the progress display, without checkpoint and
validation, from the end of its first step to the end of its last. The *loop* is the epoch on the batches that were
prepared beforehand, and *in turn* is the bare step with each batch prepared before it, without a thread: they show what
the rest of the epoch costs. All take the same batches and must end with the same weights, bit for bit.
"""

import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.workload import BASE_RATE, GROUP_SHARES, PAIRS, TITLE_WIDTH, TITLES, USER_WIDTH
from twotower.core.config import Config
from twotower.core.presets import PRESETS
from twotower.data.batches import Batcher, PairBatch
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.sample import Sample, SampleWriter
from twotower.data.territories import Territories
from twotower.report.progress import show_progress
from twotower.training import loop
from twotower.training.run import RunWriter
from twotower.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "feed.json"
K = len(GROUP_SHARES)
BLOCK = 16384  # users written to disk together
PAUSE = 0.1  # seconds between contenders
MODEL = {"groups": K} | PRESETS["default"].mtl_model  # twotower train --mtl

Seconds = dict[str, list[float]]


@click.command(context_settings={"show_default": True})
@click.option("--pairs-per-user", "pairs_per_user", default="1,4,8", help="One workload each.")
@click.option("--steps", default=16, help="Steps an epoch.")
@click.option("--rounds", default=7, help="Rounds in which each contender has its turn.")
@click.option("--threads", default=os.cpu_count() or 1, help="Threads of the model.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where the dataset lies, or shall lie.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(pairs_per_user: str, steps: int, rounds: int, threads: int, directory: Path | None, target: Path) -> None:
    """Time the way from the data to the step."""
    results: dict[str, Any] = {"machine": machine.facts(threads), "model": MODEL, "steps": steps, "workloads": []}
    print(machine.describe(results["machine"]))
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, "blas"):
        dataset = open_dataset(directory or Path(folder) / "world", PAIRS * steps)
        for count in map(int, pairs_per_user.split(",")):
            results["workloads"].append(one_workload(dataset, count, steps, rounds, threads, Path(folder)))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


def open_dataset(path: Path, users: int) -> Dataset:
    """A dataset with so many users in four territories and random vectors, made where there is none."""
    if path.exists():
        return Dataset.open(path)
    rng, codes = np.random.default_rng(0), [f"T{k}" for k in range(K)]
    with DatasetWriter(path, "import", 0, {}) as writer:
        nowhere = np.full(K, np.nan)
        writer.write_territories(Territories(codes, codes, nowhere, nowhere, np.ones(K, int), np.arange(K)))
        writer.write_titles({"title": [f"t{i}" for i in range(TITLES)]}, np.ones((TITLES, K), bool))
        writer.write_title_vectors(rng.standard_normal((TITLES, TITLE_WIDTH), np.float32))
        writer.write_users(rng.choice(K, users, p=GROUP_SHARES))
        vectors = writer.open_user_vectors((users, USER_WIDTH), np.float16)
        for start in range(0, users, BLOCK):
            vectors[start : start + BLOCK] = rng.standard_normal(vectors[start : start + BLOCK].shape, np.float32)
        vectors.flush()
        writer.finish(train_days=1, test_days=0, has_time=False)
    return Dataset.open(path)


def open_sample(dataset: Dataset, pairs_per_user: int, pairs: int) -> Sample:
    """A sample with so many training pairs; each user has ``pairs_per_user``, titles come in Zipf order."""
    name = f"{pairs_per_user}-of-{pairs}"
    if name not in dataset.samples():
        rng, share = np.random.default_rng(1), 1 / np.arange(1, TITLES + 1)
        users = rng.choice(dataset.n_users, pairs // pairs_per_user, replace=False)
        labels = rng.random(pairs) < BASE_RATE
        titles = rng.choice(TITLES, pairs, p=share / share.sum())
        with SampleWriter(dataset, name) as writer:
            writer.write_users(users, np.zeros(len(users), bool), np.empty(0, np.int64))
            writer.write_pairs("train", 0, np.repeat(users, pairs_per_user), titles, labels)
            writer.finish({})
    return Sample(dataset, name)


class TimedWriter(RunWriter):
    """A run's writer that remembers when each line of the log was written."""

    times: list[float]

    def log(self, values: Mapping[str, Any]) -> None:
        super().log(values)
        self.times.append(time.perf_counter())


class Feed:
    """One workload: a trainer, and its epoch in three ways."""

    def __init__(self, dataset: Dataset, pairs_per_user: int, steps: int, threads: int, folder: Path):
        batching = "pairs" if pairs_per_user == 1 else "users"
        settings = {"epochs": 1, "batching": batching, "validation": 0, "threads": threads, "batch_size": PAIRS}
        config = Config.from_dict({"model": MODEL, "train": settings})
        sample = open_sample(dataset, pairs_per_user, PAIRS * steps)
        self.trainer = Trainer(dataset, sample, np.arange(K, dtype=np.int16), config)
        self.model, self.folder, self.runs = self.trainer.model, folder, 0
        self.start = self.model.params.flat.copy(), self.model.running.flat.copy()
        tables = dataset.user_vectors, dataset.title_vectors
        batcher = Batcher(*tables, self.trainer.members, K, PAIRS, buffers=steps)
        self.prepared = list(self._in_turn(batcher))
        self.users = statistics.mean(len(batch.user_counts) for batch in self.prepared)

    def _in_turn(self, batcher: Batcher) -> Iterable[PairBatch]:
        """The first epoch's batches, without the thread."""
        return batcher.batch_views(self.trainer.pairs, self.trainer.order(0), self.trainer.config.train.batching)

    def _begin(self) -> None:
        """Back to the initial weights."""
        self.model.params.flat[:], self.model.running.flat[:] = self.start
        self.trainer.optimiser = loop.make_optimiser(self.model, self.trainer.config.train)
        self.trainer.state = loop.TrainingState()

    def _steps(self, batches: Iterable[PairBatch]) -> float:
        """Seconds from the end of the first step to the end of the last."""
        self._begin()
        times = []
        for batch in batches:
            losses = self.model.loss_and_gradients(batch)
            present = [k for k, pairs in enumerate(losses.pairs_by_group) if pairs]
            self.trainer.optimiser.update(self.model.grads, present, self.model.threads)
            times.append(time.perf_counter())
        return times[-1] - times[0]

    def bare(self) -> float:
        return self._steps(self.prepared)

    def in_turn(self) -> float:
        return self._steps(self._in_turn(self.trainer.batcher))

    def epoch(self) -> float:
        self._begin()
        self.runs += 1
        path = self.folder / f"run-{self.users:.0f}-{self.runs}"
        writer = TimedWriter(path, label="feed", dataset="feed", sample="feed", seed=0)
        writer.times = []
        with suppress(RuntimeError), show_progress(io.StringIO()) as progress, writer:  # no test: not a whole run
            self.trainer.run(writer, progress)
        return writer.times[-1] - writer.times[0]

    def loop(self) -> float:
        prepare = self.trainer.batches
        self.trainer.batches = lambda epoch, skip=0: iter(self.prepared[skip:])
        try:
            return self.epoch()
        finally:
            self.trainer.batches = prepare

    def preparation(self) -> float:
        """Seconds to prepare all batches but the first, on one thread."""
        batches = iter(self._in_turn(self.trainer.batcher))
        next(batches)  # the permutation of the epoch is part of it
        return machine.timed(lambda: sum(len(batch) for batch in batches))

    def weights(self) -> bytes:
        return self.model.params.flat.tobytes()


def one_workload(
    dataset: Dataset, pairs_per_user: int, steps: int, rounds: int, threads: int, folder: Path
) -> dict[str, Any]:
    """Check, time and print one workload."""
    feed = Feed(dataset, pairs_per_user, steps, threads, folder)
    contenders: dict[str, Callable[[], float]] = {
        "bare step": feed.bare, "epoch": feed.epoch, "loop": feed.loop, "in turn": feed.in_turn,
    }  # fmt: skip
    weights = {}
    for name, run in contenders.items():
        run()
        weights[name] = feed.weights()
    if len(set(weights.values())) != 1:
        raise click.ClickException("the epochs do not end with the same weights, and will not be timed")
    seconds, readings = race(contenders | {"preparation": feed.preparation}, rounds, threads)
    outcome = summary(seconds, steps)
    print(f"\n{pairs_per_user} pairs a user: {steps} batches of {PAIRS} pairs and {feed.users:,.0f} users")
    print(table(outcome, readings))
    return {"pairs_per_user": pairs_per_user, "users": feed.users, "readings_gflops": readings} | {
        "outcome": outcome, "seconds": seconds,
    }  # fmt: skip


def race(
    contenders: dict[str, Callable[[], float]], rounds: int, threads: int
) -> tuple[Seconds, dict[str, list[float]]]:
    """Seconds of each contender's epoch in each round, and the machine's readings."""
    seconds: Seconds = {name: [] for name in contenders}
    readings: dict[str, list[float]] = {}
    names = list(contenders)
    for turn in range(rounds):
        for name, rate in machine.readings(threads).items():
            readings.setdefault(name, []).append(rate)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(PAUSE)
            seconds[name].append(contenders[name]())
    return seconds, readings


def summary(seconds: Seconds, steps: int) -> dict[str, Any]:
    """Milliseconds a step, pairs a second, and each contender's share: of the bare step's time or of its speed."""
    outcome = {}
    for name, times in seconds.items():
        per_step = [value / (steps - 1) for value in times]
        ratios = [t / b for t, b in zip(times, seconds["bare step"], strict=True)]
        outcome[name] = {
            "median_ms": round(1e3 * statistics.median(per_step), 2),
            "range_ms": [round(1e3 * min(per_step), 2), round(1e3 * max(per_step), 2)],
            "pairs_per_second": round(PAIRS / statistics.median(per_step)),
            "time_of_bare": round(statistics.median(ratios), 3),
            "speed_of_bare": round(statistics.median(1 / ratio for ratio in ratios), 3),
        }
    return outcome


def table(outcome: dict[str, Any], readings: dict[str, list[float]]) -> str:
    """The figures for the screen."""
    machine_line = "; ".join(f"{name} {min(rates):.0f}–{max(rates):.0f}" for name, rates in readings.items())
    lines = [f"machine, GFLOP/s over the rounds: {machine_line}"]
    lines.append(f"{'':12} {'ms a step':>9} {'range':>13} {'pairs/s':>10}")
    for name, row in outcome.items():
        low, high = row["range_ms"]
        share = {
            "bare step": "",
            "preparation": f"{row['time_of_bare']:.1%} of the bare step's time",
        }.get(name, f"{row['speed_of_bare']:.1%} of the bare step's speed")
        lines.append(
            f"{name:12} {row['median_ms']:9.2f} {f'{low:.1f}–{high:.1f}':>13} {row['pairs_per_second']:10,}   {share}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
