"""Faults: whatever ends an update, the day before is served, and the same command finishes the day."""

import os
import shutil
import signal
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from daily_logs import TRAINED_DAYS, bits, day_rows, name_of, run_command, succeed, write_days, write_log

from benchmarks.daily_faults import Trial, make_trial
from benchmarks.faults.children import in_child
from twotower.core.locks import locked
from twotower.training.days import current_day, dataset_of_day, day_path
from twotower.training.warm_up import compile_kernels

DAY = TRAINED_DAYS


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    compile_kernels()
    return make_trial(tmp_path_factory.mktemp("faults"))


def test_a_kill_or_a_full_disk_leaves_the_day_before_and_the_command_finishes(trial):
    """At changes of files all over an update, and between the two last steps: the day is there, and not served yet.
    A few failures are got over."""
    changes = [*np.linspace(2, trial.changes - 12, 4).astype(int).tolist(), trial.changes - 6]
    outcomes = [trial.at(change, fail=number % 2 == 1) for number, change in enumerate(changes)]
    assert all(outcome.endswith("then the same bits") for outcome in outcomes), outcomes
    assert outcomes[::2] == ["killed, the day before served, then the same bits"] * 3
    assert "failed, the day before served, then the same bits" in outcomes


def test_kills_at_random_instants_lose_nothing(trial):
    for share in (0.4, 0.8):
        assert trial.killed_after(share * trial.seconds).endswith("then the same bits")


def test_a_second_update_is_refused_while_the_first_works(run, tmp_path):
    (run / "days").mkdir()
    log = write_days(tmp_path / "12.csv", DAY)
    read, write = os.pipe()

    def hold() -> None:
        with locked(run / "days"):
            os.write(write, b"!")
            signal.pause()

    child = in_child(hold)
    try:
        os.read(read, 1)
        for command in (("update", run, "--events", log), ("rollback", run, "--to", "start")):
            refused = run_command(*command)
            assert refused.exit_code == 2 and f"in use by process {child}" in refused.stderr
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    succeed("update", run, "--events", log)


def parquet(path: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def columns_of(rows: list) -> dict[str, list]:
    return {name: [row[i] for row in rows] for i, name in enumerate(("user", "title", "territory", "time"))}


def test_what_is_no_day_is_refused_in_one_line_and_changes_nothing(run, tmp_path):
    good = columns_of(day_rows(DAY))
    whole = parquet(tmp_path / "whole.parquet", **good)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-100])
    renamed = parquet(tmp_path / "schema.parquet", **{("viewer" if k == "user" else k): v for k, v in good.items()})
    tomorrow = parquet(tmp_path / "tomorrow.parquet", **good | {"time": ["2999-01-01"] * len(good["user"])})
    cases = {
        cut: "cut.parquet",
        renamed: "no column 'user'",
        write_log(tmp_path / "empty.csv", []): "no events",
        tomorrow: "2999-01-01, which is still to come",
        tmp_path / "absent.csv": "absent.csv",
    }
    for log, expected in cases.items():
        result = run_command("update", run, "--events", log)
        assert result.exit_code == 2 and expected in result.stderr and "Traceback" not in result.stderr, result.stderr
        assert current_day(run) is None and {p.name for p in (run / "days").iterdir()} <= {"start", "CURRENT"}
    succeed("update", run, "--events", whole)
    assert "already there" in succeed("update", run, "--events", shutil.copy(whole, tmp_path / "other name.parquet"))


def test_the_same_events_under_another_date_are_held_back(run, tmp_path):
    rows = day_rows(DAY)
    succeed("update", run, "--events", write_log(tmp_path / "12.csv", rows))
    again = [(*row[:3], name_of(DAY + 1)) for row in rows]
    result = run_command("update", run, "--events", write_log(tmp_path / "again.csv", again))
    assert result.exit_code == 3 and f"has the same events as {name_of(DAY)}" in result.stderr


def test_late_events_are_refused_dropped_or_appended_to_histories(copied, tmp_path):
    late = [("u0", "t59", "DE", name_of(DAY)), ("u1", "t59", "FR", name_of(DAY - 3))]  # titles of another kind
    again = day_rows(DAY)[:50]  # of a day that is there, with one event more
    log = write_log(tmp_path / "13.csv", [*day_rows(DAY + 1), *late, *again])
    first = write_days(tmp_path / "12.csv", DAY)
    runs = {}
    for option in ("fail", "drop", "append"):
        run = runs[option] = copied(option)
        succeed("update", run, "--events", first)
        result = run_command("update", run, "--events", log, "--late", option)
        assert result.exit_code == (2 if option == "fail" else 0), result.stderr
        said = {"fail": "have 2 events that were not there", "drop": "2 events of earlier days left out"}
        assert said.get(option, "2 late events") in result.output + result.stderr
    days = {option: dataset_of_day(run, name_of(DAY + 1)) for option, run in runs.items() if option != "fail"}
    lengths = {option: len(dataset.events(-1)[0]) for option, dataset in days.items()}
    assert lengths["append"] == lengths["drop"] + 2
    assert "already there" in succeed("update", runs["append"], "--events", log, "--late", "append")


def test_a_clock_that_goes_back_stops_the_day_until_it_is_right(copied, tmp_path, monkeypatch):
    """The day of a log is its own; the clock only says which days are still to come."""
    run, undisturbed = copied("run"), copied("undisturbed")
    logs = [write_days(tmp_path / f"{day}.csv", day) for day in (DAY, DAY + 1)]
    for log in logs:
        succeed("update", undisturbed, "--events", log)

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2024, 1, 1, tzinfo=tz)

    succeed("update", run, "--events", logs[0])
    with monkeypatch.context() as patched:
        patched.setattr("twotower.daily.log.datetime", Earlier)
        refused = run_command("update", run, "--events", logs[1])
        assert refused.exit_code == 2 and "check --time and the clock" in refused.stderr
        assert current_day(run) == name_of(DAY)
    succeed("update", run, "--events", logs[1])
    assert bits(day_path(run, name_of(DAY + 1))) == bits(day_path(undisturbed, name_of(DAY + 1)))


def test_a_user_moves_after_a_day_that_was_all_elsewhere(run, tmp_path):
    rows = day_rows(DAY)
    user = rows[0][0]
    home = rows[0][2]
    there = next(code for code in ("DE", "FR", "PL", "US") if code != home)
    moved = [(name, title, there if name == user else code, when) for name, title, code, when in rows]
    assert "1 user moved" in succeed("update", run, "--events", write_log(tmp_path / "12.csv", moved))
    dataset = dataset_of_day(run, name_of(DAY))
    assert dataset.territories.code[dataset.user_territory[dataset.user_ids.index(user)]] == there
