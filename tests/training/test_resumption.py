"""An interrupted run is taken up again, and ends as if nothing had been."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
from tiny_runs import MTL, interrupt_at, small_config, train

from twotower.core.errors import InputError
from twotower.core.progress import silent
from twotower.core.signals import handled
from twotower.core.storage import write_record
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import update_territories, write_vectors
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampler import sample
from twotower.training.job import TrainingJob, resume
from twotower.training.run import RunReader

SETTINGS = dict(model=MTL, epochs=3, patience=9, validations_per_epoch=2, validation=0.3)


def start_and_interrupt(world, path, progress, **changes):
    """A run that ends with Ctrl-C; what it says then."""
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(world, path, progress=progress, **(SETTINGS | changes))
    return getattr(stopped.value, "hint", None)


def without_speed(log):
    return [{name: value for name, value in line.items() if name != "pairs_per_second"} for line in log]


@pytest.fixture(scope="module")
def uninterrupted(tiny_world, tmp_path_factory) -> RunReader:
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "whole", **SETTINGS)


@pytest.mark.parametrize(
    "moment",
    [
        interrupt_at("epoch 2/3", times=3),
        interrupt_at("epoch 3/3"),
        interrupt_at("validation", times=4),
        interrupt_at("scoring the test pairs"),
    ],
    ids=["in the second epoch", "at the start of the third", "while validating", "after training"],
)
def test_an_interrupted_run_ends_as_if_nothing_had_been(tiny_world, tmp_path, uninterrupted, moment):
    path = tmp_path / "run"
    told = start_and_interrupt(tiny_world, path, moment)
    assert told == f"twotower train --resume {path}"
    with pytest.raises(InputError, match="training did not finish"):
        RunReader(path)
    resumed, evaluation = resume(path, silent)
    assert resumed == path
    run = RunReader(path)
    assert run.weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()
    assert run.training_path.read_bytes() == uninterrupted.training_path.read_bytes()
    np.testing.assert_array_equal(run.scores, uninterrupted.scores)
    assert without_speed(run.log) == without_speed(uninterrupted.log)
    assert (run.label, run.seed, run.config) == (uninterrupted.label, uninterrupted.seed, uninterrupted.config)
    assert evaluation.overall == uninterrupted.overall


@pytest.mark.parametrize("variant", [{"task_weights": "uncertainty"}, {"pcgrad": True}], ids=str)
def test_so_does_one_with_a_state_beside_the_model(tiny_world, tmp_path, variant):
    """Learned log-variances with their moments, and the random order of gradient surgery."""
    whole = train(tiny_world, tmp_path / "whole", **(SETTINGS | variant))
    start_and_interrupt(tiny_world, tmp_path / "run", interrupt_at("epoch 3/3"), **variant)
    resume(tmp_path / "run", silent)
    run = RunReader(tmp_path / "run")
    assert run.training_path.read_bytes() == whole.training_path.read_bytes()
    np.testing.assert_array_equal(run.scores, whole.scores)


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_run_killed_inside_an_epoch_goes_on_from_its_last_checkpoint(tiny_world, tmp_path, uninterrupted, step):
    path, job = tmp_path / "run", TrainingJob(tiny_world, small_config(**SETTINGS), run_path=tmp_path / "run")
    steps = len([line for line in uninterrupted.log if line.get("epoch") == 2])
    assert steps == 7
    with pytest.raises(KeyboardInterrupt):
        replace(job, checkpoint_every=0).run(interrupt_at("epoch 2/3", step))
    learned = []
    resume(path, lambda stage, done, total: learned.append(done) if stage.startswith("epoch 2/3") else None)
    assert len(learned) == steps - step + 1, "the step that was interrupted, and those after it"
    run = RunReader(path)
    assert run.weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()
    assert run.training_path.read_bytes() == uninterrupted.training_path.read_bytes()
    assert without_speed(run.log) == without_speed(uninterrupted.log)


def test_a_signal_lets_the_step_end_and_saves_it(tiny_world, tmp_path, uninterrupted):
    seen = []

    def terminate(stage, done, total):
        if stage.startswith("epoch 2/3"):
            seen.append(stage)
            if len(seen) == 2:
                signal.raise_signal(signal.SIGTERM)

    path = tmp_path / "run"
    with handled():
        assert start_and_interrupt(tiny_world, path, terminate) == f"twotower train --resume {path}"
    assert len(seen) == 2
    resume(path, silent)
    assert RunReader(path).weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()
    assert without_speed(RunReader(path).log) == without_speed(uninterrupted.log)


def test_a_run_pins_what_it_uses_when_it_starts(own_world, tmp_path, uninterrupted):
    """Sample, vectors and groups are replaced while it trains: it is evaluated on the pairs it began with."""
    changed = []

    def change(stage, done, total):
        if stage.startswith("epoch 2/3") and not changed:
            data = Dataset.open(own_world)
            table = data.territories
            sample(data, SampleConfig(seed=9), overwrite=True)
            write_vectors(data, np.zeros((300, 16), np.float16), np.zeros((30, 16), np.float32))
            update_territories(data, replace(table, group=np.array([1, 1, 0, 0, 1, 0], np.int16)))
            changed.append(stage)

    run = train(own_world, tmp_path / "run", progress=change, **SETTINGS)
    assert changed
    np.testing.assert_array_equal(run.scores, uninterrupted.scores)
    assert (run.test_digest, run.vectors) == (uninterrupted.test_digest, uninterrupted.vectors)


def test_it_may_be_interrupted_again_and_again(tiny_world, tmp_path, uninterrupted):
    start_and_interrupt(tiny_world, tmp_path / "run", interrupt_at("epoch 2/3"))
    for epoch in ("epoch 2/3", "epoch 3/3", "evaluation"):
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path / "run", interrupt_at(epoch))
    resume(tmp_path / "run", silent)
    run = RunReader(tmp_path / "run")
    assert run.weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()
    assert without_speed(run.log) == without_speed(uninterrupted.log)


def test_a_run_killed_in_its_first_epoch_begins_anew(tiny_world, tmp_path, uninterrupted):
    path = tmp_path / "run"
    start_and_interrupt(tiny_world, path, interrupt_at("epoch 2/3"))
    (path / "training.safetensors").unlink()
    resume(path, silent)
    assert RunReader(path).weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()
    assert without_speed(RunReader(path).log) == without_speed(uninterrupted.log)


def test_nothing_remains_of_a_run_interrupted_in_its_first_epoch(tiny_world, tmp_path):
    assert start_and_interrupt(tiny_world, tmp_path / "run", interrupt_at("epoch 1/3")) is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_stopped_early_is_not_trained_further(tiny_world, tmp_path):
    settings = dict(epochs=9, patience=1, learning_rate=0.3, validations_per_epoch=1)
    whole = train(tiny_world, tmp_path / "whole", **(SETTINGS | settings))
    assert max(line.get("epoch", 0) for line in whole.log) < 9
    start_and_interrupt(tiny_world, tmp_path / "run", interrupt_at("scoring the test pairs"), **settings)
    resume(tmp_path / "run", silent)
    assert RunReader(tmp_path / "run").weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_a_dataset_that_was_moved_can_be_named(own_world, tmp_path, uninterrupted):
    start_and_interrupt(own_world, tmp_path / "run", interrupt_at("epoch 2/3"))
    own_world.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="world: no such directory; expected a dataset"):
        resume(tmp_path / "run", silent)
    resume(tmp_path / "run", silent, tmp_path / "moved")
    assert RunReader(tmp_path / "run").weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()


@pytest.mark.parametrize("change", ["sample", "vectors"])
def test_other_data_than_those_it_began_with_are_refused(own_world, tmp_path, change):
    start_and_interrupt(own_world, tmp_path / "run", interrupt_at("epoch 2/3"))
    data = Dataset.open(own_world)
    if change == "sample":
        sample(data, SampleConfig(seed=9), overwrite=True)
    else:
        write_vectors(own_world, user_vectors=np.zeros((300, 16), np.float16))
    with pytest.raises(InputError, match=r"its pairs or vectors have changed since .*run was started"):
        resume(tmp_path / "run", silent)
    assert (tmp_path / "run" / "training.safetensors").exists(), "what can be resumed stays"


def test_regrouping_the_dataset_changes_no_run_that_is_resumed(own_world, tmp_path, uninterrupted):
    start_and_interrupt(own_world, tmp_path / "run", interrupt_at("epoch 2/3"))
    table = Dataset.open(own_world).territories
    update_territories(own_world, replace(table, group=np.array([1, 1, 0, 0, 1, 0], np.int16)))
    resume(tmp_path / "run", silent)
    assert RunReader(tmp_path / "run").weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()


def test_what_cannot_be_resumed_is_said(tiny_world, tmp_path, uninterrupted):
    with pytest.raises(InputError, match="nowhere: no run to resume"):
        resume(tmp_path / "nowhere", silent)
    with pytest.raises(InputError, match="whole: this run has finished; there is nothing to resume"):
        resume(uninterrupted.path, silent)


@pytest.mark.parametrize("plan", [{}, {"dataset": 3}, {"files": 7}])
def test_a_damaged_plan_is_one_line(tiny_world, tmp_path, plan):
    write_record(tmp_path / "plan.json", plan)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(InputError, match=r"plan\.json: (damaged|its list of files is damaged)"):
        resume(tmp_path, silent)


@pytest.mark.parametrize("name", ["plan.json", "config.toml", "training.safetensors"])
def test_a_flipped_bit_of_an_unfinished_run_is_found(tiny_world, tmp_path, name):
    start_and_interrupt(tiny_world, tmp_path / "run", interrupt_at("epoch 2/3"))
    content = bytearray((tmp_path / "run" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: (.* checksum|not readable as weights)"):
        resume(tmp_path / "run", silent)


def test_a_damaged_checkpoint_is_one_line(tiny_world, tmp_path):
    start_and_interrupt(tiny_world, tmp_path / "run", interrupt_at("epoch 2/3"))
    (tmp_path / "run" / "training.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"training\.safetensors: not readable as weights"):
        resume(tmp_path / "run", silent)
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["sample"] == "default"
