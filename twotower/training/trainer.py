"""A model with its data: training, validation, updates, prediction and saving, as methods that print nothing."""

import json
import time
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.config import CELL_OFFSETS, MEMORY_TERMS, Config
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.core.signals import finishing
from twotower.data.batches import Batcher, PairBatch
from twotower.data.dataset import Dataset
from twotower.data.epochs import batch_bounds, prefetch
from twotower.data.memory.files import save_memory
from twotower.data.memory.memory import Memory
from twotower.data.sample import Pairs, Sample, concatenate
from twotower.metrics.average_precision import average_precision
from twotower.metrics.results import Evaluation
from twotower.model.engine import gemm
from twotower.model.parameters import Floats
from twotower.model.title_offsets import fit_offsets, prior_folds
from twotower.model.two_tower import TwoTower
from twotower.model.variants.frozen import Frozen
from twotower.model.variants.objective import make_objective
from twotower.training import loop
from twotower.training.callbacks import Callback, Callbacks, LogLines, StepProgress
from twotower.training.checkpoint import load_training, save_training, save_weights
from twotower.training.learning import Trained, diverged, events_of, learn_once
from twotower.training.predict import evaluate_pairs, make_scorer, predict_pairs, user_groups, user_territories
from twotower.training.processes import processes
from twotower.training.records import EvaluationRecord, OffsetFacts
from twotower.training.remembering import fit_memory, known_to, remember
from twotower.training.run import LOG, MEMORY, RunWriter
from twotower.training.shards import ShardedBatcher, ShardedLoss, owned, user_shards
from twotower.training.validation import split_users, supported_macro

CHECKPOINT_EVERY = 300.0  # seconds
FIRST_SCALE = 1.0  # of the towers' part of the logit, where memory has been fitted before


