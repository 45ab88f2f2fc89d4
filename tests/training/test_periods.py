"""Incremental training: a period is judged before it is learned from, and only training users are learned from."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import MTL, NoWriter, failing_line, interrupt_at, make_trainer, small_config, train
from toy_logs import without_updates

from twotower.core.errors import InputError
from twotower.core.progress import silent
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampler import sample
from twotower.data.synthetic.simulate import simulate
from twotower.data.synthetic.world import WorldConfig
from twotower.serving.open_run import score_pairs
from twotower.training import loop as train_module
from twotower.training.job import resume
from twotower.training.loop import TrainingState
from twotower.training.periods import check_days, period_of, periods, train_and_score
from twotower.training.run import RunReader
from twotower.training.trainer import Trainer, cut_log

SETTINGS = dict(epochs=2, validation=0.3, learning_rate=0.01)
TINY = ("--hidden", "8", "--batch-size", "128", "--epochs", "1")


def without_speed(log):
    kept = [line.get("update", line) for line in log]
    return [{name: value for name, value in line.items() if name != "pairs_per_second"} for line in kept]


@pytest.fixture(scope="module")
def incremental(tiny_world, tmp_path_factory) -> RunReader:
    path = tmp_path_factory.mktemp("runs") / "incremental"
    return train(tiny_world, path, MTL, incremental_periods=3, **SETTINGS)


@pytest.fixture(scope="module")
def plain(tiny_world, tmp_path_factory) -> RunReader:
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "plain", MTL, **SETTINGS)


@pytest.fixture(scope="module")
def sampled(tiny_world) -> Sample:
    return Sample(Dataset.open(tiny_world))


class Story(NoWriter):
    """A writer, and a trainer's doings in their order."""

    def save_results(self, evaluation, logits, digest):
        self.logits = logits

    def save_environment(self, **facts):
        pass


def story_of(world, folder, monkeypatch, n_periods=3):
    """What a trainer did, in order: ("train",), ("judge", days, users) and ("learn", days, users)."""
    told, doings = [], {"predict": "judge", "update": "learn"}
    for name, doing in doings.items():
        original = getattr(Trainer, name)

        def told_of(self, pairs, *rest, doing=doing, original=original):
            told.append((doing, sorted(set(pairs.day.tolist())), set(pairs.user.tolist())))
            return original(self, pairs, *rest)

        monkeypatch.setattr(Trainer, name, told_of)
    trainer = make_trainer(world, MTL, **SETTINGS)
    train_and_score(trainer, Sample(trainer.dataset), n_periods, Story(folder))
    return told


# ---------------------------------------------------------------- periods


@given(st.sets(st.integers(0, 400), max_size=40), st.integers(1, 50))
def test_periods_are_blocks_of_consecutive_days_of_about_equal_length(days, n):
    blocks = periods(sorted(days), n)
    assert [day for block in blocks for day in block] == sorted(days)
    assert len(blocks) == min(n, len(days))
    lengths = [len(block) for block in blocks]
    assert not lengths or max(lengths) - min(lengths) <= 1


def test_seven_days_in_three_periods():
    assert periods(range(60, 67), 3) == [(60, 61, 62), (63, 64), (65, 66)]
    assert periods([60, 61, 62], 3) == [(60,), (61,), (62,)]
    assert periods([60], 3) == [(60,)] and periods([], 3) == []
    with pytest.raises(ValueError, match="0 periods"):
        periods([60], 0)


def test_every_pair_lies_in_the_period_of_its_day():
    blocks = periods([60, 61, 62], 2)
    assert period_of(np.array([62, 60, 61, 60]), blocks).tolist() == [1, 0, 0, 0]
    with pytest.raises(ValueError, match="day 63 is in no period"):
        period_of(np.array([60, 63]), blocks)


# ---------------------------------------------------------------- what is learned, and when


