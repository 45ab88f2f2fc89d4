"""The snapshot fixture: it notices every change of a text, and no file of it is left behind by a test that is gone."""

import re

import pytest
from snapshots import SNAPSHOTS, TESTS, Snapshot


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Snapshots in a folder of their own."""
    monkeypatch.setattr("snapshots.SNAPSHOTS", tmp_path / "snapshots")
    return lambda update=False: Snapshot(TESTS / "cli" / "test_x.py", "test_y[1 2]", {str(tmp_path): "<tmp>"}, update)


def test_a_text_must_be_the_approved_one(make, tmp_path):
    make(update=True)("one\ntwo  \n")
    assert (tmp_path / "snapshots" / "cli" / "test_x" / "test_y-1-2.txt").read_text() == "one\ntwo\n"
    make()("one\ntwo")
    with pytest.raises(pytest.fail.Exception, match=r"not as approved(?s:.*)-two\n\+2"):
        make()("one\n2\n")


def test_a_text_that_nobody_approved_fails(make):
    with pytest.raises(pytest.fail.Exception, match="--update-snapshots"):
        make()("new")


def test_several_snapshots_of_a_test_need_names(make):
    snapshot = make(update=True)
    snapshot("one")
    snapshot("two", "second")
    with pytest.raises(AssertionError, match="twice"):
        snapshot("three")


def test_paths_and_what_is_hidden_do_not_count(make, tmp_path):
    make(update=True)(f"Saved to {tmp_path}/run in 1.3 s", hide={r"[\d.]+ s": "… s"})
    make()("Saved to <tmp>/run in 7 s", hide={r"[\d.]+ s": "… s"})


def test_every_snapshot_belongs_to_a_test():
    for file in SNAPSHOTS.rglob("*.txt"):
        module = TESTS / file.parent.relative_to(SNAPSHOTS).with_suffix(".py")
        assert module.exists(), f"{file}: {module} is gone; delete it"
        tests = re.findall(r"^def (test_\w+)", module.read_text("utf-8"), re.MULTILINE)
        assert any(re.match(rf"{test}(-|\.txt$)", file.name) for test in tests), f"{file}: no such test; delete it"