class Trainer:
    """A model with all that it is trained and validated on."""

    checkpoint_every = CHECKPOINT_EVERY

    def __init__(
        self,
        dataset: Dataset,
        sampled: Sample,
        territory_group: np.ndarray,
        config: Config,
        progress: Progress = silent,
        callback: Callback | None = None,
    ):
        """``territory_group`` (C,) is the group of each territory; ``callback`` is told of steps and evaluations.

        Errors: InputError when vectors are not finite, or there is no positive to learn or validate from.
        """
        dataset.pin(progress)
        sampled.pin()
        dataset.check_vectors(progress)
        self.config, self.dataset, self.territory_group = config, dataset, territory_group
        self.callback = callback or Callback()
        model, settings = config.model, config.train
        self.learned = sampled.train_pairs()  # title offsets are fitted on them, validation users included
        self.memory: Memory | None = None
        if model.memory:
            self.memory_group = dataset.territories.group if model.groups == 1 else territory_group
            self.memory, self.learned = remember(dataset, self.learned, self.memory_group, settings.seed, progress)
        self.remembered = self.learned
        self.pairs, self.held_out = split_users(self.learned, sampled, settings.validation, settings.seed)
        positives = int(self.pairs.label.sum())
        if not 0 < positives < len(self.pairs):
            found = f"{counted(positives, 'positive')} among the {counted(len(self.pairs), 'training pair')}"
            everything = "users have watched every title, so nothing is negative: import a log of more titles"
            remedy = everything if positives else "sample other users (twotower sample --overwrite --random-users)"
            raise InputError(f"{sampled.path}: {found}, expected some of both labels: {remedy}")

        tables = dataset.user_vectors, dataset.title_vectors
        self.members = user_groups(dataset, territory_group, model.groups)
        widths = tables[0].shape[1], tables[1].shape[1]
        rng = generator(settings.seed, Stream.INITIAL_WEIGHTS)
        threads = settings.threads or max(1, processes().cores // processes().here)
        rate = positives / len(self.pairs)
        self.batch_size = min(settings.batch_size, len(self.pairs))
        self.model = TwoTower(model, *widths, rng, rate, threads, dataset.n_territories)
        self.optimiser = loop.make_optimiser(self.model, settings)
        of_pairs = self.members[self.pairs.user], self.pairs.title, self.pairs.label
        self.model.objective = make_objective(config, *of_pairs, len(tables[1]))
        self.state = loop.TrainingState()
        if self.pairs.memory is not None:
            self.start_from_memory(self.pairs.memory)
        territory = user_territories(dataset, self.model)
        shape = model.groups, self.batch_size, 2
        terms = MEMORY_TERMS * model.memory
        batcher = partial(Batcher, *tables, self.members, *shape, territory, dataset.n_territories, terms)
        self.batcher = batcher()
        self.feed: Batcher | ShardedBatcher = self.batcher  # of training
        if settings.shards > 1:
            self.model.objective = ShardedLoss(self.model, settings.shards, processes())
            own = owned(settings.shards, processes())
            shard = user_shards(dataset, settings.shards)
            self.feed = ShardedBatcher([batcher() for _ in own], shard, own.start, settings.shards)
        self.scorer = make_scorer(self.model, dataset, territory_group, self.memory)

    def start_from_memory(self, terms: Floats) -> None:
        """Begin with memory that was fitted alone, and with towers that add next to nothing: they learn the rest."""
        params = self.model.params
        layer = params.get("memory.A", np.empty((terms.shape[1] + 1, 0), np.float32))
        fitted = fit_memory(terms, self.pairs.label, layer, self.config.train.seed)
        params["memory.w"][:] = fitted.linear
        if layer.size:
            params["memory.A"][:], params["memory.v"][:] = fitted.layer, fitted.units
        if self.config.model.learned_logit:
            params["logit.bias"][0] = fitted.bias
            params["logit.scale"][0] *= FIRST_SCALE

    def fine_tuned_on(self, members: np.ndarray) -> "Trainer":
        """A trainer that goes on from these weights with the pairs of some users, (U,) bool, the bottom frozen.

        It has the same network, memory and validation users: what one trains, the other sees.
        """
        other = copy(self)
        other.learned, other.pairs, other.held_out = (
            pairs.take(members[pairs.user]) for pairs in (self.learned, self.pairs, self.held_out)
        )
        other.batch_size = min(self.config.train.batch_size, len(other.pairs))
        other.optimiser, other.state = loop.make_optimiser(self.model, self.config.train), loop.TrainingState()
        if not isinstance(self.model.objective, Frozen):
            self.model.objective = Frozen(self.model.objective)
        return other

    def steps(self) -> int:
        """Batches an epoch."""
        return len(batch_bounds(len(self.pairs), self.batch_size)) - 1

    def batches(self, epoch: int, skip: int = 0) -> Iterator[PairBatch]:
        """One epoch's batches but for the first, prepared one ahead; the order depends on seed and epoch alone."""
        return prefetch(self._views(self.pairs, self.order(epoch), skip))

    def _views(self, pairs: Pairs, rng: np.random.Generator, skip: int = 0) -> Iterator[PairBatch]:
        return self.feed.batch_views(pairs, rng, self.config.train.batching, pairs.memory, skip)

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
        """Train to the end: every step and validation is logged.

        There is a checkpoint after every epoch, when ``checkpoint_every`` seconds have passed since the last, and when
        a signal asks to stop, which is obeyed between two steps.
        """
        self.model.title_offsets = None  # fitted when the weights are final
        validate = (lambda: self.validate(progress)) if len(self.held_out) else None
        told = Callbacks(LogLines(writer), StepProgress(progress, self.config.train.epochs), self.callback)
        saved = time.perf_counter()
        batches, config = self.batches, self.config.train
        with finishing() as stopping:
            for settled in events_of(self._trained, self.pairs, batches, config, self.state, validate, told):
                if settled.at_end:
                    processes().check_same(self.model.params.flat, self.model.running.flat)
                if settled.at_end or stopping() or time.perf_counter() - saved >= self.checkpoint_every:
                    save_training(writer.training_path, self.model, self.optimiser, self.state)
                    saved = time.perf_counter()
                    if stopping():
                        break
        self.fit_offsets(writer, progress)
        save_weights(writer.weights_path, self.model)

    def update(self, pairs: Pairs, writer: RunWriter, progress: Progress = silent) -> None:
        """Train one epoch more on new ``pairs``, from the present weights and Adam's present moments.

        Steps are logged without an epoch: after an interruption updates are made again from the end of training, and
        ``cut_log`` drops what was logged of them. Fewer than two pairs are skipped.
        """
        if len(pairs) < 2:
            return
        if self.memory is not None:  # as it is before these days
            pairs = replace(pairs, memory=self.memory.of_pairs(pairs.user, pairs.title))
        days = int(pairs.day.min()), int(pairs.day.max())
        told = Callbacks(LogLines(writer), StepProgress(progress, 1), self.callback)
        learn_once(self._trained, self.feed, pairs, days, self.config.train, self.state, told)
        self.learned, self.remembered = concatenate([self.learned, pairs]), concatenate([self.remembered, pairs])
        if self.memory is not None:
            known = known_to(self.dataset, self.remembered, self.memory_group, self.config.train.seed)
            self.memory = Memory.of(known).like(self.memory)
            self.scorer = self.scorer._replace(memory=self.memory)
        self.fit_offsets(writer, progress)

    @property
    def _trained(self) -> Trained:
        return Trained(self.model, self.optimiser, self.batch_size)

    def resume(self, writer: RunWriter) -> None:
        """Go on where the last checkpoint of an interrupted run was made, or begin where there is none."""
        if writer.training_path.is_file():
            load_training(writer.training_path, self.model, self.optimiser, self.state)
        cut_log(writer.path / LOG, self.state)

    def fit_offsets(self, writer: RunWriter, progress: Progress = silent) -> None:
        """Fit title offsets on all pairs learned from so far, those of the validation users included."""
        level, pairs = self.config.model.title_offsets, self.learned
        self.model.title_offsets = None
        if level == "none":
            return
        with threadpool_limits(1, "blas"):
            logits = self._predict(pairs, progress, "fitting title offsets")
        territory = self.scorer.territory[pairs.user]
        where = territory, self.territory_group, pairs.title, pairs.label, logits
        priors = self.config.model.offset_prior, self.config.model.group_prior
        folds = prior_folds(pairs.day, pairs.user, generator(self.config.train.seed, Stream.OFFSET_FOLDS))
        fitted = fit_offsets(level, *where, self.dataset.n_titles, *priors, folds, progress)
        self.model.title_offsets = fitted.offsets
        facts: OffsetFacts = {"level": level, "prior": priors[0]}
        if level in CELL_OFFSETS:
            facts["group_prior"] = fitted.group_prior
        writer.facts["title_offsets"] = facts
        writer.log({"title_offsets": facts})

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
        scores = results.macro(), results.overall
        self.callback.on_evaluation(EvaluationRecord("test", self.state.steps, *scores, best=True))
        if self.memory is not None:
            save_memory(self.memory, writer.path / MEMORY)
        writer.save_environment(gemm=gemm.PATH, threads=self.model.threads.count)
        return results

    def _predict(self, pairs: Pairs, progress: Progress, stage: str) -> np.ndarray:
        """Logits (n,) float32. Errors: InputError when training has diverged."""
        logits = predict_pairs(self.model, self.scorer, pairs, progress, stage)
        if not np.isfinite(logits).all():
            lost = f"{np.count_nonzero(~np.isfinite(logits))} scores are not finite"
            raise diverged(lost, self.state.steps, self.config.train)
        return logits


def cut_log(path: Path, state: loop.TrainingState) -> None:
    """Drop the lines of ``metrics.jsonl`` from after a checkpoint, whose steps are taken again, and damaged ones.

    Offsets and updates come after the last checkpoint, all of them.
    """
    with open(path, "r+b") as file:  # which its writer may have open
        kept = [line for line in file if is_before(line, state)]
        file.seek(0)
        file.writelines(kept)
        file.truncate()


def is_before(line: bytes, state: loop.TrainingState) -> bool:
    """Whether a line of the log was written before a checkpoint; a damaged one was not."""
    try:
        record = json.loads(line)
        if "epoch" in record:
            return line.endswith(b"\n") and (record["epoch"] - 1, record["step"]) <= (state.epoch, state.step)
        return line.endswith(b"\n") and "validation" in record and record["steps"] <= state.steps
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
