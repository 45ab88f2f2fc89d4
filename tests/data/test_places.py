"""Where something is written: what is left of the place after a failure, what is said of it, and one at a time."""

import errno
import threading

import pytest

from twotower.core.locks import locked
from twotower.core.staging import StagedDirectory
from twotower.core.storage import whole_file


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_directories_above_it_do_not_remain_either(tmp_path):
    with pytest.raises(ZeroDivisionError), StagedDirectory(tmp_path / "world" / "samples" / "default"):
        (tmp_path / "world" / "a.txt").write_text("not ours")
        raise ZeroDivisionError
    assert names(tmp_path) == ["world"] and names(tmp_path / "world") == ["a.txt"]


@pytest.mark.parametrize("write", [StagedDirectory, whole_file])
def test_a_full_disk_is_told_with_the_place(tmp_path, write):
    with pytest.raises(OSError) as caught, write(tmp_path / "world"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "world")


def test_whoever_comes_second_waits_for_the_lock(tmp_path):
    order = []

    def second():
        with locked(tmp_path, wait=True):
            order.append("second")

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
