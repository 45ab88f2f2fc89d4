"""``twotower train``: every option counts, in the right order, and a run says where it lies."""

import json
import shlex
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from tiny_runs import failing_line, interrupt_at

from twotower.cli import cli
from twotower.cli.config_options import config_from_options
from twotower.core.config import DEBIASES, TASK_WEIGHTS, Config, ModelConfig, TrainConfig
from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import update_territories
from twotower.report import progress
from twotower.training.run import RunReader

TINY = ["--hidden", "8", "--batch-size", "128", "--epochs", "1"]

#: For every setting: an option that changes it, what it then is, and the options that it needs beside it.
OPTIONS = {
    "hidden": ("--hidden 12", 12, ""),
    "groups": ("--groups 3", 3, "--mtl"),
    "head": ("--head residual", "residual", ""),
    "rank": ("--rank 3", 3, "--mtl"),
    "experts": ("--experts 2", 2, "--mtl --head mmoe"),
    "title_bias": ("--title-bias", True, ""),
    "territory_bias": ("--territory-bias", True, ""),
    "title_offsets": ("--title-offsets none", "none", ""),
    "offset_prior": ("--offset-prior 1", 1, ""),
    "group_prior": ("--group-prior 1", 1, "--title-offsets territory"),
    "batchnorm": ("--batchnorm group", "group", "--mtl"),
    "output": ("--output relu", "relu", ""),
    "memory": ("--no-memory", False, ""),
    "memory_units": ("--memory-units 3", 3, ""),
    "learned_logit": ("--no-learned-logit", False, ""),
    "epochs": ("--epochs 2", 2, "--no-memory"),
    "batch_size": ("--batch-size 64", 64, ""),
    "learning_rate": ("--learning-rate 0.01", 0.01, ""),
    "beta1": ("--beta1 0.5", 0.5, ""),
    "beta2": ("--beta2 0.5", 0.5, ""),
    "eps": ("--eps 0.01", 0.01, ""),
    "head_decay": ("--head-decay 9", 9, "--mtl"),
    "bias_decay": ("--bias-decay 9", 9, "--mtl"),
    "tower_decay": ("--tower-decay 9", 9, ""),
    "task_weights": ("--task-weights inverse", "inverse", "--mtl"),
    "pcgrad": ("--pcgrad", True, "--mtl"),
    "debias": ("--debias logq", "logq", "--title-offsets none"),
    "debias_strength": ("--debias-strength 1", 1, "--debias ipw --title-offsets none"),
    "batching": ("--batching users", "users", ""),
    "validation": ("--validation 0.4", 0.4, ""),
    "patience": ("--patience 1", 1, "--epochs 12 --validations-per-epoch 4 --learning-rate 0.2 --validation 0.5"),
    "validations_per_epoch": ("--validations-per-epoch 3", 3, ""),
    "seed": ("--seed 8", 8, ""),
    "threads": ("--threads 1", 1, ""),
    "shards": ("--shards 2", 2, ""),
    "incremental_periods": ("--periods 2", 2, ""),
}
SETTINGS = [item.name for section in (ModelConfig, TrainConfig) for item in fields(section)]


def run(*arguments: str):
    return CliRunner().invoke(cli, ["train", *map(str, arguments)])


def ran(world, path, *options: str) -> RunReader:
    result = run(world, "--run", path, *TINY, *options)
    assert result.exit_code == 0, result.output
    return RunReader(path)


def config(*options: str, preset="default", file=None, mtl=False, known=None, **given) -> Config:
    return config_from_options(preset, file, mtl, given, known)


def test_there_is_an_option_for_every_setting():
    assert list(OPTIONS) == SETTINGS


class StopHere:
    """A job that can't be run."""

    def run(self, progress):
        raise ZeroDivisionError


@pytest.fixture(scope="module")
def without(tiny_world, tmp_path_factory):
    """The run with the options beside the one that is tested: trained once for all that have the same."""

    @cache
    def run_with(beside: str) -> RunReader:
        return ran(tiny_world, tmp_path_factory.mktemp("without") / "run", *beside.split())

    return run_with


@pytest.mark.parametrize("name", SETTINGS)
def test_every_option_changes_its_setting_and_no_other_and_the_result(tiny_world, tmp_path, without, name):
    option, value, beside = OPTIONS[name]
    before, after = without(beside), ran(tiny_world, tmp_path / "with", *beside.split(), *option.split())
    settings, changed = (run.config["model"] | run.config["train"] for run in (before, after))
    assert {key for key in settings if settings[key] != changed[key]} == {name} and changed[name] == value
    if name in ("validations_per_epoch", "patience"):  # how often and how long, not what
        validations = [sum("validation" in line for line in run.log) for run in (before, after)]
        assert validations[1] < validations[0] if name == "patience" else validations == [1, 3]
    else:
        assert np.array_equal(before.scores, after.scores) == (name == "threads")


