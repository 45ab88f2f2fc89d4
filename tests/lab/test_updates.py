"""How far a step moves the weights: what the real optimiser does next, found on copies."""

import numpy as np
import pytest
from subjects import tiny_subject
from textbook_inspection import MODELS, inspect, stirred

from twotower.training import loop


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_step_that_training_then_takes(tiny_world, name):
    subject = stirred(tiny_world, name)
    model, optimiser = subject.model, subject.trainer.optimiser
    for steps in range(3):  # moments that are not 0
        loop.train_step(model, optimiser, subject.batch, steps)
    record = inspect(subject)
    before = {name: value.astype(np.float64) for name, value in model.params.items()}
    loop.train_step(model, optimiser, subject.batch, 3)
    for block in record["blocks"]:
        moved = model.params[block["parameter"]] - before[block["parameter"]]
        if block["part"] == "territory":
            moved = moved[subject.territory_group == block["owner"]]
        elif block["owner"] is not None:
            moved = moved[block["owner"]]
        size = np.linalg.norm(moved)
        assert block["update"] == pytest.approx(size, rel=1e-6), block["name"]
        assert block["ratio"] == pytest.approx(size / block["weight"], rel=1e-6)
    assert record["optimiser"]["steps"] == 3 and not record["optimiser"]["fresh"]


def test_a_fresh_adam_moves_every_weight_by_its_learning_rate(tiny_world):
    """Its first step is lr in the direction of each gradient's sign, and the record says that it is fresh."""
    record = inspect(stirred(tiny_world, "low-rank"))
    assert record["optimiser"]["fresh"] and record["optimiser"]["learning_rate"] == 1e-3
    block = next(block for block in record["blocks"] if block["name"] == "user.W2")
    assert block["update"] == pytest.approx(1e-3 * np.sqrt(64), rel=0.05)


def test_weight_decay_is_part_of_the_step(tiny_world):
    plain = stirred(tiny_world, "residual")
    subject = stirred(tiny_world, "residual")
    subject.trainer.optimiser.decay(subject.model.decayed_spans("head"), 500.0)
    ratios = [{b["name"]: b["ratio"] for b in inspect(of)["blocks"]} for of in (plain, subject)]
    assert ratios[1]["head.W[0]"] > 0.45 > 10 * ratios[0]["head.W[0]"]
    assert ratios[1]["user.W1"] == ratios[0]["user.W1"]


def test_a_weight_that_is_0_has_no_ratio(tiny_world):
    record = inspect(tiny_subject(tiny_world))
    block = next(block for block in record["blocks"] if block["name"] == "head.Q[0]")
    assert block["weight"] == 0 and block["ratio"] is None and block["update"] > 0


def test_the_step_is_undone(tiny_world):
    subject = stirred(tiny_world, "low-rank")
    optimiser = subject.trainer.optimiser
    arenas = optimiser.params, optimiser.m, optimiser.v
    before, steps = [arena.flat.copy() for arena in arenas], list(optimiser.steps)
    inspect(subject)
    assert all(np.array_equal(arena.flat, old) for arena, old in zip(arenas, before, strict=True))
    assert optimiser.steps == steps
