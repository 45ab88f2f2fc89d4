"""Make user and title vectors from histories, territories, profiles and texts."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.no_effect import refuse_no_effect
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset, VectorsRecord
from twotower.data.dataset_writer import write_vectors
from twotower.data.features.basis import Basis, History, Part, Text, indicators, joined, scaled, values_in
from twotower.data.features.choosing import choose_weighting
from twotower.data.features.own_vectors import read_vectors
from twotower.data.features.popularity import history_counts, largest_territories, length_of_history, log_shares
from twotower.data.features.svd import (
    Factors,
    effective_rows,
    inverse_document_frequency,
    tf_idf,
    truncated_svd,
)
from twotower.data.features.text import count_words
from twotower.data.features.weighting import WEIGHTINGS, Weighting

USER_DIMS = 192  # default dimensions of the history's SVD
_NUMBERS = re.compile(r"[\d.,|+-]*")  # lists of numbers too, and nothing at all
MAX_CATEGORIES = 4_096  # per one-hot column
# Exponent of the singular values in history columns. U s is the histories themselves; U s³ = A Aᵀ U s mixes in those of
# users with the same titles, one step along the graph: +4 % PR-AUC on Last.fm, +8 % on Online Retail.
POWER = 3.0
LARGEST_POWER = 9.0  # beyond, one direction dominates
FEW_USERS = 10  # effective users of a column, below which it is warned of


@dataclass(frozen=True)
class EmbedConfig:
    """The options of ``twotower embed``, stored in the dataset's manifest.

    Own vectors replace what is made by default; explicit options add columns to them.
    """

    user_dims: int | None = None  # dimensions of the history's SVD; None: USER_DIMS
    history_power: float | None = None  # exponent of its singular values; None: POWER
    weighting: str | None = None  # of the history: one of WEIGHTINGS; None or "auto": chosen by held-out titles
    popularity: bool | None = None  # columns that count viewers; None: yes
    territory_onehot: bool | None = None  # None: yes
    profile: tuple[str, ...] = ()  # columns of users.csv, one-hot
    text: tuple[str, ...] = ()  # columns of titles.csv; none: all that are not categorical
    text_dims: int = 256  # dimensions of the texts' SVD
    categorical: tuple[str, ...] = ()  # columns of titles.csv, one-hot
    title_side: bool | None = None  # title columns of the history's SVD; None: yes
    user_vectors: Path | None = None
    title_vectors: Path | None = None

    def __post_init__(self) -> None:
        chosen = [name for name, value in vars(self).items() if value not in (None, ())]
        refuse_no_effect("embed", chosen, {**vars(self), "basis_from": None})
        if not 0 <= (self.history_power or 0) <= LARGEST_POWER:
            raise InputError(f"--history-power {self.history_power}: expected a number from 0 to {LARGEST_POWER:g}")

    def plain(self) -> dict[str, Any]:
        """The config for JSON, with paths as text."""
        return json.loads(json.dumps(asdict(self), default=str))


@dataclass(frozen=True)
class Spectrum:
    """What the columns of the history's SVD hold."""

    energy: np.ndarray  # (k,) share of the weighted history's squared entries that the columns up to each one hold
    users: np.ndarray  # (k,) effective users of each column


class FeaturePart(NamedTuple):
    """Some columns of all user or title vectors, and how they were made."""

    part: Part
    columns: np.ndarray  # (n, F) float32


@dataclass(frozen=True)
class EmbedSummary:
    """Name and width of each part of the vectors, in order."""

    user_parts: list[tuple[str, int]]
    title_parts: list[tuple[str, int]]
    notes: list[str]
    n_territories: int
    spectrum: "Spectrum | None" = None  # of the history's SVD


