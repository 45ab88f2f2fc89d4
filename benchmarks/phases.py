"""Where the time of a training step goes: by phase, and by kernel.

    python -m benchmarks.phases
    python -m benchmarks.phases --pairs-per-user 4 --model default --threads 1

The passes over tiles and the kernels in them are watched by stopwatches, which cost about 1 % of the step. A phase's
*busy* share is the time that its kernels took, over the time that all threads had: the rest is waiting at its end,
and Python between the kernels. ``benchmarks.step`` prints the same table below its own.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import click
import numpy as np

from benchmarks.growth_point import bytes_of
from benchmarks.workload import MODELS, PAIRS, Workload, make_workload
from twotower.core.config import ModelConfig
from twotower.model import tower
from twotower.model.engine import gemm, kernels
from twotower.model.engine.threads import Threads

#: What a pass over tiles is called, by the function that the threads run.
PHASES = {
    "Packing.run": "weights laid out in panels",
    "TowerBatch.first": "first layers",
    "TowerBatch.second": "second layers",
    "TwoTower._forward.<locals>.output": "output of the title tower",
    "TwoTower._through_heads_and_back.<locals>.one_tile": "heads, scores, loss, and back",
    "Score.backward_titles.<locals>.columns": "gradient of the titles",
    "TwoTower.backward_pass.<locals>.title_output": "output of the title tower, back",
    "TowerBatch.second_backward": "second layers, back",
    "TowerBatch.first_backward": "first layers, back",
    "TwoTower._weight_gradients.<locals>.piece": "weight gradients",
    "add": "sums of weight gradients",
    "Adam.update.<locals>.piece": "Adam",
}
#: What is watched of ``gemm``.
PRODUCTS = ("pack", "pack_columns", "pack_rows", "matmul", "matmul_transposed", "rows_of_transposed")
BATCH, REST = "batch: unique rows, features", "Python between the passes"


class Stopwatches:
    """Seconds of each phase and of each kernel, and of kernels by phase over all threads."""

    def __init__(self) -> None:
        self.phases: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        self.steps: list[float] = []
        self._sweeping = self._now = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch everything that runs in the body."""
        run, sweep = Threads.run, tower.sweep
        parts: list[tuple[Any, str, Callable]] = [
            (module, name, function)
            for module in (kernels, gemm)
            for name, function in vars(module).items()
            if callable(function) and (name in PRODUCTS
                                       or (module is kernels and hasattr(function, "py_func")))
        ]  # fmt: skip

        def watched_run(threads: Threads, work: Callable, items: Any) -> None:
            self._now = PHASES[self._sweeping or work.__qualname__]
            started = time.perf_counter()
            run(threads, work, items)
            self.phases[self._now] += time.perf_counter() - started

        def watched_sweep(towers: Any, layer: Callable, *rest: Any) -> None:
            self._sweeping = layer.__qualname__
            sweep(towers, layer, *rest)
            self._sweeping = ""

        patches = [patch.object(Threads, "run", watched_run), patch.object(tower, "sweep", watched_sweep)]
        patches += [patch.object(module, name, self._watched(name, function)) for module, name, function in parts]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()

    def _watched(self, name: str, function: Callable) -> Callable:
        def timed(*arguments: Any) -> None:
            started = time.perf_counter()
            function(*arguments)
            seconds = time.perf_counter() - started
            self.kernels[name] += seconds
            self.busy[self._now] += seconds

        return timed

    def measure(self, ours: Any, workload: Workload, steps: int) -> None:
        """So many steps of our contender, one after the other, after two that are not watched."""
        for i in range(2):
            ours.step(workload.batches[i])
        with self.watching():
            for i in range(steps):
                chosen = workload.batches[i % len(workload.batches)]
                started = time.perf_counter()
                batch = ours.batcher.batch_view(chosen.user, chosen.title, chosen.labels)
                self.phases[BATCH] += time.perf_counter() - started
                losses = ours.model.loss_and_gradients(batch)
                present = [k for k, pairs in enumerate(losses.pairs_by_group) if pairs]
                ours.adam.update(ours.model.grads, present, ours.model.threads)
                self.steps.append(time.perf_counter() - started)
        self.phases[REST] = sum(self.steps) - sum(self.phases.values())

    def summary(self, threads: int) -> dict[str, Any]:
        """Milliseconds a step of each phase, its busy share, and those of each kernel over all threads."""
        n = len(self.steps)
        return {
            "median_ms": round(1e3 * statistics.median(self.steps), 2),
            "phases": {
                name: {
                    "ms": round(1e3 * seconds / n, 2),
                    "share": round(seconds / sum(self.steps), 3),
                    "busy": round(self.busy[name] / (threads * seconds), 2) if name in self.busy else None,
                }
                for name, seconds in self.phases.most_common()
            },
            "kernels_ms": {name: round(1e3 * seconds / n, 2) for name, seconds in self.kernels.most_common()},
        }


def breakdown(ours: Any, workload: Workload, threads: int, steps: int = 20) -> dict[str, Any]:
    """Where a step's time goes, and the bytes of the workspaces."""
    watches = Stopwatches()
    watches.measure(ours, workload, steps)
    model = ours.model
    workspace = bytes_of([model]) - bytes_of([model.params, model.grads, model.running])
    return watches.summary(threads) | {"workspace_bytes": workspace}


def table(found: dict[str, Any]) -> str:
    """The figures for the screen."""
    lines = [f"{'where the time goes':33} {'ms':>6} {'share':>6} {'busy':>5}"]
    for name, row in found["phases"].items():
        busy = "" if row["busy"] is None else f"{row['busy']:.0%}"
        lines.append(f"{name:33} {row['ms']:6.2f} {row['share']:6.1%} {busy:>5}")
    total = sum(found["kernels_ms"].values())
    parts = ", ".join(f"{name} {ms / total:.0%}" for name, ms in found["kernels_ms"].items() if ms / total >= 0.005)
    return "\n".join([*lines, f"of the kernels' time: {parts}", f"workspaces: {found['workspace_bytes']:,} bytes"])


@click.command(context_settings={"show_default": True})
@click.option("--pairs-per-user", "pairs_per_user", default="1,4,8", help="One table each.")
@click.option("--model", "model_name", type=click.Choice(list(MODELS)), default="paper", help="Shape of the network.")
@click.option("--threads", default=2, help="Threads of the network.")
@click.option("--steps", default=20, help="Watched steps.")
def main(pairs_per_user: str, model_name: str, threads: int, steps: int) -> None:
    """Print where the time of a step goes."""
    import torch
    from threadpoolctl import threadpool_limits

    from benchmarks.answers import start_values
    from benchmarks.contenders import Ours

    torch.set_num_threads(threads)
    model: ModelConfig = MODELS[model_name]
    with threadpool_limits(1, user_api="blas"):
        for count in map(int, pairs_per_user.split(",")):
            workload = make_workload(count, np.random.default_rng(0), model.groups)
            found = breakdown(Ours(workload, model, start_values(model, workload)), workload, threads, steps)
            print(f"\n{count} pairs a user, {PAIRS} pairs, {model_name} model: {found['median_ms']:.1f} ms a step")
            print(table(found))


if __name__ == "__main__":
    main()
