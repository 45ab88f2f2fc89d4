"""A network with memory: trained, resumed, updated, scored and served to the same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_experiments import run_tiny
from tiny_runs import MTL, NoWriter, failing_line, interrupt_at, make_trainer, train

from twotower.cli import cli
from twotower.core.progress import silent
from twotower.data.dataset import Dataset
from twotower.data.memory.files import load_memory
from twotower.data.memory.memory import TERMS
from twotower.data.memory.regression import logistic_regression
from twotower.data.sample import Sample
from twotower.experiments.panel import score_all
from twotower.metrics.average_precision import average_precision
from twotower.model.engine.topk import NO_TITLE
from twotower.model.memory import MemoryWeights
from twotower.serving.open_run import open_model, score_pairs
from twotower.serving.ranker import user_terms
from twotower.serving.recommend import recommend
from twotower.training.job import resume
from twotower.training.run import MEMORY, RunReader

WITH = MTL | {"memory": True, "title_offsets": "territory"}


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory) -> RunReader:
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "memory", WITH, incremental_periods=3)


def test_terms_have_mean_0_and_spread_1_over_the_training_pairs(tiny_world):
    trainer = make_trainer(tiny_world, WITH)
    m = np.concatenate([trainer.pairs.memory, trainer.held_out.memory])
    assert m.shape == (len(trainer.learned), len(TERMS))
    np.testing.assert_allclose(m.mean(0), 0, atol=1e-3)
    spread = m.std(0)
    assert (np.isclose(spread, 1, atol=1e-3) | (spread < 1e-3)).all() and (spread > 0.9).sum() >= 8
    np.testing.assert_array_equal(trainer.model.params["memory.d"], 0)
    assert np.abs(trainer.model.params["memory.w"]).max() > 0.01


def test_memory_predicts_what_test_users_watch(tiny_world, tmp_path):
    trainer = make_trainer(tiny_world, {"memory": True}, epochs=1)
    test = Sample(trainer.dataset).test_pairs()
    for name, value in trainer.model.params.items():
        if name == "logit.scale":
            value[...] = 0  # memory alone
    found = average_precision(test.label, trainer.predict(test))
    assert found > 1.3 * test.label.mean()


def test_the_terms_of_training_pairs_do_not_hold_their_own_labels(tiny_world):
    """With labels at random, memory that counted them would tell them apart."""
    trainer = make_trainer(tiny_world, {"memory": True})
    own, full = trainer.learned.memory, trainer.memory.of_pairs(trainer.learned.user, trainer.learned.title)
    column = TERMS.index("labels, territory")
    label = trainer.learned.label
    fair, leaky = (np.corrcoef(m[:, column], label)[0, 1] for m in (own, full))
    assert leaky > fair + 0.1


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_on_any_number_of_threads(tiny_world, tmp_path, run, threads):
    again = train(tiny_world, tmp_path / "run", WITH, incremental_periods=3, threads=threads)
    np.testing.assert_array_equal(again.scores, run.scores)


def test_an_interrupted_run_ends_as_if_nothing_had_been(tiny_world, tmp_path, run):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(tiny_world, path, WITH, interrupt_at("epoch 2/2"), incremental_periods=3)
    resume(path, silent)
    np.testing.assert_array_equal(RunReader(path).scores, run.scores)


def test_later_days_are_remembered_before_the_next_are_evaluated(tiny_world, tmp_path):
    trainer = make_trainer(tiny_world, WITH, epochs=1)
    before, sampled = trainer.memory, Sample(trainer.dataset)
    trainer.run(NoWriter(tmp_path))
    trainer.update(sampled.update(8), NoWriter(tmp_path))
    assert not np.array_equal(trainer.memory.tables, before.tables)
    np.testing.assert_array_equal(trainer.memory.mean, before.mean)
    assert trainer.learned.memory is not None and len(trainer.learned.memory) == len(trainer.learned)


def test_a_saved_memory_is_the_one_that_scored(tiny_world, run):
    dataset, sampled = Dataset.open(tiny_world), Sample(Dataset.open(tiny_world))
    last = sampled.test(10)
    stored = run.scores[sampled.test_pairs().day == 10]
    np.testing.assert_allclose(score_pairs(run.path, dataset, last), stored, rtol=1e-5, atol=1e-5)


def test_recommendations_and_panels_score_as_pairs_do(tiny_world, run):
    dataset = Dataset.open(tiny_world)
    users = np.arange(0, dataset.n_users, 7)
    n = dataset.n_titles
    every = SimpleNamespace(
        user=np.repeat(users, n), title=np.tile(np.arange(n), len(users)), label=np.zeros(len(users) * n)
    )
    expected = score_pairs(run.path, dataset, every).reshape(len(users), n)
    np.testing.assert_allclose(score_all(run.path, dataset, users, silent), expected, rtol=1e-4, atol=1e-4)
    best = recommend(run.path, dataset, users, top=4)
    for row in range(len(users)):
        given = best.title[row] != NO_TITLE
        np.testing.assert_allclose(best.score[row][given], expected[row][best.title[row][given]], rtol=1e-4, atol=1e-4)


def test_every_method_of_an_experiment_may_have_memory(own_world, tmp_path):
    record = run_tiny(own_world, tmp_path / "e", "--memory", methods="upsampled,mtl")
    assert all(method["settings"]["model"]["memory"] for method in record["methods"])


def test_a_score_with_memory_is_explained(run):
    result = CliRunner().invoke(cli, ["explain", str(run.path), "--user", "77", "--title", "#11"])
    assert result.exit_code == 0, result.output
    for words in ("⟨m, w + d⟩", "memory term", "labels, territory", "of the group", "history are neighbours of"):
        assert words in result.stdout


@pytest.mark.parametrize("command", ["gradcheck", "inspect", "leaks"])
def test_a_network_with_memory_can_be_looked_into(run, command):
    result = CliRunner().invoke(cli, [command, str(run.path), "--json"])
    assert result.exit_code == 0, result.output
    if command != "leaks":
        assert "memory.w" in result.stdout and "memory.d" in result.stdout


def test_weights_start_without_the_labels_of_validation_users(tiny_world):
    trainer = make_trainer(tiny_world, {"memory": True, "memory_units": 0}, validation=0.3)
    expected, _ = logistic_regression(trainer.pairs.memory, trainer.pairs.label)
    np.testing.assert_allclose(trainer.model.params["memory.w"], expected, rtol=1e-5)
    everything, _ = logistic_regression(trainer.learned.memory, trainer.learned.label)
    assert np.abs(everything - expected).max() > 1e-3


def test_recommendations_do_not_depend_on_the_order_of_blocks(tiny_world, run):
    memory = load_memory(run.path / MEMORY, Dataset.open(tiny_world))
    rng, rows = np.random.default_rng(0), np.array([3, 1, 4, 15, 9, 2])
    w, A, v = (rng.normal(size=n).astype(np.float32) for n in ((6, len(TERMS)), (len(TERMS) + 1, 5), (6, 5)))
    layer = memory.layer(A)
    expected = memory.of_users(rows, w, None, layer, v)
    add = user_terms(memory, rows, MemoryWeights(w, A, v), layer)
    tiles = np.array([0, 2, 4]), np.array([1, 3, 5])
    for which, first in ((tiles[0], 10), (tiles[1], 0), (tiles[1], 20), (tiles[0], 0), (tiles[1], 10)):
        dots = np.zeros((3, 10), np.float32)
        add(which, first, dots)
        np.testing.assert_array_equal(dots, expected[which, first : first + 10])


@pytest.mark.parametrize("how", ["one territory", "ungrouped", "no times"])
def test_a_poor_dataset_has_a_memory(tmp_path, how):
    """One territory, no groups, one day; each is scored with finite numbers."""
    rng, lines = np.random.default_rng(1), ["user,title,territory,time"]
    for user in range(60):
        for title in rng.choice(12, 2, replace=False):
            place = "DE" if how == "one territory" else ("DE", "FR", "PL")[user % 3]
            lines.append(f"u{user},t{title},{place},2024-01-{rng.integers(1, 9):02d}")
    (tmp_path / "log.csv").write_text("\n".join(lines))
    time = [] if how == "no times" else ["--time", "time"]
    commands = [
        ["import", tmp_path / "d", "--events", tmp_path / "log.csv", *time],
        ["embed", tmp_path / "d", "--user-dims", 2, "--text-dims", 2],
        ["sample", tmp_path / "d"],
        ["train", tmp_path / "d", "--memory", "--hidden", 8, "--epochs", 1, "--run", tmp_path / "run"],
        ["recommend", tmp_path / "run", "--out", tmp_path / "best.csv"],
        ["evaluate", tmp_path / "run"],
    ]
    for command in commands:
        result = CliRunner().invoke(cli, [str(part) for part in command])
        assert result.exit_code == 0, (command, result.output)
    assert np.isfinite(RunReader(tmp_path / "run").scores).all()
    scores = [float(line.split(",")[3]) for line in (tmp_path / "best.csv").read_text().splitlines()[1:]]
    assert scores and np.isfinite(scores).all()


def test_a_damaged_memory_is_one_line(tiny_world, tmp_path):
    run = train(tiny_world, tmp_path / "run", {"memory": True}, epochs=1)
    dataset = Dataset.open(tiny_world)
    (run.path / MEMORY).write_bytes(b"nothing")
    assert str(MEMORY) in failing_line("recommend", run.path, "--out", tmp_path / "x.csv")
    model, _ = open_model(run.path, dataset)
    assert model.config.memory
