"""An experiment from the command to its files: what is told, what is kept, what is never done twice."""

import csv
import io
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_experiments import made_up_record
from rich.console import Console
from tiny_experiments import FEW, THREE, run, run_tiny
from tiny_runs import failing_line

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.experiments import experiment, runs
from twotower.experiments.methods import DEFAULT_METHODS
from twotower.experiments.report.tables import experiment_tables, print_experiment
from twotower.experiments.setup import Setup
from twotower.training.run import RunReader

KEYS = {
    *(
        "format",
        "created",
        "twotower",
        "name",
        "main_method",
        "baselines",
        "summary",
        "dataset",
        "samples",
        "environment",
    ),
    *("seconds", "methods", "periods", "territories", "pr_auc", "gains", "titles", "title_pairs", "bias", "measures"),
    *("calibration", "distances", "histograms", "rankings", "ranking_users", "ranking_gains", "parts", "bias_changes"),
}
TERRITORY = {
    *("code", "name", "group", "users", "test_users", "test_pairs", "test_positives", "base_rate"),
    *("train_positives", "major", "evaluated"),
}
GAINS = {
    *("method", "baseline", "by_period", "average", "spread", "low", "high", "p", "p_adjusted", "verdict"),
    *("major", "all", "overall", "metric"),
}


@pytest.fixture
def own(finished, tmp_path) -> tuple[Path, Path]:
    """A copy of both, to be changed."""
    return Path(shutil.copytree(finished[0], tmp_path / "world")), Path(shutil.copytree(finished[1], tmp_path / "five"))


def test_the_record_has_all_parts(record):
    assert set(record) >= KEYS
    assert record["main_method"] == "mtl" and record["baselines"] == ["baseline", "upsampled"]
    assert [m["name"] for m in record["methods"]] == list(DEFAULT_METHODS)
    assert [p["days"] for p in record["periods"]] == [[8], [9], [10]] and record["panel_day"] == 10
    assert all(set(t) == TERRITORY for t in record["territories"])
    assert all(set(g) == GAINS for g in record["gains"])
    users = [t["users"] for t in record["territories"]]
    assert users == sorted(users, reverse=True) and len(users) == 6


def test_gains_have_a_value_for_each_territory_and_period(record):
    for gains in record["gains"]:
        assert all(len(gains[name]) == 6 for name in ("average", "low", "high", "p", "verdict"))
        assert [len(row) for row in gains["by_period"]] == [6, 6, 6]
    for scores in record["pr_auc"].values():
        assert len(scores["average"]) == 6 and [len(row) for row in scores["by_period"]] == [6, 6, 6]


def test_gains_are_those_of_the_runs(finished, record):
    """PR-AUC and gains of each territory and day, computed again from the runs' own tables."""

    def of_runs(method, code):  # (2 seeds, 3 days)
        found = [RunReader(finished[1] / f"runs/{method}-{seed}").evaluation.days for seed in (0, 1)]
        return np.array([[day.pr_auc[day.code.index(code)] for day in days.values()] for days in found])

    def same(told, expected):
        assert told is None if math.isnan(expected) else told == pytest.approx(expected)

    for row, territory in enumerate(record["territories"]):
        mine = of_runs("mtl", territory["code"])
        for gains in (g for g in record["gains"] if g["method"] == "mtl"):
            other = of_runs(gains["baseline"], territory["code"])
            expected = 100 * (mine - other) / other
            for day in range(3):
                same(gains["by_period"][day][row], expected[:, day].mean())
                same(record["pr_auc"]["mtl"]["by_period"][day][row], mine[:, day].mean())
            defined = expected[:, ~np.isnan(expected[0])]
            same(gains["average"][row], defined.mean() if defined.size else np.nan)


def test_all_samples_share_test_and_random_users(finished):
    samples = {kind: Sample(Dataset.open(finished[0]), f"experiment-{kind}") for kind in
               ("random", "upsampled", "more-random")}  # fmt: skip
    tests = [sampled.test_users.tolist() for sampled in samples.values()]
    assert tests[0] == tests[1] == tests[2]
    base = samples["random"].train_users
    assert np.isin(base, samples["upsampled"].train_users).all()
    assert np.isin(base, samples["more-random"].train_users).all()
    assert len(samples["more-random"].train_users) == len(samples["upsampled"].train_users) > len(base)


