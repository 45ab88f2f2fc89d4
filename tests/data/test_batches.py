"""Batches on unique rows say the same as the pairs they were made of."""

from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.data.batches import Batcher, PairBatch
from twotower.data.gathering import gather_rows

F_USER, F_TITLE = 5, 3


@dataclass
class Labelled:
    user: np.ndarray
    title: np.ndarray
    label: np.ndarray


@st.composite
def worlds(draw):
    """Tables, groups and pairs of a batch, from a single pair on one user up to every pair on its own."""
    n_users, n_titles = draw(st.integers(1, 30)), draw(st.integers(1, 12))
    n_pairs, n_groups = draw(st.integers(1, 60)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    precision = draw(st.sampled_from([np.float16, np.float32]))
    return (
        rng.standard_normal((n_users, F_USER)).astype(precision),
        rng.standard_normal((n_titles, F_TITLE)).astype(np.float32),
        rng.integers(0, n_groups, n_users),
        n_groups,
        Labelled(
            rng.integers(0, n_users, n_pairs),
            rng.integers(0, n_titles, n_pairs).astype(np.int32),
            rng.integers(0, 2, n_pairs).astype(np.float32),
        ),
    )


def small_batcher(batch_size=8, buffers=2, n_users=20, n_titles=6, n_groups=3):
    rng = np.random.default_rng(0)
    users = rng.standard_normal((n_users, F_USER)).astype(np.float32)
    titles = rng.standard_normal((n_titles, F_TITLE)).astype(np.float32)
    return Batcher(users, titles, np.arange(n_users) % n_groups, n_groups, batch_size, buffers)


def assert_same(a: PairBatch, b: PairBatch) -> None:
    for field in fields(PairBatch):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


@examples(60)
@given(worlds())
def test_unique_rows_expand_to_the_batch_that_was_asked_for(world):
    users, titles, group, n_groups, pairs = world
    batch = Batcher(users, titles, group, n_groups, 60).batch(pairs.user, pairs.title, pairs.label)
    assert len(batch) == len(pairs.user)
    np.testing.assert_array_equal(np.sort(batch.order), np.arange(len(pairs.user)))
    asked_users, asked_titles = pairs.user[batch.order], pairs.title[batch.order]
    np.testing.assert_array_equal(batch.user_rows[batch.pair_user], asked_users)
    np.testing.assert_array_equal(batch.title_rows[batch.pair_title], asked_titles)
    np.testing.assert_array_equal(batch.user_features[batch.pair_user], users[asked_users].astype(np.float32))
    np.testing.assert_array_equal(batch.title_features[batch.pair_title], titles[asked_titles])
    np.testing.assert_array_equal(batch.labels, pairs.label[batch.order])


@examples(60)
@given(worlds())
def test_rows_are_unique_counted_and_in_the_order_of_group_and_first_occurrence(world):
    users, titles, group, n_groups, pairs = world
    batch = Batcher(users, titles, group, n_groups, 60).batch(pairs.user, pairs.title, pairs.label)
    seen_users = np.array(list(dict.fromkeys(pairs.user.tolist())), int)
    expected = seen_users[np.argsort(group[seen_users], kind="stable")]
    np.testing.assert_array_equal(batch.user_rows, expected)
    np.testing.assert_array_equal(batch.title_rows, list(dict.fromkeys(pairs.title.tolist())))
    np.testing.assert_array_equal(batch.user_counts, [np.sum(pairs.user == u) for u in batch.user_rows])
    np.testing.assert_array_equal(batch.title_counts, [np.sum(pairs.title == t) for t in batch.title_rows])
    assert batch.segments[0] == 0 and batch.segments[-1] == len(batch.user_rows)
    for k in range(n_groups):  # an empty group has an empty segment
        rows = batch.user_rows[batch.segments[k] : batch.segments[k + 1]]
        assert (group[rows] == k).all()
    assert batch.pair_start[0] == 0
    np.testing.assert_array_equal(np.diff(batch.pair_start), batch.user_counts)
    np.testing.assert_array_equal(batch.pair_user, np.repeat(np.arange(len(expected)), np.diff(batch.pair_start)))


def test_arrays_have_the_types_that_the_network_takes():
    batch = small_batcher().batch(np.array([3, 3, 0]), np.array([1, 2, 1]), np.array([1.0, 0.0, 1.0]))
    types = {field.name: getattr(batch, field.name).dtype.name for field in fields(batch)}
    assert types == {
        "user_features": "float32", "title_features": "float32", "user_rows": "int64", "title_rows": "int64",
        "user_counts": "float32", "title_counts": "float32", "segments": "int64", "pair_start": "int64",
        "pair_user": "int32", "pair_title": "int32", "labels": "float32", "order": "int64",
        "user_territory": "int32", "memory": "float32",
    }  # fmt: skip
    assert all(getattr(batch, name).flags.c_contiguous for name in types)


def test_what_was_seen_in_earlier_batches_does_not_matter():
    rng = np.random.default_rng(1)
    batcher = small_batcher()
    for _ in range(30):
        n = rng.integers(1, 9)
        user, title, label = rng.integers(0, 20, n), rng.integers(0, 6, n), rng.integers(0, 2, n)
        assert_same(batcher.batch(user, title, label), small_batcher().batch(user, title, label))


def test_two_buffers_hold_a_batch_while_the_next_one_is_made_and_not_longer():
    batcher = small_batcher(buffers=2)
    first = batcher.batch_view(np.array([1, 2]), np.array([0, 1]), np.array([0, 1]))
    kept = first.copy()
    batcher.batch_view(np.array([5, 6]), np.array([3, 4]), np.array([1, 0]))
    assert_same(first, kept)
    third = batcher.batch_view(np.array([8, 9]), np.array([3, 4]), np.array([1, 0]))
    assert np.shares_memory(first.user_features, third.user_features)
    assert not np.array_equal(first.user_features, kept.user_features)


def test_a_batch_that_is_no_view_shares_nothing_with_the_next():
    batcher = small_batcher(buffers=1)
    first, again = (batcher.batch(np.array([1, 2]), np.array([0, 1]), np.array([0, 1])) for _ in range(2))
    batcher.batch_view(np.array([5, 6]), np.array([3, 4]), np.array([1, 0]))
    assert_same(first, again)
    assert not any(np.shares_memory(getattr(first, f.name), getattr(again, f.name)) for f in fields(PairBatch))


def test_every_half_precision_value_is_gathered_exactly():
    table = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 64)  # subnormals, NaN and all
    rows = np.random.default_rng(0).permutation(len(table))
    out = np.full((len(rows), 64), np.nan, np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaN, without the JIT
        gather_rows(out, table, rows)
    expected = table[rows].astype(np.float32)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(out.view(np.uint32)[number], expected.view(np.uint32)[number])
    np.testing.assert_array_equal(np.isnan(out), ~number)


@pytest.mark.parametrize("precision", [np.float16, np.float32])
def test_tables_may_be_read_only_memory_maps(tmp_path, precision):
    table = np.random.default_rng(0).standard_normal((20, F_USER)).astype(precision)
    np.save(tmp_path / "users.npy", table)
    mapped = np.load(tmp_path / "users.npy", mmap_mode="r")
    titles = np.ones((4, F_TITLE), np.float32)
    batch = Batcher(mapped, titles, np.zeros(20, int), 1, 4).batch(
        np.array([7, 7, 3]), np.array([0, 1, 2]), np.zeros(3)
    )
    np.testing.assert_array_equal(batch.user_features, table[[7, 3]].astype(np.float32))


def test_wrong_input_is_named():
    batcher = small_batcher(batch_size=8)
    some = np.array([0, 1])
    with pytest.raises(IndexError, match="user goes from 0 to 20, expected 0 to 19"):
        batcher.batch(np.array([0, 20]), some, some)
    with pytest.raises(IndexError, match="title goes from -1 to 1"):
        batcher.batch(some, np.array([-1, 1]), some)
    with pytest.raises(ValueError, match=r"labels \(3,\) differ"):
        batcher.batch(some, some, np.zeros(3))
    for n in (0, 10):
        with pytest.raises(ValueError, match=f"{n} pairs: expected from 1 to 9"):
            batcher.batch(*(np.zeros(n, int),) * 3)
    tables = np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)
    with pytest.raises(IndexError, match="user_group goes from 0 to 2, expected 0 to 1"):
        Batcher(*tables, np.array([0, 1, 2, 0]), 2, 8)
    with pytest.raises(ValueError, match=r"user_group has shape \(3,\), expected \(4,\)"):
        Batcher(*tables, np.zeros(3, int), 2, 8)
    with pytest.raises(ValueError, match="title_vectors: float64"):
        Batcher(tables[0], np.ones((3, 2)), np.zeros(4, int), 1, 8)
    for batch_size, n_groups, buffers in ((0, 1, 2), (8, 0, 2), (8, 1, 0)):
        with pytest.raises(ValueError, match="0: expected a whole number of at least 1"):
            Batcher(*tables, np.zeros(4, int), n_groups, batch_size, buffers)


