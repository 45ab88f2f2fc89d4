"""Title offsets: what the towers got wrong about a title, drawn to nothing where there is little to go by."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import MTL, NoWriter, make_trainer, small_config, train

from twotower.core.config import ModelConfig, SettingError
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample, concatenate
from twotower.model.title_offsets import PRIORS, Folds, choose_prior, fit_offsets, prior_folds, shrunken_offsets
from twotower.serving.open_run import score_pairs
from twotower.serving.recommend import recommend
from twotower.training.checkpoint import load_model
from twotower.training.job import shuffled_heads
from twotower.training.trainer import Trainer

HALF = 0.0  # the logit of one half


def test_an_offset_by_hand():
    # title 0: three positives where 0.5 · 4 = 2 were expected; title 1: none where 1 was; title 2: no pair
    title = np.array([0, 0, 0, 0, 1, 1])
    labels = np.array([1, 1, 1, 0, 0, 0])
    found = shrunken_offsets(np.zeros(6, int), title, labels, np.full(6, HALF), (1, 3), prior=2.0)
    np.testing.assert_allclose(found, [[math.log(5 / 4), math.log(2 / 3), 0.0]])


def test_a_territory_gets_what_the_title_has_not_explained():
    # one title, expected everywhere at one half; territory 0 takes it always, territory 1 never
    territory = np.array([0, 0, 1, 1])
    labels, logits = np.array([1, 1, 0, 0]), np.full(4, HALF)
    where = territory, np.array([0, 0]), np.zeros(4, int), labels, logits, 1
    assert offsets("title", where).tolist() == [[0.0], [0.0]]  # right on average
    own = offsets("territory", where)
    np.testing.assert_allclose(own, [[math.log(3 / 2)], [math.log(1 / 2)]], rtol=1e-6)
    assert offsets("group", where).tolist() == [[0.0], [0.0]]  # one group: nothing is left
    by_group = territory, np.array([1, 0]), *where[2:]
    np.testing.assert_allclose(offsets("group", by_group), own)


def test_a_cell_is_drawn_to_what_holds_everywhere_by_a_prior_of_its_own():
    where = np.array([0, 0, 0, 1]), np.array([0, 0]), np.zeros(4, int), np.array([1, 1, 1, 0]), np.full(4, HALF), 1
    for_all = math.log((3 + 2) / (2 + 2))
    p = 5 / (5 + 4)  # the odds of one half, times 5/4
    r = (3 + 0.5) / (4 * p + 0.5)  # what is left over everywhere
    expected = [for_all + math.log((n + 7 * r) / (e * p + 7)) - math.log(r) for n, e in ((3, 3), (0, 1))]
    np.testing.assert_allclose(offsets("territory", where, 2.0, 7.0)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("ordered", [True, False])
def test_the_prior_that_predicts_best_is_small_where_territories_differ_and_infinite_where_they_do_not(ordered):
    rng = np.random.default_rng(0)
    n, cells, titles = 40_000, 4, 30
    cell, title, fold = rng.integers(cells, size=n), rng.integers(titles, size=n), rng.integers(4, size=n)
    logits = np.full(n, -2.0)
    found = []
    for spread in (0.0, 0.3, 1.0):  # standard deviation of the log rates
        chance = np.exp(-2.2 + spread * rng.normal(size=(cells, titles)))[cell, title].clip(0, 1)
        labels = (rng.random(n) < chance).astype(int)
        found.append(choose_prior(cell, title, labels, logits + 0.0, (cells, titles), Folds(fold, ordered)))
    assert found[0] >= 200 and 5 <= found[1] <= 50 and found[2] <= 2


def test_what_does_not_last_is_not_learned_by_a_territory():
    # each territory has a favourite in each of two periods, another one later: counted together they would seem real
    rng = np.random.default_rng(1)
    n = 20_000
    cell, title, day = rng.integers(2, size=n), rng.integers(2, size=n), rng.integers(8, size=n)
    favourite = (title == cell) ^ (day >= 4)
    labels = (rng.random(n) < np.where(favourite, 0.3, 0.05)).astype(int)
    args = cell, title, labels, np.full(n, math.log(0.2)), (2, 2)
    days = prior_folds(day, rng.integers(500, size=n), rng)
    assert days.ordered and choose_prior(*args, days) >= 500
    lasting = (rng.random(n) < np.where(title == cell, 0.3, 0.05)).astype(int)
    assert choose_prior(*args[:2], lasting, *args[3:], days) <= 2


def test_the_chosen_prior_loses_to_none_of_the_others():
    rng = np.random.default_rng(2)
    n, shape = 5_000, (3, 7)
    cell, title, fold = rng.integers(3, size=n), rng.integers(7, size=n), rng.integers(4, size=n)
    rate = np.exp(-1.5 + 0.5 * rng.normal(size=shape))[cell, title].clip(0, 1)
    labels, logits = (rng.random(n) < rate).astype(int), rng.normal(-1.2, 0.5, n)

    def surprise(prior: float) -> float:
        total = 0.0
        for judge in range(4):
            rest, mine = fold != judge, fold == judge
            draw = 1e12 if math.isinf(prior) else prior
            found = shrunken_offsets(cell[rest], title[rest], labels[rest], logits[rest], shape, draw)
            z = logits[mine] + found[cell[mine], title[mine]]
            total += np.log1p(np.exp(np.where(labels[mine] > 0, -z, z))).sum()
        return total

    assert choose_prior(cell, title, labels, logits, shape, Folds(fold, False)) == min(PRIORS, key=surprise)


def test_choosing_says_where_it_is():
    seen = []
    rng = np.random.default_rng(0)
    cell, title, labels, fold = (rng.integers(high, size=100) for high in (2, 3, 2, 4))
    told = (2, 3), Folds(fold, True), lambda *report: seen.append(report)
    choose_prior(cell, title, labels, np.zeros(100), *told)
    assert [done for _, done, _ in seen] == list(range(1, 3 * len(PRIORS) + 1))
    assert {(stage, total) for stage, _, total in seen} == {("trying priors", 3 * len(PRIORS))}


def test_folds_keep_days_in_order_and_users_whole():
    rng = np.random.default_rng(3)
    user, day = rng.integers(50, size=400), rng.integers(10, size=400)
    by_day = prior_folds(day, user, rng)
    assert by_day.ordered and set(by_day.fold) == {0, 1, 2, 3}
    for fold in range(3):
        assert day[by_day.fold == fold].max() < day[by_day.fold == fold + 1].min()
    by_user = prior_folds(np.zeros(400, int), user, rng)
    assert not by_user.ordered and set(by_user.fold) == {0, 1, 2, 3}
    assert all(len(set(by_user.fold[user == u])) == 1 for u in set(user))


def test_nobody_to_judge_by_means_nothing_of_ones_own():
    one = np.zeros(1, int)
    args = one, one, np.ones(1, int), np.zeros(1), (1, 1)
    assert math.isinf(choose_prior(*args, prior_folds(one, one, np.random.default_rng(0))))


def test_what_all_territories_have_in_common_is_counted_once():
    # one title, expected at one half; territory 0 takes it twice of two times, territory 1 once of two times
    where = np.array([0, 0, 1, 1]), np.zeros(2, int), np.zeros(4, int), np.array([1, 1, 1, 0]), np.full(4, HALF), 1
    everywhere = 4 / 3  # 3 + 1 where 2 + 1 were expected; then 8/7 are expected of either territory
    r = (3 + 0.5) / (16 / 7 + 0.5)
    of_each = [[math.log(everywhere * (n + r) / (15 / 7) / r)] for n in (2, 1)]
    np.testing.assert_allclose(offsets("territory", where), of_each, rtol=1e-6)


@pytest.mark.parametrize("prior", [1.0, 50.0])
def test_what_a_title_has_left_over_everywhere_is_no_preference_of_a_cell(prior):
    """Twice as many positives as expected, in cells of 20 and of 2000 pairs alike: nothing is a cell's own."""
    cell = np.repeat([0, 1], [20, 2000])
    labels = (np.arange(2020) % 5 < 2).astype(int)  # two in five, where one is expected
    found = shrunken_offsets(cell, np.zeros(2020, int), labels, np.full(2020, -math.log(4)), (2, 1), prior)
    assert np.abs(found).max() < 1e-3


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1e3))
def test_more_prior_means_less_offset_and_never_another_sign(seed, prior):
    rng = np.random.default_rng(seed)
    n = 60
    cell, title, labels = rng.integers(3, size=n), rng.integers(4, size=n), rng.integers(2, size=n)
    args = cell, title, labels, rng.normal(size=n) * 3, (3, 4)
    few, many = shrunken_offsets(*args, prior), shrunken_offsets(*args, 2 * prior)
    assert (np.abs(many) <= np.abs(few) + 1e-12).all()
    assert (np.sign(many) == np.sign(few)).all()


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_logits_are_no_trouble(logit):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = shrunken_offsets(np.zeros(2, int), np.zeros(2, int), np.array([0, 1]), np.full(2, logit), (1, 1), 1.0)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("level", ["none", "title", "group", "territory"])
def test_each_level_gives_other_scores_and_no_other_weights(tiny_world, tmp_path, level):
    run = train(tiny_world, tmp_path / level, with_offsets(level))
    plain = train(tiny_world, tmp_path / "plain", with_offsets("none"))
    ours, theirs = load_model(run.weights_path), load_model(plain.weights_path)
    np.testing.assert_array_equal(ours.params.flat, theirs.params.flat)
    assert (ours.title_offsets is None) == (level == "none")
    assert np.array_equal(run.scores, plain.scores) == (level == "none")
    if level != "none":
        data = Dataset.open(tiny_world)
        pairs = Sample(data).test_pairs()
        added = ours.title_offsets[np.asarray(data.user_territory)[pairs.user], pairs.title]
        np.testing.assert_allclose(run.scores, plain.scores + added, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(score_pairs(run.path, data, pairs), run.scores)


def test_the_levels_differ_from_each_other(tiny_world, tmp_path):
    runs = [train(tiny_world, tmp_path / level, with_offsets(level)) for level in ("title", "group", "territory")]
    assert len({run.scores.tobytes() for run in runs}) == 3


@pytest.mark.parametrize("name", ["offset_prior", "group_prior"])
def test_each_prior_changes_the_scores(tiny_world, tmp_path, name):
    some, more = (
        train(tiny_world, tmp_path / str(prior), with_offsets("territory") | {name: prior}) for prior in (5.0, 50.0)
    )
    assert not np.array_equal(some.scores, more.scores)


def test_a_run_says_what_drew_its_offsets(tiny_world, tmp_path):
    for name, model, told in (
        ("chosen", with_offsets("territory") | {"group_prior": 0.0}, ("territory", 5.0)),
        ("given", with_offsets("group") | {"group_prior": 7.0}, ("group", 5.0)),
        ("title", with_offsets("title"), ("title", 5.0)),
    ):
        run = train(tiny_world, tmp_path / name, model)
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        (found,) = [line["title_offsets"] for line in lines if "title_offsets" in line]
        assert (found["level"], found["prior"]) == told
        assert ("group_prior" in found) == (name != "title")
        if name == "given":
            assert found["group_prior"] == 7
        if name == "chosen":
            assert found["group_prior"] in (None, *PRIORS[1:])


def test_offsets_see_no_test_user(tiny_world):
    trainer = make_trainer(tiny_world, with_offsets("territory"))
    sampled = Sample(trainer.dataset)
    assert not np.isin(trainer.learned.user, sampled.test_users).any()
    assert len(trainer.learned) == len(sampled.train_pairs())


def test_after_an_update_they_are_counted_anew_on_all_pairs_learned_from(tiny_world, tmp_path):
    trainer = make_trainer(tiny_world, with_offsets("territory"), batch_size=64)
    sampled = Sample(trainer.dataset)
    trainer.run(NoWriter(tmp_path))
    for day in (8, 9):
        trainer.update(sampled.update(day), NoWriter(tmp_path))
    found, trainer.model.title_offsets = trainer.model.title_offsets, None
    pairs = concatenate([sampled.train_pairs(), sampled.update(8), sampled.update(9)])
    where = trainer.scorer.territory[pairs.user], trainer.territory_group, pairs.title, pairs.label
    expected = offsets("territory", (*where, trainer.predict(pairs), trainer.dataset.n_titles), 5.0, 5.0)
    np.testing.assert_array_equal(found, expected)


def test_who_goes_through_another_territorys_head_has_its_offsets(tiny_world, tmp_path):
    dataset = shuffled_heads(Dataset.open(tiny_world), 0)
    groups, config = np.arange(dataset.n_territories) % 2, small_config(with_offsets("territory"))
    trainer = Trainer(dataset, Sample(dataset), groups, config)
    trainer.run(NoWriter(tmp_path))
    pairs = trainer.learned
    found, scores = trainer.model.title_offsets, trainer.predict(pairs)
    trainer.model.title_offsets = None
    plain, served = trainer.predict(pairs), dataset.head_territory[pairs.user]
    assert (served != dataset.user_territory[pairs.user]).any()
    where = served, groups, pairs.title, pairs.label, plain, dataset.n_titles
    expected = offsets("territory", where, 5.0, 5.0)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, plain + found[served, pairs.title])


