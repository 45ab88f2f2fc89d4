"""Title offsets: what the towers got wrong about a title, drawn to nothing where there is little to go by."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import MTL, NoWriter, make_trainer, small_config, train

from twotower.checkpoint import load_model
from twotower.config import ModelConfig, SettingError
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample, concatenate
from twotower.experiment.laboratory import shuffled_heads
from twotower.nn.title_offsets import fit_offsets, shrunken_offsets
from twotower.recommend import recommend
from twotower.scoring import score_pairs
from twotower.trainer import Trainer

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
    np.testing.assert_array_equal(fit_offsets("title", *where, 1.0), [[0.0], [0.0]])  # right on average
    own = fit_offsets("territory", *where, 1.0)
    np.testing.assert_allclose(own, [[math.log(3 / 2)], [math.log(1 / 2)]], rtol=1e-6)
    np.testing.assert_array_equal(fit_offsets("group", *where, 1.0), [[0.0], [0.0]])  # one group: nothing is left
    by_group = territory, np.array([1, 0]), *where[2:]
    np.testing.assert_allclose(fit_offsets("group", *by_group, 1.0), own)


def test_what_all_territories_have_in_common_is_counted_once():
    # one title, expected at one half; territory 0 takes it twice of two times, territory 1 once of two times
    where = np.array([0, 0, 1, 1]), np.zeros(2, int), np.zeros(4, int), np.array([1, 1, 1, 0]), np.full(4, HALF), 1
    everywhere = 4 / 3  # 3 + 1 where 2 + 1 were expected; then 8/7 are expected of either territory
    of_each = [[math.log(everywhere * 3 / (15 / 7))], [math.log(everywhere * 2 / (15 / 7))]]
    np.testing.assert_allclose(fit_offsets("territory", *where, 1.0), of_each, rtol=1e-6)


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


def test_the_prior_changes_the_scores(tiny_world, tmp_path):
    some, more = (
        train(tiny_world, tmp_path / str(prior), with_offsets("territory", prior)) for prior in (5.0, 50.0)
    )
    assert not np.array_equal(some.scores, more.scores)


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
    expected = fit_offsets("territory", *where, trainer.predict(pairs), trainer.dataset.n_titles, 5.0)
    np.testing.assert_array_equal(found, expected)


def test_who_goes_through_another_territorys_head_has_its_offsets(tiny_world, tmp_path):
    dataset = shuffled_heads(Dataset.open(tiny_world), np.random.default_rng(0))
    groups, config = np.arange(dataset.n_territories) % 2, small_config(with_offsets("territory"))
    trainer = Trainer(dataset, Sample(dataset), groups, config)
    trainer.run(NoWriter(tmp_path))
    pairs = trainer.learned
    found, scores = trainer.model.title_offsets, trainer.predict(pairs)
    trainer.model.title_offsets = None
    plain, served = trainer.predict(pairs), dataset.head_territory[pairs.user]
    assert (served != dataset.user_territory[pairs.user]).any()
    expected = fit_offsets("territory", served, groups, pairs.title, pairs.label, plain, dataset.n_titles, 5.0)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, plain + found[served, pairs.title])


def test_recommendations_are_ranked_with_the_offsets(tiny_world, tmp_path):
    data = Dataset.open(tiny_world)
    run = train(tiny_world, tmp_path / "run", with_offsets("territory", 0.5))
    best = recommend(run.path, data, np.arange(20), top=3)
    pairs = replace_pairs(Sample(data).test_pairs(), best.user.repeat(3), best.title.ravel())
    np.testing.assert_allclose(score_pairs(run.path, data, pairs), best.score.ravel(), rtol=1e-4, atol=1e-5)


def test_group_offsets_need_groups():
    with pytest.raises(SettingError, match="title_offsets"):
        ModelConfig(title_offsets="group")


def with_offsets(level: str, prior: float = 5.0) -> dict:
    return MTL | {"title_offsets": level, "offset_prior": prior}


def replace_pairs(pairs, user, title):
    return replace(
        pairs.take(np.zeros(len(user), int)), user=np.asarray(user, np.int64), title=np.asarray(title, np.int32)
    )
