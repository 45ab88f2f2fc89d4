"""A sample on disk: pairs come back as they were written, and none that can't be is let in."""


import numpy as np
import pytest
from sealing import reseal
from toy_logs import random_log

from twotower.core.errors import InputError
from twotower.core.manifest import MANIFEST
from twotower.data.dataset import Dataset
from twotower.data.sample import Pairs, Sample, SampleWriter


@pytest.fixture
def data(tmp_path):
    """A dataset of 200 users and 25 titles, without a sample."""
    return random_log().write(tmp_path / "world")


def pairs_of(*rows):
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def write(data, name="default", overwrite=False, labels=(1, 0, 0)):
    with SampleWriter(data, name, overwrite) as writer:
        writer.write_users(np.array([3, 5]), np.array([False, True]), np.array([7]))
        writer.write_pairs("train", 1, np.array([3, 3, 5]), np.array([0, 1, 2]), np.array(labels))
        writer.write_pairs("train", 0, *pairs_of((5, 4, 1)))
        writer.write_pairs("train", 1, *pairs_of((5, 9, 1)))
        writer.write_pairs("test", 10, *pairs_of((7, 0, 1), (7, 1, 0)))
        writer.finish({"alpha": 2})
    return Sample(data, name)


def damage(sample, name, row, value, dtype=None):
    """Put another value into a column, and its checksum into the manifest."""
    column = np.load(sample.path / name)
    column = column.astype(dtype or column.dtype)
    column[row] = value
    np.save(sample.path / name, column)
    reseal(sample.path)


def test_what_is_written_is_read_back(data):
    sample = write(data)
    assert sample.config == {"alpha": 2} and data.samples() == ["default"]
    assert sample.train_users.tolist() == [3, 5] and sample.active.tolist() == [False, True]
    assert sample.test_users.tolist() == [7]
    assert (sample.train_days, sample.test_days) == ([0, 1], [10])
    assert sample.train(1).user.tolist() == [3, 3, 5, 5]


def test_pairs_of_all_days_come_in_the_order_of_days(data):
    pairs = write(data).train_pairs()
    assert pairs.user.tolist() == [5, 3, 3, 5, 5] and pairs.title.tolist() == [4, 0, 1, 2, 9]
    assert pairs.label.tolist() == [1, 1, 0, 0, 1] and pairs.day.tolist() == [0, 1, 1, 1, 1]
    assert [c.dtype for c in (pairs.user, pairs.title, pairs.label, pairs.day)] == ["i8", "i4", "f4", "i4"]


def test_a_split_without_a_day_has_no_pairs(data):
    with SampleWriter(data, "empty") as writer:
        writer.write_users(np.array([], int), np.array([], bool), np.array([], int))
        writer.finish({})
    pairs = Sample(data, "empty").test_pairs()
    assert len(pairs) == 0 and pairs.user.dtype == np.int64 and pairs.label.dtype == np.float32


def test_days_have_as_many_digits_as_they_need(data):
    with SampleWriter(data, "late") as writer:
        for day in (12345, 2, 345):
            writer.write_pairs("train", day, *pairs_of((1, 1, 1)))
        writer.finish({})
    assert Sample(data, "late").train_days == [2, 345, 12345]


def test_files_that_the_manifest_does_not_know_are_not_read(data):
    sample = write(data)
    (sample.path / "train" / "day-0001.bak").mkdir()
    (sample.path / "train" / "day-0007").mkdir()
    assert sample.train_days == [0, 1]


def test_a_digest_changes_with_every_column():
    pairs = Pairs(*(np.arange(4, dtype=t) for t in (np.int64, np.int32, np.float32, np.int32)))
    others = [pairs.take(np.array([1, 0, 2, 3])), pairs.take(pairs.user < 3)]
    for name in ("user", "title", "label", "day"):
        columns = {n: getattr(pairs, n).copy() for n in ("user", "title", "label", "day")}
        columns[name][0] += 1
        others.append(Pairs(**columns))
    assert len({p.digest() for p in [pairs, *others]}) == 1 + len(others)
    assert pairs.digest() == pairs.take(slice(None)).digest()


