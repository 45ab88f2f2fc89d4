"""What an experiment says of runs is what ``compare`` and ``evaluate`` say of them; parts add up to the whole gain."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_experiments import run_tiny

from twotower.cli import cli
from twotower.experiments.comparison import compare_runs
from twotower.experiments.measures import USER_FIGURES


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
    assert told["k"] == 10 and told["ranking"]["overall"]["ndcg"]["low"] < told["ranking"]["overall"]["ndcg"]["high"]
    for territory, users in zip(record["territories"], record["ranking_users"], strict=True):
        assert territory["code"] not in rows or (rows[territory["code"]]["ndcg"] is not None) == (users > 0)
    once = json.loads(CliRunner().invoke(cli, ["evaluate", str(path), "--json", "--k", "1"]).stdout)["ranking"]
    assert once["overall"]["recall"]["mean"] < told["ranking"]["overall"]["recall"]["mean"]
    assert once["overall"]["ndcg"] == once["overall"]["hit_rate"]  # a single place


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