@pytest.mark.parametrize("make", ["batch", "batch_view"])
@pytest.mark.parametrize(
    ("user", "title", "label", "error", "message"),
    [
        ([1.9, 0.0], [0, 1], [0, 1], ValueError, "user is float64, expected integers"),
        ([1, 0], [0.0, 1.5], [0, 1], ValueError, "title is float64, expected integers"),
        ([True, False], [0, 1], [0, 1], ValueError, "user is bool"),
        ([1, -1], [0, 1], [0, 1], IndexError, "user goes from -1 to 1"),
        ([1, 2**32], [0, 1], [0, 1], IndexError, "user goes from 1 to 4294967296"),
        ([1, 0], [0, 6], [0, 1], IndexError, "title goes from 0 to 6, expected 0 to 5"),
        ([1, 0], [0, 1], [0, 7], ValueError, "labels: expected 0 or 1"),
        ([1, 0], [0, 1], [0, np.nan], ValueError, "labels: expected 0 or 1"),
        ([1, 0], [0, 1], ["0", "1"], ValueError, "labels: expected 0 or 1"),
        ([[1, 0]], [[0, 1]], [[0, 1]], ValueError, "differ"),
    ],
)
def test_no_kernel_sees_what_is_no_row_or_no_label(make, user, title, label, error, message):
    batcher = small_batcher()
    with pytest.raises(error, match=message):
        getattr(batcher, make)(*map(np.array, (user, title, label)))


