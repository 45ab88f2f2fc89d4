"""One training step, twotower against PyTorch: answers first, then times.

    python -m benchmarks.step
    python -m benchmarks.step --pairs-per-user 4 --rounds 3 --contenders twotower,torch-best

A step starts from index arrays and ends with updated parameters: gather, unique rows where a contender uses
them, forward, backward, Adam. The contenders start from equal parameters and run interleaved in one process,
in an order that rotates, over several rounds; a round begins with a reading of the machine. Nobody is timed
before giving the gradients of an independent float64 implementation (benchmarks/answers.py).
"""

import json
import os
import shutil
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import machine, phases
from benchmarks.answers import complaint, errors_of, find_answers, start_values
from benchmarks.contenders import CONTENDERS
from benchmarks.peers import Contender
from benchmarks.workload import MODELS, PAIRS, TITLES, Workload, make_workload
from twotower.core.config import ModelConfig

RESULTS = Path(__file__).parent / "results" / "step.json"
BUSY = 0.8  # a round that reads less than this share of the best one was not alone on the machine
PAUSE = 0.03  # seconds between contenders, in which the waiting threads of the last one fall asleep

Rounds = dict[str, list[list[float]]]  # contender → round → seconds of each step


@click.command(context_settings={"show_default": True})
@click.option("--pairs-per-user", "pairs_per_user", default="1,4,8", help="One workload each.")
@click.option("--model", "model_name", type=click.Choice(list(MODELS)), default="paper", help="Shape of the network.")
@click.option("--contenders", default=",".join(CONTENDERS), help="Who takes part.")
@click.option("--rounds", default=7, help="Rounds in which each contender has its turn.")
@click.option("--steps", default=3, help="Timed steps a turn, after one that is not timed.")
@click.option("--threads", default=os.cpu_count() or 1, help="Threads of every contender.")
@click.option("--check/--no-check", default=True, help="Compare the answers first.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(
    pairs_per_user: str,
    model_name: str,
    contenders: str,
    rounds: int,
    steps: int,
    threads: int,
    check: bool,
    target: Path,
) -> None:
    """Time one training step of every contender."""
    torch.set_num_threads(threads)
    names = [name for name in contenders.split(",") if can_run(name)]
    results: dict[str, Any] = {
        "machine": machine.facts(threads),
        "torch": torch.__version__,
        "model": {"name": model_name} | asdict(MODELS[model_name]),
        "contenders": {name: CONTENDERS[name][1] for name in names},
        "workloads": [],
    }
    print(machine.describe(results["machine"]), f"PyTorch {torch.__version__}", sep="\n")
    with threadpool_limits(1, user_api="blas"):  # twotower's threads are above the BLAS, PyTorch's inside its own
        for count in map(int, pairs_per_user.split(",")):
            results["workloads"].append(one_workload(count, model_name, names, rounds, steps, threads, check))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


def can_run(name: str) -> bool:
    """Whether a contender can take part; says why not."""
    if name not in CONTENDERS:
        raise click.BadParameter(f"{name!r} is none of {', '.join(CONTENDERS)}")
    if name == "torch-compile" and not any(map(shutil.which, ("g++", "clang++"))):
        print("torch-compile stays out: it needs a C++ compiler")
        return False
    return True


def one_workload(
    pairs_per_user: int, model_name: str, names: list[str], rounds: int, steps: int, threads: int, check: bool
) -> dict[str, Any]:
    """Check, time and print all contenders on batches with so many pairs a user."""
    model = MODELS[model_name]
    workload = make_workload(pairs_per_user, np.random.default_rng(0), model.groups)
    unique = [len(np.unique(batch.title)) for batch in workload.batches]
    print(
        f"\n{pairs_per_user} pairs a user: {PAIRS} pairs, {PAIRS // pairs_per_user} users, "
        f"{min(unique)}–{max(unique)} of {TITLES} titles a batch; {model_name} model, K = {model.groups}"
    )
    start = start_values(model, workload)
    errors = {}
    if check:
        answers = find_answers(model, workload, start)
        for name in names:
            errors[name] = errors_of(lambda name=name: CONTENDERS[name][0](workload, model, start), workload, answers)
            if wrong := complaint(errors[name]):
                raise click.ClickException(f"{name} is wrong and will not be timed: {wrong}")
    running = {name: CONTENDERS[name][0](workload, model, start) for name in names}
    seconds, readings = race(running, workload, rounds, steps, threads)
    flops = {name: step_flops(model, workload, expanded=name in ("torch-paper", "torch-compile")) for name in names}
    outcome = summary(seconds, flops, readings, errors)
    print(table(outcome, readings))
    found = phases.breakdown(running["twotower"], workload, threads) if "twotower" in running else None
    if found:
        print(phases.table(found))
    return {
        "pairs_per_user": pairs_per_user,
        "users": PAIRS // pairs_per_user,
        "titles": unique,
        "readings_gflops": readings,
        "contenders": outcome,
        "breakdown": found,
        "seconds": seconds,
    }


