"""How the cost of a training step grows: time and memory against every size, with fitted exponents.

    python -m benchmarks.growth                          # all sweeps, about four minutes on two cores
    python -m benchmarks.growth --sweeps users,titles    # a part; it replaces these sweeps in the JSON
    python -m benchmarks.growth --rounds 1 --steps 1     # a quick look
    python -m benchmarks.growth --page                   # from the JSON to docs/explanation/growth.md and growth.svg

A sweep changes one size and keeps the others (see growth_point.py). All points of a sweep are alive at once and take
turns over several rounds, each of which begins with a reading of the machine; before the first, one and two threads
must give the same bits. Preparing a batch and the step itself are timed apart, since training overlaps them.

The user tables of the sweep over users are the first rows of one float16 file of 10 GB in a temporary directory (see
TMPDIR), memory-mapped; no batch comes twice. They are read from the page cache, and again from the disk after the
kernel was told to forget the file, with its usual reading ahead and without (MADV_RANDOM). Each of these points
runs once more in a process of its own for its resident memory.
"""

import json
import mmap
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.exponents import fit
from benchmarks.growth_page import write_page
from benchmarks.growth_point import (
    Point,
    Subject,
    draw_batches,
    forget_file,
    in_ms,
    resident,
    write_user_table,
)
from benchmarks.workload import TITLE_WIDTH, USER_WIDTH
from twotower.core.progress import Progress, silent
from twotower.report.progress import show_progress
from twotower.training.warm_up import compile_kernels

RESULTS = Path(__file__).parent / "results" / "growth.json"
FEW_BATCHES = 4  # that take turns, where tables are small
COLD_BATCHES = 3  # read from the disk, the file forgotten before each
PAUSE = 0.03  # seconds after the control, in which the waiting threads of the BLAS fall asleep


@dataclass(frozen=True)
class Sweep:
    """One size that grows, for one or several kinds of step."""

    size: str  # the field of Point
    unit: str
    values: tuple[int, ...]
    series: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})  # name → other fields of Point


SWEEPS = {
    "batch": Sweep("pairs", "pairs a batch", tuple(512 << i for i in range(8)),
                   {"2 threads": {}, "1 thread": {"threads": 1}}),
    "groups": Sweep("groups", "groups K", (1, 2, 4, 8, 16, 32),
                    {"low-rank heads": {}, "dense heads": {"head": "plain"}}),
    "hidden": Sweep("hidden", "width D", (128, 192, 256, 384, 512, 768, 1024)),
    "titles": Sweep("titles", "titles", (100, 300, 1000, 3000, 10_000, 30_000, 100_000)),
    "users": Sweep("users", "users", (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)),
}  # fmt: skip
MAPPED = "users"  # the sweep whose user tables are files


@click.command(context_settings={"show_default": True})
@click.option("--sweeps", default=",".join(SWEEPS), help="Which sizes grow.")
@click.option("--rounds", default=5, help="Rounds in which each point has its turn.")
@click.option("--steps", default=3, help="Timed steps a turn, after one that is not timed.")
@click.option("--smallest", type=int, default=None, help="Only so many points of each sweep.  [default: all]")
@click.option("--page", is_flag=True, help="Measure nothing: write the tables and the plot of docs from the JSON.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures are.")
def main(sweeps: str, rounds: int, steps: int, smallest: int | None, page: bool, target: Path) -> None:
    """Measure how a training step grows."""
    results = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {"sweeps": {}}
    if page:
        write_page(results)
        return
    results["machine"] = machine.facts(os.cpu_count() or 1)
    print(machine.describe(results["machine"]))
    with threadpool_limits(1, user_api="blas"), show_progress() as progress:
        compile_kernels(progress)
        same_bits_on_all_threads()
        for name in sweeps.split(","):
            values = SWEEPS[name].values[:smallest]
            results["sweeps"][name] = run_sweep(replace(SWEEPS[name], values=values), rounds, steps, progress)
            print(table(name, results["sweeps"][name]), flush=True)
    results["sweeps"] = {name: results["sweeps"][name] for name in SWEEPS if name in results["sweeps"]}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


def same_bits_on_all_threads() -> None:
    """Check what is timed. Errors: ClickException when one thread and two come to different parameters."""
    flat = []
    for threads in (1, 2):
        point = Point(pairs=1024, users=4096, threads=threads)
        subject = Subject(point, *tables_of(point), draw_batches(point, 1, np.random.default_rng(0)))
        subject.run(2, timed=False)
        flat.append(subject.model.params.flat)
    if not np.array_equal(*flat):
        raise click.ClickException("1 thread and 2 threads differ; not timed")


