"""What is looked into: the batch is training's own, the network is the run's, and idle options are refused."""

from dataclasses import fields

import click
import numpy as np
import pytest
from click.testing import CliRunner
from subjects import tiny_subject
from tiny_runs import MTL, make_trainer, train

from twotower.cli.subject_options import OPTIONS, subject_options
from twotower.core.errors import InputError
from twotower.lab.subject import is_run, subject_of_run
from twotower.serving.open_run import open_model
from twotower.training.checkpoint import load_model


@pytest.mark.parametrize("number", [1, 2])
def test_the_batch_is_the_one_that_training_would_take(tiny_world, number):
    subject = tiny_subject(tiny_world, number)
    trainer = make_trainer(tiny_world, MTL, batch_size=128)
    for _, batch in zip(range(number), trainer.batches(0), strict=False):
        kept = {field.name: getattr(batch, field.name).copy() for field in fields(batch)}
    for name, value in kept.items():
        assert np.array_equal(getattr(subject.batch, name), value), name
    assert np.array_equal(subject.model.params.flat, trainer.model.params.flat)


def test_the_batch_stays_when_others_are_made(tiny_world):
    subject = tiny_subject(tiny_world)
    before = subject.batch.labels.tobytes(), subject.batch.user_features.tobytes()
    for _ in subject.trainer.batches(0):
        pass
    assert before == (subject.batch.labels.tobytes(), subject.batch.user_features.tobytes())


def test_there_is_no_batch_after_the_last(tiny_world):
    steps = tiny_subject(tiny_world).trainer.steps()
    assert tiny_subject(tiny_world, steps).number == steps
    with pytest.raises(InputError, match=f"--batch {steps + 1}: an epoch has the batches 1 to {steps}"):
        tiny_subject(tiny_world, steps + 1)


def test_groups_are_named_after_their_largest_territories(tiny_world):
    subject = tiny_subject(tiny_world)
    users, code = subject.dataset.territories.users, subject.dataset.territories.code
    largest = max((c for c in range(len(code)) if subject.territory_group[c] == 1), key=lambda c: users[c])
    assert subject.group_names[1].startswith(f"1 · {code[largest]}")


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory):
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "001-mtl-2", MTL)


def test_a_run_is_looked_into_with_its_own_weights_groups_and_offsets(run):
    subject, trained = subject_of_run(run.path), load_model(run.weights_path)
    assert subject.trained and subject.name == "001-mtl-2"
    assert np.array_equal(subject.model.params.flat, trained.params.flat)
    assert np.array_equal(subject.model.running.flat, trained.running.flat)
    assert np.array_equal(subject.model.title_offsets, trained.title_offsets)
    assert np.array_equal(subject.territory_group, open_model(run.path, subject.dataset)[1])


# ---------------------------------------------------------------- the options around it


@click.command()
@subject_options
@click.option("--loud", is_flag=True)
def look(subject, loud):
    """Print what was opened."""
    opened = subject(lambda *_: None)
    model = opened.config.model
    click.echo(f"{opened.name} {opened.trained} {model.head} {model.groups} {len(opened.batch)}")


def looked(*arguments):
    result = CliRunner().invoke(look, [str(argument) for argument in arguments])
    return result.output.strip() if result.exception is None else str(result.exception)


def test_every_option_is_taken_out_before_the_command():
    assert {p.name for p in look.params} == {*OPTIONS, "loud"}


def test_a_dataset_gets_a_fresh_network_with_heads(tiny_world):
    small = "--hidden", 8, "--batch-size", 100
    assert looked(tiny_world, *small, "--groups", 2) == "tiny False lowrank 2 100"
    assert looked(tiny_world, *small, "--baseline") == "tiny False none 1 100"
    assert looked(tiny_world, *small, "--groups", 3, "--head", "residual") == "tiny False residual 3 100"


def test_a_run_is_told_from_a_dataset(run, tiny_world):
    assert is_run(run.path) and not is_run(tiny_world)
    assert looked(run.path, "--batch-size", 100) == "001-mtl-2 True lowrank 2 100"


def test_options_that_do_nothing_are_refused(run, tiny_world):
    assert looked(run.path, "--head", "plain", "--seed", 3) == (
        f"--head, --seed have no effect on {run.path}: a run has its own settings"
    )
    line = looked(tiny_world, "--dataset", "elsewhere")
    assert line == f"--dataset has no effect on {tiny_world}, which is not a run"
