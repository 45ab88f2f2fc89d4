"""Random streams: reproducible, and no two uses share one."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.core.random_streams import Stream, generator, seed_sequence

PACKAGE = Path(__file__).resolve().parents[2] / "twotower"
#: Generators made otherwise: placeholders, a self-check, and children spawned from a stream's seed.
OTHERS = {"core/random_streams.py", "model/engine/gemm.py", "metrics/bootstrap.py", "data/synthetic/simulate.py"}

keys = st.tuples(st.integers(0, 2**96), st.sampled_from(Stream), st.lists(st.integers(0, 2**40), max_size=3).map(tuple))


def uses(source: str) -> list[str]:
    """``X`` for each ``Stream.X`` in a source text."""
    return [
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Stream"
    ]


def test_every_use_has_a_stream_of_its_own():
    names = [name for line in (PACKAGE / "core/random_streams.py").read_text("utf-8").splitlines()
             for name, equals, _ in [line.strip().partition(" = ")] if equals and name.isupper()]  # fmt: skip
    assert names == list(Stream.__members__) == [stream.name for stream in Stream], "two members with one value"
    counts = Counter(name for path in PACKAGE.rglob("*.py") for name in uses(path.read_text("utf-8")))
    assert not {name: count for name, count in counts.items() if count > 1}, "one stream, several uses"
    assert set(counts) <= set(Stream.__members__)


def test_a_stream_that_is_used_twice_is_seen():
    assert uses("a = generator(seed, Stream.LEAKS)\ndef f(): return g(0, Stream.LEAKS, 1)") == ["LEAKS", "LEAKS"]


def test_generators_are_made_from_streams():
    calls = ("default_rng(", "SeedSequence(")
    loose = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if any(call in path.read_text("utf-8") for call in calls)}  # fmt: skip
    assert loose == OTHERS


@given(keys, keys)
def test_different_keys_give_different_numbers(first, second):
    states = [generator(seed, stream, *path).integers(2**63, size=2) for seed, stream, path in (first, second)]
    assert (states[0] == states[1]).all() == (first == second)


@pytest.mark.parametrize("path", [(), (0,), (0, 0)])
def test_a_trailing_zero_is_part_of_the_key(path):  # a plain list of words would be padded with zeros
    same = seed_sequence(0, Stream.LEAKS, *path).generate_state(2), seed_sequence(0, Stream.LEAKS).generate_state(2)
    assert (same[0] == same[1]).all() == (path == ())
