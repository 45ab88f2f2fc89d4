"""``twotower train`` with bad input: one line that says what and where, exit code 2, and nothing half-made."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sealing import reseal
from tiny_runs import failing_line

from twotower.cli import cli
from twotower.training import checkpoint

TINY = ["--hidden", "8", "--batch-size", "128", "--epochs", "1", "--no-memory"]


def failed(*arguments) -> str:
    return failing_line("train", *arguments)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--config nowhere.toml", "nowhere.toml: no such file, expected settings in TOML"),
        ("--epochs 0", "--epochs 0: expected at least 1"),
        ("--validation 1.5", "--validation 1.5: expected from 0 to below 1"),
        ("--learning-rate nan", "--learning-rate nan: expected a number"),
        ("--groups 4", "--groups 4: expected 1 without heads or a title bias (see --mtl)"),
        ("--mtl --groups 7", "7 groups for 6 territories: expected --groups from 1 to 6"),
        ("--mtl --grouping nowhere.csv", "nowhere.csv: No such file or directory, expected a CSV"),
        ("--sample big", "no sample 'big' (samples: default); make one with: twotower sample"),
        ("--sample ..", "sample name '..': expected letters"),
        ("--label a/b", "--label 'a/b': expected letters"),
        ("--resume nowhere", "nowhere: no run to resume"),
        ("--learning-rate 1e25", "train with a --learning-rate below 1e+25"),
        ("--head heads", "Invalid value for '--head': 'heads' is not one of"),
        ("--epochs many", "Invalid value for '--epochs': 'many' is not a valid integer."),
        ("--epoch 3", "No such option"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # without the JIT NumPy tells of overflows, too
def test_bad_input_is_one_line_and_exit_code_2(here, tiny_world, options, message):
    assert message in failed(tiny_world, *options.split())
    assert not [path for path in Path("runs").glob("*")], "nothing half-made remains"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[train]\nepoch = 3\n", "c.toml: key = 'train.epoch': expected one of epochs, batch_size"),
        ("[trian]\n", "c.toml: section = 'trian': expected one of model, train"),
        ("epochs = 3\n", "c.toml: section = 'epochs': expected one of model, train"),
        ("[train]\nepochs = '3'\n", "c.toml: train.epochs = '3': expected a whole number"),
        ("[model]\nhead = 'heads'\n", "c.toml: model.head = 'heads': expected one of none, plain"),
        ("[model\n", "c.toml: not readable as TOML"),
    ],
)
@pytest.mark.parametrize("mtl", [[], ["--mtl"]])
def test_a_bad_file_is_named_in_one_line(here, tiny_world, content, message, mtl):
    Path("c.toml").write_text(content)
    assert message in failed(tiny_world, "--config", "c.toml", *mtl)


@pytest.mark.parametrize("option", ["--epochs 3", "--mtl", "--seed 1", "--label x", "--sample s", "--config c.toml"])
def test_a_resumed_run_takes_no_other_settings(here, option):
    message = failed("--resume", "runs/001-a", *option.split())
    assert message.startswith("--resume: the run's own settings are used; leave out ")


def test_a_dataset_that_is_none_is_named(here):
    assert failed("nowhere") == "nowhere: no such directory; expected a dataset; twotower import makes one"
    Path("empty").mkdir()
    assert failed("empty", "--mtl") == "empty: not a dataset (it has no manifest.json); twotower import makes one"


def test_an_incomplete_dataset_is_named(own_world):
    (own_world / "events" / "day-0003" / "user.npy").unlink()
    assert "events/day-0003/user.npy: missing (named in manifest.json)" in failed(own_world)


def damage(world, name, change):
    array = np.load(world / name)
    change(array)
    np.save(world / name, array)
    reseal(world)


def test_vectors_that_are_not_finite_are_named(own_world):
    damage(own_world, "titles.npy", lambda table: table[5:7].fill(np.inf))
    assert failed(own_world).endswith("titles.npy: 2 of 30 rows hold NaN or infinity, the first is row 5")


def test_labels_other_than_0_and_1_are_named(own_world):
    damage(own_world / "samples" / "default", "train/day-0003/label.npy", lambda label: label[4:5].fill(3))
    assert failed(own_world).endswith("train/day-0003/label.npy: row 4 holds 3, expected 0 to 1")


def test_zero_positives_are_named(own_world):
    for path in (own_world / "samples" / "default" / "train").glob("day-*/label.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    reseal(own_world / "samples" / "default")
    assert "0 positives among the" in failed(own_world, "--validation", "0")


def test_a_directory_that_cannot_be_written_is_named(here, tiny_world):
    Path("runs").write_text("a file")
    assert failed(tiny_world) == f"runs/001-baseline: cannot write in {here / 'runs'}; give another directory (--run)"


@pytest.mark.parametrize("finished", [0, 2])
def test_a_full_disk_is_told_with_the_way_to_go_on_if_there_is_one(here, tiny_world, monkeypatch, finished):
    write, written = Path.write_bytes, []

    def write_some(path, content):
        if len(written) == finished:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Path, "write_bytes", write_some)
        result = CliRunner().invoke(cli, ["train", str(tiny_world), *TINY, "--epochs", "3", "--run", "r"])
    line, hint = result.stderr.splitlines()[-2:] if finished else (result.stderr.splitlines()[-1], None)
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert line == "twotower: error: r/training.safetensors: No space left on device"
    assert Path("r").exists() == (hint == "Resume with: twotower train --resume r") == (finished > 0)
    if finished:
        assert CliRunner().invoke(cli, ["train", "--resume", "r"]).exit_code == 0
