"""What docs/explanation/growth.md says in figures, from the JSON of benchmarks/growth.py."""

from pathlib import Path
from typing import Any

from benchmarks.page import filled, table

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "growth.md"
MARK = "growth"
MIB = 2**20
COSTS = {"step": "step", "arithmetic": "its arithmetic", "batch": "preparing the batch", "memory": "memory"}

Results = dict[str, Any]


def blocks(results: Results) -> dict[str, str]:
    """Markdown by the name of its block."""
    sweeps = results["sweeps"]
    found = {name: points_table(sweep) for name, sweep in sweeps.items()}
    found |= {"machine": machine_line(results), "exponents": exponents_table(sweeps)}
    return found | {"threads": threads_table(sweeps)}


def machine_line(results: Results) -> str:
    """Where it was measured, and what the machine could do meanwhile."""
    facts = results["machine"]
    every: dict[str, list[float]] = {}
    for sweep in results["sweeps"].values():
        for name, rates in sweep["readings_gflops"].items():
            every.setdefault(name, []).extend(rates)
    limits = ", ".join(f"{name} {min(rates):.0f}–{max(rates):.0f}" for name, rates in every.items())
    cores = f"{facts['cores']} cores, {facts['memory_gib']} GiB"
    return f"Measured on {facts['processor']} ({facts['llvm_cpu']}), {cores}; GFLOP/s of the control: {limits}."


def exponents_table(sweeps: Results) -> str:
    """How each cost grows with each size."""
    rows = []
    for sweep in sweeps.values():
        for name, series in sweep["series"].items():
            values = [point["value"] for point in series["points"]]
            size = sweep["unit"] + (f", {name}" if name else "")
            cells = [in_words(series["growth"][cost]) for cost in COSTS]
            rows.append([size, f"{values[0]:,} … {values[-1]:,}", *cells])
    return table(["size", "from … to", *COSTS.values()], rows, left=2 + len(COSTS))


def in_words(growth: Results) -> str:
    """``0.12, from 3,000 on 0.81``."""
    first, *second = (f"{exponent:.2f}".replace("-0.00", "0.00") for exponent in growth["exponents"])
    return f"{first}, from {rounded(growth['bend'])} on {second[0]}" if second else first


def rounded(size: float) -> str:
    """Two significant digits: a fitted bend is no sharper."""
    return f"{int(float(f'{size:.1e}')):,}"


def points_table(sweep: Results) -> str:
    """All points of a sweep, a series after the other."""
    on_disk = any("resident" in point for series in sweep["series"].values() for point in series["points"])
    heads = [sweep["unit"], "step, ms", "of it Adam", "GFLOP/s", "batch, ms", "unique users", "unique titles", "MiB"]
    if on_disk:
        heads += ["batch from the disk, ms", "not reading ahead, ms", "process, MiB", "+ of files, MiB"]
    rows = []
    for name, series in sweep["series"].items():
        if name:
            rows.append([f"*{name}*"] + [""] * (len(heads) - 1))
        rows += [point_cells(point) for point in series["points"]]
    return table(heads, rows, left=0)


def point_cells(point: Results) -> list[str]:
    """A row of ``points_table``."""
    step, adam, batch = (point[name]["median"] for name in ("step_ms", "adam_ms", "batch_ms"))
    cells = [f"{point['value']:,}", f"{step:.1f}", f"{adam:.1f}", f"{1e3 * point['gflop'] / step:.0f}", f"{batch:.2f}"]
    cells += [f"{point['unique_users']:,}", f"{point['unique_titles']:,}"]
    cells.append(f"{sum(point['bytes'].values()) / MIB:.0f}")
    if "resident" in point:
        cells += [f"{point[name]['median']:,.0f}" for name in ("cold_batch_ms", "cold_random_batch_ms")]
        cells += [f"{point['resident'][name] / MIB:,.0f}" for name in ("own", "of_files")]
    return cells


def threads_table(sweeps: Results) -> str:
    """How much faster two threads are than one, by the size of the batch."""
    one, two = (sweeps["batch"]["series"][name]["points"] for name in ("1 thread", "2 threads"))
    gains = [a["step_ms"]["median"] / b["step_ms"]["median"] for a, b in zip(one, two, strict=True)]
    heads = ["pairs a batch", *(f"{point['value']:,}" for point in one)]
    return table(heads, [["1 thread over 2", *(f"{gain:.2f}" for gain in gains)]])


def write_page(results: Results, page: Path = PAGE) -> None:
    """Fill the page's blocks and draw its plot beside it."""
    from benchmarks.growth_plot import draw

    page.write_text(filled(page.read_text(encoding="utf-8"), MARK, blocks(results)), encoding="utf-8")
    draw(results["sweeps"], page.with_suffix(".svg"))
    print(f"written: {page.name}, {page.with_suffix('.svg').name}")
