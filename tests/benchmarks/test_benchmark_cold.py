"""benchmarks/cold.py measures what it says: fresh processes that do the work."""

import json

import pytest
from numba import config as numba_config

from benchmarks import cold


@pytest.mark.slow
def test_the_first_step_is_one_of_training_the_same_cold_and_warm(tmp_path):
    loss = cold.check(tmp_path)
    assert 0 < loss < 1
    if not numba_config.DISABLE_JIT:
        assert any(tmp_path.rglob("*.nbc")), "its kernels are kept where it was told"


def test_two_losses_are_not_timed(monkeypatch, tmp_path):
    losses = iter((0.5, 0.25))
    monkeypatch.setattr(cold, "run", lambda arguments, kept: json.dumps({"loss": next(losses)}))
    with pytest.raises(cold.click.ClickException, match=r"the loss is .* when kernels are compiled, .* when loaded"):
        cold.check(tmp_path)


def test_a_process_that_fails_is_an_error():
    with pytest.raises(cold.click.ClickException, match="nothing of that name"):
        cold.run(["-c", "raise ValueError('nothing of that name')"], None)


def test_every_process_has_its_turns_and_cold_ones_fewer(monkeypatch, tmp_path):
    called = []
    answer = json.dumps({"import_s": 0.1, "step_s": 0.2})
    monkeypatch.setattr(cold, "run", lambda arguments, kept: called.append(kept) or answer)
    seconds, parts = cold.race(3, 1, tmp_path)
    turns = {name: 1 if needs == "cold" else 3 for name, (_, needs) in cold.PROCESSES.items()}
    assert {name: len(times) for name, times in seconds.items()} == turns
    assert len(parts["first step, warm"]) == 3 and len(parts["first step, cold"]) == 1
    assert called.count(tmp_path) == 6, "the warm ones"


def test_the_table_adds_up_the_signatures_of_a_kernel():
    costs = (("nn.a", 1.0, True), ("nn.a", 0.5, True), ("data.b", 0.25, False))
    rows = [{"kernel": f"twotower.{name}", "seconds": took, "training": training} for name, took, training in costs]
    table = cold.kernel_table(rows, 9)
    assert table.splitlines()[0] == "compiling 3 signatures: 1.8 s, 1.5 s of it for training"
    assert "nn.a " in table and "1.50 s  2 signatures" in table
