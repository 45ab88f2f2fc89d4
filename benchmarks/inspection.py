"""Looking into a batch, against learning from it: answers first, then times.

    python -m benchmarks.inspection
    python -m benchmarks.inspection --models default --pairs-per-user 4 --rounds 9

The contender is everything that ``twotower inspect`` computes about one batch of 8192 pairs (``gradients.record``: a
backward pass a group, the heads with the mask off, dead units, Adam's step on copies, single users, the norms and inner
products of it all), without opening files and printing. Its measure is the plain training step on the same batch with
the same network: forward, backward, Adam, without preparing the batch. Both take turns within a round, and a round
begins with a reading of the machine. Nothing is timed before the record of a small network agrees with the textbook in
float64. The figure is the ratio a group: the time of an inspection over that of a step, over the K groups.
"""

import json
import os
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.workload import GROUP_SHARES, TITLES, Workload, make_workload
from twotower.core.config import ModelConfig, TrainConfig
from twotower.core.presets import PRESETS
from twotower.data.batches import Batcher
from twotower.lab.attribution.inspection import inspect
from twotower.model import reference
from twotower.model.two_tower import TwoTower
from twotower.training import loop

RESULTS = Path(__file__).parent / "results" / "inspection.json"
LIMIT = 3.0  # steps a group
BUSY = 0.8  # a round that reads less than this share of its workload's best one was not alone on the machine
TOLERANCE = 2e-5  # of a norm or a cosine, float32 against float64, in a batch without ReLU flips
MODELS: dict[str, dict[str, Any]] = {
    "default": {"groups": 4} | PRESETS["default"].mtl_model,
    "default-12": {"groups": 12} | PRESETS["default"].mtl_model,
    "paper": {"groups": 4} | PRESETS["paper"].model | PRESETS["paper"].mtl_model,
    "residual": {"groups": 4, "head": "residual"},
    "mmoe": {"groups": 4, "head": "mmoe"},
    "cross-stitch": {"groups": 4, "head": "cross-stitch"},
    "baseline": {},
}


