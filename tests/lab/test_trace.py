"""The traced step: every array of the textbook, in its order, with its own numbers and a line of maths."""

import math
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from twotower.core.config import ModelConfig
from twotower.lab.trace.formulas import STAGES, STEPS, formula
from twotower.lab.trace.recorder import Observation, Recorder
from twotower.lab.trace.tiny_network import (
    HEADS,
    LEAST_VARIANCE,
    TERRITORY_OF_USER,
    TinyNetwork,
    tiny_network,
)
from twotower.lab.trace.trace import blocks, leaks, trace
from twotower.model import reference
from twotower.model.two_tower import declare


@pytest.fixture(scope="module")
def record():
    return trace(seed=0)


def steps_with(record, mask="on", **wanted):
    """The steps that have these values under these keys."""
    steps = record["runs"][mask]["steps"]
    return [step for step in steps if all(step.get(key) == value for key, value in wanted.items())]


def one(record, mask="on", **wanted):
    (step,) = steps_with(record, mask, **wanted)
    return np.array(step["values"])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("mask", ["on", "off"])
def test_every_final_gradient_is_that_of_the_textbook(head, mask):
    network = tiny_network(3, head, title_bias=True)
    loss, gradients = reference.loss_and_gradients(network.params, network.batch, network.config, masked=mask == "on")
    record = trace(3, head, title_bias=True)
    assert record["runs"][mask]["loss"] == loss
    for name, k in blocks(network.params):
        block = name if k is None else f"{name}[{k}]"
        expected = gradients[name] if k is None else gradients[name][k]
        assert np.array_equal(one(record, mask, stage="adam", name="G", parameter=block), expected)


@pytest.mark.parametrize("head", HEADS)
def test_every_gradient_that_adam_takes_was_made_by_a_step_before(head):
    record = trace(1, head, title_bias=True)
    made = [np.array(step["values"]) for step in steps_with(record) if step["stage"] != "adam"]
    made += [row for step in steps_with(record, name='grads["head.alpha"]') for row in np.array(step["values"])]
    for step in steps_with(record, name="G"):
        assert any(np.array_equal(value, step["values"]) for value in made), step["parameter"]


def test_the_last_step_of_a_block_is_adams(record):
    network = tiny_network(0)
    _, gradients = reference.loss_and_gradients(network.params, network.batch, network.config)
    zero = np.zeros((4, 4))
    P, M, V = reference.adam(network.params["head.W"][1], zero, zero, gradients["head.W"][1], 1e-3, 0.9, 0.999, 1e-8, 1)
    before, after = (np.array(step["values"]) for step in steps_with(record, parameter="head.W[1]", name="P"))
    assert np.array_equal(before, network.params["head.W"][1]) and np.array_equal(after, P)
    assert np.array_equal(one(record, parameter="head.W[1]", name="M"), M)
    assert np.array_equal(one(record, parameter="head.W[1]", name="V"), V)
    assert len(steps_with(record, parameter="head.W[1]")) == 7


def test_the_order_is_that_of_the_textbook(record):
    steps = [(s["function"], s["name"], s["block"]) for s in steps_with(record) if s["stage"] != "adam"]
    layer = ["Z", "mean", "squares", "rstd", "A"]
    names = [name for _, name, block in steps if block == "user.2"]
    assert names[:8] == ["user.W2", *layer[:4], "user.gamma2", "user.beta2", "A"]
    assert names[8:] == ["dY", "dgamma", "dbeta", "Z_hat", "dZ", "dW", "dA"]
    places = list(dict.fromkeys(block for _, _, block in steps))
    assert places == ["user.1", "user.2", "title.1", "title.2", "score", "head", "loss"]
    back = list(dict.fromkeys(s["block"] for s in steps_with(record, stage="backward", group=None)))
    assert back == ["title.2", "title.1", "user.2", "user.1"]
    assert [step["number"] for step in steps_with(record)] == list(range(1, len(steps_with(record)) + 1))
    assert [s["name"] for s in steps_with(record, group=1, stage="loss")] == ["y", "loss", "e", "p", "dz", "loss"]


