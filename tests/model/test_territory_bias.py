"""Offsets per territory: its own rows move them and nothing else does, from training to recommending."""

from dataclasses import replace

import numpy as np
import pytest
from networks import TERRITORIES, make_batch, make_network
from tiny_runs import MTL, make_trainer, train

from twotower.core.config import ModelConfig, TrainConfig
from twotower.core.errors import InputError
from twotower.data.batches import Batcher
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.model import reference
from twotower.model.retrieval import Candidates, Retrieval, Users
from twotower.model.two_tower import TwoTower
from twotower.serving.open_run import score_pairs
from twotower.serving.recommend import recommend
from twotower.training.checkpoint import load_model, load_training, save_training, save_weights
from twotower.training.job import default_label
from twotower.training.loop import make_optimiser

OFFSETS = ModelConfig(hidden=16, groups=3, head="lowrank", rank=2, title_bias=True, territory_bias=True)
NAMES = "territory.b", "territory.C"


def far_batch(rng, **shape):
    """A batch whose territories are 1 and 3 only."""
    batch = make_batch(rng, pairs=80, users=20, **shape)
    batch.user_territory = np.where(batch.user_territory % 2, 1, 3).astype(np.int32)
    return batch


def test_gradients_over_many_tiles_are_those_of_the_textbook(rng):
    network, batch = make_network(OFFSETS, rng, threads=2), make_batch(rng, pairs=2500, users=900, titles=60)
    params = {name: value.astype(np.float64) for name, value in network.params.items()}
    loss, expected = reference.loss_and_gradients(params, reference.expand(batch), OFFSETS)
    assert network.loss_and_gradients(batch).total == pytest.approx(loss, rel=1e-6)
    for name in (*NAMES, "head.Q", "title.W1"):
        assert np.abs(network.grads[name] - expected[name]).max() < 1e-3 * np.abs(expected[name]).max(), name


def test_any_number_of_threads_gives_the_same_bits(rng):
    batch, found = make_batch(rng, pairs=3000, users=1100, titles=300), set()
    for threads in (1, 2, 4):
        network = make_network(OFFSETS, np.random.default_rng(5), threads=threads)
        found.add((network.loss_and_gradients(batch).total, network.grads.flat.tobytes()))
    assert len(found) == 1


def test_an_absent_territory_keeps_its_values_moments_and_count_bit_for_bit(rng):
    network = make_network(OFFSETS, rng)
    optimiser = make_optimiser(network, TrainConfig())

    def own(c):
        arenas = network.params, optimiser.m, optimiser.v
        return b"".join(arena.flat[span].tobytes() for span in network.territory_spans()[c] for arena in arenas)

    def learn(batch):
        losses = network.loss_and_gradients(batch)
        optimiser.update(network.grads, losses.present, network.threads)
        return losses

    assert learn(make_batch(rng, pairs=80, users=20)).present == [0, 1, 2, *(3 + c for c in range(TERRITORIES))]
    before, steps = [own(c) for c in range(TERRITORIES)], list(optimiser.steps)
    assert learn(far_batch(rng)).present[-2:] == [3 + 1, 3 + 3]
    for name in NAMES:
        assert not network.grads[name][[0, 2, 4]].any()
    assert [own(c) == before[c] for c in range(TERRITORIES)] == [True, False, True, False, True]
    assert [new - old for new, old in zip(optimiser.steps[4:], steps[4:], strict=True)] == [0, 1, 0, 1, 0]


def test_foreign_labels_leave_the_gradient_of_a_territory_bit_for_bit_the_same(rng):
    network, batch = make_network(OFFSETS, rng), make_batch(rng, pairs=80, users=20)
    network.loss_and_gradients(batch)
    before = {name: network.grads[name].copy() for name in NAMES}
    own = batch.user_territory[batch.pair_user] == 2
    batch.labels = np.where(own, batch.labels, 1 - batch.labels).astype(np.float32)
    network.loss_and_gradients(batch)
    for name in NAMES:
        assert np.array_equal(before[name][2], network.grads[name][2])
        assert not np.array_equal(before[name][1], network.grads[name][1])


def test_offsets_start_at_zero_and_change_nothing(rng):
    batch = make_batch(rng, pairs=60, users=15)
    without = replace(OFFSETS, territory_bias=False)
    networks = [TwoTower(m, 4, 6, np.random.default_rng(3), territories=TERRITORIES) for m in (OFFSETS, without)]
    assert not networks[0].params["territory.b"].any() and not networks[0].params["territory.C"].any()
    assert np.array_equal(networks[0].predict(batch), networks[1].predict(batch))
    assert networks[1].territories == 0, "a model without offsets does not care"


def test_a_model_with_offsets_has_to_know_how_many(rng):
    with pytest.raises(ValueError, match="territories 0: expected a whole number of at least 1"):
        TwoTower(OFFSETS, 4, 6, rng)


