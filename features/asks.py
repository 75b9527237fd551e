"""What may be asked of an entity's past? One small class an ask, one line each in the catalogue.

Windows are (t - W, t] in event time and include the event itself; comparisons with the entity's
own normal (z-score, ratio) are with earlier payments alone. ``docs/semantics.md`` has the rest.
"""

from __future__ import annotations

from bisect import bisect_right
from math import sqrt
from typing import ClassVar, Final

from features.describer import Sight, Windowed
from features.habits import changed
from features.moment import ACTS, DAY, HOUR, SECOND, SETTLED, Value, failed, span
from features.visitors import Visitors

_NOBODY: Final = Visitors()  # only ever looked at


def count(window: str) -> Windowed:
    """How many payments."""
    return Windowed(f"count.{window}", "count", 2, f"payments within {window}", "count", window)


def total(window: str) -> Windowed:
    """How much in all; payments without a base amount are skipped, none at all is 0."""
    meaning = f"sum of amounts within {window}"
    return Windowed(f"sum.amount.{window}", "money", 2, meaning, "sum", window)


def mean(window: str) -> Windowed:
    """How much on average; None without any amount."""
    meaning = f"mean amount within {window}"
    return Windowed(f"mean.amount.{window}", "money", 2, meaning, "mean", window)


class _Over:
    """An ask over a window."""

    aggregate: ClassVar[str]
    unit: ClassVar[str]
    words: ClassVar[str]
    grade: ClassVar[int] = 2
    beyond: ClassVar[int] = 0  # how far before the window's beginning it looks

    def __init__(self, window: str) -> None:
        self.name = f"{self.aggregate}.{window}"
        self.meaning = self.words.format(window)
        self.reach = span(window) + self.beyond


class _Ever:
    """An ask without a window."""

    name: ClassVar[str]
    unit: ClassVar[str]
    meaning: ClassVar[str]
    grade: ClassVar[int] = 2
    reach: ClassVar[int] = 0


class Deviation(_Over):
    """Population standard deviation of the amounts, this one included; None without any."""

    aggregate = "std.amount"
    unit = "money"
    words = "standard deviation of amounts within {}"

    def of(self, sight: Sight) -> Value:
        """From exact whole-number sums, so that no order of arrival shows in it."""
        n, s, q = sight.profile.payments.squares(sight.time - self.reach, sight.time)
        if sight.amount is not None:
            n, s, q = n + 1, s + sight.amount, q + sight.amount * sight.amount
        return sqrt(n * q - s * s) / n if n else None


class ZScore(_Over):
    """How many standard deviations this amount lies above the mean of the earlier ones.

    None with fewer than three earlier amounts, or where they are all the same.
    """

    aggregate = "zscore.amount"
    unit = "ratio"
    words = "amount against mean and deviation of the earlier ones within {}"

    def of(self, sight: Sight) -> Value:
        """(amount - mean) / population standard deviation."""
        if sight.amount is None:
            return None
        n, s, q = sight.profile.payments.squares(sight.time - self.reach, sight.time)
        spread = n * q - s * s
        if n < 3 or spread <= 0:
            return None
        return (n * sight.amount - s) / sqrt(spread)


class Ratio(_Over):
    """This amount over the mean of the earlier ones; None without any, or where that is <= 0."""

    aggregate = "ratio.amount"
    unit = "ratio"
    words = "amount over the mean of the earlier ones within {}"

    def of(self, sight: Sight) -> Value:
        """amount / mean."""
        if sight.amount is None:
            return None
        _, priced, total = sight.profile.payments.tally(sight.time - self.reach, sight.time)
        return sight.amount * priced / total if total > 0 else None


class MedianRatio(_Over):
    """This amount over the median of the earlier ones; None below three, or where that is <= 0.

    Of more than 512 payments the newest are looked at. Unlike a mean, the median does not move
    with a few stolen payments.
    """

    aggregate = "median_ratio.amount"
    unit = "ratio"
    words = "amount over the median of the earlier ones within {}"

    def of(self, sight: Sight) -> Value:
        """Of an even number the lower of the two in the middle."""
        if sight.amount is None:
            return None
        middle = sight.median(self.reach)
        return sight.amount / middle if middle is not None and middle > 0 else None


class Outliers(_Over):
    """How many of the earlier payments were above three times the median of them.

    Of more than 512 payments the newest are looked at.
    """

    aggregate = "outliers.amount"
    unit = "count"
    words = "payments within {} above three times the median of them"

    def of(self, sight: Sight) -> Value:
        """0 below three earlier payments."""
        middle = sight.median(self.reach)
        if middle is None:
            return 0
        earlier = sight.earlier(self.reach)
        return len(earlier) - bisect_right(earlier, 3 * middle)


