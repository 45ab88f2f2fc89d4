"""How long a fresh process takes before it computes: import, --help, and the first step, with and without kernels kept.

    python -m benchmarks.cold
    python -m benchmarks.cold --rounds 3 --kernels 40

Every figure is of processes of their own, from start to end as a user waits for them, interleaved over the rounds;
"cold" ones get an empty directory for compiled kernels, "warm" ones share one that has been filled. Python itself and
``import numba`` stand beside them: what is below is not this project's. The first step is one of training, 8192 pairs,
hidden width 512, four low-rank heads; before it is timed, its loss on a cold cache must equal that on a warm one.
The table of kernels is of one cold process more, by Numba's own events: a kernel's own time, without what it calls.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks import machine

RESULTS = Path(__file__).parent / "results" / "cold.json"
ROOT = Path(__file__).resolve().parent.parent

STEP = """
import json, time
begun = time.perf_counter()
import numpy as np
from twotower.core.config import ModelConfig, TrainConfig
from twotower.data.batches import Batcher
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser
imported = time.perf_counter()
rng = np.random.default_rng(0)
users, titles = (rng.standard_normal(shape, np.float32) for shape in ((4096, 512), (700, 896)))
batcher = Batcher(users, titles, np.arange(4096) % 4, 4, 8192)
pairs = np.arange(8192) % 4096, (np.arange(8192) % 700).astype(np.int32), (np.arange(8192) % 9 == 0).astype(np.float32)
network = TwoTower(ModelConfig(groups=4, head="lowrank", title_bias=True), 512, 896, rng)
optimiser = make_optimiser(network, TrainConfig())
made = time.perf_counter()
losses = network.loss_and_gradients(batcher.batch(*pairs))
optimiser.update(network.grads, [0, 1, 2, 3], network.threads)
print(json.dumps({"loss": losses.total, "import_s": imported - begun, "step_s": time.perf_counter() - made}))
"""

KERNELS = """
import json, time
from numba.core import event

class Costs(event.Listener):
    running, rows = [], []
    def on_start(self, happened):
        self.running.append([time.perf_counter(), 0.0])
    def on_end(self, happened):
        begun, inner = self.running.pop()
        took = time.perf_counter() - begun
        if self.running:
            self.running[-1][1] += took
        function = happened.data["dispatcher"].py_func
        self.rows.append((function.__module__, function.__qualname__, str(happened.data["args"]), took - inner))

event.register("numba:compile", Costs())
from twotower.training.warm_up import compile_kernels, warm_up_commands
compile_kernels()
training = len(Costs.rows)
warm_up_commands()
print(json.dumps([[*row, place < training] for place, row in enumerate(Costs.rows)]))
"""

#: Name → arguments of Python, and whether its kernels are compiled (cold), loaded (warm) or not needed (None).
PROCESSES: dict[str, tuple[list[str], str | None]] = {
    "python -c pass": (["-c", "pass"], None),
    "import numba": (["-c", "import numba"], None),
    "import twotower": (["-c", "import twotower"], None),
    "twotower --help": (["cli.py", "--help"], None),
    "twotower train --help": (["cli.py", "train", "--help"], None),
    "first step, warm": (["-c", STEP], "warm"),
    "first step, cold": (["-c", STEP], "cold"),
    "twotower warmup, warm": (["cli.py", "warmup"], "warm"),
    "twotower warmup, cold": (["cli.py", "warmup"], "cold"),
}
#: Seconds that a name may take at most, as the project wants it.
TARGETS = {"import twotower": 0.15, "twotower --help": 0.3, "first step, warm": 1.0, "first step, cold": 12.0}


def run(arguments: list[str], kept: Path | None) -> str:
    """What a fresh Python prints, with a directory of compiled kernels. Errors: ClickException when it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")}
    environment |= {"NUMBA_CACHE_DIR": str(kept)} if kept else {}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{' '.join(arguments)[:40]} failed: {done.stderr.strip()}")
    return done.stdout


