"""Training on a dataset: who is learned from, what is logged, and how it fails."""

import json

import numpy as np
import pytest
from sealing import reseal
from tiny_runs import MTL, NoWriter, make_trainer, train

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.model.variants.debiasing import title_log_odds
from twotower.training.checkpoint import load_model
from twotower.training.loop import TrainingState
from twotower.training.run import RunReader
from twotower.training.trainer import cut_log
from twotower.training.validation import split_users, supported_macro


def weights(world, folder, model=MTL, **settings) -> bytes:
    """The parameters after training."""
    trainer = make_trainer(world, model, **settings)
    trainer.run(NoWriter(folder))
    return trainer.model.params.flat.tobytes()


def overwrite(world, name, change):
    """Change an array of a dataset in place; its size stays."""
    array = np.load(world / name)
    change(array)
    np.save(world / name, array)
    reseal(world)


def relabel(world, split, value):
    for path in (world / "samples" / "default" / split).glob("day-*/label.npy"):
        np.save(path, np.full_like(np.load(path), value))
    reseal(world / "samples" / "default")


# ---------------------------------------------------------------- who is learned from


def test_validation_users_are_never_trained_on(tiny_world):
    trainer = make_trainer(tiny_world, validation=0.3)
    held_out = set(trainer.held_out.user.tolist())
    assert held_out and not held_out & set(trainer.pairs.user.tolist())
    taught = set()
    for epoch in range(2):
        for batch in trainer.batches(epoch):
            taught |= set(batch.user_rows.tolist())
    assert taught == set(trainer.pairs.user.tolist())


def test_tables_against_popularity_count_no_validation_user(tiny_world):
    settings = dict(validation=0.3, debias="logq", debias_strength=1.0)
    trainer = make_trainer(tiny_world, MTL | {"title_offsets": "none"}, **settings)
    titles, label = trainer.pairs.title, trainer.pairs.label
    positives, negatives = (np.bincount(titles[label == y], minlength=trainer.dataset.n_titles) for y in (1, 0))
    np.testing.assert_array_equal(trainer.model.objective.title_offset, title_log_odds(positives, negatives, 1.0))


def test_test_users_are_in_neither_part(tiny_world):
    trainer, sample = make_trainer(tiny_world), Sample(Dataset.open(tiny_world))
    known = np.concatenate([trainer.pairs.user, trainer.held_out.user])
    assert not np.isin(sample.test_users, known).any()


def test_all_pairs_of_a_user_go_to_one_side_and_none_is_lost(tiny_world):
    sample = Sample(Dataset.open(tiny_world))
    training, held_out = split_users(sample.train_pairs(), sample, 0.25, seed=1)
    assert len(training) + len(held_out) == len(sample.train_pairs())
    assert not np.isin(training.user, held_out.user).any()
    with_pairs = len(np.unique(sample.train_pairs().user))
    assert len(np.unique(held_out.user)) == round(0.25 * with_pairs)


def test_the_held_out_users_depend_on_the_seed_alone(tiny_world):
    sample = Sample(Dataset.open(tiny_world))
    first, again, other = (split_users(sample.train_pairs(), sample, 0.2, seed)[1].digest() for seed in (1, 1, 2))
    assert first == again != other


def test_without_validation_all_users_are_trained_on(tiny_world):
    trainer = make_trainer(tiny_world, validation=0)
    assert len(trainer.held_out) == 0
    assert len(trainer.pairs) == len(Sample(Dataset.open(tiny_world)).train_pairs())


def test_an_epoch_holds_every_pair_once_and_each_has_its_own_order(tiny_world):
    trainer = make_trainer(tiny_world)
    orders = []
    for epoch in range(2):
        seen = [np.stack([b.user_rows[b.pair_user], b.title_rows[b.pair_title]]) for b in trainer.batches(epoch)]
        assert len(seen) == trainer.steps()
        orders.append(np.concatenate(seen, axis=1))
    assert not np.array_equal(*orders)
    np.testing.assert_array_equal(*(np.sort(order[0] * 1000 + order[1]) for order in orders))


def test_a_batch_larger_than_the_epoch_is_the_epoch(tiny_world):
    trainer = make_trainer(tiny_world, batch_size=10**15)
    assert trainer.steps() == 1 and len(next(iter(trainer.batches(0)))) == len(trainer.pairs)