class MaxRatio(_Over):
    """The greatest amount of a window, this one included, over the median of 30 days before t.

    Of more than 512 payments the newest are looked at. None without an amount in the window, below
    three earlier ones, or where the median is <= 0.
    """

    aggregate = "max_ratio.amount"
    unit = "ratio"
    words = "greatest amount within {} over the median of the 30d before"

    def __init__(self, window: str) -> None:
        super().__init__(window)
        self._width, self.reach = self.reach, max(self.reach, 30 * DAY)

    def of(self, sight: Sight) -> Value:
        """max / median."""
        middle = sight.median(30 * DAY)
        if middle is None or middle <= 0:
            return None
        amounts = sight.profile.payments.amounts(sight.time - self._width, sight.time)
        if sight.amount is not None:
            amounts.append(sight.amount)
        return max(amounts) / middle if amounts else None


class MeanRatio:
    """Mean amount of a short window, this payment included, over that of a long one before it.

    None without an amount in either, or where the long mean is <= 0.
    """

    unit = "ratio"
    grade = 2

    def __init__(self, short: str, long: str) -> None:
        self.name = f"mean_ratio.amount.{short}.{long}"
        self.meaning = f"mean amount within {short} over the mean of the {long} before"
        self.short, self.long = span(short), span(long)
        self.reach = self.short + self.long

    def of(self, sight: Sight) -> Value:
        """(sum / count) / (sum / count)."""
        edge = sight.time - self.short
        _, n, s = sight.profile.payments.tally(edge, sight.time)
        if sight.amount is not None:
            n, s = n + 1, s + sight.amount
        _, n0, s0 = sight.profile.payments.tally(edge - self.long, edge)
        return (s * n0) / (n * s0) if n and s0 > 0 else None


class SinceLast(_Ever):
    """Seconds since the latest earlier payment, however long ago; 0 at the same time."""

    name = "since_last"
    unit = "seconds"
    meaning = "seconds since the payment before"

    def of(self, sight: Sight) -> Value:
        """None if there was none."""
        last = sight.profile.payments.last(sight.time)
        return None if last is None else (sight.time - last) / SECOND


class SinceFirst(_Ever):
    """Seconds since the first payment ever seen: how long this entity is known."""

    name = "since_first"
    unit = "seconds"
    meaning = "seconds since the first payment known"

    def of(self, sight: Sight) -> Value:
        """None if there was none by then."""
        first = sight.profile.payments.first
        return None if first is None or first > sight.time else (sight.time - first) / SECOND


class NewPayee(_Ever):
    """1 if this customer is not known to have paid this payee before, else 0."""

    name = "new_payee"
    unit = "flag"
    meaning = "1: no earlier payment to this payee (of the 256 met most recently)"

    def of(self, sight: Sight) -> Value:
        """None where the event has no payee."""
        payee = sight.event.payee
        return None if payee is None else int(not sight.profile.payees.knew(payee, sight.time))


class NewPayeeWithin(_Over):
    """1 if this customer is not known to have paid this payee *before the window*, else 0.

    A thief who pays the same account a second time pays a payee who was new today.
    """

    aggregate = "new_payee"
    unit = "flag"
    words = "1: no payment to this payee {} ago or earlier (of the 256 met most recently)"

    def of(self, sight: Sight) -> Value:
        """None where the event has no payee."""
        payee, edge = sight.event.payee, sight.time - self.reach
        return None if payee is None else int(not sight.profile.payees.knew(payee, edge))


class FraudCount(_Over):
    """How many payments *became known* as frauds within the window, and still count as such."""

    aggregate = "fraud_count"
    unit = "count"
    words = "payments that became known as frauds within {}"

    def of(self, sight: Sight) -> Value:
        """By the time of knowing, in (t - W, t]."""
        frauds = sight.profile.frauds
        return frauds.count(sight.time - self.reach, sight.time) if frauds else 0


class FraudRisk(_Over):
    """Of the payments *made* in (t - 7 d - W, t - 7 d], the share that is known as fraud at t.

    The delayed risk of the Fraud Detection Handbook (Le Borgne et al., 2022, chapter 3): payments
    younger than 7 days are left out since most of their frauds are not known yet.
    """

    aggregate = "fraud_risk"
    unit = "ratio"
    words = "share of frauds among the payments made within {} before the last 7d"
    beyond = SETTLED

    def of(self, sight: Sight) -> Value:
        """None without any such payment."""
        until, after = sight.time - SETTLED, sight.time - self.reach
        payments, _, _ = sight.profile.payments.tally(after, until)
        if not payments:
            return None
        happened = sight.happened
        if not happened:
            return 0.0
        frauds = bisect_right(happened, until) - bisect_right(happened, after)
        return min(1.0, frauds / payments)