@click.command(context_settings={"show_default": True})
@click.option("--models", default=",".join(MODELS), help="Shapes of the network.")
@click.option("--pairs-per-user", "pairs_per_user", default="1,8", help="One workload each, for all models.")
@click.option("--rounds", default=5, help="Rounds in which both have their turn.")
@click.option("--threads", default=os.cpu_count() or 1, help="Threads of both.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(models: str, pairs_per_user: str, rounds: int, threads: int, target: Path) -> None:
    """Time the inspection of a batch against a training step."""
    results: dict[str, Any] = {"machine": machine.facts(threads), "limit": LIMIT, "rounds": rounds}
    print(machine.describe(results["machine"]))
    print(f"{'model':14}{'K':>3}{'pairs a user':>14}{'step ms':>10}{'inspect ms':>12}{'steps':>8}{'a group':>9}")
    found: list[dict[str, Any]] = []
    with threadpool_limits(1, user_api="blas"):
        for name in models.split(","):
            error = check(name)
            for pairs in map(int, pairs_per_user.split(",")):
                row = {"model": name, "pairs_per_user": pairs, "error": error}
                found.append(row | race(subject_of(name, pairs, threads), rounds, threads))
                print(line(found[-1]), flush=True)
    results["workloads"] = found
    results["worst"] = worst = max(row["ratio_per_group"] for row in found)
    print(f"the most costly: {worst:.2f} steps a group ({'within' if worst <= LIMIT else 'above'} {LIMIT:g})")
    rates = [rate for row in found for rate in row["readings"]]
    print(f"machine: {min(rates):.0f}–{max(rates):.0f} GFLOP/s over the rounds")
    if any(min(row["readings"]) < BUSY * max(row["readings"]) for row in found):
        print("Readings differ within a workload: the machine was busy, and its ratio is worth little. Run it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"written: {os.path.relpath(target)}")


def line(row: dict[str, Any]) -> str:
    """One workload for the screen."""
    return (
        f"{row['model']:14}{row['groups']:3}{row['pairs_per_user']:14}{row['step_ms']:10.1f}{row['inspect_ms']:12.1f}"
        f"{row['ratio']:8.2f}{row['ratio_per_group']:9.2f}"
    )


def subject_of(name: str, pairs_per_user: int, threads: int, **sizes: int) -> Any:
    """A network and a batch, as ``inspect`` wants them; ``sizes``: hidden, pairs and users of a small one."""
    rng = np.random.default_rng(0)
    shape = ModelConfig(**MODELS[name] | {"hidden": sizes.pop("hidden", 512)})
    K = shape.groups
    workload = make_workload(pairs_per_user, rng, min(K, len(GROUP_SHARES)), batches=1, **sizes)
    if len(GROUP_SHARES) < K:
        workload = replace(workload, user_group=rng.integers(0, K, len(workload.user_group)), groups=K)
    tables = workload.user_table, workload.title_table
    index = workload.batches[0]
    batcher = Batcher(*tables, workload.user_group, K, len(index.user), buffers=1)
    batch = batcher.batch(index.user, index.title.astype(np.int32), index.labels)
    model = TwoTower(shape, tables[0].shape[1], tables[1].shape[1], rng, threads=threads)
    for values in model.params.values():  # nothing at 0, behind which a wrong term could hide
        values += rng.uniform(-0.05, 0.05, values.shape).astype(np.float32)
    settings = TrainConfig()
    return SimpleNamespace(
        model=model, batch=batch, config=settings, territory_group=np.arange(K),
        trainer=SimpleNamespace(optimiser=loop.make_optimiser(model, settings)), dataset=names_of(workload),
        group_names=[f"group {k}" for k in range(K)], facts=lambda: {"model": asdict(shape)},
    )  # fmt: skip


def names_of(workload: Workload) -> Any:
    """What a record says of users and titles by name."""
    return SimpleNamespace(
        user_ids=None, user_territory=workload.user_group, title_ids=[str(t) for t in range(TITLES)],
        territories=SimpleNamespace(code=[str(k) for k in range(workload.groups)]),
    )  # fmt: skip


def race(subject: Any, rounds: int, threads: int) -> dict[str, Any]:
    """Medians of both, and of their ratio within a round."""
    model, optimiser, batch = subject.model, subject.trainer.optimiser, subject.batch
    turns: dict[str, list[float]] = {"step": [], "inspect": []}

    def step() -> None:
        loop.train_step(model, optimiser, batch, 0)

    readings = []
    work = {"step": step, "inspect": lambda: inspect(subject)}
    for run in work.values():  # compile, allocate
        run()
    for turn in range(rounds):
        readings.append(max(machine.fma_rates(threads).values(), default=0.0))
        for name in sorted(work, reverse=bool(turn % 2)):
            time.sleep(0.02)
            repeats = 5 if name == "step" else 1
            step()  # fetches its memory back into the caches
            turns[name].append(statistics.median(machine.timed(work[name]) for _ in range(repeats)))
    ratio = statistics.median(i / s for i, s in zip(turns["inspect"], turns["step"], strict=True))
    return {
        "groups": model.config.groups,
        "users": len(batch.user_counts),
        "step_ms": round(1e3 * statistics.median(turns["step"]), 2),
        "inspect_ms": round(1e3 * statistics.median(turns["inspect"]), 2),
        "ratio": round(ratio, 3),
        "ratio_per_group": round(ratio / model.config.groups, 3),
        "readings": [round(rate, 1) for rate in readings],
        "seconds": turns,
    }


def check(name: str) -> float:
    """Largest relative difference of a small network's record from the textbook. Errors: ClickException when wrong."""
    subject = subject_of(name, 2, 1, hidden=24, pairs=192, users=400)
    record, shape = inspect(subject), subject.model.config
    params = {key: value.astype(np.float64) for key, value in subject.model.params.items()}
    batch = reference.expand(subject.batch)
    towers = [key for key in params if key.startswith(("user.", "title."))]
    flat, error = [], 0.0
    for k in range(shape.groups):
        terms = reference.Terms(weights=(batch.group == k).astype(np.float64))
        on, off = (
            reference.loss_and_gradients(params, batch, shape, terms, masked=masked)[1] for masked in (True, False)
        )
        flat.append(np.concatenate([on[key].ravel() for key in towers]))
        for block in record["blocks"]:
            owner = block["owner"] if block["owner"] is not None else slice(None)
            whole = max(block["gradient"], *block["by_group"])
            error = max(error, abs(block["by_group"][k] - np.linalg.norm(on[block["parameter"]][owner])) / whole)
            if block["unmasked"] is not None:
                leak = np.linalg.norm(off[block["parameter"]][owner])
                error = max(error, abs(block["unmasked"][k] - leak) / leak)
    norms = np.linalg.norm(flat, axis=1)
    cosine = np.stack(flat) @ np.stack(flat).T / np.outer(norms, norms)
    error = max(error, float(np.abs(cosine - np.array(record["conflict"]["cosine"])).max()))
    if not error <= TOLERANCE:
        raise click.ClickException(f"{name}: {error:.1e} from the textbook; not timed")
    return float(error)


if __name__ == "__main__":
    main()
