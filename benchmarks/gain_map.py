"""When do heads pay? What ``--mtl`` gains over the upsampled baseline in worlds of every shift and size.

    python -m benchmarks.gain_map                         # everything: a quarter of an hour on two quiet cores
    python -m benchmarks.gain_map --users 15000 --worlds 0,1 --seeds 1     # a part; it joins what is in the JSON
    python -m benchmarks.gain_map --page                  # train nothing: write docs/explanation/gain-map.md, .svg

A world is described by its ``shift``: how much the tastes of the groups of territories differ; at 0 places still
have titles of their own. ``alike`` is a world of shift 0 where every title is available everywhere: nothing in it
depends on the territory, except that the user vectors tell it, as they do in the others. For each world and number of
users the paper's experiment is run (``twotower experiment``), and kept are the gains over all pairs and over the
territories that can be evaluated, with their intervals, and each territory's gain beside the positives that it had to
learn from. ``offsets`` has no heads: what it gains comes from titles' offsets alone.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.gain_map_worlds import ALIKE, WORLDS, named, order
from twotower.cli import cli

RESULTS = Path(__file__).parent / "results" / "gain_map.json"
WORK = Path(tempfile.gettempdir()) / "twotower-gain-map"
USERS = "15000,30000,60000"
METHODS = ("upsampled", "offsets", "lowrank-bias", "mtl")
COMPARED = (("mtl", "upsampled"), ("offsets", "upsampled"), ("lowrank-bias", "upsampled"), ("mtl", "offsets"))
CELL_PRIOR = 5  # of offsets by territory: fixed, so that worlds differ by their shift and size alone
MIN_POSITIVES = 30  # of an evaluated territory: below the experiment's default, since many are put together


@click.command(context_settings={"show_default": True})
@click.option("--worlds", default=WORLDS, help="How much groups differ, from 0 to 1; alike: nothing differs.")
@click.option("--users", default=USERS, help="Sizes of the world.")
@click.option("--seeds", default=5, help="Runs of each method.")
@click.option("--page", is_flag=True, help="Train nothing: write docs/explanation/gain-map.md and its plot.")
@click.option("--work", type=click.Path(path_type=Path), default=WORK, help="Where worlds are made and kept.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures are kept.")
def main(worlds: str, users: str, seeds: int, page: bool, work: Path, target: Path) -> None:
    """Gains over shift and size."""
    results = json.loads(target.read_text("utf-8")) if target.is_file() else {"cells": []}
    if page:
        from benchmarks import gain_map_page

        gain_map_page.write(results)
        return
    results["machine"] = machine.facts(os.cpu_count() or 1)
    for size in map(int, users.split(",")):
        for world in worlds.split(","):
            cell = one_cell(work, world, size, seeds)
            others = [c for c in results["cells"] if (c["world"], c["users"]) != (world, size)]
            results["cells"] = sorted([*others, cell], key=lambda c: (c["users"], order(c["world"])))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(results, separators=(",", ":")) + "\n", encoding="utf-8")
            print(describe(cell), flush=True)
    print(f"written: {os.path.relpath(target)}")


def one_cell(work: Path, world: str, users: int, seeds: int) -> dict[str, Any]:
    """The experiment in one world; finished runs are kept in ``work``."""
    work.mkdir(parents=True, exist_ok=True)
    dataset, out = work / f"world-{users}-{world}", work / f"experiment-{users}-{world}"
    if not (dataset / "manifest.json").is_file():
        twotower("simulate", dataset, "--users", users, *(ALIKE if world == "alike" else ("--shift", world)))
        twotower("group", dataset, "--groups", 4)
    twotower("experiment", dataset, "--out", out, "--methods", ",".join(METHODS), "--seeds", seeds,
             "--group-prior", CELL_PRIOR, "--min-positives", MIN_POSITIVES, "--no-html")  # fmt: skip
    return cell_of(json.loads((out / "experiment.json").read_text("utf-8")), world, users)


def twotower(*arguments: Any) -> None:
    cli([str(argument) for argument in arguments], standalone_mode=False)


def cell_of(record: dict[str, Any], world: str, users: int) -> dict[str, Any]:
    """The part of an experiment's record that is kept."""
    evaluated = [i for i, territory in enumerate(record["territories"]) if territory["evaluated"]]
    gains = {f"{g['method']} over {g['baseline']}": g for g in record["gains"]}
    cell: dict[str, Any] = {"world": world, "users": users, "seeds": len(record["methods"][0]["seeds"]), "gains": {}}
    for pair in COMPARED:
        name = " over ".join(pair)
        mean = gains[name]["all"]
        cell["gains"][name] = {
            "overall": [rounded(gains[name]["overall"][key]) for key in ("mean", "low", "high")],
            "mean": [rounded(mean[key]) for key in ("mean", "low", "high")],
            "won": mean["won"],
            "evaluated": mean["evaluated"],
            "territories": [rounded(gains[name]["average"][i]) for i in evaluated],
        }
    shown = [record["territories"][i] for i in evaluated]
    cell["train_positives"] = [territory["train_positives"]["upsampled"] for territory in shown]
    cell["codes"] = [territory["code"] for territory in shown]
    return cell


def rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def describe(cell: dict[str, Any]) -> str:
    """One world in a line."""
    parts = [f"{cell['users']:7,} users, {named(cell['world']):9}, {cell['seeds']} seeds:"]
    for name, gains in cell["gains"].items():
        mean, low, high = gains["mean"]
        parts.append(f"{name} {mean:+.2f} % ({low:+.2f} to {high:+.2f}), {gains['won']} of {gains['evaluated']};")
    return " ".join(parts).rstrip(";")


if __name__ == "__main__":
    main()
