"""Whose rows moved which weight: every cell of the matrix is the textbook's, and the zeros are measured."""

import numpy as np
import pytest
from subjects import tiny_subject
from textbook_inspection import CLOSE, MODELS, inspect, looked_into, stirred

from twotower.lab.attribution.blocks import blocks_of
from twotower.lab.attribution.gradients import running_statistics_kept
from twotower.model.reference import Terms, loss_and_gradients
from twotower.model.variants.objective import Objective


@pytest.fixture(scope="module", params=MODELS)
def found(request, tiny_world):
    """A textbook and the record of the same batch."""
    return looked_into(tiny_world, request.param)


def norm(values) -> float:
    return float(np.linalg.norm(np.asarray(values, np.float64)))


def test_every_cell_is_the_textbooks_gradient_of_that_groups_pairs(found):
    textbook, record = found
    whole = textbook.gradients()
    parts = [textbook.of_group(k) for k in range(len(record["groups"]))]
    for block in record["blocks"]:
        g, of_groups = textbook.part(whole, block), [textbook.part(part, block) for part in parts]
        np.testing.assert_allclose(block["gradient"], norm(g), **CLOSE, err_msg=block["name"])
        np.testing.assert_allclose(block["by_group"], [norm(g_k) for g_k in of_groups], **CLOSE, err_msg=block["name"])
        shares = [np.sum(g_k * g) / np.sum(g * g) for g_k in of_groups]
        np.testing.assert_allclose(block["share"], shares, atol=2e-4, err_msg=block["name"])


def test_off_its_own_group_a_block_gets_exactly_nothing(found):
    _, record = found
    for block in record["blocks"]:
        others = [value for k, value in enumerate(block["by_group"]) if k != block["owner"]]
        if block["owner"] is not None:
            assert others == [0.0] * len(others), block["name"]
            assert block["by_group"][block["owner"]] > 0
        else:
            assert min(block["by_group"]) > 0, f"all groups move {block['name']}"


def test_the_parts_add_up_to_the_gradient(found):
    _, record = found
    for block in record["blocks"]:
        assert sum(block["share"]) == pytest.approx(1, abs=1e-4), block["name"]
        size = max(block["gradient"], max(block["by_group"]))
        assert block["remainder"] <= 2e-6 * size, block["name"]


def test_the_blocks_are_all_that_training_updates(found):
    textbook, record = found
    model = textbook.subject.model
    covered = np.zeros(len(model.params.flat), int)
    for block in blocks_of(model, textbook.subject.territory_group):
        covered[block.where] += 1
    logit = [] if textbook.shape.learned_logit else ["logit.scale", "logit.bias"]
    for name in model.params:
        assert (covered[model.params.span(name)] == (name not in logit)).all(), name
    assert [block["name"] for block in record["blocks"]] == list(dict.fromkeys(b["name"] for b in record["blocks"]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("low-rank", ["head.Q", "head.P", "title_bias.C", "logit.bias", "logit.scale", "user.beta2", "user.gamma2"]),
        ("experts", ["head.G", "title_bias.C", "logit.bias", "logit.scale", "experts.Q", "experts.P", "user.beta2"]),
        ("territories", ["head.Q", "head.P", "title_bias.C", "territory.C", "territory.b", "logit.bias"]),
    ],
)
def test_blocks_stand_from_the_loss_down_those_of_groups_first(tiny_world, name, expected):
    blocks = inspect(stirred(tiny_world, name))["blocks"]
    parameters = list(dict.fromkeys(block["parameter"] for block in blocks))
    assert parameters[: len(expected)] == expected and parameters[-1] == "title.W1"
    for parameter in parameters:  # the diagonal of the mask goes down from the left
        owners = [block["owner"] for block in blocks if block["parameter"] == parameter]
        assert owners in ([None], list(range(len(owners))))


def test_a_blocks_facts_are_its_parameters(found):
    textbook, record = found
    for block in record["blocks"]:
        values = textbook.part(textbook.params, block)
        assert block["shape"] == list(values.shape)
        assert block["weight"] == pytest.approx(norm(values), rel=1e-6)
        assert block["name"].startswith(block["parameter"])
        tower = block["name"].startswith(("user.", "title."))
        assert (block["layer"] is not None) == tower and block["part"].endswith("tower") == tower