@pytest.mark.parametrize("title_bias", [False, True])
def test_all_titles_have_the_scores_that_the_model_gives_to_pairs(rng, title_bias):
    N, T = 30, 23
    model = ModelConfig(hidden=8, groups=3, head="residual", title_bias=title_bias, territory_bias=True)
    network = make_network(model, rng)
    users, titles = rng.standard_normal((N, 4), np.float32), rng.standard_normal((T, 6), np.float32)
    territory_group = np.array([0, 2, 1, 1, 0])
    territory = rng.integers(0, TERRITORIES, N)
    group = territory_group[territory]
    batcher = Batcher(users, titles, group, 3, N * T, user_territory=territory, n_territories=5)
    batch = batcher.batch(np.repeat(np.arange(N), T), np.tile(np.arange(T), N), np.zeros(N * T))
    np.testing.assert_array_equal(batch.user_territory, territory[batch.user_rows])
    expected = np.empty(N * T, np.float32)
    expected[batch.order] = network.predict(batch)

    found = Retrieval(network, titles)
    nothing_seen = np.zeros(N + 1, np.int64), np.empty(0, np.int32)
    choice = Candidates(found.territory_bias(territory_group), territory, *nothing_seen)
    ranked, scores = found.top(T, Users(users, np.arange(N), group), choice)
    by_rank = np.take_along_axis(expected.reshape(N, T), ranked, axis=1)
    np.testing.assert_allclose(scores, by_rank, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="groups of 4 territories, and offsets of 5"):
        found.territory_bias(territory_group[:4])


def test_a_batcher_wants_a_territory_for_each_user():
    tables = np.ones((4, 2), np.float32), np.ones((3, 2), np.float32), np.zeros(4, int), 1, 8
    with pytest.raises(ValueError, match=r"user_territory has shape \(3,\), expected \(4,\)"):
        Batcher(*tables, user_territory=np.zeros(3, int), n_territories=2)
    assert Batcher(*tables).batch(*(np.zeros(2, int),) * 3).user_territory.shape == (0,)


def test_weights_know_the_number_of_territories(tmp_path, rng):
    network = make_network(OFFSETS, rng)
    save_weights(tmp_path / "weights", network)
    found = load_model(tmp_path / "weights")
    assert found.territories == TERRITORIES
    np.testing.assert_array_equal(found.params["territory.C"], network.params["territory.C"])


def test_the_state_of_training_comes_back_bit_for_bit(tiny_world, tmp_path):
    first, second = (make_trainer(tiny_world, MTL | {"territory_bias": True}) for _ in range(2))
    for batch in first.batches(0):
        first.optimiser.update(first.model.grads, first.model.loss_and_gradients(batch).present, first.model.threads)
    save_training(tmp_path / "training", first.model, first.optimiser, first.state)
    load_training(tmp_path / "training", second.model, second.optimiser, second.state)
    for arena, other in zip(*((t.model.params, t.optimiser.m, t.optimiser.v) for t in (first, second)), strict=True):
        np.testing.assert_array_equal(arena.flat, other.flat)
    assert first.optimiser.steps == second.optimiser.steps and len(first.optimiser.steps) == 1 + 2 + 6


def test_a_run_with_offsets_differs_scores_and_recommends(tiny_world, tmp_path):
    """The whole way: other results than without, the same scores from disk, and recommendations with those scores."""
    run = train(tiny_world, tmp_path / "offsets", MTL | {"territory_bias": True})
    other = train(tiny_world, tmp_path / "plain", MTL)
    assert not np.array_equal(run.scores, other.scores)
    data = Dataset.open(tiny_world)
    pairs = Sample(data).test_pairs()
    np.testing.assert_array_equal(score_pairs(run.path, data, pairs), run.scores)
    found = recommend(run.path, data, np.array([3, 77, 140]), top=data.n_titles)
    for user, titles, scores in zip(found.user, found.title, found.score, strict=True):
        some = titles >= 0
        no_labels = np.zeros(some.sum(), np.float32)
        asked = type("Asked", (), {"user": np.full(some.sum(), user), "title": titles[some], "label": no_labels})
        np.testing.assert_allclose(scores[some], score_pairs(run.path, data, asked), rtol=1e-3, atol=1e-4)


def test_the_trainer_updates_every_territory_of_its_pairs(tiny_world, tmp_path):
    trainer = make_trainer(tiny_world, MTL | {"territory_bias": True})
    for batch in trainer.batches(0):
        losses = trainer.model.loss_and_gradients(batch)
        trainer.optimiser.update(trainer.model.grads, losses.present, trainer.model.threads)
    seen = np.unique(trainer.dataset.user_territory[trainer.pairs.user])
    np.testing.assert_array_equal(np.flatnonzero(trainer.model.params["territory.b"].any(axis=1)), seen)


def test_offsets_need_a_linear_output():
    with pytest.raises(InputError, match=r"model\.territory_bias = True: expected false with output = 'relu'"):
        ModelConfig(territory_bias=True, output="relu")


def test_the_label_says_that_there_are_offsets(tiny_world):
    sampled = Sample(Dataset.open(tiny_world))
    assert default_label(OFFSETS, sampled).startswith("mtl-3-territories")
    assert default_label(ModelConfig(territory_bias=True), sampled).startswith("baseline-territories")
