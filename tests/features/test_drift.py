"""Is what became something else noticed within a day, and what stays the same never?"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest

from features.drift import COLD_US, LEARN_US, WATCHED, Alarm, Drift, psi, resumed, stratum_of
from features.moment import DAY, HOUR, Value

START = 1_767_571_200_000_000  # 2026-01-05, a Monday
KNOWN = COLD_US + LEARN_US
Features = dict[str, Value]
Payment = tuple[int, Features, int]


def _stream(seed: int, days: int, a_day: int = 400) -> Iterator[Payment]:
    """A bank that pays more by day than by night, more before the weekend, and much at once."""
    chance = random.Random(seed)
    now = START
    while now < START + days * DAY:
        hour, day = now // HOUR % 24, now // DAY % 7
        busy = (0.2 if hour < 7 else 1.3) * (1.4 if day in (0, 1) else 0.9)
        now += int(chance.expovariate(a_day * busy / DAY))
        night = 1.8 if hour < 7 else 1.0
        for _ in range(chance.choice((1, 1, 1, 2, 4))):  # bursts: neighbours are alike
            amount = int(math.exp(chance.gauss(9.5, 1.0)) * night)
            yield (
                now,
                {
                    "event.amount": amount,
                    "customer.count.24h": 1 + int(chance.expovariate(0.5)),
                    "customer.ratio.amount.30d": math.exp(chance.gauss(-0.3, 0.9)),
                    "customer.new_payee": int(chance.random() < 0.2),
                    "payee.count.24h": 1 + int(chance.expovariate(1.0)),
                },
                min(1000, int(chance.expovariate(1 / 12))),
            )


def _watched(
    stream: Iterator[Payment],
    change: Callable[[Features], Features] = dict,
    from_us: int | None = None,
    scored: Callable[[int], int] = int,
) -> tuple[Drift, list[Alarm]]:
    watch, alarms = Drift(), []
    for time_us, features, score in stream:
        changed = from_us is not None and time_us >= from_us
        alarms += watch.watch_one(
            change(features) if changed else features, scored(score) if changed else score, time_us
        )
    return watch, alarms


@pytest.mark.parametrize("seed", range(6))
def test_a_month_of_a_quiet_stream_alarms_nobody(seed: int) -> None:
    """After the cold days and those of learning: 31 days by night and day, with bursts."""
    watch, alarms = _watched(_stream(seed, KNOWN // DAY + 31))
    assert alarms == []
    assert all(series.watching for series in watch.series.values())


_CHANGES: dict[str, tuple[str, Callable[[Features], Features]]] = {
    "amounts in another unit": (
        "event.amount",
        lambda f: {**f, "event.amount": (f["event.amount"] or 0) * 3},
    ),
    "amounts not there any more": ("event.amount", lambda f: {**f, "event.amount": None}),
    "everybody pays somebody new": ("customer.new_payee", lambda f: {**f, "customer.new_payee": 1}),
    "bots": ("customer.count.24h", lambda f: {**f, "customer.count.24h": 9}),
}


@pytest.mark.parametrize("name", _CHANGES)
@pytest.mark.parametrize("hour", [3, 15])
def test_what_changes_is_noticed_within_a_day(name: str, hour: int) -> None:
    """Whichever hour it begins at, and only where it is."""
    series, change = _CHANGES[name]
    from_us = START + KNOWN + 5 * DAY + hour * HOUR
    _, alarms = _watched(_stream(7, KNOWN // DAY + 7), change, from_us)
    assert alarms[0].series == series
    assert {alarm.series for alarm in alarms} == {series}
    assert from_us <= alarms[0].at_us <= from_us + DAY


def test_a_model_that_says_something_else_is_noticed_and_a_promotion_is_no_drift() -> None:
    """The score is watched like a feature, and learnt anew for another model."""
    from_us = START + KNOWN + 3 * DAY
    _, alarms = _watched(_stream(8, KNOWN // DAY + 5), dict, from_us, lambda score: score + 40)
    assert (alarms[0].series, alarms[0].test) == ("score", "adwin")
    assert alarms[0].size > 0
    watch, told = Drift(), False
    for time_us, features, score in _stream(8, KNOWN // DAY + 5):
        if time_us >= from_us and not told:
            told = True
            watch.forget_score(time_us)
        assert watch.watch_one(features, score + 40 * told, time_us) == []


def test_a_slow_drift_shows_in_the_weeks_psi() -> None:
    """A spread that doubles leaves the mean rank alone; the shape of the week tells."""
    middle = math.exp(9.5)

    def spread(features: Features) -> Features:
        amount = float(features["event.amount"] or 0)
        return {**features, "event.amount": int(middle * (amount / middle) ** 3)}

    from_us = START + KNOWN + 2 * DAY
    _, alarms = _watched(_stream(9, KNOWN // DAY + 18), spread, from_us)
    assert [(alarm.series, alarm.test) for alarm in alarms[:1]] == [("event.amount", "psi")]


def test_after_an_alarm_the_new_is_learnt_as_usual() -> None:
    """One drift is one alarm; the next is another."""
    first, second = START + KNOWN + 2 * DAY, START + 2 * KNOWN + 10 * DAY
    watch, alarms = Drift(), []
    for time_us, features, score in _stream(10, 2 * KNOWN // DAY + 14):
        times = 1 if time_us < first else 4 if time_us < second else 1
        features["event.amount"] = (features["event.amount"] or 0) * times
        alarms += watch.watch_one(features, score, time_us)
    assert [alarm.series for alarm in alarms] == ["event.amount"] * 2
    assert alarms[0].size > 0 > alarms[1].size


def test_a_resumed_watch_goes_on_the_same_and_stays_small() -> None:
    """Cut anywhere: the same alarms to the bit; some 20 kB, whatever was seen."""
    from_us = START + KNOWN + 2 * DAY
    plain, cut, largest = Drift(), Drift(), 0
    for number, (time_us, features, score) in enumerate(_stream(11, KNOWN // DAY + 4)):
        features["event.amount"] = (features["event.amount"] or 0) * (4 if time_us > from_us else 1)
        if number % 501 == 0:
            raw = cut.dump()
            largest, cut = max(largest, len(raw)), resumed(raw)
        one = plain.watch_one(features, score, time_us)
        assert cut.watch_one(features, score, time_us) == one
    assert plain.board() == cut.board()
    assert largest < 40_000
    assert set(plain.board()) == set(WATCHED)


def test_odd_values_are_no_alarm_by_themselves() -> None:
    """NaN, infinity and nothing are values like others: only a change of their share tells."""
    odd: list[Value] = [None, math.nan, math.inf, -math.inf, 10**30, -5]
    chance, watch = random.Random(12), Drift()
    for time_us, features, score in _stream(12, KNOWN // DAY + 8):
        for name in features:
            if chance.random() < 0.3:
                features[name] = chance.choice(odd)
        assert watch.watch_one(features, score, time_us) == []


def test_psi_is_none_of_the_same_and_large_of_another() -> None:
    """By hand: 50/50 against 90/10 is 0.4 ln 1.8 + (-0.4) ln 0.2."""
    assert psi([10, 20, 30], [100, 200, 300]) == 0.0
    assert psi([50, 50], [90, 10]) == pytest.approx(0.4 * math.log(1.8) + 0.4 * math.log(5))
    assert psi([10, 0], [10, 0]) == 0.0


def test_the_parts_of_a_day_are_told_apart_on_workdays_and_weekends() -> None:
    """2026-01-05 was a Monday, in UTC."""
    assert [stratum_of(START + hour * HOUR) for hour in (0, 3, 4, 23)] == [0, 0, 1, 5]
    assert stratum_of(START + 5 * DAY) == 6
    assert stratum_of(START + 4 * DAY + 23 * HOUR) == 5
