"""How does this amount compare with the entity's own earlier ones?"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import sqrt
from typing import Final

from features.asks.kinds import Over
from features.describer import Sight
from features.moment import DAY, HOUR, Value, span

_WEEK_HOURS: Final = 7 * 24


class ZScore(Over):
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
        n, s, q = sight.payments.squares(sight.time - self.reach, sight.time)
        spread = n * q - s * s
        if n < 3 or spread <= 0:
            return None
        return (n * sight.amount - s) / sqrt(spread)


class Ratio(Over):
    """This amount over the mean of the earlier ones; None without any, or where that is <= 0."""

    aggregate = "ratio.amount"
    unit = "ratio"
    words = "amount over the mean of the earlier ones within {}"

    def of(self, sight: Sight) -> Value:
        """amount / mean."""
        if sight.amount is None:
            return None
        _, priced, total = sight.payments.tally(sight.time - self.reach, sight.time)
        return sight.amount * priced / total if total > 0 else None


class MedianRatio(Over):
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


class Outliers(Over):
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


class MaxRatio(Over):
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
        amounts = sight.payments.amounts(sight.time - self._width, sight.time)
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
        _, n, s = sight.payments.tally(edge, sight.time)
        if sight.amount is not None:
            n, s = n + 1, s + sight.amount
        _, n0, s0 = sight.payments.tally(edge - self.long, edge)
        return (s * n0) / (n * s0) if n and s0 > 0 else None


class Quantile(Over):
    """The share of the earlier amounts that this one is above; one just as high counts half.

    Of more than 512 payments the newest are looked at. None without an amount here, and below five
    earlier ones.
    """

    aggregate = "quantile.amount"
    unit = "ratio"
    words = "share of the earlier amounts within {} that this one is above"

    def of(self, sight: Sight) -> Value:
        """0: below all of them, 1: above all of them."""
        if sight.amount is None:
            return None
        earlier = sight.earlier(self.reach)
        if len(earlier) < 5:
            return None
        below, until = bisect_left(earlier, sight.amount), bisect_right(earlier, sight.amount)
        return (below + until) / (2 * len(earlier))


class HourShare(Over):
    """The share of the earlier ones at about this hour of the week (UTC): two hours more or less.

    Of more than 512 the newest are looked at. None below 20 earlier ones.
    """

    aggregate = "hour_share"
    unit = "ratio"
    words = "share of the earlier ones within {} at about this hour of the week"

    def of(self, sight: Sight) -> Value:
        """0: never at such an hour."""
        times = sight.payments.times(sight.time - self.reach, sight.time)
        if len(times) < 20:
            return None
        hour = sight.time // HOUR
        near = [time for time in times if (time // HOUR - hour + 2) % _WEEK_HOURS <= 4]
        return len(near) / len(times)
