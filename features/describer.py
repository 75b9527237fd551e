"""How does one kind of key (a customer, a payee, a device) describe an event by its own past?

A ``Describer`` is a key and a list of asks (``asks/``); a ``Profile`` is the past of one entity
of that key: what it was paid, which of it were frauds, whom it knows; of a customer the habits, of
a device or an address who came by. Describe, then observe:

    profile.describe(event)   what was usual before it, and this event in it; changes nothing
    profile.observe(event)    now it is history (never a late event: the caller sees to that)
    profile.hear(label)       what became known about an earlier one

What an analyst declares (``declared.py``) has pasts of its own, the profile's *tracks*; nothing of
it changes what the features here say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, Protocol

from features.acquaintances import Acquaintances
from features.filters import CLAIMS, Told
from features.frauds import Frauds
from features.habits import COUNTRIES, DEVICES, Habits, Hours, Place, Places
from features.moment import ACTS, DAY, LATENESS, SETTLED, Event, Label, Value, failed, span
from features.recent import Recent
from features.timeline import LARGEST, Tally, Timeline
from features.tracks import Labels, Past, Track, dump_tracks, load_tracks
from features.visitors import Visitors

#: What a stored profile begins with; the byte after it is the version of the format.
MAGIC: Final = b"RBP"
VERSION: Final = 1
_SECTION: Final = Struct("<BI")
_AHEAD: Final = DAY  # labels may be known this far ahead of the events described
_LABELS_KEPT: Final = 37 * DAY + LATENESS + _AHEAD

#: Sections of a stored profile. A number is never given to anything else.
PAYMENTS_SECTION, FRAUDS_SECTION, PAYEES_SECTION = 1, 2, 3
FAILURES_SECTION, VISITORS_SECTION = 4, 5
DEVICES_SECTION, COUNTRIES_SECTION, PLACES_SECTION = 6, 7, 8
HOURS_SECTION, CHANGES_SECTION, ARRIVALS_SECTION = 9, 10, 11
TRACKS_SECTION, NEWEST_SECTION = 12, 13
_NEWEST: Final = Struct("<q")

#: After so long without anything a profile is forgotten, unless the catalogue says otherwise.
FORGOTTEN_AFTER: Final = 730 * DAY
_NOTHING_TOLD: Final[Told] = {}


class ProfileError(Exception):
    """A stored profile can't be read."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A name that rules, models and reasons use, and what stands behind it."""

    name: str
    unit: str  # count, money (minor units, base currency), seconds, flag, ratio, km, km/h, other
    grade: int  # 1 harmless, 2 says something of a person's habits, 3 sensitive
    meaning: str
    claimed: bool = (
        False  # made of what a client says of itself: it may raise a risk, never lower it
    )


