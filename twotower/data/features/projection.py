"""Vectors of one dataset in the columns of another's: newcomers and a newer log, for a model that stands already."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.storage import rows_of
from twotower.data.dataset import Dataset
from twotower.data.features.basis import Basis, Part, indicators, scaled, values_in
from twotower.data.features.embed import EmbedConfig, EmbedSummary, Made, without, write
from twotower.data.features.own_vectors import read_vectors


def embed_like(
    directory: str | Path, like: str | Path, user_vectors: Path | None = None, title_vectors: Path | None = None,
    progress: Progress = silent, overwrite: bool = False,
) -> EmbedSummary:  # fmt: skip
    """Make vectors for a dataset as those of ``like`` were made, column for column, and add them to it.

    What ``like`` does not know (a title's history, a territory, a value of a column, a word) has zeros. Own vectors
    come in again, in files for this dataset, exactly where ``like`` has some.

    Errors: InputError where ``like`` does not say what its vectors were made with, for columns that the dataset does
    not have, titles of which none is known, own vectors that do not fit, and vectors that exist already unless
    ``overwrite``.
    """
    dataset, other = Dataset.open(directory), Dataset.open(like)
    if dataset.has_vectors and not overwrite:
        raise InputError(f"{directory}: has vectors already; --overwrite replaces them")
    basis = basis_of(other)
    copying = Copying(dataset, basis, str(like), progress)
    copying.read_own("user", basis.users, user_vectors)
    copying.read_own("title", basis.titles, title_vectors)
    users = [Made(part, copying.user_columns(part)) for part in basis.users]
    titles = [Made(part, copying.title_columns(part)) for part in basis.titles]
    own = {"user_vectors": user_vectors, "title_vectors": title_vectors}
    config = other.embedding["config"] | {name: None if path is None else str(path) for name, path in own.items()}
    origin = {"dataset": str(other.path.resolve()), "vectors": other.identity["vectors"]}
    return write(dataset, users, titles, basis, {"config": config, "like": origin}, copying.notes, progress)


def basis_of(dataset: Dataset) -> Basis:
    """What the vectors of a dataset were made with. Errors: InputError where it has none, or does not say."""
    path = dataset.path
    if not dataset.has_vectors:
        raise InputError(f"{path}: has no vectors; make some with: twotower embed {quote(str(path))}")
    if not dataset.embedding:
        raise InputError(f"{path}: its vectors were not made by twotower embed, so others cannot be made like them")
    if not dataset.has_basis:
        again = f"twotower embed {quote(str(path))}{command_line(dataset.embedding.get('config', {}))} --overwrite"
        raise InputError(f"{path}: an older embed kept no factors; this makes the same vectors and keeps them: {again}")
    return Basis.of(dataset)


def command_line(config: dict[str, Any]) -> str:
    """The options that an ``EmbedConfig``, as plain values, stands for."""
    words = []
    for item in fields(EmbedConfig):
        flag, value = item.name.replace("_", "-"), config.get(item.name, item.default)
        if value in (item.default, None) or value == []:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag} {quote(str(one))}" for one in (value if isinstance(value, list) else [value])]
    return "".join(f" {word}" for word in words)


class Copying:
    """The parts of the vectors of one dataset, made with the ``basis`` of another, and ``notes`` on them."""

    def __init__(self, dataset: Dataset, basis: Basis, like: str, progress: Progress = silent):
        self.dataset, self.basis, self.like, self.progress = dataset, basis, like, progress
        self.notes: list[str] = []
        self.own: dict[str, np.ndarray] = {}
        # What may be wrong is found out before the work.
        of_users, of_titles = ([part.name for part in parts if part.kind == "categories"]
                               for parts in (basis.users, basis.titles))  # fmt: skip
        self._check_columns("user", dataset.user_columns, of_users)
        self._check_columns("title", dataset.titles, of_titles + (basis.text.columns if basis.text else []))
        if basis.history is not None:
            self._compare_titles(basis.history.titles)

    def read_own(self, what: str, parts: list[Part], file: Path | None) -> None:
        """Own vectors of users or titles. Errors: InputError where they are missing, too many, or of another width."""
        widths = [part.width for part in parts if part.kind == "own"]
        if not widths and file is not None:
            raise InputError(f"--{what}-vectors {file}: {self.like} has no {what} vectors of its own to be like")
        if widths and file is None:
            raise InputError(f"{self.like}: its {what} vectors are its own; bring those of {self.dataset.path}, from "
                             f"the same model, with --{what}-vectors FILE")  # fmt: skip
        if file is not None:
            n, ids = (self.dataset.n_users, self.dataset.user_ids)
            if what == "title":
                n, ids = self.dataset.n_titles, self.dataset.title_ids
            self.own[what] = read_vectors(file, what, n, ids)
            width = self.own[what].shape[1]
            if width != widths[0]:
                raise InputError(f"{file}: {counted(width, 'dimension')}, those of {self.like} have {widths[0]}")

    def user_columns(self, part: Part) -> np.ndarray:
        """The columns of a part of the users' vectors, (U, F) float32."""
        dataset, history = self.dataset, self.basis.history
        if part.kind == "own":
            return self.own["user"]
        if part.kind == "history" and history is not None:
            self.progress("projecting histories", 0, 1)
            columns = history.users(history.matrix(dataset))
            self.progress("projecting histories", 1, 1)
            return self._svd_columns(part, "user", columns)
        if part.kind == "territory":
            return self._territories(part)
        return self._categories(part, dataset.user_columns[part.name])

    def title_columns(self, part: Part) -> np.ndarray:
        """The columns of a part of the titles' vectors, (T, F) float32."""
        titles, history, text = self.dataset.titles, self.basis.history, self.basis.text
        if part.kind == "own":
            return self.own["title"]
        if part.kind == "history" and history is not None:
            return self._svd_columns(part, "title", history.of_titles(self.dataset.title_ids))
        if part.kind == "text" and text is not None:
            return self._svd_columns(part, "title", text.of_titles(titles))
        return self._categories(part, titles[part.name])

    def _svd_columns(self, part: Part, what: str, columns: np.ndarray) -> np.ndarray:
        self.notes += without(part.kind, what, np.any(columns, axis=1))
        return scaled(columns, part.scale)

    def _territories(self, part: Part) -> np.ndarray:
        codes, territory = self.dataset.territories.code, np.asarray(self.dataset.user_territory)
        unknown = rows_of(codes, part.values) < 0
        if unknown.any():
            some = codes[int(np.argmax(unknown))]
            there = counted(int(unknown[territory].sum()), "user")
            what = f"{counted(int(unknown.sum()), 'territory', 'territories')} not in {self.like}, such as {some!r}"
            self.notes.append(f"{what}, with {there}: zeros in the columns of territories.")
        return indicators(codes, part.values)[territory]

    def _categories(self, part: Part, texts: Sequence[str]) -> np.ndarray:
        unknown = sorted(set().union(*map(values_in, texts)) - set(part.values))
        if unknown:
            what = f"{part.name}: {counted(len(unknown), 'value')} not in {self.like}, such as {unknown[0]!r}"
            self.notes.append(f"{what}: zeros for {'it' if len(unknown) == 1 else 'them'}.")
        return indicators(texts, part.values)

    def _compare_titles(self, known: list[str]) -> None:
        """Errors: InputError when no title is known: ids that are written in two ways would make zeros in silence."""
        ids = self.dataset.title_ids
        new = rows_of(ids, known) < 0
        if new.all():
            some = f"none of its {len(ids):,} titles, such as {ids[0]!r}"
            raise InputError(f"{self.dataset.path}: {some}, is in {self.like}")
        if new.any():
            _, title = self.dataset.history()
            events = counted(int(new[title].sum()), "event")
            what = f"{counted(int(new.sum()), 'title')} not in {self.like}, such as {ids[int(np.argmax(new))]!r}"
            self.notes.append(f"{what}: {events} of the history with {'it' if new.sum() == 1 else 'them'} left out.")

    def _check_columns(self, what: str, columns: dict[str, list[str]], names: Sequence[str]) -> None:
        for name in names:
            if name not in columns:
                made_of = f"which the vectors of {self.like} are made of"
                raise InputError(f"{self.dataset.path}: no {what} column {name!r}, {made_of}")
