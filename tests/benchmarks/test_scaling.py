"""The prediction of more threads: tasks on workers, and the interpreter's lock."""

import pytest

from benchmarks.scaling import Pass, schedule


def test_kernels_run_side_by_side_and_python_does_not():
    assert schedule([(0.0, 1.0)] * 8, 4) == pytest.approx(2)
    assert schedule([(1.0, 0.0)] * 8, 4) == pytest.approx(8)
    assert schedule([(1.0, 3.0)] * 4, 4) == pytest.approx(7)  # the last one enters Python after three others
    assert schedule([(0.0, 1.0)] * 5, 4) == pytest.approx(2)  # the fifth has a round of its own


def test_memory_bounds_a_pass():
    one = Pass("copy", 0.5, [(0.0, 1.0)] * 4, {1: 600, 2: 400})
    assert one.seconds(4, 1e9) == pytest.approx(1.5) and one.seconds(4, 100) == pytest.approx(10.5)