def test_the_first_layer_by_hand(record):
    X, W, Z = (one(record, block="user.1", name=name, stage="forward") for name in ("X", "user.W1", "Z"))
    assert np.array_equal(X % 1, 0 * X) and np.array_equal(W * 4 % 1, 0 * W)  # whole numbers and quarters
    for i in range(5):
        assert Z[i].tolist() == [sum(X[i, f] * W[f, j] for f in range(3)) for j in range(4)]
    mean, rstd = (one(record, block="user.1", name=name) for name in ("mean", "rstd"))
    column = Z[:, 2].tolist()
    assert mean[2] == pytest.approx(sum(column) / 5)
    variance = sum((z - sum(column) / 5) ** 2 for z in column) / 5
    assert rstd[2] == pytest.approx(1 / math.sqrt(variance + 1e-5))


def test_the_loss_of_a_head_by_hand(record):
    z, y, p, dz = (one(record, group=1, name=name) for name in ("z", "y", "p", "dz"))
    assert y.tolist() == [0, 1]  # Cem did not stream Comet, but Harbour
    np.testing.assert_allclose(p, [1 / (1 + math.exp(-value)) for value in z])
    np.testing.assert_allclose(dz, [p[0] / 5, (p[1] - 1) / 5])
    before, after = (step["values"] for step in steps_with(record, function="loss_and_gradients", name="loss"))
    np.testing.assert_allclose(after - before, -(math.log(1 - p[0]) + math.log(p[1])) / 5)
    assert after == record["runs"]["on"]["loss"]


def test_the_mask_off_shows_a_head_all_rows(record):
    for mask, pairs in (("on", [3, 4]), ("off", [0, 1, 2, 3, 4])):
        (step,) = steps_with(record, mask, group=1, name="A")
        assert step["pairs"] == pairs and step["shape"] == [len(pairs), 4]
        assert step["rows"] == [record["network"]["pairs"][i]["user"] for i in pairs]
    assert one(record, "on", group=1, name="mine").tolist() == [0, 0, 0, 1, 1]
    assert [step["values"] for step in steps_with(record, "off", group=1, name="mine")] == [[0, 0, 0, 1, 1], [1] * 5]


def test_a_foreign_label_moves_a_head_only_without_the_mask(monkeypatch):
    import twotower.lab.trace.tiny_network as tiny

    before = trace()
    pairs = [(u, t, 1 - y if u == 2 else y) for u, t, y in tiny.PAIRS]  # Cem's labels: group 1
    monkeypatch.setattr(tiny, "PAIRS", pairs)
    after = trace()
    start = {"logit.bias": 0}  # one of two labels stays positive: the base rate, and so c, are the same
    assert steps_with(before, name="c")[0]["values"] == steps_with(after, name="c")[0]["values"], start
    wanted = {"stage": "adam", "name": "G", "parameter": "head.W[0]"}
    assert np.array_equal(one(before, "on", **wanted), one(after, "on", **wanted))
    assert not np.array_equal(one(before, "off", **wanted), one(after, "off", **wanted))


def test_what_the_mask_keeps_out_is_measured(record):
    network = tiny_network(0)
    on, off = (
        reference.loss_and_gradients(network.params, network.batch, network.config, masked=masked)[1]
        for masked in (True, False)
    )
    leak = {part["parameter"]: part for part in record["leak"]}
    assert set(leak) == {"head.W[0]", "head.W[1]", "head.b[0]", "head.b[1]"}
    assert leak["head.W[1]"]["others"] == pytest.approx(np.linalg.norm(off["head.W"][1] - on["head.W"][1]))
    assert leak["head.W[1]"]["own"] == pytest.approx(np.linalg.norm(on["head.W"][1]))
    assert all(part["flipped"] == 0 < part["others"] for part in leak.values())


def test_a_group_alone_has_its_own_steps_and_the_shared_ones(record):
    alone = trace(seed=0, group=1)
    assert {step["group"] for step in steps_with(alone)} == {None, 1}
    assert steps_with(alone) == [step for step in steps_with(record) if step["group"] != 0]
    assert {part["group"] for part in alone["leak"]} == {1}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("mask", ["on", "off"])
