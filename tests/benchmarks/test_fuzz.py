"""The corpus of benchmarks/fuzz.py: every reader takes or refuses it, and the tool notices one that does neither."""

from unittest import mock

import pytest

from benchmarks import fuzz


@pytest.mark.parametrize("name", fuzz.READERS)
def test_the_corpus_is_read_or_refused(name):
    pytest.importorskip("pyarrow")
    pytest.importorskip("duckdb")
    contents = [path.read_bytes() for path in sorted((fuzz.CORPUS / name).iterdir())]
    assert any([fuzz.read(name, content) for content in contents])  # of a list: all are read
    assert not fuzz.read(name, b"\x00")


def test_two_ways_that_differ_and_other_errors_are_noticed():
    pytest.importorskip("duckdb")
    from twotower.data.ingest import days

    plain = (fuzz.CORPUS / "csv" / "plain").read_bytes()
    assert fuzz.read("csv", plain)
    same_day = mock.patch.object(days.Days, "_of_arrow", lambda self, column: self.codes(["2024-01-01"] * len(column)))
    with same_day, pytest.raises(AssertionError, match="carefully"):
        fuzz.read("csv", plain)
    with mock.patch.dict(fuzz.READERS, array=lambda content, folder: 1 / 0), pytest.raises(ZeroDivisionError):
        fuzz.read("array", b"")
