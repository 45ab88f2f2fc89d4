"""Split delimited text into rows and fields: RFC 4180, as strictly as the csv module with ``strict``.

The kernel only finds where fields begin and end. It stops before a malformed row, which the csv module then reports.
"""

from typing import NamedTuple

import numpy as np

from twotower.core.jit import njit
from twotower.data.ingest.columns import TextColumn

_QUOTE, _LF, _CR = ord('"'), ord("\n"), ord("\r")
MORE, FAULT = 0, 1  # why it stopped: the next row is incomplete; it is malformed


class Rows(NamedTuple):
    """The rows of a block of text."""

    columns: list[TextColumn]  # one per wanted column
    ragged: int  # rows left out
    used: int  # bytes up to the first row that is not included
    lines: int  # and line ends in them
    fault: bool  # that row is malformed, or at least unusual


class RowReader:
    """Splits blocks of one file: ``width`` columns, of which ``wanted`` are kept, in that order, each once."""

    def __init__(self, separator: str, quotes: bool, width: int, wanted: list[int], longest: int, skip_ragged: bool):
        self.separator, self.quotes, self.longest, self.skip_ragged = ord(separator), quotes, longest, skip_ragged
        self.place = np.full(width, -1, np.int64)  # of each column of the file among the wanted
        self.place[wanted] = np.arange(len(wanted))

    def read(self, text: bytes, last: bool) -> Rows:
        """All whole rows of ``text``, which begins with a row; the ``last`` piece ends with one."""
        data = np.array(np.frombuffer(text, np.uint8))
        n_wanted = int((self.place >= 0).sum())
        most = text.count(b"\n") + text.count(b"\r") + 1
        start, end = np.empty((n_wanted, most), np.int64), np.empty((n_wanted, most), np.int64)
        n, ragged, used, lines, why = cut_rows(
            start, end, data, self.place, self.separator, self.quotes, self.longest, self.skip_ragged, last
        )
        start, end = start[:, :n], end[:, :n]
        if self.quotes and (start < 0).any():
            for j in range(n_wanted):
                undouble(start[j], end[j], data)
        return Rows(
            [TextColumn(data, s, e) for s, e in zip(start, end, strict=True)], ragged, used, lines, why == FAULT
        )


@njit(cache=True, nogil=True)
def cut_rows(start, end, data, place, separator, quotes, longest, skip_ragged, last):
    """Fill start and end (wanted, most); returns rows, ragged rows, bytes used, line ends in them, and why it stopped.

    place: (columns of the file,) row of start and end, -1 = not wanted. A field with doubled quotes has ``~start``.
    """
    size, width = len(data), len(place)
    n = ragged = lines = 0
    i = used = lines_used = 0
    field = 0  # of this row
    extra = False  # whether there is text beyond the last column
    while i < size or (field > 0 and last):
        # One field, from i on; it ends at ``stop``, and what follows it, a separator or a line end, at ``i``.
        first = i
        doubled = False
        if quotes and i < size and data[i] == _QUOTE:
            first = i = i + 1
            while True:
                while i < size and data[i] != _QUOTE:
                    lines += data[i] == _LF or (data[i] == _CR and not (i + 1 < size and data[i + 1] == _LF))
                    i += 1
                if i == size:  # the quote is not closed
                    return n, ragged, used, lines_used, FAULT if last else MORE
                if i + 1 < size and data[i + 1] == _QUOTE:
                    doubled = True
                    i += 2
                else:
                    break
            stop = i
            i += 1
            if i < size and data[i] != separator and data[i] != _LF and data[i] != _CR:
                return n, ragged, used, lines_used, FAULT
        else:
            while i < size and data[i] != separator and data[i] != _LF and data[i] != _CR:
                i += 1
            stop = i
        if stop - first > longest:
            return n, ragged, used, lines_used, FAULT
        if i == size and not last:
            return n, ragged, used, lines_used, MORE
        at_end = i == size or data[i] != separator
        blank = at_end and field == 0 and stop == used
        if field < width and place[field] >= 0 and not blank:
            start[place[field], n] = ~first if doubled else first
            end[place[field], n] = stop
        extra = extra or (field >= width and stop > first)
        field += 1
        if not at_end:
            i += 1
            continue
        if i < size:
            if data[i] == _CR:
                if i + 1 == size and not last:  # a line feed may follow
                    return n, ragged, used, lines_used, MORE
                if i + 1 < size and data[i + 1] == _LF:
                    i += 1
            i += 1
            lines += 1
        if not blank:
            if field == width or (field > width and not extra):
                n += 1
            elif skip_ragged:
                ragged += 1
            else:
                return n, ragged, used, lines_used, FAULT
        field = 0
        extra = False
        used, lines_used = i, lines
    return n, ragged, used, lines_used, MORE


@njit(cache=True, nogil=True)
def undouble(start, end, data):
    """Make one quote of two, in place, in the fields (n,) that are marked with ``~start``."""
    for row in range(len(start)):
        if start[row] < 0:
            start[row] = to = ~start[row]
            i = start[row]
            while i < end[row]:
                data[to] = data[i]
                i += 2 if data[i] == _QUOTE else 1
                to += 1
            end[row] = to
