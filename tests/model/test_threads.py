"""Tiles cover every row once, never cross groups, and are shared out evenly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.model.engine.threads import CHUNKS, TILE_ROWS, Threads, chunked_tiles


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6).filter(any))
def test_tiles_cover_every_row_once_and_never_cross_groups(sizes):
    segments = np.concatenate([[0], np.cumsum(sizes)])
    runs = chunked_tiles(segments)
    tiles = [tile for run in runs for tile in run]
    rows = [row for tile in tiles for row in range(tile.rows.start, tile.rows.stop)]
    assert rows == list(range(segments[-1]))
    for tile in tiles:
        assert segments[tile.group] <= tile.rows.start < tile.rows.stop <= segments[tile.group + 1]
        assert tile.rows.stop - tile.rows.start <= TILE_ROWS
    assert [tile.number for tile in tiles] == list(range(len(tiles)))
    assert len(runs) <= CHUNKS and all(len({tile.chunk for tile in run}) == 1 for run in runs)
    assert len(tiles) <= segments[-1] // TILE_ROWS + len(sizes) + CHUNKS  # what the workspaces have room for


def test_chunks_are_of_about_equal_length():
    runs = chunked_tiles(np.array([0, 5000, 5010, 8192]))
    rows = [sum(tile.rows.stop - tile.rows.start for tile in run) for run in runs]
    assert len(runs) == CHUNKS and max(rows) - min(rows) <= CHUNKS * 12


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
