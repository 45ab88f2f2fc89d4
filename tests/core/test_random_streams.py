"""One seed, many uses: no two of them draw the same numbers."""

import re
from pathlib import Path

import numpy as np
import pytest

from twotower.core.random_streams import Stream, generator, random_key, seed_sequence

PATHS = [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]


def test_no_two_streams_and_paths_draw_the_same_numbers():
    first = {generator(3, stream, *path).bytes(16) for stream in Stream for path in PATHS}
    assert len(first) == len(Stream) * len(PATHS)


def test_a_stream_is_neither_the_seed_itself_nor_that_of_another_seed():
    plain = [np.random.default_rng(3).bytes(16), np.random.default_rng([3, Stream.TEST_USERS]).bytes(16)]
    assert generator(3, Stream.TEST_USERS).bytes(16) not in [*plain, generator(4, Stream.TEST_USERS).bytes(16)]


def test_the_same_stream_starts_at_the_same_place():
    one, two = (generator(3, Stream.BATCH_ORDER, 7).bytes(16) for _ in range(2))
    assert one == two
    assert random_key(3, Stream.NEGATIVES, 1) == random_key(3, Stream.NEGATIVES, 1) != random_key(3, Stream.NEGATIVES)


@pytest.mark.parametrize("stream", Stream)
def test_spawned_seeds_are_no_streams_of_another_use(stream):
    children = {child.generate_state(4).tobytes() for child in seed_sequence(0, stream).spawn(3)}
    streams = {seed_sequence(0, other).generate_state(4).tobytes() for other in Stream}
    assert len(children) == 3 and not children & streams


def test_each_stream_has_one_use():
    """Each is named in one module at most: two modules that name one would draw the same numbers."""
    package = Path(__file__).parents[2] / "twotower"
    used = [
        (name, path.name)
        for path in package.rglob("*.py")
        if path.name != "random_streams.py"
        for name in set(re.findall(r"\bStream\.([A-Z_]+)", path.read_text()))
    ]
    names = [name for name, _ in used]
    assert sorted(names) == sorted(set(names)), used
