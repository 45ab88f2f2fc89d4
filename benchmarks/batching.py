"""What a batch keeps together: time to a given PR-AUC of ``--batching pairs``, ``positives`` and ``users``.

    python -m benchmarks.batching                                        # everything: about a quarter of an hour
    python -m benchmarks.batching --data lastfm --modes users --seeds 1  # a part; its runs join those in the JSON
    python -m benchmarks.batching --report                               # the tables of the runs that are there
    python -m benchmarks.batching --page                                 # the same in docs/explanation/sampling.md

Samples a second are no measure here: a batch of few users is cheaper, and teaches less. So each mode trains
the model that is recommended (--mtl --groups 4), all with the same settings, and is validated several times an
epoch on held-out training users; test users are never looked at. The clock runs from asking for a batch to the
end of its update and stands still during validations. Every run takes the same number of epochs, without early
stopping. Real data come from the directory that TWOTOWER_DATA names, else from ../shared/data.
"""

import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.batching_page import MARK, PAGE, blocks
from benchmarks.page import filled
from benchmarks.time_to_quality import summary, tables
from twotower.cli import cli
from twotower.core.config import BATCHINGS, ModelConfig, TrainConfig
from twotower.core.config import Config as Settings
from twotower.core.presets import PRESETS
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.training import loop
from twotower.training.job import choose_groups
from twotower.training.trainer import Trainer
from twotower.training.warm_up import compile_kernels

RESULTS = Path(__file__).parent / "results" / "batching.json"
WORK = Path(tempfile.gettempdir()) / "twotower-batching"
DATA = Path(os.environ.get("TWOTOWER_DATA", Path(__file__).parents[2] / "shared" / "data"))
LASTFM, RETAIL = DATA / "lastfm_countries", DATA / "online_retail"
GROUPS = 4
KEY = ("data", "model", "batching", "seed", "learning_rate")  # what tells one run from another
MODELS: dict[str, dict[str, Any]] = {"mtl": {"groups": GROUPS, **PRESETS["default"].mtl_model}, "baseline": {}}


@dataclass(frozen=True)
class Problem:
    """A dataset, how it is made, and how the network is trained on it."""

    commands: list[list[str]]  # of twotower; the dataset is named like the problem
    hidden: int
    batch_size: int
    epochs: int
    needs: Path | None = None  # a directory of real data


PROBLEMS = {
    "lastfm": Problem(  # as examples/lastfm.sh
        [
            ["import", "lastfm", "--events", f"{LASTFM}/lastfm.csv.gz", "--title", "artist",
             "--territory", "country", "--user-info", "sex", "--titles", f"{LASTFM}/artist_tags.csv.gz",
             "--join-titles", "--title-weight", "n", "--unknown-ids", "keep"],
            ["embed", "lastfm", "--user-dims", "192", "--text-dims", "256"],
            ["group", "lastfm", "--groups", str(GROUPS)],
            ["sample", "lastfm", "--random-users", "30%", "--active-users", "50%"],
        ],
        hidden=128, batch_size=2048, epochs=6, needs=LASTFM,
    ),
    "retail": Problem(  # as examples/online_retail.sh
        [
            ["import", "retail", "--events", f"{RETAIL}/events.csv.gz", "--title", "item", "--territory", "country",
             "--time", "date", "--titles", f"{RETAIL}/items.csv.gz", "--keep-titles", r"^\d{5}",
             "--train-days", "240", "--test-days", "60"],
            ["embed", "retail", "--user-dims", "192", "--text-dims", "256"],
            ["group", "retail", "--groups", str(GROUPS)],
            ["sample", "retail", "--random-users", "30%", "--active-users", "50%"],
        ],
        hidden=128, batch_size=2048, epochs=6, needs=RETAIL,
    ),
    "world": Problem(  # as examples/world.sh
        [["simulate", "world"], ["group", "world", "--groups", str(GROUPS)], ["sample", "world"]],
        hidden=ModelConfig.hidden, batch_size=TrainConfig.batch_size, epochs=5,
    ),
}  # fmt: skip


@click.command(context_settings={"show_default": True})
@click.option("--data", default=",".join(PROBLEMS), help="Which datasets.")
@click.option("--modes", default=",".join(BATCHINGS), help="Which ways of batching.")
@click.option("--model", type=click.Choice(list(MODELS)), default="mtl", help="Heads and title biases, or none.")
@click.option("--seeds", default="0,1,2", help="One run each: initial weights, validation users, order of the pairs.")
@click.option("--rates", default=str(TrainConfig.learning_rate), help="Learning rates of Adam, one run each.")
@click.option("--validations-per-epoch", default=5, help="Validations an epoch.")
@click.option("--epochs", type=int, default=None, help="Instead of each dataset's own number.  [default: its own]")
@click.option("--report", is_flag=True, help="Train nothing: print the tables of the runs in the JSON.")
@click.option("--page", is_flag=True, help="Train nothing: write the table of docs/explanation/sampling.md.")
@click.option("--work", type=click.Path(path_type=Path), default=WORK, help="Where the datasets are made and kept.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the runs are kept.")
def main(
    data: str, modes: str, model: str, seeds: str, rates: str, validations_per_epoch: int,
    epochs: int | None, report: bool, page: bool, work: Path, target: Path,
) -> None:  # fmt: skip
    """Time to PR-AUC of each way of batching."""
    results = read_results(target)
    if page:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), MARK, blocks(results["summary"])), encoding="utf-8")
        return
    if not report:
        results["machine"] = machine.facts(os.cpu_count() or 1)
        print(machine.describe(results["machine"]))
        compile_kernels()
        for name in data.split(","):
            needs = PROBLEMS[name].needs
            if needs is not None and not needs.is_dir():
                print(f"{name} stays out: there is no {needs}")
                continue
            for seed, rate, mode in planned(seeds, rates, modes):
                settings = settings_of(PROBLEMS[name], model, mode, seed, rate, validations_per_epoch, epochs)
                run = {"data": name, "model": model} | one_run(make_dataset(name, work), settings)
                results["runs"] = [r for r in results["runs"] if any(r[k] != run[k] for k in KEY)] + [run]
                print(describe(run), flush=True)
        results["runs"].sort(key=lambda run: [BATCHINGS.index(run[k]) if k == "batching" else run[k] for k in KEY])
    results["summary"] = summary(results["runs"])
    print(tables(results["summary"]))
    if not report:
        write_results(target, results)
        print(f"\nwritten: {os.path.relpath(target)}")


