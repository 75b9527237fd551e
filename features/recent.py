"""When did something happen lately? Nothing but times, of something that ought to be rare."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Final

#: So many times are kept, the newest; a count that comes to this says "so many or more".
KEPT: Final = 64


class Recent:
    """Sorted event times: those of the last ``keep`` microseconds, and the one before them."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times = array("q")

    def add(self, time: int, keep: int) -> None:
        """It happened; what no window can reach any more is let go."""
        times = self._times
        times.insert(bisect_right(times, time), time)
        gone = max(bisect_right(times, times[-1] - keep) - 1, len(times) - KEPT)
        if gone > 0:
            del times[:gone]

    def count(self, after: int, until: int) -> int:
        """How often in (after, until]."""
        times = self._times
        return bisect_right(times, until) - bisect_right(times, after) if times else 0

    def last(self, until: int) -> int | None:
        """The latest time at or before ``until``."""
        at = bisect_right(self._times, until)
        return self._times[at - 1] if at else None

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._times)

    def dump(self) -> bytes:
        """One column."""
        return self._times.tobytes()

    @classmethod
    def load(cls, stored: bytes) -> Recent:
        """The times that ``dump`` wrote."""
        recent = cls()
        recent._times.frombytes(stored)
        return recent
