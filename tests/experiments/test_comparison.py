"""Which runs are one method, which can be compared, and who is evaluated against whom."""

import os

import numpy as np
import pytest
from made_up_runs import make_run

from twotower.core.config import ModelConfig
from twotower.core.errors import InputError
from twotower.experiments.comparison import compare_runs, group_by_method, method_of, open_runs
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


def test_a_run_that_is_older_than_a_setting_is_of_the_method_with_its_default(runs):
    config = {"model": {"head": "lowrank", "title_offsets": ModelConfig.title_offsets}, "train": {"seed": 9}}
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
    assert [method.name for method in found.methods] == ["003-mtl-4", "004-mtl-4"]
    assert len(found.gains) == 1


def test_a_method_holds_the_figures_of_its_runs(runs):
    members = open_runs(["runs/*-mtl-4"])
    method = method_of("mtl-4", members, min_positives=40)
    saved = [run.evaluation for run in members]
    assert method.by_day.shape == (2, 2, 5) and method.pooled.shape == (2, 5)
    np.testing.assert_array_equal(method.by_day[1, 0], saved[1].days[60].pr_auc)
    np.testing.assert_array_equal(method.pooled[0], saved[0].territories.pr_auc)
    assert method.overall.tolist() == [e.overall for e in saved]
    assert method.macro.tolist() == [e.macro(40) for e in saved]
    assert method.macro.tolist() != [e.macro() for e in saved]


def test_the_first_is_judged_against_each_of_the_others(runs):
    found = compare_runs(["runs/*-mtl-4", "runs/*-baseline", "runs/*-baseline-up"])
    assert [(g.method.name, g.baseline.name) for g in found.gains] == [
        ("mtl-4", "baseline"),
        ("mtl-4", "baseline-up"),
    ]
    method, baseline = (RunReader(runs / name).evaluation for name in ("003-mtl-4", "001-baseline"))
    first_match = found.gains[0].matches[0, 1]
    np.testing.assert_array_equal(first_match, relative_gain(method.days[61].pr_auc, baseline.days[61].pr_auc))


def test_or_each_of_the_others_against_one(runs):
    found = compare_runs(["runs/*"], against="runs/*-baseline")
    assert [(g.method.name, g.baseline.name) for g in found.gains] == [
        ("mtl-4", "baseline"),
        ("baseline-up", "baseline"),
    ]
    one = compare_runs(["runs/003-mtl-4"], against="runs/005-baseline-up")
    assert [(g.method.name, g.baseline.name) for g in one.gains] == [("mtl-4", "baseline-up")]


def test_against_must_be_one_method(runs):
    with pytest.raises(InputError, match=r"several methods \(baseline, mtl-4"):
        compare_runs(["runs/*"], against="runs/*")


def test_territories_are_chosen_by_users_and_positives(runs):
    def codes(**choice):
        found = compare_runs(["runs/*"], **choice)
        return [found.territories.code[c] for c in found.rows]

    assert codes() == ["US", "BR", "JP", "PL"], "Nauru has no test pairs"
    assert codes(top=2) == ["US", "BR"]
    assert codes(min_positives=1) == ["US", "BR", "PL"]
    with pytest.raises(InputError, match="no territory has 9999 positives"):
        codes(min_positives=9999)


def test_runs_on_different_test_pairs_are_refused_with_their_digests(runs):
    make_run(runs / "006-mtl-8", label="mtl-8", digest="b" * 64)
    with pytest.raises(InputError, match=r"different test pairs \(digests bbbbbbbb and aaaaaaaa"):
        compare_runs(["runs/*"])


def test_runs_on_datasets_that_divide_users_otherwise_are_refused(runs):
    table = runs / "003-mtl-4" / "territories.csv"
    table.write_text(table.read_text().replace("PL,", "CZ,"))
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
    assert pooled.days == ["all"] and by_day.days == list(many)
    method, baseline = (RunReader(path).evaluation.territories.pr_auc for path in paths)
    np.testing.assert_allclose(pooled.gains[0].average, relative_gain(method, baseline))
    assert not np.allclose(by_day.gains[0].average, pooled.gains[0].average, equal_nan=True)
    few = [str(tmp_path / f"few-{name}") for name in "ab"]
    assert compare_runs(few).days == list(many[:7])
    assert compare_runs(few, by_day=False).days == ["all"]
