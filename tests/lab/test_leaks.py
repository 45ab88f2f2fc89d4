"""The leak detector: it finds planted leaks in the real engine, and nothing where there is none."""

from dataclasses import fields, replace

import numpy as np
import pytest
from subjects import stirred_subject, tiny_subject
from tiny_runs import MTL, small_config

from twotower.core.config import HEADS
from twotower.core.errors import InputError
from twotower.core.serialisation import plain
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.lab.leaks import detector
from twotower.lab.leaks.perturbation import other_groups, perturbed, separate_titles, with_nan
from twotower.lab.leaks.record import INPUTS, LABELS, TITLES, USERS, Change
from twotower.lab.subject import make_subject
from twotower.model import loss as losses_module
from twotower.model.layers import BatchNormReLU
from twotower.model.loss import MaskedLoss

NETWORKS = {head: {"head": head, "groups": 3} for head in HEADS} | {
    "everything a territory's own": {"territory_bias": True},
    "ReLU outputs": {"output": "relu", "learned_logit": False},
    "no title bias": {"title_bias": False, "head": "residual"},
}


def rows_of(subject, what: str, **options) -> list[dict]:
    """The rows of a record that are about one kind of disturbance."""
    return [row for row in find_leaks(subject, **options)["rows"] if row["input"] == what]


def find_leaks(subject, **options) -> dict:
    """The record as JSON has it, and each row's change among its own keys."""
    record = plain(detector.find_leaks(subject, **options))
    for row in record["rows"]:
        row |= row.pop("change")
    return record


def verdicts(subject, what: str) -> list[str]:
    return [row["verdict"] for row in rows_of(subject, what, draws=2)]


def groups_of(subject) -> np.ndarray:
    """The group of each user row, as the territories have it."""
    return subject.trainer.members[subject.batch.user_rows]


# ---------------------------------------------------------------- nothing leaks


@pytest.mark.parametrize("name", NETWORKS)
def test_labels_of_other_groups_change_nothing_in_any_head(tiny_world, name):
    for row in rows_of(stirred_subject(tiny_world, **NETWORKS[name]), LABELS):
        assert row["perturbed"] > 0 and row["elements"] > 0
        assert (row["verdict"], row["changed"], row["largest"], row["relative"]) == ("isolated", 0, 0.0, 0.0)
        assert row["nan"]["changed"] == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_features_act_through_their_own_towers_batch_norm_and_through_nothing_else(tiny_world, name):
    subject = stirred_subject(tiny_world, **NETWORKS[name])
    record = find_leaks(subject)
    assert record["leaks"] == 0
    for row in (row for row in record["rows"] if row["input"] != LABELS):
        assert row["verdict"] == "batch-norm" and row["changed"] > 0 == row["direct"]["changed"]


@pytest.mark.parametrize("head", ["lowrank", "cross-stitch"])
def test_with_moments_of_each_groups_own_user_features_change_nothing_at_all(tiny_world, head):
    subject = stirred_subject(tiny_world, head=head, groups=3, batchnorm="group")
    for row in rows_of(subject, USERS):
        assert (row["verdict"], row["changed"], row["nan"]["changed"]) == ("isolated", 0, 0)
    assert verdicts(subject, TITLES) == ["batch-norm"] * 3  # the title tower is everybody's


def test_a_group_that_is_not_in_the_batch_keeps_a_gradient_of_zero(tiny_world):
    subject = tiny_subject(tiny_world, groups=6, batch_size=4)
    record = find_leaks(subject)
    absent = [k for k, group in enumerate(record["groups"]) if group["pairs"] == 0]
    assert absent and {row["verdict"] for row in record["rows"] if row["group"] in absent} == {"isolated"}
    assert sum(group["pairs"] for group in record["groups"]) == 4


def test_looking_changes_nothing(tiny_world):
    subject = stirred_subject(tiny_world)
    model, batch = subject.model, subject.batch
    tower = model.user_tower
    before = model.params.flat.copy(), model.running.flat.copy(), batch.labels.copy(), batch.user_features.copy()
    norms = tower.norm1, tower.norm2
    find_leaks(subject)
    after = model.params.flat, model.running.flat, batch.labels, batch.user_features
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert (tower.norm1, tower.norm2) == norms and type(model.objective) is MaskedLoss


def test_the_same_seed_gives_the_same_record(tiny_world):
    first, again = (find_leaks(stirred_subject(tiny_world)) for _ in range(2))
    assert first == again


def test_each_block_is_told_apart(tiny_world):
    row = rows_of(stirred_subject(tiny_world, territory_bias=True), USERS)[1]
    names = ["head.P[1]", "head.Q[1]", "title_bias.C[1]"]
    names += [f"territory.{part} of its territories" for part in "bC"]
    assert list(row["blocks"]) == names
    assert sum(block["changed"] for block in row["blocks"].values()) == row["changed"]


