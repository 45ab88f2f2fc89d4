"""Is a run what it says? Files, data, and training again."""

import numpy as np
import pytest
from click.testing import CliRunner
from sealing import reseal
from tiny_experiments import run_tiny
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.core.errors import InputError
from twotower.core.manifest import Verification
from twotower.data.dataset import Dataset
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampler import sample
from twotower.training.verify import verify


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_a_run_is_trained_again_to_the_same_bits(tiny_world, tmp_path):
    path = train(tiny_world, tmp_path / "run", MTL, incremental_periods=2).path
    result = CliRunner().invoke(cli, ["verify", str(path), "--retrain"])
    assert result.exit_code == 0, result.output
    assert "the same weights and scores, bit for bit" in result.stdout and "as in training" in result.stdout


def test_so_is_the_control_of_users_who_go_through_the_heads_of_others(tiny_world, tmp_path):
    run_tiny(tiny_world, tmp_path, methods="upsampled,shuffled")
    path = tmp_path / "runs/shuffled-1"
    assert verify(path, again=True)["trained_again"] == "the same weights and scores, bit for bit"
    before = {name: (path / name).read_bytes() for name in ("weights.safetensors", "predictions/scores.npy")}
    (path / "run.json").unlink()
    assert CliRunner().invoke(cli, ["train", "--resume", str(path)]).exit_code == 0
    assert {name: (path / name).read_bytes() for name in before} == before


def test_what_is_another_is_said(own_world, tmp_path):
    path = train(own_world, tmp_path / "run").path
    scores = path / "predictions" / "scores.npy"
    np.save(scores, np.load(scores) + 1)
    with pytest.raises(InputError, match="training again gives other scores"):
        verify(reseal(path, "run.json"), again=True)
    flip(path / "metrics.jsonl")
    assert "metrics.jsonl: contents differ from the checksum in run.json" in failing_line("verify", path)
    assert "metrics.jsonl: contents differ" in failing_line("doctor", path)


def test_data_that_have_changed_are_named(own_world, tmp_path):
    path = train(own_world, tmp_path / "run").path
    sample(Dataset.open(own_world), SampleConfig(seed=9), overwrite=True)
    assert "default: its pairs or vectors are not those that" in failing_line("verify", path)


def test_checksums_can_be_left_out(own_world):
    flip(own_world / "users.npy")
    assert "contents differ" in failing_line("train", own_world, "--run", own_world.parent / "run")
    try:
        arguments = ["train", str(own_world), "--run", str(own_world.parent / "run"), "--hidden", "8", "--epochs", "1"]
        assert CliRunner().invoke(cli, ["--no-verify", *arguments]).exit_code == 0
    finally:
        Verification.enabled = True
