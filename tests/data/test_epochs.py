"""An epoch visits every pair once, in batches of the size that was asked for, one prepared ahead."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.data.epochs import BATCH_MODES, batch_bounds, epoch_batches, largest_batch, prefetch


@dataclass
class Labelled:
    user: np.ndarray
    title: np.ndarray
    label: np.ndarray


def some_pairs(n_pairs: int, n_users: int, seed: int = 0, positives: float = 0.2) -> Labelled:
    rng = np.random.default_rng(seed)
    label = (rng.random(n_pairs) < positives).astype(np.float32)
    return Labelled(rng.integers(0, max(n_users, 1), n_pairs), rng.integers(0, 9, n_pairs), label)


@examples(60)
@given(
    st.integers(0, 120),
    st.integers(1, 15),
    st.integers(1, 50),
    st.sampled_from(BATCH_MODES),
    st.integers(0, 99),
)
def test_every_pair_comes_once_in_batches_of_the_size_asked_for(n_pairs, n_users, batch_size, mode, seed):
    pairs = some_pairs(n_pairs, n_users, seed)
    batches = list(epoch_batches(pairs, batch_size, np.random.default_rng(seed), mode))
    if n_pairs == 0:
        assert batches == []
        return
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n_pairs))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= largest_batch(batch_size)
    if len(batches) > 1:  # batch-norm over a handful of rows would be noise
        assert len(batches[-1]) >= batch_size / 4


def test_a_last_batch_below_a_quarter_joins_the_one_before():
    assert batch_bounds(16, 8) == [0, 8, 16]
    assert batch_bounds(18, 8) == [0, 8, 16, 18]
    assert batch_bounds(17, 8) == [0, 8, 17]
    assert batch_bounds(1, 8) == [0, 1]
    assert batch_bounds(0, 8) == [0]
    assert max(np.diff(batch_bounds(n, 8)).max() for n in range(1, 100)) == largest_batch(8) == 9


def stretches(values: np.ndarray) -> int:
    """In how many pieces equal values lie together."""
    return 1 + int(np.sum(values[1:] != values[:-1]))


def test_users_mode_keeps_all_pairs_of_a_user_together():
    pairs = some_pairs(300, 12)
    order = np.concatenate(list(epoch_batches(pairs, 64, np.random.default_rng(0), "users")))
    assert stretches(pairs.user[order]) == 12
    shuffled = np.concatenate(list(epoch_batches(pairs, 64, np.random.default_rng(0), "pairs")))
    assert stretches(pairs.user[shuffled]) > 200


def test_positives_mode_keeps_a_positive_with_its_share_of_its_users_negatives():
    rng = np.random.default_rng(2)
    user = rng.permutation(np.repeat(np.arange(6), 27))  # 3 positives and 24 negatives each
    label = np.zeros(len(user), np.float32)
    for u in range(6):
        label[rng.choice(np.nonzero(user == u)[0], 3, replace=False)] = 1
    pairs = Labelled(user, np.zeros_like(user), label)
    order = np.concatenate(list(epoch_batches(pairs, 40, np.random.default_rng(0), "positives")))
    bundles = order.reshape(18, 9)  # 1 + alpha pairs each
    for bundle in bundles:
        assert len(set(user[bundle])) == 1 and label[bundle].sum() == 1
    assert stretches(user[order]) > 6  # bundles are shuffled, not users


def test_users_without_a_positive_are_one_bundle():
    pairs = Labelled(np.array([4, 2, 4, 2, 4]), np.zeros(5, int), np.array([0, 1, 0, 0, 0]))
    order = np.concatenate(list(epoch_batches(pairs, 5, np.random.default_rng(0), "positives")))
    assert stretches(pairs.user[order]) == 2


@pytest.mark.parametrize("mode", BATCH_MODES)
def test_the_seed_decides_the_order(mode):
    pairs = some_pairs(200, 30)
    one, again, other = (
        np.concatenate(list(epoch_batches(pairs, 50, np.random.default_rng(seed), mode))) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_unknown_modes_and_sizes_are_refused():
    with pytest.raises(ValueError, match="mode 'rows' is none of pairs, positives, users"):
        next(epoch_batches(some_pairs(5, 2), 2, np.random.default_rng(0), "rows"))
    with pytest.raises(ValueError, match="batch_size 0 is not >= 1"):
        next(epoch_batches(some_pairs(5, 2), 0, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="depth 0 is not >= 1"):
        next(prefetch([1, 2], depth=0))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_prefetch_yields_the_same_items_in_order(depth):
    assert list(prefetch(range(20), depth)) == list(range(20))
    assert list(prefetch([], depth)) == []


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_is_as_far_ahead_as_the_buffers_allow_and_no_further(depth):
    used, started = [], threading.Semaphore(0)

    def producer():
        for i in range(10):
            assert i <= len(used) + depth  # item i + depth + 1 would overwrite item i
            started.release()
            yield i

    for i in prefetch(producer(), depth):
        for _ in range(depth + 1 if i == 0 else 1 if i + depth < 10 else 0):
            assert started.acquire(timeout=60)
        used.append(i)


def test_prefetch_works_in_another_thread():
    threads = list(prefetch(threading.current_thread().name for _ in range(3)))
    assert all(name.startswith("prefetch") for name in threads)


def test_an_exception_of_the_producer_reaches_the_consumer_in_its_place():
    def producer():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        for item in prefetch(producer()):
            got.append(item)
    assert got == [1, 2]


def test_a_consumer_that_stops_early_leaves_no_thread_and_an_ended_producer():
    ended = threading.Event()

    def producer():
        try:
            i = 0
            while True:
                yield (i := i + 1)
        finally:
            ended.set()

    before = set(threading.enumerate())
    source = producer()  # held here, so that it does not end for being forgotten
    items = prefetch(source, depth=2)
    assert [next(items), next(items)] == [1, 2]
    items.close()
    assert ended.is_set() and set(threading.enumerate()) <= before
