"""A model that goes on from day to day: its weights, moments and counts, in memory and on disk."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save
from threadpoolctl import threadpool_limits

from twotower.core.config import CELL_OFFSETS, MEMORY_TERMS, Config
from twotower.core.environment import usable_cores
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.storage import whole_file
from twotower.daily.counts import Counts
from twotower.daily.replay import KeptPairs, keep
from twotower.data.batches import Batcher
from twotower.data.grown import GrownDataset
from twotower.data.memory.files import Kept, read_memory, save_memory
from twotower.data.memory.knowledge import ones
from twotower.data.memory.memory import TITLE_TERMS, Memory
from twotower.data.sample import Pairs, concatenate
from twotower.model.adam import Adam
from twotower.model.two_tower import TwoTower
from twotower.model.variants.objective import make_objective
from twotower.training import loop
from twotower.training.callbacks import Callbacks, LogLines, StepProgress
from twotower.training.checkpoint import load_model, load_training, save_training, save_weights
from twotower.training.learning import Trained, diverged, learn_once
from twotower.training.predict import SCORING_BATCH, Scorer, predict_pairs
from twotower.training.run import MEMORY, TRAINING, WEIGHTS, RunReader, RunWriter

COUNTS = "counts.safetensors"
COUNTED = ("count", "inverse")  # task weights that are of the training pairs


@dataclass
class Day:
    """The users whose pairs a day has: n of them, ascending, with what was known before the day."""

    number: int
    users: np.ndarray  # (n,) rows of the dataset
    vectors: np.ndarray  # (n, F)
    history: sp.csr_array  # (n, T) 1 where the user watched the title
    dataset: GrownDataset
    replayed: KeptPairs | None = None  # pairs of earlier days to be learned from again


class DayLearner:
    """Scores pairs of a day and learns from them, once ``begin`` has said of whom and of what titles they are."""

    def __init__(
        self, config: Config, model: TwoTower, optimiser: Adam, state: loop.TrainingState, group: np.ndarray,
        counts: Counts, memory: Kept | None, group_prior: float,
    ):  # fmt: skip
        """``group`` (C,) int16 of each territory; ``group_prior`` is that of title offsets of groups or territories."""
        self.config, self.model, self.optimiser, self.state = config, model, optimiser, state
        self.group, self.counts, self.memory, self.group_prior = group, counts, memory, group_prior

    @classmethod
    def open(cls, path: Path, threads: int) -> "DayLearner":
        """The state after a day. Errors: InputError for damage."""
        run = RunReader(path)
        config = Config.from_dict(run.config, str(path))
        config = replace(config, train=replace(config.train, threads=threads))
        table = run.evaluation
        C, T = len(table.territories.code), len(table.titles.title)
        model = load_model(run.weights_path, config.train.threads or usable_cores())
        optimiser, state = make_optimiser(model, config, T), loop.TrainingState()
        load_training(run.files.path(TRAINING), model, optimiser, state)
        facts: dict[str, Any] = run.facts["state"]
        arrays = load_file(run.files.path(COUNTS))
        counts = Counts.from_arrays(arrays, facts["counted_days"])
        memory = read_memory(run.files.path(MEMORY), C, T) if config.model.memory else None
        prior = facts["group_prior"]
        return cls(config, model, optimiser, state, arrays["group"], counts, memory, np.inf if prior is None else prior)

    @property
    def heads(self) -> np.ndarray:
        """The head (C,) int16 of each territory."""
        return self.group if self.config.model.groups > 1 else np.zeros(len(self.group), np.int16)

    def save(self, writer: RunWriter) -> None:
        """Everything that ``open`` reads, but for the tables of an evaluation."""
        save_weights(writer.path / WEIGHTS, self.model)
        save_training(writer.path / TRAINING, self.model, self.optimiser, self.state)
        with whole_file(writer.path / COUNTS) as partial:
            arrays = self.counts.arrays() | {"group": self.group}
            partial.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        if self.memory is not None:
            kept, T = self.memory, self.counts.labels.shape[1]
            nobody = sp.csr_array((0, T), dtype=np.float32)
            memory = Memory(nobody, np.empty(0, np.int64), kept.tables, kept.cosines, kept.factors)
            memory.unwatched, memory.mean, memory.spread = kept.unwatched, kept.mean, kept.spread
            save_memory(memory, writer.path / MEMORY)
        writer.facts["state"] = {"counted_days": self.counts.days, "group_prior": self.group_prior}

    def begin(self, day: Day) -> None:
        """The titles, territories and users of a day. Errors: InputError for what the model cannot take in."""
        dataset = day.dataset
        self.day, C, T = day, dataset.n_territories, dataset.n_titles
        if self.model.territories not in (0, C):
            new = dataset.territories.code[self.model.territories :]
            raise InputError(f"new territory {new[0]!r}: a model with a bias per territory takes in none; leave its "
                             "events out (--where), or train again")  # fmt: skip
        self.group = np.append(self.group, dataset.territories.group[len(self.group) :]).astype(np.int16)
        self.counts = self.counts.grow(C, T)
        self.fit_offsets()
        self.remember(dataset, day.number)
        self.territory = np.asarray(dataset.user_territory)[day.users]
        self.terms = None
        if self.memory is not None:
            kept = self.memory
            self.terms = Memory(day.history, self.territory.astype(np.int64), kept.tables, kept.cosines, kept.factors)
            self.terms.mean, self.terms.spread = kept.mean, kept.spread
        self.scorer = self.scorer_of(day.vectors, self.territory, self.terms)

    def batcher(self, vectors: np.ndarray, territory: np.ndarray, batch_size: int, buffers: int) -> Batcher:
        """Batches of pairs of users with vectors (n, F) who live in territories (n,)."""
        model, C = self.config.model, self.day.dataset.n_territories
        where = territory.astype(np.int32) if self.model.territories else None
        tables, members = (vectors, self.day.dataset.title_vectors), self.heads[territory].astype(np.int32)
        return Batcher(*tables, members, model.groups, batch_size, buffers, where, C, MEMORY_TERMS * model.memory)

    def scorer_of(self, vectors: np.ndarray, territory: np.ndarray, terms: Memory | None) -> Scorer:
        return Scorer(self.batcher(vectors, territory, SCORING_BATCH, 1), territory, terms)

    def predict_kept(self, kept: KeptPairs) -> np.ndarray:
        """Logits (m,) float32 of pairs that were kept with all that scoring them takes."""
        with threadpool_limits(1, "blas"):
            scorer = self.scorer_of(kept.vectors, kept.territory.astype(np.int64), None)
            return predict_pairs(self.model, scorer, kept.pairs(0, self.day.number))

    def kept(self, pairs: Pairs, kind: str) -> KeptPairs:
        """What a day keeps of its pairs (n,)."""
        own = self.of_day(pairs)
        terms = None if self.terms is None else self.terms.of_pairs(own.user, own.title)
        seed, day = self.config.train.seed, self.day
        return keep(own, terms, day.users, day.vectors, self.territory, seed, day.number, kind)

    def remember(self, dataset: GrownDataset, day: int) -> None:
        """Make the tables of memory from counts, as of a day."""
        if self.memory is None:
            return
        group = np.asarray(self.group, np.int64) - min(0, int(self.group.min()))
        tables, unwatched = self.counts.tables(dataset, group, day)
        T = dataset.n_titles
        cosines, factors = widened(self.memory.cosines, T), self.memory.factors.take(np.arange(T))
        self.memory = self.memory._replace(tables=tables, unwatched=unwatched, cosines=cosines, factors=factors)
        assert tables.shape == (len(TITLE_TERMS), dataset.n_territories, T)

    def of_day(self, pairs: Pairs) -> Pairs:
        """The pairs (n,), with users as rows of the day's."""
        return replace(pairs, user=np.searchsorted(self.day.users, pairs.user), memory=None)

    def predict(self, pairs: Pairs, progress: Progress = silent) -> np.ndarray:
        """Logits (n,) float32 of pairs of the day's users. Errors: InputError when they are not finite."""
        with threadpool_limits(1, "blas"):
            logits = predict_pairs(self.model, self.scorer, self.of_day(pairs), progress)
        if not np.isfinite(logits).all():
            lost = f"{np.count_nonzero(~np.isfinite(logits))} scores are not finite"
            raise diverged(lost, self.state.steps, self.config.train)
        return logits

    def update(self, pairs: Pairs, writer: RunWriter, progress: Progress = silent) -> None:
        """Learn from the pairs of a day once, and count them. Fewer than two pairs are counted alone."""
        self.counts.pass_day()
        own = self.of_day(pairs)
        if self.terms is not None:
            own = replace(own, memory=self.terms.of_pairs(own.user, own.title))
        vectors, territory = self.day.vectors, self.territory
        if (replayed := self.day.replayed) is not None:
            own = concatenate([own, replayed.pairs(len(vectors), self.day.number)])
            vectors = np.concatenate([vectors, replayed.vectors])
            territory = np.concatenate([territory, replayed.territory])
        if len(own) > 1:
            settings = self.config.train
            batch_size = min(settings.batch_size, len(own))
            trained, days = Trained(self.model, self.optimiser, batch_size), (self.day.number, self.day.number)
            told = Callbacks(LogLines(writer), StepProgress(progress, 1))
            batcher = self.batcher(vectors, territory, settings.batch_size, 2)
            learn_once(trained, batcher, own, days, settings, self.state, told)
        self.model.title_offsets = None
        logits = self.predict(pairs)
        territory = self.territory[np.searchsorted(self.day.users, pairs.user)]
        self.counts.offsets.add(territory, pairs.title, pairs.label, logits, self.config.model.offset_prior)
        self.fit_offsets()

    def count_nothing(self) -> None:
        """A day without pairs to learn from is over."""
        self.counts.pass_day()
        self.fit_offsets()

    def fit_offsets(self) -> None:
        """Title offsets from the counts as they are."""
        model = self.config.model
        self.model.title_offsets = None
        if model.title_offsets != "none":
            prior = self.group_prior if model.title_offsets in CELL_OFFSETS else np.inf
            offsets = self.counts.offsets.offsets(model.title_offsets, self.group, model.offset_prior, prior)
            self.model.title_offsets = offsets


def make_optimiser(model: TwoTower, config: Config, titles: int) -> Adam:
    """Adam, and the objective of training. Errors: InputError for one that is of the training pairs' titles."""
    train = config.train
    if train.debias != "none" or train.task_weights in COUNTED:
        which = f"--debias {train.debias}" if train.debias != "none" else f"--task-weights {train.task_weights}"
        raise InputError(f"{which} weighs pairs by counts of the training pairs, so such a run is not updated by day")
    nothing = np.empty(0, np.int64)
    model.objective = make_objective(config, nothing, nothing, np.empty(0, np.float32), titles)
    return loop.make_optimiser(model, train)


def widened(matrix: sp.csr_array, T: int) -> sp.csr_array:
    """Weights between titles, with none for new ones."""
    indptr = np.append(matrix.indptr, np.full(T - matrix.shape[0], matrix.indptr[-1]))
    return sp.csr_array((matrix.data, matrix.indices, indptr), shape=(T, T))


def history_of(users: np.ndarray, user: np.ndarray, title: np.ndarray, titles: int) -> sp.csr_array:
    """Histories (n, T) of users (n,), ascending, from events (N,) of theirs."""
    return ones(np.searchsorted(users, user), title, (len(users), titles))
