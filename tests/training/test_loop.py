"""The training loop with a model of one number: what it yields, when it stops, which weights it keeps."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from networks import make_batch, make_network

from twotower.core.config import ModelConfig, TrainConfig
from twotower.model.loss import Losses, MaskedLoss
from twotower.model.two_tower import TwoTower
from twotower.model.variants import pcgrad
from twotower.model.variants.objective import Objective
from twotower.model.variants.uncertainty import Uncertainty
from twotower.training.loop import Scores, Settled, Step, TrainingState, Validation, fit, make_optimiser

NAN = float("nan")


class OneNumber:
    """A model whose only parameter counts its steps; each batch is the list of its pairs by group."""

    def __init__(self):
        self.params, self.running = (SimpleNamespace(flat=np.zeros(1, np.float32)) for _ in range(2))
        self.grads = self.threads = None
        self.objective = MaskedLoss()
        self.updated = []

    def loss_and_gradients(self, batch):
        return Losses(0.5, [0.5] * len(batch), batch, [k for k, pairs in enumerate(batch) if pairs])

    def update(self, grads, groups, threads):
        """The optimiser's part."""
        self.updated.append(list(groups))
        self.params.flat += 1
        self.running.flat -= 1


def train(scores=(), steps=2, batch=(1,), state=None, objective=None, **settings):
    """Events, model and state of a training whose validations give ``scores``; NaN when they run out."""
    model, state, left = OneNumber(), state or TrainingState(), list(scores)
    model.objective, asked = objective or model.objective, []

    def batches(epoch, skip):
        asked.append(epoch)
        yield from [list(batch)] * (steps - skip)

    def validate():
        return Scores(left.pop(0) if left else NAN, NAN)

    loop = fit(model, model, batches, steps, validate if scores else None, TrainConfig(**settings), state)
    return SimpleNamespace(events=list(loop), model=model, state=state, epochs=asked)


def kinds(events):
    events = [event for event in events if not isinstance(event, Settled) or event.at_end]
    return "".join({Step: "s", Validation: "v", Settled: "e"}[type(event)] for event in events)


def validated_after(run):
    return [event.steps for event in run.events if isinstance(event, Validation)]


def test_events_come_in_order():
    run = train(scores=[0.1, 0.2], steps=3, epochs=2)
    assert kinds(run.events) == "sssvesssve"
    assert [(e.epoch, e.step) for e in run.events if isinstance(e, Step)] == [
        *[(0, step) for step in (1, 2, 3)],
        *[(1, step) for step in (1, 2, 3)],
    ]
    assert [e.epoch for e in run.events if isinstance(e, Settled) and e.at_end] == [1, 2]
    assert run.epochs == [0, 1], "each epoch asks for its own batches"


def test_each_step_of_gradient_surgery_has_an_order_of_its_own_that_a_resumed_one_finds_again(monkeypatch):
    def orders(**state):
        drawn = []
        of_step = lambda model, batch, rng: drawn.append(rng.random()) or model.loss_and_gradients(batch)  # noqa: E731
        monkeypatch.setattr(pcgrad, "loss_and_gradients", of_step)
        train(steps=2, epochs=2, objective=Objective(pcgrad_seed=5), state=TrainingState(**state))
        return drawn

    whole = orders()
    assert len(set(whole)) == 4 and orders(epoch=1, steps=2) == whole[2:]


def test_log_variances_take_a_step_with_every_batch():
    network = make_network(ModelConfig(hidden=6, groups=3, head="residual"), np.random.default_rng(0))
    network.objective = Objective(uncertainty=Uncertainty(3, lr=0.01))
    batch, told = make_batch(np.random.default_rng(1), absent=(1,)), network.objective.uncertainty
    batch.title_rows = np.arange(len(batch.title_counts))
    loop = fit(network, make_optimiser(network, TrainConfig()), lambda *_: [batch] * 2, 2, None, TrainConfig(epochs=1),
               TrainingState())  # fmt: skip
    list(loop)
    assert told.adam.steps == [2, 2, 0, 2] and (told.log_variance != 0).tolist() == [True, False, True]


def test_nothing_is_computed_before_it_is_asked_for():
    model = OneNumber()
    loop = fit(model, model, lambda *_: iter([[1]] * 5), 5, None, TrainConfig(), TrainingState())
    assert len(list(islice(loop, 3))) == 3
    assert len(model.updated) == 2


def test_training_stops_when_validation_has_not_improved_for_so_long():
    run = train(scores=[0.3, 0.2, 0.1, 0.9], epochs=9, patience=2)
    assert validated_after(run) == [2, 4, 6]
    assert run.state.epoch == 3


def test_a_better_validation_restarts_the_count():
    run = train(scores=[0.3, 0.2, 0.4, 0.3, 0.35, 0.9], epochs=9, patience=2)
    assert validated_after(run) == [2, 4, 6, 8, 10]


def test_an_equal_validation_is_no_better():
    run = train(scores=[0.3, 0.3, 0.3], epochs=9, patience=2)
    assert [e.best for e in run.events if isinstance(e, Validation)] == [True, False, False]


def test_the_best_weights_are_kept():
    run = train(scores=[0.1, 0.5, 0.4, 0.3], epochs=4, patience=9)
    assert run.model.params.flat == 4.0, "those after two epochs of two steps"
    assert run.model.running.flat == -4.0, "the running statistics of that moment, too"
    assert run.state.steps == 8


