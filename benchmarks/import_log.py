"""From a log of 50 million events to first-time pairs: twotower, Polars, DuckDB and pyarrow; answers, time, memory.

    python -m benchmarks.import_log
    python -m benchmarks.import_log --events 2000000 --rounds 1
    python -m benchmarks.import_log --ids text --format csv

The log (made_log.py) is made once. Who takes part and what the task is: pair_makers.py. Each run is a process of its
own, with its libraries imported before the clock starts, so that its peak memory is known; rounds are interleaved,
and ratios are taken within a round. The answers of every run are compared after the clock has stopped: how many
pairs, a checksum of all of them, and whether each user's lie together. ``whole import`` is ``twotower import`` from
beginning to end, which does more than the others are asked to, and is not compared with them.
"""

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.made_log import FORMATS, IDS, made_log
from benchmarks.pair_makers import PAIR_MAKERS, THREADS, Pairs

RESULTS = Path(__file__).parent / "results" / "import_log.json"
LIBRARIES = ("polars", "duckdb", "pyarrow")
CHUNK = 1 << 22  # pairs of the checksum at a time


def one_run(name: str, path: Path, ids: str) -> dict[str, Any]:
    """Seconds, peak memory and answers of one contender in this process."""
    contender = PAIR_MAKERS[name][0]()
    contender.prepare()
    before = peak_mib()
    start = time.perf_counter()
    made = contender.make(path, ids)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": peak_mib(), "libraries_mib": before} | answers(contender.pairs(made))


