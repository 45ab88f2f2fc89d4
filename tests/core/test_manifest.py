"""Directories change as a whole or not at all, and damage in them is named."""

import hashlib
import os
from contextlib import suppress

import numpy as np
import pytest

from benchmarks.faults.children import killed_before
from twotower.core import locks
from twotower.core import manifest as module
from twotower.core.errors import InputError
from twotower.core.locks import LOCK, locked
from twotower.core.manifest import MANIFEST, Files, Verification, describe, read_manifest
from twotower.core.staging import StagedDirectory, clear_leftovers
from twotower.core.storage import read_record, write_record


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def stage(target, text="new", overwrite=False):
    """A directory with a manifest and one file."""
    with StagedDirectory(target, overwrite) as staged:
        (staged.path / "a.txt").write_text(text)
        staged.commit({})


def read(directory):
    return Files(directory, read_manifest(directory, "dataset")).path("a.txt").read_text()


# ---------------------------------------------------------------- whole or not at all


def test_a_directory_appears_when_it_is_finished(tmp_path):
    with StagedDirectory(tmp_path / "deep" / "world") as staged:
        (staged.path / "a.txt").write_text("new")
        assert not (tmp_path / "deep" / "world").exists()
        staged.commit({})
    assert read(tmp_path / "deep" / "world") == "new"
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
    assert read(tmp_path / "world") == "old"
    stage(tmp_path / "world", overwrite=True)
    assert read(tmp_path / "world") == "new"
    assert names(tmp_path) == ["world"]


def test_the_old_one_stays_when_the_new_one_fails(tmp_path):
    stage(tmp_path / "world", "old")
    with pytest.raises(ZeroDivisionError), StagedDirectory(tmp_path / "world", overwrite=True):
        raise ZeroDivisionError
    assert read(tmp_path / "world") == "old"
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
        stage(tmp_path / "world", "fast")
        slow.commit({})
    assert read(tmp_path / "world") == "fast" and names(tmp_path) == ["world"]


def test_what_dead_processes_left_is_removed_and_what_is_alive_is_not(tmp_path):
    for leftover in (".world.partial-1", ".world.partial-2"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "half.npy").write_bytes(b"\x93NUMPY")
    with StagedDirectory(tmp_path / "world") as slow:
        (slow.path / "a.txt").write_text("slow")
        stage(tmp_path / "world")
        assert names(tmp_path) == [slow.path.name, "world"]
    assert names(tmp_path / "world") == ["a.txt", MANIFEST]


def test_the_present_directory_is_refused_and_not_crashed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^\.: exists already"):
        StagedDirectory(".")


@pytest.mark.parametrize("text", ['{"formula": 1, "format": 1}', '{"name": "a web page"}', "[]"])
def test_what_is_something_else_is_not_overwritten(tmp_path, text):
    other = tmp_path / "other"
    other.mkdir()
    (other / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"is of something else .* will not be overwritten; give another directory"):
        StagedDirectory(other, overwrite=True, mark="days")
    (other / MANIFEST).write_text('{"days": ')  # half of one
    StagedDirectory(other, overwrite=True, mark="days")


def test_behind_a_link_the_directory_itself_is_replaced(tmp_path):
    stage(tmp_path / "disk" / "world", "old")
    (tmp_path / "world").symlink_to(tmp_path / "disk" / "world")
    stage(tmp_path / "world", overwrite=True)
    assert (tmp_path / "world").is_symlink()
    assert read(tmp_path / "disk" / "world") == "new"
    assert names(tmp_path) == ["disk", "world"] and names(tmp_path / "disk") == ["world"]


def test_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file/world: cannot write there"),
        StagedDirectory(tmp_path / "file" / "world"),
    ):
        pass


# ---------------------------------------------------------------- manifests


@pytest.fixture
def directory(tmp_path):
    """A directory as its writer left it."""
    with StagedDirectory(tmp_path / "d") as staged:
        (staged.path / "sub").mkdir()
        (staged.path / "a.txt").write_text("aaaa")
        (staged.path / "sub" / "b.txt").write_text("bbb")
        np.save(staged.path / "c.npy", np.arange(3))
        staged.commit({})
    return tmp_path / "d"


def rewrite(directory, **changes):
    """By somebody who knows how a manifest is written."""
    write_record(directory / MANIFEST, read_record(directory / MANIFEST) | changes)


def test_a_manifest_has_the_facts_of_every_file(directory):
    files = read_manifest(directory, "dataset")["files"]
    assert files.keys() == {"a.txt", "c.npy", "sub/b.txt"}
    assert files["a.txt"] == {"bytes": 4, "sha256": hashlib.sha256(b"aaaa").hexdigest()}
    assert (files["c.npy"]["dtype"], files["c.npy"]["shape"]) == ("int64", [3])


def test_every_byte_of_a_manifest_counts(directory):
    """Flipped, it is refused, or reads as the same: a space for a line feed."""
    path, before = directory / MANIFEST, read_record(directory / MANIFEST)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        with suppress(InputError):
            assert read_record(path) == before


def test_a_file_that_is_missing_or_has_another_size_is_named(directory):
    (directory / "a.txt").write_text("aaaaa")
    with pytest.raises(InputError, match=r"d/a\.txt: 5 bytes, manifest\.json says 4"):
        read_manifest(directory, "dataset")
    (directory / "a.txt").unlink()
    with pytest.raises(InputError, match=r"d/a\.txt: missing \(named in manifest\.json\)"):
        read_manifest(directory, "dataset")


