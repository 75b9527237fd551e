"""Has what comes in, or what the model says of it, become something else than it was?

::

    cold (14 days) -> learning what is usual (14 days) -> watching --alarm--> learning anew

Of each watched value its rank among what was usual *at that part of the day, on such a day* is
taken: 0 to 1, one half on average whatever the hour. River's ADWIN (Bifet, Gavaldà: Learning from
Time-Changing Data with Adaptive Windowing, SDM 2007) watches the mean of these ranks, event by
event; once a week the population stability index (PSI) compares a whole week with what was usual.
A mean that is surely not the same, but nearly, is no alarm: both need a least size.

ADWIN alone alarms at each dusk, for people pay otherwise by night. KSWIN takes 100 times as long an
event. A fixed rank against a finite reference is a little off for good; the least size covers it.
State is some 20 kB, whatever was seen.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from math import log, sqrt
from typing import Any, Final, NamedTuple

from river import drift

from features.bins import Bins, cell_of, upper_of
from features.moment import DAY, Value

#: What is watched; ``score`` (0 to 1000) is the model's own word, up to `LOW` all the same to it: a
#: young model says 1 of everybody today and 2 tomorrow, and means nothing by it.
WATCHED: Final = (
    "score",
    "event.amount",
    "customer.count.24h",
    "customer.ratio.amount.30d",
    "customer.new_payee",
    "payee.count.24h",
)

LOW: Final = 20
COLD_US: Final = 14 * DAY
LEARN_US: Final = 14 * DAY
LEAST: Final = 1_000  # ranks that a reference needs, however long that takes
SAMPLE_A_DAY: Final = 20_000
WEEK_US: Final = 7 * DAY

#: Least sizes of an alarm: how far the mean rank is from one half, and how great a PSI.
MOVED: Final = 0.12
PSI_ALARM: Final = 0.25

_DELTA: Final = 1e-5
_WIDE: Final = 50  # ranks; the mean of fewer says little
_QUANTILES: Final = tuple(tenth / 10 for tenth in range(1, 10))
_BINS: Final = len(_QUANTILES) + 2  # the first is no value
_PARTS: Final = 6  # of a day, four hours each; workdays, then weekends
_STRATA: Final = 2 * _PARTS
_ENOUGH: Final = 100  # below, a part of the day is compared with the whole day
_FIRST_WEDNESDAY: Final = 6 * DAY
_THURSDAY: Final = 3

VERSION: Final = 1


class Alarm(NamedTuple):
    """Something became something else: what, seen by which test, how far, and when."""

    series: str
    test: str
    size: float
    at_us: int


class Series:
    """One watched value."""

    __slots__ = (
        "adwin",
        "alarms",
        "bins",
        "changed",
        "early",
        "learnt",
        "psi",
        "ranks",
        "since_us",
        "usual",
        "week",
    )

    def __init__(self) -> None:
        self.psi: float | None = None
        self.alarms = 0
        self.begin(None)

    def begin(self, since_us: int | None) -> None:
        """Learn what is usual from here on; None: from the first value on, once it isn't cold."""
        self.since_us = since_us
        self.bins = Bins()
        self.early: dict[tuple[int, int | None], int] = {}  # (stratum, grid cell) -> count
        self.learnt = 0
        self.usual: list[int] = []
        self.ranks: list[list[float]] = []
        self.week = [0] * _BINS
        self.adwin = drift.ADWIN(delta=_DELTA)  # type: ignore[no-untyped-call]  # River's
        self.changed = False

    @property
    def watching(self) -> bool:
        """Whether it is known what is usual."""
        return bool(self.usual)

    def take(self, value: Value, stratum: int, time_us: int) -> float | None:
        """One more value; gives how far the mean rank has moved, where it surely has."""
        if value is not None and value != value:  # noqa: PLR0124  NaN is no value
            value = None
        if self.usual:
            return self._watch(value, stratum)
        if self.since_us is None:
            self.since_us = time_us + COLD_US
        if time_us < self.since_us:
            return None
        cell = None if value is None else cell_of(value)
        self.early[stratum, cell] = self.early.get((stratum, cell), 0) + 1
        self.bins.count(value)
        self.learnt += 1
        if time_us >= self.since_us + LEARN_US and self.learnt >= LEAST:
            self._settle()
        return None

    def _settle(self) -> None:
        """What is usual is known now: bins, and of each part of the day the ranks of the bins."""
        self.bins.fit(_QUANTILES)
        counts = [[0] * _BINS for _ in range(_STRATA)]
        for (stratum, cell), count in self.early.items():
            counts[stratum][self.bins(None if cell is None else upper_of(cell))] += count
        self.usual = [sum(column) for column in zip(*counts, strict=True)]
        whole = _ranks(self.usual)
        self.ranks = [_ranks(part) if sum(part) >= _ENOUGH else whole for part in counts]
        self.early.clear()
        self.bins.cells.clear()

    def _watch(self, value: Value, stratum: int) -> float | None:
        at = self.bins(value)
        self.week[at] += 1
        adwin = self.adwin
        adwin.update(self.ranks[stratum][at])  # type: ignore[no-untyped-call]  # River's
        if adwin.drift_detected:
            self.changed = True  # its window still holds some of what was before
        if not self.changed or adwin.width < _WIDE:
            return None
        moved = float(adwin.estimation) - 0.5
        return moved if abs(moved) > MOVED else None

    def end_week(self) -> float | None:
        """The week's PSI, and begin the next; gives it where it is an alarm."""
        week, self.week, self.changed = self.week, [0] * _BINS, False
        seen, usual = sum(week), sum(self.usual)
        if seen < LEAST / 10 or not usual:
            return None
        self.psi = psi(self.usual, week)
        # What two samples of one distribution would show: (bins - 1) (1/n + 1/m), and its spread.
        used = sum(1 for count in self.usual if count)
        noise = (1 / seen + 1 / usual) * (used - 1 + 4 * sqrt(2 * used))
        return self.psi if self.psi > PSI_ALARM + noise else None


