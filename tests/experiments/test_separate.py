"""A model for each group of territories: each learns from its own users, and together they are one run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_experiments import run_tiny
from tiny_runs import failing_line

from twotower.core.errors import InputError
from twotower.core.progress import silent
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.experiments.panel import score_all
from twotower.experiments.separate import OfTerritories, members_of
from twotower.metrics.average_precision import average_precision
from twotower.serving.open_run import open_model
from twotower.training.checkpoint import load_model
from twotower.training.run import RunReader
from twotower.training.validation import split_users


@pytest.fixture(scope="module")
def separate(tiny_world, tmp_path_factory):
    """An experiment with separate models, its record, and the world that it was made in."""
    folder = tmp_path_factory.mktemp("separate")
    world = Path(shutil.copytree(tiny_world, folder / "world"))
    record = run_tiny(world, folder / "e", "--periods", 2, methods="upsampled,separate,finetune,mtl")
    return world, folder / "e", record


def test_separate_models_learn_from_their_own_users_alone(separate):
    world, path, _ = separate
    whole = RunReader(path / "runs/separate-0")
    dataset = Dataset.open(world)
    sampled = Sample(dataset, whole.sample)
    group, pairs = whole.evaluation.territories.group, sampled.test_pairs()
    of_pair = np.asarray(group)[np.asarray(dataset.user_territory)[pairs.user]]
    assert [part.name for part in whole.parts] == ["group-0", "group-1"]
    for k, part in enumerate(whole.parts):
        run = RunReader(part)
        assert np.array_equal(run.scores, whole.scores[of_pair == k])
        assert np.array_equal(members_of(part, dataset), np.asarray(group)[np.asarray(dataset.user_territory)] == k)
        assert load_model(run.weights_path).config.head == "none"
        trained = sum(sum(line["pairs_by_group"]) for line in run.log if line.get("epoch") == 1)
        of_group = OfTerritories(dataset, whole.sample, np.flatnonzero(np.asarray(group) == k))
        everyone, mine = sampled.train_pairs(), of_group.train_pairs()
        of_user = np.asarray(group)[np.asarray(dataset.user_territory)]
        assert mine.digest() == everyone.take(of_user[everyone.user] == k).digest()
        kept, held_out = split_users(of_group.train_pairs(), of_group, 0.1, seed=0)
        assert trained == len(kept) and len(kept) + len(held_out) == len(mine)


def test_separate_models_are_judged_like_all_others(separate):
    _, path, record = separate
    whole = RunReader(path / "runs/separate-0")
    pairs = Sample(Dataset.open(separate[0]), whole.sample).test_pairs()
    assert record["pr_auc"]["separate"]["average"] and record["bias"]["separate"]["overall"]["coverage"][0] > 0
    assert whole.overall == pytest.approx(average_precision(pairs.label, whole.scores))


def test_all_titles_are_scored_by_the_model_of_the_user(separate):
    world, path, _ = separate
    dataset, whole = Dataset.open(world), RunReader(path / "runs/separate-0")
    rows = np.arange(40)
    scores = score_all(whole.path, dataset, rows, silent)
    for part in whole.parts:
        mine = members_of(part, dataset)[rows]
        assert np.array_equal(scores[mine], score_all(part, dataset, rows[mine], silent)) and mine.any()


@pytest.mark.parametrize("method", ["separate", "finetune"])
def test_an_interrupted_method_goes_on_where_it_was(separate, tmp_path, method):
    path, runs = Path(shutil.copytree(separate[1], tmp_path / "e")), separate[1] / "runs"
    interrupted, part = path / f"runs/{method}-0", path / f"runs/{method}-0/group-1"
    before = (interrupted / "group-0/run.json").stat().st_mtime_ns
    (interrupted / "run.json").unlink()
    shutil.rmtree(part)
    assert "one of several models of an experiment" in failing_line("train", "--resume", interrupted)
    run_tiny(separate[0], path, "--periods", 2, methods="upsampled,separate,finetune,mtl")
    assert (interrupted / "group-0/run.json").stat().st_mtime_ns == before, "what had finished was not made again"
    for name in ("group-1/weights.safetensors", "predictions/scores.npy"):
        assert (interrupted / name).read_bytes() == (runs / f"{method}-0" / name).read_bytes()
    assert not list(interrupted.rglob("training.safetensors"))


def test_a_run_of_several_models_says_so_where_one_is_needed(separate):
    path = separate[1] / "runs/separate-0"
    with pytest.raises(InputError, match="consists of 2 models without common weights; expected one of them, such as"):
        open_model(path, Dataset.open(separate[0]))


def test_tuned_models_share_all_but_the_last_layer_of_users_and_are_judged_like_all_others(separate):
    _, path, record = separate
    parts = [load_model(RunReader(path / f"runs/finetune-0/group-{k}").weights_path).params for k in range(2)]
    bottom = [name for name in parts[0] if name.startswith(("user.W1", "user.gamma1", "user.beta1", "title."))]
    assert len(bottom) == 9 and all(np.array_equal(parts[0][name], parts[1][name]) for name in bottom)
    assert not any(np.array_equal(parts[0][name], parts[1][name]) for name in ("user.W2", "memory.w", "logit.scale"))
    assert "finetune" in record["bias"] and np.isfinite(RunReader(path / "runs/finetune-0").scores).all()