def peak_mib() -> int:
    """Most memory that this process has had. Linux counts in ru_maxrss the process before exec, too; VmHWM does not."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def answers(pairs: Pairs) -> dict[str, int]:
    """How many pairs and users, a checksum that does not depend on the order, and in how many pieces users lie."""
    user, title = numbers(pairs.user), numbers(pairs.title)
    total = np.uint64(0)
    for first in range(0, len(user), CHUNK):
        part = slice(first, first + CHUNK)
        mixed = np.zeros(len(user[part]), np.uint64)
        for column in (user[part], title[part], pairs.day[part]):
            mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        total += mixed.sum(dtype=np.uint64)
    return {
        "pairs": len(user),
        "users": len(np.unique(user)),
        "runs": int(np.count_nonzero(np.diff(user))) + bool(len(user)),
        "checksum": int(total),
    }


def numbers(ids: Any) -> np.ndarray:
    """Ids (n,) in Arrow as the numbers in them: u0000000012 and 12 are 12."""
    from pyarrow import compute

    coded = compute.dictionary_encode(ids)
    coded = coded.combine_chunks() if hasattr(coded, "combine_chunks") else coded
    distinct = [int(str(x).lstrip("u").removeprefix("title-")) for x in coded.dictionary.to_pylist()]
    return np.array(distinct, np.int64)[coded.indices.to_numpy()]


def in_a_process(name: str, path: Path, ids: str) -> dict[str, Any]:
    """``one_run`` in a new process, on so many threads. Errors: ClickException with the last line it wrote."""
    threads = {"POLARS_MAX_THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, "-m", "benchmarks.import_log", "--only", name, "--log", str(path), "--ids", ids]
    done = subprocess.run(
        command, env=os.environ | threads, cwd=Path(__file__).parent.parent, capture_output=True, text=True
    )
    if done.returncode:
        raise click.ClickException(f"{name}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return json.loads(done.stdout)


def race(names: list[str], path: Path, ids: str, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What each contender did in each round. Errors: ClickException when answers differ."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            fetch(path)
            runs[name].append(in_a_process(name, path, ids))
            complaint = difference(runs[names[0]][:1] or runs[name], runs[name][-1])
            if complaint:
                raise click.ClickException(f"{name}: {complaint}")
    return runs


def fetch(path: Path) -> None:
    """Read a file, so that it lies in the system's memory for everyone."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def difference(expected: list[dict[str, Any]], run: dict[str, Any]) -> str:
    """What is wrong with the answers of a run, if anything."""
    if run["runs"] != run["users"]:
        return f"the pairs of {run['users']:,} users lie in {run['runs']:,} pieces"
    for key in ("pairs", "users", "checksum"):
        if run[key] != expected[0][key]:
            return f"{key} {run[key]:,}, expected {expected[0][key]:,}"
    return ""


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Median seconds, the median of the ratios to the first within each round, and the median peak memory."""
    first = [run["seconds"] for run in next(iter(runs.values()))]
    rows = {}
    for name, turns in runs.items():
        seconds = [run["seconds"] for run in turns]
        rows[name] = {
            "median_s": round(statistics.median(seconds), 2),
            "best_s": round(min(seconds), 2),
            "times_the_first": round(statistics.median(s / f for s, f in zip(seconds, first, strict=True)), 2),
            "peak_mib": round(statistics.median(run["peak_mib"] for run in turns)),
            "libraries_mib": round(statistics.median(run["libraries_mib"] for run in turns)),
            "seconds": [round(s, 3) for s in seconds],
        }
    return rows


def table(rows: dict[str, Any]) -> str:
    lines = [f"{'':14} {'median s':>9} {'best s':>8} {'ratio':>7} {'peak MiB':>9}   of which libraries"]
    for name, row in rows.items():
        ratio = "" if name == "whole import" else f"{row['times_the_first']:.2f}×"
        lines.append(
            f"{name:14} {row['median_s']:9.2f} {row['best_s']:8.2f} {ratio:>7} {row['peak_mib']:9,}   "
            f"{row['libraries_mib']:,}"
        )
    return "\n".join(lines)


@click.command(context_settings={"show_default": True})
@click.option("--events", default=50_000_000, type=click.IntRange(min=200), help="Events of the log.")
@click.option("--ids", type=click.Choice(IDS), default="integer", help="What ids of users and titles are.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="parquet", help="Of the file.")
@click.option("--rounds", default=3, type=click.IntRange(min=1), help="Rounds in which each has its turn.")
@click.option("--contenders", default=",".join(PAIR_MAKERS), help="Who takes part.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path(tempfile.gettempdir()) / "twotower-import-log",
    help="Where logs are made, and kept.",
)
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where results go.")
@click.option("--only", hidden=True, help="One run in this process.")
@click.option("--log", type=click.Path(path_type=Path), hidden=True, help="Its log.")
def main(
    events: int, ids: str, form: str, rounds: int, contenders: str, directory: Path, target: Path,
    only: str | None, log: Path | None,
) -> None:  # fmt: skip
    """Time the way from a log to first-time pairs."""
    if only is not None and log is not None:
        print(json.dumps(one_run(only, log, ids)))
        return
    names = contenders.split(",")
    needed = {PAIR_MAKERS[name][1] for name in names}
    if missing := sorted(name for name in needed if not importlib.util.find_spec(name)):
        raise click.ClickException(f"not installed: {', '.join(missing)}; pip install 'twotower[bench]'")
    from benchmarks import machine  # loads Numba: not in the processes that are measured

    facts = machine.facts(THREADS) | {name: version(name) for name in LIBRARIES}
    print(machine.describe(facts), ", ".join(f"{name} {facts[name]}" for name in LIBRARIES), sep="\n")
    path = made_log(directory, events, ids, form)
    key = f"{events:,} events, {form}, {ids} ids"
    runs = race(names, path, ids, rounds)
    readings = machine.readings(THREADS)
    rows, found = summary(runs), runs[names[0]][0]
    print(f"\n{key}: {path.stat().st_size >> 20:,} MiB; {found['pairs']:,} pairs of {found['users']:,} users")
    print(table(rows))
    print("machine, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in readings.items()))
    results = json.loads(target.read_text("utf-8")) if target.exists() else {}
    results[key] = {"machine": facts, "readings_gflops": readings, "pairs": found["pairs"], "contenders": rows}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


def version(name: str) -> str:
    from importlib import metadata

    return metadata.version(name)


if __name__ == "__main__":
    main()
