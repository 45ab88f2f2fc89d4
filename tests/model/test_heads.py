"""Heads that share: what a mixture of experts and cross-stitched heads are equal to, and whose rows move what."""

from pathlib import Path

import numpy as np
import pytest
from finite_differences import TOLERANCE, vjp_error
from hypothesis import given
from hypothesis import strategies as st
from networks import make_batch, make_network, seeds
from tiny_runs import MTL, train

from twotower.core.config import ModelConfig, TrainConfig
from twotower.model import reference, two_tower
from twotower.model import variants as variants_package
from twotower.model.heads import HEADS
from twotower.model.two_tower import TwoTower
from twotower.model.variants.cross_stitch import OWN_SHARE
from twotower.training.loop import make_optimiser

EXPERTS = ModelConfig(hidden=16, groups=3, head="mmoe", rank=2, experts=4, title_bias=True)
STITCHED = ModelConfig(hidden=16, groups=3, head="cross-stitch")


def gradients(network, batch):
    network.loss_and_gradients(batch)
    return {name: value.copy() for name, value in network.grads.items()}


def with_foreign_labels_turned(batch, k):
    """The same pairs, and the other label where they are not of group k."""
    own = slice(batch.pair_start[batch.segments[k]], batch.pair_start[batch.segments[k + 1]])
    labels = 1 - batch.labels
    labels[own] = batch.labels[own]
    batch.labels = labels
    return batch


@given(seeds, st.integers(1, 6), st.integers(1, 5))
def test_softmax(seed, n, E):
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((n, E))
    np.testing.assert_allclose(reference.softmax(L).sum(1), 1)
    backward = lambda dg: (reference.softmax_backward(dg, reference.softmax(L)),)  # noqa: E731
    assert vjp_error(reference.softmax, backward, [L], rng) < 10 * TOLERANCE


def test_softmax_by_hand_and_with_huge_logits():
    np.testing.assert_allclose(reference.softmax(np.log([[1.0, 3.0]])), [[0.25, 0.75]])
    np.testing.assert_array_equal(reference.softmax(np.array([[900.0, -900.0]])), [[1, 0]])
    np.testing.assert_allclose(reference.softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.25, 0.75]])),
                               [[0.1875, -0.1875]])  # fmt: skip


@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_stitch(seed, K, D):
    rng = np.random.default_rng(seed)
    alpha, W = rng.standard_normal((K, K)), rng.standard_normal((K, D, D))
    backward = lambda dmixed: reference.stitch_backward(dmixed, alpha, W)  # noqa: E731
    assert vjp_error(reference.stitch, backward, [alpha, W], rng) < 10 * TOLERANCE


def test_experts_under_even_gates_are_one_head_of_low_rank(rng):
    """Gates of 1/E: the same logits as one low-rank head of rank E·r for all, its second layer divided by E."""
    batch = make_batch(rng, pairs=60, users=15)
    network = make_network(EXPERTS, np.random.default_rng(3))
    network.params["head.G"][...] = 0
    other = make_network(ModelConfig(hidden=16, groups=3, head="lowrank", rank=8, title_bias=True), rng)
    for name, value in other.params.items():
        if not name.startswith("head."):
            value[...] = network.params[name]
    other.params["head.P"][...] = network.params["experts.P"]
    other.params["head.Q"][...] = network.params["experts.Q"] / 4
    np.testing.assert_allclose(network.predict(batch), other.predict(batch), rtol=1e-5, atol=1e-5)


def test_a_gate_sees_its_own_rows_and_the_experts_see_all(rng):
    network, batch = make_network(EXPERTS, rng), make_batch(rng, pairs=80, users=20)
    before, after = gradients(network, batch), gradients(network, with_foreign_labels_turned(batch, 1))
    assert np.array_equal(before["head.G"][1], after["head.G"][1])
    assert not np.array_equal(before["head.G"][0], after["head.G"][0])
    assert not np.array_equal(before["experts.P"], after["experts.P"])


def test_cross_stitch_with_the_identity_is_a_residual_head_a_group(rng):
    batch, residual = make_batch(rng, pairs=60, users=15), ModelConfig(hidden=16, groups=3, head="residual")
    network, other = make_network(STITCHED, np.random.default_rng(3)), make_network(residual, rng)
    network.params["head.alpha"][...] = np.eye(3)
    for name, value in other.params.items():
        value[...] = network.params[name if name != "head.W" else "stitch.W"]
    assert np.array_equal(network.predict(batch), other.predict(batch))
    found, expected = gradients(network, batch), gradients(other, batch)
    np.testing.assert_allclose(found["stitch.W"], expected["head.W"], rtol=1e-6, atol=1e-7)


