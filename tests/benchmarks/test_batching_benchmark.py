"""benchmarks/batching.py compares ways of batching that differ in nothing else."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from benchmarks import batching
from benchmarks.batching import PROBLEMS, planned, settings_of
from benchmarks.batching_page import MARK, PAGE, blocks
from benchmarks.page import filled, names
from benchmarks.time_to_quality import summary
from twotower.core.config import BATCHINGS


@pytest.fixture(scope="module")
def results():
    return batching.read_results(batching.RESULTS)


def test_modes_differ_in_nothing_but_the_mode():
    for problem in PROBLEMS.values():
        every = [settings_of(problem, "mtl", mode, 3, 0.002, 5, None) for mode in BATCHINGS]
        assert [settings.train.batching for settings in every] == list(BATCHINGS)
        assert len({replace(settings, train=replace(settings.train, batching="pairs")) for settings in every}) == 1


def test_every_mode_comes_first_with_some_seed():
    plan = planned("0,1,2", "0.001", ",".join(BATCHINGS))
    assert {mode for _, _, mode in plan[::3]} == set(BATCHINGS) and len(set(plan)) == 9
    assert planned("1", "0.001", ",".join(BATCHINGS)) == plan[3:6], "also when it is run in parts"


def test_a_run_is_a_curve_of_validations_to_the_end_of_all_epochs(tiny_world):
    settings = settings_of(PROBLEMS["world"], "mtl", "positives", 0, 0.2, 3, 2)
    settings = replace(settings, model=replace(settings.model, hidden=8), train=replace(settings.train, batch_size=128))
    run = batching.one_run(tiny_world, settings)
    assert len(run["curve"]) == 6, "no early stopping, however bad the learning rate"
    assert [point["steps"] for point in run["curve"]][-1] == 2 * run["steps_per_epoch"]
    seconds = [point["seconds"] for point in run["curve"]]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert 0 < run["users_per_batch"] <= 128 and run["validation_pairs"] > 0


def test_runs_join_those_that_are_there_and_replace_their_own_kind(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setitem(batching.PROBLEMS, "world", replace(PROBLEMS["world"], hidden=8, batch_size=128, epochs=1))
    monkeypatch.setattr(batching, "make_dataset", lambda name, work: tiny_world)
    target = tmp_path / "batching.json"
    for modes in ("pairs", "users", "pairs"):
        options = ["--data", "world", "--modes", modes, "--seeds", "0", "--validations-per-epoch", "2",
                   "--json", str(target)]  # fmt: skip
        result = CliRunner().invoke(batching.main, options, catch_exceptions=False)
        assert result.exit_code == 0
    runs = batching.read_results(target)["runs"]
    assert [run["batching"] for run in runs] == ["pairs", "users"]
    assert [point["steps"] for point in runs[0]["curve"]][-1] == runs[0]["steps_per_epoch"]


def test_data_that_is_not_there_is_left_out_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setitem(batching.PROBLEMS, "lastfm", replace(PROBLEMS["lastfm"], needs=tmp_path / "nowhere"))
    options = ["--data", "lastfm", "--json", str(tmp_path / "batching.json")]
    assert "lastfm stays out: there is no " in CliRunner().invoke(batching.main, options, catch_exceptions=False).output


def test_the_page_has_the_figures_of_the_committed_results(results):
    page = PAGE.read_text(encoding="utf-8")
    assert names(page, MARK) == ["mtl"]
    assert filled(page, MARK, blocks(results["summary"])) == page, "python -m benchmarks.batching --page"


def test_the_committed_summary_is_that_of_the_committed_runs(results):
    assert summary(results["runs"]) == results["summary"]
