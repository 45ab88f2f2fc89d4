"""Time to a given PR-AUC is read off the curves as it says."""

import pytest

from benchmarks.time_to_quality import summary, tables, time_to


def curve(*points):
    return [{"seconds": s, "overall": q, "macro": q / 2} for s, q in points]


def run(batching, seed, points, data="world"):
    return {
        "data": data, "model": "mtl", "batching": batching, "seed": seed, "learning_rate": 0.001, "pairs": 1000,
        "epochs": 2, "users_per_batch": 10.0, "curve": curve(*points),
    }  # fmt: skip


def test_a_level_is_reached_between_two_validations():
    assert time_to(curve((1, 0.2), (3, 0.4)), "overall", 0.3) == pytest.approx(2)


def test_a_level_is_reached_the_first_time():
    assert time_to(curve((1, 0.2), (2, 0.4), (3, 0.1), (4, 0.5)), "overall", 0.4) == 2


def test_what_the_first_validation_has_is_not_guessed_earlier():
    assert time_to(curve((5, 0.4), (6, 0.5)), "overall", 0.1) == 5


def test_a_level_may_never_be_reached():
    assert time_to(curve((1, 0.2), (2, 0.4)), "overall", 0.41) is None


def test_levels_are_shares_of_the_best_of_pairs_with_the_same_seed():
    rows = summary([
        run("pairs", 0, [(10, 0.5), (20, 0.6), (30, 0.4)]),
        run("pairs", 1, [(10, 0.7), (20, 0.8)]),
        run("users", 0, [(1, 0.6), (2, 0.66)]),
        run("users", 1, [(1, 0.6), (2, 0.7)]),
        run("users", 2, [(1, 9.0)]),  # nothing to compare it with
    ])  # fmt: skip
    users = next(row for row in rows if row["batching"] == "users")
    assert users["seeds"] == [0, 1]
    assert users["overall"]["gain_percent"] == -1.25, "of +10 and -12.5 %"
    assert users["overall"]["gain_error"] == 11.25
    assert users["overall"]["time_to"]["95%"] == {"seconds": None, "reached": 1}, "0.7 < 0.95 · 0.8"
    assert users["overall"]["best"] == pytest.approx((0.66 + 0.7) / 2)
    assert "never" in tables(rows)


def test_a_seed_that_never_gets_there_is_the_slowest():
    slow = [(1, 0.1), (2, 0.2)]
    runs = [run("pairs", seed, [(1, 0.5)]) for seed in range(3)]
    runs += [run("users", 0, [(3, 0.6)]), run("users", 1, [(5, 0.6)]), run("users", 2, slow)]
    found = next(row for row in summary(runs) if row["batching"] == "users")["overall"]["time_to"]["100%"]
    assert found == {"seconds": 5, "reached": 2}
    assert "5.0*" in tables(summary(runs))


def test_datasets_are_not_mixed():
    rows = summary([run("pairs", 0, [(1, 0.5)]), run("pairs", 0, [(1, 0.9)], data="lastfm")])
    assert [(row["data"], row["overall"]["best"]) for row in rows] == [("world", 0.5), ("lastfm", 0.9)]
