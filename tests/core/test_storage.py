"""Files appear whole or not at all, and damage in them is named."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core import storage
from twotower.core.errors import InputError
from twotower.core.storage import (
    GrowingColumns,
    load_array,
    read_csv,
    read_json,
    whole_file,
    write_csv,
    write_json,
)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(ZeroDivisionError), whole_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert read_json(path) == {"a": 1}
    with open(path) as reader:
        write_json(path, {"a": 2})
        assert json.load(reader) == {"a": 1}, "who was reading sees the old file whole"
    assert read_json(path) == {"a": 2}
    assert names(tmp_path) == ["facts.json"]


# ---------------------------------------------------------------- growing columns


@pytest.mark.parametrize("flush_rows", [1, 7, 1 << 18])
def test_columns_grow_by_blocks_and_are_plain_arrays(tmp_path, monkeypatch, rng, flush_rows):
    monkeypatch.setattr(storage, "FLUSH_ROWS", flush_rows)
    user, label = rng.integers(0, 99, 20), rng.integers(0, 2, 20)
    columns = GrowingColumns(tmp_path / "day", user=np.int32, label=np.uint8)
    for rows in (slice(0, 5), slice(5, 5), slice(5, 12), slice(12, 20)):
        columns.append(user=user[rows], label=label[rows].astype(np.uint8))
    columns.close()
    for name, values, dtype in (("user", user, np.int32), ("label", label, np.uint8)):
        found = np.load(tmp_path / "day" / f"{name}.npy", allow_pickle=False)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, values)


def test_columns_without_rows_are_empty_arrays(tmp_path):
    GrowingColumns(tmp_path, user=np.int32).close()
    assert load_array(tmp_path / "user.npy").shape == (0,)


def test_columns_of_unequal_length_or_name_are_refused(tmp_path):
    columns = GrowingColumns(tmp_path, user=np.int32, title=np.int32)
    with pytest.raises(ValueError, match="lengths"):
        columns.append(user=np.arange(3), title=np.arange(2))
    with pytest.raises(ValueError, match="columns"):
        columns.append(user=np.arange(3))
    with pytest.raises(TypeError):
        columns.append(user=np.arange(3), title=np.full(3, 0.5))


def test_rows_go_to_disk_before_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "FLUSH_ROWS", 10)
    columns = GrowingColumns(tmp_path, user=np.int32)
    for _ in range(5):
        columns.append(user=np.arange(4))
        assert sum(map(len, columns.blocks["user"])) < 10


# ---------------------------------------------------------------- reading


def test_an_array_is_mapped_and_read_only(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100))
    array = load_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap) and not array.flags.writeable


@pytest.mark.parametrize("damage", ["cut short", "garbage", "empty", "a directory", "an archive", "objects", "pickle"])
def test_a_damaged_array_is_named(tmp_path, damage):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(100))
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "garbage":
        path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'shape': (((" + b" " * 200)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "a directory":
        path.unlink()
        path.mkdir()
    elif damage == "an archive":
        np.savez(tmp_path / "b.npz", np.arange(3))
        (tmp_path / "b.npz").replace(path)
    elif damage == "objects":
        np.save(path, np.array([Trap()] * 20, object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"a\.npy: not a readable \.npy array") as caught:
        load_array(path)
    assert "\n" not in str(caught.value)
    assert not sprung


sprung: list[int] = []


class Trap:
    """What runs code of its own when it is unpickled."""

    def __reduce__(self):
        return spring, ()


def spring():
    sprung.append(1)


def test_the_trap_of_these_tests_is_one():
    pickle.loads(pickle.dumps(Trap()))
    assert sprung.pop() == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.npy: missing"):
        load_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.json: missing"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"a\.csv: missing"):
        read_csv(tmp_path / "a.csv")


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: not readable as JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"a,b\n1\n", b"a\n\xff\n", b'a,b\n"1,2\n'])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.csv: not a readable table"):
        read_csv(tmp_path / "a.csv")


def test_a_ragged_table_is_named_by_row(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(InputError, match=r"a\.csv: not a readable table \(row 3 has 1 fields, the first 2\)"):
        read_csv(tmp_path / "a.csv")


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


@examples(60)
@given(st.lists(st.tuples(cells, cells), min_size=1))
def test_any_text_comes_back_from_a_table(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    write_csv(path, columns)
    assert read_csv(path) == columns


def test_a_long_text_comes_back_from_a_table(tmp_path):
    write_csv(tmp_path / "a.csv", {"tags": ["rock " * 60_000]})
    assert read_csv(tmp_path / "a.csv") == {"tags": ["rock " * 60_000]}


