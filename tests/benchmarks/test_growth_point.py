"""What benchmarks/growth.py measures is a step of the asked size, and all of its memory."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.growth import tables_of
from benchmarks.growth_point import Point, Subject, bytes_of, draw_batches, forget_file, write_user_table

SMALL = Point(pairs=64, groups=3, hidden=16, titles=20, users=50, threads=1)


def subject(point):
    return Subject(point, *tables_of(point), draw_batches(point, 2, np.random.default_rng(0)))


def test_a_batch_has_four_pairs_a_user_and_titles_in_zipf_order():
    batch = draw_batches(Point(), 1, np.random.default_rng(0))[0]
    assert set(np.unique(batch.user, return_counts=True)[1]) == {4}
    counts = np.bincount(batch.title, minlength=700)
    assert len(batch.user) == 8192 and 1.6 < counts[0] / counts[1] < 2.4


@pytest.mark.parametrize("head", ["none", "plain", "lowrank"])
def test_a_point_is_a_step_of_its_size(head):
    timed = subject(replace(SMALL, head=head, groups=1 if head == "none" else 3))
    timed.run(1, timed=False)
    timed.run(2)
    found = timed.record()
    assert len(timed.step_seconds) == len(timed.prepare_seconds) == 2
    assert found["unique_users"] == 16 and found["unique_titles"] <= 20
    assert timed.model.config.groups == timed.point.groups and timed.model.config.head == head


def test_memory_counts_parameters_gradients_and_both_moments():
    timed = subject(SMALL)
    timed.run(1)
    assert timed.memory()["parameters"] == 4 * timed.model.params.flat.nbytes
    assert timed.memory()["workspace"] >= 3 * 16 * 16 * 4, "Z1, Z2 and dY of 16 users"


def test_memory_does_not_count_the_tables():
    small, large = (subject(replace(SMALL, users=users)) for users in (1000, 2000))
    grown = large.memory()["batches"] - small.memory()["batches"]
    assert 0 <= grown < 1000 * 512 * 2, "a user more is some integers, not a row of features"


def test_views_of_one_array_count_once():
    array = np.zeros(10)
    assert bytes_of([array[:3], {"a": array[5:]}, (array,)]) == 80
    assert bytes_of([array, np.zeros(1)], without=(array[2:],)) == 8


def test_a_loss_that_is_not_finite_is_not_timed():
    timed = subject(SMALL)
    timed.model.params["logit.bias"][...] = np.nan
    with pytest.raises(RuntimeError, match="the loss is nan"):
        timed.run(1)


def test_a_forgotten_table_is_read_again_from_the_disk(tmp_path):
    write_user_table(tmp_path / "users.npy", 100)
    table = np.load(tmp_path / "users.npy", mmap_mode="r")
    before = table.copy()
    forget_file(table)
    assert table.shape == (100, 512) and table.dtype == np.float16
    assert np.array_equal(table, before) and np.abs(before).max() > 1
