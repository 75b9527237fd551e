"""What happened to one entity, in order of event time: how many and how much in any window?

    older                                                                       newer
    |--- dropped ---|---- buckets (only of a busy entity) ----|---- exact entries ----|

``(time, amount)`` pairs stand sorted by time beside running totals, so that a window is two binary
searches. Up to ``EXACT`` entries everything is exact. Beyond, the older half is merged into buckets
whose span is at most 1/``FINENESS`` of their age; a bucket is in a window if its last entry is.
So a window of length W answers, of a busy entity, for some length between W and W + W/FINENESS.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from operator import mul
from struct import Struct
from typing import Final

EXACT: Final = 512
FINENESS: Final = 8

#: An amount beyond this (either way) counts as this: totals must fit 64 bits whatever is sent.
LARGEST: Final = 1 << 50

_NO_LOW: Final = LARGEST + 1
_NO_HIGH: Final = -_NO_LOW
_NOTHING: Final = -(1 << 63)  # in the column of amounts: this payment had no amount
_SIZES: Final = Struct("<qII")
_BUCKET: Final = Struct("<qqQQ16s16s")


#: Of one window: how many entries, how many of them with an amount, their sum.
Tally = tuple[int, int, int]


class _Buckets:
    """The older entries of a busy entity, merged; sorted by ``last``."""

    __slots__ = (
        "_running",
        "counts",
        "firsts",
        "highs",
        "lasts",
        "lows",
        "priced",
        "squares",
        "totals",
    )

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.counts: list[int] = []
        self.priced: list[int] = []
        self.totals: list[int] = []
        self.squares: list[int] = []
        self.lows: list[int] = []  # LARGEST + 1 where there is no amount
        self.highs: list[int] = []  # -LARGEST - 1 where there is none
        self._running: tuple[list[int], list[int], list[int], list[int]] | None = None

    def add(self, time: int, amount: int | None) -> None:
        """Take in one entry: in the bucket that spans its time, else as one of its own."""
        at = bisect_left(self.lasts, time)
        worth, priced = (0, 0) if amount is None else (amount, 1)
        low, high = (_NO_LOW, _NO_HIGH) if amount is None else (amount, amount)
        if at < len(self.lasts) and self.firsts[at] <= time:
            self.counts[at] += 1
            self.priced[at] += priced
            self.totals[at] += worth
            self.squares[at] += worth * worth
            self.lows[at] = min(self.lows[at], low)
            self.highs[at] = max(self.highs[at], high)
        else:
            self.firsts.insert(at, time)
            self.lasts.insert(at, time)
            self.counts.insert(at, 1)
            self.priced.insert(at, priced)
            self.totals.insert(at, worth)
            self.squares.insert(at, worth * worth)
            self.lows.insert(at, low)
            self.highs.insert(at, high)
        self._running = None

    def merge(self, newest: int) -> None:
        """Join neighbours while what comes out spans at most 1/FINENESS of its age."""
        rows = zip(
            self.firsts,
            self.lasts,
            self.counts,
            self.priced,
            self.totals,
            self.squares,
            self.lows,
            self.highs,
            strict=True,
        )
        out: list[list[int]] = []
        for row in rows:
            if out and (row[1] - out[-1][0]) * FINENESS <= newest - row[1]:
                top = out[-1]
                top[1] = row[1]
                top[2] += row[2]
                top[3] += row[3]
                top[4] += row[4]
                top[5] += row[5]
                top[6] = min(top[6], row[6])
                top[7] = max(top[7], row[7])
            else:
                out.append(list(row))
        columns = [list(column) for column in zip(*out, strict=True)]
        self.firsts, self.lasts, self.counts, self.priced = columns[:4]
        self.totals, self.squares, self.lows, self.highs = columns[4:]
        self._running = None

    def forget(self, horizon: int) -> None:
        """Drop what ended at or before the horizon, except the newest of it."""
        gone = bisect_right(self.lasts, horizon) - 1
        if gone > 0:
            for column in (
                self.firsts,
                self.lasts,
                self.counts,
                self.priced,
                self.totals,
                self.squares,
                self.lows,
                self.highs,
            ):
                del column[:gone]
            self._running = None

    def tally(self, after: int, until: int) -> tuple[int, int, int, int]:
        """Count, priced, total and sum of squares of the buckets that end in (after, until]."""
        if self._running is None:
            self._running = (
                list(accumulate(self.counts, initial=0)),
                list(accumulate(self.priced, initial=0)),
                list(accumulate(self.totals, initial=0)),
                list(accumulate(self.squares, initial=0)),
            )
        low, high = bisect_right(self.lasts, after), bisect_right(self.lasts, until)
        if low >= high:
            return 0, 0, 0, 0
        counts, priced, totals, squares = self._running
        return (
            counts[high] - counts[low],
            priced[high] - priced[low],
            totals[high] - totals[low],
            squares[high] - squares[low],
        )

    def extremes(self, after: int, until: int) -> tuple[int, int]:
        """Least and greatest amount of the buckets that end in (after, until]."""
        low, high = bisect_right(self.lasts, after), bisect_right(self.lasts, until)
        return (
            min(self.lows[low:high], default=_NO_LOW),
            max(self.highs[low:high], default=_NO_HIGH),
        )


class Timeline:
    """Times and amounts of one entity's past, kept ``keep`` microseconds back from the newest.

    Entries may come in any order. Of an event at most ``lateness`` older than the newest entry,
    every window up to ``keep - lateness`` is answered; the last entry before the horizon is kept
    too, so that "since last" has an answer after any silence.
    """

    __slots__ = ("_amounts", "_buckets", "_exact", "_first", "_nulls", "_running", "_times")

    def __init__(self, exact: int | None = None) -> None:
        self._exact = exact or EXACT  # so many entries are kept as they are
        self._times = array("q")
        self._amounts = array("q")
        self._running = array("q", (0,))
        self._nulls = 0
        self._buckets: _Buckets | None = None
        self._first: int | None = None

    # -- history -------------------------------------------------------------------------------

    def add(self, time: int, amount: int | None, keep: int) -> None:
        """Take in one entry, and let go of what no window can reach any more."""
        times, running = self._times, self._running
        if amount is None:
            stored, worth = _NOTHING, 0
            self._nulls += 1
        else:
            stored = worth = max(-LARGEST, min(LARGEST, amount))
        if self._first is None or time < self._first:
            self._first = time
        try:
            if not times or time >= times[-1]:
                times.append(time)
                self._amounts.append(stored)
                running.append(running[-1] + worth)
            elif self._buckets is not None and time < times[0]:
                self._buckets.add(time, None if amount is None else worth)
                self._nulls -= amount is None
            else:
                at = bisect_right(times, time)
                times.insert(at, time)
                self._amounts.insert(at, stored)
                running.insert(at + 1, running[at] + worth)
                for later in range(at + 2, len(running)):
                    running[later] += worth
        except OverflowError:
            self._total_anew()
        horizon = times[-1] - keep
        if times[0] <= horizon or self._buckets is not None:
            self._forget(horizon)
        if len(times) > self._exact:
            self._coarsen()

    def _forget(self, horizon: int) -> None:
        if self._buckets is not None:
            self._buckets.forget(horizon)
            if self._times[0] <= horizon:
                self._buckets = None
        gone = bisect_right(self._times, horizon) - 1
        if gone > 0:
            self._cut(gone)

    def _coarsen(self) -> None:
        if self._buckets is None:
            self._buckets = _Buckets()
        older = len(self._times) // 2
        for time, amount in zip(self._times[:older], self._amounts[:older], strict=True):
            self._buckets.add(time, None if amount == _NOTHING else amount)
        self._buckets.merge(self._times[-1])
        self._cut(older)

    def _cut(self, gone: int) -> None:
        if self._nulls:
            self._nulls -= self._amounts[:gone].count(_NOTHING)
        del self._times[:gone]
        del self._amounts[:gone]
        del self._running[:gone]

    def _total_anew(self) -> None:
        worths = (0 if amount == _NOTHING else amount for amount in self._amounts)
        self._running = array("q", accumulate(worths, initial=0))

    # -- answers -------------------------------------------------------------------------------

    def tallies(self, time: int, spans: tuple[int, ...]) -> list[Tally]:
        """Count, priced and total of (time - span, time] for each span, longest span first."""
        times, running = self._times, self._running
        high = len(times)
        if high and time < times[-1]:
            high = bisect_right(times, time)
        top = running[high]
        plain = not self._nulls
        low = 0
        out: list[Tally] = []
        for length in spans:
            low = bisect_right(times, time - length, low, high)
            count = high - low
            total = top - running[low]
            priced = count if plain else count - self._amounts[low:high].count(_NOTHING)
            if low == 0 and self._buckets is not None:
                older = self._buckets.tally(time - length, time)
                count, priced, total = count + older[0], priced + older[1], total + older[2]
            out.append((count, priced, total))
        return out

    def tally(self, after: int, until: int) -> Tally:
        """Count, priced and total of (after, until]."""
        low = bisect_right(self._times, after)
        high = bisect_right(self._times, until, low)
        count = high - low
        total = self._running[high] - self._running[low]
        priced = count - self._amounts[low:high].count(_NOTHING) if self._nulls else count
        if low == 0 and self._buckets is not None:
            older = self._buckets.tally(after, until)
            return count + older[0], priced + older[1], total + older[2]
        return count, priced, total

    def squares(self, after: int, until: int) -> tuple[int, int, int]:
        """Priced, total and the sum of squares of (after, until], exact whole numbers."""
        low, high = bisect_right(self._times, after), bisect_right(self._times, until)
        amounts = self.amounts(after, until)
        priced = len(amounts)
        total = self._running[high] - self._running[low] if low < high else 0
        squares = sum(map(mul, amounts, amounts))
        if low == 0 and self._buckets is not None:
            older = self._buckets.tally(after, until)
            return priced + older[1], total + older[2], squares + older[3]
        return priced, total, squares

    def amounts(self, after: int, until: int) -> array[int]:
        """The amounts of (after, until] in order of time; of a busy entity the exact ones alone."""
        low, high = bisect_right(self._times, after), bisect_right(self._times, until)
        amounts = self._amounts[low:high]
        if self._nulls:
            amounts = array("q", (amount for amount in amounts if amount != _NOTHING))
        return amounts

    def extremes(self, after: int, until: int) -> tuple[int, int] | None:
        """Least and greatest amount of (after, until]; None without any."""
        amounts = self.amounts(after, until)
        low, high = min(amounts, default=_NO_LOW), max(amounts, default=_NO_HIGH)
        if self._buckets is not None and bisect_right(self._times, after) == 0:
            older_low, older_high = self._buckets.extremes(after, until)
            low, high = min(low, older_low), max(high, older_high)
        return None if low > high else (low, high)

    def times(self, after: int, until: int) -> array[int]:
        """The times in (after, until], sorted; of a busy entity the exact ones alone."""
        times = self._times
        return times[bisect_right(times, after) : bisect_right(times, until)]

    def last(self, until: int) -> int | None:
        """The time of the latest entry at or before ``until``."""
        at = bisect_right(self._times, until)
        if at:
            return self._times[at - 1]
        if self._buckets is not None:
            at = bisect_right(self._buckets.lasts, until)
            if at:
                return self._buckets.lasts[at - 1]
        return None

    def last_but(self, until: int, these: frozenset[int]) -> int | None:
        """The time of the latest entry at or before ``until`` whose time is not one of these."""
        for at in range(bisect_right(self._times, until) - 1, -1, -1):
            if self._times[at] not in these:
                return self._times[at]
        if self._buckets is not None:
            for at in range(bisect_right(self._buckets.lasts, until) - 1, -1, -1):
                if self._buckets.lasts[at] not in these:
                    return self._buckets.lasts[at]
        return None

    @property
    def first(self) -> int | None:
        """The earliest time ever seen, however long ago."""
        return self._first

    def __len__(self) -> int:
        """How many rows are held (entries and buckets)."""
        return len(self._times) + (len(self._buckets.lasts) if self._buckets else 0)

    # -- bytes ---------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Sizes, times, amounts, buckets; little-endian. Totals are made again on loading."""
        if self._first is None:
            return b""
        buckets = self._buckets
        head = _SIZES.pack(self._first, len(self._times), len(buckets.lasts) if buckets else 0)
        parts = [head, self._times.tobytes(), self._amounts.tobytes()]
        if buckets:
            rows = zip(
                buckets.firsts,
                buckets.lasts,
                buckets.counts,
                buckets.priced,
                (total.to_bytes(16, "little", signed=True) for total in buckets.totals),
                (square.to_bytes(16, "little") for square in buckets.squares),
                strict=True,
            )
            parts.extend(_BUCKET.pack(*row) for row in rows)
            parts += (array("q", buckets.lows).tobytes(), array("q", buckets.highs).tobytes())
        return b"".join(parts)

    @classmethod
    def load(cls, stored: bytes, exact: int | None = None) -> Timeline:
        """The timeline that ``dump`` wrote."""
        line = cls(exact)
        if not stored:
            return line
        line._first, entries, buckets = _SIZES.unpack_from(stored)
        at = _SIZES.size
        line._times.frombytes(stored[at : at + 8 * entries])
        line._amounts.frombytes(stored[at + 8 * entries : at + 16 * entries])
        line._nulls = line._amounts.count(_NOTHING)
        if line._nulls:
            line._total_anew()
        else:
            line._running = array("q", accumulate(line._amounts, initial=0))
        if buckets:
            held = line._buckets = _Buckets()
            rows = at + 16 * entries
            beyond = rows + buckets * _BUCKET.size
            for row in _BUCKET.iter_unpack(stored[rows:beyond]):
                first, last, count, priced, total, square = row
                held.firsts.append(first)
                held.lasts.append(last)
                held.counts.append(count)
                held.priced.append(priced)
                held.totals.append(int.from_bytes(total, "little", signed=True))
                held.squares.append(int.from_bytes(square, "little"))
                mean = held.totals[-1] // priced if priced else None
                held.lows.append(_NO_LOW if mean is None else mean)
                held.highs.append(_NO_HIGH if mean is None else mean)
            if beyond < len(stored):  # the first programs wrote no extremes: their mean stands in
                half = beyond + 8 * buckets
                held.lows = list(array("q", stored[beyond:half]))
                held.highs = list(array("q", stored[half:]))
        return line
