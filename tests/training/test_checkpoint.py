"""Checkpoints: whole or not at all, the same bits again, no pickle, and damage is named."""

import os
import pickle
import stat
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from twotower.core.config import ModelConfig, TrainConfig
from twotower.core.errors import InputError
from twotower.model.two_tower import TwoTower
from twotower.training import checkpoint
from twotower.training.checkpoint import load_model, load_training, save_training, save_weights
from twotower.training.loop import TrainingState, make_optimiser

MODEL = ModelConfig(hidden=6, groups=3, head="lowrank", rank=2, title_bias=True)
OF_GROUPS = replace(MODEL, batchnorm="group")  # running statistics of each


def make(seed=0, model=MODEL, best=True):
    """A model, its optimiser and a state, all full of random numbers."""
    rng = np.random.default_rng(seed)
    network = TwoTower(model, 4, 5, rng)
    optimiser = make_optimiser(network, TrainConfig())
    for arena in (network.params, network.running, optimiser.m, optimiser.v):
        arena.flat[:] = rng.standard_normal(arena.flat.size)
    optimiser.steps = [int(n) for n in rng.integers(0, 99, 1 + model.groups)]
    state = TrainingState(epoch=2 + seed, steps=17 + seed, best_score=0.1 + 0.2 + seed, misses=1 + seed)
    if best:
        state.best = network.params.flat + 1, network.running.flat - 1
    return network, optimiser, state


def all_bits(network, optimiser, state):
    """Everything that the next epoch depends on."""
    arrays = [network.params.flat, network.running.flat, optimiser.m.flat, optimiser.v.flat, *(state.best or ())]
    counters = optimiser.steps, state.epoch, state.steps, state.best_score, state.misses
    return [a.tobytes() for a in arrays], counters


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


@pytest.mark.parametrize("model", [MODEL, OF_GROUPS], ids=["all", "group"])
def test_weights_come_back_bit_for_bit_with_the_shape_of_the_model(path, model):
    network, _, _ = make(model=model)
    save_weights(path, network)
    found = load_model(path, threads=2)
    assert found.config == model and found.widths == (4, 5) and found.threads.count == 2
    for name, value in network.params.items():
        np.testing.assert_array_equal(found.params[name], value, err_msg=name)
    for name, value in network.running.items():
        np.testing.assert_array_equal(found.running[name], value, err_msg=name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(path, value):
    network, _, _ = make()
    name = next(iter(network.params))
    network.params[name].flat[1] = value
    save_weights(path, network)
    with pytest.raises(InputError, match=f"{name} holds NaN or infinity"):
        load_model(path)


@pytest.mark.parametrize("model", [MODEL, OF_GROUPS], ids=["all", "group"])
@pytest.mark.parametrize("best", [True, False])
def test_training_comes_back_bit_for_bit(path, best, model):
    saved, found = make(best=best, model=model), make(seed=1, best=not best, model=model)
    save_training(path, *saved)
    if not best:
        found[2].best = None  # as in a fresh state
    load_training(path, *found)
    assert all_bits(*found) == all_bits(*saved)


def test_names_are_those_of_the_parameters_so_that_others_can_read_them(path):
    from safetensors import safe_open

    save_weights(path, make()[0])
    with safe_open(path, framework="numpy") as file:
        assert {"user.W1", "head.P", "title_bias.C", "logit.scale", "running.user.mean1"} <= set(file.keys())
        assert file.get_tensor("head.P").shape == (3, 6, 2)


@pytest.mark.parametrize("save", [lambda p, made: save_weights(p, made[0]), lambda p, made: save_training(p, *made)])
def test_the_old_file_stays_when_the_new_one_fails(path, monkeypatch, save):
    save(path, make())
    before = path.read_bytes()

    def write_half_and_fail(partial, content):
        partial.write_text(content[: len(content) // 2].hex())
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint.Path, "write_bytes", write_half_and_fail)
    with pytest.raises(OSError, match="No space"):
        save(path, make(seed=1))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_everybody_may_read_what_the_umask_lets_them(path):
    before = os.umask(0o022)
    try:
        save_weights(path, make()[0])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_who_reads_while_it_is_written_sees_the_old_file_whole(path):
    save_weights(path, make()[0])
    before = path.read_bytes()
    with open(path, "rb") as reader:
        save_weights(path, make(seed=1)[0])
        assert reader.read() == before != path.read_bytes()


def test_nothing_is_unpickled(path):
    path.write_bytes(pickle.dumps(Trap()))
    for load in (load_model, lambda path: load_training(path, *make())):
        with pytest.raises(InputError, match="not readable as weights"):
            load(path)
    assert not sprung


sprung: list[int] = []


class Trap:
    """What runs code of its own when it is unpickled."""

    def __reduce__(self):
        return spring, ()


def spring():
    sprung.append(1)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-4])


def garbage(path):
    path.write_bytes(b"no weights at all")


def huge_header(path):
    path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, garbage, huge_header, empty])
def test_a_damaged_file_is_named(path, damage):
    save_weights(path, make()[0])
    damage(path)
    with pytest.raises(InputError, match=r"file\.safetensors: not readable as weights"):
        load_model(path)
    save_training(path, *make())
    damage(path)
    with pytest.raises(InputError, match=r"file\.safetensors: not readable as weights"):
        load_training(path, *make())


def test_a_missing_file_is_named(path):
    for load in (load_model, lambda path: load_training(path, *make())):
        with pytest.raises(InputError, match=r"file\.safetensors: missing"):
            load(path)


def facts(**changes):
    """The facts of a file of weights, with some of them changed."""
    shape = {"model": {"hidden": 6, "groups": 3, "head": "lowrank", "rank": 2, "title_bias": True}}
    return shape | {"user_width": 4, "title_width": 5, "territories": 0} | changes


@pytest.mark.parametrize(
    "metadata",
    [None, {"other": "1"}, {"facts": "{}"}, [], {}, facts(model={"width": 6}), facts(model=None)],
)
def test_tensors_of_something_else_are_refused(path, metadata):
    """Without a checksum, or with one and other facts."""
    if metadata is None or (metadata and "model" not in metadata):
        save_file(dict(make()[0].params), path, metadata=metadata)
    else:
        checkpoint._save(path, make()[0].params, metadata)
    with pytest.raises(InputError, match=r"file\.safetensors: not"):
        load_model(path)


def test_a_shape_that_cannot_be_is_refused(path):
    checkpoint._save(path, make()[0].params, facts(model={"hidden": 0}))
    with pytest.raises(InputError, match=r"model\.hidden = 0"):
        load_model(path)


def test_weights_of_another_shape_or_without_a_part_are_named(path):
    network = make()[0]
    running = {f"running.{name}": value for name, value in network.running.items()}
    checkpoint._save(path, {**network.params, **running}, facts(user_width=3))
    with pytest.raises(InputError, match=r"user\.W1 is float32 \(4, 6\), expected float32 \(3, 6\)"):
        load_model(path)
    checkpoint._save(path, network.params, facts())
    with pytest.raises(InputError, match=r"running\.user\.mean1 is missing, expected float32 \(6,\)"):
        load_model(path)


def test_training_of_another_model_is_refused(path):
    save_training(path, *make(model=ModelConfig(hidden=6)))
    with pytest.raises(InputError, match=r"file\.safetensors: "):
        load_training(path, *make())
    save_weights(path, make()[0])
    with pytest.raises(InputError, match="not the training state of such a model"):
        load_training(path, *make())