def embed(
    directory: str | Path, config: EmbedConfig, progress: Progress = silent, overwrite: bool = False
) -> EmbedSummary:
    """Make vectors for the users and titles of a dataset, and add them to it.

    Users are described by their history, the events before day 0: these are never labels, so that no vector contains
    what a model has to predict. Columns of an SVD are scaled together to mean square 1; one-hot columns are 0 and 1;
    own vectors stay as they are.

    Errors: InputError for a column that the dataset does not have, own vectors that do not fit it, vectors
    without any part, and vectors that exist already unless ``overwrite``.
    """
    dataset = Dataset.open(directory)
    if dataset.has_vectors and not overwrite:
        raise InputError(f"{directory}: has vectors already; --overwrite replaces them")
    builder = FeatureBuilder(dataset, config, progress)
    users, titles = (made_of(parts) for parts in (builder.user_parts(), builder.title_parts()))
    for what, made in (("user", users), ("title", titles)):
        if not made:
            raise InputError(f"{directory}: nothing to make {what} vectors of: {builder.hint(what)}")
    of_users, of_titles = ([part for part, _ in made] for made in (users, titles))
    basis = Basis(of_users, of_titles, builder.history_basis, builder.text_basis)
    summary = write(dataset, users, titles, basis, {"config": config.plain()}, builder.notes, progress)
    return replace(summary, spectrum=builder.spectrum)


def made_of(parts: Iterable[FeaturePart]) -> list[FeaturePart]:
    """The parts that have columns."""
    return [made for made in parts if made.part.width]


def write(
    dataset: Dataset, users: list[FeaturePart], titles: list[FeaturePart], basis: Basis, record: VectorsRecord,
    notes: list[str], progress: Progress,
) -> EmbedSummary:  # fmt: skip
    """Add vectors and their basis to a dataset."""
    user_parts, title_parts = ([(part.name, part.width) for part, _ in made] for made in (users, titles))
    progress("writing vectors", 0, 1)
    X, Y = (np.concatenate([columns for _, columns in made], axis=1) for made in (users, titles))
    record |= {"user_parts": user_parts, "title_parts": title_parts}
    write_vectors(dataset, X, Y, record, basis.files())
    progress("writing vectors", 1, 1)
    return EmbedSummary(user_parts, title_parts, notes, dataset.n_territories)


