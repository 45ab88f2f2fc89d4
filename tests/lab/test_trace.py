"""The traced step: every array of the textbook, in its order, with its own numbers, and as the terminal shows it."""

import io
import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from twotower.core.config import HEADS
from twotower.lab.trace.numbers import aligned, number_texts
from twotower.lab.trace.recorder import Recorder
from twotower.lab.trace.text import WIDTH, trace_text
from twotower.lab.trace.tiny_network import LEAST_VARIANCE, TinyNetwork, tiny_network
from twotower.lab.trace.trace import STAGES, block_name, leaks, trace
from twotower.model import reference

KINDS = [head for head in HEADS if head != "none"]


@pytest.fixture(scope="module")
def record():
    return trace(seed=0)


def steps_with(record, mask="on", **wanted):
    """The steps that have these values in these fields."""
    steps = record.runs[mask].steps
    return [step for step in steps if all(getattr(step, name) == value for name, value in wanted.items())]


def one(record, mask="on", **wanted):
    (step,) = steps_with(record, mask, **wanted)
    return step.values


def gradients_of(network: TinyNetwork, masked: bool = True):
    return reference.loss_and_gradients(network.params, network.batch, network.config, masked=masked)


@pytest.mark.parametrize(("mask", "head"), [*(("on", head) for head in KINDS), ("off", "lowrank"), ("off", "mmoe")])
def test_every_step_is_the_textbooks_and_has_its_line_and_maths(head, mask):
    network = tiny_network(3, head, title_bias=True, memory=True)
    loss, gradients = gradients_of(network, mask == "on")
    record = trace(3, head, title_bias=True, memory=True)
    assert record.runs[mask].loss == loss
    made = [step.values for step in steps_with(record, mask) if step.stage != "adam"]
    made += [row for step in steps_with(record, mask, name='grads["head.alpha"]') for row in step.values]
    for name, k in network.blocks():
        expected = gradients[name] if k is None else gradients[name][k]
        G = one(record, mask, stage="adam", name="G", parameter=block_name(name, k))
        assert np.array_equal(G, expected) and any(np.array_equal(value, G) for value in made), (name, k)
    lines = Path(reference.__file__).read_text("utf-8").splitlines()
    read = [step.name for step in steps_with(record, mask) if step.maths.startswith("parameters")]
    shown = {block_name(*block) for block in network.blocks()} - {"logit.scale", "logit.bias"}
    if head == "cross-stitch":
        shown = shown - {"head.alpha[0]", "head.alpha[1]"} | {"head.alpha"}  # read as a whole
    assert set(read) == shown, "a parameter that no step shows"
    for number, step in enumerate(record.runs[mask].steps, 1):
        assert step.number == number and step.stage in STAGES and step.maths, step
        assert lines[step.line - 1].strip().startswith(step.source[:30])
        assert list(np.shape(step.values)) == step.shape
        assert step.rows is None or len(step.rows) == step.shape[0]
    text = text_of(record, mask=mask, every_block=True)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_watching_changes_no_number_and_no_argument():
    network = tiny_network(5, "lowrank")
    params = {name: value.copy() for name, value in network.params.items()}
    recorder = Recorder(network.params, network.declared)
    loss, _ = recorder.run("loss_and_gradients", network.params, network.batch, network.config)
    assert loss == gradients_of(network)[0]
    assert all(np.array_equal(params[name], value) for name, value in network.params.items())


def test_the_last_step_of_a_block_is_adams(record):
    network, zero = tiny_network(0), np.zeros((4, 4))
    _, gradients = gradients_of(network)
    P, M, V = reference.adam(network.params["head.W"][1], zero, zero, gradients["head.W"][1], 1e-3, 0.9, 0.999, 1e-8, 1)
    before, after = (step.values for step in steps_with(record, parameter="head.W[1]", name="P"))
    assert np.array_equal(before, network.params["head.W"][1]) and np.array_equal(after, P)
    assert np.array_equal(one(record, parameter="head.W[1]", name="M"), M)
    assert np.array_equal(one(record, parameter="head.W[1]", name="V"), V)
    assert len(steps_with(record, parameter="head.W[1]")) == 7