# ---------------------------------------------------------------- what a seed means


@pytest.mark.parametrize("model", [{}, MTL, {"head": "plain", "groups": 2, "output": "relu"}], ids=str)
def test_the_same_seed_gives_the_same_weights_on_any_number_of_threads(tiny_world, tmp_path, model):
    one = weights(tiny_world, tmp_path, model, threads=1)
    assert one == weights(tiny_world, tmp_path, model, threads=1)
    assert one == weights(tiny_world, tmp_path, model, threads=2)
    assert one == weights(tiny_world, tmp_path, model, threads=3)


def test_other_seeds_give_other_weights(tiny_world, tmp_path):
    assert weights(tiny_world, tmp_path, seed=1) != weights(tiny_world, tmp_path, seed=2)


def test_training_starts_at_the_base_rate(tiny_world):
    trainer = make_trainer(tiny_world)
    rate = trainer.pairs.label.mean()
    assert trainer.model.params["logit.bias"][0] == pytest.approx(np.log(rate / (1 - rate)), rel=1e-5)


def test_the_loss_falls_and_what_was_learned_ranks_the_training_pairs(tiny_world, tmp_path):
    trainer, writer = make_trainer(tiny_world, MTL, epochs=8, validation=0, learning_rate=0.01), NoWriter(tmp_path)
    trainer.run(writer)
    by_epoch = [np.mean([line["loss"] for line in writer.lines if line.get("epoch") == n]) for n in (1, 8)]
    assert by_epoch[1] < 0.9 * by_epoch[0]
    trainer.held_out = trainer.pairs
    assert trainer.validate().overall > 1.5 * trainer.pairs.label.mean()


def test_the_best_weights_are_those_that_are_kept(tiny_world, tmp_path):
    trainer = make_trainer(tiny_world, epochs=5, patience=5, learning_rate=0.05, validation=0.3)
    writer = NoWriter(tmp_path)
    trainer.run(writer)
    scores = [line["validation"]["macro"] for line in writer.lines if "validation" in line]
    trainer.model.title_offsets = None  # which come after the last validation
    assert trainer.validate().macro == max(scores)
    found = load_model(writer.weights_path)
    np.testing.assert_array_equal(found.params.flat, trainer.model.params.flat)


# ---------------------------------------------------------------- what is logged


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory) -> RunReader:
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MTL, validations_per_epoch=2, patience=9)


def test_every_step_and_validation_is_a_line_of_the_log(tiny_world, run):
    trainer = make_trainer(tiny_world, MTL)
    steps = [line for line in run.log if "loss" in line]
    assert [(line["epoch"], line["step"]) for line in steps] == [
        (epoch, step) for epoch in (1, 2) for step in range(1, trainer.steps() + 1)
    ]
    for epoch in (1, 2):
        assert sum(sum(s["pairs_by_group"]) for s in steps if s["epoch"] == epoch) == len(trainer.pairs)
    assert all(line["loss"] == pytest.approx(sum(line["loss_by_group"])) for line in steps)
    assert all(line["pairs_per_second"] > 0 for line in steps)

    validations = [line for line in run.log if "validation" in line]
    n = trainer.steps()
    assert [line["steps"] for line in validations] == [round(n / 2), n, n + round(n / 2), 2 * n]
    assert all(line["validation"].keys() == {"macro", "overall"} for line in validations)
    macro = [line["validation"]["macro"] for line in validations]
    assert [line["best"] for line in validations] == [m > max([-1, *macro[:i]]) for i, m in enumerate(macro)]


def test_progress_shows_loss_and_validation(tiny_world, tmp_path):
    seen = []
    trainer = make_trainer(tiny_world)
    trainer.run(NoWriter(tmp_path), lambda *where: seen.append(where))
    first = [where for where in seen if where[0].startswith("epoch 1/2 · loss 0.")]
    assert first[-1][1:] == (len(trainer.pairs), len(trainer.pairs))
    assert [done for _, done, _ in first] == sorted({done for _, done, _ in first})
    assert any(stage == "validation" for stage, _, _ in seen)
    assert "validation PR-AUC 0." in next(stage for stage, _, _ in seen if stage.startswith("epoch 2/2"))


