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


class Count(Over):
    """How many events of a track, this one included."""

    aggregate = "count"
    unit = "count"
    words = "how many within {}"

    def of(self, sight: Sight) -> Value:
        """0 without any."""
        return sight.tally(self.reach)[0]


class Sum(Over):
    """How much in all, this one included; what has no amount is skipped."""

    aggregate = "sum.amount"
    unit = "money"
    words = "sum of amounts within {}"

    def of(self, sight: Sight) -> Value:
        """0 without any."""
        return sight.tally(self.reach)[2]


class Mean(Over):
    """How much on average, this one included; None without any amount."""

    aggregate = "mean.amount"
    unit = "money"
    words = "mean amount within {}"

    def of(self, sight: Sight) -> Value:
        """sum / count."""
        _, n, s = sight.tally(self.reach)
        return s / n if n else None


class Least(Over):
    """The least amount, this one included; None without any."""

    aggregate = "min.amount"
    unit = "money"
    words = "least amount within {}"

    def of(self, sight: Sight) -> Value:
        """Of a busy entity a bucket's least counts as long as its last payment is in the window."""
        return min(_extremes(sight, self.reach), default=None)


class Greatest(Over):
    """The greatest amount, this one included; None without any."""

    aggregate = "max.amount"
    unit = "money"
    words = "greatest amount within {}"

    def of(self, sight: Sight) -> Value:
        """As of the least."""
        return max(_extremes(sight, self.reach), default=None)


def _extremes(sight: Sight, reach: int) -> list[int]:
    earlier = sight.payments.extremes(sight.time - reach, sight.time)
    found = [] if earlier is None else [*earlier]
    return found if sight.amount is None else [*found, sight.amount]


class First(Over):
    """The first amount in the window, of the earlier ones; None without any.

    Of a busy entity the newest, exact ones are looked at.
    """

    aggregate = "first.amount"
    unit = "money"
    words = "first amount within {}, before this one"

    def of(self, sight: Sight) -> Value:
        """By event time."""
        amounts = sight.payments.amounts(sight.time - self.reach, sight.time)
        return amounts[0] if amounts else None


class Nth(Over):
    """The n-th latest amount in the window, of the earlier ones: 1 is the one before this.

    Of a busy entity the newest, exact ones are looked at. None below n of them.
    """

    aggregate = "nth.amount"
    unit = "money"
    words = "amount within {}, counted back from this one: number "

    def __init__(self, window: str, number: int) -> None:
        super().__init__(window)
        self.meaning += str(number)
        self.number = number

    def of(self, sight: Sight) -> Value:
        """By event time."""
        amounts = sight.payments.amounts(sight.time - self.reach, sight.time)
        return amounts[-self.number] if len(amounts) >= self.number else None


class Absent(Over):
    """1 if there was none, this one included; else 0. Where nobody can tell, there was none."""

    aggregate = "none"
    unit = "flag"
    words = "1: none within {}"

    def of(self, sight: Sight) -> Value:
        """What is not known of must not look harmless."""
        return int(sight.tally(self.reach)[0] == 0)


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