def test_other_contents_of_the_same_size_are_found_on_first_use(directory, monkeypatch):
    assert read(directory) == "aaaa"
    files = Files(directory, read_manifest(directory, "dataset"))
    (directory / "a.txt").write_text("aaaA")
    for use in (lambda: files.path("a.txt"), files.verify):
        with pytest.raises(InputError, match=r"d/a\.txt: contents differ from the checksum"):
            use()
    monkeypatch.setattr(Verification, "enabled", False)
    assert files.path("a.txt").read_text() == "aaaA", "as asked for"


def test_a_process_that_opens_others_for_ever_does_not_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    monkeypatch.setattr(Verification, "done", {})
    for number in range(5):
        stage(tmp_path / str(number))
        assert read(tmp_path / str(number)) == "new"
    assert len(Verification.done) == 3
    (tmp_path / "0" / "a.txt").write_text("neW")
    with pytest.raises(InputError, match="contents differ"):
        read(tmp_path / "0")


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "sub/../../secret.txt", "link/secret.txt"])
@pytest.mark.parametrize("key", ["name", "path"])
def test_a_path_that_leaves_the_directory_is_refused(directory, name, key):
    (directory.parent / "secret.txt").write_text("s")
    (directory / "link").symlink_to(directory.parent)
    facts = {"bytes": 1, "sha256": ""}
    rewrite(directory, files={name: facts} if key == "name" else {"a.txt": facts | {"path": name}})
    with pytest.raises(InputError, match="leaves the directory"):
        read_manifest(directory, "dataset")


@pytest.mark.parametrize(
    "files",
    [None, [], {"a.txt": {}}, {"a.txt": 4}, {"a.txt": None}, {"a.txt": {"bytes": "4", "sha256": ""}},
     {"a.txt": {"bytes": 4, "sha256": "", "path": 7}}, {"a\0": {"bytes": 4, "sha256": ""}}],
)  # fmt: skip
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
    monkeypatch.setattr(module, "DIGEST_BYTES", 2)
    (directory / "c.npy").unlink()
    seen = []
    facts = describe(directory, lambda *where: seen.append(where))
    assert seen == [("checksums", done, 7) for done in (2, 4, 6, 7)]
    assert facts["a.txt"] == read_record(directory / MANIFEST)["files"]["a.txt"], "the pieces change no checksum"


@pytest.mark.parametrize(
    ("dtype", "shape"), [("int32", (3,)), ("int64", (4,)), ("int64", (3, None)), (["f2", "f4"], None)]
)
def test_an_array_of_another_type_or_shape_is_refused(directory, dtype, shape):
    files = Files(directory, read_manifest(directory, "dataset"))
    assert files.array("c.npy", "int64", (None,)).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match=r"c\.npy: int64 \(3,\), expected"):
        files.array("c.npy", dtype, shape)


# ---------------------------------------------------------------- one rename


def change(directory, text, name="a.txt"):
    with StagedDirectory(directory, overwrite=True) as staged:
        (staged.path / name).write_text(text)
        staged.update("dataset", lambda manifest: None)


def test_a_change_is_a_generation_and_the_last_one_goes(directory):
    change(directory, "new")
    assert read(directory) == "new"
    assert names(directory) == ["c.npy", "generation-2", MANIFEST, "sub"]
    change(directory, "newer")
    assert read(directory) == "newer" and "generation-2" not in names(directory)
    change(directory, "BBB", "b.txt")
    assert names(directory / "generation-3") == ["a.txt"] and names(directory / "generation-4") == ["b.txt"]


def test_who_has_read_a_manifest_never_sees_the_next_state(directory):
    before = Files(directory, read_manifest(directory, "dataset"))
    pinned = Files(directory, read_manifest(directory, "dataset"))
    pinned.pin(["c.npy"])
    with StagedDirectory(directory, overwrite=True) as staged:
        np.save(staged.path / "c.npy", np.arange(3) + 7)
        staged.update("dataset", lambda manifest: None)
    with pytest.raises(InputError, match=r"c\.npy: missing"):
        before.array("c.npy")
    assert pinned.array("c.npy").tolist() == [0, 1, 2]


def test_killed_before_any_operation_the_old_state_or_the_new_one_is_there(directory):
    """And the next change leaves no trace of the killed one."""
    operation, seen = 0, set()
    while killed_before(operation := operation + 1, lambda: change(directory, "new")):
        seen.add(read(directory))
        clear_leftovers(directory)
        change(directory, "aaaa")
        generation = read_manifest(directory, "dataset")["files"]["a.txt"]["path"].partition("/")[0]
        assert names(directory) == sorted(["c.npy", generation, MANIFEST, "sub"])
    assert seen == {"aaaa", "new"} and operation > 10


def test_readers_who_do_not_know_manifests_find_plain_names_after_every_change(tmp_path):
    for text in ("old", "new"):
        with StagedDirectory(tmp_path / "out", overwrite=True, plain=True) as staged:
            (staged.path / "a.txt").write_text(text)
            staged.commit({})
        assert (tmp_path / "out" / "a.txt").read_text() == text
        assert names(tmp_path / "out") == ["a.txt", MANIFEST] and names(tmp_path) == ["out"]


@pytest.mark.parametrize("wait", [False, True])
def test_a_lock_says_who_holds_it_and_goes_with_its_process(tmp_path, monkeypatch, wait):
    monkeypatch.setattr(locks, "WAIT", 0.1)  # its process may have been stopped
    with (
        locked(tmp_path),
        pytest.raises(InputError, match=rf"in use by process {os.getpid()} on .* since 2.*; wait"),
        locked(tmp_path, wait),
    ):
        pass
    assert names(tmp_path) == []
    (tmp_path / LOCK).write_text("{damaged")  # a killed process leaves its file, but no lock
    with locked(tmp_path):
        pass
    assert names(tmp_path) == []