@pytest.mark.parametrize(
    ("territory", "n", "error", "message"),
    [
        ([0, 1, 2, 3], 3, IndexError, "user_territory goes from 0 to 3, expected 0 to 2"),
        ([0, 1, -1, 2], 3, IndexError, "user_territory goes from -1 to 2"),
        ([0.0, 1.9, 2.0, 0.0], 3, ValueError, "user_territory is float64, expected integers"),
        ([0, 1, 2], 3, ValueError, "user_territory has shape"),
        ([0, 1, 2, 2], 0, ValueError, "n_territories 0"),
    ],
)
def test_no_kernel_sees_what_is_no_territory(territory, n, error, message):
    tables = np.ones((4, 2), np.float32), np.ones((3, 2), np.float32), np.zeros(4, int)
    with pytest.raises(error, match=message):
        Batcher(*tables, 1, 8, user_territory=np.array(territory), n_territories=n)


def test_an_epoch_of_batches_is_every_pair_once():
    rng = np.random.default_rng(3)
    pairs = Labelled(rng.integers(0, 20, 41), rng.integers(0, 6, 41), rng.integers(0, 2, 41))
    batcher = small_batcher(batch_size=8)
    seen = []
    for batch in batcher.batch_views(pairs, np.random.default_rng(0), mode="users"):
        rows = batch.user_rows[batch.pair_user], batch.title_rows[batch.pair_title], batch.labels.astype(int)
        seen += list(zip(*(r.tolist() for r in rows), strict=True))
    assert sorted(seen) == sorted(zip(pairs.user.tolist(), pairs.title.tolist(), pairs.label.tolist(), strict=True))


def test_the_largest_merged_batch_fits():
    pairs = Labelled(np.arange(20) % 20, np.arange(20) % 6, np.zeros(20))
    sizes = [len(b) for b in small_batcher(batch_size=9).batch_views(pairs, np.random.default_rng(0))]
    assert sizes == [9, 11] and small_batcher(batch_size=9).capacity == 11
