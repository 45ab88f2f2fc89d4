"""Named views and the flat array are one memory."""

from itertools import pairwise

import numpy as np

from twotower.model.parameters import ALIGNMENT, Arena

SHAPES = {"a": (3, 5), "b": (7,), "c": (2, 4, 3)}


def test_views_and_flat_array_share_memory():
    arena = Arena(SHAPES)
    arena["b"][:] = 2
    assert arena.flat[arena.span("b")].tolist() == [2] * 7
    assert arena.flat.sum() == 14
    assert [arena[name].shape for name in arena] == list(SHAPES.values())


def test_a_span_of_one_part_is_that_part():
    arena = Arena(SHAPES)
    arena["c"][1] = 3
    assert (arena.flat[arena.span("c", 1)] == 3).all() and not arena.flat[arena.span("c", 0)].any()


def test_arrays_start_on_cache_lines_and_do_not_overlap():
    arena = Arena(SHAPES)
    spans = [arena.span(name) for name in SHAPES]
    assert all(span.start % ALIGNMENT == 0 for span in spans)
    assert all(one.stop <= two.start for one, two in pairwise(spans))


def test_an_arena_of_the_same_layout_starts_at_zero():
    arena = Arena(SHAPES, np.float64)
    arena.flat[:] = 1
    other = arena.like()
    assert other.flat.dtype == np.float64 and not other.flat.any() and other.offsets == arena.offsets
