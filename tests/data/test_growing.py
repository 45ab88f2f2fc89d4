"""A growing array holds what was appended to it."""

import numpy as np
import pytest

from twotower.data.ingest.growing import GrowingArray


@pytest.mark.parametrize("expected", [0, 5, 100])
def test_rows_come_back_in_order_however_many_were_expected(expected):
    growing = GrowingArray(np.int32)
    growing.reserve(expected)
    pieces = [np.arange(n, dtype=np.int32) for n in (0, 3, 1, 40)]
    for piece in pieces:
        growing.append(piece)
    assert len(growing) == 44
    rows = growing.finish()
    assert rows.dtype == np.int32 and rows.tolist() == np.concatenate(pieces).tolist()


def test_expected_rows_need_not_come():
    growing = GrowingArray(np.int16)
    growing.reserve(1000)
    assert growing.finish().nbytes == 0
