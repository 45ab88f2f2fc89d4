"""The matrix products of the network, at every shape it uses, against NumPy's BLAS and PyTorch: answers, then times.

    python -m benchmarks.gemm
    python -m benchmarks.gemm --only tile --threads 1

twotower computes a product as the model does: 144 rows a tile, tiles shared out among threads, weight gradients
added up over tiles. Its peers get the whole product in one call a group, on as many threads of their own. NumPy's
OpenBLAS takes part with each of its kernels that this processor can run; those that it does not choose here run in a
process of their own, which is asked in turn.

Laying W out in panels (``pack``) is part of twotower's time. The model does it once a step, whatever the number of
rows, so that a case of a whole batch's rows pays all of it, a single tile pays its share (144 of 8192 rows), and a head
with a segment of three rows pays all of it too. ``bare`` is the ratio without it.
"""

import contextlib
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.products import CONTENDERS, WEIGHTS, Case, Contender, blas_threads, cases, error

RESULTS = Path(__file__).parent / "results" / "gemm.json"
TOLERANCE = 8.0  # largest difference from float64, over k·eps for sums of k terms
SAMPLE = {1: 2e-3}  # seconds of a sample at least, by threads: small products are called again and again
SAMPLE_OF_SEVERAL = 6e-2  # the system spreads woken threads over the cores only after a while
PAUSE = 0.05  # seconds before a change of contender on several threads: those of the last one fall asleep
CORE_TYPES = {"Haswell": "avx2", "SkylakeX": "avx512f"}  # OpenBLAS's kernels by name → the flag they need


class Seat:
    """A contender in this process, with the case that it works on."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        self.contender: Contender | None = None

    def sit(self, case: Case) -> float:
        """Prepare for a case. Returns the error of its answer (see ``products.error``)."""
        with blas_threads(self.threads):
            self.contender = CONTENDERS[self.name](case, self.threads)
            return error(case, self.contender)

    def seconds(self, calls: int, method: str = "run") -> float:
        """Seconds a call, over so many calls."""
        run = getattr(self.contender, method)
        with blas_threads(self.threads):
            start = time.perf_counter()
            for _ in range(calls):
                run()
            return (time.perf_counter() - start) / calls


class DistantSeat:
    """A seat in another process, with another OPENBLAS_CORETYPE."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def ask(self, method: str, *arguments: object) -> Any:
        self.connection.send((method, arguments))
        return self.connection.recv()

    def sit(self, case: Case) -> float:
        return self.ask("sit", case)

    def seconds(self, calls: int, method: str = "run") -> float:
        return self.ask("seconds", calls, method)


def serve(connection: Connection, name: str, threads: int) -> None:
    """The other process: a seat that answers over a pipe. First it says which kernels of OpenBLAS it got."""
    seat = Seat(name, threads)
    connection.send(core_type())
    with contextlib.suppress(EOFError):
        while True:
            method, arguments = connection.recv()
            connection.send(getattr(seat, method)(*arguments))


def core_type() -> str:
    """Which of its kernels NumPy's BLAS runs in this process."""
    return next((str(b["architecture"]) for b in machine.blas() if "architecture" in b), "BLAS")


@contextlib.contextmanager
def seats_of(names: list[str], threads: int) -> Iterator[dict[str, Any]]:
    """Name → seat: everybody here, and NumPy with the other kernels of OpenBLAS in processes of their own."""
    seats: dict[str, Any] = {}
    children = []
    for name in names:
        seats[f"numpy {core_type()}" if name == "numpy" else name] = Seat(name, threads)
        for other in other_core_types() if name == "numpy" else []:
            connection, child = start_child(name, threads, other)
            children.append((connection, child))
            if connection.recv() == other:
                seats[f"numpy {other}"] = DistantSeat(connection)
    try:
        yield seats
    finally:
        for connection, child in children:
            connection.close()
            child.join(5)


def other_core_types() -> list[str]:
    """OpenBLAS's kernels that this processor can run and this process does not."""
    able = machine.binding.get_host_cpu_features()
    return [name for name, flag in CORE_TYPES.items() if able.get(flag) and core_type() not in ("BLAS", name)]


def start_child(name: str, threads: int, core: str) -> tuple[Connection, Any]:
    """Another process with these kernels of OpenBLAS, which chooses them when it is loaded."""
    here, there = multiprocessing.Pipe()
    before = dict(os.environ)
    os.environ["OPENBLAS_CORETYPE"] = core
    try:
        child = multiprocessing.get_context("spawn").Process(target=serve, args=(there, name, threads), daemon=True)
        child.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    there.close()
    return here, child


def time_case(case: Case, seats: dict[str, Any], rounds: int, threads: int = 1) -> dict[str, Any]:
    """Check, then time everybody on one case, in an order that rotates."""
    errors = {name: seat.sit(case) for name, seat in seats.items()}
    for name, size in errors.items():
        if not size <= TOLERANCE:
            raise click.ClickException(f"{name} is wrong at {case.name}, {case.kind}: {size:.1f} rounding errors")
    sample = SAMPLE.get(threads, SAMPLE_OF_SEVERAL)
    calls = {name: max(1, round(sample / seat.seconds(1))) for name, seat in seats.items()}
    calls = {name: max(1, round(sample / seat.seconds(calls[name]))) for name, seat in seats.items()}
    seconds: dict[str, list[float]] = {name: [] for name in seats}
    packing = []
    names = list(seats)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seat = seats[name]
            if threads > 1:
                time.sleep(PAUSE)
                seat.seconds(calls[name])  # wakes its own
            seconds[name].append(min(seat.seconds(calls[name]) for _ in range(2)))
            if name == "twotower" and case.kind != WEIGHTS:
                packing.append(seat.seconds(calls[name], "pack"))
    return {
        "case": case.name, "kind": case.kind, "rows": case.rows, "inputs": case.inputs, "outputs": case.outputs,
        "packing_s": statistics.median(packing) * case.packing if packing else 0.0,
        "seconds": seconds, "errors": {name: round(size, 2) for name, size in errors.items()},
    }  # fmt: skip


