"""Scores of pairs: in the pairs' order, whatever the batches, and only of the dataset that a model knows."""

from dataclasses import replace

import numpy as np
import pytest
from sealing import reseal
from tiny_runs import MTL, make_trainer, train

from twotower.core.errors import InputError
from twotower.data.batches import Batcher
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import update_territories, write_vectors
from twotower.data.sample import Pairs, Sample
from twotower.serving.open_run import score_pairs
from twotower.training import predict
from twotower.training.predict import make_scorer, predict_pairs, user_groups
from twotower.training.run import RunReader


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory) -> RunReader:
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MTL)


@pytest.fixture(scope="module")
def pairs(tiny_world) -> Pairs:
    """The test pairs, in an order of no meaning."""
    pairs = Sample(Dataset.open(tiny_world)).test_pairs()
    return pairs.take(np.random.default_rng(5).permutation(len(pairs)))


def test_scores_are_in_the_order_of_the_pairs(tiny_world, run, pairs):
    data = Dataset.open(tiny_world)
    scores = score_pairs(run.path, data, pairs)
    assert scores.dtype == np.float32 and len(scores) == len(pairs)
    backwards = pairs.take(np.arange(len(pairs))[::-1])
    np.testing.assert_allclose(score_pairs(run.path, data, backwards), scores[::-1], rtol=1e-4, atol=1e-5)
    one = pairs.take(np.array([7]))
    np.testing.assert_allclose(score_pairs(run.path, data, one), scores[[7]], rtol=1e-4, atol=1e-5)


def test_scores_are_those_of_the_run(tiny_world, run):
    data = Dataset.open(tiny_world)
    np.testing.assert_array_equal(score_pairs(run.path, data, Sample(data).test_pairs()), run.scores)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 10**4])
def test_the_size_of_the_batches_changes_no_score(tiny_world, pairs, monkeypatch, batch_size):
    trainer = make_trainer(tiny_world, MTL)
    expected = predict_pairs(trainer.model, trainer.scorer, pairs)
    monkeypatch.setattr(predict, "SCORING_BATCH", batch_size)
    scorer = make_scorer(trainer.model, trainer.dataset, trainer.territory_group)
    np.testing.assert_allclose(predict_pairs(trainer.model, scorer, pairs), expected, rtol=1e-4, atol=1e-5)


def test_it_equals_the_model_on_a_small_batch(tiny_world, pairs):
    trainer = make_trainer(tiny_world, MTL)
    few = pairs.take(np.arange(9))
    tables = trainer.dataset.user_vectors, trainer.dataset.title_vectors
    batch = Batcher(*tables, trainer.members, 2, 16).batch(few.user, few.title, few.label)
    by_model = np.empty(9, np.float32)
    by_model[batch.order] = trainer.model.predict(batch)
    np.testing.assert_allclose(predict_pairs(trainer.model, trainer.scorer, few), by_model, rtol=1e-4, atol=1e-5)


def test_scoring_reports_its_progress(tiny_world, pairs, monkeypatch):
    trainer = make_trainer(tiny_world)
    half = len(pairs) // 2 + 1
    monkeypatch.setattr(predict, "SCORING_BATCH", half)
    scorer, seen = make_scorer(trainer.model, trainer.dataset, trainer.territory_group), []
    predict_pairs(trainer.model, scorer, pairs, lambda *where: seen.append(where), "looking")
    assert seen == [("looking", half, len(pairs)), ("looking", len(pairs), len(pairs))]


def test_no_pairs_have_no_scores(tiny_world, pairs):
    trainer = make_trainer(tiny_world)
    assert predict_pairs(trainer.model, trainer.scorer, pairs.take(slice(0, 0))).shape == (0,)


def test_users_have_the_group_of_their_territory(tiny_world):
    data = Dataset.open(tiny_world)
    groups = np.array([1, 0, 1, 0, 0, 1], np.int16)
    members = user_groups(data, groups, 2)
    assert all(members[user] == groups[data.user_territory[user]] for user in range(data.n_users))
    assert not user_groups(data, np.full(6, -1), 1).any(), "one group needs no grouping"


def test_vectors_of_another_width_are_refused(own_world, run, pairs):
    write_vectors(own_world, user_vectors=np.zeros((300, 5), np.float32))
    with pytest.raises(InputError, match=r"its vectors are \(5, \d+\) wide; .*mtl was trained on \(16, \d+\)"):
        score_pairs(run.path, Dataset.open(own_world), pairs)


def test_other_territories_are_refused(own_world, run, pairs):
    table = Dataset.open(own_world).territories
    update_territories(own_world, replace(table, code=["XX", *table.code[1:]]))
    with pytest.raises(InputError, match=r"its territories are not those that .*mtl was trained on"):
        score_pairs(run.path, Dataset.open(own_world), pairs)


def test_vectors_that_were_made_anew_are_refused_and_own_ones_are_not(own_world, run, pairs):
    data = Dataset.open(own_world)
    other = np.roll(data.user_vectors, 1, axis=0)
    parts = {"user_parts": [["own", other.shape[1]]], "title_parts": [["own", 3], ["territory", 2]]}
    write_vectors(own_world, user_vectors=other, record=parts)
    assert np.isfinite(score_pairs(run.path, Dataset.open(own_world), pairs)).all()
    write_vectors(own_world, user_vectors=other, record=parts | {"title_parts": [["history", 5]]})
    with pytest.raises(InputError, match=r"its vectors are not those that .*mtl was trained on"):
        score_pairs(run.path, Dataset.open(own_world), pairs)
    write_vectors(own_world, user_vectors=data.user_vectors, record=parts | {"title_parts": [["history", 5]]})
    np.testing.assert_array_equal(
        score_pairs(run.path, Dataset.open(own_world), pairs),
        score_pairs(run.path, data, pairs),
    )


def test_offsets_of_other_titles_are_refused(own_world, run, pairs):
    data = Dataset.open(own_world)
    data.titles["title"][:2] = reversed(data.titles["title"][:2])
    with pytest.raises(InputError, match=r"other titles; .*mtl has offsets for the \d+ titles that it was trained on"):
        score_pairs(run.path, data, pairs)


def test_a_new_grouping_of_the_dataset_does_not_change_an_old_run(own_world, run, pairs):
    expected = score_pairs(run.path, Dataset.open(own_world), pairs)
    table = Dataset.open(own_world).territories
    update_territories(own_world, replace(table, group=1 - run.evaluation.territories.group.astype(np.int16)))
    np.testing.assert_array_equal(score_pairs(run.path, Dataset.open(own_world), pairs), expected)


def test_a_group_that_the_model_has_not_is_refused(tiny_world, tmp_path, pairs):
    path = train(tiny_world, tmp_path / "run", MTL).path
    table = path / "territories.csv"
    table.write_text(table.read_text().replace(",1,", ",7,", 1))
    reseal(path, "run.json")
    with pytest.raises(InputError, match=r"run.territories\.csv: groups from 0 to 7, expected 0 to 1"):
        score_pairs(path, Dataset.open(tiny_world), pairs)


def test_a_run_that_is_none_is_refused(tiny_world, tmp_path, pairs):
    with pytest.raises(InputError, match="no such run"):
        score_pairs(tmp_path / "nowhere", Dataset.open(tiny_world), pairs)
