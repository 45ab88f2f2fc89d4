"""Adam over the arena: the published algorithm, block by block."""

import numpy as np

from twotower.model import reference
from twotower.model.adam import PIECE, Adam
from twotower.model.engine.threads import Threads
from twotower.model.parameters import Arena


def make_adam(rng, size=40, groups=2):
    params = Arena({"shared": (size,), "head": (groups, 5)})
    params.flat[:] = rng.standard_normal(params.flat.size)
    spans = [[params.span("head", k)] for k in range(groups)]
    return params, params.like(), Adam(params, params.span("shared"), spans, 0.01)


def test_many_steps_follow_algorithm_1(rng):
    params, grads, adam = make_adam(rng)
    P = params["shared"].astype(np.float64)
    M, V = np.zeros_like(P), np.zeros_like(P)
    for t in range(1, 21):
        grads.flat[:] = rng.standard_normal(grads.flat.size)
        adam.update(grads, [0], Threads(1))
        P, M, V = reference.adam(P, M, V, grads["shared"].astype(np.float64), 0.01, 0.9, 0.999, 1e-8, t)
        np.testing.assert_allclose(params["shared"], P, atol=1e-6)


def test_the_first_step_has_the_length_of_the_learning_rate(rng):
    """Bias correction makes the first step lr·sign(gradient); without it, it would be 0.1/√0.001 ≈ 3.2 times longer."""
    params, grads, adam = make_adam(rng)
    before = params["shared"].copy()
    grads.flat[:] = rng.choice([-3.0, 0.5], grads.flat.size)
    adam.update(grads, [], Threads(1))
    np.testing.assert_allclose(before - params["shared"], 0.01 * np.sign(grads["shared"]), rtol=1e-4)


def test_a_group_that_comes_late_starts_with_its_own_count(rng):
    """Its first step has the length of the learning rate, however many steps the shared parameters have taken."""
    params, grads, adam = make_adam(rng)
    grads.flat[:] = 1
    for _ in range(50):
        adam.update(grads, [0], Threads(1))
    before = params["head"][1].copy()
    adam.update(grads, [1], Threads(1))
    np.testing.assert_allclose(before - params["head"][1], 0.01, rtol=1e-4)
    assert adam.steps == [51, 50, 1]


def test_decay_shrinks_what_it_is_asked_to_and_no_moment_sees_it(rng):
    """AdamW by the textbook, on the shared block and on those groups that are in the batch."""
    params, grads, adam = make_adam(rng)
    plain, _, undecayed = make_adam(np.random.default_rng(0))
    plain.flat[:] = params.flat
    adam.decay([[slice(0, 8)], [params.span("head", 0)], [params.span("head", 1)]], 3.0)
    before = params.flat.copy()
    for groups in ([0], []):
        grads.flat[:] = rng.standard_normal(grads.flat.size)
        adam.update(grads, groups, Threads(1))
        undecayed.update(grads, groups, Threads(1))
    assert np.array_equal(adam.m.flat, undecayed.m.flat) and np.array_equal(adam.v.flat, undecayed.v.flat)
    steps = plain.flat - before  # without decay they do not depend on the values
    first, head, factor = slice(0, 8), params.span("head", 0), reference.decay(1, 0.01, 3.0)
    rest, absent = slice(8, 40), params.span("head", 1)
    np.testing.assert_allclose(params.flat[head], factor * before[head] + steps[head], rtol=1e-5, atol=1e-7)
    assert np.abs(params.flat[first] - (factor**2 * before[first] + steps[first])).max() < 0.01 * 0.03 + 1e-6
    assert not np.allclose(params.flat[first], plain.flat[first])
    np.testing.assert_array_equal(params.flat[rest], plain.flat[rest])
    np.testing.assert_array_equal(params.flat[absent], before[absent])


def test_pieces_and_threads_change_no_bit(rng):
    found = []
    for threads in (1, 2):
        generator = np.random.default_rng(1)
        params, grads, adam = make_adam(generator, size=2 * PIECE + 3)
        grads.flat[:] = generator.standard_normal(grads.flat.size)
        adam.update(grads, [0, 1], Threads(threads))
        found.append(params.flat.tobytes())
    assert found[0] == found[1]
