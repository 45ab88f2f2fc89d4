"""An array to append to, without a second copy at any time."""

import numpy as np

GROWTH = 1.25


class GrowingArray:
    """n rows of one dtype; it grows in place where the system can."""

    def __init__(self, dtype: type) -> None:
        self._array: np.ndarray = np.empty(0, dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def reserve(self, rows: int) -> None:
        """Make room for so many more rows at once, when they are known to come."""
        if self._count + rows > len(self._array):
            self._array.resize(self._count + rows, refcheck=False)  # no other reference exists yet

    def append(self, rows: np.ndarray) -> None:
        end = self._count + len(rows)
        if end > len(self._array):
            self._array.resize(int(GROWTH * end), refcheck=False)
        self._array[self._count : end] = rows
        self._count = end

    def finish(self) -> np.ndarray:
        """All rows, (n,); nothing can be appended any more."""
        array, self._array = self._array, np.empty(0, self._array.dtype)
        array.resize(self._count, refcheck=False)
        return array
