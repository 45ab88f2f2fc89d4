"""The gradient check on a tiny world: it passes what is right, and each planted bug fails just where it should."""

import copy
import dataclasses

import numpy as np
import pytest
from subjects import stirred_subject, tiny_subject

from twotower.core.config import HEADS, Config
from twotower.core.errors import InputError
from twotower.data.sample import Pairs
from twotower.lab.gradcheck.checks import check
from twotower.lab.gradcheck.finite_differences import Direction, Textbook, loss_only, watched_relus
from twotower.lab.gradcheck.planted_bugs import PLANTED
from twotower.lab.gradcheck.small_batches import SmallBatches, even_quotas, interleave_users
from twotower.lab.subject import make_subject, pairs_of
from twotower.model import reference
from twotower.model.engine import gemm, kernels

PAPER = {"head": "plain", "output": "relu", "learned_logit": False, "title_bias": False, "title_offsets": "none"}
VARIANTS = {
    **{head: {"head": head} for head in HEADS},
    "territories": {"territory_bias": True},
    "paper": PAPER,
    "batch-norm by group": {"batchnorm": "group"},
    "baseline": {"head": "none", "groups": 1, "title_bias": False},
}
PAIRS = 48


FIRST_LAYERS = {f"{tower}.{array}1" for tower in ("user", "title") for array in ("W", "gamma", "beta")}
BELOW_BATCHNORM = FIRST_LAYERS | {"user.W2", "title.W2"}  # what batch-norm's backward sends gradients to
TOWERS = BELOW_BATCHNORM | {f"{tower}.{array}2" for tower in ("user", "title") for array in ("gamma", "beta")}
#: The bug, a network, and the parameters whose gradients are wrong; None: all.
REACH = (
    ("batchnorm-mean", "lowrank", BELOW_BATCHNORM),
    ("batchnorm-mean", "batch-norm by group", BELOW_BATCHNORM),
    ("duplicates", "lowrank", BELOW_BATCHNORM),
    ("unmasked", "lowrank", None),
    ("adam-bias", "lowrank", set()),
    ("relu-gate", "lowrank", FIRST_LAYERS),
    ("relu-gate", "paper", TOWERS),
    ("other-rows", "lowrank", {"user.W2", "title.W2"}),
)


def wrong(record):
    return {block.parameter for block in record.blocks if not block.agrees}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_right_network_passes_in_every_part(name, tiny_world):
    record = check(tiny_subject(tiny_world, **VARIANTS[name]), PAIRS)
    assert record.agrees and record.loss.agrees and not wrong(record)
    assert len(record.steps) == 3 and all(step.agrees for step in record.steps)
    assert not any(part.kinks for block in record.blocks for part in block.comparisons)
    assert all(block.largest > 0 for block in record.blocks), "a gradient of 0 would prove nothing"


@pytest.mark.parametrize(("bug", "name", "reach"), REACH, ids=[f"{bug}-{name}" for bug, name, _ in REACH])
def test_each_planted_bug_is_caught_where_it_reaches_and_nowhere_else(bug, name, reach, tiny_world):
    record = check(tiny_subject(tiny_world, **VARIANTS[name]), PAIRS, PLANTED[bug])
    assert not record.agrees and record.bug.name == bug
    assert wrong(record) == ({block.parameter for block in record.blocks} if reach is None else reach)
    assert all(step.agrees for step in record.steps) != (bug == "adam-bias")


def test_the_subject_stays_bit_for_bit_as_it_was(tiny_world):
    subject = stirred_subject(tiny_world)
    model, optimiser = subject.model, subject.trainer.optimiser
    arenas = model.params, model.running, optimiser.m, optimiser.v
    before, batch = [arena.flat.copy() for arena in arenas], copy.deepcopy(subject.batch)
    check(subject, PAIRS)
    assert all(np.array_equal(arena.flat, old) for arena, old in zip(arenas, before, strict=True))
    assert optimiser.steps == [0] * len(optimiser.steps)
    for name in ("labels", "pair_user", "title_features"):
        assert np.array_equal(getattr(subject.batch, name), getattr(batch, name))


def test_many_groups_with_batchnorms_of_their_own_have_rows_enough(tiny_world):
    record = check(tiny_subject(tiny_world, groups=6, batchnorm="group", batch_size=512))
    assert record.agrees and record.batch.pairs == 256


def test_a_single_wrong_number_among_all_is_found_with_its_index(tiny_world, monkeypatch):
    """Differences look at a few elements; engine and textbook are compared in all of them."""
    original = reference.tower_backward

    def off(p, name, dA, tape):
        grads = original(p, name, dA, tape)
        if name == "title":
            grads["title.W2"][3, 5] *= 1.01
        return grads

    monkeypatch.setattr(reference, "tower_backward", off)
    record = check(tiny_subject(tiny_world), PAIRS)
    assert wrong(record) == {"title.W2"}
    worst = next(block for block in record.blocks if block.name == "title.W2").elements[0]
    assert worst.index == [3, 5] and worst.textbook_error > 100
    assert worst.engine == pytest.approx(worst.numeric, rel=1e-4)  # so that one sees who is wrong


