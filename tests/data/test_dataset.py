"""The dataset on disk: what is written is read back, and what is incomplete or damaged is named."""

from dataclasses import replace

import numpy as np
import pytest
from sealing import reseal

from twotower.core import staging
from twotower.core.errors import InputError
from twotower.core.manifest import describe
from twotower.data import dataset as module
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import DatasetWriter, update_territories, write_vectors
from twotower.data.territories import look_up

TITLES = {"title": ["t1", "t2", "t3"], "kind": ["global", "local", ""], "text": ['a "b", c', "d\ne", "f\rg"]}
AVAILABILITY = np.array([[1, 1], [1, 0], [0, 1]], bool)


def write_parts(writer, users=5, vectors=True):
    """Everything but the end."""
    writer.write_territories(replace(look_up(["France", "Mars"]), users=np.array([3, 2])))
    writer.write_titles(TITLES, AVAILABILITY, np.array([0, 4, 2]))
    ids = [f"u{i}" for i in range(users)]
    writer.write_users(np.arange(users) % 2, ids, {"age": [str(20 + i) for i in range(users)]})
    if vectors:
        writer.open_user_vectors((users, 4), np.float16)[:] = np.arange(users)[:, None]
        writer.write_title_vectors(np.ones((3, 6)))
    writer.append_events(2, np.array([0, 1]), np.array([2, 2]))
    writer.append_events(-1, np.array([4]), np.array([1]))
    writer.append_events(2, np.array([3]), np.array([0]))


def write(path, overwrite=False, **options):
    with DatasetWriter(path, "import", 7, {"events": "log.csv"}, overwrite) as writer:
        write_parts(writer, **options)
        writer.finish(train_days=3, test_days=1, has_time=True)
    return Dataset.open(path)


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "world")


def test_what_is_written_is_read_back(data):
    assert (data.n_users, data.n_titles, data.n_territories) == (5, 3, 2)
    assert (data.train_days, data.test_days, data.has_time) == (3, 1, True)
    assert data.territories.code == ["FR", "Mars"] and data.territories.users.tolist() == [3, 2]
    assert np.isnan(data.territories.latitude[1]) and data.territories.latitude[0] == pytest.approx(46, abs=3)
    assert data.territories.group.tolist() == [-1, -1]
    assert data.titles == TITLES and data.title_ids == TITLES["title"]
    assert data.user_ids == ["u0", "u1", "u2", "u3", "u4"] and data.user_columns["age"][0] == "20"
    assert data.user_territory.tolist() == [0, 1, 0, 1, 0] and data.user_territory.dtype == np.int16
    np.testing.assert_array_equal(data.availability, AVAILABILITY)
    assert data.launch_day.tolist() == [0, 4, 2]
    assert data.user_vectors.dtype == np.float16 and data.user_vectors[3].tolist() == [3, 3, 3, 3]
    assert data.title_vectors.dtype == np.float32 and data.title_vectors.shape == (3, 6)


def test_events_are_read_by_day_and_all_in_order(data):
    assert [column.tolist() for column in data.events(2)] == [[0, 1, 3], [2, 2, 0]]
    assert [column.tolist() for column in data.history()] == [[4], [1]]
    assert [len(column) for column in data.events(0)] == [0, 0]
    user, title, day = data.all_events()
    assert (user.tolist(), title.tolist(), day.tolist()) == ([4, 0, 1, 3], [1, 2, 2, 0], [-1, 2, 2, 2])
    assert {user.dtype, title.dtype, day.dtype} == {np.dtype(np.int32)}


def test_the_manifest_says_where_it_came_from(data):
    provenance = data.manifest["provenance"]
    assert (provenance["kind"], provenance["seed"]) == ("import", 7)
    assert provenance["config"] == {"events": "log.csv"}
    assert data.manifest["counts"] == {"users": 5, "titles": 3, "territories": 2, "events": 4}


def test_users_need_no_ids_and_titles_no_launch_day(tmp_path):
    with DatasetWriter(tmp_path / "world", "import", 0, {}) as writer:
        writer.write_territories(look_up(["France"]))
        writer.write_titles({"title": ["t"]}, np.ones((1, 1)))
        writer.write_users(np.zeros(2))
        writer.finish(1, 0, has_time=False)
    data = Dataset.open(tmp_path / "world")
    assert data.user_ids is None and data.user_columns == {}
    assert data.launch_day.tolist() == [0]


