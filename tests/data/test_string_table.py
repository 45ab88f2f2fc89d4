"""Distinct values are numbered in order of first appearance, however many and however alike they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.data.ingest import string_table
from twotower.data.ingest.columns import IntegerColumn, TextColumn
from twotower.data.ingest.string_table import IntegerTable, StringTable


def texts_of(words: list[str]) -> TextColumn:
    parts = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, parts)])
    return TextColumn(np.frombuffer(b"".join(parts), np.uint8), ends[:-1], ends[1:])


def by_hand(values: list) -> tuple[list[int], list]:
    """The number of each value, and the distinct ones."""
    distinct = list(dict.fromkeys(values))
    return [distinct.index(value) for value in values], distinct


@pytest.fixture
def tiny(monkeypatch):
    """Tables that begin with room for one."""
    monkeypatch.setattr(string_table, "FIRST_SLOTS", 4)
    monkeypatch.setattr(string_table, "FIRST_BYTES", 1)


@examples(100)
@given(st.lists(st.lists(st.text("abé\0", max_size=20), max_size=12), max_size=4))
def test_texts_are_numbered_in_order_of_first_appearance(blocks):
    table, found, said = StringTable(), [], []
    for block in blocks:
        found += table.numbers(texts_of(block)).tolist()
        said += table.since(len(said))
    assert (found, said) == by_hand([text for block in blocks for text in block])


@examples(100)
@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=12), max_size=4))
def test_integers_are_numbered_in_order_of_first_appearance(blocks):
    table, found, said = IntegerTable(), [], []
    for block in blocks:
        found += table.numbers(IntegerColumn(np.array(block, np.int64))).tolist()
        said += table.since(len(said))
    assert (found, list(map(int, said))) == by_hand([x for block in blocks for x in block])


def test_tables_grow(tiny):
    values = np.random.default_rng(0).integers(0, 3000, 9000)
    numbers, distinct = by_hand(values.tolist())
    integers, texts = IntegerTable(), StringTable()
    assert integers.numbers(IntegerColumn(values)).tolist() == numbers
    assert texts.numbers(texts_of([f"user {x}" for x in values])).tolist() == numbers
    assert integers.since(0) == list(map(str, distinct))
    assert texts.since(0) == [f"user {x}" for x in distinct]


def test_texts_with_the_same_hash_are_told_apart(tiny, monkeypatch):
    for name in ("number_texts", "place_texts"):
        kernel = getattr(string_table, name)
        monkeypatch.setattr(string_table, name, getattr(kernel, "py_func", kernel))
    monkeypatch.setattr(string_table, "hash_of", lambda data, start, end: np.uint64(7))
    words = ["ann", "bob", "an", "ann", "annabella", "annabelle", "", "bob", "annabella", ""]
    assert StringTable().numbers(texts_of(words)).tolist() == by_hand(words)[0]
