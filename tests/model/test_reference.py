"""The textbook against finite differences, operation by operation and as a whole."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from finite_differences import STEP, TOLERANCE, model_errors, vjp_error
from hypothesis import assume, given
from hypothesis import strategies as st
from kinks import far_from_kinks
from networks import batches, make_batch, make_parameters, model_configs, seeds
from profiles import examples

from twotower.core.config import BATCHNORM_EPS, HEADS, OUTPUTS, ModelConfig
from twotower.model import reference

rows, widths = st.integers(2, 8), st.integers(1, 6)


@given(seeds, rows, widths, widths)
def test_dense(seed, n, F, D):
    rng = np.random.default_rng(seed)
    X, W = rng.standard_normal((n, F)), rng.standard_normal((F, D))
    backward = lambda dZ: reference.dense_backward(dZ, X, W)[::-1]  # noqa: E731
    assert vjp_error(reference.dense, backward, [X, W], rng) < TOLERANCE


def batchnorm(Z, gamma, beta, counts, floor):
    """Batch-norm and ReLU as one function of its inputs, on unique rows with counts."""
    mean, squares = reference.moments(Z, counts)
    rstd = 1 / np.sqrt(squares / counts.sum() + BATCHNORM_EPS)
    return reference.batchnorm_relu(Z, mean, rstd, gamma, beta, floor), mean, rstd


@given(seeds, rows, widths, st.sampled_from([0.0, -np.inf]), st.lists(st.integers(1, 5), min_size=8, max_size=8))
def test_batchnorm_with_counts(seed, n, D, floor, counts):
    """On unique rows: the cotangent of a row is the sum over its copies, as the pairs' gradients are."""
    rng = np.random.default_rng(seed)
    counts = np.array(counts[:n], float)
    Z, gamma, beta = rng.standard_normal((n, D)), rng.standard_normal(D) + 2, rng.standard_normal(D)
    A, mean, rstd = batchnorm(Z, gamma, beta, counts, floor)
    assume(np.abs(reference.batchnorm_relu(Z, mean, rstd, gamma, beta, -np.inf)).min() > 1e-4)  # no flip in the step

    def backward(dA):
        dY, dgamma, dbeta = reference.relu_backward(dA, A, Z, mean, rstd, floor)
        dZ = reference.batchnorm_backward(dY, Z, counts, mean, rstd, gamma, dgamma, dbeta, counts.sum())
        return dZ, dgamma, dbeta

    forward = lambda Z, gamma, beta: batchnorm(Z, gamma, beta, counts, floor)[0]  # noqa: E731
    assert vjp_error(forward, backward, [Z, gamma, beta], rng) < 10 * TOLERANCE