def test_a_gradient_that_is_not_a_number_is_wrong(tiny_world, monkeypatch):
    original = gemm.rows_of_transposed

    def spoilt(dW, *rest):
        original(dW, *rest)
        dW[0] = np.nan

    monkeypatch.setattr(gemm, "rows_of_transposed", spoilt)
    assert "user.W1" in wrong(check(tiny_subject(tiny_world), PAIRS))


@pytest.mark.parametrize("trained", [False, True])
def test_what_an_engine_keeps_of_the_batch_before_is_caught(trained, tiny_world, monkeypatch):
    """Users' embeddings of the batch before in the title tower's gradient: right, where all batches are the same."""
    original, kept = kernels.title_gradient, {}

    def stale(dV, ddots, U, pair_user, pair_title, columns):
        before = kept.get(columns[0], U)
        kept[columns[0]] = U.copy()
        original(dV, ddots, before if before.shape == U.shape else U, pair_user, pair_title, columns)

    monkeypatch.setattr(kernels, "title_gradient", stale)
    record = check(dataclasses.replace(stirred_subject(tiny_world), trained=trained), PAIRS)
    assert wrong(record) == {f"title.{array}{layer}" for array in ("W", "gamma", "beta") for layer in "12"}


def test_objectives_and_their_learned_weights_are_checked(tiny_world):
    base = tiny_subject(tiny_world, title_offsets="none")
    learned_too, penalty = {"task_weights": "uncertainty", "debias": "logq"}, {"debias": "penalty"}
    for settings in (learned_too, {"task_weights": "inverse", **penalty}, {"debias": "ipw"}):
        config = base.config.to_dict()
        config["train"] |= settings
        subject = make_subject("tiny", base.dataset, base.sample, base.territory_group, Config.from_dict(config))
        record = check(subject, PAIRS)
        assert record.agrees, settings
        learned = [block for block in record.blocks if block.name == "group.log_variance"]
        assert len(learned) == (settings.get("task_weights") == "uncertainty")


def test_a_step_lacks_the_last_group(tiny_world):
    record = check(tiny_subject(tiny_world), PAIRS)
    assert [step.absent for step in record.steps] == [[], [1], []] and all(step.unchanged for step in record.steps)


def test_a_head_that_moves_without_rows_is_caught(tiny_world, monkeypatch):
    """An absent head stays bit for bit as it was; with one update too many its count is wrong ever after."""
    subject = tiny_subject(tiny_world)
    from twotower.model.adam import Adam

    original = Adam.update
    monkeypatch.setattr(Adam, "update", lambda self, grads, groups, workers: original(self, grads, [0, 1], workers))
    record = check(subject, PAIRS)
    assert [(step.unchanged, step.agrees) for step in record.steps] == [(True, True), (False, False), (True, False)]
    assert "head.P[1]" in record.steps[2].wrong, "its count is wrong ever after"


# ---------------------------------------------------------------- kinks


