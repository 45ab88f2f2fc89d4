"""Callbacks are told what the log says, of every way to train, and what they raise ends the training."""

from collections import defaultdict

import pytest
import tiny_runs

from twotower import Callback
from twotower.training.job import TrainingJob
from twotower.training.run import RunReader


class Recorder(Callback):
    def __init__(self):
        self.told = defaultdict(list)

    def on_step(self, record):
        self.told["update" if record.days else "step"].append(record)

    def on_epoch(self, record):
        self.told["epoch"].append(record)

    def on_evaluation(self, record):
        self.told[record.users].append(record)


def test_callbacks_are_told_what_the_log_says(tiny_world, tmp_path):
    recorder = Recorder()
    config = tiny_runs.small_config(tiny_runs.MTL, incremental_periods=2, validations_per_epoch=2)
    run, results = TrainingJob(tiny_world, config, run_path=tmp_path / "run").run(callbacks=[recorder, Callback()])
    told, log = recorder.told, RunReader(run).log
    steps = [line for line in log if "epoch" in line]
    assert [(r.epoch, r.step, r.loss, r.loss_by_group, r.pairs_by_group) for r in told["step"]] == [
        tuple(line[name] for name in ("epoch", "step", "loss", "loss_by_group", "pairs_by_group")) for line in steps
    ]
    updates = [line["update"] for line in log if "update" in line]
    assert updates and [(list(r.days), r.loss) for r in told["update"]] == [(u["days"], u["loss"]) for u in updates]
    assert [r.steps for r in told["step"] + told["update"]] == list(range(1, len(steps) + len(updates) + 1))
    validations = [(line["steps"], line["validation"]["overall"], line["best"]) for line in log if "validation" in line]
    assert len(validations) == 4 and [(r.steps, r.overall, r.best) for r in told["validation"]] == validations
    assert [(r.overall, r.macro) for r in told["test"]] == [(results.overall, results.macro())]
    assert [(r.epoch, r.steps) for r in told["epoch"]] == [(1, len(steps) // 2), (2, len(steps))]
    for epoch in told["epoch"]:
        of_epoch = [r for r in told["step"] if r.epoch == epoch.epoch]
        assert of_epoch[-1].seen == of_epoch[-1].pairs == sum(sum(r.pairs_by_group) for r in of_epoch)
        mean = sum(r.loss * sum(r.pairs_by_group) for r in of_epoch) / of_epoch[-1].pairs
        assert epoch.loss == pytest.approx(mean) and epoch.seconds > 0


def test_what_a_callback_raises_ends_the_training(tiny_world, tmp_path):
    class Full(Callback):
        def on_step(self, record):
            raise RuntimeError("the tracker is full")

    with pytest.raises(RuntimeError, match="the tracker is full"):
        TrainingJob(tiny_world, tiny_runs.small_config(), run_path=tmp_path / "run").run(callbacks=[Full()])
    assert not (tmp_path / "run").exists()