@pytest.mark.parametrize(
    ("epoch", "step", "steps", "kept"), [(0, 0, 0, 0), (0, 1, 1, 1), (1, 0, 2, 3), (1, 1, 3, 4), (2, 0, 4, 6)]
)
def test_a_log_is_cut_back_to_a_checkpoint(tmp_path, epoch, step, steps, kept):
    lines = [{"epoch": 1, "step": 1}, {"epoch": 1, "step": 2}, {"validation": {}, "steps": 2}]
    lines += [{"epoch": 2, "step": 1}, {"epoch": 2, "step": 2}, {"validation": {}, "steps": 4}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 1, "st')  # killed while writing
    cut_log(path, TrainingState(epoch=epoch, step=step, steps=steps))
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:kept]


def test_a_damaged_line_of_the_log_is_dropped_and_stops_nobody(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 1, "step": 1}\n{"epoch": 1, "st\xffp": 2}\n{"epoch": 1, "step": 3}\n')
    cut_log(path, TrainingState(epoch=1, steps=3))
    assert path.read_bytes() == b'{"epoch": 1, "step": 1}\n{"epoch": 1, "step": 3}\n'


# ---------------------------------------------------------------- how it fails


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_named_by_table_row_and_count(own_world, value):
    def change(table):
        table[[41, 77, 78], 3] = value

    overwrite(own_world, "users.npy", change)
    with pytest.raises(InputError, match=r"users\.npy: 3 of 300 rows hold NaN or infinity, the first is row 41"):
        make_trainer(own_world)


@pytest.mark.parametrize(("label", "found"), [(0, "0 positives among the"), (1, "positives among the")])
def test_labels_of_one_kind_only_are_nothing_to_learn_from(own_world, label, found):
    relabel(own_world, "train", label)
    with pytest.raises(InputError, match=f"default: .*{found} .* training pairs, expected some of both labels"):
        make_trainer(own_world, validation=0)


def test_validation_users_without_a_positive_are_told(own_world):
    relabel(own_world, "train", 0)
    with pytest.raises(InputError, match=r"default: no positive among \d+ validation users; raise --validation"):
        make_trainer(own_world)


def test_test_pairs_without_a_positive_are_undefined_and_no_error(own_world, tmp_path):
    relabel(own_world, "test", 0)
    run = train(own_world, tmp_path / "run")
    assert np.isnan(run.overall) and np.isnan(run.evaluation.macro())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # without the JIT NumPy tells of overflows, too
def test_a_loss_that_diverges_says_what_to_do(tiny_world, tmp_path):
    trainer = make_trainer(tiny_world, learning_rate=1e25)
    with pytest.raises(InputError, match=r"the loss is \S+ after step 2: train with a --learning-rate below 1e\+25"):
        trainer.run(NoWriter(tmp_path))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # without the JIT NumPy tells of overflows, too
def test_scores_that_diverge_after_the_last_step_say_what_to_do(tiny_world, tmp_path):
    settings = dict(learning_rate=1e25, epochs=1, batch_size=10**6)
    diverged = r"scores are not finite after step 1: train with a --learning-rate below 1e\+25"
    with pytest.raises(InputError, match=diverged):
        make_trainer(tiny_world, **settings).run(NoWriter(tmp_path))
    trainer = make_trainer(tiny_world, {"title_offsets": "none"}, validation=0, **settings)
    trainer.run(NoWriter(tmp_path))
    with pytest.raises(InputError, match=diverged):
        trainer.predict(Sample(trainer.dataset).test_pairs())


def test_a_dataset_without_vectors_names_the_command_that_makes_them(own_world):
    (own_world / "users.npy").unlink()
    with pytest.raises(InputError, match="make vectors with: twotower embed"):
        make_trainer(reseal(own_world))


def test_early_stopping_looks_at_territories_with_enough_positives():
    """Territory 0 has twelve positives and is ranked well; territory 1 has one and is ranked last."""
    labels = np.array([1] * 12 + [0] * 12 + [1, 0, 0], np.float32)
    scores = np.array([2.0] * 12 + [1.0] * 12 + [0, 1, 1], np.float32)
    territory = np.array([0] * 24 + [1] * 3)
    assert supported_macro(labels, scores, territory, 2) == 1.0
    assert supported_macro(labels[24:], scores[24:], territory[24:], 2) == pytest.approx(1 / 3)  # none has enough