def test_what_heads_share_by_design_is_named(tiny_world):
    record = find_leaks(stirred_subject(tiny_world, head="mmoe"))
    assert record["shared"] == ["experts.P", "experts.Q"] and "Shared by design: experts.P" in record["notes"][0]
    assert find_leaks(stirred_subject(tiny_world))["notes"] == []


@pytest.mark.parametrize("debias", ["ipw", "penalty"])
def test_variants_of_the_loss_do_not_leak_either(tiny_world, debias):
    dataset = Dataset.open(tiny_world)
    config = small_config({**MTL, "title_offsets": "none"}, debias=debias, task_weights="uncertainty")
    groups = np.arange(dataset.n_territories, dtype=np.int16) % 2
    subject = make_subject("tiny", dataset, Sample(dataset), groups, config, batch_size=128)
    record = find_leaks(subject)
    assert record["leaks"] == 0 and subject.model.objective is not None
    assert len(record["notes"]) == (debias == "penalty")
    assert all(note.startswith("Excluded: the popularity penalty") for note in record["notes"])


def test_one_group_has_nothing_foreign(tiny_world):
    with pytest.raises(InputError, match="only one group"):
        find_leaks(tiny_subject(tiny_world, groups=1, head="none", title_bias=False))


# ---------------------------------------------------------------- planted leaks


def test_a_tile_sent_through_another_head_is_found(tiny_world, monkeypatch):
    head = type(stirred_subject(tiny_world, title_bias=False).model.head)
    forward, backward = head.forward, head.backward
    monkeypatch.setattr(head, "forward", lambda self, U, A, k, *rest: forward(self, U, A, 0, *rest))

    def to_the_first(self, sums, tile, *rest):
        return backward(self, sums, tile._replace(group=0), *rest)

    monkeypatch.setattr(head, "backward", to_the_first)
    subject = stirred_subject(tiny_world, title_bias=False)
    assert verdicts(subject, LABELS)[0] == "leak" and verdicts(subject, USERS)[0] == "leak"


def test_a_row_on_the_wrong_side_of_a_segment_is_found(tiny_world):
    subject = stirred_subject(tiny_world)
    segments = subject.batch.segments.copy()
    segments[1] += 1  # the first row of group 1 counts as one of group 0
    wrong = replace(subject, batch=replace(subject.batch, segments=segments))
    assert verdicts(wrong, LABELS) == ["leak", "isolated"] and verdicts(wrong, USERS)[0] == "leak"
    worst = max(rows_of(wrong, LABELS)[0]["blocks"].values(), key=lambda block: block["relative"])
    assert worst["changed"] > 0


def test_a_loss_divided_by_what_other_groups_watched_is_found(tiny_world, monkeypatch):
    right = losses_module.masked_binary_cross_entropy

    def by_positives(work, span, labels, scale, B):
        right(work, span, labels, scale, int(labels.sum()))

    monkeypatch.setattr(losses_module, "masked_binary_cross_entropy", by_positives)
    assert verdicts(stirred_subject(tiny_world), LABELS) == ["leak", "leak"]


def spoiled(subject, spoil):
    """The subject with ``spoil(grads, batch)`` called at the end of every backward pass."""
    finish, grads = subject.model._finish, subject.model.grads

    def and_spoil(batch, *rest):
        losses = finish(batch, *rest)
        with np.errstate(all="ignore"):
            spoil(grads, batch)
        return losses

    subject.model._finish = and_spoil
    return subject


def test_a_leak_between_title_biases_is_found_and_named(tiny_world):
    def spoil(grads, batch):
        grads["title_bias.C"][0] += 1e-6 * grads["title_bias.C"][1]

    row, other = rows_of(spoiled(stirred_subject(tiny_world), spoil), LABELS)
    assert (row["verdict"], other["verdict"]) == ("leak", "isolated")
    assert [name for name, block in row["blocks"].items() if block["changed"]] == ["title_bias.C[0]"]
    assert row["blocks"]["title_bias.C[0]"]["relative"] < 1e-4


def test_a_mask_that_multiplies_is_found_by_nan_alone(tiny_world):
    def spoil(grads, batch):
        grads["head.Q"][0] += 0 * grads["head.Q"][1]

    row, other = rows_of(spoiled(stirred_subject(tiny_world), spoil), LABELS)
    assert (row["verdict"], row["changed"]) == ("leak", 0) and row["nan"]["changed"] > 0
    assert other["verdict"] == "isolated"


