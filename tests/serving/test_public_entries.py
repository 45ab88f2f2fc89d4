"""Public names refuse wrong arguments before a compiled kernel sees them."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_runs import MTL, small_config, train

from twotower import TrainingJob, open_model, score_pairs
from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.serving.export import export
from twotower.serving.recommend import recommend

BAD_USERS = [
    (np.array([0.0, 1.9]), "users is float64, expected integers"),
    (np.array([[0, 1]]), "users has shape"),
    (np.array([0, 300]), "users goes from 0 to 300, expected 0 to 299"),
    (np.array([-1]), "users goes from -1 to -1"),
]


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory):
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MTL, epochs=1).path


@pytest.mark.parametrize(("users", "message"), BAD_USERS)
def test_users_that_are_no_rows_are_refused(run, tiny_world, tmp_path, users, message):
    dataset = Dataset.open(tiny_world)
    for call in (
        lambda: recommend(run, dataset, users),
        lambda: export(run, dataset, tmp_path / "out", users),
        lambda: open_model(run, dataset, users),
    ):
        with pytest.raises((ValueError, IndexError), match=message):
            call()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"top": 0}, "top 0: expected a whole number of at least 1"),
    ({"top": 2.5}, "top 2.5: expected a whole number"),
    ({"day": -1}, "--day -1: .* has the days 0 to"),
    ({"day": 1.5}, "--day 1.5: .* has the days 0 to"),
    ({"users": np.array([3, 3])}, "each may occur only once"),
])  # fmt: skip
def test_recommend_refuses_what_it_cannot_do(run, tiny_world, arguments, message):
    with pytest.raises(ValueError, match=message):
        recommend(run, Dataset.open(tiny_world), **arguments)


@pytest.mark.parametrize(("changed", "message"), [
    ({"user": np.array([0, 300])}, "user goes from 0 to 300"),
    ({"user": np.array([0.0, 1.9])}, "user is float64"),
    ({"title": np.array([0, 30])}, "title goes from 0 to 30"),
    ({"title": np.array([0])}, r"title has shape \(1,\), expected \(2,\)"),
    ({"label": np.array([0.0, np.nan])}, "label: expected 0 or 1"),
    ({"label": np.array([0.0, 7.0])}, "label: expected 0 or 1"),
])  # fmt: skip
def test_pairs_that_are_none_are_refused(run, tiny_world, changed, message):
    pairs = {"user": np.array([0, 1]), "title": np.array([0, 1]), "label": np.array([0.0, 1.0])}
    with pytest.raises((ValueError, IndexError), match=message):
        score_pairs(run, Dataset.open(tiny_world), SimpleNamespace(**pairs | changed))


def test_a_job_takes_paths_as_texts_and_no_other_configuration(tiny_world, tmp_path):
    path, _ = TrainingJob(str(tiny_world), small_config(epochs=1), run_path=str(tmp_path / "run")).run()
    assert path == tmp_path / "run"
    with pytest.raises(TypeError, match="config is dict, expected Config"):
        TrainingJob(tiny_world, {"model": {}})


def test_a_run_is_named_by_a_text_too(run, tiny_world):
    assert len(recommend(str(run), Dataset.open(tiny_world), top=1).title) == 300
    with pytest.raises(InputError, match="nowhere: no such run"):
        open_model("nowhere", Dataset.open(tiny_world))
