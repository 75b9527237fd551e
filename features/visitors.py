"""Who came by lately, and how many of them were there? Of a device or an address: its customers.

    one visitor     before            start ======== end
                    (a visit)         (visits with gaps of at most GAP)

Of a visitor the latest *stretch* of visits is kept, in which no two neighbours lie further apart
than ``GAP``, and the last visit before it. That is enough for an exact answer at any time up to
``GAP`` before the newest event, over any window of at least ``GAP``.
"""

from __future__ import annotations

from array import array
from typing import Final

from features.moment import LATENESS, fingerprint

#: So many visitors are remembered, the latest; a count that comes to this says "so many or more".
REMEMBERED: Final = 64
GAP: Final = LATENESS

_NEVER: Final = -(1 << 63)


class Visitors:
    """Fingerprints of names; of each (start, end, before)."""

    __slots__ = ("_visits",)

    def __init__(self) -> None:
        self._visits: dict[int, tuple[int, int, int]] = {}

    def came(self, name: str, time: int) -> None:
        """Somebody came; beyond ``REMEMBERED`` whoever was not here for longest is forgotten."""
        visits, mark = self._visits, fingerprint(name)
        visit = visits.get(mark)
        if visit is None:
            visits[mark] = (time, time, _NEVER)
            if len(visits) > REMEMBERED:
                del visits[min(visits, key=lambda one: (visits[one][1], one))]
            return
        start, end, before = visit
        if time > end:
            visits[mark] = (start, time, before) if time - end <= GAP else (time, time, end)
        elif time < start:
            if start - time > GAP:
                visits[mark] = (start, end, max(before, time))
            elif time - before <= GAP:
                visits[mark] = (before, end, _NEVER)
            else:
                visits[mark] = (time, end, before)

    def count(self, after: int, until: int, name: str | None) -> int:
        """How many different ones came in (after, until]; ``name``, if any, is there by now."""
        here = None if name is None else fingerprint(name)
        found = int(name is not None)
        for mark, (start, end, before) in self._visits.items():
            if start <= until:
                if end > after and mark != here:
                    found += 1
            elif after < before <= until and mark != here:
                found += 1
        return min(found, REMEMBERED)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._visits)

    def dump(self) -> bytes:
        """Four columns: fingerprints, starts, ends, the visits before."""
        visits = self._visits
        columns = [array("q", visits)]
        columns += [array("q", (visit[at] for visit in visits.values())) for at in range(3)]
        return b"".join(column.tobytes() for column in columns)

    @classmethod
    def load(cls, stored: bytes) -> Visitors:
        """The visitors that ``dump`` wrote."""
        loaded, whole = cls(), array("q")
        whole.frombytes(stored)
        rows = len(whole) // 4
        for at in range(rows):
            loaded._visits[whole[at]] = (
                whole[at + rows],
                whole[at + 2 * rows],
                whole[at + 3 * rows],
            )
        return loaded
