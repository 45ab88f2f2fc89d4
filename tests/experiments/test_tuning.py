"""``twotower tune``: development users alone, resumable, and the best settings are those of the best run."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.faults.children import in_child
from twotower.cli import cli
from twotower.core.config import Config, load_toml
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.experiments.journal_lock import JournalLock, searching
from twotower.experiments.tuning import import_optuna
from twotower.training.run import RunReader

pytest.importorskip("optuna")
FIXED = "[model]\nhidden = 8\n[train]\nbatch_size = 128\n"


def tune(world, *options):
    Path("fixed.toml").write_text(FIXED, encoding="utf-8")
    command = ["tune", str(world), "--config", "fixed.toml", "--groups", "2", "--name", "search", *options]
    return CliRunner().invoke(cli, command)


@pytest.fixture
def searched(tiny_world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world = Path(shutil.copytree(tiny_world, tmp_path / "world"))
    result = tune(world, "--trials", "3")
    assert result.exit_code == 0, result.output
    return world, result.output


def test_a_search_never_sees_a_test_user_and_ends_with_the_settings_of_its_best_run(searched):
    world, output = searched
    summary = json.loads(Path("tuning/search/tuning.json").read_text("utf-8"))
    best = RunReader(f"tuning/search/runs/trial-{summary['best']:04d}")
    assert best.evaluation.overall == pytest.approx(summary["value"], abs=1e-6) and f"{summary['value']:.4f}" in output
    assert summary["value"] >= summary["default"]
    tuned = Sample(Dataset.open(world), best.sample)
    assert tuned.config["dev_users"]
    settings = load_toml(Path("tuning/search/best.toml"))
    assert settings["train"].items() <= best.config["train"].items()
    assert settings["model"].items() <= best.config["model"].items() and settings["model"]["hidden"] == 8

    experiment = ["experiment", str(world), "--methods", "mtl", "--seeds", "1", "--config", "tuning/search/best.toml",
                  "--groups", "2", "--out", "confirmed", "--no-html", "--replicates", "10"]  # fmt: skip
    assert CliRunner().invoke(cli, experiment).exit_code == 0
    confirmed = RunReader("confirmed/runs/mtl-0")
    assert settings["train"].items() <= confirmed.config["train"].items()
    tested = Sample(Dataset.open(world), confirmed.sample)
    assert not np.isin(tuned.test_users, tested.test_users).any()
    assert not np.isin(tuned.train_users, tested.test_users).any()


def test_a_search_goes_on_after_a_process_was_killed_while_it_wrote_the_journal(searched):
    world, _ = searched
    journal = Path("tuning/search/journal.log")
    whole, (read, write) = journal.read_bytes(), os.pipe()

    def hold() -> None:
        JournalLock(journal).acquire()
        journal.write_bytes(whole + b'{"op_code":4,"study')
        os.write(write, b"!")
        signal.pause()

    child = in_child(hold)
    os.read(read, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    result = tune(world, "--trials", "4")
    assert result.exit_code == 0, result.output
    now = journal.read_bytes()
    assert now.startswith(whole) and all(json.loads(line) for line in now.splitlines())


def test_what_a_killed_trial_left_is_removed_once_nobody_else_searches(searched):
    world, _ = searched
    optuna, folder = import_optuna(), Path("tuning/search")
    journal = folder / "journal.log"
    backend = optuna.storages.journal.JournalFileBackend(str(journal), JournalLock(journal))
    study = optuna.load_study(study_name="twotower", storage=optuna.storages.JournalStorage(backend))
    left = folder / "runs" / f"trial-{study.ask().number:04d}"
    left.mkdir()
    with searching(folder) as alone:
        assert alone and tune(world, "--trials", "4").exit_code == 0 and left.exists()
    again = tune(world, "--trials", "5")
    assert again.exit_code == 0 and "Trials: 5 complete, 1 failed." in again.output, again.output
    assert not left.exists()


def test_a_search_goes_on_where_it_ended_and_only_with_what_it_began_with(searched):
    world, _ = searched
    before = Path("tuning/search/journal.log").read_bytes()
    more = tune(world, "--trials", "4")
    assert more.exit_code == 0 and "Trials: 4 complete." in more.output, more.output[-1500:]
    assert Path("tuning/search/journal.log").read_bytes().startswith(before)
    other = tune(world, "--trials", "5", "--method", "baseline")
    assert other.exit_code == 2 and "give another --name" in other.output


def test_the_first_trial_has_the_default_settings(searched):
    first = RunReader("tuning/search/runs/trial-0000").config
    default = Config.from_layers(("fixed", load_toml(Path("fixed.toml")))).to_dict()
    assert first["train"]["learning_rate"] == default["train"]["learning_rate"]
    assert first["train"]["epochs"] == default["train"]["epochs"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "counts"), "--method counts: expected one of baseline"),
        (("--method", "baseline,mtl"), "expected one method"),
        (("--timeout", "soon"), "expected a time such as 90s"),
    ],
)
def test_wrong_input_is_one_line(tiny_world, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = tune(tiny_world, *options)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert not Path("tuning").exists()