def test_each_day_is_judged_before_it_is_learned_from(tiny_world, tmp_path, monkeypatch):
    told = [(doing, days) for doing, days, _ in story_of(tiny_world, tmp_path, monkeypatch)]
    assert told == [("judge", [8]), ("learn", [8]), ("judge", [9]), ("learn", [9]), ("judge", [10])]


def test_with_fewer_periods_than_days_whole_periods_are_learned_at_once(tiny_world, tmp_path, monkeypatch):
    told = [(doing, days) for doing, days, _ in story_of(tiny_world, tmp_path, monkeypatch, n_periods=2)]
    assert told == [("judge", [8, 9]), ("learn", [8, 9]), ("judge", [10])]


def test_test_users_are_never_learned_from_and_training_users_never_judged(tiny_world, tmp_path, monkeypatch, sampled):
    test, training = set(sampled.test_users.tolist()), set(sampled.train_users.tolist())
    for doing, _, users in story_of(tiny_world, tmp_path, monkeypatch):
        assert users and users <= (test if doing == "judge" else training)


def test_an_update_learns_from_every_pair_once(tiny_world, sampled, incremental):
    steps = [line["update"] for line in incremental.log if "update" in line]
    for day in (8, 9):
        seen = sum(sum(step["pairs_by_group"]) for step in steps if step["days"] == [day, day])
        assert seen == len(sampled.update(day))
    assert {tuple(step["days"]) for step in steps} == {(8, 8), (9, 9)}


def test_what_happens_on_the_last_day_teaches_nothing(tiny_world, tmp_path, monkeypatch, sampled, incremental):
    read = Sample.update
    empty = sampled.update(99)
    monkeypatch.setattr(Sample, "update", lambda self, day: empty if day == 10 else read(self, day))
    again = train(tiny_world, tmp_path / "run", MTL, incremental_periods=3, **SETTINGS)
    np.testing.assert_array_equal(again.scores, incremental.scores)


def test_what_training_users_do_on_a_day_changes_the_scores_of_later_days_alone(
    tiny_world, tmp_path, monkeypatch, sampled, incremental
):
    read = Sample.update
    empty = sampled.update(99)
    monkeypatch.setattr(Sample, "update", lambda self, day: empty if day == 9 else read(self, day))
    again = train(tiny_world, tmp_path / "run", MTL, incremental_periods=3, **SETTINGS)
    before = sampled.test_pairs().day <= 9
    np.testing.assert_array_equal(again.scores[before], incremental.scores[before])
    assert (again.scores[~before] != incremental.scores[~before]).any()


def test_an_update_goes_on_with_the_optimisers_state(tiny_world, tmp_path, sampled):
    trainer = make_trainer(tiny_world, MTL)
    trainer.run(NoWriter(tmp_path))
    steps, moments = trainer.optimiser.steps[0], trainer.optimiser.m.flat.copy()
    fresh = make_trainer(tiny_world, MTL)
    fresh.model.params.flat[:], fresh.model.running.flat[:] = trainer.model.params.flat, trainer.model.running.flat
    for each in (trainer, fresh):
        each.update(sampled.update(8), NoWriter(tmp_path))
    assert trainer.optimiser.steps[0] == steps + 1 and fresh.optimiser.steps[0] == 1
    assert not np.array_equal(trainer.optimiser.m.flat, moments)
    assert not np.array_equal(trainer.model.params.flat, fresh.model.params.flat)


def test_the_order_of_an_update_depends_on_its_first_day(tiny_world, tmp_path, sampled):
    def after(days):
        trainer = make_trainer(tiny_world, {"title_offsets": "none"}, batch_size=64)
        pairs = sampled.update(8)
        trainer.update(replace(pairs, day=np.resize(days, len(pairs)).astype(np.int32)), NoWriter(tmp_path))
        return trainer.model.params.flat

    np.testing.assert_array_equal(after([8]), after([8, 9]))
    assert not np.array_equal(after([8]), after([9]))