def summary(outcome: dict[str, Any], flops: float, limit: float) -> dict[str, Any]:
    """Medians, rates, and how much longer the others take than twotower with its packing, round by round."""
    ours = outcome["seconds"]["twotower"]
    packing = outcome["packing_s"]
    others = {name: times for name, times in outcome["seconds"].items() if name != "twotower"}

    def ratios(extra: float) -> dict[str, float]:
        pairs = {name: zip(times, ours, strict=True) for name, times in others.items()}
        return {name: round(statistics.median(t / (o + extra) for t, o in pair), 3) for name, pair in pairs.items()}

    median = statistics.median(ours)
    best_numpy = min(value for name, value in ratios(packing).items() if name.startswith("numpy"))
    return {
        "median_us": {name: round(1e6 * statistics.median(times), 2) for name, times in outcome["seconds"].items()},
        "packing_us": round(1e6 * packing, 2),
        "gflops": round(flops / (median + packing) / 1e9, 1),
        "share_of_fma": round(flops / (median + packing) / 1e9 / limit, 3),
        "ratio": ratios(packing), "ratio_bare": ratios(0.0), "ratio_to_best_numpy": best_numpy,
    }  # fmt: skip


def line(case: Case, row: dict[str, Any]) -> str:
    """One case on the screen."""
    rows = f"{sum(case.rows)}" if len(case.rows) == 1 else f"{sum(case.rows)} in {len(case.rows)}"
    shape = f"{rows} × {case.inputs} × {case.outputs}"
    ratios = " ".join(f"{value:8.2f}" for value in row["ratio"].values())
    bare = min(value for name, value in row["ratio_bare"].items() if name.startswith("numpy"))
    mark = "" if row["ratio_to_best_numpy"] >= 1 else "  ← slower than NumPy"
    return (
        f"{case.name:21} {case.kind:6} {shape:>22} {row['median_us']['twotower']:10,.1f} {row['packing_us']:8,.1f} "
        f"{row['gflops']:7.1f} {row['share_of_fma']:5.0%} {ratios} {bare:8.2f}{mark}"
    )


def table_of_threads(answer: Connection, threads: int, names: list[str], rounds: int, only: str) -> None:
    """One table, in a process of its own: PyTorch keeps to what it chose for the number of threads that came first."""
    # a tile or a segment is the work of one thread, which has others to do beside it
    chosen = [case for case in cases() if only in case.name and (threads == 1 or not case.batch)]
    with seats_of(names, threads) as seats:
        answer.send(one_table(chosen, seats, rounds, threads))


def one_table(chosen: list[Case], seats: dict[str, Any], rounds: int, threads: int) -> dict[str, Any]:
    """Check, time and print all cases."""
    limits = [fma_limit(threads)]
    others = " ".join(f"{name.removeprefix('numpy '):>8}" for name in seats if name != "twotower")
    print(f"\n{threads} thread(s); FMA loop {limits[0]:.0f} GFLOP/s; the others' time over twotower's:")
    print(f"{'':29}{'n × F × D':>22} {'µs':>10} {'packing':>8} {'GFLOP/s':>7} {'FMA':>5} {others}     bare")
    rows = []
    for case in chosen:
        outcome = time_case(case, seats, rounds, threads)
        row = summary(outcome, case.flops, limits[0])
        rows.append(outcome | row)
        print(line(case, row), flush=True)
    limits.append(fma_limit(threads))
    slower = [row for row in rows if row["ratio_to_best_numpy"] < 1]
    print(f"FMA loop before and after: {limits[0]:.0f}, {limits[1]:.0f} GFLOP/s")
    print(f"{len(rows) - len(slower)} of {len(rows)} products at least as fast as the fastest of NumPy's")
    return {"fma_gflops": limits, "cases": rows}


def fma_limit(threads: int) -> float:
    """GFLOP/s of the fastest multiply-add loop; NaN where the processor has none."""
    return max(machine.fma_rates(threads).values(), default=float("nan"))


@click.command(context_settings={"show_default": True})
@click.option("--threads", default="1,2", help="One table each.")
@click.option("--contenders", default=",".join(CONTENDERS), help="Who takes part; twotower and numpy must.")
@click.option("--rounds", default=7, help="Rounds in which each contender has its turn.")
@click.option("--only", default="", help="Only cases whose name contains this.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(threads: str, contenders: str, rounds: int, only: str, target: Path) -> None:
    """Time the matrix products."""
    results: dict[str, Any] = {"machine": machine.facts(1), "rounds": rounds, "threads": {}}
    print(machine.describe(results["machine"]))
    for count in map(int, threads.split(",")):
        here, there = multiprocessing.Pipe()
        work = there, count, contenders.split(","), rounds, only
        process = multiprocessing.get_context("spawn").Process(target=table_of_threads, args=work)
        process.start()
        there.close()
        try:
            results["threads"][count] = here.recv()
        except EOFError:
            raise click.ClickException(f"no table of {count} threads") from None
        process.join()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
