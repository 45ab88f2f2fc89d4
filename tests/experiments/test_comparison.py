"""Which runs are one method, which can be compared, and who is evaluated against whom."""

import os
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import make_run
from sealing import reseal

from twotower.core.errors import InputError
from twotower.experiments.comparison import compare_runs, group_by_method, open_runs
from twotower.metrics.gains import relative_gain
from twotower.training.run import RunReader


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two seeds of two methods and one seed of a third, in ./runs."""
    monkeypatch.chdir(tmp_path)
    days = (60, 61)
    for number, label, skill, seed in (
        (1, "baseline", 0.8, 1),
        (2, "baseline", 0.9, 2),
        (3, "mtl-4", 1.4, 1),
        (4, "mtl-4", 1.3, 2),
        (5, "baseline-up", 1.0, 1),
    ):
        make_run(tmp_path / f"runs/{number:03d}-{label}", label, skill, seed, days)
    return tmp_path / "runs"


def test_runs_that_differ_in_their_seed_alone_are_one_method(runs):
    groups = group_by_method(open_runs(["runs/*"]))
    assert {name: [run.seed for run in group] for name, group in groups.items()} == {
        "baseline": [1, 2],
        "mtl-4": [1, 2],
        "baseline-up": [1],
    }


@pytest.mark.parametrize(
    "change",
    [{"config": {"train": {"learning_rate": 0.1, "seed": 9}}}, {"sample": "other"}, {"label": "mtl-5"}],
)
def test_runs_that_differ_in_more_are_two_methods(runs, change):
    make_run(runs / "006-mtl-4", **({"label": "mtl-4", "days": (60, 61), "seed": 9} | change))
    groups = group_by_method(open_runs(["runs/*"]))
    assert [len(group) for group in groups.values()] == [2, 2, 1, 1]


def test_threads_and_seeds_do_not_make_a_method(runs):
    config = {"model": {"head": "lowrank"}, "train": {"seed": 9, "threads": 64}}
    make_run(runs / "006-mtl-4", label="mtl-4", days=(60, 61), seed=9, config=config)
    assert len(group_by_method(open_runs(["runs/*"]))["mtl-4"]) == 3


def test_methods_with_one_label_are_called_by_their_directory(runs, tmp_path):
    other = {"model": {"head": "plain"}}
    make_run(runs / "006-mtl-4", label="mtl-4", days=(60, 61), config=other)
    assert list(group_by_method(open_runs(["runs/*-mtl-4"]))) == ["003-mtl-4", "006-mtl-4"]
    make_run(tmp_path / "elsewhere/003-mtl-4", label="mtl-4", days=(60, 61), config=other)
    names = list(group_by_method(open_runs(["runs/003-mtl-4", "elsewhere/003-mtl-4"])))
    assert names == ["runs/003-mtl-4", "elsewhere/003-mtl-4"]


def test_two_seeds_of_a_single_method_are_shown_side_by_side(runs):
    found = compare_runs(["runs/003-mtl-4", "runs/004-mtl-4"])
    assert [method["name"] for method in found["methods"]] == ["003-mtl-4", "004-mtl-4"]
    assert len(found["gains"]) == 1


def test_a_method_has_the_figures_of_its_runs(runs):
    found = compare_runs(["runs/*-mtl-4", "runs/*-baseline"], min_positives=40)
    saved = [RunReader(f"runs/{name}").evaluation for name in ("003-mtl-4", "004-mtl-4")]
    method = found["methods"][0]
    assert method["overall"] == [e.overall for e in saved] and method["seeds"] == [1, 2]
    assert method["macro"] == pytest.approx([e.macro() for e in saved])
    assert method["macro_evaluated"] == pytest.approx([e.macro(40) for e in saved]) != method["macro"]
    judged = [e.territories.pr_auc[e.territories.counted(40)] for e in saved]
    assert method["worst"] == [values.min() for values in judged] and method["worst_territory"] in ("US", "BR", "PL")
    assert method["gap"] == pytest.approx([values.max() - values.min() for values in judged])
    assert [territory["code"] for territory in found["territories"]] == ["US", "BR", "JP", "PL"]
    by_period = found["pr_auc"]["mtl-4"]["by_period"]
    assert by_period[1][0] == np.mean([e.days[61].pr_auc[1] for e in saved])


def compared(record):
    return [(gains["method"], gains["baseline"]) for gains in record["gains"]]


def test_the_first_is_compared_with_each_of_the_others(runs):
    found = compare_runs(["runs/*-mtl-4", "runs/*-baseline", "runs/*-baseline-up"])
    assert compared(found) == [("mtl-4", "baseline"), ("mtl-4", "baseline-up")]
    us = found["gains"][0]["by_period"][1][0]
    pairs = [[RunReader(f"runs/{name}").evaluation for name in pair] for pair in
             (("003-mtl-4", "001-baseline"), ("004-mtl-4", "002-baseline"))]  # fmt: skip
    assert us == pytest.approx(np.mean([relative_gain(*(e.days[61].pr_auc[1] for e in pair)) for pair in pairs]))


def test_or_each_of_the_others_with_one(runs):
    found = compare_runs(["runs/*"], against="runs/*-baseline")
    assert compared(found) == [("mtl-4", "baseline"), ("baseline-up", "baseline")]
    one = compare_runs(["runs/003-mtl-4"], against="runs/005-baseline-up")
    assert compared(one) == [("mtl-4", "baseline-up")]


def test_against_must_be_one_method(runs):
    with pytest.raises(InputError, match=r"several methods \(baseline, mtl-4"):
        compare_runs(["runs/*"], against="runs/*")


def test_the_major_territories_have_most_users_and_the_evaluated_ones_enough_positives(runs):
    def codes(key, **choice):
        return [t["code"] for t in compare_runs(["runs/*"], **choice)["territories"] if t[key]]

    assert codes("major") == ["US", "BR", "JP", "PL"], "Nauru has no test pairs"
    assert codes("major", top=2) == ["US", "BR"]
    assert codes("evaluated", min_positives=1) == ["US", "BR", "PL"]
    assert codes("evaluated", min_positives=9999) == []


def test_without_the_dataset_there_are_gains_and_the_reason_why_there_are_no_intervals(runs):
    found = compare_runs(["runs/*-mtl-4", "runs/*-baseline"], min_positives=1)
    gains = found["gains"][0]
    assert [note[:22] for note in found["notes"]] == ["2 seeds of a method: i", "No intervals, and no v"]
    assert "world: no such directory" in found["notes"][1]
    assert gains["average"][0] > 0 and gains["low"] == gains["p"] == [None] * 4
    assert gains["verdict"] == ["undecided", "undecided", "too small", "undecided"]
    with pytest.raises(InputError, match="elsewhere"):
        compare_runs(["runs/*-mtl-4", "runs/*-baseline"], dataset=Path("elsewhere"))


def test_runs_on_different_test_pairs_are_refused_with_their_digests(runs):
    make_run(runs / "006-mtl-8", label="mtl-8", digest="b" * 64)
    with pytest.raises(InputError, match=r"different test pairs \(digests bbbbbbbb and aaaaaaaa"):
        compare_runs(["runs/*"])


def test_runs_on_datasets_that_divide_users_otherwise_are_refused(runs):
    table = runs / "003-mtl-4" / "territories.csv"
    table.write_text(table.read_text().replace("PL,", "CZ,"))
    reseal(runs / "003-mtl-4", "run.json")
    with pytest.raises(InputError, match=r"003-mtl-4 and .*001-baseline: their territories differ"):
        compare_runs(["runs/001-baseline", "runs/003-mtl-4"])


def test_a_pattern_is_expanded_in_order_and_a_run_counts_once(runs):
    found = open_runs(["runs/*-mtl-4", "runs/003-mtl-4", os.path.join(runs, "004-mtl-4"), "runs/00[12]*"])
    assert [run.path.name for run in found] == ["003-mtl-4", "004-mtl-4", "001-baseline", "002-baseline"]


def test_a_name_with_brackets_is_a_name_before_it_is_a_pattern(runs):
    make_run(runs / "006-a[1]", label="a", days=(60, 61))
    assert [run.label for run in open_runs(["runs/006-a[1]"])] == ["a"]


def test_what_matches_nothing_or_is_no_run_is_named(runs):
    with pytest.raises(InputError, match=r"runs/x\*: no run matches"):
        open_runs(["runs/x*"])
    with pytest.raises(InputError, match="runs/x: no such run"):
        open_runs(["runs/x"])
    (runs / "006-broken").mkdir()
    with pytest.raises(InputError, match="006-broken: not a run"):
        open_runs(["runs/*"])


def test_one_run_is_nothing_to_compare(runs):
    with pytest.raises(InputError, match="only one run"):
        compare_runs(["runs/003-mtl-4", "runs/003*"])


def test_many_test_days_are_one_ranking_unless_asked_for(tmp_path):
    """A day with few positives says little: above seven days their pairs are pooled."""
    many = tuple(range(60, 68))
    for seed, (name, skill) in enumerate([("a", 0.8), ("b", 1.4)]):
        make_run(tmp_path / name, name, skill, seed, many)
        make_run(tmp_path / f"few-{name}", name, skill, seed, many[:7])
    paths = [str(tmp_path / name) for name in "ab"]
    pooled, by_day = compare_runs(paths), compare_runs(paths, by_day=True)
    assert [period["name"] for period in pooled["periods"]] == ["days 60–67"] and len(by_day["periods"]) == 8
    method, baseline = (RunReader(path).evaluation for path in paths)
    us = relative_gain(method.territories.pr_auc[1], baseline.territories.pr_auc[1])
    assert pooled["gains"][0]["average"][0] == pytest.approx(us) != by_day["gains"][0]["average"][0]
    assert pooled["gains"][0]["overall"]["mean"] == pytest.approx(relative_gain(method.overall, baseline.overall))
    assert by_day["gains"][0]["overall"]["mean"] is None  # the rankings of single days are not saved
    few = [str(tmp_path / f"few-{name}") for name in "ab"]
    assert len(compare_runs(few)["periods"]) == 7 and len(compare_runs(few, by_day=False)["periods"]) == 1
