"""Directories appear whole or not at all, and damage in them is named."""

import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core import storage
from twotower.core.errors import InputError
from twotower.core.storage import (
    MANIFEST,
    GrowingColumns,
    StagedDirectory,
    check_contents,
    file_facts,
    load_array,
    read_csv,
    read_json,
    read_manifest,
    whole_file,
    write_csv,
    write_json,
)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def stage(target, text="new", overwrite=False):
    """A directory with a manifest and one file."""
    with StagedDirectory(target, overwrite) as staged:
        (staged.path / "a.txt").write_text(text)
        write_json(staged.path / MANIFEST, {"format": 1, "files": file_facts(staged.path)})
        staged.commit()


# ---------------------------------------------------------------- whole or not at all


def test_a_directory_appears_when_it_is_finished(tmp_path):
    with StagedDirectory(tmp_path / "deep" / "world") as staged:
        (staged.path / "a.txt").write_text("new")
        assert not (tmp_path / "deep" / "world").exists()
        staged.commit()
    assert (tmp_path / "deep" / "world" / "a.txt").read_text() == "new"
    assert names(tmp_path / "deep") == ["world"]


def test_after_an_error_in_the_middle_nothing_remains(tmp_path):
    with pytest.raises(ZeroDivisionError), StagedDirectory(tmp_path / "world") as staged:
        (staged.path / "a.txt").write_text("new")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_what_was_never_finished_does_not_remain(tmp_path):
    with StagedDirectory(tmp_path / "world"):
        pass
    assert names(tmp_path) == []