def test_a_sample_that_does_not_exist_is_told_with_those_that_do(data):
    with pytest.raises(InputError, match=r"no sample 'default' \(samples: none\); make one with: twotower sample"):
        Sample(data)
    write(data, "a")
    write(data, "b")
    with pytest.raises(InputError, match=r"no sample 'c' \(samples: a, b\)"):
        Sample(data, "c")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../../etc", "-x", ".hidden", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(data, name):
    with pytest.raises(InputError, match="sample name"):
        Sample(data, name)
    with pytest.raises(InputError, match="sample name"):
        SampleWriter(data, name)


def test_it_appears_whole_or_not_at_all(data):
    with pytest.raises(ZeroDivisionError), SampleWriter(data, "default") as writer:
        writer.write_pairs("train", 0, *pairs_of((1, 1, 1)))
        raise ZeroDivisionError
    assert data.samples() == [] and not (data.path / "samples").exists()


def test_the_old_sample_stays_when_the_new_one_fails(data):
    write(data)
    with pytest.raises(InputError, match="exists already"):
        write(data)
    with pytest.raises(InputError, match="row 1 holds 2"):
        write(data, overwrite=True, labels=(1, 2, 0))
    assert len(Sample(data).train_pairs()) == 5
    assert data.samples() == ["default"]


@pytest.mark.parametrize("labels", [(1, 2, 0), (1, -1, 0), (1, 0.5, 0), (1, np.nan, 0), (True, 255, False)])
def test_labels_other_than_0_and_1_are_not_written(data, labels):
    with pytest.raises(InputError, match=r"default: row 1 holds .*, expected a label 0 or 1"):
        write(data, labels=labels)


@pytest.mark.parametrize(("value", "dtype"), [(2, np.uint8), (255, np.uint8), (-1, np.int8)])
def test_labels_other_than_0_and_1_are_named_by_file_and_row(data, value, dtype):
    sample = write(data)
    damage(sample, "train/day-0001/label.npy", 2, value, dtype)
    with pytest.raises(InputError, match=rf"train/day-0001/label\.npy: row 2 holds {value}, expected 0 to 1"):
        Sample(data).train_pairs()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("user", 200, "0 to 199"), ("user", -1, "0 to 199"), ("title", 25, "0 to 24"), ("title", -7, "0 to 24")],
)
def test_users_and_titles_that_the_dataset_lacks_are_named_by_file_and_row(data, name, value, expected):
    sample = write(data)
    damage(sample, f"test/day-0010/{name}.npy", 1, value)
    with pytest.raises(InputError, match=rf"day-0010/{name}\.npy: row 1 holds {value}, expected {expected}"):
        Sample(data).test_pairs()


def test_columns_of_unequal_length_are_refused(data):
    sample = write(data)
    np.save(sample.path / "train/day-0001/user.npy", np.zeros(9, np.int32))
    reseal(sample.path)
    with pytest.raises(InputError, match=r"day-0001/title\.npy: int32 \(\d,\), expected 9 whole numbers"):
        Sample(data).train(1)


def test_an_incomplete_sample_is_refused(data):
    sample = write(data)
    (sample.path / "train" / "day-0000" / "label.npy").unlink()
    with pytest.raises(InputError, match=r"day-0000/label\.npy: missing"):
        Sample(data)
    (sample.path / MANIFEST).unlink()
    with pytest.raises(InputError, match="default: not a sample"):
        Sample(data)


def test_a_check_looks_at_checksums_pairs_and_users(data):
    sample = write(data)
    assert sample.check() == {"train_pairs": 5, "test_pairs": 2, "update_pairs": 0}
    path = sample.path / "train" / "day-0000" / "title.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match=r"title\.npy: contents differ"):
        sample.check()


def test_a_check_finds_test_users_that_are_trained_on(data):
    with SampleWriter(data, "leaky") as writer:
        writer.write_users(np.array([3, 5]), np.array([False, False]), np.array([2, 5]))
        writer.finish({})
    with pytest.raises(InputError, match="1 users are both training and test users, such as 5"):
        Sample(data, "leaky").check()


def test_an_unknown_split_is_refused(data):
    with SampleWriter(data, "default") as writer, pytest.raises(ValueError, match="split 'valid'"):
        writer.write_pairs("valid", 0, *pairs_of((1, 1, 1)))


def test_the_tiny_world_is_read_in_whole(tiny_world):
    sample = Sample(Dataset.open(tiny_world))
    assert not np.isin(sample.test_users, sample.train_users).any()
    assert np.isin(sample.train_pairs().user, sample.train_users).all()
    assert np.isin(sample.test_pairs().user, sample.test_users).all()
