"""With what, from where and when does this customer usually come; and what was changed?"""

from __future__ import annotations

from features.asks.kinds import Ever, Over
from features.describer import Sight
from features.habits import changed
from features.moment import HOUR, SECOND, Value, failed


class NewDevice(Ever):
    """1 if this customer is not known to have used this device before, else 0."""

    name = "new_device"
    claimed = True
    unit = "flag"
    meaning = "1: the customer never did anything on this device (of the 64 used most recently)"

    def of(self, sight: Sight) -> Value:
        """None where the event names no device."""
        device = sight.event.device
        return None if device is None else int(not sight.habits.devices.knew(device, sight.time))


class NewDeviceWithin(Over):
    """1 if this customer is not known to have used this device *before the window*, else 0.

    A thief's device is new at the first act alone; at the second it was still new today.
    """

    aggregate = "new_device"
    claimed = True
    unit = "flag"
    words = "1: nothing on this device {} ago or earlier (of the 64 used most recently)"

    def of(self, sight: Sight) -> Value:
        """None where the event names no device."""
        device, edge = sight.event.device, sight.time - self.reach
        return None if device is None else int(not sight.habits.devices.knew(device, edge))


class NewCountry(Ever):
    """1 if this customer came from other countries before and never from this one, else 0."""

    name = "new_country"
    claimed = True
    unit = "flag"
    meaning = "1: the customer came from elsewhere before, never from this country"

    def of(self, sight: Sight) -> Value:
        """None where the event has no country, and where none was known before."""
        return sight.habits.new_country(sight.event)


class NewCountryLogins(Over):
    """How many sign-ins from a country that was new then, this one included."""

    aggregate = "new_country_logins"
    claimed = True
    unit = "count"
    words = "successful sign-ins within {} from a country that was new then (64: or more)"

    def of(self, sight: Sight) -> Value:
        """A failed one is none."""
        event, habits = sight.event, sight.habits
        seen = habits.arrivals.count(sight.time - self.reach, sight.time)
        if event.type == "login" and not failed(event) and habits.new_country(event):
            seen += 1
        return seen


class DistanceKm(Ever):
    """Kilometres from the place before, along the great circle."""

    name = "distance_km"
    claimed = True
    unit = "km"
    meaning = "distance from the customer's place before"

    def of(self, sight: Sight) -> Value:
        """None where this event, or everything before it, has no place."""
        place, distance_km = sight.moved()
        return None if place is None else distance_km


class SpeedKmh(Ever):
    """How fast the customer must have travelled from the place before."""

    name = "speed_kmh"
    claimed = True
    unit = "km/h"
    meaning = "speed from the customer's place before to here"

    def of(self, sight: Sight) -> Value:
        """The time between counts as a second at least; None like the distance."""
        place, distance_km = sight.moved()
        if place is None:
            return None
        return distance_km * HOUR / max(SECOND, sight.time - place.time)


class UnusualHour(Ever):
    """Of the latest 64 acts the share that was at other hours of the day (UTC, one more or less).

    1: never at such an hour. Acts are payments, account changes, sign-ins that succeeded.
    """

    name = "unusual_hour"
    unit = "ratio"
    meaning = "share of the customer's latest 64 acts at other hours of the day than this"

    def of(self, sight: Sight) -> Value:
        """None below 20 earlier acts."""
        return sight.habits.hours.elsewhere(sight.time)


class LoginFailures(Over):
    """How many sign-ins failed, this one included."""

    aggregate = "login_failures"
    unit = "count"
    words = "sign-ins that failed within {} (64: or more)"

    def of(self, sight: Sight) -> Value:
        """Of this customer, or from this address."""
        failures = sight.profile.failures
        seen = failures.count(sight.time - self.reach, sight.time) if failures else 0
        return seen + failed(sight.event)


class AccountChanges(Over):
    """How many changes of phone, password, email, device or limit, this one included.

    Not ``payee_added``: it precedes each new payee and says no more than ``new_payee`` does.
    """

    aggregate = "account_changes"
    unit = "count"
    words = "changes of phone, password, email, device or limit within {} (64: or more)"

    def of(self, sight: Sight) -> Value:
        """0 without any."""
        seen = sight.habits.changes.count(sight.time - self.reach, sight.time)
        return seen + changed(sight.event)


class SinceAccountChange(Ever):
    """Seconds since the latest earlier one of those changes, however long ago."""

    name = "since_account_change"
    unit = "seconds"
    meaning = "seconds since the last change of phone, password, email, device or limit"

    def of(self, sight: Sight) -> Value:
        """None if there was none."""
        last = sight.habits.changes.last(sight.time)
        return None if last is None else (sight.time - last) / SECOND
