"""What more threads than this machine has cores would bring: a prediction from tasks measured on one thread.

    python -m benchmarks.scaling

Every task of a step is timed on one thread by the thread's own clock, its kernels apart from Python around them. The
tasks of a pass are then given to N workers in their order; a pass begins when the one before has ended. Python holds
the interpreter's lock, so that no two workers are in it at once, and a pass is never faster than the memory bandwidth
lets it read and write each array that its kernels were given, once. What is not in it: waking threads, turbo
frequencies, sockets that share memory, and third-level caches that are shared by more cores than here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest.mock import patch

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.phases import PRODUCTS
from benchmarks.workload import MODELS, TITLE_WIDTH, USER_WIDTH, Workload, make_workload
from twotower.data.batches import Batcher
from twotower.model.adam import Adam
from twotower.model.engine import gemm, kernels
from twotower.model.engine.threads import Threads
from twotower.model.two_tower import TwoTower

WORKERS = (1, 2, 4, 8, 16, 32, 64)


@dataclass
class Pass:
    """One call of ``Threads.run``."""

    name: str
    before: float  # seconds of the one thread since the last pass
    tasks: list[tuple[float, float]] = field(default_factory=list)  # seconds in Python, and in kernels
    arrays: dict[int, int] = field(default_factory=dict)  # bytes by address

    def seconds(self, workers: int, bandwidth: float) -> float:
        """How long the pass takes: its tasks on so many workers, or its bytes at so many per second."""
        return self.before + max(schedule(self.tasks, workers), sum(self.arrays.values()) / bandwidth)


def schedule(tasks: Sequence[tuple[float, float]], workers: int) -> float:
    """Seconds until all tasks are done, each by the worker that is free first; only one at a time is in Python."""
    free, lock = [0.0] * workers, 0.0
    for python, kernel in tasks:
        worker = free.index(min(free))
        lock = max(lock, free[worker]) + python
        free[worker] = lock + kernel
    return max(free)


class Step:
    """A training step on batches of the workload, and a recorder of its tasks."""

    def __init__(self, workload: Workload, model_name: str, threads: int):
        model, self.workload = MODELS[model_name], workload
        tables = workload.user_table, workload.title_table
        self.batcher = Batcher(*tables, workload.user_group, model.groups, len(workload.batches[0].labels))
        self.model = TwoTower(model, USER_WIDTH, TITLE_WIDTH, np.random.default_rng(0), threads=threads)
        self.adam = Adam(self.model.params, self.model.shared_span(), self.model.group_spans(), 1e-3)
        self.passes: list[Pass] = []
        self.after = 0.0  # the last pass
        self.counting = False  # the bytes of kernels: in a step of its own, since that takes time
        self._kernels, self._ended = 0.0, 0.0

    def run(self, number: int) -> float:
        """Seconds of one step, without preparing the batch, which training does on another thread."""
        chosen = self.workload.batches[number % len(self.workload.batches)]
        batch = self.batcher.batch_view(chosen.user, chosen.title, chosen.labels)
        self._ended, started = time.thread_time(), time.perf_counter()
        losses = self.model.backward_pass(batch)
        self.adam.update(self.model.grads, losses.present, self.model.threads)
        self.after = time.thread_time() - self._ended
        return time.perf_counter() - started

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the passes of all steps in the body, on one thread."""

        def run(threads: Threads, work: Callable[[Any], object], items: Sequence[Any]) -> None:
            now = Pass(work.__qualname__, time.thread_time() - self._ended)
            self.passes.append(now)
            for item in items:
                self._kernels, started = 0.0, time.thread_time()
                work(item)
                now.tasks.append((time.thread_time() - started - self._kernels, self._kernels))
            self._ended = time.thread_time()

        with ExitStack() as stack:
            stack.enter_context(patch.object(Threads, "run", run))
            for module in (kernels, gemm):
                for name, function in list(vars(module).items()):
                    if name in PRODUCTS or (module is kernels and hasattr(function, "py_func")):
                        stack.enter_context(patch.object(module, name, self._watched(function)))
            yield

    def _watched(self, function: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            started = time.thread_time()
            function(*arguments)
            self._kernels += time.thread_time() - started
            if self.counting and self.passes:
                arrays = [a for a in arguments if isinstance(a, np.ndarray)]
                self.passes[-1].arrays |= {a.ctypes.data: a.nbytes for a in arrays}

        return timed


def bandwidth(threads: int, size: int = 1 << 25) -> float:
    """Bytes per second that so many threads read and write together, copying arrays beyond every cache."""
    pairs = [(np.ones(size, np.float32), np.empty(size, np.float32)) for _ in range(threads)]

    def copy(pair: tuple[np.ndarray, np.ndarray]) -> None:
        np.copyto(pair[1], pair[0])

    with ThreadPoolExecutor(threads) as pool:
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            list(pool.map(copy, pairs))
            seconds.append(time.perf_counter() - started)
    return 2 * 4 * size * threads / min(seconds)


@click.command(context_settings={"show_default": True})
@click.option("--pairs-per-user", default=1, help="1: all users unique.")
@click.option("--model", "model_name", type=click.Choice(list(MODELS)), default="default", help="Shape of the network.")
@click.option("--steps", default=5, help="Recorded steps; the median of each prediction counts.")
@click.option("--socket", default=150.0, help="Memory bandwidth of a socket in GB/s: as much as all workers share.")
def main(pairs_per_user: int, model_name: str, steps: int, socket: float) -> None:
    """Predict a step's speed-up on 1 to 64 threads."""
    with threadpool_limits(1, user_api="blas"):
        workload = make_workload(pairs_per_user, np.random.default_rng(0), MODELS[model_name].groups)
        recorded = []
        step = Step(workload, model_name, 1)
        for number in range(3):
            step.run(number)
        with step.recording():
            for number in range(steps + 1):
                step.passes, step.counting = [], number == 0
                step.run(number)
                recorded.append((step.passes, step.after))
        (counted, _), *recorded = recorded
        for passes, _ in recorded:
            for each_pass, same in zip(passes, counted, strict=True):
                each_pass.arrays = same.arrays
        python = median(sum(task[0] for p in passes for task in p.tasks) for passes, _ in recorded)
        alone = median(sum(p.before for p in passes) + end for passes, end in recorded)
        print(f"Python, one thread at a time: {1e3 * python:.1f} ms in tasks, {1e3 * alone:.1f} ms between passes")
        each = bandwidth(1)
        print(f"memory: {each / 1e9:.1f} GB/s per thread here, at most {socket:g} GB/s together")
        found = {}
        for workers in WORKERS:
            limit = min(workers * each, socket * 1e9)
            found[workers] = median(sum(p.seconds(workers, limit) for p in passes) + end for passes, end in recorded)
            passes = recorded[-1][0]
            worst = max(passes, key=lambda p: p.seconds(workers, limit) - p.seconds(1, 1e15) / workers)
            print(f"{workers:3} threads: {1e3 * found[workers]:7.1f} ms, {found[1] / found[workers]:5.2f}×; "
                  f"most is lost in {worst.name} ({len(worst.tasks)} tasks)")  # fmt: skip
        one, two = Step(workload, model_name, 1), Step(workload, model_name, 2)
        pairs = [(one.run(number), two.run(number)) for number in range(3 + 3 * steps)][3:]
    print(f"by the clock, 2 threads: {median(a / b for a, b in pairs):.2f}×, predicted {found[1] / found[2]:.2f}×")


if __name__ == "__main__":
    main()
