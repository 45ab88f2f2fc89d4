"""A gate per territory: only its own rows move it, and it acts from training to recommendation and export."""

import numpy as np
import pytest
from networks import TERRITORIES, make_batch, make_network
from tiny_runs import train

from twotower.core import config
from twotower.core.config import ModelConfig, TrainConfig
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.model import heads
from twotower.model.retrieval import Retrieval, Users
from twotower.model.two_tower import TwoTower
from twotower.serving.export import export
from twotower.serving.open_run import score_pairs
from twotower.serving.recommend import recommend
from twotower.serving.remap import with_territories
from twotower.training.checkpoint import load_model, save_weights
from twotower.training.loop import make_optimiser

GATE = ModelConfig(hidden=16, head="market-gate")


def far_batch(rng, **shape):
    """A batch whose territories are 1 and 3 only."""
    batch = make_batch(rng, groups=1, **shape)
    batch.user_territory = np.where(batch.user_territory % 2, 1, 3).astype(np.int32)
    return batch


def test_the_list_of_heads_is_that_of_the_registry():
    assert tuple(heads.HEADS) == config.HEADS


def test_training_starts_from_the_model_without_heads(rng):
    gated, plain = (
        TwoTower(ModelConfig(hidden=16, head=head), 4, 6, np.random.default_rng(1), territories=TERRITORIES)
        for head in ("market-gate", "none")
    )
    batch = make_batch(rng, groups=1)
    np.testing.assert_array_equal(gated.predict(batch), plain.predict(batch))
    assert gated.loss_and_gradients(batch).total == plain.loss_and_gradients(batch).total
    assert gated.grads["territory.m"].any(axis=1).all()


def test_any_number_of_threads_gives_the_same_bits(rng):
    batch, results = make_batch(rng, pairs=3000, users=1100, titles=300, groups=1), set()
    for threads in (1, 2, 4):
        network = make_network(GATE, np.random.default_rng(5), threads=threads)
        results.add((network.loss_and_gradients(batch).total, network.grads.flat.tobytes()))
    assert len(results) == 1


def test_an_absent_territory_keeps_its_gate_bit_for_bit_and_a_present_one_decays(rng):
    network = make_network(GATE, rng)
    optimiser = make_optimiser(network, TrainConfig(learning_rate=0.01, head_decay=10.0))
    before = network.params["territory.m"].copy()
    losses = network.loss_and_gradients(far_batch(rng, pairs=80, users=20))
    assert losses.present == [0, 1 + 1, 1 + 3]
    network.grads.flat[:] = 0
    optimiser.update(network.grads, losses.present, network.threads)
    after = network.params["territory.m"]
    np.testing.assert_array_equal(after[[0, 2, 4]], before[[0, 2, 4]])
    np.testing.assert_allclose(after[[1, 3]], 0.9 * before[[1, 3]], rtol=1e-6)


def test_scoring_wants_to_know_where_users_live(rng):
    found = Retrieval(make_network(GATE, rng), rng.standard_normal((5, 6), np.float32))
    users = Users(np.ones((2, 4), np.float32), np.arange(2), np.zeros(2, int))
    out = np.empty((2, 16), np.float32)
    with pytest.raises(ValueError, match="needs the territory of each user"):
        found.embed_users(out, users)
    with pytest.raises(IndexError, match="territory goes from 0 to 5, expected 0 to 4"):
        found.embed_users(out, users._replace(territory=np.array([0, 5])))
    found.embed_users(out, users._replace(territory=np.array([0, 4])))
    assert not np.array_equal(out[0], out[1]), "the same features in two territories"


def test_other_territories_take_their_gates_along(rng, tmp_path):
    save_weights(tmp_path / "weights", make_network(GATE, rng))
    network = load_model(tmp_path / "weights")
    moved = with_territories(network, np.array([3, -1, 0]))
    np.testing.assert_array_equal(moved.params["territory.m"][[0, 2]], network.params["territory.m"][[3, 0]])
    assert not moved.params["territory.m"][1].any(), "an unknown territory has the shared model"


def test_a_run_with_gates_scores_recommends_and_exports(tiny_world, tmp_path):
    """The whole way: other results than without, the same scores from disk, from ranked lists, and from arrays."""
    run = train(tiny_world, tmp_path / "gated", {"head": "market-gate"}, head_decay=0.1)
    plain = train(tiny_world, tmp_path / "plain", {})
    assert not np.array_equal(run.scores, plain.scores)
    data = Dataset.open(tiny_world)
    pairs = Sample(data).test_pairs()
    np.testing.assert_array_equal(score_pairs(run.path, data, pairs), run.scores)
    export(run.path, data, tmp_path / "arrays")
    users, titles, bias = (np.load(tmp_path / "arrays" / f"{name}.npy") for name in ("users", "titles", "bias"))
    scores = np.einsum("nd,nd->n", users[pairs.user], titles[pairs.title])
    scores += bias[data.user_territory[pairs.user], pairs.title]
    np.testing.assert_allclose(scores, run.scores, rtol=1e-3, atol=1e-4)
    best = recommend(run.path, data, np.array([3, 77]), top=3)
    for user, ranked, logits in zip(best.user, best.title, best.score, strict=True):
        expected = titles[ranked] @ users[user] + bias[data.user_territory[user], ranked]
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