@pytest.mark.parametrize("stage", ["parts", "finish"])
def test_nothing_half_written_stays_after_an_error(tmp_path, monkeypatch, stage):
    def fail(*arguments):
        raise OSError("No space left on device")

    if stage == "finish":
        monkeypatch.setattr(staging, "write_record", fail)
    with pytest.raises(OSError, match="No space"), DatasetWriter(tmp_path / "world", "import", 0, {}) as writer:
        write_parts(writer)
        if stage == "parts":
            fail()
        writer.finish(3, 1, has_time=True)
    assert list(tmp_path.iterdir()) == []


def test_the_old_dataset_stays_when_its_successor_fails(tmp_path):
    write(tmp_path / "world")
    with pytest.raises(ZeroDivisionError), DatasetWriter(tmp_path / "world", "import", 0, {}, True) as writer:
        write_parts(writer, users=2)
        raise ZeroDivisionError
    assert Dataset.open(tmp_path / "world").n_users == 5
    assert write(tmp_path / "world", overwrite=True, users=2).n_users == 2
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


@pytest.mark.parametrize("what", ["user", "title"])
def test_an_id_that_occurs_twice_is_named(tmp_path, what):
    with pytest.raises(InputError) as caught, DatasetWriter(tmp_path / "world", "import", 0, {}) as writer:
        if what == "user":
            writer.write_users(np.zeros(3), ["a", "b", "a"])
        else:
            writer.write_titles({"title": ["a", "b", "a"]}, np.ones((3, 1)))
    assert str(caught.value) == f"{what} id 'a' occurs 2 times, expected once"


# ---------------------------------------------------------------- what is damaged


@pytest.mark.parametrize(
    "name",
    [
        "territories.csv",
        "titles.csv",
        "users.csv",
        "user_territory.npy",
        "availability.npy",
        "launch_day.npy",
        "users.npy",
        "titles.npy",
        "events/day-0002/title.npy",
    ],
)
def test_an_incomplete_directory_is_refused_with_the_file_that_is_missing(data, name):
    (data.path / name).unlink()
    with pytest.raises(InputError, match=f"{name}: missing"):
        Dataset.open(data.path)


def test_a_file_cut_short_is_refused(data):
    path = data.path / "users.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"users\.npy: \d+ bytes, manifest\.json says \d+"):
        Dataset.open(data.path)


@pytest.mark.parametrize("key", ["counts", "days", "log"])
def test_a_manifest_of_something_else_is_refused(data, key):
    reseal(data.path, **{key: None})
    with pytest.raises(InputError, match=f"no '{key}', so this is not a dataset"):
        Dataset.open(data.path)


def test_a_territory_table_with_a_word_for_a_number_is_named(data):
    path = data.path / "territories.csv"
    path.write_text(path.read_text().replace(",-1\n", ",no\n"))
    reseal(data.path)
    with pytest.raises(InputError, match=r"territories\.csv: not a territory table \(.*'no'"):
        _ = Dataset.open(data.path).territories


def test_without_vectors_the_command_that_makes_them_is_named(tmp_path):
    data = write(tmp_path / "world", vectors=False)
    assert not data.has_vectors
    with pytest.raises(InputError, match=r"users\.npy: missing; make vectors with: twotower embed"):
        _ = data.user_vectors
    with pytest.raises(InputError, match=r"titles\.npy: missing"):
        _ = data.title_vectors


@pytest.mark.parametrize("vectors", [np.ones((4, 4), np.float32), np.ones(5, np.float32), np.ones((5, 4))])
def test_vectors_of_another_shape_or_type_are_refused(data, vectors):
    np.save(data.path / "users.npy", vectors)
    with pytest.raises(InputError, match="expected 5 rows of float16 or float32"):
        _ = Dataset.open(reseal(data.path)).user_vectors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_named_by_table_row_and_count(tmp_path, monkeypatch, value):
    monkeypatch.setattr(module, "CHECKED_ROWS", 2)
    data = write(tmp_path / "world")
    users = np.load(data.path / "users.npy")
    users[[3, 4], 2] = value
    np.save(data.path / "users.npy", users)
    with pytest.raises(InputError, match=r"users\.npy: 2 of 5 rows hold NaN or infinity, the first is row 3"):
        Dataset.open(reseal(data.path)).check_vectors()
    np.save(data.path / "users.npy", np.zeros((5, 4), np.float16))
    np.save(data.path / "titles.npy", np.full((3, 6), value, np.float32))
    with pytest.raises(InputError, match=r"titles\.npy: 3 of 3 rows hold NaN or infinity, the first is row 0"):
        Dataset.open(reseal(data.path)).check_vectors()


