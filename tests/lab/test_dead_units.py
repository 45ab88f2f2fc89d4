"""Dead units: at the floor for all rows of a batch, or of a group, as the textbook's activations say."""

import numpy as np
import pytest
from subjects import tiny_subject
from textbook_inspection import MODELS, Textbook, inspect, stirred

from twotower.lab.attribution.dead_units import count_dead
from twotower.model import reference


def test_dead_units_by_hand():
    """Three rows, two groups: unit 0 lives in group 1 alone, unit 1 nowhere, unit 2 everywhere."""
    A = np.array([[0.0, 0, 1], [0, 0, 2], [3, 0, 0.5]])
    found = count_dead("user.1", A, 0.0, np.array([0, 2, 3, 3]), 3)
    assert (found.units, found.dead, found.by_group) == (3, 1, [2, 1, None])


def test_a_linear_layer_has_no_dead_unit_and_none_alive():
    found = count_dead("user.2", np.zeros((2, 4)), -np.inf, np.array([0, 2]), 1)
    assert (found.units, found.dead, found.by_group) == (4, None, None)


def killed(world, name: str):
    """A subject in which some units are dead: beta far below 0."""
    subject = stirred(world, name)
    params = subject.model.params
    for block, units in (("user.beta1", [0, 3]), ("title.beta1", [2])):
        params[block][units] = -50
    if subject.model.config.head_floor == 0:
        params["head.b"][1, [1, 4, 5]] = -50
        params["user.beta2"][6] = -50
        params["title.beta2"][[0, 1]] = -50
    return subject


@pytest.mark.parametrize("name", MODELS)
def test_they_are_those_of_the_textbooks_activations(tiny_world, name):
    subject = killed(tiny_world, name)
    textbook, shape = Textbook(subject), subject.model.config
    p, batch, K = textbook.params, textbook.batch, shape.groups
    if shape.head == "cross-stitch":
        p["head.W"] = reference.stitch(p["head.alpha"], p["stitch.W"])
    of_group = batch.group if shape.batchnorm == "group" else None
    A2, user = reference.tower(p, "user", batch.user_features, shape.tower_floor, of_group)
    V, title = reference.tower(p, "title", batch.title_features, shape.output_floor)
    U = np.zeros_like(A2)
    for k in range(K):
        mine = batch.group == k
        U[mine] = reference.head(p, k, A2[mine], shape)
    outputs = {
        "user.1": (user.layers[0][4], 0.0), "user.2": (A2, shape.tower_floor),
        "title.1": (title.layers[0][4], 0.0), "title.2": (V, shape.output_floor), "head": (U, shape.head_floor),
    }  # fmt: skip
    record = inspect(subject)["dead"]
    assert [layer["layer"] for layer in record] == [n for n in outputs if n != "head" or shape.head != "none"]
    for layer in record:
        A, floor = outputs[layer["layer"]]
        assert layer["units"] == shape.hidden
        if np.isinf(floor):
            assert layer["dead"] is None and layer["by_group"] is None
            continue
        assert layer["dead"] == (floor >= A).all(0).sum(), layer
        if layer["layer"].startswith("title"):
            assert layer["by_group"] is None
        else:
            assert layer["by_group"] == [(A[batch.group == k] <= floor).all(0).sum() for k in range(K)], layer


def test_what_was_killed_is_dead(tiny_world):
    dead = {layer["layer"]: layer for layer in inspect(killed(tiny_world, "paper"))["dead"]}
    assert dead["user.1"]["dead"] >= 2 and dead["title.1"]["dead"] >= 1 and dead["title.2"]["dead"] >= 2
    assert dead["head"]["by_group"][1] >= 3 > dead["head"]["by_group"][0]


def test_no_gradient_comes_through_a_dead_unit(tiny_world):
    subject = killed(tiny_world, "low-rank")
    subject.model.loss_and_gradients(subject.batch)
    assert not subject.model.grads["user.W1"][:, [0, 3]].any()


def test_an_absent_group_says_nothing_of_units(tiny_world):
    record = inspect(tiny_subject(tiny_world, groups=8))
    by_group = next(layer["by_group"] for layer in record["dead"] if layer["layer"] == "user.1")
    empty = [group["pairs"] == 0 for group in record["groups"]]
    assert any(empty) and [value is None for value in by_group] == empty