def test_the_order_is_that_of_the_textbook(record):
    steps = [(s.function, s.name, s.block) for s in steps_with(record) if s.stage != "adam"]
    names = [name for _, name, block in steps if block == "user.2"]
    assert names[:8] == ["user.W2", "Z", "mean", "squares", "rstd", "user.gamma2", "user.beta2", "A"]
    assert names[8:] == ["dY", "dgamma", "dbeta", "Z_hat", "dZ", "dW", "dA"]
    places = list(dict.fromkeys(block for _, _, block in steps))
    assert places == ["user.1", "user.2", "title.1", "title.2", "score", "head", "loss"]
    back = list(dict.fromkeys(s.block for s in steps_with(record, stage="backward", group=None)))
    assert back == ["title.2", "title.1", "user.2", "user.1"]
    assert [s.name for s in steps_with(record, group=1, stage="loss")] == ["y", "loss", "e", "p", "dz", "loss"]


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
    before, after = (step.values for step in steps_with(record, function="loss_and_gradients", name="loss"))
    np.testing.assert_allclose(after - before, -(math.log(1 - p[0]) + math.log(p[1])) / 5)
    assert after == record.runs["on"].loss


def test_the_mask_off_shows_a_head_all_rows(record):
    for mask, pairs in (("on", [3, 4]), ("off", [0, 1, 2, 3, 4])):
        (step,) = steps_with(record, mask, group=1, name="A")
        assert step.pairs == pairs and step.shape == [len(pairs), 4]
        assert step.rows == [record.network.pairs[i].user for i in pairs]
    assert one(record, "on", group=1, name="mine").tolist() == [0, 0, 0, 1, 1]
    changed = steps_with(record, "off", group=1, name="mine")
    assert [step.values.tolist() for step in changed] == [[0, 0, 0, 1, 1], [1] * 5]


def test_a_foreign_label_moves_a_head_only_without_the_mask(monkeypatch):
    import twotower.lab.trace.tiny_network as tiny

    before = trace()
    pairs = [(u, t, 1 - y if u == 2 else y) for u, t, y in tiny.PAIRS]  # Cem's labels: group 1
    monkeypatch.setattr(tiny, "PAIRS", pairs)
    after = trace()
    assert one(before, name="c") == one(after, name="c")  # one of two labels stays positive
    wanted = {"stage": "adam", "name": "G", "parameter": "head.W[0]"}
    assert np.array_equal(one(before, "on", **wanted), one(after, "on", **wanted))
    assert not np.array_equal(one(before, "off", **wanted), one(after, "off", **wanted))


def test_what_the_mask_keeps_out_is_measured(record):
    on, off = (gradients_of(tiny_network(0), masked)[1] for masked in (True, False))
    leak = {part.parameter: part for part in record.leak}
    assert set(leak) == {"head.W[0]", "head.W[1]", "head.b[0]", "head.b[1]"}
    assert leak["head.W[1]"].others == pytest.approx(np.linalg.norm(off["head.W"][1] - on["head.W"][1]))
    assert leak["head.W[1]"].own == pytest.approx(np.linalg.norm(on["head.W"][1]))
    assert all(part.flipped == 0 < part.others for part in leak.values())


def test_a_broken_mask_would_show_in_what_foreign_labels_change(monkeypatch):
    broken = partial(reference.loss_and_gradients, masked=False)
    monkeypatch.setattr(reference, "loss_and_gradients", lambda *batch, masked=True: broken(*batch))
    assert all(part.flipped > 0 for part in leaks(tiny_network(0)))


@pytest.mark.parametrize("head", ["residual", "mmoe"])
def test_a_group_alone_has_its_own_steps_and_all_that_groups_share(head):
    record, alone = trace(0, head), trace(0, head, group=1)
    assert {step.group for step in steps_with(alone)} == {None, 1} and {part.group for part in alone.leak} == {1}
    assert [s.number for s in steps_with(alone)] == [s.number for s in steps_with(record) if s.group != 0]
    names = {step.name for step in steps_with(alone)}
    assert head != "mmoe" or ({"experts.P", "experts.Q", "head.G[1]"} <= names and "head.G[0]" not in names)


@pytest.mark.parametrize("seed", range(30))
def test_no_column_of_a_tiny_network_is_nearly_constant(seed):
    network = tiny_network(seed, "plain")
    towers = (("user", network.batch.user_features, 0.0), ("title", network.batch.title_features, -np.inf))
    for name, X, floor in towers:
        _, tape = reference.tower(network.params, name, X, floor)
        assert all(1 / rstd.max() ** 2 > LEAST_VARIANCE for _, _, _, rstd, _, _ in tape.layers)