def test_what_cross_stitch_does_to_the_mask(rng):
    """Foreign rows move a group's layer, which all heads share, but neither its mixture nor its bias."""
    network, batch = make_network(STITCHED, rng), make_batch(rng, pairs=80, users=20)
    before, after = gradients(network, batch), gradients(network, with_foreign_labels_turned(batch, 1))
    for name in ("head.alpha", "head.b"):
        assert np.array_equal(before[name][1], after[name][1])
        assert not np.array_equal(before[name][0], after[name][0])
    assert not np.array_equal(before["stitch.W"][1], after["stitch.W"][1])


@pytest.mark.parametrize(("model", "shared", "own"), [(EXPERTS, "experts.Q", ["head.G"]),
                                                      (STITCHED, "stitch.W", ["head.alpha", "head.b"])])  # fmt: skip
def test_an_absent_group_keeps_what_is_its_own_while_the_shared_part_learns(rng, model, shared, own):
    network = make_network(model, rng)
    optimiser = make_optimiser(network, TrainConfig())
    for absent in ((), (1,)):
        before = {name: value.copy() for name, value in network.params.items()}
        losses = network.loss_and_gradients(make_batch(rng, pairs=80, users=20, absent=absent))
        optimiser.update(network.grads, losses.present, network.threads)
    for name in own:
        assert not network.grads[name][1].any()
        assert np.array_equal(before[name][1], network.params[name][1])
        assert not np.array_equal(before[name][2], network.params[name][2])
    assert not np.array_equal(before[shared], network.params[shared])
    if model is STITCHED:
        assert not np.array_equal(before[shared][1], network.params[shared][1]), "through the other heads"
    assert optimiser.steps == [2, 2, 1, 2]


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("model", [EXPERTS, STITCHED], ids=lambda model: model.head)
def test_every_parameter_belongs_to_all_or_to_one_group_and_to_nobody_twice(rng, model, learned):
    network = TwoTower(ModelConfig(**{**vars(model), "learned_logit": learned}), 4, 6, rng)
    times = np.zeros(len(network.params.flat), int)
    times[network.shared_span()] += 1
    for spans in network.group_spans():
        for span in spans:
            times[span] += 1
    for name in network.params:
        fixed = name.startswith("logit.") and not learned
        assert (times[network.params.span(name)] == (0 if fixed else 1)).all(), name


def test_the_decay_of_heads_reaches_what_they_share(rng):
    for model, name in ((EXPERTS, "experts.P"), (STITCHED, "stitch.W")):
        network = TwoTower(model, 4, 6, rng)
        assert network.params.span(name) in network.decayed_spans("head")[0]


def test_the_mixture_starts_near_the_identity(rng):
    alpha = TwoTower(STITCHED, 4, 6, rng).params["head.alpha"]
    np.testing.assert_allclose(np.diag(alpha), OWN_SHARE)
    np.testing.assert_allclose(alpha.sum(1), 1, rtol=1e-6)
    alone = TwoTower(ModelConfig(hidden=4, head="cross-stitch"), 4, 6, rng)
    assert alone.params["head.alpha"] == 1


@pytest.mark.parametrize("head", ["mmoe", "cross-stitch"])
def test_a_run_with_such_heads_differs_from_the_others(tiny_world, tmp_path, head):
    runs = [train(tiny_world, tmp_path / name, MTL | {"head": name}) for name in (head, "lowrank", "residual")]
    assert all(np.isfinite(run.scores).all() for run in runs)
    assert len({run.scores.tobytes() for run in runs}) == 3


@pytest.mark.parametrize("file", ["two_tower", "parameters", "loss", "tower", "layers"])
def test_the_main_path_names_no_variant(file):
    source = Path(two_tower.__file__).with_name(f"{file}.py").read_text("utf-8")
    variants = {path.stem for path in Path(variants_package.__file__).parent.glob("[a-z]*.py")} - {"objective"}
    imported = [line for line in source.splitlines() if "import" in line and "model.variants" in line]
    assert len(variants) > 6 and not imported
    names = variants | set(HEADS) - {"none", "plain"}
    assert not [name for name in names if f'"{name}"' in source or f"{name}." in source]
