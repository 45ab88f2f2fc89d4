"""The fast model against the specification: values, gradients, masks, threads, and that it learns."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from kinks import exact, flips, spread_of_rows
from networks import batches, make_batch, make_network, model_configs, seeds
from profiles import examples

from twotower.core.config import BATCHNORMS, HEADS, ModelConfig, TrainConfig
from twotower.model import layers, reference, two_tower
from twotower.model.engine import threads as threads_module
from twotower.model.gradients import in_chunks
from twotower.training.loop import make_optimiser

MTL = ModelConfig(hidden=16, groups=3, head="lowrank", rank=2, title_bias=True)


def assert_gradients_agree(network, batch, tolerance=2e-5):
    loss, expected = exact(network, batch)
    assert network.loss_and_gradients(batch).total == pytest.approx(loss, rel=1e-5)
    size = max(np.abs(gradient).max() for gradient in expected.values())
    # batch-norm over two rows cancels nearly all of a gradient, and leaves float32's rounding of the rest
    floor = 1e-2 if 2 in (len(batch.user_counts), len(batch.title_counts)) else 1e-3
    for name, gradient in expected.items():
        scale = max(np.abs(gradient).max(), floor * size)
        assert np.abs(network.grads[name] - gradient).max() <= tolerance * scale, name


@examples(80, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), model_configs(), seeds, st.integers(1, 3))
def test_the_fast_model_equals_the_specification(data, config, seed, tile_steps):
    """Every variant, with absent groups, repeated users and titles, and tiles that cut the batch anywhere."""
    batch = data.draw(batches(config.groups))
    network = make_network(config, np.random.default_rng(seed))
    assume(spread_of_rows(network, batch) and not flips(network, batch))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads_module, "ROW_STEP", tile_steps)
        assert_gradients_agree(network, batch, tolerance=1e-3)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("output", ["linear", "relu"])
@pytest.mark.parametrize("batchnorm", BATCHNORMS)
def test_gradients_over_many_tiles_and_chunks(head, output, batchnorm, rng):
    shape = {"head": head, "output": output, "batchnorm": batchnorm}
    config = ModelConfig(hidden=24, groups=3, rank=4, title_bias=True, **shape)
    network = make_network(config, rng, threads=2)
    batch = make_batch(rng, pairs=2500, users=900, titles=60)
    tiles = threads_module.cut_into_tiles(batch.segments, threads_module.tile_height(len(batch.user_counts)))
    assert len(tiles) > 3 and len(in_chunks(tiles)) > 1
    loss, expected = exact(network, batch)
    found = network.loss_and_gradients(batch)
    assert found.total == pytest.approx(loss, rel=1e-6)
    for name, gradient in expected.items():  # flips of a few ReLUs among 100,000 are within rounding of the sum
        assert np.abs(network.grads[name] - gradient).max() < 1e-3 * np.abs(gradient).max() + 1e-9, name


@pytest.mark.parametrize("head", HEADS)
def test_gradients_of_the_offsets_of_territories(head, rng):
    config = ModelConfig(hidden=16, groups=3, head=head, rank=2, title_bias=True, territory_bias=True)
    network = make_network(config, rng)
    assert network.params["logit.scale"][0] != 1, "an offset of users passes through the scale, one of titles does not"
    batch = make_batch(rng, pairs=300, users=90, titles=20)
    _, expected = exact(network, batch)
    network.loss_and_gradients(batch)
    for name in ("territory.b", "territory.C"):
        difference = np.abs(network.grads[name] - expected[name]).max()
        assert difference < 1e-3 * np.abs(expected[name]).max(), name


def test_gradients_of_memory_over_many_tiles_and_chunks(rng):
    config = ModelConfig(hidden=8, groups=3, head="lowrank", rank=2, title_bias=True, memory=True)
    network = make_network(config, rng, threads=2)
    batch = make_batch(rng, pairs=2500, users=900, titles=60)
    loss, expected = exact(network, batch)
    assert network.loss_and_gradients(batch).total == pytest.approx(loss, rel=1e-5)
    for name in ("memory.w", "memory.A", "memory.v", "memory.d", "memory.e"):
        assert np.abs(expected[name]).max() > 1e-3, name
        np.testing.assert_allclose(network.grads[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    for shared, own in (("memory.w", "memory.d"), ("memory.v", "memory.e")):
        np.testing.assert_allclose(network.grads[own].sum(0), network.grads[shared], rtol=1e-5, atol=1e-7)


def test_memory_of_another_width_is_refused_before_a_kernel_sees_it(rng):
    network, batch = make_network(ModelConfig(hidden=4, memory=True), rng), make_batch(rng, groups=1)
    batch.memory = batch.memory[:, :3].copy()
    with pytest.raises(ValueError, match="memory"):
        network.loss_and_gradients(batch)


def test_unique_rows_do_not_change_gradients(rng):
    """The same pairs with every user and title row repeated for itself give the same gradients."""
    batch, network = make_batch(rng, pairs=60, users=12, titles=6), make_network(MTL, rng)
    network.loss_and_gradients(batch)
    shared = network.grads.flat.copy()
    group = np.repeat(np.arange(3), np.diff(batch.segments))[batch.pair_user]
    pairs = np.arange(len(batch.labels))
    batch.user_features = batch.user_features[batch.pair_user]
    batch.title_features = batch.title_features[batch.pair_title]
    batch.user_counts = batch.title_counts = np.ones(len(pairs), np.float32)
    batch.segments = np.searchsorted(group, np.arange(4))
    batch.pair_start = np.arange(len(pairs) + 1)
    batch.pair_user = batch.pair_title = pairs.astype(np.int32)
    network.loss_and_gradients(batch)
    np.testing.assert_allclose(network.grads.flat, shared, rtol=1e-3, atol=2e-6)


def test_a_masked_label_changes_nothing(rng):
    """Labels of other groups leave a head's gradient bit for bit the same, and move the shared towers'."""
    batch, network = make_batch(rng, pairs=80, users=20), make_network(MTL, rng)
    network.loss_and_gradients(batch)
    before = {name: value.copy() for name, value in network.grads.items()}
    own = slice(batch.pair_start[batch.segments[1]], batch.pair_start[batch.segments[2]])
    labels = 1 - batch.labels
    labels[own] = batch.labels[own]
    batch.labels = labels
    network.loss_and_gradients(batch)
    for name in ("head.P", "head.Q", "title_bias.C"):
        assert np.array_equal(before[name][1], network.grads[name][1])
        assert not np.array_equal(before[name][0], network.grads[name][0])
    assert not np.array_equal(before["user.W1"], network.grads["user.W1"])


@pytest.mark.parametrize("head", HEADS[1:])
def test_the_head_of_an_absent_group_stays_bit_for_bit_the_same(head, rng):
    """Its values, both its Adam moments and its count of updates, though earlier batches have moved it."""
    config = ModelConfig(hidden=16, groups=3, head=head, rank=2, title_bias=True)
    network = make_network(config, rng)
    optimiser = make_optimiser(network, TrainConfig())

    def learn(batch):
        losses = network.loss_and_gradients(batch)
        optimiser.update(network.grads, [k for k, n in enumerate(losses.pairs_by_group) if n], network.threads)
        return losses

    def own(k):
        arenas = (network.params, optimiser.m, optimiser.v)
        return [arena.flat[span].copy() for span in network.group_spans()[k] for arena in arenas]

    learn(make_batch(rng, pairs=80, users=20))
    before = own(1), own(2), list(optimiser.steps)
    losses = learn(make_batch(rng, pairs=80, users=20, absent=(1,)))
    assert losses.by_group[1] == 0.0 and losses.pairs_by_group[1] == 0
    assert not any(network.grads.flat[span].any() for span in network.group_spans()[1])
    assert all(np.array_equal(x, y) for x, y in zip(before[0], own(1), strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(before[1], own(2), strict=True))
    assert optimiser.steps[:4] == [before[2][0] + 1, before[2][1] + 1, before[2][2], before[2][3] + 1]


@pytest.mark.parametrize("head", [head for head in HEADS if head != "residual"])
def test_any_number_of_threads_gives_the_same_bits(head, rng):
    config = ModelConfig(hidden=24, groups=1 if head == "none" else 3, head=head, rank=4)
    batch = make_batch(rng, pairs=3000, users=1100, titles=300, groups=config.groups)
    found = []
    for threads in (1, 2, 4):
        network = make_network(config, np.random.default_rng(5), threads=threads)
        losses = network.loss_and_gradients(batch)
        found.append((losses, network.grads.flat.tobytes(), network.running.flat.tobytes()))
    assert found[0] == found[1] == found[2]


def test_a_smaller_batch_after_a_larger_one_sees_nothing_of_it(rng):
    """Workspaces are kept between batches: what a batch leaves there must not matter to the next."""
    small = make_batch(np.random.default_rng(1), pairs=40, users=10)
    fresh, used = make_network(MTL, np.random.default_rng(2)), make_network(MTL, np.random.default_rng(2))
    used.loss_and_gradients(make_batch(rng, pairs=900, users=400, titles=50))
    for work in (used.user_work, used.title_work):
        for buffer in (work.Z1, work.A1, work.Z2, work.d1.flat, work.d2.flat):
            buffer[:] = np.nan
    assert fresh.loss_and_gradients(small) == used.loss_and_gradients(small)
    assert np.array_equal(fresh.grads.flat, used.grads.flat)


@pytest.mark.parametrize("head", HEADS[1:])
def test_a_group_that_is_absent_now_leaves_nothing_of_an_earlier_batch(head, rng):
    config = ModelConfig(hidden=16, groups=3, head=head, rank=2, title_bias=True, territory_bias=True)
    fresh, used = make_network(config, np.random.default_rng(2)), make_network(config, np.random.default_rng(2))
    used.loss_and_gradients(make_batch(rng, pairs=80, users=20))
    batch = make_batch(rng, pairs=40, users=10, absent=(1,))
    assert fresh.loss_and_gradients(batch) == used.loss_and_gradients(batch)
    assert np.array_equal(fresh.grads.flat, used.grads.flat)


def test_a_residual_head_starts_as_the_baseline():
    """Zero residuals add nothing: the logits are those of the same towers without heads."""
    predictions = []
    for head in ("none", "residual", "lowrank", "mmoe", "cross-stitch"):
        config = ModelConfig(hidden=16, groups=3 if head != "none" else 1, head=head, rank=2)
        network = two_tower.TwoTower(config, 4, 6, np.random.default_rng(3))
        copy = make_batch(np.random.default_rng(4), pairs=60, users=15)
        copy.segments = copy.segments if head != "none" else np.array([0, 15])
        predictions.append(network.predict(copy).copy())
    for other in predictions[1:]:
        np.testing.assert_allclose(other, predictions[0], rtol=1e-5, atol=1e-6)


def test_the_first_probabilities_are_at_the_base_rate(rng):
    """The bias starts at the log-odds: otherwise the rare positives would be drowned from the first step."""
    network = two_tower.TwoTower(ModelConfig(hidden=64), 4, 6, rng, base_rate=0.02)
    assert network.params["logit.bias"][0] == pytest.approx(np.log(0.02 / 0.98))
    assert network.params["logit.scale"][0] == pytest.approx(1 / 8)


def test_the_papers_preset_has_no_scale_and_no_bias(rng):
    config = ModelConfig(hidden=8, groups=3, head="plain", output="relu", learned_logit=False)
    network = make_network(config, rng)
    optimiser = make_optimiser(network, TrainConfig())
    for _ in range(3):
        network.loss_and_gradients(make_batch(rng))
        optimiser.update(network.grads, [0, 1, 2], network.threads)
    assert network.params["logit.scale"] == 1 and network.params["logit.bias"] == 0
    assert (network.predict(make_batch(rng)) >= 0).all()  # which is why it dies: no probability below one half


def test_evaluation_uses_running_statistics(rng):
    """A pair's prediction depends neither on the company it is scored in nor on counts, and moves nothing."""
    network = make_network(MTL, rng)
    for _ in range(200):
        network.loss_and_gradients(make_batch(rng, pairs=80, users=20))
    batch = make_batch(np.random.default_rng(8), pairs=40, users=10)
    before = network.running.flat.copy()
    whole = network.predict(batch).copy()
    batch.user_counts = batch.user_counts * 7  # of no importance in evaluation
    assert np.array_equal(network.predict(batch), whole)
    assert np.array_equal(network.running.flat, before)
    np.testing.assert_allclose(whole, predicted_by_hand(network, batch), rtol=1e-4, atol=1e-4)


