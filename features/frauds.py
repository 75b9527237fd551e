"""Which of an entity's payments were known to be frauds, as of a time?

Labels come by the time they became known, from sources of different weight, and may be corrected.
Of the labels of one event that are known at time t the one of the highest rank stands (officer >
chargeback > customer), among equals the latest known. An event stands in a window over *known*
time by the first label of the unbroken stretch in which it has counted as a fraud.

A label known after t is not there at t, even if it was heard before the event at t was described.

A fraud is *quiet* if its amount, as scored, was nothing unusual for its customer: then it is rather
the payee, the device or the address that should be looked at than the customer.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from struct import Struct
from typing import Final

from features.moment import Label, fingerprint
from risk.labels import RANKS

#: So many labels of one entity are remembered; of more, the latest known. Counts saturate there.
REMEMBERED: Final = 512

#: A fraud is quiet up to this multiple of the customer's median amount, or where there is none.
LOUD: Final = 3.0
_ODDNESS: Final = "customer.median_ratio.amount.30d"

_FOREVER: Final = (1 << 63) - 1
_ROWS: Final = Struct("<I")


class Frauds:
    """The labels of one entity that matter, and the stretches in which they make frauds.

    An honest label is remembered only if an officer gave it or a fraud label of the same event is
    remembered: any other says nothing that silence would not.
    """

    __slots__ = (
        "_events",
        "_happened",
        "_known",
        "_quiet",
        "_says",
        "_since",
        "_stretches",
        "_until",
    )

    def __init__(self) -> None:
        # one row a label, sorted by the time it became known
        self._known = array("q")
        self._happened = array("q")
        self._events = array("q")
        self._says = array("b")  # the rank; negative: honest
        self._quiet = array("b")
        self._stretches: list[tuple[int, int, int, int]] = []
        self._since: list[int] = []
        self._until = _FOREVER

    def hear(self, label: Label, keep: int) -> None:
        """Take in one label; the same one twice is one."""
        if self._known:
            self._forget(max(self._known[-1], label.known_us) - keep)
        elif not label.fraud and label.source != "officer":
            return
        event, rank = fingerprint(label.event), RANKS.get(label.source, 1)
        says = rank if label.fraud else -rank
        mine = [at for at, other in enumerate(self._events) if other == event]
        if any(self._known[at] == label.known_us and self._says[at] == says for at in mine):
            return
        if not label.fraud and rank < RANKS["officer"] and all(self._says[at] < 0 for at in mine):
            return
        at = bisect_right(self._known, label.known_us)
        self._known.insert(at, label.known_us)
        self._happened.insert(at, label.event_time_us)
        self._events.insert(at, event)
        self._says.insert(at, says)
        oddness = label.features.get(_ODDNESS)
        self._quiet.insert(at, oddness is None or oddness <= LOUD)
        if len(self._known) > REMEMBERED:
            self._keep(range(len(self._known) - REMEMBERED, len(self._known)))
        self._derive()

    def _forget(self, horizon: int) -> None:
        """Drop events whose every label, and whose own time, lie at or before the horizon."""
        if self._known[0] > horizon:
            return
        live = {
            event
            for event, known, happened in zip(
                self._events, self._known, self._happened, strict=True
            )
            if max(known, happened) > horizon
        }
        if len(live) < len(set(self._events)):
            self._keep([at for at, event in enumerate(self._events) if event in live])
            self._derive()

    def _keep(self, rows: Iterable[int]) -> None:
        rows = list(rows)
        self._known = array("q", (self._known[at] for at in rows))
        self._happened = array("q", (self._happened[at] for at in rows))
        self._events = array("q", (self._events[at] for at in rows))
        self._says = array("b", (self._says[at] for at in rows))
        self._quiet = array("b", (self._quiet[at] for at in rows))

    def _derive(self) -> None:
        """From the labels, the stretches (since, until, happened, quiet) of being a fraud."""
        by_event: dict[int, list[int]] = {}
        for at, event in enumerate(self._events):
            by_event.setdefault(event, []).append(at)
        stretches: list[tuple[int, int, int, int]] = []
        for rows in by_event.values():
            standing, since = 0, 0
            made, quiet = self._happened[rows[0]], self._quiet[rows[0]]
            for at in rows:
                says = self._says[at]
                if abs(says) < abs(standing):
                    continue
                if says > 0 >= standing:
                    since = self._known[at]
                elif says < 0 < standing and since < self._known[at]:
                    stretches.append((since, self._known[at], made, quiet))
                standing = says
            if standing > 0:
                stretches.append((since, _FOREVER, made, quiet))
        stretches.sort()
        self._stretches = stretches
        self._since = [stretch[0] for stretch in stretches]
        self._until = min((stretch[1] for stretch in stretches), default=_FOREVER)

    def __bool__(self) -> bool:
        """Whether any fraud is remembered, known now or later."""
        return bool(self._stretches)

    def __len__(self) -> int:
        """How many labels are remembered."""
        return len(self._known)

    def count(self, after: int, until: int) -> int:
        """How many events became known as frauds in (after, until] and still are at ``until``."""
        low, high = bisect_right(self._since, after), bisect_right(self._since, until)
        if self._until > until:
            return high - low
        return sum(stretch[1] > until for stretch in self._stretches[low:high])

    def happened(self, time: int, *, quiet: bool = False) -> list[int]:
        """The event times of all (quiet) frauds known at ``time``, sorted; none after ``time``."""
        return sorted(
            made
            for since, until, made, is_quiet in self._stretches
            if since <= time < until and made <= time and (is_quiet or not quiet)
        )

    def dump(self) -> bytes:
        """The labels; the stretches are made again on loading."""
        if not self._known:
            return b""
        return b"".join(
            (
                _ROWS.pack(len(self._known)),
                self._known.tobytes(),
                self._happened.tobytes(),
                self._events.tobytes(),
                self._says.tobytes(),
                self._quiet.tobytes(),
            )
        )

    @classmethod
    def load(cls, stored: bytes) -> Frauds:
        """The frauds that ``dump`` wrote."""
        frauds = cls()
        if not stored:
            return frauds
        (rows,) = _ROWS.unpack_from(stored)
        at = _ROWS.size
        for column in (
            frauds._known,
            frauds._happened,
            frauds._events,
            frauds._says,
            frauds._quiet,
        ):
            end = at + rows * column.itemsize
            column.frombytes(stored[at:end])
            at = end
        frauds._derive()
        return frauds