def check(warm: Path) -> float:
    """The loss of the first step, whether its kernels were compiled or loaded. Fills ``warm``."""
    losses = [json.loads(run(["-c", STEP], warm))["loss"] for _ in range(2)]
    if losses[0] != losses[1]:
        raise click.ClickException(f"the loss is {losses[0]} when kernels are compiled, {losses[1]} when loaded")
    return losses[0]


def race(rounds: int, cold_rounds: int, warm: Path) -> tuple[dict[str, list[float]], dict[str, list[dict[str, float]]]]:
    """Seconds of each process in each round, and what the first steps say of their parts."""
    seconds: dict[str, list[float]] = {name: [] for name in PROCESSES}
    parts: dict[str, list[dict[str, float]]] = {}
    names = list(PROCESSES)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            arguments, needs = PROCESSES[name]
            if needs == "cold" and turn >= cold_rounds:
                continue
            with tempfile.TemporaryDirectory() as empty:
                printed: list[str] = []
                kept = {"warm": warm, "cold": Path(empty), None: None}[needs]
                seconds[name].append(machine.timed(lambda a=arguments, k=kept, p=printed: p.append(run(a, k))))
                if STEP in arguments:
                    parts.setdefault(name, []).append(json.loads(printed[0]))
    return seconds, parts


def kernels() -> list[dict[str, Any]]:
    """What each compiled function costs, the dearest first; one entry a signature."""
    with tempfile.TemporaryDirectory() as empty:
        rows = json.loads(run(["-c", KERNELS], Path(empty)))
    found = [
        {"kernel": f"{module}.{name}", "signature": signature, "seconds": round(took, 4), "training": training}
        for module, name, signature, took, training in rows
    ]
    return sorted(found, key=lambda row: -row["seconds"])


def kernel_table(rows: list[dict[str, Any]], shown: int) -> str:
    """The dearest kernels, their signatures added up."""
    total: dict[str, list[float]] = {}
    for row in rows:
        total.setdefault(row["kernel"].removeprefix("twotower."), []).append(row["seconds"])
    every, training = (sum(r["seconds"] for r in rows if r["training"] or not only) for only in (False, True))
    lines = [f"compiling {len(rows)} signatures: {every:.1f} s, {training:.1f} s of it for training"]
    for name, costs in sorted(total.items(), key=lambda item: -sum(item[1]))[:shown]:
        several = f"  {len(costs)} signatures" if len(costs) > 1 else ""
        lines.append(f"{name:48} {sum(costs):6.2f} s{several}")
    return "\n".join(lines)


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=9, help="Rounds in which each process has its turn.")
@click.option("--cold-rounds", default=3, help="Rounds of those that compile everything.")
@click.option("--kernels", "shown", default=20, help="Kernels to print; all are written.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(rounds: int, cold_rounds: int, shown: int, target: Path) -> None:
    """Time the start of fresh processes."""
    facts = machine.facts(threads=1)
    print(machine.describe(facts))
    with tempfile.TemporaryDirectory() as directory:
        warm = Path(directory)
        loss = check(warm)
        run(["cli.py", "warmup"], warm)
        seconds, parts = race(rounds, min(rounds, cold_rounds), warm)
    medians = {name: round(statistics.median(times), 3) for name, times in seconds.items()}
    print(f"\nthe first step's loss, cold and warm: {loss:.6f}\n{'':24} {'median s':>9} {'best':>7}   wanted")
    for name, times in seconds.items():
        wanted = f"≤ {TARGETS[name]} s" if name in TARGETS else ""
        print(f"{name:24} {medians[name]:9.3f} {min(times):7.3f}   {wanted}")
    for name, steps in parts.items():
        imported, stepped = (statistics.median(step[part] for step in steps) for part in ("import_s", "step_s"))
        print(f"{name}: import {imported:.2f} s, step {stepped:.2f} s")
    rows = kernels()
    print("\n" + kernel_table(rows, shown))
    results = {"machine": facts, "median_s": medians, "wanted_s": TARGETS, "seconds": seconds, "parts": parts}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results | {"kernels": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
