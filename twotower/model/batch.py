"""The batch as the network takes it: B pairs on their unique rows, sorted by user row, user rows sorted by group."""

from typing import Protocol

import numpy as np

from twotower.core.checks import check_ascending, check_rows, check_shape, check_type
from twotower.model.parameters import Floats

Integers = np.ndarray  # of one integer dtype


class Batch(Protocol):
    """What a pass over the network reads. B pairs, R user rows, T title rows, K groups, F_u and F_t features.

    ``user_features[pair_user]``, ``title_features[pair_title]`` and ``labels`` are the batch with nothing shared.
    """

    @property
    def user_features(self) -> Floats: ...  # (R, F_u) float32, C-contiguous

    @property
    def title_features(self) -> Floats: ...  # (T, F_t) float32, C-contiguous

    @property
    def title_rows(self) -> Integers: ...  # (T,) row of the title table; objectives with tables by title read it

    @property
    def user_counts(self) -> Floats: ...  # (R,) float32: pairs of the row, at least 1

    @property
    def title_counts(self) -> Floats: ...  # (T,) float32

    @property
    def segments(self) -> Integers: ...  # (K+1,) user rows of group k are segments[k]:segments[k+1]

    @property
    def pair_start(self) -> Integers: ...  # (R+1,) pairs of user row r are pair_start[r]:pair_start[r+1]

    @property
    def pair_user(self) -> Integers: ...  # (B,) user row of the pair, ascending

    @property
    def pair_title(self) -> Integers: ...  # (B,) title row of the pair

    @property
    def labels(self) -> Floats: ...  # (B,) float32, 0 or 1

    @property
    def memory(self) -> Floats: ...  # (B, F) float32: memory terms of the pair; read by models with memory alone

    @property
    def user_territory(self) -> Integers: ...  # (R,) territory of the row; (0,) where no parameter has territories


def check_batch(
    batch: Batch, widths: tuple[int, int], groups: int, territories: int, memory_terms: int = 0
) -> None:
    """Whether a batch fits a network with features of these widths, K groups, C territories and F memory terms.

    Labels may be anything here, since a batch to predict has none: see ``check_labels``.

    Errors: ValueError for shapes and dtypes, IndexError for rows and territories out of range.
    """
    R, T, B = len(batch.user_features), len(batch.title_features), len(batch.labels)
    if B == 0:
        raise ValueError("the batch is empty: expected at least one pair")
    sides = ("user", R, widths[0], batch.user_features, batch.user_counts), (
        "title", T, widths[1], batch.title_features, batch.title_counts)  # fmt: skip
    for name, rows, width, features, counts in sides:
        check_shape(f"{name}_features", features, (rows, width))
        check_shape(f"{name}_counts", counts, (rows,))
        check_type(f"{name}_features", features, np.float32)
        check_type(f"{name}_counts", counts, np.float32)
    check_type("labels", batch.labels, np.float32)
    for name, bounds, parts, last in (
        ("segments", batch.segments, groups, R), ("pair_start", batch.pair_start, R, B),
    ):  # fmt: skip
        check_shape(name, bounds, (parts + 1,))
        check_ascending(name, bounds, last)
    for name, index, rows in (("pair_user", batch.pair_user, R), ("pair_title", batch.pair_title, T)):
        check_shape(name, index, (B,))
        check_rows(name, index, rows)
    if memory_terms:
        check_shape("memory", batch.memory, (B, memory_terms))
        check_type("memory", batch.memory, np.float32)
    if territories:
        check_shape("user_territory", batch.user_territory, (R,))
        check_rows("user_territory", batch.user_territory, territories)
