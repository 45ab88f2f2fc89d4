"""From scores to results: every territory, title and day is evaluated on its own pairs and on nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics.average_precision import average_precision
from twotower.metrics.per_territory import evaluate_scores, macro_average_precision

CODES = ["US", "BR", "PL", "NR"]


def territories():
    return SimpleNamespace(
        code=CODES,
        name=["United States", "Brazil", "Poland", "Nauru"],
        group=np.array([0, 0, 1, -1], np.int16),
        users=np.array([900, 500, 70, 0]),
    )


def world(seed=0, n=200, days=(60,)):
    """Test pairs of 30 users in the first three of four territories, with scores in heavy ties."""
    rng = np.random.default_rng(seed)
    user_territory = rng.integers(0, 3, 30).astype(np.int16)
    user, title, label = rng.integers(0, 30, n), rng.integers(0, 5, n), (rng.random(n) < 0.3).astype("f4")
    return {
        "labels": label,
        "scores": rng.integers(0, 6, n).astype(np.float32),
        "user": user,
        "title": title.astype(np.int32),
        "day": rng.choice(days, n).astype(np.int32),
        "user_territory": user_territory,
        "territories": territories(),
        "title_ids": [f"t{i}" for i in range(6)],
    }


@examples(15)
@given(st.integers(0, 999))
def test_each_territory_is_judged_on_the_pairs_of_its_users(seed):
    given_ = world(seed)
    found = evaluate_scores(**given_).territories
    home = given_["user_territory"][given_["user"]]
    for c in range(4):
        mine = home == c
        label = given_["labels"][mine]
        np.testing.assert_array_equal(found.pr_auc[c], average_precision(label, given_["scores"][mine]))
        assert found.pairs[c] == mine.sum() and found.positives[c] == label.sum()
        assert found.test_users[c] == len(set(given_["user"][mine].tolist()))


def test_a_territory_without_pairs_is_listed_as_undefined():
    found = evaluate_scores(**world()).territories
    assert found.code[3] == "NR" and found.pairs[3] == found.test_users[3] == 0
    assert np.isnan(found.pr_auc[3]) and np.isnan(found.base_rate[3])


@examples(15)
@given(st.integers(0, 999))
def test_each_title_is_judged_on_the_pairs_it_is_in(seed):
    given_ = world(seed)
    found = evaluate_scores(**given_).titles
    for t in range(6):
        mine = given_["title"] == t
        label = given_["labels"][mine]
        np.testing.assert_array_equal(found.pr_auc[t], average_precision(label, given_["scores"][mine]))
        assert (found.pairs[t], found.positives[t]) == (mine.sum(), label.sum())


def test_each_test_day_is_evaluated_as_if_it_were_the_only_one():
    given_ = world(days=(60, 61, 62))
    found = evaluate_scores(**given_)
    assert list(found.days) == [60, 61, 62]
    for day in found.days:
        of_day = given_["day"] == day
        rows = {k: given_[k][of_day] for k in ("labels", "scores", "user", "title", "day")}
        alone = evaluate_scores(**{**given_, **rows}).territories
        for column, values in alone.columns().items():
            np.testing.assert_array_equal(found.days[day].columns()[column], values)
    assert sum(day.pairs.sum() for day in found.days.values()) == found.pairs


def test_a_single_test_day_is_the_whole():
    found = evaluate_scores(**world(days=(7,)))
    np.testing.assert_array_equal(found.days[7].pr_auc, found.territories.pr_auc)


def test_overall_ranks_the_pairs_of_all_territories_together():
    given_ = world()
    found = evaluate_scores(**given_)
    assert found.overall == average_precision(given_["labels"], given_["scores"])
    assert found.overall != pytest.approx(found.macro(), abs=1e-6)
    assert found.base_rate == pytest.approx(given_["labels"].mean())


def test_group_users_and_kind_are_handed_through():
    found = evaluate_scores(**world(), title_kind=["global", "local"] * 3)
    assert found.territories.group.tolist() == [0, 0, 1, -1]
    assert found.territories.users.tolist() == [900, 500, 70, 0]
    assert found.titles.kind[:2] == ["global", "local"]
    assert set(evaluate_scores(**world()).titles.kind) == {""}


def test_the_macro_of_training_is_the_macro_of_the_evaluation():
    given_ = world(3)
    home = given_["user_territory"][given_["user"]]
    found = evaluate_scores(**given_)
    fewest = found.territories.positives[:3].min()
    for least in (1, fewest, fewest + 1):
        macro = macro_average_precision(given_["labels"], given_["scores"], home, 4, min_positives=least)
        assert macro == pytest.approx(found.macro(least), abs=1e-15)
    assert found.macro(fewest + 1) != found.macro(fewest)


def test_the_macro_gives_each_territory_one_voice():
    labels, scores = np.array([1, 0, 1, 0, 0, 0, 1]), np.array([9.0, 8, 1, 2, 3, 4, 5])
    territory = np.array([0, 0, 1, 1, 1, 1, 2])
    assert macro_average_precision(labels, scores, territory, 4) == pytest.approx((1 + 1 / 4 + 1) / 3)
    assert np.isnan(macro_average_precision(labels, scores, territory, 4, min_positives=2))


def test_progress_is_told_from_start_to_end():
    told = []
    evaluate_scores(**world(), progress=lambda *step: told.append(step))
    assert told[0] == ("evaluation", 0, 4) and told[-1] == ("evaluation", 4, 4)


def test_no_pairs_at_all_is_undefined_not_an_error():
    given_ = world()
    rows = {k: given_[k][:0] for k in ("labels", "scores", "user", "title", "day")}
    found = evaluate_scores(**{**given_, **rows})
    assert np.isnan(found.overall) and np.isnan(found.macro()) and np.isnan(found.base_rate)
    assert found.days == {} and found.pairs == 0


@pytest.mark.parametrize(
    "column, wrong, message",
    [
        ("user", 30, "users: row 4 holds 30, expected 0 to 29"),
        ("title", 6, "titles: row 4 holds 6, expected 0 to 5"),
        ("day", -1, "days: row 4 holds -1"),
        ("labels", 2, "labels: row 4 holds 2"),
        ("scores", np.nan, "scores: 1 of 200 are NaN, the first in row 4"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(column, wrong, message):
    given_ = world()
    given_[column][4] = wrong
    with pytest.raises(InputError, match=message):
        evaluate_scores(**given_)


def test_columns_of_different_length_are_refused():
    given_ = world()
    with pytest.raises(InputError, match="titles: int32 \\(199,\\), expected 200"):
        evaluate_scores(**{**given_, "title": given_["title"][1:]})