def test_recommendations_are_ranked_with_the_offsets(tiny_world, tmp_path):
    data = Dataset.open(tiny_world)
    run = train(tiny_world, tmp_path / "run", with_offsets("territory", 0.5))
    best = recommend(run.path, data, np.arange(20), top=3)
    pairs = replace_pairs(Sample(data).test_pairs(), best.user.repeat(3), best.title.ravel())
    np.testing.assert_allclose(score_pairs(run.path, data, pairs), best.score.ravel(), rtol=1e-4, atol=1e-5)


def test_a_prior_without_anything_to_draw_is_refused():
    with pytest.raises(SettingError, match="group_prior"):
        ModelConfig(title_offsets="title", group_prior=5.0)


def test_group_offsets_need_groups():
    with pytest.raises(SettingError, match="title_offsets"):
        ModelConfig(title_offsets="group")


def with_offsets(level: str, prior: float = 5.0) -> dict:
    own = {"group_prior": 5.0} if level in ("group", "territory") else {}
    return MTL | {"title_offsets": level, "offset_prior": prior} | own


def offsets(level: str, where: tuple, prior: float = 1.0, group_prior: float = 1.0) -> np.ndarray:
    """Offsets of each territory and title by priors that are given."""
    nobody = Folds(np.zeros(0, int), False)
    return fit_offsets(level, *where, prior, group_prior, nobody).offsets


def replace_pairs(pairs, user, title):
    return replace(
        pairs.take(np.zeros(len(user), int)), user=np.asarray(user, np.int64), title=np.asarray(title, np.int32)
    )
