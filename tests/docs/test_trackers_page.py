"""The recipes for experiment trackers: short, and TensorBoard's writes files with a run's own figures."""

import re
import struct
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import tiny_runs

from twotower.training.job import TrainingJob
from twotower.training.run import RunReader

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "trackers.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def recipe(number):
    names = {}
    exec(compile(RECIPES[number], f"recipe {number} of docs/how-to/trackers.md", "exec"), names)
    return next(value for name, value in names.items() if isinstance(value, type) and value.__module__ == "builtins")


def run_with(world, path, callback):
    TrainingJob(world, tiny_runs.small_config(), run_path=path).run(callbacks=[callback])
    return RunReader(path)


def scalars(folder):
    """(tag, step, value) of the files of events: records of length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, place = b"".join(path.read_bytes() for path in folder.iterdir()), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        event = Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)


def test_recipes_are_short():
    assert len(RECIPES) == 3 and all(len(block.splitlines()) <= 20 for block in RECIPES)


def test_tensorboard_shows_the_run(tiny_world, tmp_path):
    pytest.importorskip("tensorboardX")
    run = run_with(tiny_world, tmp_path / "run", recipe(0)(str(tmp_path / "board")))
    found = list(scalars(tmp_path / "board"))
    losses = [line["loss"] for line in run.log if "epoch" in line]
    assert [value for tag, _, value in found if tag == "loss"] == pytest.approx(losses)
    assert [step for tag, step, _ in found if tag == "loss"] == list(range(1, len(losses) + 1))
    assert [value for tag, _, value in found if tag == "test/PR-AUC"] == pytest.approx([run.overall])


@pytest.mark.parametrize(("number", "module"), [(1, "mlflow"), (2, "wandb")])
def test_trackers_that_are_not_installed_are_told_the_result(number, module, tiny_world, tmp_path, monkeypatch):
    tracker = MagicMock()
    monkeypatch.setitem(sys.modules, module, tracker)
    run = run_with(tiny_world, tmp_path / "run", recipe(number)("shop", {"seed": 3}))
    if module == "mlflow":
        told = [(call.args[0], call.kwargs["step"]) for call in tracker.log_metrics.call_args_list]
        assert told[-1] == ({"test_pr_auc": run.overall}, sum("epoch" in line for line in run.log))
        tracker.end_run.assert_called_once()
    else:
        tracker.init.return_value.summary.__setitem__.assert_called_with("test PR-AUC", run.overall)
        assert tracker.init.return_value.log.call_count == sum("epoch" in line for line in run.log)