class FeatureBuilder:
    """Makes the parts of one dataset's vectors, and collects ``notes`` on them."""

    def __init__(self, dataset: Dataset, config: EmbedConfig, progress: Progress = silent):
        self.dataset, self.config, self.progress = dataset, config, progress
        self.notes: list[str] = []
        self.spectrum: Spectrum | None = None
        self.history_basis: History | None = None
        self.text_basis: Text | None = None
        # Wrong input is reported before the first SVD.
        self._check_columns("user", dataset.user_columns, config.profile)
        self._check_columns("title", dataset.titles, (*config.text, *config.categorical))
        self.own_users = self.own_titles = None
        if config.user_vectors is not None:
            self.own_users = read_vectors(config.user_vectors, "user", dataset.n_users, dataset.user_ids)
        if config.title_vectors is not None:
            self.own_titles = read_vectors(config.title_vectors, "title", dataset.n_titles, dataset.title_ids)

    def hint(self, what: str) -> str:
        """What to do when there is nothing to make vectors of."""
        events, _ = self.dataset.history()
        history = "" if len(events) else "there are no events before the training days (see import --train-days); "
        columns = {"title": "import --titles to get text and categories", "user": "add columns with --profile"}
        return f"{history}{columns[what]}, or give your own with --{what}-vectors"

    @property
    def power(self) -> float:
        """Exponent of the history's singular values."""
        return POWER if self.config.history_power is None else self.config.history_power

    def user_parts(self) -> Iterator[FeaturePart]:
        """Own vectors, history, territory, and profile columns."""
        config, dataset = self.config, self.dataset
        default = self.own_users is None
        if self.own_users is not None:
            yield FeaturePart(Part("own", "own", self.own_users.shape[1]), self.own_users)
        if default or config.user_dims is not None:
            columns = self.history.users(self.history_matrix)
            self._describe(columns)
            yield self._svd_part("history", "user", columns)
        if (default if config.popularity is None else config.popularity) and self.counts.nnz:
            yield counted_part("length", length_of_history(self.counts))
        if default if config.territory_onehot is None else config.territory_onehot:
            onehot = np.eye(dataset.n_territories, dtype=np.float32)
            part = Part("territory", "territory", len(onehot), values=tuple(dataset.territories.code))
            yield FeaturePart(part, onehot[np.asarray(dataset.user_territory)])
        for name in config.profile:
            yield one_hot_part(name, dataset.user_columns[name])

    def title_parts(self) -> Iterator[FeaturePart]:
        """Own vectors, text, categorical columns, and the title columns of the history's SVD."""
        config, dataset, titles = self.config, self.dataset, self.dataset.titles
        default = self.own_titles is None
        if self.own_titles is not None:
            yield FeaturePart(Part("own", "own", self.own_titles.shape[1]), self.own_titles)
        text = config.text or (self._text_columns() if default else ())
        if text and config.text_dims:
            counts, words = count_words(joined(titles, text))
            idf = inverse_document_frequency(counts)
            weights = tf_idf(counts, idf)
            factors = self._factorise("text", weights, config.text_dims)
            self.text_basis = Text(list(text), words, idf, factors)
            yield self._svd_part("text", "title", factors.rows(weights))
        for name in config.categorical:
            yield one_hot_part(name, titles[name])
        if default if config.title_side is None else config.title_side:
            yield self._svd_part("history", "title", self.history.factors.columns(self.power))
        if (default if config.popularity is None else config.popularity) and self.counts.nnz:
            codes = largest_territories(dataset)
            everywhere, there = log_shares(dataset, self.counts, codes)
            yield counted_part("popularity", everywhere)
            yield counted_part("local popularity", there, codes)

    def _text_columns(self) -> list[str]:
        """The columns of titles that are text by default: all that are neither categorical nor numbers alone."""
        titles = self.dataset.titles
        others = [name for name in titles if name not in ("title", *self.config.categorical)]
        numbers = [name for name in others if all(_NUMBERS.fullmatch(text) for text in titles[name])]
        text = [name for name in others if name not in numbers]
        if text:
            self.notes.append(f"Text of titles: {', '.join(map(repr, text))}.")
        if numbers:
            names = ", ".join(map(repr, numbers))
            self.notes.append(f"Columns of numbers are not used as text: {names} (--text or --categorical uses them).")
        return text

    @cached_property
    def counts(self) -> sparse.csr_matrix:
        """(U, T) how often each user watched each title before day 0."""
        return history_counts(self.dataset)

    @cached_property
    def history_matrix(self) -> sparse.csr_matrix:
        """(U, T) the same, weighted."""
        return self.weighting.weigh(self.counts)

    @property
    def dims(self) -> int:
        """Columns of the history's SVD, unless its rank is lower."""
        return USER_DIMS if self.config.user_dims is None else self.config.user_dims

    @cached_property
    def weighting(self) -> Weighting:
        """That of the history; by default the one that tells held-out titles best."""
        name = self.config.weighting or "auto"
        if name == "auto":
            measured = choose_weighting(self.counts, self.dims, self.power, self.progress)
            name = next(iter(measured), WEIGHTINGS[0])
            values = ", ".join(f"{other} {value:.4f}" for other, value in measured.items())
            by = f"by held-out titles (average precision: {values})" if measured else "too few users to choose"
            self.notes.append(f"Weighting of the history: {name}, {by}.")
        return Weighting.of(name, self.counts)

    @cached_property
    def history(self) -> History:
        """The SVD of the history, for users and titles."""
        factors = self._factorise("history", self.history_matrix, self.dims)
        self.history_basis = History(self.dataset.title_ids, self.weighting, factors, self.power)
        return self.history_basis

    def _describe(self, columns: np.ndarray) -> None:
        """Keep the spectrum of the users' columns (U, k), and note columns that few users fill."""
        s, users = self.history.factors.s, effective_rows(columns)
        if not len(s):
            return
        self.spectrum = Spectrum(np.cumsum(s**2) / np.square(self.history_matrix.data).sum(), users)
        few = counted(int((users < FEW_USERS).sum()), "history column")
        if (users < FEW_USERS).any() and np.any(columns, axis=1).sum() >= FEW_USERS:
            what = f"{few} with fewer than {FEW_USERS} effective users: a handful of users fill them"
            remedy = "try --weighting regularised or bm25, fewer --user-dims, or a smaller --history-power"
            self.notes.append(f"Warning: {what}; {remedy}.")

    def _factorise(self, name: str, A: sparse.csr_matrix, dims: int) -> Factors:
        self.progress(f"SVD of {name}", 0, 1)
        factors = truncated_svd(A, dims)
        self.progress(f"SVD of {name}", 1, 1)
        if len(factors.s) < dims:
            columns = counted(len(factors.s), "column")
            self.notes.append(f"{name.capitalize()}: {columns}, not {dims:,}: the rank of its matrix is no higher.")
        return factors

    def _svd_part(self, name: str, what: str, columns: np.ndarray) -> FeaturePart:
        """Columns (n, F) scaled to mean square 1; rows of zeros stay, do not count, and are noted."""
        filled = np.any(columns, axis=1)
        if columns.shape[1]:
            self.notes += missing_note(name, what, filled)
        scale = np.sqrt(np.mean(np.square(columns[filled], dtype=np.float64))) if filled.any() else 1.0
        return FeaturePart(Part(name, name, columns.shape[1], float(scale)), scaled(columns, scale))

    def _check_columns(self, what: str, columns: dict[str, list[str]], names: Sequence[str]) -> None:
        choice = [column for column in columns if column != what]
        for name in names:
            if name not in choice:
                there = f"it has {', '.join(map(repr, choice))}" if choice else "it has none"
                raise InputError(f"{self.dataset.path}: no {what} column {name!r}; {there}")


