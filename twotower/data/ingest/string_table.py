"""Distinct values of a column → consecutive numbers: hash tables without a Python object per row.

Open addressing with linear probing. Tables are at most a quarter full: half full they are half as fast, because the
branch predictor then misses too often. The kernels stop when a table is
full; their callers double it and go on from there.
"""

import numpy as np

from twotower.core.jit import njit
from twotower.data.ingest.columns import IntegerColumn, TextColumn

FIRST_SLOTS = 1 << 12  # a power of two
SLOTS_A_VALUE = 4
FIRST_BYTES = 1 << 16
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)
_1, _8, _16, _24, _29, _32, _40, _48, _56 = (np.uint64(n) for n in (1, 8, 16, 24, 29, 32, 40, 48, 56))
_LOW = np.uint64(0xFFFFFFFF)
_AHEAD = 256  # rows


class StringTable:
    """Distinct texts, numbered in order of first appearance."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.zeros(FIRST_SLOTS, np.uint64)  # high half of the hash, number + 1; 0 = free
        self._end = np.zeros(FIRST_SLOTS // SLOTS_A_VALUE + 1, np.int64)  # text i is _bytes[_end[i]:_end[i+1]]
        self._bytes = np.empty(FIRST_BYTES, np.uint8)

    def numbers(self, texts: TextColumn) -> np.ndarray:
        """The number of each text, (n,) int32; new ones get the next ones."""
        out = np.empty(len(texts), np.int32)
        done = 0
        with np.errstate(over="ignore"):  # 64-bit wrap-around is meant; only seen without the JIT
            while True:
                done, self.count, _ = number_texts(
                    out, self._slots, self._end, self._bytes, self.count, texts.data, texts.start, texts.end, done
                )
                if done == len(out):
                    return out
                self._grow(int(texts.end[done] - texts.start[done]))

    def since(self, first: int) -> list[str]:
        """The texts from number ``first`` on."""
        ends = self._end[first : self.count + 1].copy()
        begin = ends[0]
        return TextColumn(self._bytes[begin : ends[-1]], ends[:-1] - begin, ends[1:] - begin).texts()

    def _grow(self, needed: int) -> None:
        """Make room for another text of ``needed`` bytes."""
        if self.count == len(self._end) - 1:
            self._slots = np.zeros(2 * len(self._slots), np.uint64)
            self._end = np.append(self._end, np.zeros(len(self._end) - 1, np.int64))
            place_texts(self._slots, self._end, self._bytes, self.count)
        used = int(self._end[self.count])
        if used + needed > len(self._bytes):
            grown = np.empty(max(2 * len(self._bytes), used + needed), np.uint8)
            grown[:used] = self._bytes[:used]
            self._bytes = grown


class IntegerTable:
    """Distinct whole numbers, numbered in order of first appearance."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.zeros(FIRST_SLOTS, np.int32)  # number + 1; 0 = free
        self._values = np.zeros(FIRST_SLOTS // SLOTS_A_VALUE, np.int64)

    def numbers(self, integers: IntegerColumn) -> np.ndarray:
        """The number of each integer, (n,) int32, missing ones like any other; new ones get the next ones."""
        out = np.empty(len(integers), np.int32)
        done = 0
        with np.errstate(over="ignore"):
            while True:
                done, self.count, _ = number_integers(out, self._slots, self._values, self.count, integers.value, done)
                if done == len(out):
                    return out
                self._slots = np.zeros(2 * len(self._slots), np.int32)
                self._values = np.append(self._values, np.zeros(len(self._values), np.int64))
                place_integers(self._slots, self._values, self.count)

    def since(self, first: int) -> list[str]:
        """The integers from number ``first`` on, as text."""
        return list(map(str, self._values[first : self.count].tolist()))


@njit(cache=True, nogil=True)
def word_at(data, i):
    """Eight bytes as a number, the first one lowest; LLVM makes one load of it."""
    word = np.uint64(data[i])
    word |= np.uint64(data[i + 1]) << _8
    word |= np.uint64(data[i + 2]) << _16
    word |= np.uint64(data[i + 3]) << _24
    word |= np.uint64(data[i + 4]) << _32
    word |= np.uint64(data[i + 5]) << _40
    word |= np.uint64(data[i + 6]) << _48
    return word | np.uint64(data[i + 7]) << _56


@njit(cache=True, nogil=True)
def hash_of(data, start, end):
    """64 bits that depend on every byte of data[start:end] and on how many there are."""
    h = np.uint64(end - start) * _FACTOR
    i = np.uint64(start)  # unsigned: no test for an index from the end
    while i + _8 <= np.uint64(end):
        h = (h ^ word_at(data, i)) * _FACTOR
        h ^= h >> _32
        i += _8
    word = np.uint64(0)
    while i < np.uint64(end):
        word = word << _8 | np.uint64(data[i])
        i += _1
    h = (h ^ word) * _FACTOR
    return h ^ (h >> _29)


@njit(cache=True, nogil=True)
def same(a, i, b, j, length):
    """Whether ``length`` bytes of a from i on are those of b from j on."""
    i, j, left = np.uint64(i), np.uint64(j), np.uint64(length)
    while left >= _8:
        if word_at(a, i) != word_at(b, j):
            return False
        i += _8
        j += _8
        left -= _8
    while left > 0:
        if a[i] != b[j]:
            return False
        i += _1
        j += _1
        left -= _1
    return True


@njit(cache=True, nogil=True)
def number_texts(out, slots, ends, arena, count, data, start, end, first):
    """out[i] = number of data[start[i]:end[i]] from i = first on; returns (rows done, distinct texts, and noise).

    Large tables lie in memory, not in a cache. So the places of a few hundred rows are read ahead: these reads
    do not wait for each other, nor the searches after them for memory.
    """
    mask = np.uint64(len(slots) - 1)
    hashes = np.empty(_AHEAD, np.uint64)
    for begin in range(first, len(out), _AHEAD):
        stop = min(begin + _AHEAD, len(out))
        noise = np.uint64(0)
        for i in range(begin, stop):
            hashes[i - begin] = hash_of(data, start[i], end[i])
        for i in range(stop - begin):
            noise |= slots[hashes[i] & mask]
        for i in range(begin, stop):
            number = np.int64(slots[hashes[i - begin] & mask] & _LOW)
            noise |= np.uint64(ends[number])
        for i in range(begin, stop):
            number = np.int64(slots[hashes[i - begin] & mask] & _LOW)
            if number > 0:
                noise |= np.uint64(arena[ends[number - 1]])
        for i in range(begin, stop):
            h = hashes[i - begin]
            s, length = start[i], end[i] - start[i]
            slot = h & mask
            number = np.int64(-1)
            while slots[slot] != 0:
                if slots[slot] >> _32 == h >> _32:
                    number = np.int64(slots[slot] & _LOW) - 1
                    at = ends[number]
                    if ends[number + 1] - at == length and same(arena, at, data, s, length):
                        break
                slot = (slot + np.uint64(1)) & mask
            if slots[slot] == 0:
                used = ends[count]
                if count == len(ends) - 1 or used + length > len(arena):
                    return i, count, noise
                for j in range(length):
                    arena[used + j] = data[s + j]
                number = count
                count += 1
                ends[count] = used + length
                slots[slot] = (h >> _32) << _32 | np.uint64(count)
            out[i] = number
    return len(out), count, np.uint64(0)


@njit(cache=True, nogil=True)
def place_texts(slots, ends, arena, count):
    """Fill an empty table with the texts."""
    mask = np.uint64(len(slots) - 1)
    for number in range(count):
        h = hash_of(arena, ends[number], ends[number + 1])
        slot = h & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = (h >> _32) << _32 | np.uint64(number + 1)


@njit(cache=True, nogil=True)
def slot_of(value, shift):
    """Where a value's search begins: the highest bits of a product that every bit of the value reaches."""
    h = np.uint64(value)
    h ^= h >> _32
    return np.int64((h * _FACTOR) >> shift)


@njit(cache=True, nogil=True)
def shift_for(slots):
    """How far to shift 64 bits so that they number the slots, a power of two."""
    shift = 64
    n = len(slots)
    while n > 1:
        n >>= 1
        shift -= 1
    return np.uint64(shift)


@njit(cache=True, nogil=True)
def number_integers(out, slots, values, count, value, first):
    """out[i] = number of value[i] from i = first on; returns (rows done, distinct values, and noise).

    It looks ahead like ``number_texts``.
    """
    shift = shift_for(slots)
    place = np.empty(_AHEAD, np.int64)
    for begin in range(first, len(out), _AHEAD):
        end = min(begin + _AHEAD, len(out))
        noise = 0
        for i in range(begin, end):
            place[i - begin] = slot_of(value[i], shift)
        for i in range(begin, end):
            noise |= slots[place[i - begin]]
        for i in range(begin, end):
            noise |= values[slots[place[i - begin]] - 1]
        for i in range(begin, end):
            slot = place[i - begin]
            while slots[slot] != 0 and values[slots[slot] - 1] != value[i]:
                slot = (slot + 1) & (len(slots) - 1)
            if slots[slot] == 0:
                if count == len(values):
                    return i, count, noise
                values[count] = value[i]
                count += 1
                slots[slot] = count
            out[i] = slots[slot] - 1
    return len(out), count, 0


@njit(cache=True, nogil=True)
def place_integers(slots, values, count):
    """Fill an empty table with the values."""
    shift = shift_for(slots)
    for number in range(count):
        slot = slot_of(values[number], shift)
        while slots[slot] != 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = number + 1
