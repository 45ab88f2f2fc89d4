"""A few of the faults of benchmarks/faults.py; the tool itself must notice what is wrong."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import faults
from twotower.core.manifest import Verification
from twotower.training.warm_up import compile_kernels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    compile_kernels()  # once, before children are made
    return faults.template(tmp_path_factory.mktemp("faults") / "made")


def test_damaged_files_are_refused_or_say_the_same(made, tmp_path):
    outcomes = faults.damage(made, tmp_path, times=28) + faults.damage(made, tmp_path, times=14, forged=True)
    assert outcomes["refused"] > 20 and not faults.bad(outcomes)


def test_damage_that_is_loaded_is_noticed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(Verification, "enabled", False)
    assert "OTHER VALUES" in faults.damage(made, tmp_path, times=60)


@pytest.mark.parametrize("disturb", ["kill", "fail"])
def test_a_disturbed_command_goes_on_to_the_same_files(made, tmp_path, disturb):
    assert not faults.bad(faults.each_operation(made, tmp_path, ["group", "train"], disturb, step=17))


def test_two_writers_leave_a_whole_dataset(made, tmp_path):
    outcomes: Counter[str] = faults.writers(made, tmp_path, rounds=1)
    assert not faults.bad(outcomes)