def test_it_can_stop_within_an_epoch():
    run = train(scores=[0.5, 0.4, 0.3, 0.9], steps=8, validations_per_epoch=4, epochs=2, patience=2)
    assert kinds(run.events) == "ssvssvssve"
    assert run.model.params.flat == 2.0


def test_the_batches_end_when_training_stops_within_an_epoch():
    ended = []

    def batches(epoch, skip):
        try:
            yield from [[1]] * 8
        finally:
            ended.append(epoch)

    model, config = OneNumber(), TrainConfig(validations_per_epoch=8, patience=1)
    scores = iter([0.5, 0.4])
    list(fit(model, model, batches, 8, lambda: Scores(next(scores), NAN), config, TrainingState()))
    assert ended == [0]


@pytest.mark.parametrize(
    ("steps", "validations_per_epoch", "after"),
    [(10, 1, [10]), (10, 2, [5, 10]), (10, 3, [3, 7, 10]), (2, 5, [1, 2]), (3, 10**12, [1, 2, 3])],
)
def test_validations_are_spread_over_an_epoch_and_one_is_at_its_end(steps, validations_per_epoch, after):
    run = train(scores=[0.1, 0.2, 0.3], steps=steps, validations_per_epoch=validations_per_epoch, epochs=1)
    assert validated_after(run) == after


def test_an_undefined_validation_is_never_the_best():
    run = train(scores=[NAN, 0.2, NAN], epochs=3, patience=5)
    assert [e.best for e in run.events if isinstance(e, Validation)] == [False, True, False]
    assert run.model.params.flat == 4.0


def test_when_all_are_undefined_training_stops_with_the_last_weights():
    run = train(scores=[NAN], epochs=9, patience=2)
    assert validated_after(run) == [2, 4]
    assert run.model.params.flat == 4.0


def test_a_score_of_zero_is_better_than_none():
    run = train(scores=[0.0], epochs=1)
    assert run.state.best_score == 0.0 and run.state.best is not None


def test_without_validation_all_epochs_are_run_and_the_last_weights_count():
    run = train(epochs=3, patience=1)
    assert kinds(run.events) == "sse" * 3
    assert run.model.params.flat == 6.0 and run.state.best is None


def test_only_groups_of_the_batch_are_updated():
    assert train(batch=(3, 0, 5), epochs=1).model.updated == [[0, 2]] * 2


def test_training_goes_on_where_a_state_stands():
    run = train(scores=[0.1, 0.1], epochs=5, patience=9, state=TrainingState(epoch=3, steps=6, best_score=0.7))
    assert run.epochs == [3, 4]
    assert validated_after(run) == [8, 10]
    assert not any(e.best for e in run.events if isinstance(e, Validation))


def test_a_state_that_has_waited_long_enough_trains_no_more():
    best = np.full(1, 7, np.float32), np.full(1, 8, np.float32)
    run = train(scores=[0.1], epochs=5, state=TrainingState(epoch=3, misses=2, best=best))
    assert run.events == []
    assert (run.model.params.flat, run.model.running.flat) == (7.0, 8.0)


def test_adam_gets_the_settings():
    model = TwoTower(ModelConfig(hidden=4, groups=2, head="residual"), 3, 3, np.random.default_rng(0))
    adam = make_optimiser(model, TrainConfig(learning_rate=0.5, beta1=0.1, beta2=0.2, eps=0.3))
    assert (adam.lr, adam.betas, adam.eps) == (0.5, (0.1, 0.2), 0.3)
    assert adam.shared == model.shared_span() and adam.group_blocks == model.group_spans()
    assert not any(adam.decays)


@pytest.mark.parametrize(("head", "matrices"), [("residual", {"head.W"}), ("lowrank", {"head.P", "head.Q"})])
def test_decay_is_of_matrices_and_of_nothing_else(head, matrices):
    config = ModelConfig(hidden=4, groups=2, head=head, rank=2, title_bias=True)
    model = TwoTower(config, 3, 3, np.random.default_rng(0))
    for settings, expected in (
        ({"head_decay": 0.5}, matrices),
        ({"bias_decay": 0.5}, {"title_bias.C"}),
        ({"tower_decay": 0.5}, {f"{tower}.W{layer}" for tower in ("user", "title") for layer in "12"}),
    ):
        adam = make_optimiser(model, TrainConfig(**settings))
        model.params.flat[:] = 1
        adam.update(model.grads, [0, 1], model.threads)  # the gradients are 0
        changed = {name for name, value in model.params.items() if not (value == 1).all()}
        assert changed == expected
        assert all(np.allclose(model.params[name], 1 - 1e-3 * 0.5, rtol=1e-6) for name in expected)


def test_a_head_decays_only_when_its_group_is_in_the_batch():
    model = TwoTower(ModelConfig(hidden=4, groups=2, head="residual"), 3, 3, np.random.default_rng(0))
    adam = make_optimiser(model, TrainConfig(head_decay=0.5))
    model.params.flat[:] = 1
    adam.update(model.grads, [1], model.threads)
    assert (model.params["head.W"][0] == 1).all() and (model.params["head.W"][1] < 1).all()
