"""How many, how much, how long ago?"""

from __future__ import annotations

from math import sqrt

from features.asks.kinds import Ever, Over
from features.describer import Sight, Windowed
from features.moment import SECOND, Value


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


class Deviation(Over):
    """Population standard deviation of the amounts, this one included; None without any."""

    aggregate = "std.amount"
    unit = "money"
    words = "standard deviation of amounts within {}"

    def of(self, sight: Sight) -> Value:
        """From exact whole-number sums, so that no order of arrival shows in it."""
        n, s, q = sight.payments.squares(sight.time - self.reach, sight.time)
        if sight.amount is not None:
            n, s, q = n + 1, s + sight.amount, q + sight.amount * sight.amount
        return sqrt(n * q - s * s) / n if n else None


class SinceLast(Ever):
    """Seconds since the latest earlier payment, however long ago; 0 at the same time."""

    name = "since_last"
    unit = "seconds"
    meaning = "seconds since the payment before"

    def of(self, sight: Sight) -> Value:
        """None if there was none."""
        last = sight.payments.last(sight.time)
        return None if last is None else (sight.time - last) / SECOND


class SinceFirst(Ever):
    """Seconds since the first payment ever seen: how long this entity is known."""

    name = "since_first"
    unit = "seconds"
    meaning = "seconds since the first payment known"

    def of(self, sight: Sight) -> Value:
        """None if there was none by then."""
        first = sight.payments.first
        return None if first is None or first > sight.time else (sight.time - first) / SECOND


class SmallPayments(Over):
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
        amounts = sight.payments.amounts(sight.time - self.reach, sight.time)
        here = sight.amount is not None and sight.amount <= self.at_most
        return len([amount for amount in amounts if amount <= self.at_most]) + here