def test_every_step_has_its_maths_and_its_line(head, mask):
    lines = Path(reference.__file__).read_text("utf-8").splitlines()
    for step in trace(2, head, title_bias=True)["runs"][mask]["steps"]:
        assert step["maths"] and "{" not in step["maths"] and "None" not in step["maths"]
        assert step["stage"] in STAGES
        assert lines[step["line"] - 1].strip().startswith(step["source"][:30])
        assert list(np.shape(step["values"])) == step["shape"]
        assert step["rows"] is None or len(step["rows"]) == step["shape"][0]


def test_the_table_of_maths_has_no_line_too_many():
    """Every formula is used by some network; ReLU outputs have the same steps."""
    used = set()
    for head in HEADS:
        for mask in ("on", "off"):
            for step in trace(0, head, title_bias=True)["runs"][mask]["steps"]:
                name = step["name"].removesuffix("[0]").removesuffix("[1]")
                used.add((step["function"], name))
    listed = {(function, key.partition(" | ")[0]) for function, table in STEPS.items() for key in table}
    assert listed <= used, listed - used


def test_a_step_without_maths_is_an_error():
    step = Observation("tower", "unheard_of", np.zeros(2), "unheard_of = Z", 1, "user.1", None, False)
    with pytest.raises(KeyError):
        formula(step, ModelConfig())


@pytest.mark.parametrize("head", HEADS)
def test_the_tiny_network_has_the_parameters_of_the_model(head):
    for title_bias in (False, True):
        network = tiny_network(0, head, title_bias)
        declared = declare(network.config, (3, 3), len(TERRITORY_OF_USER))
        shapes = {name: parameter.shape for name, parameter in declared.items()}
        assert {name: value.shape for name, value in network.params.items()} == dict(shapes)


@pytest.mark.parametrize("seed", range(30))
def test_no_column_of_a_tiny_network_is_nearly_constant(seed):
    network = tiny_network(seed, "plain")
    towers = (("user", network.batch.user_features, 0.0), ("title", network.batch.title_features, -np.inf))
    for name, X, floor in towers:
        _, tape = reference.tower(network.params, name, X, floor)
        assert all(1 / rstd.max() ** 2 > LEAST_VARIANCE for _, _, _, rstd, _, _ in tape.layers)


def test_the_same_seed_gives_the_same_record_and_another_another(record):
    assert trace(seed=0) == record
    assert trace(seed=1)["runs"]["on"]["loss"] != record["runs"]["on"]["loss"]


def untraced_loss(network: TinyNetwork) -> float:
    return reference.loss_and_gradients(network.params, network.batch, network.config)[0]


def test_another_tracer_gets_its_turn_back():
    network, before = tiny_network(0), sys.gettrace()
    seen = []

    def outer(frame, event, argument):
        if frame.f_code.co_name == "untraced_loss":
            seen.append(event)
        return None

    sys.settrace(outer)
    try:
        recorder = Recorder(network.params)
        loss = recorder.run(untraced_loss, network)
        assert sys.gettrace() is outer
        assert not seen
        with pytest.raises(ZeroDivisionError):
            recorder.run(lambda: 1 / 0)
        assert sys.gettrace() is outer
        assert untraced_loss(network) == loss
        assert seen == ["call"]
    finally:
        sys.settrace(before)


def test_watching_changes_no_number_and_no_argument():
    network = tiny_network(5, "lowrank")
    params = {name: value.copy() for name, value in network.params.items()}
    loss = Recorder(network.params).run(untraced_loss, network)
    assert loss == untraced_loss(network)
    assert all(np.array_equal(params[name], value) for name, value in network.params.items())


def test_a_change_in_place_is_told_and_room_for_one_is_not(record):
    listed = [step for step in steps_with(record, name="dA", function="loss_and_gradients")]
    assert [step["group"] for step in listed] == [0, 1]
    first, both = (np.array(step["values"]) for step in listed)
    assert not first[3:].any() and first[:3].any()
    assert np.array_equal(first[:3], both[:3]) and both[3:].any()
    assert not [step for step in steps_with(record) if "zeros" in step["source"]]


