"""How far did a chain of steps come: A, then B, then C, all within a time?

Of each step the *latest start* of a chain that got so far is kept: if any chain lies within the
last T, the one that started last does. So n steps take n numbers, whatever T and however much
happens, and nobody pushes a step out by doing another one often.

    steps of the last hour (may still be preceded by something late)  |  folded into the starts
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Final

from features.moment import LATENESS

#: So many steps of the last hour are kept in order; beyond, the oldest are folded early.
PENDING: Final = 64
#: A chain has at most so many steps.
STEPS: Final = 8

_NEVER: Final = -(1 << 63)


class Chain:
    """Of one sequence: how far its chains got."""

    __slots__ = ("_masks", "_starts", "_times")

    def __init__(self, steps: int) -> None:
        self._starts = array("q", [_NEVER] * steps)
        self._times = array("q")
        self._masks = bytearray()  # which steps (bits) this one can be

    def add(self, time: int, mask: int) -> None:
        """Something happened that can be these steps."""
        times = self._times
        at = bisect_right(times, time)
        times.insert(at, time)
        self._masks.insert(at, mask)
        gone = max(bisect_right(times, times[-1] - LATENESS - 1), len(times) - PENDING)
        if gone > 0:
            for old, steps in zip(times[:gone], self._masks[:gone], strict=True):
                _walk(self._starts, old, steps)
            del times[:gone], self._masks[:gone]

    def reached(self, time: int, width: int, mask: int) -> int:
        """How many steps a chain within (time - width, time] got, this one (``mask``) included."""
        starts = self._starts[:]
        until = bisect_right(self._times, time)
        for old, steps in zip(self._times[:until], self._masks[:until], strict=True):
            _walk(starts, old, steps)
        if mask:
            _walk(starts, time, mask)
        for step in range(len(starts), 0, -1):
            if starts[step - 1] > time - width:
                return step
        return 0

    def __len__(self) -> int:
        """How many rows are held."""
        return len(self._times) + 1

    def dump(self) -> bytes:
        """Starts, then times, then which steps; the count of steps is the reader's to know."""
        return self._starts.tobytes() + self._times.tobytes() + bytes(self._masks)

    @classmethod
    def load(cls, stored: bytes, steps: int) -> Chain:
        """The chain that ``dump`` wrote."""
        chain = cls(steps)
        rows = (len(stored) - 8 * steps) // 9
        chain._starts = array("q", stored[: 8 * steps])
        chain._times = array("q", stored[8 * steps : 8 * (steps + rows)])
        chain._masks = bytearray(stored[8 * (steps + rows) :])
        return chain


def _walk(starts: array[int], time: int, mask: int) -> None:
    """One event is one step of a chain: from the last step to the first, or it would be two."""
    for step in range(len(starts) - 1, -1, -1):
        if mask >> step & 1:
            start = starts[step - 1] if step else time
            starts[step] = max(starts[step], start)