def predicted_by_hand(network, batch):
    """Logits in float64 from the parameters and the running statistics, row by row."""
    p, r = ({name: value.astype(float) for name, value in a.items()} for a in (network.params, network.running))

    def tower(name, X):
        for i, floor in (("1", 0.0), ("2", -np.inf)):
            rstd = 1 / np.sqrt(r[f"{name}.var{i}"] + 1e-5)
            Z, norm = X @ p[f"{name}.W{i}"], (p[f"{name}.gamma{i}"], p[f"{name}.beta{i}"], floor)
            X = reference.batchnorm_relu(Z, r[f"{name}.mean{i}"], rstd, *norm)
        return X

    A, V = tower("user", batch.user_features.astype(float)), tower("title", batch.title_features.astype(float))
    group = np.repeat(np.arange(3), np.diff(batch.segments))
    U = np.stack([a + a @ p["head.P"][k] @ p["head.Q"][k] for a, k in zip(A, group, strict=True)])
    bias = batch.title_features @ p["title_bias.C"].T  # (T, K)
    u, t = batch.pair_user, batch.pair_title
    return p["logit.scale"] * (U[u] * V[t]).sum(1) + p["logit.bias"] + bias[t, group[u]]


@pytest.mark.parametrize("steps", [1, 2, 300])
def test_running_statistics_approach_those_of_the_data(rng, steps):
    """Exponential means with momentum 0.1 from 0 and 1, and the unbiased variance over pairs."""
    network, batch = make_network(MTL, rng), make_batch(rng, pairs=50, users=10)
    for _ in range(steps):
        network.loss_and_gradients(batch)
    Z1, left = batch.user_features[batch.pair_user] @ network.params["user.W1"], 0.9**steps
    np.testing.assert_allclose(network.running["user.mean1"], (1 - left) * Z1.mean(0), rtol=1e-3, atol=1e-4)
    variance = left + (1 - left) * Z1.var(0, ddof=1)
    np.testing.assert_allclose(network.running["user.var1"], variance, rtol=1e-3)


