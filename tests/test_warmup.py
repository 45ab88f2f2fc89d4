"""Warming up: afterwards training compiles nothing more, and the wait is never silent."""

import sys
import time

import pytest
from numba.core.dispatcher import Dispatcher
from tiny_runs import MTL, train

from twotower import warmup
from twotower.config import BATCHINGS, HEADS
from twotower.warmup import HEARTBEAT, STAGE, compile_kernels


def signatures() -> dict[str, set]:
    """The argument types that every kernel on the way of training has been compiled for."""
    kernels = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("twotower."):
            for kernel in vars(module).values():
                if isinstance(kernel, Dispatcher):
                    kernels[f"{kernel.py_func.__module__}.{kernel.py_func.__name__}"] = set(kernel.signatures)
    return kernels


@pytest.mark.parametrize("head", HEADS)
def test_training_compiles_nothing_more(tiny_world, tmp_path, head):
    compile_kernels()
    before = signatures()
    model = {} if head == "none" else MTL | {"head": head}
    for batching in BATCHINGS:
        train(tiny_world, tmp_path / batching, model, batching=batching, epochs=1)
    assert signatures() == before


def test_it_says_what_it_does_when_it_begins_and_ends():
    seen = []
    compile_kernels(lambda *where: seen.append(where))
    assert seen[0] == (STAGE, 0, 1) and seen[-1] == (STAGE, 1, 1)
    assert set(seen) == {(STAGE, 0, 1), (STAGE, 1, 1)}


def test_a_long_wait_is_not_silent(monkeypatch):
    monkeypatch.setattr(warmup, "HEARTBEAT", 0.01)
    monkeypatch.setattr(warmup, "_compile_plain_network", lambda: time.sleep(0.2))
    seen = []
    compile_kernels(lambda *where: seen.append(where))
    assert seen.count((STAGE, 0, 1)) > 5
    assert HEARTBEAT <= 1, "twice in the two seconds that a display may be silent"


def test_the_signs_of_life_end_with_an_error(monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(warmup, "HEARTBEAT", 0.01)
    monkeypatch.setattr(warmup, "_compile_batches", fail)
    seen = []
    with pytest.raises(ZeroDivisionError):
        compile_kernels(lambda *where: seen.append(where))
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) == count