def test_a_change_in_place_is_told_and_room_for_one_is_not(record):
    listed = steps_with(record, name="dA", function="loss_and_gradients")
    assert [step.group for step in listed] == [0, 1]
    first, both = (step.values for step in listed)
    assert not first[3:].any() and first[:3].any()
    assert np.array_equal(first[:3], both[:3]) and both[3:].any()
    assert not [step for step in steps_with(record) if "zeros" in step.source]


# ---------------------------------------------------------------- on a terminal


def text_of(record, color=False, **options):
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, force_terminal=color, color_system="standard" if color else None)
    console.print(trace_text(record, **options))
    return stream.getvalue()


def test_every_step_is_shown_in_its_order(record):
    lines, at = text_of(record, every_block=True).splitlines(), 0
    for step in record.runs["on"].steps:
        head = f"{step.name} {tuple(step.shape)}  {step.maths}".rstrip()[:60]
        at = next(i for i in range(at, len(lines)) if lines[i].startswith(head)) + 1


def test_every_number_is_shown(record):
    """A matrix with rows: each line has the user, the group and the numbers of its row, as they are."""
    lines = text_of(record).splitlines()
    (step,) = steps_with(record, name="A", function="head", group=1)
    start = lines.index("A (2, 4)  A = A[mine]", lines.index("Forward · head 1 (South) " + "─" * 55))
    for line, row in zip(lines[start + 2 : start + 4], step.values, strict=True):
        assert line.split()[0] == "South" and line.split()[1].startswith("Cem·")
        assert line.split()[2:] == [f"{number:.4f}".replace("-", "−") for number in row]
    start = next(i for i, line in enumerate(lines) if line.startswith("Z (5, 4)"))
    assert len({len(line) for line in lines[start + 2 : start + 7]}) == 1, "columns stand under each other"


def test_rows_of_other_groups_are_in_brackets_dimmed_or_standing_out(record):
    text = text_of(record, color=True, stages=["backward"])
    others = [line for line in text.splitlines() if "(South Cem·Comet)" in line]
    assert others and all("\x1b[2m" in line for line in others)
    own = [line for line in text.splitlines() if " South Cem·Comet " in line]
    assert own and not any("\x1b[2m" in line for line in own)
    text = text_of(record, color=True, mask="off", stages=["backward"])
    assert any("(South Cem·Comet)" in line and "\x1b[33m" in line for line in text.splitlines())
    assert "mask off" in text.splitlines()[0]


def test_a_stage_or_a_group_alone(record):
    text = text_of(record, stages=["loss"])
    headings = [line for line in text.splitlines() if line.endswith("──") and " · " in line]
    assert [line.split(" ─")[0] for line in headings] == ["Loss · head 0 (North)", "Loss · head 1 (South)"]
    text = text_of(trace(seed=0, group=1), stages=["forward", "backward"])
    steps = text[text.index("Forward") : text.index("gradient of")]
    assert "South Cem·Comet" in steps and "and 3 rows of other groups" in steps
    assert not re.search(r"^ +North ", steps, re.M) and "head 0" not in steps


def test_adam_shows_one_block_in_full_and_all_when_asked(record):
    short, full = (text_of(record, stages=["adam"], every_block=every) for every in (False, True))
    assert short.count("Adam · ") == 1 and "Adam · head.W[0]" in short
    assert "user.W1 (3, 4)  largest |g|" in short
    assert full.count("Adam · ") == 18 and "largest |g|" not in full


def test_the_end_says_what_the_mask_kept_out(record):
    lines = text_of(record, stages=["loss"]).splitlines()
    part = record.leak[1]
    row = next(line for line in lines if line.startswith(part.parameter))
    assert row.split()[1:] == [f"{part.own:.4f}", "0", f"{part.others:.4f}"]
    on, off = (record.runs[mask].loss for mask in ("on", "off"))
    assert any(line.startswith(f"Loss: {on:.4f} with the mask, {off:.4f} without") for line in lines)


def test_zeros_small_and_whole_numbers_are_told_apart():
    assert number_texts([1.0, -2.0]) == ["1", "−2"]
    assert number_texts([0.5, 0.0, -1e-9]) == ["0.5000", "0", "−0.0000"]
    assert number_texts([1e-5, 0.0]) == ["1.0e−05", "0"]
    assert number_texts([]) == []
    assert aligned(["1", "-20", "3", "4"], 2) == ["    1  -20", "    3    4"]
