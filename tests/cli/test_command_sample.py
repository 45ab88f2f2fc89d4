"""`twotower sample`: what one types and what one gets."""

import shutil
from dataclasses import asdict, fields

import numpy as np
import pytest
from click.testing import CliRunner
from toy_logs import random_log

from twotower.cli import cli
from twotower.cli.sample import sample as command
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import write_vectors
from twotower.data.sample import Sample
from twotower.data.sampling.sample_config import SampleConfig


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> str:
    return str(random_log(n_territories=6).write(tmp_path_factory.mktemp("command") / "world").path)


def run(*arguments: str):
    return CliRunner().invoke(cli, ["sample", *arguments])


def drawn(world: str, *options: str) -> Sample:
    result = run(world, "--overwrite", *options)
    assert result.exit_code == 0, result.output
    return Sample(Dataset.open(world))


@pytest.fixture(scope="module")
def usual(world):
    """Configuration and digest of a sample without options."""
    sample = drawn(world)
    return sample.config, sample.train_pairs().digest()


def test_it_draws_prints_and_says_what_is_next(world):
    result = run(world, "--overwrite")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(line.startswith("United States") for line in lines)
    assert any(line.startswith("Effective number of territories") for line in lines)
    assert lines[-1] == f"Sample 'default' saved to {world}. Next: twotower embed {world}"
    assert "sampling train pairs" in result.stderr
    assert Sample(Dataset.open(world)).train_pairs().label.sum() > 0


def test_its_defaults_are_those_of_the_configuration():
    defaults = {option.name: option.default for option in command.params}
    assert {item.name: defaults[item.name] for item in fields(SampleConfig)} == asdict(SampleConfig())


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["--random-users", "25%"], "random_users", "25%"),
        (["--random-users", "12.50%"], "random_users", "12.5%"),
        (["--active-users", "12"], "active_users", 12),
        (["--active-users", "10%"], "active_users", "10%"),
        (["--test-users", "44"], "test_users", 44),
        (["--window", "1"], "window", 1),
        (["--quota", "equal"], "quota", "equal"),
        (["--quota", "proportional"], "quota", "proportional"),
        (["--alpha", "2"], "alpha", 2.0),
        (["--alpha", "auto"], "alpha", "auto"),
        (["--negatives", "population"], "negatives", "population"),
        (["--seed", "5"], "seed", 5),
    ],
)
def test_every_option_changes_what_is_drawn(world, usual, options, field, value):
    before, digest = usual
    after = drawn(world, *options)
    assert after.config[field] == value and before[field] != value
    assert after.train_pairs().digest() != digest


def test_with_vectors_the_next_step_is_training_on_that_sample(world, tmp_path):
    copy = str(shutil.copytree(world, tmp_path / "world"))
    dataset = Dataset.open(copy)
    write_vectors(copy, np.ones((dataset.n_users, 2), np.float32), np.ones((dataset.n_titles, 2), np.float32))
    result = run(copy, "--name", "ready", "--random-users", "20")
    assert result.stdout.endswith(f"Next: twotower train {copy} --sample ready\n")


def test_the_next_command_can_be_pasted(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world, "my world")
    assert run("my world", "--overwrite").stdout.splitlines()[-1].endswith("Next: twotower embed 'my world'")


def test_a_sample_has_a_name_and_is_replaced_only_when_asked(world):
    result = run(world, "--name", "small", "--random-users", "20")
    assert "Sample 'small' saved to" in result.stdout
    again = run(world, "--name", "small")
    assert again.exit_code == 2 and "exists already" in again.stderr
    assert len(again.stderr.splitlines()) == 1
    assert run(world, "--name", "small", "--overwrite").exit_code == 0
    assert "small" in Dataset.open(world).samples()


def test_all_prints_every_territory(tmp_path):
    log = random_log(n_users=60)
    log.user_territory = np.arange(60) % 30
    log.availability = np.ones((25, 30), bool)
    names = tuple(f"Land {i:02}" for i in range(30))
    world = str(log.write(tmp_path / "world", names=names).path)
    short, full = run(world).stdout, run(world, "--overwrite", "--all").stdout
    assert "10 others" in short and "Land 29" not in short
    assert "others" not in full and all(name in full for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--random-users", "many"], "'many' is not a number of users such as 5000, or a share such as 30%"),
        (["--random-users", "-5"], "random_users = -5"),
        (["--random-users", "0.3"], "'0.3' is not a number of users such as 5000, or a share such as 30% (for that"),
        (["--active-users", "1.0"], "or a share such as 30% (for that share: 100%)"),
        (["--test-users", "nan"], "'nan' is not a number of users"),
        (["--alpha", "lots"], "'lots' is neither a number nor 'auto'"),
        (["--alpha", "0"], "alpha = 0.0: expected a number above 0"),
        (["--active-users", "100000"], "--active-users 100000: only"),
        (["--test-users", "200"], "--test-users 200: expected fewer than the 200 users"),
        (["--active-users", "0", "--quota", "equal"], "--quota has no effect without active users (--active-users 0)"),
        (["--active-users", "0", "--window", "3"], "--window has no effect without active users (--active-users 0)"),
        (["--window", "0"], "window = 0: expected at least 1"),
        (["--name", "../evil"], "sample name '../evil'"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(world, options, message):
    result = run(world, "--overwrite", *options)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output
    errors = [line for line in result.stderr.splitlines() if message in line]
    assert len(errors) == 1


def test_a_directory_that_is_no_dataset_is_named(tmp_path):
    result = run(str(tmp_path / "nowhere"))
    assert result.exit_code == 2 and "nowhere: no such directory" in result.stderr