def race(
    running: dict[str, Contender], workload: Workload, rounds: int, steps: int, threads: int
) -> tuple[Rounds, dict[str, list[float]]]:
    """Seconds of every timed step, and the machine's readings of every round."""
    seconds: Rounds = {name: [] for name in running}
    readings: dict[str, list[float]] = {}
    for contender in running.values():  # compile, allocate
        contender.step(workload.batches[0])
        contender.step(workload.batches[1])
    for turn in range(rounds):
        for name, rate in machine.readings(threads).items():
            readings.setdefault(name, []).append(rate)
        names = list(running)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(PAUSE)
            running[name].step(workload.batches[-1])  # fetches its memory back into the caches
            batches = [workload.batches[(turn + i) % len(workload.batches)] for i in range(steps)]
            seconds[name].append([machine.timed(running[name].step, batch) for batch in batches])
    return seconds, readings


def step_flops(model: ModelConfig, workload: Workload, expanded: bool) -> float:
    """Floating-point operations of the products in one step; a backward is two forwards, less the input's.

    ``expanded``: a row a pair and every head on every row; otherwise unique rows, and one head a row.
    """
    D, B = model.hidden, PAIRS
    batches = workload.batches
    users = B if expanded else statistics.mean(len(np.unique(batch.user)) for batch in batches)
    titles = B if expanded else statistics.mean(len(np.unique(batch.title)) for batch in batches)
    heads = model.groups if expanded else 1
    head = {"none": 0, "plain": D * D, "residual": D * D, "lowrank": 2 * D * model.rank}[model.head]
    towers = sum(
        rows * (2 * table.shape[1] * D + 3 * D * D)
        for rows, table in ((users, workload.user_table), (titles, workload.title_table))
    )
    scores = 3 * B * D * heads
    return 2.0 * (towers + 3 * users * head * heads + scores)


def summary(
    seconds: Rounds,
    flops: dict[str, float],
    readings: dict[str, list[float]],
    errors: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """Per contender: milliseconds (median, quartiles), ratio to the first within each round, and rate."""
    first = next(iter(seconds))
    limit = max(statistics.median(rates) for name, rates in readings.items() if name.startswith("FMA"))
    outcome = {}
    for name, turns in seconds.items():
        every = [value for turn in turns for value in turn]
        low, middle, high = (1e3 * value for value in np.quantile(every, (0.25, 0.5, 0.75)))
        ratios = [statistics.median(t) / statistics.median(f) for t, f in zip(turns, seconds[first], strict=True)]
        rate = flops[name] / middle / 1e6
        outcome[name] = {
            "median_ms": round(middle, 2), "quartiles_ms": [round(low, 2), round(high, 2)],
            "best_ms": round(1e3 * min(every), 2), "times_the_first": round(statistics.median(ratios), 2),
            "pairs_per_second": round(1e3 * PAIRS / middle), "gflops": round(rate, 1),
            "share_of_fma": round(rate / limit, 3), "errors": errors.get(name, {}),
        }  # fmt: skip
    return outcome


def table(outcome: dict[str, Any], readings: dict[str, list[float]]) -> str:
    """The figures for the screen."""
    lines = [
        "machine, GFLOP/s over the rounds: "
        + "; ".join(f"{name} {min(rates):.0f}–{max(rates):.0f}" for name, rates in readings.items()),
        f"{'':14} {'median ms':>9} {'quartiles':>13} {'ratio':>6} {'pairs/s':>9} {'GFLOP/s':>8} {'of FMA':>6}"
        "   errors: small, full, steps",
    ]
    for name, row in outcome.items():
        low, high = row["quartiles_ms"]
        errors = "  ".join(f"{error:.0e}" for error in row["errors"].values()) or "not checked"
        lines.append(
            f"{name:14} {row['median_ms']:9.1f} {f'{low:.1f}–{high:.1f}':>13} {row['times_the_first']:5.2f}× "
            f"{row['pairs_per_second']:9,} {row['gflops']:8.0f} {row['share_of_fma']:6.0%}   {errors}"
        )
    if any(min(rates) < BUSY * max(rates) for rates in readings.values()):
        lines.append("The readings differ: the machine was busy, and the ratios are worth little. Run it again.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