def test_ten_steps_of_adam_follow_the_textbook(rng):
    network, batch = make_network(MTL, rng), make_batch(rng, pairs=120, users=30, titles=12)
    optimiser = make_optimiser(network, TrainConfig(learning_rate=1e-3))
    params = {name: value.astype(np.float64) for name, value in network.params.items()}
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in params.items()}
    for t in range(1, 11):
        network.loss_and_gradients(batch)
        optimiser.update(network.grads, [0, 1, 2], network.threads)
        _, gradients = reference.loss_and_gradients(params, reference.expand(batch), MTL)
        for name in params:
            params[name], *moments[name] = reference.adam(
                params[name], *moments[name], gradients[name], 1e-3, 0.9, 0.999, 1e-8, t
            )
    for name, value in params.items():
        assert np.abs(network.params[name] - value).max() < 2e-4, name  # of up to 10 · 1e-3 travelled


@pytest.mark.parametrize("preset, share", [("default", 0.1), ("paper", 0.75)])
def test_it_learns_a_planted_answer(preset, share, rng):
    """Labels that follow from the features through the group are learned to far below the best constant.

    The paper's own shape knows no probability below one half: each negative costs it log 2 at least.
    """
    users, titles = 60, 12
    batch = make_batch(rng, pairs=720, users=users, titles=titles, groups=2, user_width=6, title_width=6)
    group = np.repeat([0, 1], np.diff(batch.segments))[batch.pair_user]
    like = (batch.user_features[batch.pair_user] * batch.title_features[batch.pair_title]).sum(1)
    batch.labels = (np.where(group == 0, like, -like) > 0.5).astype(np.float32)  # taste turns around in group 1
    head = {"default": "residual", "paper": "plain"}[preset]
    output = {"default": "linear", "paper": "relu"}[preset]
    config = ModelConfig(hidden=24, groups=2, head=head, output=output, learned_logit=preset == "default")
    network = two_tower.TwoTower(config, 6, 6, rng)
    optimiser = make_optimiser(network, TrainConfig(learning_rate=0.01))
    losses = []
    for _ in range(150):
        losses.append(network.loss_and_gradients(batch).total)
        optimiser.update(network.grads, [0, 1], network.threads)
    rate = batch.labels.mean()
    constant = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert losses[-1] < share * constant