@pytest.mark.parametrize("what", [USERS, TITLES])
def test_features_that_go_past_batch_norm_are_found(tiny_world, what):
    def spoil(grads, batch):
        features = batch.user_features if what == USERS else batch.title_features
        grads["head.P"][1] += 1e-4 * features.mean()

    rows = {name: rows_of(spoiled(stirred_subject(tiny_world), spoil), name) for name in INPUTS}
    assert [row["verdict"] for row in rows[what]] == ["batch-norm", "leak"]
    assert 0 < rows[what][1]["direct"]["relative"] < rows[what][1]["relative"]
    assert {row["verdict"] for row in rows[({USERS, TITLES} - {what}).pop()]} == {"batch-norm"}


def test_a_territorys_offset_that_takes_from_another_group_is_found(tiny_world):
    def spoil(grads, batch):
        grads["territory.b"][0] += grads["territory.b"][1]  # of group 0 and of group 1

    assert verdicts(spoiled(stirred_subject(tiny_world, territory_bias=True), spoil), LABELS) == ["leak", "isolated"]


def test_it_is_the_held_moments_that_prove_it(tiny_world, monkeypatch):
    monkeypatch.setattr(detector.FrozenMoments, "combine", BatchNormReLU.combine)
    assert verdicts(stirred_subject(tiny_world), USERS) == ["leak", "leak"]


# ---------------------------------------------------------------- what is foreign


def test_titles_set_apart_change_the_network_by_rounding_alone(tiny_world):
    subject = stirred_subject(tiny_world)
    row_group, model = groups_of(subject), subject.model
    apart = separate_titles(subject.batch, row_group, 1)
    assert len(apart.title_rows) > len(subject.batch.title_rows)
    foreign = row_group[apart.pair_user] != 1
    assert not set(apart.pair_title[foreign]) & set(apart.pair_title[~foreign])
    assert np.array_equal(apart.title_rows[apart.pair_title], subject.batch.title_rows[subject.batch.pair_title])
    assert np.array_equal(np.bincount(apart.pair_title), apart.title_counts)
    expected = model.loss_and_gradients(subject.batch).total, model.grads.flat.copy()
    found = model.loss_and_gradients(apart).total, model.grads.flat
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    assert np.linalg.norm(found[1] - expected[1]) < 1e-3 * np.linalg.norm(expected[1])


def test_every_title_that_other_groups_watch_is_disturbed_though_its_own_group_watches_it_too(tiny_world):
    subject = stirred_subject(tiny_world)
    group_of_pair = groups_of(subject)[subject.batch.pair_user]
    for row in rows_of(subject, TITLES, draws=1):
        foreign = np.unique(subject.batch.pair_title[group_of_pair != row["group"]])
        own = np.unique(subject.batch.pair_title[group_of_pair == row["group"]])
        assert row["perturbed"] == len(foreign) > len(np.setdiff1d(foreign, own))


@pytest.mark.parametrize("change", [perturbed, with_nan])
@pytest.mark.parametrize("what", INPUTS)
def test_only_what_is_foreign_is_disturbed(tiny_world, rng, what, change):
    subject = tiny_subject(tiny_world)
    row_group = groups_of(subject)
    base = separate_titles(subject.batch, row_group, 0)
    foreign = other_groups(base, row_group, 0)
    after = change(base, what, foreign, *([rng] if change is perturbed else []))
    mine, names = row_group == 0, {LABELS: "labels", USERS: "user_features", TITLES: "title_features"}
    for field in fields(base):
        name = field.name
        same = np.array_equal(getattr(base, name), getattr(after, name))
        assert same == (name != names[what]), name
    pairs = mine[base.pair_user]
    assert np.array_equal(base.labels[pairs], after.labels[pairs])
    assert np.array_equal(base.user_features[mine], after.user_features[mine])
    titles = base.pair_title[pairs]
    assert np.array_equal(base.title_features[titles], after.title_features[titles])
    assert {getattr(after, name).dtype for name in names.values()} == {np.dtype(np.float32)}


def test_nan_equals_nan_and_a_change_to_nan_is_the_largest_there_is():
    before = {"head.W[0]": np.array([0.0, 1.0, np.nan], np.float32)}
    same = detector.compare(before, {"head.W[0]": np.array([-0.0, 1.0, np.nan], np.float32)})
    assert (same.changed, same.relative) == (0, 0.0)
    finite = {"head.W[0]": np.array([3.0, 4.0], np.float32)}
    worse = detector.compare(finite, {"head.W[0]": np.array([np.nan, 4.0], np.float32)})
    assert worse == Change(1, 2, np.inf, np.inf)
    moved = detector.compare(finite, {"head.W[0]": np.array([3.0, 4.5], np.float32)})
    assert (moved.changed, moved.largest, moved.relative) == (1, 0.5, 0.1)