@pytest.mark.parametrize("n_pairs", [0, 1])
def test_less_than_two_pairs_teach_nothing(tiny_world, tmp_path, sampled, n_pairs):
    trainer, writer = make_trainer(tiny_world), NoWriter(tmp_path)
    before = trainer.model.params.flat.copy()
    trainer.update(sampled.update(8).take(np.arange(n_pairs)), writer)
    np.testing.assert_array_equal(trainer.model.params.flat, before)
    assert writer.lines == []


def test_progress_shows_which_days_are_learned_from(tiny_world, tmp_path, sampled):
    seen = []
    trainer = make_trainer(tiny_world, {"title_offsets": "none"})
    for days in ([8], [8, 9]):
        trainer.update(sampled.update_pairs(days), NoWriter(tmp_path), lambda *where: seen.append(where))
    n = [len(sampled.update_pairs(days)) for days in ([8], [8, 9])]
    assert seen[0][0].startswith("learning from day 8 · loss 0.") and seen[0][1:] == (n[0], n[0])
    assert seen[-1][0].startswith("learning from days 8–9 · loss 0.") and seen[-1][1:] == (n[1], n[1])


# ---------------------------------------------------------------- what is kept


def test_the_first_period_is_judged_by_the_model_as_it_was_trained(sampled, plain, incremental):
    first = sampled.test_pairs().day == 8
    difference = np.abs(incremental.scores - plain.scores)
    assert difference[first].max() < 1e-5 < difference[~first].mean()  # a product may round by the rows beside
    assert incremental.test_digest == plain.test_digest == sampled.test_pairs().digest()


def test_the_weights_kept_are_those_that_judged_the_last_period(tiny_world, sampled, incremental):
    pairs = sampled.test_pairs()
    last = pairs.day == 10
    scores = score_pairs(incremental.path, Dataset.open(tiny_world), pairs)
    difference = np.abs(incremental.scores - scores)
    assert difference[last].max() < 1e-5 < difference[~last].mean()


def test_the_log_before_the_updates_is_that_of_plain_training(plain, incremental):
    assert without_speed(incremental.log)[: len(plain.log)] == without_speed(plain.log)
    after = ["title_offsets" if "title_offsets" in line else "update" for line in incremental.log[len(plain.log) :]]
    assert "update" in after and after[-1] == "title_offsets"  # counted anew, on all that was learned
    assert all("update" in line or "title_offsets" in line for line in incremental.log[len(plain.log) :])
    assert incremental.config["train"]["incremental_periods"] == 3


def test_a_single_period_is_training_and_testing(tiny_world, tmp_path, plain):
    once = train(tiny_world, tmp_path / "once", MTL, incremental_periods=1, **SETTINGS)
    np.testing.assert_array_equal(once.scores, plain.scores)
    assert once.weights_path.read_bytes() == plain.weights_path.read_bytes()


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(tiny_world, tmp_path, incremental):
    again = train(tiny_world, tmp_path / "run", MTL, incremental_periods=3, threads=3, **SETTINGS)
    np.testing.assert_array_equal(again.scores, incremental.scores)
    assert again.weights_path.read_bytes() == incremental.weights_path.read_bytes()


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize(
    "moment",
    [
        interrupt_at("epoch 2/2"),
        interrupt_at("learning from day 8"),
        interrupt_at("learning from day 9"),
        interrupt_at("scoring the test pairs", times=3),
        interrupt_at("evaluation"),
    ],
    ids=["while training", "in the first update", "in the second", "in the last period", "after all"],
)
def test_an_interrupted_run_ends_as_if_nothing_had_been(tiny_world, tmp_path, incremental, moment):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tiny_world, path, MTL, progress=moment, incremental_periods=3, **SETTINGS)
    assert stopped.value.hint == f"twotower train --resume {path}"
    resume(path, silent)
    run = RunReader(path)
    np.testing.assert_array_equal(run.scores, incremental.scores)
    assert run.weights_path.read_bytes() == incremental.weights_path.read_bytes()
    assert run.training_path.read_bytes() == incremental.training_path.read_bytes()
    assert without_speed(run.log) == without_speed(incremental.log)


