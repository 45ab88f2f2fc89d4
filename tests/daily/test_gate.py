"""The gate: what keeps a day from being served, and how it is served all the same."""

from dataclasses import replace

import numpy as np
from daily_logs import TRAINED_DAYS, day_rows, name_of, run_command, succeed, write_days, write_log

from twotower.core.storage import read_record
from twotower.daily.gate import Limits, drops
from twotower.metrics.results import Evaluation, TerritoryResults, TitleResults
from twotower.training.days import current_day, day_path


def test_an_odd_day_is_a_candidate_until_it_is_accepted(run, tmp_path):
    rows = [(user, f"new {title}", code, when) for user, title, code, when in day_rows(TRAINED_DAYS)]
    log = write_log(tmp_path / "odd.csv", rows)
    result = run_command("update", run, "--events", log)
    assert result.exit_code == 3 and "kept as a candidate" in result.stderr
    assert "100% of the events have new titles" in result.stderr
    day = name_of(TRAINED_DAYS)
    assert current_day(run) is None and f"{day}  candidate" in succeed("days", run)
    assert run_command("update", run, "--events", log).exit_code == 3
    succeed("accept", run, day)
    assert current_day(run) == day and f"{day}  served" in succeed("days", run)
    assert "already there" in succeed("update", run, "--events", log)
    succeed("update", run, "--events", write_days(tmp_path / "next.csv", TRAINED_DAYS + 1))
    assert read_record(day_path(run, name_of(TRAINED_DAYS + 1)) / "run.json")["day"]["previous"] == day


def test_accept_wants_a_day_that_stands_on_the_one_served(run, tmp_path):
    assert run_command("accept", run, "2024-03-13").exit_code == 2
    assert run_command("accept", run, "../..").exit_code == 2
    succeed("update", run, "--events", write_days(tmp_path / "all.csv", TRAINED_DAYS, TRAINED_DAYS + 1))
    succeed("rollback", run, "--to", "start")
    refused = run_command("accept", run, name_of(TRAINED_DAYS + 1))
    assert refused.exit_code == 2 and f"stands on {name_of(TRAINED_DAYS)}" in refused.stderr


def evaluated(overall: float, of_territory: float, positives: int) -> Evaluation:
    counts = np.array([positives, 3])
    table = TerritoryResults(["DE", "FR"], ["", ""], counts, counts, counts, 9 * counts, counts,
                             np.array([of_territory, 0.01]))  # fmt: skip
    nothing = np.empty(0, np.int64)
    return Evaluation(overall, table, TitleResults([], [], nothing, nothing, np.empty(0)), {})


def test_pr_auc_below_the_band_of_the_last_days_is_told_where_it_can_be_judged():
    before = [evaluated(0.5, 0.4, 80)] * 3
    limits = Limits(drop=0.3)
    assert drops(limits, before, evaluated(0.36, 0.29, 80)) == []
    fallen = drops(limits, before, evaluated(0.3, 0.2, 80))
    assert [line.split()[2] for line in fallen] == ["all", "DE"] and "0.5000 on the days before" in fallen[0]
    assert drops(limits, before, evaluated(0.3, 0.2, 20)) == [], "with few positives it is chance"
    assert drops(limits, before[:2], evaluated(0.1, 0.1, 80)) == [], "two days are no band"
    assert len(drops(replace(limits, drop=0.9), before, evaluated(0.04, 0.39, 80))) == 1


def test_a_territory_that_nearly_stops_is_told(run, tmp_path):
    days = range(TRAINED_DAYS, TRAINED_DAYS + 3)
    many = [(user, title, "DE", when) for day in days for user, title, _, when in day_rows(day)]
    succeed("update", run, "--events", write_log(tmp_path / "many.csv", many))
    few = write_log(tmp_path / "few.csv", day_rows(TRAINED_DAYS + 3)[:4])
    result = run_command("update", run, "--events", few)
    assert result.exit_code == 3 and "events of DE" in result.stderr and "--max-volume 10" in result.stderr
    succeed("update", run, "--events", few, "--max-volume", 1000)
