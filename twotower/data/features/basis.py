"""The basis of a dataset's vectors: another dataset's users and titles can be projected onto it.

The directions of an SVD are arbitrary: the same log with one more day gives others. So the factors are stored, and
other users and titles are projected onto them:

    user   history x (T,)  → x weighted · V s^(p−1) / scale, of the titles that are known
           popularity      → (log of the history's length − shift) / scale
    title  words           → TF-IDF with the known words and their idf · V / scale
           history         → its row of V s^p / scale, or zeros where the title is not known
           popularity      → (log share of viewers everywhere − shift) / scale; in territories, over that
    both   categories, territories → a column each, zeros for others

On disk, in ``basis/`` of the dataset:

    basis.json               a BasisRecord
    history-s.npy V weight   (k,), (T, k), (T,) float64: the factors, and what the weighting has of each title
    text-s.npy V idf         (k,), (m, k), (m,) float64
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from twotower.core.errors import InputError
from twotower.core.storage import rows_of
from twotower.data.dataset import Dataset
from twotower.data.features.svd import Factors, count_matrix, tf_idf
from twotower.data.features.text import count_words
from twotower.data.features.weighting import Weighting
from twotower.data.ingest.arrow_columns import LIST_MARK

FACTS = "basis.json"
KINDS = ("own", "history", "length", "popularity", "local popularity", "territory", "text", "categories")


@dataclass(frozen=True)
class History:
    """The SVD of the weighted history matrix."""

    titles: list[str]  # (T,) ids, in the order of V
    weighting: Weighting  # has 0 for a title that nobody watched
    factors: Factors
    power: float  # of the singular values

    def matrix(self, dataset: Dataset) -> sparse.csr_matrix:
        """(U, T) history of these titles, with their weights."""
        user, title = dataset.history()
        row = rows_of(dataset.title_ids, self.titles)[title]
        known = (row >= 0) & (self.weighting.titles[row] > 0)
        counts = count_matrix(user[known], row[known], (dataset.n_users, len(self.titles)))
        return self.weighting.weigh(counts)

    def users(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """A vector for each row of a ``matrix``: (U, k) float32."""
        return self.factors.rows(matrix, self.power)

    def of_titles(self, ids: Sequence[str]) -> np.ndarray:
        """A vector for each title, (n, k) float32; zeros for those that are not known."""
        own = self.factors.columns(self.power)
        row = rows_of(ids, self.titles)
        vectors = np.zeros((len(ids), own.shape[1]), np.float32)
        vectors[row >= 0] = own[row[row >= 0]]
        return vectors


@dataclass(frozen=True)
class Text:
    """The SVD of the words' TF-IDF."""

    columns: list[str]  # of titles.csv
    words: list[str]  # (m,)
    idf: np.ndarray  # (m,) float64
    factors: Factors

    def of_titles(self, titles: dict[str, list[str]]) -> np.ndarray:
        """A vector for each title, (n, k) float32."""
        counts, _ = count_words(joined(titles, self.columns), words=self.words)
        return self.factors.rows(tf_idf(counts, self.idf))


class Part(NamedTuple):
    """Some columns of all user or title vectors, and how they are made."""

    kind: str  # one of KINDS
    name: str  # of categories: their column
    width: int
    scale: float = 1.0  # what comes from an SVD, or counts viewers, is divided by it
    values: tuple[str, ...] = ()  # one column each: categories, or territory codes
    shift: float = 0.0  # subtracted before, from what counts viewers


@dataclass(frozen=True)
class Basis:
    """The parts of user and title vectors, in order, and the factors that they share."""

    users: list[Part]
    titles: list[Part]
    history: History | None
    text: Text | None

    def files(self) -> dict[str, Any]:
        """The files of ``basis/``: arrays, and plain values for JSON."""
        facts: dict[str, Any] = {name: [part._asdict() for part in getattr(self, name)] for name in ("users", "titles")}
        arrays: dict[str, np.ndarray] = {}
        if self.history is not None:
            weighting = self.history.weighting
            facts["history"] = {"titles": self.history.titles, "power": self.history.power}
            facts["history"]["weighting"] = weighting.facts()
            arrays |= _named("history", self.history.factors, weight=weighting.titles)
        if self.text is not None:
            facts["text"] = {"columns": self.text.columns, "words": self.text.words}
            arrays |= _named("text", self.text.factors, idf=self.text.idf)
        return {FACTS: facts, **arrays}

    @classmethod
    def of(cls, dataset: Dataset) -> "Basis":
        """Read the basis of a dataset. Errors: InputError where it is damaged."""
        facts = dataset.basis_facts(FACTS)
        try:
            users, titles = ([_part(plain) for plain in facts[name]] for name in ("users", "titles"))
            history = text = None
            if "history" in facts:
                ids, power = facts["history"]["titles"], float(facts["history"]["power"])
                of_titles, factors = _arrays(dataset, "history", "weight", len(ids))
                history = History(ids, Weighting(titles=of_titles, **facts["history"]["weighting"]), factors, power)
            if "text" in facts:
                columns, words = facts["text"]["columns"], facts["text"]["words"]
                idf, factors = _arrays(dataset, "text", "idf", len(words))
                text = Text(columns, words, idf, factors)
            return cls(users, titles, history, text)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{dataset.path / 'basis'}: damaged ({error})") from None


def scaled(columns: np.ndarray, scale: float) -> np.ndarray:
    """Columns of an SVD, divided."""
    return columns / np.float32(scale)


def indicators(texts: Sequence[str], values: Sequence[str]) -> np.ndarray:
    """One column of 0 and 1 per value, (n, F) float32; other values are ignored.

    A list (``Comedy|Drama``) has a 1 for each of its values, an empty text none.
    """
    place = {value: i for i, value in enumerate(values)}
    columns = np.zeros((len(texts), len(values)), np.float32)
    for row, text in enumerate(texts):
        columns[row, [place[value] for value in values_in(text) if value in place]] = 1.0
    return columns


def values_in(text: str) -> set[str]:
    """The values of a list such as ``Comedy|Drama``."""
    return set(filter(None, text.split(LIST_MARK)))


def joined(titles: dict[str, list[str]], columns: Sequence[str]) -> list[str]:
    """One text per title."""
    return [" ".join(texts) for texts in zip(*(titles[name] for name in columns), strict=True)]


def _named(name: str, factors: Factors, **other: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}-{key}.npy": array for key, array in {"s": factors.s, "V": factors.V, **other}.items()}


def _arrays(dataset: Dataset, name: str, other: str, rows: int) -> tuple[np.ndarray, Factors]:
    """Another array and the factors. Raises ValueError unless they fit ``rows`` of V and each other."""
    s, V, more = (dataset.basis_array(f"{name}-{key}.npy") for key in ("s", "V", other))
    if V.shape != (rows, *s.shape) or more.shape != (rows,):
        raise ValueError(f"{name}: arrays of shapes {s.shape}, {V.shape}, {more.shape} for {rows} rows")
    return np.asarray(more), Factors(np.asarray(s), np.asarray(V))


def _part(plain: dict[str, Any]) -> Part:
    part = Part(**plain)
    if part.kind not in KINDS:
        raise ValueError(f"part {part.kind!r}")
    return part._replace(values=tuple(part.values))