def test_groups_are_told_with_their_rows_and_their_loss(found):
    textbook, record = found
    batch, shape = textbook.batch, textbook.shape
    total = 0.0
    for k, group in enumerate(record["groups"]):
        mine = batch.group == k
        assert group["pairs"] == mine.sum()
        assert group["positives"] == batch.labels[mine].sum()
        assert group["base_rate"] == pytest.approx(batch.labels[mine].mean())
        assert group["users"] == len(np.unique(textbook.subject.batch.pair_user[mine]))
        added = loss_and_gradients(textbook.params, batch, shape, Terms(weights=mine.astype(np.float64)))[0]
        assert group["loss"] == pytest.approx(added * len(mine) / mine.sum(), rel=1e-5)
        total += group["loss"] * group["pairs"]
    assert record["loss"] == pytest.approx(total / len(batch.labels), rel=1e-6)
    assert len(record["groups"]) == shape.groups


def test_an_absent_group_sends_nothing_and_has_no_base_rate(tiny_world):
    """Eight groups of six territories: two have no territory, and so no row."""
    subject = tiny_subject(tiny_world, groups=8)
    record = inspect(subject)
    absent = [k for k, group in enumerate(record["groups"]) if group["pairs"] == 0]
    assert len(absent) >= 2
    for k in absent:
        assert record["groups"][k]["base_rate"] is None and record["groups"][k]["loss"] is None
        assert all(block["by_group"][k] == 0 for block in record["blocks"])
        assert all(value is None for value in record["conflict"][k]["cosine"])
        own = [block for block in record["blocks"] if block["owner"] == k]
        assert own and all(block["gradient"] == 0 and block["update"] == 0 for block in own)
        assert all(block["share"] == [None] * 8 for block in own)


def test_an_inspection_leaves_everything_as_it_was(tiny_world):
    subject = stirred(tiny_world, "low-rank")
    model, optimiser = subject.model, subject.trainer.optimiser
    arrays = model.params.flat, model.running.flat, optimiser.m.flat, optimiser.v.flat
    before, steps = [array.copy() for array in arrays], list(optimiser.steps)
    first = inspect(subject)
    for array, value in zip(arrays, before, strict=True):
        assert np.array_equal(array, value)
    assert optimiser.steps == steps
    assert inspect(subject) == first, "and a second look sees the same"


def test_running_statistics_are_put_back_after_an_error(tiny_world):
    subject = tiny_subject(tiny_world)
    before = subject.model.running.flat.copy()
    with pytest.raises(KeyboardInterrupt), running_statistics_kept(subject.model):
        subject.model.loss_and_gradients(subject.batch)
        assert not np.array_equal(subject.model.running.flat, before)
        raise KeyboardInterrupt
    assert np.array_equal(subject.model.running.flat, before)


def test_a_leak_in_the_model_would_show(tiny_world, monkeypatch):
    """A backward that lets the rows of other groups into a head: the cells are measured, and no longer 0."""
    subject = stirred(tiny_world, "low-rank")
    honest = type(subject.model).loss_and_gradients

    def leaking(model, batch, objective=None):
        losses = honest(model, batch, objective)
        model.grads["head.Q"][1] += 1e-9 * (getattr(objective, "group", None) == 0)
        return losses

    monkeypatch.setattr(type(subject.model), "loss_and_gradients", leaking)
    cells = {block["name"]: block["by_group"] for block in inspect(subject)["blocks"]}
    assert 0 < cells["head.Q[1]"][0] < 1e-7 and cells["head.P[1]"][0] == 0


def test_the_objectives_weights_are_in_the_gradient(tiny_world):
    """A group's weight is its rows' alone: twice the weight, twice the part."""
    subject = stirred(tiny_world, "low-rank")
    plain = inspect(subject)
    subject.model.objective = Objective(group_weight=np.array([1, 2], np.float32))
    weighted = inspect(subject)
    for before, after in zip(plain["blocks"], weighted["blocks"], strict=True):
        np.testing.assert_allclose(after["by_group"], np.array([1, 2]) * before["by_group"], rtol=1e-5)
