"""Which different names came by in a window, and how many were there?

    older: of each name its last time        newest: every time and name
    |--- exact up to SAMPLED names, ---------|--- exact, at most EXACT rows ---|
         beyond a sample of them

Beyond ``SAMPLED`` names the older ones are sampled by the bits of their fingerprints (Gibbons 2001,
distinct sampling): a name stays with a chance of 1 in 2^level and then stands for 2^level names. So
a window that ends among the newest rows is exact; of one with n names beyond them the error is
about the square root of n * 2^level, which is 1/16 of n while the window holds all that is kept.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from struct import Struct
from typing import Final

from features.moment import fingerprint

EXACT: Final = 256
SAMPLED: Final = 512

_SIZES: Final = Struct("<IIB")


class Seen:
    """Times and names, kept ``keep`` microseconds back from the newest."""

    __slots__ = ("_exact", "_level", "_marks", "_older", "_sampled", "_times")

    def __init__(self, exact: int | None = None, sampled: int | None = None) -> None:
        self._exact, self._sampled = exact or EXACT, sampled or SAMPLED
        self._times = array("q")
        self._marks = array("q")
        self._older: dict[int, tuple[int, int]] = {}  # of a name: last time, level of its sample
        self._level = 0

    # -- history -------------------------------------------------------------------------------

    def add(self, time: int, name: str, keep: int) -> None:
        """It came by, and what no window can reach any more is let go."""
        mark, times = fingerprint(name), self._times
        if self._older and time < times[0]:
            self._put(mark, time)
            return
        at = bisect_right(times, time)
        times.insert(at, time)
        self._marks.insert(at, mark)
        horizon = times[-1] - keep
        if times[0] <= horizon:
            self._cut(bisect_right(times, horizon))
        if len(times) > self._exact:
            self._compact(horizon)

    def _cut(self, gone: int) -> None:
        del self._times[:gone], self._marks[:gone]

    def _put(self, mark: int, time: int) -> None:
        if not mark & ((1 << self._level) - 1):
            last = self._older.get(mark)
            self._older[mark] = (time if last is None else max(time, last[0]), self._level)

    def _compact(self, horizon: int) -> None:
        """The older half of the rows goes among the older names."""
        half = len(self._times) // 2
        if self._older:
            self._older = {mark: row for mark, row in self._older.items() if row[0] > horizon}
            if self._level and len(self._older) < self._sampled // 4:
                self._level -= 1
        for time, mark in zip(self._times[:half], self._marks[:half], strict=True):
            self._put(mark, time)
        self._cut(half)
        while len(self._older) > self._sampled:
            self._level += 1
            bits = (1 << self._level) - 1
            self._older = {
                mark: (last, max(level, self._level))
                for mark, (last, level) in self._older.items()
                if not mark & bits
            }

    # -- answers -------------------------------------------------------------------------------

    def count(self, after: int, until: int, name: str | None) -> int:
        """How many different ones in (after, until]; ``name``, if any, is there by now."""
        low, high = bisect_right(self._times, after), bisect_right(self._times, until)
        found = set(self._marks[low:high])
        if name is not None:
            found.add(fingerprint(name))
        count = len(found)
        if low == 0 and self._older:
            for mark, (last, level) in self._older.items():
                if after < last <= until and mark not in found:
                    count += 1 << level
        return count

    def knew(self, name: str, after: int, until: int) -> bool:
        """Whether it came in (after, until], as far as is remembered."""
        low, high = bisect_right(self._times, after), bisect_right(self._times, until)
        mark = fingerprint(name)
        if mark in self._marks[low:high]:
            return True
        older = self._older.get(mark) if low == 0 else None
        return older is not None and after < older[0] <= until

    def __len__(self) -> int:
        """How many rows are held."""
        return len(self._times) + len(self._older)

    # -- bytes ---------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Sizes, then columns: times, names; older names, their last times, their levels."""
        older = self._older
        return b"".join(
            (
                _SIZES.pack(len(self._times), len(older), self._level),
                self._times.tobytes(),
                self._marks.tobytes(),
                array("q", older).tobytes(),
                array("q", (last for last, _ in older.values())).tobytes(),
                bytes(level for _, level in older.values()),
            )
        )

    @classmethod
    def load(cls, stored: bytes, exact: int | None = None, sampled: int | None = None) -> Seen:
        """What ``dump`` wrote."""
        seen = cls(exact, sampled)
        rows, older, seen._level = _SIZES.unpack_from(stored)
        at = _SIZES.size
        marks, lasts = array("q"), array("q")
        for column, size in ((seen._times, rows), (seen._marks, rows), (marks, older)):
            column.frombytes(stored[at : at + 8 * size])
            at += 8 * size
        lasts.frombytes(stored[at : at + 8 * older])
        levels = stored[at + 8 * older :]
        seen._older = {
            mark: (last, level) for mark, last, level in zip(marks, lasts, levels, strict=True)
        }
        return seen
