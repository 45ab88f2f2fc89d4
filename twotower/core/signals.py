"""Ctrl-C, SIGTERM and SIGHUP: the first one asks a command to end in order, a second one ends it at once.

Whoever is at work sees a ``Stopped`` where it happens to be, cleans up as after any error, and the command exits with
128 + the signal's number. Work that is better finished first, such as a training step, runs under ``finishing``.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    unfinished = 0  # bodies of ``finishing`` that run
    waiting: int | None = None  # the signal that arrived meanwhile


def _stop(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:  # a terminal that closes may send SIGHUP twice
        signal.signal(other, signal.SIG_IGN if other == signal.SIGHUP else signal.SIG_DFL)
    if not _State.unfinished:
        raise Stopped(number)
    _State.waiting = number


@contextmanager
def handled() -> Iterator[None]:
    """Turn the first signal into ``Stopped``. Signals that the process was told to ignore (nohup) stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _State.waiting = None
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def finishing() -> Iterator[Callable[[], bool]]:
    """Signals wait until the body ends, and are raised there; the body may ask whether one is waiting."""
    _State.unfinished += 1
    try:
        yield lambda: _State.waiting is not None
    finally:
        _State.unfinished -= 1
    if _State.waiting is not None and not _State.unfinished:
        number, _State.waiting = _State.waiting, None
        raise Stopped(number)