@pytest.mark.parametrize(
    ("beside", "options"),
    [
        ("--mtl", ["--task-weights equal", *(f"--task-weights {kind}" for kind in TASK_WEIGHTS[1:])]),
        ("--title-offsets none", ["--debias none", *(f"--debias {kind}" for kind in DEBIASES[1:])]),
    ],
    ids=["task weights", "debias"],
)
def test_every_variant_of_the_loss_has_a_result_of_its_own(tiny_world, tmp_path, beside, options):
    results = [ran(tiny_world, tmp_path / f"{n}", *beside.split(), *o.split()) for n, o in enumerate(options)]
    assert len({run.scores.tobytes() for run in results}) == len(options)
    steps = [next(line for line in run.log if "loss" in line) for run in results]
    assert len({line["loss"] for line in steps}) >= len(options) - 1  # log-variances of 0 weigh nothing at first


def test_the_effective_settings_are_kept_with_the_run(tiny_world, tmp_path):
    kept = ran(tiny_world, tmp_path / "run", "--mtl", "--groups", "3", "--seed", "4").config
    assert kept["model"] == {
        **{"hidden": 8, "groups": 3, "head": "lowrank", "rank": 8, "experts": 4, "title_bias": True},
        **{"territory_bias": False, "title_offsets": "territory", "offset_prior": 5.0, "group_prior": 0.0},
        **{"batchnorm": "all", "output": "linear", "memory": True, "memory_units": 16, "learned_logit": True},
    }
    assert (kept["train"]["seed"], kept["train"]["patience"]) == (4, 2)
    again = ran(tiny_world, tmp_path / "again", "--config", str(tmp_path / "run" / "config.toml"))
    assert again.config == kept and np.array_equal(again.scores, RunReader(tmp_path / "run").scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--rank 3", "--rank has no effect with --head none"),
        ("--mtl --head plain --rank 3", "--rank has no effect with --head plain"),
        ("--no-memory --memory-units 3", "--memory-units has no effect with --no-memory"),
        ("--mtl --experts 3", "--experts has no effect with --head lowrank"),
        ("--debias-strength 1", "--debias-strength has no effect without --debias"),
        ("--head-decay 1", "--head-decay 1.0: expected 0 without heads (see --mtl)"),
        ("--bias-decay 1", "--bias-decay 1.0: expected 0 without a title bias (see --title-bias)"),
        ("--task-weights count", "--task-weights count: expected equal with a single group"),
        ("--pcgrad", "--pcgrad: expected false with a single group"),
        ("--validation 0 --patience 3", "--patience has no effect with --validation 0"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(tiny_world, options, message):
    assert failing_line("train", tiny_world, *options.split()) == message


@pytest.mark.parametrize(
    ("options", "periods"),
    [
        ("", 0),
        ("--incremental", 3),
        ("--no-incremental", 0),
        ("--incremental --periods 5", 5),
        ("--periods 5", 5),
        ("--no-incremental --periods 0", 0),
        ("--config FILE", 2),
        ("--config FILE --incremental", 3),
        ("--config FILE --no-incremental", 0),
    ],
)
def test_incremental_stands_for_three_periods(tiny_world, tmp_path, monkeypatch, options, periods):
    (tmp_path / "settings.toml").write_text("train.incremental_periods = 2")
    asked = []
    monkeypatch.setattr(
        "twotower.training.job.TrainingJob", lambda _, config, *rest: asked.append(config) or StopHere()
    )
    run(tiny_world, *options.replace("FILE", str(tmp_path / "settings.toml")).split())
    assert [config.train.incremental_periods for config in asked] == [periods]


@pytest.mark.parametrize("options", ["--no-incremental --periods 2", "--incremental --periods 0"])
def test_incremental_and_periods_that_contradict_each_other_are_refused(tiny_world, options):
    assert failing_line("train", tiny_world, *options.split()) == f"{options}: expected one of the two"


def test_incremental_takes_no_more_periods_than_there_are_test_days(tiny_world, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "twotower.training.job.TrainingJob", lambda _, config, *rest: asked.append(config) or StopHere()
    )
    monkeypatch.setattr("twotower.training.job.known_test_days", lambda directory: 2)
    run(tiny_world, "--incremental")
    assert [config.train.incremental_periods for config in asked] == [2]


def test_periods_that_would_do_nothing_are_refused(tiny_world, tmp_path):
    path = tmp_path / "run"
    line = failing_line("train", tiny_world, "--periods", 1, "--run", path)
    assert line == "--periods 1: training continues between periods; expected at least 2, or 0 for none"
    line = failing_line("train", tiny_world, "--periods", 4, "--run", path)
    assert line == f"--periods 4: {tiny_world} has 3 test days; expected at most as many periods"
    assert not path.exists()


def test_evaluations_without_validation_are_refused_wherever_it_was_switched_off(tmp_path):
    (tmp_path / "c.toml").write_text("[train]\nvalidation = 0\n")
    with pytest.raises(InputError, match="--validations-per-epoch has no effect with --validation 0"):
        config(file=tmp_path / "c.toml", validations_per_epoch=2)
    assert config(file=tmp_path / "c.toml", validations_per_epoch=2, validation=0.5).train.validations_per_epoch == 2


# ---------------------------------------------------------------- what overrides what


@pytest.fixture
def file(tmp_path):
    """Write settings to a file."""

    def write(**sections) -> Path:
        (tmp_path / "c.toml").write_text(tomli_w.dumps(sections))
        return tmp_path / "c.toml"

    return write


def test_a_file_overrides_the_preset_and_an_option_the_file(file):
    assert config(preset="paper").model.output == "relu"
    path = file(model={"output": "linear"}, train={"epochs": 7, "seed": 7})
    both = config(preset="paper", file=path, epochs=9)
    assert (both.model.output, both.model.learned_logit) == ("linear", False)
    assert (both.train.epochs, both.train.seed) == (9, 7)


def test_the_papers_preset_shuffles_pairs_and_the_default_keeps_positives_with_their_negatives(file):
    assert config().train.batching == "positives"
    assert config(preset="paper").train.batching == "pairs"
    assert config(preset="paper", file=file(train={"batching": "users"})).train.batching == "users"
    assert config(preset="paper", batching="positives").train.batching == "positives"


def test_mtl_overrides_a_file_without_heads_and_an_option_overrides_mtl(file):
    baseline = file(model={"head": "none", "groups": 1, "title_bias": False})
    assert config(file=baseline).model.multi_task is False
    mtl = config(file=baseline, mtl=True).model
    assert (mtl.head, mtl.title_bias, mtl.groups) == ("lowrank", True, 4)
    own = config(file=baseline, mtl=True, head="residual", title_bias=False, groups=2).model
    assert (own.head, own.title_bias, own.groups) == ("residual", False, 2)


def test_mtl_keeps_the_heads_and_groups_that_a_file_names(file):
    model = config(file=file(model={"head": "plain", "groups": 6}), mtl=True, known=3).model
    assert (model.head, model.title_bias, model.groups) == ("plain", False, 6)
    assert config(file=file(model={"groups": 6}), mtl=True).model.head == "lowrank"


def test_mtl_means_plain_heads_under_the_papers_preset():
    model = config(preset="paper", mtl=True).model
    assert (model.head, model.title_bias, model.output, model.groups) == ("plain", False, "relu", 4)


def test_mtl_takes_the_number_of_groups_that_is_known():
    assert config(mtl=True, known=7).model.groups == 7
    assert config(mtl=True, known=7, groups=3).model.groups == 3
    assert config(mtl=True, known=1).model.groups == 4, "one group is no grouping"


def test_mtl_uses_the_groups_stored_with_the_dataset_or_in_a_file(own_world, tmp_path):
    table = Dataset.open(own_world).territories
    update_territories(own_world, replace(table, group=np.array([2, 1, 0, 2, 1, 0], np.int16)))
    stored = ran(own_world, tmp_path / "stored", "--mtl")
    assert stored.evaluation.territories.group.tolist() == [2, 1, 0, 2, 1, 0]
    lines = [f"{code},{i % 2}" for i, code in enumerate(table.code)]
    (tmp_path / "g.csv").write_text("\n".join(["territory,group", *lines]))
    from_file = ran(own_world, tmp_path / "file", "--mtl", "--grouping", str(tmp_path / "g.csv"))
    assert from_file.evaluation.territories.group.tolist() == [0, 1, 0, 1, 0, 1]


# ---------------------------------------------------------------- what one sees


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working directory with a space in its name."""
    (tmp_path / "my work").mkdir()
    monkeypatch.chdir(tmp_path / "my work")
    return tmp_path / "my work"


def test_a_run_prints_its_table_where_it_lies_and_what_to_do_next(here, tiny_world):
    result = run(tiny_world, "--mtl", "--groups", "2", *TINY)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == "code territory group users pairs positives base rate PR-AUC"
    evaluation = RunReader("runs/001-mtl-2-upsampled").evaluation
    table = evaluation.territories
    tested = {code for code, pairs in zip(table.code, table.pairs, strict=True) if pairs}
    assert tested | {"macro", "overall"} <= {line.split()[0] for line in lines if line.strip()}
    overall = next(line for line in lines if line.startswith("overall"))
    assert overall.split()[-1] == f"{evaluation.overall:.4f}"
    path = "runs/001-mtl-2-upsampled"
    assert lines[-2] == f"Saved to {path}."
    assert lines[-1] == f"Next: twotower evaluate {path} --by title; twotower compare {path} OTHER_RUN"


def test_the_next_command_can_be_pasted(here, tiny_world):
    next_line = run(tiny_world, *TINY, "--run", "my run").stdout.splitlines()[-1]
    command = next_line.removeprefix("Next: ").split(";")[0]
    assert shlex.split(command) == ["twotower", "evaluate", "my run", "--by", "title"]
    assert CliRunner().invoke(cli, shlex.split(command)[1:]).exit_code == 0


def test_training_twice_numbers_the_runs(here, tiny_world):
    for _ in range(2):
        assert run(tiny_world, *TINY).exit_code == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["001-baseline-upsampled", "002-baseline-upsampled"]


def test_a_label_names_the_method_and_the_directory(here, tiny_world):
    assert run(tiny_world, *TINY, "--label", "mine").exit_code == 0
    assert RunReader("runs/001-mine").label == "mine"


def test_where_there_is_no_terminal_progress_is_plain_lines(here, tiny_world):
    err = run(tiny_world, *TINY).stderr
    assert "\x1b" not in err and "\r" not in err
    stages = ["checking vectors", "preparing kernels", "epoch 1/1", "validation", "scoring the test pairs"]
    found = [next(i for i, line in enumerate(err.splitlines()) if line.startswith(s)) for s in stages]
    assert found == sorted(found)
    epoch = next(line for line in err.splitlines() if line.startswith("epoch 1/1"))
    assert "loss 0." in epoch and "pairs" not in epoch


def test_a_long_epoch_is_never_silent(here, tiny_world, monkeypatch):
    """With a clock that runs a second at every look, a line comes at least every third second."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(progress.Lines, "clock", None, raising=False)
    make = progress.Lines.__init__
    monkeypatch.setattr(progress.Lines, "__init__", lambda self, stream, _: make(self, stream, lambda: next(seconds)))
    err = run(tiny_world, "--hidden", "4", "--batch-size", "16", "--epochs", "1").stderr
    lines = [line for line in err.splitlines() if line.startswith("epoch 1/1")]
    assert len(lines) > 10 and all("left" in line and "/s" in line and "loss" in line for line in lines[:-1])


def test_an_interrupted_run_says_how_to_go_on_and_does(here, tiny_world, monkeypatch):
    @contextmanager
    def pressing_ctrl_c():
        yield interrupt_at("epoch 2/3")

    with monkeypatch.context() as patch:
        patch.setattr(progress, "show_progress", pressing_ctrl_c)
        stopped = run(tiny_world, *TINY, "--epochs", "3")
    assert stopped.exit_code == 130
    end, hint = stopped.stderr.splitlines()
    assert (hint, end) == ("Resume with: twotower train --resume runs/001-baseline-upsampled", "twotower: interrupted")
    resumed = CliRunner().invoke(cli, shlex.split(hint.removeprefix("Resume with: "))[1:])
    assert resumed.exit_code == 0 and "Saved to runs/001-baseline-upsampled" in resumed.stdout
    assert RunReader("runs/001-baseline-upsampled").config["train"]["epochs"] == 3


def test_the_run_is_readable_by_machines(here, tiny_world):
    path = ran(tiny_world, "run", "--mtl", "--groups", "2").path
    assert all(json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines())
    assert json.loads((path / "environment.json").read_text())["gemm"]


def test_mtl_draws_its_heads_to_what_all_share_unless_told_otherwise(tmp_path):
    assert config(mtl=True).train.head_decay == 10
    assert config(mtl=True).train.bias_decay == 30
    assert config(mtl=True, head_decay=0.0).train.head_decay == 0
    assert config(mtl=True, bias_decay=0.0).train.bias_decay == 0
    assert config(mtl=True, title_bias=False).train.bias_decay == 0  # there is none to draw
    assert config(mtl=True, learning_rate=0.5).train.head_decay == 0.2  # or the heads would be gone in a step
    assert config(mtl=True, head="plain").train.head_decay == 0  # it would draw it to nothing
    assert config(mtl=True, preset="paper").train.head_decay == 0
    assert config().train.head_decay == 0
    path = tmp_path / "settings.toml"
    path.write_text("[train]\nhead_decay = 2.0\n")
    assert config(mtl=True, file=path).train.head_decay == 2
    path.write_text("train = 3\n")
    with pytest.raises(InputError, match="a table of settings"):
        config(mtl=True, file=path)