class Ask(Protocol):
    """One thing to be told of an entity: its name without the key, and how to find it."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def grade(self) -> int: ...
    @property
    def meaning(self) -> str: ...
    @property
    def reach(self) -> int:
        """How far back it looks, in microseconds."""
        ...

    def of(self, sight: Sight) -> Value: ...


@dataclass(frozen=True, slots=True)
class Windowed:
    """Count, sum or mean over a window; these are answered all at once, not one by one."""

    name: str
    unit: str
    grade: int
    meaning: str
    aggregate: str
    window: str

    @property
    def reach(self) -> int:
        return span(self.window)


class Sight:
    """An entity's past as seen from one event: what an ask may look at."""

    __slots__ = (
        "_earlier",
        "_happened",
        "_moved",
        "_quiet",
        "_settled",
        "_tallies",
        "_through",
        "amount",
        "event",
        "frauds",
        "habits",
        "here",
        "payments",
        "profile",
        "time",
        "told",
    )

    def __init__(self, profile: Profile, event: Event) -> None:
        self.profile = profile
        self.payments, self.frauds = profile.payments, profile.frauds
        self.event = event
        self.time = event.time_us
        self.here = event.type == "transaction"
        self.habits = profile.habits or _NO_HABITS
        amount = event.amount_base if self.here else None
        self.amount = None if amount is None else max(-LARGEST, min(LARGEST, amount))
        self.told: Told = _NOTHING_TOLD  # what the event is described by so far
        # what was looked up once is kept for the next ask; most events need little of it
        self._through: dict[tuple[Track | None, Track | None], Sight | None] | None = None
        self._happened: list[int] | None = None
        self._quiet: list[int] | None = None
        self._moved: tuple[Place | None, float] | None = None
        self._earlier: dict[int, list[int]] | None = None
        self._tallies: dict[int, Tally] | None = None
        self._settled: dict[int, int] | None = None

    def past(self, track: Track) -> Past | None:
        """The past of a track for this event; None where it has nobody of the second key."""
        pasts = self.profile.pasts
        return track.look(pasts[track.at] if pasts else None, self.event)

    def through(self, payments: Track | None, frauds: Track | None = None) -> Sight | None:
        """The same event before another past; None where it has nobody of the second key.

        There the event itself counts only if it is one of those that the past is made of.
        """
        if payments is None and frauds is None:
            return self
        if self._through is None:
            self._through = {}
        wanted = payments, frauds
        if wanted not in self._through:
            self._through[wanted] = self._before(payments, frauds)
        return self._through[wanted]

    def _before(self, payments: Track | None, frauds: Track | None) -> Sight | None:
        seen = Sight(self.profile, self.event)
        if frauds is not None:
            labels = self.past(frauds)
            seen.frauds = labels if isinstance(labels, Frauds) else seen.frauds
        if payments is not None:
            line = self.past(payments)
            if not isinstance(line, Timeline):
                return None
            seen.payments, seen.here = line, payments.chosen(self.event, self.told)
            seen.amount = seen.amount if seen.here else None
        return seen

    def tally(self, reach: int) -> Tally:
        """Count, priced and total within reach, this one included if it is one of them."""
        if self._tallies is None:
            self._tallies = {}
        found = self._tallies.get(reach)
        if found is None:
            count, priced, total = self.payments.tally(self.time - reach, self.time)
            if self.amount is not None:
                priced, total = priced + 1, total + self.amount
            found = self._tallies[reach] = count + self.here, priced, total
        return found

    def settled(self, reach: int) -> int:
        """How many payments lie within reach and are old enough to have proved honest."""
        until = self.time - SETTLED
        if self._settled is None:  # all that will be asked for, in one pass
            reaches = self.profile.settled
            spans = tuple(one - SETTLED for one in reaches)
            found = self.payments.tallies(until, spans)
            self._settled = {one: row[0] for one, row in zip(reaches, found, strict=True)}
        count = self._settled.get(reach)
        return self.payments.tally(self.time - reach, until)[0] if count is None else count

    def earlier(self, reach: int) -> list[int]:
        """The earlier amounts within reach, sorted; of a busy entity the newest 512 at most."""
        if self._earlier is None:
            self._earlier = {}
        found = self._earlier.get(reach)
        if found is None:
            found = sorted(self.payments.amounts(self.time - reach, self.time))
            self._earlier[reach] = found
        return found

    def median(self, reach: int) -> int | None:
        """The (lower) median of them; None below three."""
        earlier = self.earlier(reach)
        return earlier[(len(earlier) - 1) // 2] if len(earlier) >= 3 else None

    def moved(self) -> tuple[Place | None, float]:
        """The place before, if both are known, and how many kilometres it is from there to here."""
        if self._moved is None:
            lat, lon = self.event.lat, self.event.lon
            self._moved = None, 0.0
            if lat is not None and lon is not None:
                place = self.habits.places.last(self.time)
                if place is not None:
                    self._moved = place, place.distance_km(lat, lon)
        return self._moved

    @property
    def happened(self) -> list[int]:
        """Event times of the frauds known by now, sorted."""
        if self._happened is None:
            self._happened = self.frauds.happened(self.time) if self.frauds else []
        return self._happened

    @property
    def quiet(self) -> list[int]:
        """Those of them whose amount was nothing unusual for their customer."""
        if self._quiet is None:
            frauds = self.frauds
            self._quiet = frauds.happened(self.time, quiet=True) if frauds else []
        return self._quiet


#: What is known of somebody never seen: nothing. Only ever looked at.
_NO_HABITS: Final = Habits()
_NOBODY: Final = Acquaintances()
_NO_PAYMENTS: Final = Timeline()


class Describer:
    """A kind of key, with everything that is asked of its entities."""

    def __init__(
        self,
        key: str,
        asks: Iterable[Windowed | Ask],
        *,
        owner: Callable[[Event], str | None],
        labelled: Callable[[Label], str | None],
        meets: Callable[[Event], str | None] | None = None,
        visits: Callable[[Event], str | None] | None = None,
        habits: bool = False,
        declared: Sequence[tuple[Feature, Callable[[Sight], Value]]] = (),
        tracks: Sequence[Track] = (),
        forgotten_after: int = FORGOTTEN_AFTER,
    ) -> None:
        """What is kept of the past, beside payments, frauds and failed sign-ins.

        ``meets`` says whom the entity is known to after a payment (a customer: its payees),
        ``visits`` who came by (a device: its customers); ``habits``: it is somebody who has some.
        ``declared`` are features over ``tracks``; without any ask nothing but these is kept.
        """
        self.key = key
        self._owner, self._labelled = owner, labelled
        self.meets, self.visits, self.habits = meets, visits, habits
        self.tracks, self.forgotten_after = tuple(tracks), forgotten_after
        for at, track in enumerate(self.tracks):
            track.at = at
        self.declared = tuple((feature.name, of) for feature, of in declared)
        self.asks = asked = tuple(asks)
        self.features: tuple[Feature, ...] = tuple(
            Feature(
                f"{key}.{ask.name}",
                ask.unit,
                ask.grade,
                ask.meaning,
                key in CLAIMS or getattr(ask, "claimed", False),
            )
            for ask in asked
        ) + tuple(feature for feature, _ in declared)
        windowed = [ask for ask in asked if isinstance(ask, Windowed)]
        spans = sorted({span(ask.window) for ask in windowed}, reverse=True)
        self.spans: tuple[int, ...] = tuple(spans)
        named = {(ask.aggregate, span(ask.window)): f"{key}.{ask.name}" for ask in windowed}
        self.names: tuple[tuple[str | None, str | None, str | None], ...] = tuple(
            (named.get(("count", s)), named.get(("sum", s)), named.get(("mean", s))) for s in spans
        )
        self.others: tuple[tuple[str, Callable[[Sight], Value]], ...] = tuple(
            (f"{key}.{ask.name}", ask.of) for ask in asked if not isinstance(ask, Windowed)
        )
        self.keep = max([ask.reach for ask in asked] + [SETTLED]) + LATENESS
        self.bare = not asked
        #: Every answer in its place; of what asks for known frauds, the one where there is none:
        #: of most entities, so that `unheard` is all that is left to ask.
        self.blank: dict[str, Value] = dict.fromkeys(
            name for row in self.names for name in row if name
        )
        self.blank |= {
            f"{key}.{ask.name}": getattr(ask, "unheard", None)
            for ask in asked
            if not isinstance(ask, Windowed)
        }
        heard = {f"{key}.{ask.name}" for ask in asked if hasattr(ask, "unheard")}
        self.unheard = tuple(one for one in self.others if one[0] not in heard)
        #: How far back payments that proved honest are counted, the farthest first.
        settled = {ask.reach for ask in asked if getattr(ask, "beyond", 0) == SETTLED}
        self.settled: tuple[int, ...] = tuple(sorted(settled, reverse=True))

    def with_declared(
        self,
        declared: Sequence[tuple[Feature, Callable[[Sight], Value]]],
        tracks: Sequence[Track],
        forgotten_after: int = FORGOTTEN_AFTER,
    ) -> Describer:
        """The same with features that somebody declared."""
        return Describer(
            self.key,
            self.asks,
            owner=self._owner,
            labelled=self._labelled,
            meets=self.meets,
            visits=self.visits,
            habits=self.habits,
            declared=declared,
            tracks=tracks,
            forgotten_after=forgotten_after,
        )

    def entity(self, event: Event) -> str | None:
        """Whose past describes this event; None: it has nobody of this kind."""
        return self._owner(event)

    def entity_of_label(self, label: Label) -> str | None:
        """Whose past this label is about."""
        return self._labelled(label)

    def new(self) -> Profile:
        """The profile of an entity never seen before."""
        return Profile(self)

    def load(self, stored: bytes) -> Profile:
        """The profile that ``dump`` wrote, now or by an earlier program.

        A section that this program does not know is dropped, one that is missing is empty.
        """
        profile = Profile(self)
        for section, body in _sections(self.key, stored):
            profile.take(section, body)
        return profile

    def expired(self, stored: bytes, now: int) -> bool:
        """Whether a stored profile is of somebody who is forgotten, whatever may still come."""
        try:
            found = dict(_sections(self.key, stored)).get(NEWEST_SECTION)
        except ProfileError:
            return False  # whoever needs it will say so
        if found is None:
            return False
        (newest,) = _NEWEST.unpack(found)
        return bool(now - newest > self.forgotten_after + LATENESS)


def _sections(key: str, stored: bytes) -> Iterator[tuple[int, bytes]]:
    """The sections of a stored profile."""
    if stored[:3] != MAGIC or len(stored) < 4:
        raise ProfileError(
            f"a stored {key} profile begins with {MAGIC!r} and a version, "
            f"got {stored[:4]!r}: it is damaged or something else; rebuild it by a backfill"
        )
    if stored[3] > VERSION:
        raise ProfileError(
            f"a stored {key} profile has format {stored[3]}, this program reads up to "
            f"{VERSION}: it was written by a newer program; run that one"
        )
    at = 4
    while at < len(stored):
        if at + _SECTION.size > len(stored):
            raise ProfileError(f"a stored {key} profile ends within a section header")
        section, size = _SECTION.unpack_from(stored, at)
        at += _SECTION.size
        body = stored[at : at + size]
        if len(body) != size:
            raise ProfileError(
                f"section {section} of a stored {key} profile should have {size} bytes, "
                f"got {len(body)}: it is cut off"
            )
        at += size
        yield section, body


class Profile:
    """The past of one entity. Bounded in size, whatever happens to it."""

    __slots__ = (
        "_describer",
        "failures",
        "frauds",
        "habits",
        "newest",
        "pasts",
        "payees",
        "payments",
        "visitors",
    )

    def __init__(self, describer: Describer) -> None:
        self._begin(describer)

    def _begin(self, describer: Describer) -> None:
        self._describer = describer
        self.newest: int | None = None  # the time of the newest thing observed or heard
        self.payments = _NO_PAYMENTS if describer.bare else Timeline()
        self.payees = _NOBODY if describer.meets is None else Acquaintances()
        # most entities have none of these
        self.frauds: Frauds | None = None
        self.failures: Recent | None = None
        self.visitors: Visitors | None = None
        self.habits: Habits | None = None
        self.pasts: list[Past | None] = []  # of the describer's tracks, once there is any

    @property
    def settled(self) -> tuple[int, ...]:
        """How far back payments that proved honest are counted."""
        return self._describer.settled

    def _forgotten(self, time: int) -> bool:
        """Whether nothing was heard of this entity for so long that it is a new one."""
        newest = self.newest
        return newest is not None and time - newest > self._describer.forgotten_after

    def describe(self, event: Event, so_far: Told = _NOTHING_TOLD) -> dict[str, Value]:
        """Every feature of this key, of this event; a window includes the event itself.

        ``so_far``: by what it was described already, for declared features that look at it.
        """
        describer = self._describer
        if self._forgotten(event.time_us):
            return Profile(describer).describe(event, so_far)
        sight = Sight(self, event)
        here, worth, priced_here = 0, 0, 0
        if sight.here:
            here = 1
            if sight.amount is not None:
                worth, priced_here = sight.amount, 1
        out = describer.blank.copy()
        found = self.payments.tallies(sight.time, describer.spans)
        for (count_of, sum_of, mean_of), (count, priced, total) in zip(
            describer.names, found, strict=True
        ):
            if count_of is not None:
                out[count_of] = count + here
            if sum_of is not None:
                out[sum_of] = total + worth
            if mean_of is not None:
                amounts = priced + priced_here
                out[mean_of] = (total + worth) / amounts if amounts else None
        for name, of in describer.others if sight.frauds else describer.unheard:
            out[name] = of(sight)
        if describer.declared:
            sight.told = {**so_far, **out}
            for name, of in describer.declared:
                out[name] = of(sight)
        return out

    def observe(self, event: Event, told: Told | None = None) -> None:
        """The event is history now: the next one is described with it.

        ``told``: by what it was described; without it that is found out here, where it is needed.
        """
        describer, time = self._describer, event.time_us
        if event.type not in ACTS:
            return
        if self._forgotten(time):
            self._begin(describer)
        if describer.tracks:
            self._track(event, self.describe(event) if told is None else told)
        self.newest = time if self.newest is None else max(self.newest, time)
        if describer.bare:
            return
        if describer.visits is not None:
            visitor = describer.visits(event)
            if visitor is not None:
                self.visitors = self.visitors or Visitors()
                self.visitors.came(visitor, time)
        if failed(event):
            self.failures = self.failures or Recent()
            self.failures.add(time, describer.keep)
        elif describer.habits:
            self.habits = self.habits or Habits()
            self.habits.observe(event, describer.keep)
        if event.type != "transaction":
            return
        self.payments.add(time, event.amount_base, describer.keep)
        if describer.meets is not None:
            other = describer.meets(event)
            if other is not None:
                self.payees.meet(other, time)

    def _track(self, event: Event, told: Told) -> None:
        for track in self._describer.tracks:
            if track.wants(event, told):
                track.observe(self._past(track), event, told)

    def _past(self, track: Track) -> Past:
        self.pasts = self.pasts or [None] * len(self._describer.tracks)
        past = self.pasts[track.at]
        if past is None:
            past = self.pasts[track.at] = track.fresh()
        return past

    def hear(self, label: Label) -> None:
        """What became known about an earlier event of this entity, and when."""
        if self._forgotten(label.known_us):
            self._begin(self._describer)
        self.newest = label.known_us if self.newest is None else max(self.newest, label.known_us)
        for track in self._describer.tracks:
            if isinstance(track, Labels):
                track.hear(self._past(track), label)
        if self._describer.bare:
            return
        frauds = Frauds() if self.frauds is None else self.frauds
        frauds.hear(label, max(self._describer.keep + _AHEAD, _LABELS_KEPT))
        if len(frauds):
            self.frauds = frauds

    def take(self, section: int, body: bytes) -> None:
        """Take in one stored section; one that this program does not know is passed over."""
        if section == PAYMENTS_SECTION:
            self.payments = Timeline.load(body)
        elif section == FRAUDS_SECTION:
            self.frauds = Frauds.load(body)
        elif section == PAYEES_SECTION:
            self.payees = Acquaintances.load(body)
        elif section == FAILURES_SECTION:
            self.failures = Recent.load(body)
        elif section == VISITORS_SECTION:
            self.visitors = Visitors.load(body)
        elif section == TRACKS_SECTION:
            self.pasts = load_tracks(self._describer.tracks, body)
        elif section == NEWEST_SECTION:
            (self.newest,) = _NEWEST.unpack(body)
        elif section in _OF_HABITS:
            self.habits = self.habits or Habits()
            name, load = _OF_HABITS[section]
            setattr(self.habits, name, load(body))

    def dump(self) -> bytes:
        """The profile as bytes, which every later program can load."""
        parts = [MAGIC, bytes((VERSION,))]
        for section, body in self._sections():
            if body:
                parts.append(_SECTION.pack(section, len(body)))
                parts.append(body)
        return b"".join(parts)

    def _sections(self) -> Iterator[tuple[int, bytes]]:
        yield PAYMENTS_SECTION, self.payments.dump()
        if self.frauds is not None:
            yield FRAUDS_SECTION, self.frauds.dump()
        yield PAYEES_SECTION, self.payees.dump()
        if self.failures is not None:
            yield FAILURES_SECTION, self.failures.dump()
        if self.visitors is not None:
            yield VISITORS_SECTION, self.visitors.dump()
        if self.habits is not None:
            for section, (name, _) in _OF_HABITS.items():
                yield section, getattr(self.habits, name).dump()
        if self.pasts:
            yield TRACKS_SECTION, dump_tracks(self._describer.tracks, self.pasts)
        if self.newest is not None:
            yield NEWEST_SECTION, _NEWEST.pack(self.newest)


#: Of each section of the habits: where it stands in them, and how it is read.
_OF_HABITS: Final[Mapping[int, tuple[str, Callable[[bytes], object]]]] = {
    DEVICES_SECTION: ("devices", lambda body: Acquaintances.load(body, DEVICES)),
    COUNTRIES_SECTION: ("countries", lambda body: Acquaintances.load(body, COUNTRIES)),
    PLACES_SECTION: ("places", Places.load),
    HOURS_SECTION: ("hours", Hours.load),
    CHANGES_SECTION: ("changes", Recent.load),
    ARRIVALS_SECTION: ("arrivals", Recent.load),
}