def planned(seeds: str, rates: str, modes: str) -> list[tuple[int, float, str]]:
    """Seed, learning rate and mode of each run: the modes take turns, and seed and rate say who begins."""
    names, plan = modes.split(","), []
    for seed in map(int, seeds.split(",")):
        for i, rate in enumerate(map(float, rates.split(","))):
            first = (seed + i) % len(names)
            plan += [(seed, rate, mode) for mode in names[first:] + names[:first]]
    return plan


def read_results(target: Path) -> dict[str, Any]:
    """The runs so far."""
    if not target.is_file():
        return {"runs": []}
    results = json.loads(target.read_text(encoding="utf-8"))
    for run in results["runs"]:
        columns = run["curve"]
        run["curve"] = [dict(zip(columns, point, strict=True)) for point in zip(*columns.values(), strict=True)]
    return results


def write_results(target: Path, results: dict[str, Any]) -> None:
    """A run a line, its curve as columns: a tenth of what indented points would take."""
    lines = []
    for run in results["runs"]:
        columns = {name: [point[name] for point in run["curve"]] for name in run["curve"][0]}
        lines.append("  " + json.dumps(run | {"curve": columns}, separators=(",", ":")))
    rest = json.dumps({name: value for name, value in results.items() if name != "runs"}, indent=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text('{\n "runs": [\n' + ",\n".join(lines) + "\n ]," + rest[1:] + "\n", encoding="utf-8")


def settings_of(
    problem: Problem, model: str, mode: str, seed: int, rate: float, validations_per_epoch: int, epochs: int | None
) -> Settings:
    """The default network; validations never stop the training."""
    epochs = epochs or problem.epochs
    return Settings(
        ModelConfig(hidden=problem.hidden, **MODELS[model]),
        TrainConfig(
            epochs=epochs, batch_size=problem.batch_size, learning_rate=rate, batching=mode, seed=seed,
            validations_per_epoch=validations_per_epoch, patience=epochs * validations_per_epoch,
        ),
    )  # fmt: skip


def make_dataset(name: str, work: Path) -> Path:
    """The dataset's directory; it is made where it is missing, in a directory that stays."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / name / "samples" / "default").is_dir():
        here = Path.cwd()
        os.chdir(work)  # the commands name the dataset only
        try:
            for command in PROBLEMS[name].commands:
                print("twotower", *command)
                cli(command, standalone_mode=False)
        finally:
            os.chdir(here)
    return work / name


def one_run(path: Path, settings: Settings) -> dict[str, Any]:
    """Train once; the curve of validation PR-AUC over the seconds and steps of training."""
    dataset = Dataset.open(path)
    groups = choose_groups(dataset.territories, settings.model.groups)
    trainer = Trainer(dataset, Sample(dataset), groups, settings)
    curve, users, seconds, cpu = [], [], 0.0, 0.0
    steps = trainer.steps()

    def batches(epoch: int, skip: int) -> Any:
        for batch in trainer.batches(epoch, skip):
            users.append(len(batch.user_counts))
            yield batch

    with threadpool_limits(1, "blas"):
        start, cpu_start = time.perf_counter(), time.process_time()
        for event in loop.fit(
            trainer.model, trainer.optimiser, batches, steps, trainer.validate, settings.train, trainer.state
        ):
            if isinstance(event, loop.Step):
                seconds += time.perf_counter() - start
                cpu += time.process_time() - cpu_start
            elif isinstance(event, loop.Validation):
                where = {"steps": event.steps, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3)}
                curve.append(where | {name: round(x, 5) for name, x in event.scores._asdict().items()})
            start, cpu_start = time.perf_counter(), time.process_time()
    return {
        "batching": settings.train.batching, "seed": settings.train.seed,
        "learning_rate": settings.train.learning_rate, "pairs": len(trainer.pairs),
        "validation_pairs": len(trainer.held_out), "batch_size": settings.train.batch_size,
        "hidden": settings.model.hidden, "epochs": settings.train.epochs, "steps_per_epoch": steps,
        "users_per_batch": round(float(np.mean(users)), 1), "curve": curve,
    }  # fmt: skip


def describe(run: dict[str, Any]) -> str:
    """One run in a line."""
    last, best = run["curve"][-1], {name: max(p[name] for p in run["curve"]) for name in ("macro", "overall")}
    rate = run["pairs"] * run["epochs"] / last["seconds"]
    return (
        f"{run['data']} {run['model']} {run['batching']:9} seed {run['seed']} rate {run['learning_rate']:g}: "
        f"{run['users_per_batch']:7,.1f} users a batch, {last['seconds']:6.1f} s ({last['cpu_seconds']:.1f} CPU-s), "
        f"{rate:9,.0f} pairs/s; best macro {best['macro']:.4f}, overall {best['overall']:.4f}"
    )


if __name__ == "__main__":
    main()