def middle_input(book):
    """The middle one of what unit 0 of the user tower's first ReLU gets, without beta."""
    _, Z, mean, rstd, *_ = reference.tower(book.params, "user", book.batch.user_features, -np.inf)[1].layers[0]
    return np.sort(book.params["user.gamma1"][0] * (Z[:, 0] - mean[0]) * rstd[0])[len(Z) // 2]


def test_a_difference_across_a_kink_is_no_witness(tiny_world):
    """beta is where a ReLU's input crosses 0; with an input of exactly 0 each step, however small, turns one."""
    subject = stirred_subject(tiny_world)
    batch = SmallBatches(subject, PAIRS).batch()
    book = Textbook(subject.model, batch)
    with watched_relus() as relus:
        book.loss_and_gradients()
        assert relus.nearest > 1e-6
        assert book.difference(Direction("user.beta1", (0,)), relus).kinks == 0
        book.params["user.beta1"][0] = -middle_input(book)  # now a row lies on the kink
        difference = book.difference(Direction("user.beta1", (0,)), relus)
        assert difference.kinks >= 1 and difference.step == 1e-8
        relus.clear()
        book.loss_and_gradients()
        assert relus.nearest < 1e-12


def test_a_step_shrinks_until_no_relu_turns(tiny_world):
    subject = stirred_subject(tiny_world)
    book = Textbook(subject.model, SmallBatches(subject, PAIRS).batch())
    with watched_relus() as relus:
        book.params["user.beta1"][0] = 3e-7 - middle_input(book)
        difference = book.difference(Direction("user.beta1", (0,)), relus)
    _, gradients = book.loss_and_gradients()
    assert difference.kinks == 0 and difference.step == 1e-7
    assert difference.value == pytest.approx(gradients["user.beta1"][0], rel=1e-4)


def test_where_the_loss_bends_sharply_a_difference_is_extrapolated(tiny_world, monkeypatch):
    """An error of order step² goes away, and a wrong gradient stays as wrong as it is."""
    subject = stirred_subject(tiny_world)
    book = Textbook(subject.model, SmallBatches(subject, PAIRS).batch())
    right = book.loss_and_gradients()[1]["logit.scale"][0]
    with watched_relus() as relus:
        monkeypatch.setattr("twotower.lab.gradcheck.finite_differences.STEPS_OF_ELEMENT", (1e-2,))
        bent = book.difference(Direction("logit.scale", (0,)), relus)
        found = book.difference(Direction("logit.scale", (0,), right, 1e-6 * right), relus)
        wrong = book.difference(Direction("logit.scale", (0,), 1.01 * right, 1e-6 * right), relus)
    assert not bent.extrapolated and found.extrapolated and wrong.extrapolated
    assert abs(found.value - right) < 0.01 * abs(bent.value - right)
    assert wrong.value == found.value


@pytest.mark.parametrize("name", ["lowrank", "mmoe", "territories", "batch-norm by group"])
def test_without_its_way_back_the_textbook_finds_the_same_loss(name, tiny_world):
    subject = stirred_subject(tiny_world, **VARIANTS[name])
    book = Textbook(subject.model, SmallBatches(subject, PAIRS).batch())
    loss, gradients = book.loss_and_gradients()
    with loss_only():
        alone, nothing = book.loss_and_gradients()
    assert alone == loss and not nothing["user.W1"].any() and gradients["user.W1"].any()
    assert np.array_equal(book.loss_and_gradients()[1]["user.W1"], gradients["user.W1"])


def test_nobody_watches_when_the_check_is_over():
    before = reference.batchnorm_relu, reference.head_output
    with pytest.raises(ZeroDivisionError), watched_relus():
        assert reference.batchnorm_relu is not before[0]
        raise ZeroDivisionError
    assert (reference.batchnorm_relu, reference.head_output) == before


# ---------------------------------------------------------------- the batch


def test_the_batch_holds_pairs_of_the_subjects_own_evenly_from_its_groups(tiny_world):
    subject = tiny_subject(tiny_world)
    batch = SmallBatches(subject, 40).batch()
    assert np.diff(batch.pair_start[batch.segments]).tolist() == [20, 20]
    few, all_of_it = (
        set(zip(of.user_rows[of.pair_user].tolist(), of.title_rows[of.pair_title].tolist(), strict=True))
        for of in (batch, subject.batch)
    )
    assert few <= all_of_it
    assert batch.user_counts.max() > 1 and batch.title_counts.max() > 1


def test_one_user_is_not_all_of_a_group(tiny_world):
    """Batch-norm of a group by itself needs rows that differ; users repeat all the same."""
    subject = tiny_subject(tiny_world, groups=6, batch_size=512)
    have, batch = np.diff(subject.batch.segments), SmallBatches(subject, 96).batch()
    assert (np.diff(batch.segments) >= np.minimum(have, 7)).all() and batch.user_counts.max() >= 2


def test_turns_are_taken_by_users_in_their_order():
    pairs = Pairs(np.array([7, 7, 7, 3, 3, 9]), np.arange(6), np.zeros(6), np.zeros(6))
    assert interleave_users(pairs).title.tolist() == [0, 1, 3, 4, 5, 2]


def test_a_group_that_the_batch_lacks_sends_training_pairs(tiny_world):
    subject = tiny_subject(tiny_world, batch_size=16, groups=6)
    assert 0 in np.diff(subject.batch.segments), "this batch has all groups: take a smaller one"
    assert 0 not in np.diff(SmallBatches(subject, 24).batch().segments)


def test_another_batch_is_another_one(tiny_world):
    small = SmallBatches(tiny_subject(tiny_world), 40)
    first, other, second = small.batch(), small.other(), small.batch(1)
    assert len(other) == 30 and not np.array_equal(first.user_rows, other.user_rows[: len(first.user_rows)])
    assert not np.array_equal(first.pair_user, second.pair_user)


def test_shares_are_even_and_nobody_gives_more_than_it_has():
    assert even_quotas(np.array([100, 100, 100]), 30).tolist() == [10, 10, 10]
    assert even_quotas(np.array([5, 100, 100]), 30).tolist() == [5, 13, 12]
    assert even_quotas(np.array([5, 0, 3]), 30).tolist() == [5, 0, 3]
    assert even_quotas(np.array([9, 9]), 3).sum() == 3


def test_too_few_pairs_are_refused(tiny_world):
    with pytest.raises(InputError, match="--pairs 15: expected at least 16, 8 for each of 2 groups"):
        check(tiny_subject(tiny_world), 15)
    assert check(tiny_subject(tiny_world), 16).batch.pairs == 16


def test_a_group_of_few_users_in_the_batch_sends_pairs_of_others_too(tiny_world):
    subject = tiny_subject(tiny_world, batchnorm="group")
    one = subject.batch.segments[0]
    assert subject.batch.segments[1] > one
    keep = subject.batch.pair_user == one
    batch = subject.make_batch(pairs_of(subject.batch).take(keep))
    small = SmallBatches(dataclasses.replace(subject, batch=batch), PAIRS)
    taken = small.batch()
    assert all(np.diff(taken.segments) >= 6), "batch-norm over one user alone would leave float32 no digits"
    assert batch.user_rows[0] in taken.user_rows