def tables_of(point: Point, path: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Random user and title tables in memory, or the users' in a file that is memory-mapped."""
    rng = np.random.default_rng(1)
    titles = rng.standard_normal((point.titles, TITLE_WIDTH), np.float32)
    if path is not None:
        write_user_table(path, point.users)
        return np.load(path, mmap_mode="r"), titles
    return rng.standard_normal((point.users, USER_WIDTH), np.float32).astype(np.float16), titles


def run_sweep(sweep: Sweep, rounds: int, steps: int, progress: Progress = silent) -> dict[str, Any]:
    """Time all points in turn; their figures, and the exponents of each series."""
    points = {
        (series, value): replace(Point(), **{sweep.size: value}, **others)
        for series, others in sweep.series.items()
        for value in sweep.values
    }
    largest = replace(Point(), **{sweep.size: max(sweep.values)})
    stage, readings = f"{sweep.unit} {sweep.values[0]:,} to {sweep.values[-1]:,}", {}
    with tempfile.TemporaryDirectory(prefix="twotower-growth-") as folder:
        users, titles = tables_of(largest, Path(folder) / "users.npy" if sweep.size == MAPPED else None)
        count = rounds * (steps + 1) + 2 * COLD_BATCHES if sweep.size == MAPPED else FEW_BATCHES
        subjects = {
            key: Subject(point, users, titles, draw_batches(point, count, np.random.default_rng(2)))
            for key, point in points.items()
        }
        for turn in range(rounds):
            for name, rate in machine.readings(os.cpu_count() or 1).items():
                readings.setdefault(name, []).append(round(rate, 1))
            time.sleep(PAUSE)
            order = list(subjects.values())
            for done, subject in enumerate(order[turn % len(order) :] + order[: turn % len(order)], 1):
                subject.run(1, timed=False)
                subject.run(steps)
                progress(stage, turn * len(subjects) + done, rounds * len(subjects))
        records = {key: subject.record() for key, subject in subjects.items()}
        if sweep.size == MAPPED:
            for done, (key, subject) in enumerate(subjects.items(), 1):
                records[key] |= beyond_memory(subject)
                progress(f"{stage}, from the disk", done, len(subjects))
    series = {name: one_series(sweep, name, records) for name in sweep.series}
    return {"size": sweep.size, "unit": sweep.unit, "readings_gflops": readings, "series": series,
            "base": asdict(Point())}  # fmt: skip


def beyond_memory(subject: Subject) -> dict[str, Any]:
    """The memory of a process that trains on a mapped file, and what a batch takes whose rows are in no cache."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        path = subject.tables[0].filename
        found: dict[str, Any] = {"resident": process.submit(memory_of_a_run, subject.point, path).result()}
    for name, advice in (("cold_batch_ms", mmap.MADV_NORMAL), ("cold_random_batch_ms", mmap.MADV_RANDOM)):
        seconds = []
        for _ in range(COLD_BATCHES):
            forget_file(subject.tables[0], advice)
            seconds.append(machine.timed(subject.prepare))
        found[name] = in_ms(seconds)
    return found


def memory_of_a_run(point: Point, path: str, steps: int = 20) -> dict[str, int]:
    """Resident bytes of a process that trains some steps on a memory-mapped table."""
    rng = np.random.default_rng(2)
    titles = tables_of(replace(point, users=1))[1]
    subject = Subject(point, np.load(path, mmap_mode="r"), titles, draw_batches(point, steps, rng))
    subject.run(steps)
    return resident()


def one_series(sweep: Sweep, name: str, records: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    """The points of one series, and how each cost grows."""
    points = [{"value": value} | records[name, value] for value in sweep.values]
    costs = {
        "step": [p["step_ms"]["median"] for p in points],
        "batch": [p["batch_ms"]["median"] for p in points],
        "arithmetic": [p["gflop"] for p in points],
        "memory": [sum(p["bytes"].values()) for p in points],
    }
    if "resident" in points[0]:
        costs["batch from the disk"] = [p["cold_batch_ms"]["median"] for p in points]
        costs["batch from the disk, not reading ahead"] = [p["cold_random_batch_ms"]["median"] for p in points]
        costs["resident memory of its own"] = [p["resident"]["own"] for p in points]
    growth = {cost: fit(list(sweep.values), values).record() for cost, values in costs.items() if len(points) > 1}
    return {"points": points, "growth": growth}


def table(name: str, sweep: dict[str, Any]) -> str:
    """A sweep's figures for the screen."""
    spread = "; ".join(f"{k} {min(r):.0f}–{max(r):.0f}" for k, r in sweep["readings_gflops"].items())
    lines = [f"\n{name}; machine, GFLOP/s over the rounds: {spread}"]
    for series, found in sweep["series"].items():
        columns = "".join(f"{c:>9}" for c in ("step ms", "Adam ms", "batch ms", "GFLOP/s", "users", "titles", "MiB"))
        lines.append(f"{series:14} {sweep['unit']:>14} {columns}")
        lines += [f"{'':14} {point['value']:14,} {cells(point)}" for point in found["points"]]
        for cost, growth in found["growth"].items():
            bend = f", bend at {growth['bend']:,.0f}" if growth["bend"] else ""
            slopes = " then ".join(f"{e:.2f}" for e in growth["exponents"])
            lines.append(f"{'':14} {cost}: exponent {slopes}{bend} (within {growth['residual']:.0%})")
    return "\n".join(lines)


def cells(point: dict[str, Any]) -> str:
    """One point's figures for the screen."""
    step, adam, batch = (point[name]["median"] for name in ("step_ms", "adam_ms", "batch_ms"))
    mib = sum(point["bytes"].values()) / 2**20
    text = f"{step:9.2f}{adam:9.2f}{batch:9.2f}{1e3 * point['gflop'] / step:9.0f}"
    text += f"{point['unique_users']:9,}{point['unique_titles']:9,}{mib:9.1f}"
    if "resident" in point:
        cold, random = point["cold_batch_ms"]["median"], point["cold_random_batch_ms"]["median"]
        own, files = (point["resident"][name] / 2**20 for name in ("own", "of_files"))
        text += f"  from the disk {cold:.0f} ms, {random:.0f} not reading ahead; {own:.0f} + {files:.0f} MiB"
    return text


if __name__ == "__main__":
    main()
