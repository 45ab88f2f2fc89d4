"""One point of benchmarks/growth.py: a training step of a given size, its time and its memory.

At each point but where the sweep says otherwise: B = 8192 pairs a batch, 4 pairs a user, D = 512, K = 4 groups
of equal size, the default multi-task heads, 700 titles in Zipf order, 100,000 users, F_u = 512, F_t = 896, 2 threads.
"""

import math
import mmap
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workload import BASE_RATE, TITLE_WIDTH, USER_WIDTH, IndexBatch
from twotower.core.config import ModelConfig, TrainConfig
from twotower.data.batches import Batcher, PairBatch
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser

PAIRS_PER_USER = 4
BLOCK_ROWS = 1 << 14  # of a table on the disk; they repeat


@dataclass(frozen=True)
class Point:
    """The sizes of one training step."""

    pairs: int = 8192
    groups: int = 4
    hidden: int = 512
    titles: int = 700
    users: int = 100_000
    threads: int = 2
    head: str = "lowrank"

    @property
    def model(self) -> ModelConfig:
        """Low-rank heads come with a title bias, as --mtl has it; dense ones without, as the paper."""
        groups = {} if self.head == "none" else {"groups": self.groups, "title_bias": self.head == "lowrank"}
        return ModelConfig(hidden=self.hidden, head=self.head, **groups)


