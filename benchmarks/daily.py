"""Does learning day by day beat training anew? PR-AUC per day and seconds of four ways to keep a model.

    python -m benchmarks.daily                     # the drifting world, about ten minutes on two busy cores
    python -m benchmarks.daily --log retail --days 60 --hidden 32 --batch-size 256 --epochs 3
        # 60 trading days of a part of Online Retail II, from TWOTOWER_DATA: about ten minutes of processor time
    python -m benchmarks.daily --arms updated,never   # a part; the others stay in the JSON (updated always runs)
    python -m benchmarks.daily --page              # from the JSON to docs/explanation/daily.md and daily.svg

*updated* learns each day with ``twotower update``, *replayed* with ``--replay 0.2``. *anew daily* and *anew weekly* are
trained from scratch on the last days until yesterday, or until the last week began; *never* is the first model. All are
evaluated on the same pairs, those of the day's held-out users (30 % by the hash of their id, the same for all), and all
know the users' histories until yesterday: between two trainings weights and counts stand still, histories do not.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np

from benchmarks import machine
from benchmarks.daily_log import Log, day_name, drifting, retail
from benchmarks.daily_page import write_page
from twotower.core.config import Config
from twotower.core.errors import InputError
from twotower.core.presets import build_config
from twotower.core.serialisation import plain
from twotower.core.storage import rows_of
from twotower.daily import update as daily
from twotower.daily.counts import Counts
from twotower.daily.growth import Shares, roles_of
from twotower.daily.log import DayFiles
from twotower.daily.update import DayResult, Options
from twotower.data.dataset import Dataset
from twotower.data.features.embed import EmbedConfig, embed
from twotower.data.grown import HELD_OUT
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import import_logs
from twotower.data.sample import Pairs, concatenate
from twotower.data.sampling import sampler
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampled_users import SampledUsers
from twotower.training.job import TrainingJob

RESULTS = Path(__file__).parent / "results"
HELD = Shares(0.3, 1.0)
OPTIONS = Options(allow_gap=True, limits=daily.Limits(drop=1, unknown_titles=1, without_history=1, volume=1e9))
ARMS = ("updated", "replayed", "anew daily", "anew weekly", "never")
REPLAY = 0.2
WEEK = 7


def hashed_users(dataset: Dataset, watched: Any, config: SampleConfig) -> SampledUsers:
    """All users, 30 % of them held out by their ids."""
    held_out = roles_of(dataset.user_ids or [], HELD) == HELD_OUT
    train = np.flatnonzero(~held_out)
    return SampledUsers(train, np.zeros(len(train), bool), np.flatnonzero(held_out))


def train_until(folder: Path, log: Log, day: int, config: Config, train_days: int) -> Path:
    """A run on the log before a day."""
    folder.mkdir()
    events = log.write(folder / "log.parquet", log.day < day)
    for test_days in (1, 2, 3):
        dataset = folder / f"set-{test_days}"
        import_logs(dataset, ImportConfig(events=(events,), time="time", train_days=train_days, test_days=test_days))
        embed(dataset, EmbedConfig(user_dims=64))
        with patch.object(sampler, "sample_users", hashed_users), suppress(InputError):
            sampler.sample(Dataset.open(dataset), SampleConfig(random_users="100%", active_users=0))
            break  # otherwise no held-out user has a pair on the last day
    TrainingJob(dataset, config, run_path=folder / "run").run()
    return folder / "run"


@contextmanager
def frozen(recorded: dict[str, Any]) -> Iterator[None]:
    """Days are evaluated on pairs that were recorded, and nothing is learned or counted."""
    original = daily.day_pairs

    def of_record(growth: Any, *rest: Any) -> Any:
        users, titles, labels = recorded[growth.part.day["date"]]
        number = growth.part.day["number"]
        user = rows_of(users, growth.dataset.user_ids)
        title = rows_of(titles, growth.dataset.title_ids).astype(np.int32)
        test = Pairs(user, title, labels, np.full(len(labels), number, np.int32))
        return test, concatenate([]), original(growth, *rest)[2]

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    with (
        patch.object(daily, "day_pairs", of_record), patch.object(Counts, "add", nothing),
        patch.object(Counts, "pass_day", nothing),
    ):  # fmt: skip
        yield


@contextmanager
def recording(recorded: dict[str, Any]) -> Iterator[None]:
    original = daily.day_pairs

    def record(growth: Any, *rest: Any) -> Any:
        found = original(growth, *rest)
        test, ids = found[0], growth.dataset
        users, titles = ([names[i] for i in rows.tolist()] for names, rows in
                         ((ids.user_ids, test.user), (ids.title_ids, test.title)))  # fmt: skip
        recorded[growth.part.day["date"]] = users, titles, test.label
        return found

    with patch.object(daily, "day_pairs", record):
        yield


def take_in(run: Path, log: Log, day: int, replay: float = 0.0) -> DayResult:
    """One day of a log."""
    events = log.write(run.parent / "day.parquet", log.day == day)
    with patch.object(daily, "Shares", lambda *_: HELD):
        return next(iter(daily.update(run, DayFiles(events=(events,)), replace(OPTIONS, replay=replay))))


def compare(log: Log, days: int, train_days: int, config: Config, arms: tuple[str, ...], result_path: Path) -> None:
    """PR-AUC and seconds per arm and day, and PR-AUC on the title and the territory that came last; kept day by day."""
    dates = log.dates()[-days:]
    found: dict[str, Any] = {"log": log.name, "days": [day_name(day) for day in dates], "arms": {}}
    if result_path.is_file() and (kept := json.loads(result_path.read_text("utf-8")))["days"] == found["days"]:
        found = kept
    found["machine"] = machine.facts(os.cpu_count() or 1)
    recorded: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for arm in arms:
            rows = found["arms"].get(arm, []) if arm == "anew daily" else []  # whose days do not depend on each other
            run = folder / "none"
            for number, day in [*enumerate(dates)][len(rows) :]:
                started, used = time.perf_counter(), time.process_time()
                again = {"anew daily": 1, "anew weekly": WEEK}.get(arm, days)
                if number % again == 0:
                    run = train_until(folder / f"{arm}-{number}", log, day, config, train_days)
                learns = arm in ("updated", "replayed")
                with recording(recorded) if learns else frozen(recorded):
                    result = take_in(run, log, day, REPLAY * (arm == "replayed"))
                evaluation = result.evaluation
                assert evaluation is not None
                titles = dict(zip(evaluation.titles.title, evaluation.titles.pr_auc.tolist(), strict=True))
                places = dict(zip(evaluation.territories.code, evaluation.territories.pr_auc.tolist(), strict=True))
                rows.append({"day": day_name(day), "pr_auc": evaluation.overall, "positives": evaluation.positives,
                             "new_title": titles.get("hit"), "new_territory": places.get("KE"),
                             "macro": evaluation.macro(), "frozen": result.record["frozen_pr_auc"],
                             "seconds": time.perf_counter() - started,
                             "processor_seconds": time.process_time() - used})  # fmt: skip
                click.echo(f"{arm:12} {rows[-1]['day']} {evaluation.overall:.4f} {rows[-1]['seconds']:6.1f} s")
                found["arms"][arm] = rows
                result_path.write_text(json.dumps(plain(found), indent=1) + "\n", encoding="utf-8")


@click.command()
@click.option("--log", "name", type=click.Choice(["drift", "retail"]), default="drift")
@click.option("--days", default=30, help="Days that are evaluated.")
@click.option("--train-days", default=40)
@click.option("--hidden", default=64)
@click.option("--batch-size", default=1024)
@click.option("--epochs", default=4)
@click.option("--arms", default=",".join(ARMS))
@click.option("--page", is_flag=True, help="Write the page alone.")
def main(
    name: str, days: int, train_days: int, hidden: int, batch_size: int, epochs: int, arms: str, page: bool
) -> None:
    if not page:
        home = Path(os.environ.get("TWOTOWER_DATA", "../shared/data")) / "online_retail"
        log = drifting(2 * train_days + days, 2 * train_days + days // 3) if name == "drift" else retail(home, 160)
        settings = {"model": {"hidden": hidden}, "train": {"batch_size": batch_size, "epochs": epochs}}
        chosen = tuple(arm for arm in ARMS if arm in ("updated", *arms.split(",")))
        RESULTS.mkdir(exist_ok=True)
        compare(log, days, train_days, build_config(settings=settings), chosen, RESULTS / f"daily-{name}.json")
    write_page(RESULTS)


if __name__ == "__main__":
    main()
