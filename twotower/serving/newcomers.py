"""People whom a dataset does not have, as users of it: its titles and territories, and histories of their own."""

from collections.abc import Mapping, Sequence

import numpy as np

from twotower.core.checks import check_rows, check_shape
from twotower.core.errors import InputError
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.features.projection import FeatureProjector, basis_of


class Newcomers(Dataset):
    """A dataset with other users, who have watched titles of it; their vectors are projected onto its basis.

    Everything that scores users of a dataset scores them: its model, memory and availability are as they were.
    """

    def __init__(
        self, dataset: Dataset, ids: Sequence[str], territory: np.ndarray, user: np.ndarray, title: np.ndarray,
        columns: Mapping[str, Sequence[str]] | None = None, vectors: np.ndarray | None = None,
    ):  # fmt: skip
        """``territory`` (n,) of each of the ``ids``; user and title (m,) are rows of what they watched.

        ``columns`` are profiles; those that the vectors need and that are missing are empty. ``vectors`` (n, F) are
        theirs where the dataset has user vectors of its own.

        Errors: InputError for vectors that are missing or of another width; ValueError and IndexError for arrays that
        do not fit.
        """
        self.__dict__.update(dataset.__dict__)
        check_shape("territory", territory, (len(ids),))
        check_shape("title", title, (len(user),))
        for name, rows, n in (
            ("territory", territory, self.n_territories), ("user", user, len(ids)), ("title", title, self.n_titles)
        ):  # fmt: skip
            check_rows(name, rows, n)
        self.n_users = len(ids)
        self.user_territory = self.head_territory = np.asarray(territory, np.int16)
        self.watched = np.asarray(user, np.int32), np.asarray(title, np.int32)
        basis = basis_of(dataset)
        empty = {part.name: [""] * len(ids) for part in basis.users if part.kind == "categories"}
        self.user_columns = {**empty, **{k: list(v) for k, v in (columns or {}).items()}, "user": list(ids)}
        projector = FeatureProjector(self, basis, str(dataset.path))
        if width := sum(part.width for part in basis.users if part.kind == "own"):
            if vectors is None or vectors.shape != (len(ids), width):
                given = "none are given" if vectors is None else f"those given have the shape {vectors.shape}"
                raise InputError(f"{dataset.path} has user vectors of its own, {width} wide; {given}")
            projector.own["user"] = np.asarray(vectors, np.float32)
        elif vectors is not None:
            raise InputError(f"{dataset.path} made its user vectors itself: give histories instead of vectors")
        self.user_vectors = np.concatenate([projector.user_columns(part) for part in basis.users], axis=1)
        self._vectors_are_finite = False

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """What they watched is history, whenever it was."""
        return self.watched if day == HISTORY else (np.empty(0, np.int32), np.empty(0, np.int32))