def test_choosing_is_judged_on_users_that_no_test_will_see(finished, tmp_path):
    record = run_tiny(finished[0], tmp_path / "e", "--dev-users", "--seeds", 1, methods="upsampled,mtl")
    dataset = Dataset.open(finished[0])
    tests = [set(Sample(dataset, f"{kind}-upsampled").test_users.tolist()) for kind in ("experiment", "dev")]
    assert tests[1] and not tests[0] & tests[1]
    assert any("development users" in sentence for sentence in record["summary"])


def test_the_tables_hold_what_the_record_holds(finished, record):
    with open(finished[1] / "tables/table2.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["method"], row["baseline"]) == ("mtl", "baseline")]
    gains = next(g for g in record["gains"] if (g["method"], g["baseline"]) == ("mtl", "baseline"))
    codes = [t["code"] for t in record["territories"]]
    for row in rows:
        c = codes.index(row["territory"])
        assert row["verdict"] == gains["verdict"][c]
        told = [row["day 8"], row["day 9"], row["day 10"], row["average"]]
        assert told == ["" if x is None else str(x) for x in (*(d[c] for d in gains["by_period"]), gains["average"][c])]
    names = {path.stem for path in (finished[1] / "tables").glob("*.csv")}
    assert names >= {"table1", "table2", "table3", "pr_auc", "titles", "bias", "calibration", "distances"}


def rows_of(path: Path, table: str) -> list[dict[str, str]]:
    with open(path / f"tables/{table}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_histograms_and_calibration_are_tables_too(finished, record):
    codes = [t["code"] for t in record["territories"]]
    rows = rows_of(finished[1], "pr_auc")
    assert len(rows) == len(DEFAULT_METHODS) * sum(t["test_pairs"] > 0 for t in record["territories"])
    for row in rows:
        scores, c = record["pr_auc"][row["method"]], codes.index(row["territory"])
        told = [scores["average"][c], *(by_day[c] for by_day in scores["by_period"])]
        found = [row[name] for name in ("average", "day 8", "day 9", "day 10")]
        assert found == ["" if x is None else str(x) for x in told]
    shown, rows = record["histograms"], rows_of(finished[1], "histograms")
    assert len(rows) == sum(map(len, shown["counts"].values())) * len(shown["methods"]) > 0
    for row in rows:
        counts = shown["counts"][row["territory"]][row["title"]][shown["methods"].index(row["method"])]
        assert [int(row[name]) for name in list(row)[3:]] == counts
    for row in rows_of(finished[1], "calibration"):
        assert row["ece"] == str(record["calibration"][row["method"]]["ece"])


def test_gains_by_kind_count_the_titles_with_enough_test_positives(record, finished):
    kinds = [(baseline, kind) for baseline in ("baseline", "upsampled") for kind in ("local", "global", "other")]
    assert [(k["baseline"], k["kind"]) for k in record["title_kinds"]] == kinds
    for told in record["title_kinds"]:
        mine = [t for t in record["titles"] if (t["kind"] or "other") == told["kind"] and t["test_positives"] >= 10]
        assert told["titles"] == len(mine) and (told["median"] is None) == (not mine)
    assert [(row["baseline"], row["kind"]) for row in rows_of(finished[1], "title_kinds")] == kinds


def test_undefined_measures_have_an_empty_cell(finished, record):
    """Of a territory with users: such as local titles where there are none."""
    rows = rows_of(finished[1], "bias")
    codes = [t["code"] for t in record["territories"]]  # users live in all six
    for method in DEFAULT_METHODS:
        for measure, values in record["bias"][method]["territories"].items():
            told = {r["territory"]: r["mean"] for r in rows if (r["method"], r["measure"]) == (method, measure)}
            assert set(told) == {"", *codes}
            assert [told[code] for code in codes] == ["" if x is None else str(x) for x in values]
    assert any(row["mean"] == "" for row in rows)


def test_what_is_told_per_territory_has_its_spread_over_seeds(finished, record):
    order = [Dataset.open(finished[0]).territories.index(t["code"]) for t in record["territories"]]
    for method in DEFAULT_METHODS:
        kept = [json.loads((finished[1] / f"measures/{method}-{s}.json").read_text("utf-8")) for s in (0, 1)]
        for part in ("bias", "calibration"):
            told = record[part][method]
            for name, spreads in told["territory_spreads"].items():
                seeds = np.array([of_seed[part]["territories"][name] for of_seed in kept], float)[:, order]
                expected = np.abs(seeds[0] - seeds[1]) / math.sqrt(2)
                np.testing.assert_allclose(np.array(spreads, float), expected, atol=1e-12)
                np.testing.assert_allclose(np.array(told["territories"][name], float), seeds.mean(axis=0))
    assert any(record["bias"]["mtl"]["territory_spreads"]["mean_score"])
    rows = rows_of(finished[1], "calibration_territories")
    assert len(rows) == sum(t["test_pairs"] > 0 for t in record["territories"]) * len(DEFAULT_METHODS)
    assert all(float(row[name]) >= 0 for row in rows for name in ("ece", "ece_spread", "excess_spread", "test_pairs"))


def test_histograms_count_the_users_of_a_territory_who_may_be_offered_the_title(finished, record):
    shown, dataset = record["histograms"], Dataset.open(finished[0])
    assert shown["methods"] == ["baseline", "upsampled", "mtl"] and len(shown["edges"]) == 21
    users, index = Sample(dataset, "experiment-upsampled").test_users, {t: i for i, t in enumerate(dataset.title_ids)}
    seen = {pair for day in range(-1, 10) for pair in zip(*(of.tolist() for of in dataset.events(day)), strict=True)}
    assert set(shown["counts"]) == set(dataset.territories.code)
    for code, by_title in shown["counts"].items():
        here = users[np.asarray(dataset.user_territory)[users] == dataset.territories.index(code)].tolist()
        for title, of_title in by_title.items():
            offered = sum((user, index[title]) not in seen for user in here)
            assert [sum(counts) for counts in of_title] == [offered] * 3


def test_nothing_is_trained_twice_and_the_record_stays_the_same(own, record, monkeypatch):
    world, path = own
    trained = []
    train_one = runs.train_one
    monkeypatch.setattr(runs, "train_one", lambda *given: (trained.append(given[1:3]), train_one(*given)))
    again = run_tiny(world, path, methods=",".join(DEFAULT_METHODS))
    assert trained == []
    assert {**again, "dataset": None} == {**record, "dataset": None}  # it lies elsewhere now


def test_more_seeds_and_methods_train_only_what_is_missing(own, monkeypatch):
    world, path = own
    trained = []
    train_one = runs.train_one

    def counting(setup, method, seed, progress):
        trained.append((method.name, seed))
        train_one(setup, method, seed, progress)

    monkeypatch.setattr(runs, "train_one", counting)
    found = run_tiny(world, path, "--seeds", "3", methods="baseline,mtl,residual")
    assert trained == [("residual", 0), ("residual", 1), ("baseline", 2), ("mtl", 2), ("residual", 2)]
    assert [m["seeds"] for m in found["methods"]] == [[0, 1, 2]] * 3


def test_an_experiment_that_was_stopped_ends_as_if_it_had_not_been(finished, record, tmp_path, monkeypatch):
    world, path = Path(shutil.copytree(finished[0], tmp_path / "world")), tmp_path / "stopped"
    train_one, left = runs.train_one, [2]

    def stopping(*given):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        train_one(*given)

    monkeypatch.setattr(runs, "train_one", stopping)
    assert run(world, path).exit_code == 130
    monkeypatch.setattr(runs, "train_one", train_one)
    stopped = run_tiny(world, path)
    assert stopped["histograms"] == record["histograms"] and stopped["title_pairs"] == record["title_pairs"]
    for key in ("pr_auc", "bias", "calibration", "rankings"):
        assert stopped[key] == {name: record[key][name] for name in THREE.split(",")}
    assert all(gains in record["gains"] for gains in stopped["gains"]) and len(stopped["gains"]) == 3


def test_another_setting_is_one_clear_error(own):
    world, path = own
    begun = ("experiment", world, "--out", path, "--methods", THREE, *FEW)
    assert "begun with methods.baseline.model.hidden = 8, now 6; give another --name" in failing_line(
        *begun, "--hidden", "6"
    )
    assert "begun with groups = 2, now 3" in failing_line(*begun, "--groups", "3")
    assert "sampled with alpha = 8.0, this experiment asks for 4.0" in failing_line(*begun, "--alpha", "4")
    assert "sampled with quota = 'adaptive', this experiment asks for" in failing_line(*begun, "--quota", "equal")
    assert len(RunReader(path / "runs/baseline-0").scores)


def test_more_periods_than_test_days_are_refused(tiny_world, tmp_path):
    line = failing_line("experiment", tiny_world, "--out", tmp_path / "new", *FEW, "--periods", 4)
    assert line == f"--periods 4: expected at most as many as {tiny_world} has test days: 3"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--methods", "baseline,best"), "no method 'best', expected some of baseline, "),
        (("--methods", ","), "expected some of baseline, "),
        (("--groups", "9"), "9 groups for 6 territories"),
        (("--rank", "99"), "--rank 99: expected from 1 to hidden"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(finished, tmp_path, options, expected):
    assert expected in failing_line("experiment", finished[0], "--out", tmp_path / "new", *FEW, *options)
    assert not (tmp_path / "new/runs").exists()


def test_a_directory_of_something_else_is_left_alone(finished, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("Dear")
    assert "is no experiment" in failing_line("experiment", finished[0], "--out", tmp_path / "letters", *FEW)


def test_settings_of_a_file_are_shared_and_options_go_over_them(finished, tmp_path):
    (tmp_path / "own.toml").write_text("[model]\nhidden = 5\n[train]\nlearning_rate = 0.01\n")
    found = run_tiny(finished[0], tmp_path / "new", "--config", tmp_path / "own.toml", methods="baseline,mtl")
    settings = [method["settings"] for method in found["methods"]]
    assert [(s["model"]["hidden"], s["train"]["learning_rate"]) for s in settings] == [(8, 0.01)] * 2
    (tmp_path / "own.toml").write_text("[train]\nseed = 5\n")
    line = failing_line("experiment", finished[0], "--config", tmp_path / "own.toml", "--out", tmp_path / "other", *FEW)
    assert "train.seed is set by the experiment" in line


def test_without_the_packages_of_a_report_the_rest_is_done(finished, tmp_path, monkeypatch):
    line = "report.html: a page needs jinja2: pip install 'twotower[report]'"

    def missing(path):
        raise InputError(line)

    monkeypatch.setattr(experiment, "write_report", missing)
    result = run(finished[0], tmp_path / "new", "--html", methods="baseline,mtl")
    assert result.exit_code == 0 and (tmp_path / "new/experiment.json").is_file()
    assert result.stderr.splitlines()[-1] == f"twotower: {line}"


def test_terminal_tables_tell_gains_bias_and_plain_words(record):
    console = Console(file=io.StringIO(), width=120)
    print_experiment(record, console)
    text = console.file.getvalue()
    assert "gain of PR-AUC of mtl over baseline" in text and "gain of PR-AUC of mtl over upsampled" in text
    assert "Gains in percent: over all pairs" in text and "Popularity bias" in text
    assert "All pairs, one ranking per period: " in text


def test_one_method_alone_is_told_without_gains(finished, tmp_path):
    found = run_tiny(finished[0], tmp_path / "alone", methods="upsampled")
    assert found["gains"] == [] and found["main_method"] == "upsampled" and found["baselines"] == []
    headers = {
        "table2": "method,baseline,territory,",
        "table2_summary": "method,baseline,overall_mean,",
        "table3": "territory,kind,id,",
        "distances": "method,baseline,kind,",
    }
    for table, columns in headers.items():
        lines = (tmp_path / f"alone/tables/{table}.csv").read_text("utf-8").splitlines()
        assert len(lines) == 1 and lines[0].startswith(columns), "a header, which a reader of CSV needs"


def test_a_table_without_rows_has_the_header_that_it_would_have_with_some():
    record = {**made_up_record(), "bias": {}}
    full = experiment_tables(record)
    histograms = {**record["histograms"], "counts": {}}
    bare = {**record, "gains": [], "distances": [], "title_pairs": [], "histograms": histograms}
    for name in ("table2", "table2_summary", "table3", "distances", "histograms"):
        assert experiment_tables(bare)[name] == full[name].splitlines()[0] + "\n"


def test_a_period_without_a_test_positive_is_refused_with_the_remedy():
    pairs, dataset = SimpleNamespace(label=np.repeat([1.0, 0.0], 10)), SimpleNamespace(path="shop")
    setup = SimpleNamespace(test_pairs=pairs, period=np.repeat([0, 1], 10), periods=[(10,), (11, 12)], dataset=dataset)
    with pytest.raises(InputError, match="no test positive on days 11–12; ask for fewer --periods, sample more --test"):
        Setup.check_support(setup)
    setup.periods, setup.period = [(10, 11, 12)], np.zeros(20, int)
    Setup.check_support(setup)
    pairs.label[1:] = 0
    with pytest.raises(InputError, match="only 1 test positive, too few for any comparison; sample more --test-users"):
        Setup.check_support(setup)
