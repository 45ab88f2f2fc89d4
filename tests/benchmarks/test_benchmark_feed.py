"""benchmarks/feed.py compares epochs that learn the same from the same batches."""

import numpy as np
import pytest

from benchmarks import feed
from benchmarks.feed import Feed, open_dataset, summary


@pytest.fixture(params=[1, 4])
def small(request, tmp_path, monkeypatch):
    """A workload of four small batches."""
    for name, value in {"PAIRS": 64, "TITLES": 20, "USER_WIDTH": 8, "TITLE_WIDTH": 12}.items():
        monkeypatch.setattr(feed, name, value)
    monkeypatch.setitem(feed.MODEL, "hidden", 8)
    dataset = open_dataset(tmp_path / "world", 64 * 4)
    return Feed(dataset, request.param, 4, 1, tmp_path), request.param


def test_all_ways_end_with_the_same_weights(small):
    workload, _ = small
    weights = []
    for way in (workload.bare, workload.epoch, workload.loop, workload.in_turn, workload.epoch):
        assert way() > 0
        weights.append(workload.weights())
    assert len(set(weights)) == 1 and weights[0] != workload.start[0].tobytes()


def test_batches_have_as_many_pairs_a_user_as_they_should(small):
    workload, pairs_per_user = small
    assert workload.users == 64 / pairs_per_user
    assert all((batch.user_counts == pairs_per_user).all() for batch in workload.prepared)
    assert len(workload.prepared) == 4 and len(np.unique(workload.prepared[0].title_rows)) > 5


def test_users_lie_on_disk_in_half_precision(small):
    vectors = small[0].trainer.dataset.user_vectors
    assert isinstance(vectors, np.memmap) and vectors.dtype == np.float16


def test_shares_are_taken_within_a_round():
    found = summary({"bare step": [1.0, 2.0, 4.0], "epoch": [2.0, 4.0, 8.0], "preparation": [0.1, 0.2, 0.4]}, 5)
    assert found["epoch"]["speed_of_bare"] == 0.5 and found["preparation"]["time_of_bare"] == 0.1
    assert found["bare step"]["median_ms"] == 500.0
