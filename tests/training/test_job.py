"""From a directory to a run: what is made on the way, how groups are chosen, where runs lie."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_runs import MTL, small_config

from twotower.core.config import ModelConfig
from twotower.core.errors import InputError
from twotower.core.progress import silent
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import update_territories
from twotower.data.grouping import geographic_groups
from twotower.data.sample import Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampler import sample
from twotower.training import job
from twotower.training.checkpoint import load_model
from twotower.training.job import (
    TrainingJob,
    check_place,
    choose_groups,
    default_label,
    known_groups,
    open_dataset,
    open_sample,
)
from twotower.training.run import RunReader


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def group_of(world, groups):
    """Store groups with a dataset, as grouping does."""
    table = Dataset.open(world).territories
    update_territories(world, replace(table, group=np.array(groups, np.int16)))
    return Dataset.open(world).territories


# ---------------------------------------------------------------- what is made on the way


@pytest.fixture
def worlds_made(tiny_world, monkeypatch) -> list:
    """The built-in world is the tiny one here; where it was made."""
    made = []

    def copy_tiny_world(directory, progress):
        made.append(directory)
        shutil.copytree(tiny_world, directory)

    monkeypatch.setattr(job, "simulate", copy_tiny_world)
    return made


@pytest.mark.parametrize("directory", ["world", "./world"])
def test_the_built_in_world_is_made_in_its_usual_place_once(here, worlds_made, directory):
    for _ in range(2):
        assert open_dataset(Path(directory), silent).n_users == 300
    assert worlds_made == [Path("world")]


@pytest.mark.parametrize("directory", ["lastfm", "other/world", "worlds"])
def test_no_other_directory_is_made(here, worlds_made, directory):
    with pytest.raises(InputError, match=f"{directory}: no such directory; expected a dataset"):
        open_dataset(Path(directory), silent)
    assert not worlds_made and list(here.iterdir()) == []


def test_a_damaged_world_is_named_and_not_replaced(here, worlds_made):
    open_dataset(Path("world"), silent)
    (here / "world" / "titles.csv").unlink()
    with pytest.raises(InputError, match=r"world/titles\.csv: missing"):
        open_dataset(Path("world"), silent)
    assert len(worlds_made) == 1


@pytest.mark.parametrize("what", ["world", "sample"])
def test_runs_that_start_together_share_what_the_faster_one_made(here, tiny_world, monkeypatch, what):
    def slowly(make):
        def made_meanwhile(*values, **named):
            shutil.copytree(tiny_world, "world", dirs_exist_ok=True)  # by somebody else
            return make(*values, **named)

        return made_meanwhile

    if what == "world":
        monkeypatch.setattr(job, "simulate", slowly(job.simulate))
    else:
        shutil.copytree(tiny_world, "world")
        shutil.rmtree("world/samples")
        monkeypatch.setattr(job, "sample", slowly(job.sample))
    drawn = open_sample(open_dataset(Path("world"), silent), "default", silent)
    assert drawn.train_pairs().digest() == Sample(Dataset.open(tiny_world)).train_pairs().digest()
    assert [path.name for path in here.iterdir()] == ["world"]


def test_the_world_that_is_made_is_the_built_in_one(here, monkeypatch):
    asked = []
    monkeypatch.setattr(job, "simulate", lambda *values, **named: asked.append((values, named)))
    with pytest.raises(InputError, match="no such directory"):
        open_dataset(Path("world"), silent)
    assert asked == [((Path("world"),), {"progress": silent})], "no size of its own"


def test_the_default_sample_is_drawn_where_there_is_none(own_world):
    expected = Sample(Dataset.open(own_world)).train_pairs().digest()
    shutil.rmtree(own_world / "samples")
    drawn = open_sample(Dataset.open(own_world), "default", silent)
    assert drawn.train_pairs().digest() == expected, "with the default settings"


def test_no_other_sample_is_drawn(own_world):
    with pytest.raises(InputError, match=r"no sample 'big' \(samples: default[^)]*\); make one with: twotower sample"):
        open_sample(Dataset.open(own_world), "big", silent)


def test_a_damaged_default_sample_is_named_and_not_replaced(own_world):
    (own_world / "samples" / "default" / "manifest.json").unlink()
    with pytest.raises(InputError, match="default: not a sample"):
        open_sample(Dataset.open(own_world), "default", silent)


def test_a_run_learns_from_the_sample_it_is_told_to(own_world, tmp_path):
    sample(Dataset.open(own_world), SampleConfig(random_users=20, active_users=0), name="small")
    job = TrainingJob(own_world, small_config(), sample_name="small", run_path=tmp_path / "run")
    job.run(silent)
    run = RunReader(tmp_path / "run")
    assert (run.sample, run.label) == ("small", "baseline")
    assert run.test_digest == Sample(Dataset.open(own_world), "small").test_pairs().digest()


# ---------------------------------------------------------------- groups


def test_one_group_is_no_grouping(own_world):
    table = group_of(own_world, [0, 1, 2, 0, 1, 2])
    assert choose_groups(table, 1).tolist() == [0] * 6


def test_stored_groups_are_used_when_they_are_as_many(own_world):
    table = group_of(own_world, [2, 1, 0, 2, 1, 0])
    assert choose_groups(table, 3).tolist() == [2, 1, 0, 2, 1, 0]
    assert set(choose_groups(table, 2).tolist()) == {0, 1}, "other numbers are grouped geographically"


@pytest.mark.parametrize("stored", [[-1] * 6, [0, 1, -1, 0, 1, 0]])
def test_where_groups_are_missing_they_are_geographic(own_world, stored):
    table = group_of(own_world, stored)
    np.testing.assert_array_equal(choose_groups(table, 2), geographic_groups(table, 2))


def test_more_groups_than_territories_are_refused(tiny_world):
    with pytest.raises(InputError, match="7 groups for 6 territories: expected --groups from 1 to 6"):
        choose_groups(Dataset.open(tiny_world).territories, 7)


@pytest.fixture
def grouping(tiny_world, tmp_path) -> Path:
    """A file with three groups."""
    codes = Dataset.open(tiny_world).territories.code
    lines = [f"{code},{i % 3}" for i, code in enumerate(codes)]
    (tmp_path / "groups.csv").write_text("\n".join(["territory,group", *lines]) + "\n")
    return tmp_path / "groups.csv"


def test_a_file_of_groups_comes_before_stored_ones(own_world, grouping):
    table = group_of(own_world, [0, 0, 1, 1, 2, 2])
    assert choose_groups(table, 3, grouping).tolist() == [0, 1, 2, 0, 1, 2]


def test_a_file_with_another_number_of_groups_is_refused(tiny_world, grouping):
    with pytest.raises(InputError, match=r"groups\.csv: 3 groups, but the model has 4 \(see --mtl and --groups\)"):
        choose_groups(Dataset.open(tiny_world).territories, 4, grouping)


def test_the_number_of_groups_is_known_from_a_file_or_the_dataset(here, own_world, grouping):
    assert known_groups(own_world) is None
    assert known_groups(own_world, grouping) == 3
    group_of(own_world, [0, 1, 2, 3, 4, 0])
    assert known_groups(own_world) == 5
    assert known_groups(Path("world"), grouping) is None, "the territories of a world to be made are not known yet"


def test_the_groups_of_a_run_are_kept_with_it(own_world, grouping, tmp_path):
    config = small_config(MTL | {"groups": 3})
    TrainingJob(own_world, config, grouping=grouping, run_path=tmp_path / "run").run(silent)
    run = RunReader(tmp_path / "run")
    assert run.evaluation.territories.group.tolist() == [0, 1, 2, 0, 1, 2]
    assert run.label == "mtl-3-upsampled"
    assert load_model(run.weights_path).config == config.model


@pytest.mark.parametrize(
    ("model", "active", "label"),
    [
        (ModelConfig(), [False], "baseline"),
        (ModelConfig(), [False, True], "baseline-upsampled"),
        (ModelConfig(head="plain", groups=4), [False], "mtl-4"),
        (ModelConfig(title_bias=True, groups=2), [True], "mtl-2-upsampled"),
        (ModelConfig(head="residual"), [False], "mtl-1"),
    ],
)
def test_a_label_says_what_method_a_run_is(model, active, label):
    assert default_label(model, SimpleNamespace(active=np.array(active))) == label


# ---------------------------------------------------------------- where runs lie


def test_runs_are_numbered_and_their_settings_kept(here, tiny_world):
    paths = [TrainingJob(tiny_world, small_config(), label=label).run(silent)[0] for label in ("a", "b", "a")]
    assert paths == [Path("runs/001-a"), Path("runs/002-b"), Path("runs/003-a")]
    assert RunReader("runs/002-b").config == small_config().to_dict()


def test_runs_may_be_started_side_by_side(here, tiny_world, monkeypatch):
    """Another process takes the number between the question and the answer."""
    ask = job.next_run_path

    def ask_slowly(root, label):
        path = ask(root, label)
        if path.name == "001-a" and Trainer.made:
            path.mkdir(parents=True)
        return path

    class Trainer(job.Trainer):
        made = False

        def __init__(self, *arguments):
            super().__init__(*arguments)
            Trainer.made = True

    monkeypatch.setattr(job, "next_run_path", ask_slowly)
    monkeypatch.setattr(job, "Trainer", Trainer)
    path, _ = TrainingJob(tiny_world, small_config(), label="a").run(silent)
    assert path == Path("runs/002-a") and not list(Path("runs/001-a").iterdir())


@pytest.mark.parametrize(
    ("run_path", "label", "message"),
    [
        ("taken", None, "taken: exists already; give another directory"),
        ("file/run", None, r"file/run: cannot write in .*file"),
        (None, "a/b", "--label 'a/b': expected letters"),
    ],
)
def test_a_place_where_no_run_can_lie_is_refused_before_any_work(here, worlds_made, run_path, label, message):
    Path("taken").mkdir()
    Path("file").write_text("")
    job = TrainingJob(Path("world"), small_config(), run_path=run_path and Path(run_path), label=label)
    with pytest.raises(InputError, match=message):
        job.run(silent)
    assert not worlds_made


def test_a_directory_without_permission_is_refused_before_any_work(here, monkeypatch):
    monkeypatch.setattr(job.os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"runs/001-baseline: cannot write in .*here"):
        check_place(None, None)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # without the JIT NumPy tells of overflows, too
def test_nothing_remains_of_a_run_that_failed_before_its_first_epoch(here, tiny_world):
    with pytest.raises(InputError, match="train with a --learning-rate below"):
        TrainingJob(tiny_world, small_config(learning_rate=1e25), run_path=Path("run")).run(silent)
    assert list(here.iterdir()) == []