def test_an_existing_directory_is_replaced_only_when_asked(tmp_path):
    stage(tmp_path / "world", "old")
    with pytest.raises(InputError, match="world: exists already; give another directory or --overwrite"):
        stage(tmp_path / "world")
    assert (tmp_path / "world" / "a.txt").read_text() == "old"
    stage(tmp_path / "world", overwrite=True)
    assert (tmp_path / "world" / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["world"]


def test_the_old_one_stays_when_the_new_one_fails(tmp_path):
    stage(tmp_path / "world", "old")
    with pytest.raises(ZeroDivisionError), StagedDirectory(tmp_path / "world", overwrite=True):
        raise ZeroDivisionError
    assert (tmp_path / "world" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["world"]


def test_the_old_one_comes_back_when_the_new_one_cannot_take_its_place(tmp_path):
    stage(tmp_path / "world", "old")
    with pytest.raises(OSError), StagedDirectory(tmp_path / "world", overwrite=True) as staged:
        shutil.rmtree(staged.path)  # as a clean-up of hidden files might
        staged.commit()
    assert (tmp_path / "world" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["world"]


@pytest.mark.parametrize("what", ["a directory of something else", "a file"])
def test_what_is_no_dataset_is_never_overwritten(tmp_path, what):
    target = tmp_path / "home"
    letter = target / "letter.txt" if what.startswith("a directory") else target
    letter.parent.mkdir(exist_ok=True)
    letter.write_text("dear")
    with pytest.raises(InputError, match=r"home: has no manifest\.json, so it will not be overwritten"):
        StagedDirectory(target, overwrite=True)
    assert letter.read_text() == "dear"


def test_an_empty_directory_may_be_filled_when_asked(tmp_path):
    (tmp_path / "world").mkdir()
    stage(tmp_path / "world", overwrite=True)
    assert names(tmp_path / "world") == ["a.txt", MANIFEST]


def test_the_slower_of_two_does_not_replace_the_faster(tmp_path):
    with pytest.raises(InputError, match="exists already"), StagedDirectory(tmp_path / "world") as slow:
        slow.path.rename(tmp_path / "elsewhere")  # so that both can be of this process
        stage(tmp_path / "world", "fast")
        (tmp_path / "elsewhere").rename(slow.path)
        slow.commit()
    assert (tmp_path / "world" / "a.txt").read_text() == "fast"
    assert names(tmp_path) == ["world"]


def test_leftovers_of_a_killed_process_are_in_nobodys_way(tmp_path):
    for leftover in (".world.partial-1", f".world.partial-{os.getpid()}", ".world.old-1"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "half.npy").write_bytes(b"\x93NUMPY")
    stage(tmp_path / "world")
    assert names(tmp_path / "world") == ["a.txt", MANIFEST]


def test_the_present_directory_is_refused_and_not_crashed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^\.: exists already"):
        StagedDirectory(".")


def test_behind_a_link_the_directory_itself_is_replaced(tmp_path):
    stage(tmp_path / "disk" / "world", "old")
    (tmp_path / "world").symlink_to(tmp_path / "disk" / "world")
    stage(tmp_path / "world", overwrite=True)
    assert (tmp_path / "world").is_symlink()
    assert (tmp_path / "disk" / "world" / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["disk", "world"] and names(tmp_path / "disk") == ["world"]


def test_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file/world: cannot write there"),
        StagedDirectory(tmp_path / "file" / "world"),
    ):
        pass


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


# ---------------------------------------------------------------- manifests


@pytest.fixture
def directory(tmp_path):
    """A directory as its writer left it."""
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a.txt").write_text("aaaa")
    (tmp_path / "d" / "sub" / "b.txt").write_text("bbb")
    write_json(tmp_path / "d" / MANIFEST, {"format": 1, "files": file_facts(tmp_path / "d")})
    return tmp_path / "d"


def rewrite(directory, **changes):
    manifest = json.loads((directory / MANIFEST).read_text())
    (directory / MANIFEST).write_text(json.dumps(manifest | changes))


def test_a_manifest_has_size_and_checksum_of_every_file(directory):
    files = read_manifest(directory, "dataset")["files"]
    assert files.keys() == {"a.txt", "sub/b.txt"}
    assert files["a.txt"] == {"bytes": 4, "sha256": hashlib.sha256(b"aaaa").hexdigest()}


def test_a_file_that_is_missing_or_has_another_size_is_named(directory):
    (directory / "a.txt").write_text("aaaaa")
    with pytest.raises(InputError, match=r"d/a\.txt: 5 bytes, manifest\.json says 4"):
        read_manifest(directory, "dataset")
    (directory / "a.txt").unlink()
    with pytest.raises(InputError, match=r"d/a\.txt: missing \(named in manifest\.json\)"):
        read_manifest(directory, "dataset")


def test_other_contents_of_the_same_size_are_found_by_checksum(directory):
    (directory / "sub" / "b.txt").write_text("bbB")
    manifest = read_manifest(directory, "dataset")
    with pytest.raises(InputError, match=r"d/sub/b\.txt: contents differ from the checksum"):
        check_contents(directory, manifest)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "sub/../../secret.txt", "link/secret.txt"])
def test_a_path_that_leaves_the_directory_is_refused(directory, name):
    (directory.parent / "secret.txt").write_text("s")
    (directory / "link").symlink_to(directory.parent)
    rewrite(directory, files={name: {"bytes": 1, "sha256": ""}})
    with pytest.raises(InputError, match="leaves the directory"):
        read_manifest(directory, "dataset")


@pytest.mark.parametrize("files", [None, [], {"a.txt": {}}, {"a.txt": 4}, {"a.txt": None}])
def test_a_damaged_list_of_files_is_one_line(directory, files):
    rewrite(directory, files=files)
    with pytest.raises(InputError, match="list of files is damaged"):
        read_manifest(directory, "dataset")


def test_what_is_no_such_directory_is_said(directory, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such directory; expected a dataset"):
        read_manifest(tmp_path / "nowhere", "dataset")
    rewrite(directory, format=99)
    with pytest.raises(InputError, match="not format 1 of a dataset"):
        read_manifest(directory, "dataset")
    (directory / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"d: not a dataset \(it has no manifest\.json\)"):
        read_manifest(directory, "dataset")


def test_checksums_of_large_files_report_their_progress(directory, monkeypatch):
    monkeypatch.setattr(storage, "DIGEST_BYTES", 2)
    seen = []
    facts = file_facts(directory, lambda *where: seen.append(where))
    assert seen == [("checksums", done, 7) for done in (2, 4, 6, 7)]
    assert facts == read_manifest(directory, "dataset")["files"], "the pieces change no checksum"
