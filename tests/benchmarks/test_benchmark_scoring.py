"""benchmarks/scoring.py times only those who find the best titles."""

import click
import numpy as np
import pytest

from benchmarks import scoring
from benchmarks.scoring import FIRST, Twotower, check, summary, table
from benchmarks.scoring_problem import Problem
from twotower.core.config import ModelConfig
from twotower.core.presets import PRESETS


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> Problem:
    model = ModelConfig(hidden=16, groups=4, **PRESETS["default"].mtl_model)
    return Problem(150, 90, 2, tmp_path_factory.mktemp("problem"), model)


def test_everyone_finds_the_best_titles(problem):
    errors = check(problem, {FIRST: Twotower(problem).top})
    assert errors[FIRST] < 1e-6


def test_pytorch_finds_them_too(problem):
    pytest.importorskip("torch", reason="PyTorch is a peer in benchmarks only: pip install -e '.[bench]'")
    from benchmarks.torch_scoring import TorchOneDNN, TorchPairs, TorchScorer

    contenders = {"mm": TorchScorer(problem).top, "conv": TorchOneDNN(problem).top}
    assert max(check(problem, contenders).values()) < 1e-5

    users = np.flatnonzero(problem.group == 0)[:90]  # whom it takes in turn, each with the next title
    expected = problem.exact(users).diagonal()
    free = np.isfinite(expected)
    np.testing.assert_allclose(TorchPairs(problem).score().numpy()[: len(users)][free], expected[free], atol=1e-4)


@pytest.mark.parametrize("cheat", ["the second best", "the wrong score", "what was seen", "one title twice"])
def test_who_cheats_is_not_timed(problem, cheat):
    honest = Twotower(problem)

    def top(rows):
        titles, scores = honest.top(rows)
        if cheat == "the second best":
            titles, scores = np.roll(titles, -1, axis=1), np.roll(scores, -1, axis=1)
        elif cheat == "the wrong score":
            scores = scores * np.float32(1.001)
        elif cheat == "what was seen":
            titles[:, 0] = problem.seen[rows, 0]
        else:
            titles[:, 1], scores[:, 1] = titles[:, 0], scores[:, 0]
        return titles, scores

    with pytest.raises(click.ClickException, match="not timed"):
        check(problem, {cheat: top})


def test_work_is_counted_as_it_is_done(problem):
    D = 16
    towers = 150 * (512 * D + D * D + 2 * D * 8) + 90 * (896 * D + D * D + 896 * 4)
    assert problem.flops() == 2 * (towers + 150 * 90 * D)


def test_shares_and_ratios_are_taken_within_a_round():
    seconds = {FIRST: [1.0, 2.0, 4.0], "pairs": [0.5, 1.0, 2.0]}
    scores = {FIRST: 10, "pairs": 1}
    found = summary(seconds, scores, 1e9, {"GEMM NumPy": [20.0, 10.0, 5.0]}, {FIRST: 1e-7})
    assert found[FIRST]["gflops"] == 5.0 and found[FIRST]["share"]["GEMM NumPy"] == 0.5
    assert found["pairs"]["times_the_first"] == 5.0 and "gflops" not in found["pairs"]
    assert "busy" in table(found, {"GEMM NumPy": [20.0, 10.0, 5.0]})
    assert scoring.BUSY < 1