def test_looking_at_vectors_reports_its_progress(data, monkeypatch):
    monkeypatch.setattr(module, "CHECKED_ROWS", 3)
    seen = []
    data.check_vectors(lambda *where: seen.append(where))
    assert seen == [("checking vectors", done, 8) for done in (3, 5, 8)]


def test_a_check_compares_checksums_and_looks_at_vectors(data):
    assert data.check()["users"] == 5
    path = data.path / "launch_day.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match=r"launch_day\.npy: contents differ from the checksum"):
        data.check()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("user_territory.npy", np.array([0, 1, 2, 1, 0], np.int16), "row 2 holds 2, expected 0 to 1"),
        ("user_territory.npy", np.array([0, 1, 0, -1, 0], np.int16), "row 3 holds -1, expected 0 to 1"),
        ("user_territory.npy", np.array([0, 1], np.int16), r"int16 \(2,\), expected 5 whole numbers"),
        ("events/day-0002/user.npy", np.array([0, 1, 5], np.int32), "row 2 holds 5, expected 0 to 4"),
        ("events/day-0002/title.npy", np.array([9, 2, 0], np.int32), "row 0 holds 9, expected 0 to 2"),
        ("events/day-0002/title.npy", np.array([0, 2], np.int32), r"int32 \(2,\), expected 3 whole numbers"),
        ("events/day-0002/user.npy", np.array([0.5, 1, 2]), r"float64 \(3,\), expected whole numbers"),
    ],
)
def test_rows_of_nobody_are_named(data, name, array, message):
    np.save(data.path / name, array)
    data = Dataset.open(reseal(data.path))
    with pytest.raises(InputError, match=f"{name}: {message}"):
        _ = data.events(2), data.user_territory


# ---------------------------------------------------------------- what is changed later


def test_groups_are_stored_with_the_territories(data):
    update_territories(data.path, replace(data.territories, group=np.array([1, 0], np.int16)))
    changed = Dataset.open(data.path)
    assert changed.territories.group.tolist() == [1, 0]
    assert changed.territories.code == data.territories.code
    assert changed.check()["events"] == 4


def test_vectors_are_stored_with_where_they_come_from(tmp_path):
    data = write(tmp_path / "world", vectors=False)
    write_vectors(data.path, np.zeros((5, 2), np.float16), np.ones((3, 7), np.float32), {"dims": 2})
    changed = Dataset.open(data.path)
    assert changed.user_vectors.shape == (5, 2) and changed.title_vectors.shape == (3, 7)
    assert changed.manifest["provenance"]["vectors"] == {"dims": 2}
    write_vectors(data.path, title_vectors=np.zeros((3, 1), np.float32))
    assert Dataset.open(data.path).user_vectors.shape == (5, 2)
    assert Dataset.open(data.path).title_vectors.shape == (3, 1)


@pytest.mark.parametrize(
    ("users", "titles", "message"),
    [
        (np.zeros((4, 2)), None, r"users\.npy: got vectors \(4, 2\), expected 5 rows"),
        (None, np.zeros(3), r"titles\.npy: got vectors \(3,\), expected 3 rows"),
    ],
)
def test_vectors_for_another_number_of_rows_change_nothing(data, users, titles, message):
    with pytest.raises(InputError, match=message):
        write_vectors(data.path, users, titles)
    assert Dataset.open(data.path).check()["users"] == 5


def test_a_change_that_fails_leaves_the_dataset_as_it_was(data, monkeypatch):
    def fail(*arguments):
        raise OSError("No space left on device")

    before = sorted(path.name for path in data.path.rglob("*"))
    monkeypatch.setattr(staging, "describe", fail)
    with pytest.raises(OSError):
        update_territories(data.path, replace(data.territories, group=np.array([1, 0], np.int16)))
    assert sorted(path.name for path in data.path.rglob("*")) == before
    assert Dataset.open(data.path).territories.group.tolist() == [-1, -1]


def test_of_two_changes_at_once_both_are_kept(data, monkeypatch):
    def meanwhile(stage, progress):
        monkeypatch.undo()
        update_territories(data.path, replace(data.territories, group=np.array([1, 0], np.int16)))
        return describe(stage)

    monkeypatch.setattr(staging, "describe", meanwhile)
    write_vectors(data.path, np.ones((5, 2), np.float32), np.ones((3, 2), np.float32))
    after = Dataset.open(data.path)
    assert after.check()["users"] == 5
    assert after.territories.group.tolist() == [1, 0] and after.user_vectors.shape == (5, 2)