def test_scratch_is_shared_by_no_two_threads_and_kept():
    pool = layers.ScratchPool(4, 6, 1)
    with pool.borrow() as one, pool.borrow() as two:
        assert one is not two
    with pool.borrow() as again:
        assert again in (one, two)


@pytest.mark.parametrize("head", ["lowrank", "plain"])
def test_the_same_bits_on_1_to_64_threads(head):
    """Weights and logits after three steps; more threads than cores take their turns in ever other orders."""
    batch = make_batch(np.random.default_rng(0), pairs=2500, users=1500, titles=200)
    found = set()
    for threads in (1, 2, 3, 4, 8, 16, 32, 64):
        config = ModelConfig(hidden=40, groups=3, head=head, rank=4, title_bias=True)
        network = make_network(config, np.random.default_rng(1), threads=threads)
        optimiser = make_optimiser(network, TrainConfig())
        for _ in range(3):
            losses = network.loss_and_gradients(batch)
            optimiser.update(network.grads, losses.present, network.threads)
        found.add(network.params.flat.tobytes() + network.predict(batch).tobytes())
        network.threads.close()
    assert len(found) == 1


def test_every_pass_has_32_tasks_at_least(monkeypatch):
    """Of the paper's batch of 8192 pairs, all users unique: no pass is bound to a few threads."""
    passes = []
    run = threads_module.Threads.run

    def counted(self, work, items):
        passes.append((work.__qualname__, len(items)))
        run(self, work, items)

    batch = make_batch(np.random.default_rng(0), pairs=8192, users=8192, titles=700)
    network = make_network(ModelConfig(hidden=512, groups=3, head="lowrank", title_bias=True), np.random.default_rng(1))
    optimiser = make_optimiser(network, TrainConfig())
    monkeypatch.setattr(threads_module.Threads, "run", counted)
    losses = network.loss_and_gradients(batch)
    optimiser.update(network.grads, losses.present, network.threads)
    few = [name for name, tasks in passes if tasks < 32]
    assert len(passes) >= 11 and few == ["TwoTower.backward_pass.<locals>.title_output"]  # element by element, 700 rows
