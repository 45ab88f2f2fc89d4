"""What an experiment says of runs is what ``compare`` and ``evaluate`` say of them; parts add up to the whole gain."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_experiments import run_tiny

from twotower.cli import cli
from twotower.cli.summaries.evaluation import lowest_of
from twotower.experiments.comparison import compare_runs
from twotower.experiments.measures import USER_FIGURES
from twotower.experiments.report.ranking_tables import ranking_table
from twotower.metrics.recommended import RANKING_METRICS
from twotower.metrics.significance import ENOUGH_USERS
from twotower.metrics.user_means import UserMeans


def test_compare_finds_the_gains_intervals_and_verdicts_of_the_experiment(finished, record):
    runs = finished[1] / "runs"
    patterns = [str(runs / f"{name}-[01]") for name in ("mtl", "baseline", "upsampled")]
    found = compare_runs(patterns, top=None, min_positives=record["min_positives"], replicates=record["replicates"])
    assert [note[:10] for note in found["notes"]] == ["2 seeds of"] and len(found["periods"]) == 3
    place = {territory["code"]: c for c, territory in enumerate(record["territories"])}
    here = [place[territory["code"]] for territory in found["territories"]]
    for gains in found["gains"]:
        (same,) = [g for g in record["gains"] if (g["method"], g["baseline"]) == (gains["method"], gains["baseline"])]
        for name in ("average", "spread", "low", "high", "p", "p_adjusted", "verdict"):
            assert gains[name] == [same[name][c] for c in here], name
        assert gains["all"] == same["all"] and gains["overall"] == same["overall"]
    assert any(low is not None for low in found["gains"][0]["low"])
    for name, ranking in found["rankings"].items():
        for metric, told in ranking["overall"].items():
            assert told == pytest.approx(record["rankings"][name]["overall"][metric], rel=1e-6)
            values = zip(ranking["territories"][metric]["high"], here, strict=True)
            expected = record["rankings"][name]["territories"][metric]["high"]
            assert all(value == pytest.approx(expected[c], rel=1e-6) for value, c in values)
    for gains in found["ranking_gains"]:
        keys = "metric", "method", "baseline"
        (same,) = [g for g in record["ranking_gains"] if all(g[key] == gains[key] for key in keys)]
        assert gains["overall"] == pytest.approx(same["overall"], rel=1e-4, abs=1e-4)
    assert found["ranking_users"] == [record["ranking_users"][c] for c in here] and sum(found["ranking_users"])


def test_evaluate_ranks_titles_as_the_experiment_does(finished, record):
    """Of a single run, here the measures of its seed; its users are the same."""
    path = finished[1] / "runs/mtl-1"
    result = CliRunner().invoke(cli, ["evaluate", str(path), "--json"])
    told = json.loads(result.stdout)
    with np.load(finished[1] / "measures/mtl-1.npz") as kept:
        figures = dict(zip(USER_FIGURES, kept["figures"], strict=True))
    for metric, found in told["ranking"]["overall"].items():
        assert found["mean"] == pytest.approx(np.nanmean(figures[metric]), rel=1e-5)
        assert 0 <= found["low"] <= found["mean"] <= found["high"] <= 1
    rows = {row["code"]: row for row in told["territories"]}
    assert set(told["ranking"]["lowest"].values()) == {None}, "no territory has enough users"
    assert told["k"] == 10 and told["ranking"]["overall"]["ndcg"]["low"] < told["ranking"]["overall"]["ndcg"]["high"]
    for territory, users in zip(record["territories"], record["ranking_users"], strict=True):
        assert territory["code"] not in rows or (rows[territory["code"]]["ndcg"] is not None) == (users > 0)
    once = json.loads(CliRunner().invoke(cli, ["evaluate", str(path), "--json", "--k", "1"]).stdout)["ranking"]
    assert once["overall"]["recall"]["mean"] < told["ranking"]["overall"]["recall"]["mean"]
    assert once["overall"]["ndcg"] == once["overall"]["hit_rate"]  # a single place


def test_tables_have_the_lowest_territory_and_the_gap_of_each_metric(record):
    enough = {**record, "ranking_users": [ENOUGH_USERS if n > 1 else n for n in record["ranking_users"]]}
    table = ranking_table(enough)
    rows = {(row.cells[0].value, row.cells[1].value): [cell.value for cell in row.cells[2:]] for row in table.rows}
    judged = np.array(enough["ranking_users"]) >= ENOUGH_USERS
    for method, of in record["rankings"].items():
        for i, metric in enumerate(RANKING_METRICS):
            means = np.array(of["territories"][metric]["mean"], float)[judged]
            assert rows[method, "lowest territory"][i] == (pytest.approx(means.min()), None, None)
            assert rows[method, "gap to the highest"][i] == (pytest.approx(means.max() - means.min()), None, None)
    unjudged = {(row.cells[0].value, row.cells[1].value): row.cells[2].value for row in ranking_table(record).rows}
    assert unjudged["mtl", "gap to the highest"] is None


def test_the_lowest_territory_of_an_evaluation_has_enough_users(rng):
    territory = np.repeat([0, 1, 2], [ENOUGH_USERS, 2 * ENOUGH_USERS, ENOUGH_USERS - 1])
    values = np.choose(territory, [0.5, 0.75, 0.25])[None]
    users = UserMeans(territory, 3, rng, replicates=20)
    residents, levels = users.population.residents, {"ndcg": users.level(users.means(values))}
    assert lowest_of(residents, levels) == {"ndcg": (0.5, 0.25)}


def test_gains_have_parts_where_methods_tell_them_apart(finished, tmp_path):
    methods = "mtl,upsampled,lowrank-bias,memory-per-group,offsets,shuffled"
    found = run_tiny(finished[0], tmp_path / "parts", "--seeds", 1, methods=methods)
    parts = [(part["part"], part["method"], part["baseline"]) for part in found["parts"]]
    assert parts == [
        ("memory weights per group", "memory-per-group", "upsampled"),
        ("title offsets and heads", "mtl", "memory-per-group"),
        ("title offsets, alone", "offsets", "upsampled"),
    ]
    mean = {method["name"]: np.mean(method["overall"]) for method in found["methods"]}
    whole = mean["mtl"] - mean["upsampled"]
    shares = [(mean[method] - mean[baseline]) / whole if whole > 0 else None for _, method, baseline in parts]
    assert [part["share"] for part in found["parts"]] == pytest.approx(shares)
    gains = {(g["method"], g["baseline"]): g for g in found["gains"]}
    assert all(part["overall"] == gains[part["method"], part["baseline"]]["overall"] for part in found["parts"])