class SinceFraud(_Over):
    """Seconds since the latest payment that is known as a fraud; None without any in reach."""

    aggregate = "since_fraud"
    unit = "seconds"
    words = "seconds since the latest payment within {} that is a known fraud"

    def of(self, sight: Sight) -> Value:
        """By the time of the payment, not of the label."""
        made = self.seen(sight)
        if not made or made[-1] <= sight.time - self.reach:
            return None
        return (sight.time - made[-1]) / SECOND

    def seen(self, sight: Sight) -> list[int]:
        """Which frauds."""
        return sight.happened


class FraudRun(_Over):
    """How many of the latest payments that can be known are frauds, with no honest one between.

    A payment that nobody called a fraud within 7 days proved honest.
    """

    aggregate = "fraud_run"
    unit = "count"
    words = "known frauds within {} since the last payment that proved honest"

    def of(self, sight: Sight) -> Value:
        """0 without a run."""
        return len(self.run(sight))

    def run(self, sight: Sight) -> list[int]:
        """The times of the run's payments, sorted."""
        happened = sight.happened
        if not happened:
            return happened
        after = sight.time - self.reach
        honest = sight.profile.payments.last_but(sight.time - SETTLED, frozenset(happened))
        if honest is not None and honest > after:
            after = honest
        return happened[bisect_right(happened, after) :]


class FraudRunAge(FraudRun):
    """Seconds since the first payment of the fraud run; None without one."""

    aggregate = "fraud_run_age"
    unit = "seconds"
    words = "seconds since the first payment of the fraud run within {}"

    def of(self, sight: Sight) -> Value:
        """By the time of the payment."""
        run = self.run(sight)
        return (sight.time - run[0]) / SECOND if run else None


class HonestSinceFraud(_Over):
    """How many payments after the latest known fraud proved honest; None without a fraud."""

    aggregate = "honest_since_fraud"
    unit = "count"
    words = "payments that proved honest since the latest known fraud within {}"
    beyond = SETTLED

    def of(self, sight: Sight) -> Value:
        """Those older than 7 days that nobody called a fraud."""
        happened = sight.happened
        if not happened or happened[-1] <= sight.time - self.reach:
            return None
        return sight.profile.payments.tally(happened[-1], sight.time - SETTLED)[0]


class FraudAge(_Over):
    """Seconds since the first payment in the window that is known as a fraud; None without any."""

    aggregate = "fraud_age"
    unit = "seconds"
    words = "seconds since the first payment within {} that is a known fraud"

    def of(self, sight: Sight) -> Value:
        """By the time of the payment."""
        return _age(self.seen(sight), sight.time, self.reach)

    def seen(self, sight: Sight) -> list[int]:
        """Which frauds."""
        return sight.happened


class QuietFrauds(_Over):
    """How many payments made in the window are known as quiet frauds (``frauds.py``)."""

    aggregate = "quiet_frauds"
    unit = "count"
    words = "known frauds within {} whose amount was nothing unusual for their customer"

    def of(self, sight: Sight) -> Value:
        """By the time of the payment, not of the label."""
        quiet = sight.quiet
        return len(quiet) - bisect_right(quiet, sight.time - self.reach)


class QuietFraudAge(FraudAge):
    """The same, of quiet frauds."""

    aggregate = "quiet_fraud_age"
    words = "seconds since the first known quiet fraud within {}"

    def seen(self, sight: Sight) -> list[int]:
        """Which frauds."""
        return sight.quiet


class SinceQuietFraud(SinceFraud):
    """Seconds since the latest known quiet fraud; None without any in reach."""

    aggregate = "since_quiet_fraud"
    words = "seconds since the latest known quiet fraud within {}"

    def seen(self, sight: Sight) -> list[int]:
        """Which frauds."""
        return sight.quiet


def _age(made: list[int], time: int, reach: int) -> Value:
    first = bisect_right(made, time - reach)
    return (time - made[first]) / SECOND if first < len(made) else None


class SmallPayments(_Over):
    """How many payments of at most so much (minor units of the base currency), this one included.

    Of more than 512 payments the newest are looked at.
    """

    aggregate = "small_payments"
    unit = "count"
    words = "payments within {} of at most "

    def __init__(self, window: str, at_most: int) -> None:
        super().__init__(window)
        self.meaning += f"{at_most} minor units of the base currency"
        self.at_most = at_most

    def of(self, sight: Sight) -> Value:
        """A payment without an amount is not a small one."""
        amounts = sight.profile.payments.amounts(sight.time - self.reach, sight.time)
        here = sight.amount is not None and sight.amount <= self.at_most
        return len([amount for amount in amounts if amount <= self.at_most]) + here