def counted_part(kind: str, columns: np.ndarray, values: Sequence[str] = ()) -> FeaturePart:
    """Columns (n, F) that count viewers, shifted to mean 0 and scaled together to mean square 1."""
    shift = float(columns.mean())
    spread = float(columns.std())
    part = Part(kind, kind, columns.shape[1], spread if spread > 1e-6 else 1.0, tuple(values), shift)
    return FeaturePart(part, shifted(part, columns))


def shifted(part: Part, columns: np.ndarray) -> np.ndarray:
    """What counts viewers (n, F), shifted and scaled: float32."""
    return ((columns - part.shift) / part.scale).astype(np.float32)


def missing_note(name: str, what: str, filled: np.ndarray) -> list[str]:
    """A note on users or titles whose row (n,) is not ``filled``."""
    missing = int(np.count_nonzero(~filled))
    return [f"{counted(missing, what)} without {name}: these columns are 0."] if missing else []


def one_hot_part(name: str, texts: Sequence[str]) -> FeaturePart:
    """A categorical column as a part."""
    values = categories(name, texts)
    return FeaturePart(Part("categories", name, len(values), values=tuple(values)), indicators(texts, values))


def categories(name: str, texts: Sequence[str]) -> list[str]:
    """The distinct values in alphabetical order.

    Errors: InputError for more than ``MAX_CATEGORIES`` values: ids or text, not categories.
    """
    values = sorted(set().union(*map(values_in, texts)))
    if len(values) > MAX_CATEGORIES:
        raise InputError(
            f"column {name!r}: {len(values):,} values, expected at most {MAX_CATEGORIES:,} for --categorical"
        )
    return values
