"""Whom has this entity dealt with before? Those it dealt with most recently, up to a limit."""

from __future__ import annotations

from array import array
from typing import Final

from features.moment import fingerprint

#: So many payees of a customer are remembered.
REMEMBERED: Final = 256


class Acquaintances:
    """Fingerprints of names, with the first and the last time each was met."""

    __slots__ = ("_first", "_last", "_limit")

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        # the same keys in the same order
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def knew(self, name: str, time: int) -> bool:
        """Whether it was met at or before ``time``, as far as is remembered."""
        met = self._first.get(fingerprint(name))
        return met is not None and met <= time

    def knew_any(self, time: int) -> bool:
        """Whether anybody was met at or before ``time``."""
        return bool(self._first) and min(self._first.values()) <= time

    def first_met(self, after: int, until: int) -> int:
        """How many were met for the first time in (after, until]."""
        firsts = self._first.values()
        if not firsts or max(firsts) <= after:  # mostly: nobody is new
            return 0
        return len([met for met in firsts if after < met <= until])

    def meet(self, name: str, time: int) -> None:
        """It was met; beyond the limit the one not met for longest is forgotten."""
        mark = fingerprint(name)
        first = self._first.get(mark)
        if first is not None:
            self._first[mark] = min(first, time)
            self._last[mark] = max(self._last[mark], time)
            return
        self._first[mark] = self._last[mark] = time
        if len(self._first) > self._limit:
            gone = min(self._last, key=lambda one: (self._last[one], one))
            del self._first[gone], self._last[gone]

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._first)

    def dump(self) -> bytes:
        """Three columns: fingerprints, first times, last times."""
        return b"".join(
            (
                array("q", self._first).tobytes(),
                array("q", self._first.values()).tobytes(),
                array("q", self._last.values()).tobytes(),
            )
        )

    @classmethod
    def load(cls, stored: bytes, limit: int = REMEMBERED) -> Acquaintances:
        """The acquaintances that ``dump`` wrote."""
        loaded, column = cls(limit), len(stored) // 3
        marks, first, last = array("q"), array("q"), array("q")
        marks.frombytes(stored[:column])
        first.frombytes(stored[column : 2 * column])
        last.frombytes(stored[2 * column :])
        loaded._first = dict(zip(marks, first, strict=True))
        loaded._last = dict(zip(marks, last, strict=True))
        return loaded
