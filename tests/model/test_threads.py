"""Tiles cover every row once, never cross groups, and are shared out evenly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.model.engine.threads import TILE_ROWS, Threads, cut_into_tiles, most_tiles, split, tile_height
from twotower.model.gradients import CHUNKS, in_chunks


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6).filter(any))
def test_tiles_cover_every_row_once_and_never_cross_groups(sizes):
    segments = np.concatenate([[0], np.cumsum(sizes)])
    tiles = cut_into_tiles(segments, tile_height(int(segments[-1])))
    rows = [row for tile in tiles for row in range(tile.rows.start, tile.rows.stop)]
    assert rows == list(range(segments[-1]))
    for tile in tiles:
        assert segments[tile.group] <= tile.rows.start < tile.rows.stop <= segments[tile.group + 1]
        assert tile.height <= TILE_ROWS
    assert [tile.number for tile in tiles] == list(range(len(tiles)))
    assert len(tiles) <= most_tiles(int(segments[-1]), len(sizes))
    chunks = in_chunks(tiles)
    assert len(chunks) <= CHUNKS and [tile for chunk in chunks for tile in chunk] == tiles


def test_chunks_are_of_about_equal_length():
    chunks = in_chunks(cut_into_tiles(np.array([0, 5000, 5010, 8192])))
    rows = [sum(tile.height for tile in chunk) for chunk in chunks]
    assert len(chunks) == CHUNKS and max(rows) - min(rows) <= 2 * TILE_ROWS


@given(st.integers(1, 5000), st.integers(1, 64))
def test_spans_cover_everything_once(size, parts):
    spans = split(size, parts)
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(size))
    assert len(spans) <= parts


@pytest.mark.parametrize("threads", [1, 3])
def test_all_items_are_worked_on(threads):
    done = []
    pool = Threads(threads)
    pool.run(done.append, list(range(10)))
    pool.close()
    assert sorted(done) == list(range(10))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_thread_is_raised(threads):
    def fail(item):
        raise ArithmeticError(f"item {item}")

    with pytest.raises(ArithmeticError, match="item"):
        Threads(threads).run(fail, [1, 2])