@given(seeds, widths, st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_batchnorm_of_counted_rows_is_that_of_the_expanded_batch(seed, D, counts):
    rng = np.random.default_rng(seed)
    counts = np.array(counts)
    Z, gamma, beta = rng.standard_normal((len(counts), D)), rng.standard_normal(D), rng.standard_normal(D)
    rows = np.repeat(np.arange(len(counts)), counts)
    A, mean, rstd = batchnorm(Z, gamma, beta, counts.astype(float), 0.0)
    A_rows, *moments = batchnorm(Z[rows], gamma, beta, np.ones(len(rows)), 0.0)
    np.testing.assert_allclose(A[rows], A_rows, atol=1e-9)

    dA_rows = rng.standard_normal(A_rows.shape)
    dA = np.zeros_like(A)
    np.add.at(dA, rows, dA_rows)
    dY, *sums = reference.relu_backward(dA, A, Z, mean, rstd, 0.0)
    dZ = reference.batchnorm_backward(dY, Z, counts.astype(float), mean, rstd, gamma, *sums, len(rows))
    dY_rows, *sums_rows = reference.relu_backward(dA_rows, A_rows, Z[rows], *moments, 0.0)
    ones = np.ones(len(rows))
    dZ_rows = reference.batchnorm_backward(dY_rows, Z[rows], ones, *moments, gamma, *sums_rows, len(rows))
    together = np.zeros_like(dZ)
    np.add.at(together, rows, dZ_rows)
    np.testing.assert_allclose(dZ, together, atol=1e-8)


def test_batchnorm_by_hand():
    """Column (1, 3) has mean 2 and variance 1; a count of 3 for the second row moves the mean to 2.5."""
    Z = np.array([[1.0], [3.0]])
    assert [x.item() for x in reference.moments(Z, np.ones(2))] == [2.0, 2.0]
    assert [x.item() for x in reference.moments(Z, np.array([1.0, 3.0]))] == [2.5, 3.0]
    A = reference.batchnorm_relu(Z, np.array([2.0]), np.array([1.0]), np.array([2.0]), np.array([0.5]), 0.0)
    assert A.tolist() == [[0.0], [2.5]]


@given(seeds, st.integers(1, 9))
def test_binary_cross_entropy(seed, n):
    rng = np.random.default_rng(seed)
    z, y = rng.uniform(-3, 3, n), rng.integers(0, 2, n).astype(float)  # where the gradient is no rounding error
    ahead, behind = (reference.binary_cross_entropy(z + side * STEP, y, 4)[0] / 4 for side in (1, -1))
    _, dz = reference.binary_cross_entropy(z, y, 4)
    np.testing.assert_allclose(dz, (ahead - behind) / (2 * STEP), rtol=TOLERANCE)


def test_binary_cross_entropy_by_hand():
    loss, dz = reference.binary_cross_entropy(np.array([0.0, np.log(3.0)]), np.array([1.0, 0.0]), 2)
    np.testing.assert_allclose(loss, [np.log(2), np.log(4)])
    np.testing.assert_allclose(dz, [-0.25, 0.375])


def test_binary_cross_entropy_survives_huge_logits():
    loss, dz = reference.binary_cross_entropy(np.array([800.0, -800.0]), np.array([0.0, 1.0]), 1)
    assert loss.tolist() == [800.0, 800.0]
    assert dz.tolist() == [1.0, -1.0]


@given(seeds, st.lists(st.integers(0, 4), min_size=1, max_size=5), widths)
def test_pair_gradients(seed, pairs_of_user, D):
    rng = np.random.default_rng(seed)
    start = np.concatenate([[0], np.cumsum(pairs_of_user)])
    assume(start[-1] > 0)
    U, V = rng.standard_normal((len(pairs_of_user), D)), rng.standard_normal((3, D))
    title = np.append(rng.integers(0, 3, start[-1] - 1), 2)
    user = np.repeat(np.arange(len(U)), pairs_of_user)

    def backward(ddots):
        dV = reference.title_gradient(ddots, U, user, title, (0, D))
        return reference.user_gradient(ddots, V, start, title), dV

    assert vjp_error(lambda U, V: reference.pair_dots(U, V, start, title), backward, [U, V], rng) < TOLERANCE


@examples(60)
@given(st.data(), model_configs(), seeds)
def test_the_whole_model(data, model, seed):
    """Every parameter of every variant, with absent groups and repeated rows."""
    rng = np.random.default_rng(seed)
    params = make_parameters(model, rng)
    batch = reference.expand(data.draw(batches(model.groups)))
    assume(far_from_kinks(params, batch, model))
    _, gradients = reference.loss_and_gradients(params, batch, model)
    errors = model_errors(params, batch, model, gradients, rng)
    if not model.learned_logit:  # the paper's fixed scale and bias are no parameters
        assert gradients["logit.scale"] == gradients["logit.bias"] == 0
        del errors["logit.scale"], errors["logit.bias"]
    # batch-norm over two rows leaves nearly nothing of a gradient; a step of 1e-6 has no digits for the rest
    largest = max(np.abs(gradients[name]).max() for name in errors)
    significant = {name for name in errors if np.abs(gradients[name]).max() > 1e-2 * largest}
    assume(significant)
    assert all(errors[name] < 1e-4 for name in significant), errors


@examples(30)
@given(st.data(), model_configs(), seeds)
def test_the_whole_model_without_its_mask(data, model, seed):
    """Every head on every row: a sum over heads is the loss, and so are the gradients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "loss_and_gradients", partial(reference.loss_and_gradients, masked=False))
        test_the_whole_model.hypothesis.inner_test(data, model, seed)


def test_without_the_mask_the_loss_is_that_of_all_rows_under_each_head(rng):
    model = ModelConfig(hidden=5, groups=3, head="residual", title_bias=True)
    params, batch = make_parameters(model, rng), reference.expand(make_batch(rng))
    loss, gradients = reference.loss_and_gradients(params, batch, model, masked=False)
    heads = [batch._replace(group=np.full_like(batch.group, k)) for k in range(3)]  # each alone, on all rows
    alone = [reference.loss_and_gradients(params, moved, model) for moved in heads]
    assert loss == pytest.approx(sum(loss for loss, _ in alone))
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, sum(gradients[name] for _, gradients in alone), atol=1e-12)


def test_without_the_mask_a_foreign_label_reaches_a_head(rng):
    model = ModelConfig(hidden=5, groups=3, head="lowrank", rank=2, title_bias=True)
    params, batch = make_parameters(model, rng), reference.expand(make_batch(rng))
    flipped = batch._replace(labels=np.where(batch.group != 1, 1 - batch.labels, batch.labels))
    before, after = (reference.loss_and_gradients(params, b, model, masked=False)[1] for b in (batch, flipped))
    assert all((before[name][1] != after[name][1]).any() for name in ("head.P", "head.Q", "title_bias.C"))


@examples(30)
@given(st.sampled_from(HEADS[1:]), st.sampled_from(OUTPUTS), seeds)
def test_the_whole_model_with_moments_of_each_group(head, output, seed):
    """Groups of several users, so that every part of batch-norm's gradient counts."""
    rng = np.random.default_rng(seed)
    model = ModelConfig(hidden=4, groups=3, head=head, rank=2, title_bias=True, output=output, batchnorm="group")
    params, batch = make_parameters(model, rng), reference.expand(make_batch(rng, pairs=60, users=24, titles=8))
    assume(far_from_kinks(params, batch, model))
    loss, gradients = reference.loss_and_gradients(params, batch, model)
    assert loss != reference.loss_and_gradients(params, batch, replace(model, batchnorm="all"))[0]
    errors = model_errors(params, batch, model, gradients, rng)
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    assert all(e < 1e-4 for name, e in errors.items() if np.abs(gradients[name]).max() > 1e-3 * largest), errors


def test_moments_of_each_group_are_those_of_the_group_alone(rng):
    """And of a group alone they are those of the batch: its rows go through the tower as if there were no others."""
    model = ModelConfig(hidden=5, groups=3, head="residual", batchnorm="group")
    params, batch = make_parameters(model, rng), reference.expand(make_batch(rng, pairs=40, users=12))
    A, tape = reference.tower(params, "user", batch.user_features, 0.0, batch.group)
    dA = rng.standard_normal(A.shape)
    together = reference.tower_backward(params, "user", dA, tape)
    alone = {name: np.zeros_like(value) for name, value in together.items()}
    for k in range(3):
        mine = batch.group == k
        A_k, tape_k = reference.tower(params, "user", batch.user_features[mine], 0.0)
        np.testing.assert_allclose(A[mine], A_k, atol=1e-12)
        for name, gradient in reference.tower_backward(params, "user", dA[mine], tape_k).items():
            alone[name] += gradient
    for name in together:
        np.testing.assert_allclose(together[name], alone[name], atol=1e-10, err_msg=name)


def test_moments_of_a_group_by_hand():
    """Column (1, 3 | 7): the first group has mean 2 and squares 1 + 1, and a row alone is its own mean."""
    Z, group = np.array([[1.0], [3.0], [7.0]]), np.array([4, 4, 9])
    assert reference.group_sums(Z, group).tolist() == [[4.0], [4.0], [7.0]]
    mean, squares = reference.group_moments(Z, group, np.array([[2.0], [2.0], [1.0]]))
    assert (mean.tolist(), squares.tolist()) == ([[2.0], [2.0], [7.0]], [[2.0], [2.0], [0.0]])


def test_with_moments_of_each_group_a_nan_stays_in_its_group(rng):
    model = ModelConfig(hidden=5, groups=3, head="lowrank", rank=2, batchnorm="group")
    params, batch = make_parameters(model, rng), reference.expand(make_batch(rng, pairs=40, users=12))
    batch.user_features[batch.group == 2] = np.nan
    _, gradients = reference.loss_and_gradients(params, batch, model)
    assert np.isfinite(gradients["head.Q"][:2]).all() and np.isnan(gradients["head.Q"][2]).any()


def test_a_masked_label_changes_nothing_in_a_foreign_head(rng):
    model = ModelConfig(hidden=5, groups=3, head="residual", title_bias=True)
    params, batch = make_parameters(model, rng), reference.expand(make_batch(rng))
    _, before = reference.loss_and_gradients(params, batch, model)
    foreign = batch.group != 1
    _, after = reference.loss_and_gradients(
        params, batch._replace(labels=np.where(foreign, 1 - batch.labels, batch.labels)), model
    )
    for name in ("head.W", "head.b", "title_bias.C"):
        assert np.array_equal(before[name][1], after[name][1])
        assert not np.array_equal(before[name][0], after[name][0])


def test_an_absent_group_has_gradient_exactly_zero(rng):
    model = ModelConfig(hidden=5, groups=3, head="lowrank", rank=2, title_bias=True)
    batch = reference.expand(make_batch(rng, absent=(1,)))
    _, gradients = reference.loss_and_gradients(make_parameters(model, rng), batch, model)
    for name in ("head.P", "head.Q", "title_bias.C"):
        assert not gradients[name][1].any()
        assert gradients[name][0].any() and gradients[name][2].any()


def test_the_loss_is_a_mean_over_pairs_and_not_over_cells(rng):
    """With all logits 0 each pair loses log 2; averaging over B·K cells would divide by K once more."""
    model = ModelConfig(hidden=4, groups=4, head="plain", learned_logit=False)
    params = make_parameters(model, rng)
    params["head.W"][...] = params["head.b"][...] = 0
    loss, _ = reference.loss_and_gradients(params, reference.expand(make_batch(rng, groups=4)), model)
    assert loss == pytest.approx(np.log(2))


def test_adam_by_hand():
    """First step with gradient 2: both corrected moments are exact, so the step is lr · 2 / (2 + eps)."""
    P, M, V = reference.adam(np.array([1.0]), np.zeros(1), np.zeros(1), np.array([2.0]), 0.1, 0.9, 0.999, 1e-8, 1)
    np.testing.assert_allclose([P[0], M[0], V[0]], [1 - 0.1 * 2 / (2 + 1e-8), 0.2, 0.004])