def psi(usual: list[int], now: list[int]) -> float:
    """Population stability index: sum of (q - p) ln(q / p), half a count in an empty bin."""
    of_usual, of_now = sum(usual), sum(now)
    total = 0.0
    for before, after in zip(usual, now, strict=True):
        if before or after:
            p, q = max(before, 0.5) / of_usual, max(after, 0.5) / of_now
            total += (q - p) * log(q / p)
    return total


def _ranks(counts: list[int]) -> list[float]:
    """Of each bin the mean rank (0 to 1) of its values among all: those below, and half its own."""
    whole, below = sum(counts), 0
    ranks = []
    for count in counts:
        ranks.append((below + count / 2) / whole)
        below += count
    return ranks


def stratum_of(time_us: int) -> int:
    """Which part of the day, on a workday or a weekend, in UTC."""
    days, within = divmod(time_us, DAY)
    part = within // (DAY // _PARTS)
    return part + _PARTS if (days + _THURSDAY) % 7 >= 5 else part


class Drift:
    """Watches the stream of payments. Changes no score."""

    def __init__(self) -> None:
        self.series = {name: Series() for name in WATCHED}
        self._day = self._week = -1
        self._today = 0
        self._every = 1

    def watch_one(self, features: Mapping[str, Value], score: int, time_us: int) -> list[Alarm]:
        """One payment, in the order of the stream; gives what is alarming about it."""
        alarms: list[Alarm] = []
        if time_us // DAY > self._day:
            self._turn(time_us, alarms)
        self._today += 1
        if self._today % self._every:
            return alarms
        stratum, quiet = stratum_of(time_us), score if score > LOW else 0
        for name, series in self.series.items():
            value = quiet if name == "score" else features.get(name)
            moved = series.take(value, stratum, time_us)
            if moved is not None:
                alarms.append(Alarm(name, "adwin", moved, time_us))
                series.alarms += 1
                series.begin(time_us)
        return alarms

    def _turn(self, time_us: int, alarms: list[Alarm]) -> None:
        """A new day: how many payments are looked at; and on Wednesdays a new week."""
        self._every = max(1, self._today // SAMPLE_A_DAY)
        self._day, self._today = time_us // DAY, 0
        week = (time_us - _FIRST_WEDNESDAY) // WEEK_US
        if week == self._week:
            return
        self._week = week
        for name, series in self.series.items():
            size = series.end_week()
            if size is not None:
                alarms.append(Alarm(name, "psi", size, time_us))
                series.alarms += 1
                series.begin(time_us)

    def forget_score(self, time_us: int) -> None:
        """Another model speaks from now on: what is usual of its word must be learnt."""
        self.series["score"].begin(time_us)

    def board(self) -> dict[str, dict[str, Any]]:
        """How it stands: of each value whether it is watched yet, alarms, mean rank, PSI."""
        return {
            name: {
                "watching": series.watching,
                "alarms": series.alarms,
                "mean_rank": round(float(series.adwin.estimation), 4) if series.watching else None,
                "psi": None if series.psi is None else round(series.psi, 4),
            }
            for name, series in self.series.items()
        }

    def dump(self) -> bytes:
        """Everything, for the cut: a pickle, read by the flow that wrote it."""
        kept = (VERSION, self._day, self._week, self._today, self._every)
        rows = {
            name: tuple(getattr(series, slot) for slot in Series.__slots__)
            for name, series in self.series.items()
        }
        return pickle.dumps((kept, rows), protocol=5)

    @classmethod
    def load(cls, stored: bytes) -> Drift:
        """What ``dump`` wrote. A series that is watched no more is left out; a new one begins."""
        (version, *kept), rows = pickle.loads(stored)  # noqa: S301  the flow's own cut
        found = cls()
        if version != VERSION:
            return found
        found._day, found._week, found._today, found._every = kept
        for name, row in rows.items():
            if name in found.series:
                for slot, value in zip(Series.__slots__, row, strict=True):
                    setattr(found.series[name], slot, value)
        return found


def resumed(stored: bytes | None) -> Drift:
    """What a cut holds, or a new one."""
    return Drift() if stored is None else Drift.load(stored)
