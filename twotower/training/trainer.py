"""A model with its data: trained, validated, tested, kept; as methods that print nothing."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.config import CELL_OFFSETS, Config
from twotower.core.environment import usable_cores
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.data.batches import Batch, Batcher
from twotower.data.dataset import Dataset
from twotower.data.epochs import batch_bounds, prefetch
from twotower.data.sample import Pairs, Sample, concatenate
from twotower.metrics.average_precision import average_precision
from twotower.metrics.per_territory import macro_average_precision
from twotower.metrics.results import Evaluation
from twotower.model.engine import gemm
from twotower.model.loss import Losses
from twotower.model.title_offsets import fit_offsets, prior_folds
from twotower.model.two_tower import TwoTower
from twotower.model.variants.objective import make_objective
from twotower.training import loop
from twotower.training.checkpoint import load_training, save_training, save_weights
from twotower.training.predict import evaluate_pairs, make_scorer, predict_pairs, user_groups, user_territories
from twotower.training.run import LOG, RunWriter

SUPPORTING_POSITIVES = 10  # of a territory among the validation pairs, for its PR-AUC to count in early stopping


class Trainer:
    """A model with all that it is trained and validated on."""

    def __init__(
        self,
        dataset: Dataset,
        sampled: Sample,
        territory_group: np.ndarray,
        config: Config,
        progress: Progress = silent,
    ):
        """``territory_group`` (C,) is the group of each territory.

        Errors: InputError when vectors are not finite, or there is no positive to learn or validate from.
        """
        dataset.check_vectors(progress)
        self.config, self.dataset, self.territory_group = config, dataset, territory_group
        model, settings = config.model, config.train
        self.pairs, self.held_out = split_users(sampled, settings.validation, settings.seed)
        positives = int(self.pairs.label.sum())
        if not 0 < positives < len(self.pairs):
            found = f"{counted(positives, 'positive')} among the {counted(len(self.pairs), 'training pair')}"
            raise InputError(f"{sampled.path}: {found}, expected some of both labels")

        tables = dataset.user_vectors, dataset.title_vectors
        self.members = user_groups(dataset, territory_group, model.groups)
        widths = tables[0].shape[1], tables[1].shape[1]
        rng = generator(settings.seed, Stream.INITIAL_WEIGHTS)
        threads = settings.threads or usable_cores()
        rate = positives / len(self.pairs)
        self.batch_size = min(settings.batch_size, len(self.pairs))
        self.model = TwoTower(model, *widths, rng, rate, threads, dataset.n_territories)
        self.optimiser = loop.make_optimiser(self.model, settings)
        of_pairs = self.members[self.pairs.user], self.pairs.title, self.pairs.label
        self.model.objective = make_objective(config, *of_pairs, len(tables[1]))
        self.state = loop.TrainingState()
        self.learned = sampled.train_pairs()  # title offsets are counted on, validation users included
        territory = user_territories(dataset, self.model)
        shape = model.groups, self.batch_size, 2
        self.batcher = Batcher(*tables, self.members, *shape, territory, dataset.n_territories)
        self.scorer = make_scorer(self.model, dataset, territory_group)

    def steps(self) -> int:
        """Batches an epoch."""
        return len(batch_bounds(len(self.pairs), self.batch_size)) - 1

    def batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch's batches, prepared one ahead; the order depends on the seed and the epoch alone."""
        return prefetch(self.batcher.batch_views(self.pairs, self.order(epoch), self.config.train.batching))

    def order(self, epoch: int) -> np.random.Generator:
        """The random order of an epoch's pairs."""
        return generator(self.config.train.seed, Stream.PAIR_ORDER, epoch)

    def validate(self, progress: Progress = silent) -> loop.Scores:
        """PR-AUC on the held-out users."""
        pairs = self.held_out
        logits = self._predict(pairs, progress, "validation")
        territory = self.dataset.user_territory[pairs.user]
        macro = supported_macro(pairs.label, logits, territory, self.dataset.n_territories)
        return loop.Scores(macro, average_precision(pairs.label, logits))

    def run(self, writer: RunWriter, progress: Progress = silent) -> None:
        """Train to the end: every step and validation is logged, every epoch can be resumed from."""
        self.model.title_offsets = None  # they are counted when the weights stand
        check = (lambda: self.validate(progress)) if len(self.held_out) else None
        total, seen, started, ending = len(self.pairs), 0, time.perf_counter(), ""
        with threadpool_limits(1, "blas"):
            events = loop.fit(
                self.model, self.optimiser, self.batches, self.steps(), check, self.config.train, self.state
            )
            for event in events:
                if isinstance(event, loop.Step):
                    seen = seen % total + sum(event.losses.pairs_by_group)
                    seconds, started = time.perf_counter() - started, time.perf_counter()
                    self._check_loss(event.losses)
                    writer.log(step_record(event, seconds))
                    stage = f"epoch {event.epoch + 1}/{self.config.train.epochs}"
                    progress(f"{stage} · loss {event.losses.total:.4f}{ending}", seen, total)
                elif isinstance(event, loop.Validation):
                    scores, started = event.scores, time.perf_counter()
                    ending = f", validation PR-AUC {scores.overall:.4f}"
                    writer.log({"validation": scores._asdict(), "steps": event.steps, "best": event.best})
                else:
                    save_training(writer.training_path, self.model, self.optimiser, self.state)
                    started = time.perf_counter()
        self.count_offsets(writer, progress)
        save_weights(writer.weights_path, self.model)

    def resume(self, writer: RunWriter) -> None:
        """Go on where the last finished epoch of an interrupted run left off, or begin where none was."""
        if writer.training_path.is_file():
            load_training(writer.training_path, self.model, self.optimiser, self.state)
        cut_log(writer.path / LOG, self.state)

    def update(self, pairs: Pairs, writer: RunWriter, progress: Progress = silent) -> None:
        """Train one epoch more, on new ``pairs`` and from the present weights, which it changes for good.

        The optimiser goes on from its moments. Every step is logged, without an epoch: after an interruption updates
        are made again, from the end of training, and ``cut_log`` drops what was logged of them. Order and batches
        depend on the seed and the first day alone. Fewer than two pairs are none.
        """
        if len(pairs) < 2:
            return
        first, last = int(pairs.day.min()), int(pairs.day.max())
        days = f"day {first}" if first == last else f"days {first}–{last}"
        rng = generator(self.config.train.seed, Stream.UPDATE_ORDER, first)
        batches = prefetch(self.batcher.batch_views(pairs, rng, self.config.train.batching))
        steps = len(batch_bounds(len(pairs), self.batch_size)) - 1
        once, state = replace(self.config.train, epochs=1), loop.TrainingState(steps=self.state.steps)
        seen, started = 0, time.perf_counter()
        with threadpool_limits(1, "blas"):
            for event in loop.fit(self.model, self.optimiser, lambda _: batches, steps, None, once, state):
                if isinstance(event, loop.Step):
                    self.state.steps += 1
                    self._check_loss(event.losses)
                    seen += sum(event.losses.pairs_by_group)
                    seconds, started = time.perf_counter() - started, time.perf_counter()
                    record = step_record(event, seconds)
                    del record["epoch"]
                    writer.log({"update": {"days": [first, last], **record}})
                    progress(f"learning from {days} · loss {event.losses.total:.4f}", seen, len(pairs))
        self.learned = concatenate([self.learned, pairs])
        self.count_offsets(writer, progress)

    def count_offsets(self, writer: RunWriter, progress: Progress = silent) -> None:
        """Offsets of titles from all pairs that were learned from so far, the validation users' included."""
        level, pairs = self.config.model.title_offsets, self.learned
        self.model.title_offsets = None
        if level == "none":
            return
        with threadpool_limits(1, "blas"):
            logits = self._predict(pairs, progress, "counting offsets of titles")
        territory = self.scorer.territory[pairs.user]
        where = territory, self.territory_group, pairs.title, pairs.label, logits
        priors = self.config.model.offset_prior, self.config.model.group_prior
        folds = prior_folds(pairs.day, pairs.user, generator(self.config.train.seed, Stream.OFFSET_FOLDS))
        fitted = fit_offsets(level, *where, self.dataset.n_titles, *priors, folds, progress)
        self.model.title_offsets = fitted.offsets
        told: dict[str, Any] = {"level": level, "prior": priors[0]}
        if level in CELL_OFFSETS:
            finite = math.isfinite(fitted.group_prior)
            told["group_prior"] = fitted.group_prior if finite else None  # no infinity in JSON
        writer.facts["title_offsets"] = told
        writer.log({"title_offsets": told})

    def test(self, sampled: Sample, writer: RunWriter, progress: Progress = silent) -> Evaluation:
        """Evaluate on the sample's test users and days, and keep the results with the run."""
        pairs = sampled.test_pairs()
        return self.save_results(pairs, self.predict(pairs, progress), writer, progress)

    def predict(self, pairs: Pairs, progress: Progress = silent) -> np.ndarray:
        """Logits (n,) float32 of test pairs. Errors: InputError when training has diverged."""
        with threadpool_limits(1, "blas"):
            return self._predict(pairs, progress, "scoring the test pairs")

    def save_results(
        self, pairs: Pairs, logits: np.ndarray, writer: RunWriter, progress: Progress = silent
    ) -> Evaluation:
        """Evaluate logits (n,) of test pairs, and keep the results with the run."""
        results = evaluate_pairs(self.dataset, self.territory_group, pairs, logits, progress)
        writer.save_results(results, logits, pairs.digest())
        writer.facts |= self.dataset.identity
        writer.save_environment(gemm=gemm.PATH, threads=self.model.threads.count)
        return results

    def _predict(self, pairs: Pairs, progress: Progress, stage: str) -> np.ndarray:
        """Logits (n,) float32. Errors: InputError when training has diverged."""
        logits = predict_pairs(self.model, self.scorer, pairs, progress, stage)
        if not np.isfinite(logits).all():
            raise self._diverged(f"{np.count_nonzero(~np.isfinite(logits))} scores are not finite")
        return logits

    def _check_loss(self, losses: Losses) -> None:
        if not math.isfinite(losses.total):
            raise self._diverged(f"the loss is {losses.total}")

    def _diverged(self, what: str) -> InputError:
        rate = self.config.train.learning_rate
        return InputError(f"{what} after step {self.state.steps}: try a learning rate below {rate}")


