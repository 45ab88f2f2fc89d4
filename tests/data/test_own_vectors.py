"""Vectors made elsewhere come in as they are, in the right order, or are refused with their first fault."""

import sys

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.data.features import own_vectors
from twotower.data.features.own_vectors import read_vectors
from twotower.data.ingest import blocks

IDS = ["ann", "bob", "cid"]
VECTORS = np.array([[1.5, -2.0], [0.0, 3.25], [4.0, 5.0]], np.float32)


def save_npy(path, array, **options):
    np.save(path / "own.npy", array, **options)
    return path / "own.npy"


def save_csv(path, text):
    (path / "own.csv").write_text(text)
    return path / "own.csv"


def save_parquet(path, **columns):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path / "own.parquet")
    return path / "own.parquet"


def read(path, ids=IDS):
    return read_vectors(path, "user", len(IDS), ids)


def fault_of(path, ids=IDS) -> str:
    with pytest.raises(InputError) as caught:
        read(path, ids)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", ">f8"])
def test_an_array_is_taken_in_the_order_of_the_dataset(tmp_path, dtype):
    vectors = read(save_npy(tmp_path, VECTORS.astype(dtype)), ids=None)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == VECTORS.astype(dtype).tolist()


def test_a_csv_table_is_put_in_the_order_of_the_ids(tmp_path):
    vectors = read(save_csv(tmp_path, "id,a,b\ncid,4,5\nzoe,9,9\nann,1.5,-2\nbob,0,3.25\n"))
    assert vectors.tolist() == VECTORS.tolist()


def test_a_parquet_table_may_hold_columns_of_numbers(tmp_path):
    path = save_parquet(tmp_path, user=["cid", "zoe", "ann", "bob"], a=[4.0, 9.0, 1.5, 0.0], b=[5.0, 9.0, -2.0, 3.25])
    assert read(path).tolist() == VECTORS.tolist()


@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
def test_a_parquet_table_may_hold_lists_of_numbers(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    number = pa.float64()
    types = {"list": pa.list_(number), "large": pa.large_list(number), "fixed": pa.list_(number, 2)}
    lists = pa.array([[4, 5], [9, 9], [1.5, -2], [0, 3.25]], types[kind])
    assert read(save_parquet(tmp_path, user=["cid", "zoe", "ann", "bob"], v=lists)).tolist() == VECTORS.tolist()


def test_ids_may_be_numbers(tmp_path):
    path = save_parquet(tmp_path, user=[3, 1, 2], a=[4.0, 1.5, 0.0], b=[5.0, -2.0, 3.25])
    assert read(path, ["1", "2", "3"]).tolist() == VECTORS.tolist()


def test_tables_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 1)
    monkeypatch.setattr(own_vectors, "CHECKED_ROWS", 1)
    text = "id,a,b\ncid,4,5\nann,1.5,-2\nbob,0,{}\n"
    assert read(save_csv(tmp_path, text.format(3.25))).tolist() == VECTORS.tolist()
    assert "line 4, user 'bob'" in fault_of(save_csv(tmp_path, text.format("nan")))
    path = save_parquet(tmp_path, user=["cid", "ann", "bob"], v=[[4.0, 5.0], [1.5, -2.0], [0.0, 3.25]])
    assert read(path).tolist() == VECTORS.tolist()
    path = save_parquet(tmp_path, user=["cid", "ann", "bob"], v=[[4.0, 5.0], [1.5, -2.0], [0.0]])
    assert fault_of(path) == ", row 3: 1 dimensions, the rows before have 2"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_nan_and_infinity_are_named_with_row_and_count(tmp_path, value):
    vectors = VECTORS.astype(np.float64)
    vectors[1:, 1] = value
    assert fault_of(save_npy(tmp_path, vectors)) == ", row 1: NaN or infinity, in 2 of 3 rows"
    path = save_parquet(tmp_path, user=["zoe", *IDS], a=[1.0, *vectors[:, 0]], b=[1.0, *vectors[:, 1]])
    assert fault_of(path) == ", row 3, user 'bob': NaN or infinity, in 2 of 3 rows"


def test_nan_of_a_user_whom_the_dataset_does_not_have_does_not_matter(tmp_path):
    path = save_csv(tmp_path, "id,a,b\ncid,4,5\nann,1.5,-2\nzoe,nan,1\nbob,0,3.25\n")
    assert read(path).tolist() == VECTORS.tolist()