class NewPayees(_Over):
    """How many payees were paid for the first time within the window, this one's included."""

    aggregate = "new_payees"
    unit = "count"
    words = "payees paid for the first time within {} (of the 256 met most recently)"

    def of(self, sight: Sight) -> Value:
        """By the time of the first payment to each."""
        payees, payee = sight.profile.payees, sight.event.payee
        met = payees.first_met(sight.time - self.reach, sight.time)
        return met + (sight.here and payee is not None and not payees.knew(payee, sight.time))


class NewDevice(_Ever):
    """1 if this customer is not known to have used this device before, else 0."""

    name = "new_device"
    unit = "flag"
    meaning = "1: the customer never did anything on this device (of the 64 used most recently)"

    def of(self, sight: Sight) -> Value:
        """None where the event names no device."""
        device = sight.event.device
        return None if device is None else int(not sight.habits.devices.knew(device, sight.time))


class NewCountry(_Ever):
    """1 if this customer came from other countries before and never from this one, else 0."""

    name = "new_country"
    unit = "flag"
    meaning = "1: the customer came from elsewhere before, never from this country"

    def of(self, sight: Sight) -> Value:
        """None where the event has no country, and where none was known before."""
        return sight.habits.new_country(sight.event)


class NewCountryLogins(_Over):
    """How many sign-ins from a country that was new then, this one included."""

    aggregate = "new_country_logins"
    unit = "count"
    words = "successful sign-ins within {} from a country that was new then (64: or more)"

    def of(self, sight: Sight) -> Value:
        """A failed one is none."""
        event, habits = sight.event, sight.habits
        seen = habits.arrivals.count(sight.time - self.reach, sight.time)
        if event.type == "login" and not failed(event) and habits.new_country(event):
            seen += 1
        return seen


class DistanceKm(_Ever):
    """Kilometres from the place before, along the great circle."""

    name = "distance_km"
    unit = "km"
    meaning = "distance from the customer's place before"

    def of(self, sight: Sight) -> Value:
        """None where this event, or everything before it, has no place."""
        place, distance_km = sight.moved()
        return None if place is None else distance_km


class SpeedKmh(_Ever):
    """How fast the customer must have travelled from the place before."""

    name = "speed_kmh"
    unit = "km/h"
    meaning = "speed from the customer's place before to here"

    def of(self, sight: Sight) -> Value:
        """The time between counts as a second at least; None like the distance."""
        place, distance_km = sight.moved()
        if place is None:
            return None
        return distance_km * HOUR / max(SECOND, sight.time - place.time)


class UnusualHour(_Ever):
    """Of the latest 64 acts the share that was at other hours of the day (UTC, one more or less).

    1: never at such an hour. Acts are payments, account changes, sign-ins that succeeded.
    """

    name = "unusual_hour"
    unit = "ratio"
    meaning = "share of the customer's latest 64 acts at other hours of the day than this"

    def of(self, sight: Sight) -> Value:
        """None below 20 earlier acts."""
        return sight.habits.hours.elsewhere(sight.time)


class LoginFailures(_Over):
    """How many sign-ins failed, this one included."""

    aggregate = "login_failures"
    unit = "count"
    words = "sign-ins that failed within {} (64: or more)"

    def of(self, sight: Sight) -> Value:
        """Of this customer, or from this address."""
        failures = sight.profile.failures
        seen = failures.count(sight.time - self.reach, sight.time) if failures else 0
        return seen + failed(sight.event)


class AccountChanges(_Over):
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


class SinceAccountChange(_Ever):
    """Seconds since the latest earlier one of those changes, however long ago."""

    name = "since_account_change"
    unit = "seconds"
    meaning = "seconds since the last change of phone, password, email, device or limit"

    def of(self, sight: Sight) -> Value:
        """None if there was none."""
        last = sight.habits.changes.last(sight.time)
        return None if last is None else (sight.time - last) / SECOND


class Customers(_Over):
    """How many different customers did or tried anything here, this one included.

    Failed sign-ins count: whoever tries many names from one address is one of those looked for.
    """

    aggregate = "customers"
    unit = "count"
    words = "different customers within {} (64: or more)"

    def of(self, sight: Sight) -> Value:
        """At least 1, the customer of this event; a word of the bank's own is nobody's visit."""
        visitors, event = sight.profile.visitors, sight.event
        here = event.customer if event.type in ACTS else None
        return (visitors or _NOBODY).count(sight.time - self.reach, sight.time, here)
