"""With what, from where and when does this customer usually come?

Learnt from what the customer *did*: payments, account changes, sign-ins that succeeded. A failed
sign-in is described by these habits and teaches none: whoever tries a password from far away must
not make that place, that device or that hour a usual one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from math import asin, cos, radians, sin, sqrt
from typing import Final, NamedTuple

from features.acquaintances import Acquaintances
from features.moment import HOUR, LATENESS, Event, Value
from features.recent import Recent

#: So many devices and countries are remembered, those seen most recently.
DEVICES: Final = 64
COUNTRIES: Final = 32

#: Of places, those of the last hour are kept (an event may be that late), at most so many.
PLACES: Final = 64

#: An hour is unusual against the latest so many acts, and against at least so many.
ACTS_LOOKED_AT: Final = 64
ACTS_NEEDED: Final = 20
_ACTS_KEPT: Final = 96  # some may be later than an event that is out of order

#: Mean radius of the earth in kilometres (IUGG 1980).
_EARTH: Final = 6371.0088

#: Every new payee is preceded by this one: it says no more than ``new_payee`` does.
_HARMLESS_CHANGE: Final = "payee_added"


class Place(NamedTuple):
    """Where somebody was at a time: degrees, WGS 84."""

    time: int
    lat: float
    lon: float

    def distance_km(self, lat: float, lon: float) -> float:
        """To there along the great circle, by the haversine formula (Sinnott 1984)."""
        here, there = radians(self.lat), radians(lat)
        across = sin((there - here) / 2) ** 2
        along = cos(here) * cos(there) * sin(radians(lon - self.lon) / 2) ** 2
        return 2 * _EARTH * asin(min(1.0, sqrt(across + along)))


class Places:
    """The latest places: those of the last hour, and the one before them."""

    __slots__ = ("_lats", "_lons", "_times")

    def __init__(self) -> None:
        self._times = array("q")
        self._lats = array("d")
        self._lons = array("d")

    def add(self, time: int, lat: float, lon: float) -> None:
        """Somebody was there."""
        times = self._times
        at = bisect_right(times, time)
        times.insert(at, time)
        self._lats.insert(at, lat)
        self._lons.insert(at, lon)
        gone = max(bisect_right(times, times[-1] - LATENESS) - 1, len(times) - PLACES)
        if gone > 0:
            del times[:gone], self._lats[:gone], self._lons[:gone]

    def last(self, until: int) -> Place | None:
        """The latest place at or before ``until``."""
        at = bisect_right(self._times, until) - 1
        return Place(self._times[at], self._lats[at], self._lons[at]) if at >= 0 else None

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._times)

    def dump(self) -> bytes:
        """Three columns: times, latitudes, longitudes."""
        return self._times.tobytes() + self._lats.tobytes() + self._lons.tobytes()

    @classmethod
    def load(cls, stored: bytes) -> Places:
        """The places that ``dump`` wrote."""
        places, size = cls(), len(stored) // 3
        places._times.frombytes(stored[:size])
        places._lats.frombytes(stored[size : 2 * size])
        places._lons.frombytes(stored[2 * size :])
        return places


class Hours:
    """At which hours of the day (UTC) the latest acts were."""

    __slots__ = ("_hours", "_times")

    def __init__(self) -> None:
        self._times = array("q")
        self._hours = bytearray()

    def add(self, time: int) -> None:
        """Somebody was up to something."""
        at = bisect_right(self._times, time)
        self._times.insert(at, time)
        self._hours.insert(at, time // HOUR % 24)
        if len(self._times) > _ACTS_KEPT:
            del self._times[0], self._hours[0]

    def elsewhere(self, time: int) -> Value:
        """Of the latest acts, the share that was more than one hour of the day away from now."""
        until = bisect_right(self._times, time)
        if until < ACTS_NEEDED:
            return None
        looked = self._hours[max(0, until - ACTS_LOOKED_AT) : until]
        hour = time // HOUR % 24
        near = looked.count(hour) + looked.count((hour - 1) % 24) + looked.count((hour + 1) % 24)
        return (len(looked) - near) / len(looked)

    def __len__(self) -> int:
        """How many acts are kept."""
        return len(self._times)

    def dump(self) -> bytes:
        """One column, the times."""
        return self._times.tobytes()

    @classmethod
    def load(cls, stored: bytes) -> Hours:
        """The hours that ``dump`` wrote."""
        hours = cls()
        hours._times.frombytes(stored)
        hours._hours.extend(time // HOUR % 24 for time in hours._times)
        return hours


class Habits:
    """Of one customer: devices, countries, places, hours; account changes and arrivals."""

    __slots__ = ("arrivals", "changes", "countries", "devices", "hours", "places")

    def __init__(self) -> None:
        self.devices = Acquaintances(DEVICES)
        self.countries = Acquaintances(COUNTRIES)
        self.places = Places()
        self.hours = Hours()
        self.changes = Recent()
        self.arrivals = Recent()  # sign-ins from a country that was new then

    def observe(self, event: Event, keep: int) -> None:
        """The customer did this; it is usual from now on."""
        time = event.time_us
        if event.type == "login" and self.new_country(event):
            self.arrivals.add(time, keep)
        elif changed(event):
            self.changes.add(time, keep)
        if event.device is not None:
            self.devices.meet(event.device, time)
        if event.country is not None:
            self.countries.meet(event.country, time)
        if event.lat is not None and event.lon is not None:
            self.places.add(time, event.lat, event.lon)
        self.hours.add(time)

    def new_country(self, event: Event) -> Value:
        """1 if the customer came from other countries before, and never from this one."""
        if event.country is None or not self.countries.knew_any(event.time_us):
            return None
        return int(not self.countries.knew(event.country, event.time_us))


def changed(event: Event) -> bool:
    """Whether this changed how the customer signs in, is reached, or what may be paid."""
    return event.type == "account_change" and event.change != _HARMLESS_CHANGE