def test_a_broken_mask_would_show_in_what_foreign_labels_change(monkeypatch):
    broken = partial(reference.loss_and_gradients, masked=False)
    monkeypatch.setattr(reference, "loss_and_gradients", lambda *batch, masked=True: broken(*batch))
    assert all(part["flipped"] > 0 for part in leaks(tiny_network(0)))


# ---------------------------------------------------------------- the recorder on frames made by hand


def line_of(source):
    lines = Path(reference.__file__).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if source in line)


def frame_of(function, source, back=None, **names):
    """A call of the textbook that is about to run the line with ``source``."""
    code = SimpleNamespace(co_name=function)
    return SimpleNamespace(
        f_globals=vars(reference), f_code=code, f_locals=names, f_lineno=line_of(source), f_back=back
    )


def test_a_frame_by_hand_is_told_line_by_line():
    p = {"user.W1": np.eye(2), "head.W": np.ones((2, 2, 2))}
    recorder, X = Recorder(p), np.ones((3, 2))
    caller = frame_of("loss_and_gradients", 'A, user_tape = tower(p, "user"', p=p, X=X)
    frame = frame_of("tower", "def tower(", caller, p=p, name="user", X=X, floor=0.0)
    follow = recorder.enter(frame, "call", None)
    for source, made in (
        ("ones, A = np.ones", {}),
        ("below = A", {"ones": np.ones(3), "A": X}),
        ("Z = dense(below", {"below": X, "layer": "1"}),
        ("mean, squares = moments(Z, ones)", {"Z": X + 1}),
    ):
        frame.f_lineno = line_of(source)
        frame.f_locals |= made
        assert follow(frame, "line", None) == follow
    frame.f_locals["Z"][0, 0] = 7  # in place
    follow(frame, "return", X)
    listed = [(step.name, step.layer, step.group, step.value.tolist()) for step in recorder.observations]
    Z = [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]
    assert listed == [
        ("X", "user.1", None, X.tolist()),
        ("user.W1", "user.1", None, np.eye(2).tolist()),
        ("Z", "user.1", None, Z),
        ("Z", "user.1", None, [[7.0, 2.0], *Z[1:]]),
    ]
    assert recorder.observations[2].source == 'Z = dense(below, p[f"{name}.W{layer}"])'


def test_a_frame_of_a_head_is_told_by_group_and_part():
    p = {"head.W": np.ones((2, 2, 2))}
    recorder, grads = Recorder(p), {"head.W": np.zeros((2, 2, 2))}
    outer = frame_of("loss_and_gradients", "def loss_and_gradients(", params=p)
    follow = recorder.enter(outer, "call", None)
    outer.f_locals |= {"p": p, "grads": grads, "k": 1}
    outer.f_lineno = line_of("grads[name][k] = grad")
    follow(outer, "line", None)
    grads["head.W"][1] = 3
    outer.f_locals["loss"] = np.float64(0.5)
    outer.f_lineno = line_of("loss += losses.sum() / B")
    follow(outer, "line", None)
    outer.f_lineno = line_of("dU = s * dz")
    inner = frame_of("sigmoid", "e = np.exp(-np.abs(z))", outer, z=np.ones(2))
    inside = recorder.enter(inner, "call", None)
    inside(inner, "return", np.full(2, 0.7))
    listed = [(step.name, step.group, step.value.tolist()) for step in recorder.observations]
    assert listed[-4:] == [
        ("loss", 1, 0.5),
        ('grads["head.W"][1]', 1, [[3.0, 3.0], [3.0, 3.0]]),
        ("z", 1, [1.0, 1.0]),
        ("p", 1, [0.7, 0.7]),
    ]


def test_frames_of_others_are_left_alone():
    frame = frame_of("tower", "def tower(")
    frame.f_globals = {}
    assert Recorder({}).enter(frame, "call", None) is None
