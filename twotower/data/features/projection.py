"""Project the users and titles of a dataset onto the basis of another: a newer log, for a trained model."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from shlex import quote

import numpy as np
from scipy import sparse

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.storage import rows_of
from twotower.data.dataset import Dataset, Origin, VectorsRecord
from twotower.data.features.basis import Basis, Part, indicators, scaled, values_in
from twotower.data.features.embed import EmbedSummary, FeaturePart, missing_note, shifted, write
from twotower.data.features.own_vectors import read_vectors
from twotower.data.features.popularity import history_counts, length_of_history, log_shares


def embed_with_basis(
    directory: str | Path, other: str | Path, user_vectors: Path | None = None, title_vectors: Path | None = None,
    progress: Progress = silent, overwrite: bool = False,
) -> EmbedSummary:  # fmt: skip
    """Make vectors for a dataset with the basis of ``other``, column for column, and add them to it.

    Titles, territories, values and words that ``other`` lacks get zeros. Where ``other`` has own vectors, give those of
    this dataset.

    Errors: InputError where ``other`` has no basis, for missing columns, titles of which none is known, own vectors
    that do not fit, and vectors that exist already unless ``overwrite``.
    """
    dataset, source = Dataset.open(directory), Dataset.open(other)
    if dataset.has_vectors and not overwrite:
        raise InputError(f"{directory}: has vectors already; --overwrite replaces them")
    basis = basis_of(source)
    projector = FeatureProjector(dataset, basis, str(other), progress)
    projector.read_own("user", basis.users, user_vectors)
    projector.read_own("title", basis.titles, title_vectors)
    users = [FeaturePart(part, projector.user_columns(part)) for part in basis.users]
    titles = [FeaturePart(part, projector.title_columns(part)) for part in basis.titles]
    own = {"user_vectors": user_vectors, "title_vectors": title_vectors}
    config = source.embedding["config"] | {name: None if path is None else str(path) for name, path in own.items()}
    origin = Origin(dataset=str(source.path.resolve()), vectors=source.identity["vectors"])
    record = VectorsRecord(config=config, projected_from=origin)
    return write(dataset, users, titles, basis, record, projector.notes, progress)


def basis_of(dataset: Dataset) -> Basis:
    """The basis of a dataset's vectors. Errors: InputError where it has none."""
    path = dataset.path
    if not dataset.has_vectors:
        raise InputError(f"{path}: has no vectors; make some with: twotower embed {quote(str(path))}")
    if not dataset.embedding:
        raise InputError(f"{path}: its vectors were not made by twotower embed, so there is no basis to project onto")
    return Basis.of(dataset)


class FeatureProjector:
    """Makes the parts of one dataset's vectors with the ``basis`` of another, and collects ``notes`` on them."""

    def __init__(self, dataset: Dataset, basis: Basis, other: str, progress: Progress = silent):
        self.dataset, self.basis, self.other, self.progress = dataset, basis, other, progress
        self.notes: list[str] = []
        self.own: dict[str, np.ndarray] = {}
        # Wrong input is reported before the work.
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
            raise InputError(
                f"--{what}-vectors {file}: {self.other} made its {what} vectors itself, so this option has no effect"
            )
        if widths and file is None:
            raise InputError(f"{self.other}: has {what} vectors of its own: give those of {self.dataset.path}, from "
                             f"the same model, with --{what}-vectors FILE")  # fmt: skip
        if file is not None:
            n, ids = (self.dataset.n_users, self.dataset.user_ids)
            if what == "title":
                n, ids = self.dataset.n_titles, self.dataset.title_ids
            self.own[what] = read_vectors(file, what, n, ids)
            width = self.own[what].shape[1]
            if width != widths[0]:
                raise InputError(f"{file}: {counted(width, 'dimension')}, the vectors of {self.other} have {widths[0]}")

    @cached_property
    def counts(self) -> sparse.csr_matrix:
        """(U, T) how often each user watched each title before day 0."""
        return history_counts(self.dataset)

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
        if part.kind == "length":
            return shifted(part, length_of_history(self.counts))
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
        if part.kind in ("popularity", "local popularity"):
            everywhere, there = log_shares(self.dataset, self.counts, part.values)
            return shifted(part, everywhere if part.kind == "popularity" else there)
        if part.kind == "text" and text is not None:
            return self._svd_columns(part, "title", text.of_titles(titles))
        return self._categories(part, titles[part.name])

    def _svd_columns(self, part: Part, what: str, columns: np.ndarray) -> np.ndarray:
        self.notes += missing_note(part.kind, what, np.any(columns, axis=1))
        return scaled(columns, part.scale)

    def _territories(self, part: Part) -> np.ndarray:
        codes, territory = self.dataset.territories.code, np.asarray(self.dataset.user_territory)
        unknown = rows_of(codes, part.values) < 0
        if unknown.any():
            some = codes[int(np.argmax(unknown))]
            there = counted(int(unknown[territory].sum()), "user")
            what = f"{counted(int(unknown.sum()), 'territory', 'territories')} not in {self.other}, such as {some!r}"
            self.notes.append(f"{what}, with {there}: their territory columns are 0.")
        return indicators(codes, part.values)[territory]

    def _categories(self, part: Part, texts: Sequence[str]) -> np.ndarray:
        unknown = sorted(set().union(*map(values_in, texts)) - set(part.values))
        if unknown:
            what = f"{part.name}: {counted(len(unknown), 'value')} not in {self.other}, such as {unknown[0]!r}"
            self.notes.append(f"{what}: {'its' if len(unknown) == 1 else 'their'} columns are 0.")
        return indicators(texts, part.values)

    def _compare_titles(self, known: list[str]) -> None:
        """Errors: InputError when no title is known: ids written in two ways would silently give zeros."""
        ids = self.dataset.title_ids
        new = rows_of(ids, known) < 0
        if new.all():
            titles = f"none of its {len(ids):,} titles, such as {ids[0]!r}"
            raise InputError(f"{self.dataset.path}: {titles}, is in {self.other}")
        if new.any():
            _, title = self.dataset.history()
            events = counted(int(new[title].sum()), "event")
            what = f"{counted(int(new.sum()), 'title')} not in {self.other}, such as {ids[int(np.argmax(new))]!r}"
            self.notes.append(f"{what}: {events} of the history with {'it' if new.sum() == 1 else 'them'} left out.")

    def _check_columns(self, what: str, columns: dict[str, list[str]], names: Sequence[str]) -> None:
        for name in names:
            if name not in columns:
                raise InputError(f"{self.dataset.path}: no {what} column {name!r}, as in the vectors of {self.other}")