def split_users(sampled: Sample, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Training and validation pairs: a ``share`` of the users that have pairs is held out with all of them.

    Errors: InputError when users are held out and there is no positive among them.
    """
    pairs = sampled.train_pairs()
    if share == 0:
        return pairs, pairs.take(np.zeros(len(pairs), bool))
    rng = generator(seed, Stream.VALIDATION_USERS)
    has_pairs, chosen_users = np.zeros((2, sampled.n_users), bool)
    has_pairs[pairs.user] = True
    users = np.flatnonzero(has_pairs)
    chosen = rng.choice(users, min(len(users), max(1, round(share * len(users)))), replace=False)
    chosen_users[chosen] = True
    held = chosen_users[pairs.user]
    if not pairs.label[held].any():
        found = f"no positive among {len(chosen)} validation users"
        raise InputError(f"{sampled.path}: {found}; raise --validation")
    return pairs.take(~held), pairs.take(held)


def cut_log(path: Path, state: loop.TrainingState) -> None:
    """Drop the lines of ``metrics.jsonl`` from after a checkpoint: those steps are taken again.

    Offsets and updates come after the last checkpoint, all of them.
    """
    kept = 0  # bytes
    with open(path, "r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break  # the process ended while it wrote
            record = json.loads(line)
            again = "update" in record or "title_offsets" in record
            if again or record.get("epoch", 0) > state.epoch or record.get("steps", 0) > state.steps:
                break
            kept += len(line)
        file.truncate(kept)


def step_record(event: loop.Step, seconds: float) -> dict[str, Any]:
    """A step as a line of ``metrics.jsonl``."""
    losses = event.losses
    return {
        "epoch": event.epoch + 1,
        "step": event.step,
        "loss": losses.total,
        "loss_by_group": losses.by_group,
        "pairs_by_group": losses.pairs_by_group,
        "pairs_per_second": sum(losses.pairs_by_group) / seconds,
    }


def supported_macro(labels: np.ndarray, scores: np.ndarray, territory: np.ndarray, territories: int) -> float:
    """Macro PR-AUC of the territories with enough positives to judge by, or of all where none has enough.

    With one or two positives a territory's PR-AUC is chance, and the mean over a hundred of them is noise.
    """
    macro = macro_average_precision(labels, scores, territory, territories, SUPPORTING_POSITIVES)
    return macro if np.isfinite(macro) else macro_average_precision(labels, scores, territory, territories)