def draw_batches(point: Point, count: int, rng: np.random.Generator) -> list[IndexBatch]:
    """Batches in random order: users without replacement, titles by Zipf's law."""
    share = 1 / np.arange(1, point.titles + 1)
    edges = np.cumsum(share / share.sum())
    batches = []
    for _ in range(count):
        user = rng.choice(point.users, point.pairs // PAIRS_PER_USER, replace=False)
        user = rng.permutation(np.repeat(user, PAIRS_PER_USER))
        title = np.minimum(np.searchsorted(edges, rng.random(len(user))), point.titles - 1)
        batches.append(IndexBatch(user, title, (rng.random(len(user)) < BASE_RATE).astype(np.float32)))
    return batches


def write_user_table(path: Path, rows: int) -> None:
    """A float16 table of so many users on the disk, one random block of rows again and again."""
    block = np.random.default_rng(3).standard_normal((BLOCK_ROWS, USER_WIDTH), np.float32).astype(np.float16)
    with open(path, "wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (rows, USER_WIDTH)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, BLOCK_ROWS):
            file.write(block[: rows - start].data)
        file.flush()
        os.fsync(file.fileno())  # else it is written while others are timed


def forget_file(table: np.memmap, advice: int = mmap.MADV_NORMAL) -> None:
    """Make the next reading come from the disk: the file's pages leave this process and the page cache.

    ``advice`` (mmap.MADV_*) tells the kernel how the file will be read from now on.
    """
    mapping = table._mmap
    mapping.madvise(mmap.MADV_DONTNEED)
    mapping.madvise(advice)
    with open(table.filename, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Subject:
    """A model of a point's size with its optimiser and its batches, ready to be timed.

    It works on the first rows of tables that may be larger.
    """

    def __init__(self, point: Point, users: np.ndarray, titles: np.ndarray, batches: list[IndexBatch], seed: int = 0):
        users, titles = users[: point.users], titles[: point.titles]
        rng = np.random.default_rng(seed)
        self.point, self.index_batches, self.turn = point, batches, 0
        members = rng.integers(point.groups, size=point.users).astype(np.int32)
        self.batcher = Batcher(users, titles, members, point.groups, point.pairs)
        self.tables = users, titles
        self.model = TwoTower(point.model, USER_WIDTH, TITLE_WIDTH, rng, BASE_RATE, point.threads)
        self.adam = make_optimiser(self.model, TrainConfig())
        self.prepare_seconds: list[float] = []
        self.step_seconds: list[float] = []
        self.adam_seconds: list[float] = []  # of the step
        self.unique: list[tuple[int, int]] = []

    def prepare(self) -> PairBatch:
        """The next batch, from index arrays: unique rows, grouped, gathered."""
        chosen = self.index_batches[self.turn % len(self.index_batches)]
        self.turn += 1
        return self.batcher.batch_view(chosen.user, chosen.title, chosen.labels)

    def run(self, steps: int, timed: bool = True) -> None:
        """So many batches and steps, one after the other. Errors: RuntimeError for a loss that is not finite."""
        for _ in range(steps):
            started = time.perf_counter()
            batch = self.prepare()
            prepared = time.perf_counter()
            losses = self.model.loss_and_gradients(batch)
            differentiated = time.perf_counter()
            present = [k for k, pairs in enumerate(losses.pairs_by_group) if pairs]
            self.adam.update(self.model.grads, present, self.model.threads)
            updated = time.perf_counter()
            if not math.isfinite(losses.total):
                raise RuntimeError(f"{self.point}: the loss is {losses.total}")
            self.unique.append((len(batch.user_counts), len(batch.title_counts)))
            if timed:
                self.prepare_seconds.append(prepared - started)
                self.step_seconds.append(updated - prepared)
                self.adam_seconds.append(updated - differentiated)

    def memory(self) -> dict[str, int]:
        """Bytes of parameters with gradients and moments, of workspaces, and of batches; not of the tables."""
        learned = bytes_of([self.model.params, self.model.grads, self.adam])
        network = bytes_of([self.model, self.adam])
        everything = bytes_of([self.model, self.adam, self.batcher], without=self.tables)
        return {"parameters": learned, "workspace": network - learned, "batches": everything - network}

    def record(self) -> dict[str, Any]:
        """The point's figures as JSON: medians and quartiles in milliseconds, mean unique rows, bytes."""
        users, titles = (round(statistics.mean(column)) for column in zip(*self.unique, strict=True))
        return {
            "step_ms": in_ms(self.step_seconds),
            "adam_ms": in_ms(self.adam_seconds),
            "batch_ms": in_ms(self.prepare_seconds),
            "unique_users": users,
            "unique_titles": titles,
            "gflop": round(self.flops(users, titles) / 1e9, 3),
            "bytes": self.memory(),
        }

    def flops(self, users: int, titles: int) -> float:
        """Floating-point operations of a step's products; a backward is two forwards, less the input's."""
        D, K, r = self.point.hidden, self.point.groups, self.point.model.rank
        towers = sum(n * (2 * F * D + 3 * D * D) for n, F in ((users, USER_WIDTH), (titles, TITLE_WIDTH)))
        heads = 3 * users * (2 * D * r if self.point.head == "lowrank" else D * D)
        biases = 2 * titles * TITLE_WIDTH * K if self.point.head == "lowrank" else 0
        return 2.0 * (towers + heads + biases + 3 * self.point.pairs * D)


def in_ms(seconds: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = (round(1e3 * float(q), 3) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return {"median": middle, "low": low, "high": high}


def bytes_of(objects: Any, without: tuple[np.ndarray, ...] = ()) -> int:
    """Bytes of all arrays that can be reached from some objects; what several views share counts once."""
    seen: set[int] = {id(owner(array)) for array in without}
    total, waiting = 0, [objects]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, np.ndarray):
            thing = owner(thing)
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            total += thing.nbytes
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, (list, tuple, set, frozenset)):
            waiting += thing
        elif type(thing).__module__.split(".")[0] in ("twotower", "benchmarks"):
            waiting += getattr(thing, "__dict__", {}).values()
            waiting += (getattr(thing, slot) for slot in getattr(thing, "__slots__", ()) if hasattr(thing, slot))
    return total


def owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def resident() -> dict[str, int]:
    """Bytes of this process in memory: the peak, and now its own and those of files that it maps (Linux)."""
    names = {"VmHWM": "peak", "RssAnon": "own", "RssFile": "of_files"}
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[field].split()[0]) * 1024 for field, name in names.items()}