def test_steps_of_updates_are_counted_on_from_training(tiny_world, tmp_path, monkeypatch, sampled):
    """The random stream of gradient surgery depends on the count."""
    counted, step = [], train_module.train_step
    monkeypatch.setattr(train_module, "train_step", lambda *args: counted.append(args[-1]) or step(*args))
    trainer = make_trainer(tiny_world, MTL, epochs=1)
    trainer.run(NoWriter(tmp_path))
    for day in (8, 9):
        trainer.update(sampled.update(day), NoWriter(tmp_path))
    assert counted == list(range(trainer.steps() + 2))


@pytest.mark.parametrize(
    "extra",
    [{"pcgrad": True}, {"task_weights": "uncertainty"}, {"head_decay": 0.1, "debias": "logq"}],
    ids=str,
)
def test_whatever_the_loss_an_interrupted_update_changes_nothing(tiny_world, tmp_path, extra):
    settings, model = SETTINGS | extra | {"incremental_periods": 3}, MTL
    if "debias" in extra:
        model = MTL | {"title_offsets": "none"}  # which would undo it
    whole = train(tiny_world, tmp_path / "whole", model, **settings)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_world, tmp_path / "run", model, progress=interrupt_at("learning from day 9"), **settings)
    resume(tmp_path / "run", silent)
    np.testing.assert_array_equal(RunReader(tmp_path / "run").scores, whole.scores)
    assert RunReader(tmp_path / "run").weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_updates_are_cut_from_a_log_with_whatever_follows(tmp_path):
    lines = [{"epoch": 1, "step": 1}, {"validation": {}, "steps": 1}, {"update": {"step": 1}}, {"update": {"step": 2}}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    cut_log(path, TrainingState(epoch=1, steps=1))
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:2]


# ---------------------------------------------------------------- where it cannot be


@pytest.fixture(scope="module")
def one_day(tmp_path_factory):
    """A world with one test day, and its sample."""
    sizes = dict(users=300, titles=30, territories=6, groups=2, user_dim=16, title_dim=16)
    days = dict(history_days=10, train_days=8, test_days=1, streams=1.0)
    world = simulate(tmp_path_factory.mktemp("worlds") / "one-day", WorldConfig(**sizes, **days))
    sample(world, SampleConfig())
    return world.path


def test_a_single_test_day_leaves_nothing_to_learn_from(one_day):
    message = failing_line("train", one_day, *TINY, "--incremental")
    assert message == f"{one_day}: one test day, so nothing to learn between two of them; leave out --incremental"


def test_without_test_days_it_is_refused_before_training(tiny_world, sampled):
    class NoTestDays:
        path, test_days = tiny_world, 0

    with pytest.raises(InputError, match="no test days, so nothing to learn between two of them"):
        check_days(NoTestDays(), sampled, 3)
    check_days(NoTestDays(), sampled, 0)


def test_a_sample_without_updates_says_how_to_make_another(own_world, tmp_path):
    without_updates(Dataset.open(own_world))
    with pytest.raises(InputError, match=r"no pairs of training users on test days .*twotower sample --overwrite"):
        train(own_world, tmp_path / "run", incremental_periods=3)
    assert not (tmp_path / "run").exists()
    train(own_world, tmp_path / "run")


def test_an_update_that_diverges_says_what_to_do(tiny_world, tmp_path, sampled):
    trainer = make_trainer(tiny_world)
    trainer.model.params.flat[:] = np.nan
    with pytest.raises(InputError, match=r"the loss is nan after step 1: train with a --learning-rate below 0\.001"):
        trainer.update(sampled.update(8), NoWriter(tmp_path))


def test_settings_below_0_are_refused():
    with pytest.raises(InputError, match=r"train\.incremental_periods = -1: expected at least 0"):
        small_config(incremental_periods=-1)