def test_a_missing_number_is_nan(tmp_path):
    path = save_csv(tmp_path, "id,a,b\ncid,4,5\nann,1.5,\nbob,0,3.25\n")
    assert fault_of(path) == ", line 3, user 'ann': NaN or infinity, in 1 of 3 rows"
    path = save_parquet(tmp_path, user=IDS, a=[1.0, None, 2.0])
    assert fault_of(path) == ", row 2, user 'bob': NaN or infinity, in 1 of 3 rows"


def test_an_array_of_another_length_is_refused(tmp_path):
    fault = fault_of(save_npy(tmp_path, VECTORS[:2]))
    assert fault == ": 2 rows, expected 3: one for each user in the dataset's order"


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.zeros(3), "expected numbers of shape (3, dimensions)"),
        (np.zeros((3, 0)), "expected numbers of shape (3, dimensions)"),
        (np.zeros((3, 1, 1)), "expected numbers of shape (3, dimensions)"),
        (np.array([["a"]] * 3), ": not a readable .npy array (of <U1, expected numbers)"),
        (np.zeros((3, 2), complex), ": not a readable .npy array (of complex128, expected numbers)"),
    ],
)
def test_an_array_that_is_no_table_of_numbers_is_refused(tmp_path, array, fault):
    assert fault in fault_of(save_npy(tmp_path, array))


def test_nothing_is_ever_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    assert "not a readable .npy array" in fault_of(save_npy(tmp_path, np.array([[Bomb()]]), allow_pickle=True))


def test_an_archive_of_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "own.npz", VECTORS)
    assert fault_of(tmp_path / "own.npz") == ": an archive, expected a single array as numpy.save writes it"


def test_an_id_that_occurs_twice_is_refused_with_its_line(tmp_path):
    path = save_csv(tmp_path, "id,a\ncid,4\nann,1\nann,2\nbob,0\n")
    assert fault_of(path) == ", line 4, column 'id': 'ann' occurs a second time"


def test_ids_without_a_vector_are_counted_and_one_is_named(tmp_path):
    assert ": 2 of 3 users have no vector, such as 'bob'" in fault_of(save_csv(tmp_path, "id,a\nann,4\n"))
    assert "3 of 3 users have no vector" in fault_of(save_csv(tmp_path, "id,a\n"))


def test_a_table_without_numbers_is_refused(tmp_path):
    assert "one column, expected ids in the first" in fault_of(save_csv(tmp_path, "id\nann\nbob\ncid\n"))
    path = save_csv(tmp_path, "id,a\nann,1\nbob,\ncid,high\n")
    assert fault_of(path) == ", line 4, column 'a': 'high' is not a number"
    assert ", column 'a': string, expected numbers" in fault_of(save_parquet(tmp_path, user=IDS, a=["1", "2", "3"]))
    nested = save_parquet(tmp_path, user=[{"id": name} for name in IDS], a=[1.0, 2.0, 3.0])
    assert read_vectors(nested, "user", 3, IDS).tolist() == [[1], [2], [3]], "a nested id by its path"
    path = save_parquet(tmp_path, user=IDS, v=[["1"], ["2"], ["3"]])
    assert ", column 'v': string, expected numbers" in fault_of(path)


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        ([[1.0, 2.0], [1.0], [1.0, 2.0]], ", row 2: 1 dimensions, the first row has 2"),
        ([[1.0, 2.0], None, [1.0, 2.0]], ", row 2: 0 dimensions, the first row has 2"),
        ([[], [], []], ", row 1: 0 dimensions, the first row has 0"),
    ],
)
def test_lists_of_unequal_length_are_refused(tmp_path, lists, fault):
    pa = pytest.importorskip("pyarrow")
    assert fault_of(save_parquet(tmp_path, user=IDS, v=pa.array(lists, pa.list_(pa.float64())))) == fault


def test_a_dataset_without_ids_takes_only_arrays(tmp_path):
    path = save_csv(tmp_path, "id,a\nann,4\n")
    assert fault_of(path, ids=None) == ": this dataset has no user ids; expected a .npy array in its order"


def test_a_missing_file_is_named(tmp_path):
    assert fault_of(tmp_path / "none.npy") == ": No such file or directory"


def test_without_pyarrow_parquet_is_one_line_on_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "own.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    assert "pip install 'twotower[parquet]'" in fault_of(tmp_path / "own.parquet")
