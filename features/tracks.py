"""What past does a declared feature look at, and how is it kept in a profile?

A *track* is one past of one entity: the amounts of some of its events, the names met in them, the
labels, the steps of a sequence. Features that look at the same events share one. A track may be
split by a second key (customer x payee): then each of the ``SECONDS`` met most recently has its
own. A track has a stamp, the time since which it counts: a stored one with another stamp is of a
former declaration, and forgotten.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Final, Protocol

from features.chain import Chain
from features.filters import Filter, Told
from features.frauds import Frauds
from features.moment import DAY, Event, Label, fingerprint
from features.seen import Seen
from features.timeline import Timeline

#: Of a pair so many second ones are remembered, those met most recently ...
SECONDS: Final = 64
#: ... and of all of them together at most so many rows.
ROWS: Final = 1_024
_EXACT, _SAMPLED = 64, 64  # rows of one of them

_AHEAD: Final = DAY  # labels may be known this far ahead of the events described
_ENTRY: Final = Struct("<qqI")
_MEMBER: Final = Struct("<qqI")


class Past(Protocol):
    """What is kept of one track."""

    def __len__(self) -> int: ...
    def dump(self) -> bytes: ...


class Track(ABC):
    """One kind of past: of which events, split by what. Made once, shared by all profiles."""

    kind: str

    def __init__(
        self, chosen: Filter, second: Callable[[Event], str | None] | None, about: str
    ) -> None:
        self.chosen, self.second = chosen, second
        #: What the track is, in words and in 64 bits; the same wherever it stands in the catalogue.
        self.what = f"{self.kind}|{about}|{chosen.text}"
        self.mark = int.from_bytes(
            blake2b(self.what.encode(), digest_size=8).digest(), "little", signed=True
        )
        self.at = 0  # its place among the tracks of its describer
        self.keep = 0  # the longest look at it, and the lateness
        self.since = 0  # microseconds since 1970 at which it began to count; 0: from the beginning
        self._nothing = self.alone()  # only ever looked at

    @abstractmethod
    def alone(self) -> Past:
        """An empty past of one."""

    @abstractmethod
    def alone_of(self, stored: bytes) -> Past:
        """A past of one, as it was stored."""

    def fresh(self) -> Past:
        """An empty past."""
        return Seconds() if self.second else self.alone()

    def load(self, stored: bytes) -> Past:
        """A past as it was stored."""
        return Seconds.load(stored, self.alone_of) if self.second else self.alone_of(stored)

    def look(self, past: Past | None, event: Event) -> Past | None:
        """What is to be looked at for this event; None where it has nobody of the second key."""
        if self.second is None:
            return self._nothing if past is None else past
        name = self.second(event)
        if name is None:
            return None
        found = past.of(name) if isinstance(past, Seconds) else None
        return self._nothing if found is None else found

    def wants(self, event: Event, told: Told) -> bool:
        """Whether this event is one of those that the past is made of."""
        return self.chosen(event, told)

    def observe(self, past: Past, event: Event, told: Told) -> None:
        """This happened, and is wanted."""
        if not isinstance(past, Seconds):
            self.put(past, event, told)
            return
        name = self.second(event) if self.second else None
        if name is not None:
            inner = past.meet(name, event.time_us, self.alone)
            before = len(inner)
            self.put(inner, event, told)
            past.grown(len(inner) - before)

    @abstractmethod
    def put(self, past: Past, event: Event, told: Told) -> None:
        """Take it into the past of one."""


class Amounts(Track):
    """Times and amounts."""

    kind = "amounts"

    def alone(self) -> Timeline:
        return Timeline(_EXACT if self.second else None)

    def alone_of(self, stored: bytes) -> Timeline:
        return Timeline.load(stored, _EXACT if self.second else None)

    def put(self, past: Past, event: Event, told: Told) -> None:
        if isinstance(past, Timeline):
            amount = event.amount_base if event.type == "transaction" else None
            past.add(event.time_us, amount, self.keep)


class Names(Track):
    """Times and names, of one field."""

    kind = "names"

    def __init__(
        self,
        chosen: Filter,
        second: Callable[[Event], str | None] | None,
        about: str,
        field: Callable[[Event], str | None],
    ) -> None:
        self.field = field
        super().__init__(chosen, second, about)

    def alone(self) -> Seen:
        return Seen(_EXACT, _SAMPLED) if self.second else Seen()

    def alone_of(self, stored: bytes) -> Seen:
        return Seen.load(stored, _EXACT, _SAMPLED) if self.second else Seen.load(stored)

    def wants(self, event: Event, told: Told) -> bool:
        return self.field(event) is not None and self.chosen(event, told)

    def put(self, past: Past, event: Event, told: Told) -> None:
        name = self.field(event)
        if name is not None and isinstance(past, Seen):
            past.add(event.time_us, name, self.keep)


class Labels(Track):
    """What became known of the entity's events."""

    kind = "labels"

    def alone(self) -> Frauds:
        return Frauds()

    def alone_of(self, stored: bytes) -> Frauds:
        return Frauds.load(stored)

    def wants(self, event: Event, told: Told) -> bool:
        return False  # an event says nothing of frauds

    def put(self, past: Past, event: Event, told: Told) -> None:
        """Nothing: no event is wanted."""

    def hear(self, past: Past, label: Label) -> None:
        """What became known."""
        if isinstance(past, Frauds):
            past.hear(label, self.keep + _AHEAD)


