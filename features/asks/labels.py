"""Which earlier payments were known to be frauds, and what does that say?

Where ``unheard`` stands, it is the answer for an entity of which no fraud is known, whatever else
happened to it: most entities, and then nobody is asked (``describer.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import ClassVar

from features.asks.kinds import Over
from features.describer import Sight
from features.moment import SECOND, SETTLED, Value


class FraudCount(Over):
    """How many payments *became known* as frauds within the window, and still count as such."""

    aggregate = "fraud_count"
    unit = "count"
    unheard = 0
    words = "payments that became known as frauds within {}"

    def of(self, sight: Sight) -> Value:
        """By the time of knowing, in (t - W, t]."""
        frauds = sight.frauds
        return frauds.count(sight.time - self.reach, sight.time) if frauds else 0


class FraudRisk(Over):
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
        payments = sight.settled(self.reach)
        if not payments:
            return None
        happened = sight.happened
        if not happened:
            return 0.0
        until, after = sight.time - SETTLED, sight.time - self.reach
        frauds = bisect_right(happened, until) - bisect_right(happened, after)
        return min(1.0, frauds / payments)


class SinceFraud(Over):
    """Seconds since the latest payment that is known as a fraud; None without any in reach."""

    aggregate = "since_fraud"
    unit = "seconds"
    unheard = None
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


class FraudRun(Over):
    """How many of the latest payments that can be known are frauds, with no honest one between.

    A payment that nobody called a fraud within 7 days proved honest.
    """

    aggregate = "fraud_run"
    unit = "count"
    unheard: ClassVar[Value] = 0
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
        honest = sight.payments.last_but(sight.time - SETTLED, frozenset(happened))
        if honest is not None and honest > after:
            after = honest
        return happened[bisect_right(happened, after) :]


class FraudRunAge(FraudRun):
    """Seconds since the first payment of the fraud run; None without one."""

    aggregate = "fraud_run_age"
    unit = "seconds"
    unheard = None
    words = "seconds since the first payment of the fraud run within {}"

    def of(self, sight: Sight) -> Value:
        """By the time of the payment."""
        run = self.run(sight)
        return (sight.time - run[0]) / SECOND if run else None


class HonestSinceFraud(Over):
    """How many payments after the latest known fraud proved honest; None without a fraud."""

    aggregate = "honest_since_fraud"
    unit = "count"
    unheard = None
    words = "payments that proved honest since the latest known fraud within {}"
    beyond = SETTLED

    def of(self, sight: Sight) -> Value:
        """Those older than 7 days that nobody called a fraud."""
        happened = sight.happened
        if not happened or happened[-1] <= sight.time - self.reach:
            return None
        return sight.payments.tally(happened[-1], sight.time - SETTLED)[0]


class FraudAge(Over):
    """Seconds since the first payment in the window that is known as a fraud; None without any."""

    aggregate = "fraud_age"
    unit = "seconds"
    unheard = None
    words = "seconds since the first payment within {} that is a known fraud"

    def of(self, sight: Sight) -> Value:
        """By the time of the payment."""
        return _age(self.seen(sight), sight.time, self.reach)

    def seen(self, sight: Sight) -> list[int]:
        """Which frauds."""
        return sight.happened


class QuietFrauds(Over):
    """How many payments made in the window are known as quiet frauds (``frauds.py``)."""

    aggregate = "quiet_frauds"
    unit = "count"
    unheard = 0
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