class Steps(Track):
    """How far a sequence came."""

    kind = "steps"

    def __init__(
        self,
        chosen: Filter,
        second: Callable[[Event], str | None] | None,
        about: str,
        steps: Sequence[Filter],
    ) -> None:
        self.steps = tuple(steps)
        super().__init__(chosen, second, about)

    def alone(self) -> Chain:
        return Chain(len(self.steps))

    def alone_of(self, stored: bytes) -> Chain:
        return Chain.load(stored, len(self.steps))

    def mask(self, event: Event, told: Told) -> int:
        """Which of the steps this event can be, as bits."""
        return sum(step(event, told) << at for at, step in enumerate(self.steps))

    def wants(self, event: Event, told: Told) -> bool:
        return self.mask(event, told) > 0

    def put(self, past: Past, event: Event, told: Told) -> None:
        mask = self.mask(event, told)
        if isinstance(past, Chain):
            past.add(event.time_us, mask)


class Seconds:
    """Of a pair: a past for each of the second ones met most recently."""

    __slots__ = ("_lasts", "_pasts", "_rows")

    def __init__(self) -> None:
        self._pasts: dict[int, Past] = {}
        self._lasts: dict[int, int] = {}
        self._rows = 0

    def of(self, name: str) -> Past | None:
        """The past with this one."""
        return self._pasts.get(fingerprint(name))

    def meet(self, name: str, time: int, alone: Callable[[], Past]) -> Past:
        """The past with this one, who is met now; beyond the limit the oldest is forgotten."""
        mark = fingerprint(name)
        past = self._pasts.get(mark)
        if past is None:
            past = self._pasts[mark] = alone()
            self._rows += len(past)
            self._lasts[mark] = time
            if len(self._pasts) > SECONDS:
                self._forget()
            return past
        self._lasts[mark] = max(self._lasts[mark], time)
        return past

    def grown(self, rows: int) -> None:
        """So many rows more are held than before."""
        self._rows += rows
        while self._rows > ROWS and len(self._pasts) > 1:
            self._forget()

    def _forget(self) -> None:
        gone = min(self._lasts, key=lambda one: (self._lasts[one], one))
        self._rows -= len(self._pasts.pop(gone))
        del self._lasts[gone]

    def __len__(self) -> int:
        return self._rows

    def dump(self) -> bytes:
        """One after the other: fingerprint, last time, size, the past."""
        parts: list[bytes] = []
        for mark, past in self._pasts.items():
            body = past.dump()
            parts += (_MEMBER.pack(mark, self._lasts[mark], len(body)), body)
        return b"".join(parts)

    @classmethod
    def load(cls, stored: bytes, alone_of: Callable[[bytes], Past]) -> Seconds:
        """What ``dump`` wrote."""
        seconds, at = cls(), 0
        while at < len(stored):
            mark, last, size = _MEMBER.unpack_from(stored, at)
            at += _MEMBER.size
            past = seconds._pasts[mark] = alone_of(stored[at : at + size])
            seconds._lasts[mark] = last
            seconds._rows += len(past)
            at += size
        return seconds


def dump_tracks(tracks: Sequence[Track], pasts: Sequence[Past | None]) -> bytes:
    """All pasts of a profile: mark, stamp, size, bytes; one after the other."""
    parts: list[bytes] = []
    for track, past in zip(tracks, pasts, strict=True):
        if past is not None:
            body = past.dump()
            parts += (_ENTRY.pack(track.mark, track.since, len(body)), body)
    return b"".join(parts)


def load_tracks(tracks: Sequence[Track], stored: bytes) -> list[Past | None]:
    """The pasts of these tracks; what is of another, or of a former declaration, is dropped."""
    found: dict[tuple[int, int], bytes] = {}
    at = 0
    while at < len(stored):
        mark, since, size = _ENTRY.unpack_from(stored, at)
        at += _ENTRY.size
        found[mark, since] = stored[at : at + size]
        at += size
    return [
        None if (body := found.get((track.mark, track.since))) is None else track.load(body)
        for track in tracks
    ]
