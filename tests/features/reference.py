"""What every feature *means*: brute force over everything that ever happened, no state at all.

Slow and plain on purpose. ``docs/semantics.md`` in code; the engine is compared with it, and the
golden vectors in ``tests/assets/windows/`` are made by it (``python -m tests.features.golden``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt

from features.moment import Value

SECOND = 1_000_000
DAY = 86_400 * SECOND
UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": DAY}
LARGEST = 1 << 50
FORGOTTEN = 38 * DAY + 3600 * SECOND  # labels of an event, all older than this, are forgotten
RANK = {"customer": 1, "chargeback": 2, "officer": 3}


@dataclass(frozen=True, slots=True)
class Paid:
    """An event, as the features see it."""

    id: str
    time_us: int
    amount_base: int | None = None
    customer: str = "c"
    payee: str | None = "p"
    type: str = "transaction"
    device: str | None = None
    ip: str | None = None
    country: str | None = None
    lat: float | None = None
    lon: float | None = None
    result: str | None = None
    change: str | None = None
    card: str | None = None
    terminal: str | None = None
    kind: str | None = None
    channel: str | None = None
    session: str | None = None
    payee_country: str | None = None
    mcc: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A label; ``oddness``: the amount over the customer's median, as scored."""

    event: str
    fraud: bool
    source: str
    known_us: int
    event_time_us: int
    customer: str = "c"
    payee: str | None = "p"
    device: str | None = None
    ip: str | None = None
    oddness: float | None = None
    card: str | None = None
    terminal: str | None = None

    @property
    def features(self) -> dict[str, Value]:
        """As scored."""
        return {"customer.median_ratio.amount.30d": self.oddness}


def _span(window: str) -> int:
    return int(window[:-1]) * UNITS[window[-1]]


def _amounts(events: list[Paid]) -> list[int]:
    return [
        max(-LARGEST, min(LARGEST, event.amount_base))
        for event in events
        if event.amount_base is not None
    ]


def _frauds(heard: list[Said], time: int) -> list[tuple[int, int, bool]]:
    """(a fraud since, made at, quiet) of each event that is known as a fraud at ``time``."""
    remembered: dict[str, list[Said]] = {}
    for label in heard:  # in the order of hearing
        known = [one.known_us for mine in remembered.values() for one in mine]
        horizon = max([label.known_us, *known]) - FORGOTTEN
        for old in [
            old
            for old, mine in remembered.items()
            if all(max(one.known_us, one.event_time_us) <= horizon for one in mine)
        ]:
            del remembered[old]
        mine = remembered.setdefault(label.event, [])
        if label.fraud or label.source == "officer" or any(other.fraud for other in mine):
            mine.append(label)
    found = []
    for labels in remembered.values():
        standing: Said | None = None
        since = 0
        mine = sorted(labels, key=lambda one: one.known_us)
        for label in mine:
            if label.known_us > time:
                break
            if standing is not None and RANK[label.source] < RANK[standing.source]:
                continue
            if label.fraud and not (standing is not None and standing.fraud):
                since = label.known_us
            standing = label
        if standing is not None and standing.fraud:
            first = mine[0]
            quiet = first.oddness is None or first.oddness <= 3
            found.append((since, first.event_time_us, quiet))
    return found


class Past:
    """An event, and everything of its entity that was before it."""

    windows: list[int]
    width: int
    earlier: list[Paid]
    amounts: list[int]

    def __init__(self, event: Paid, before: list[Paid], heard: list[Said]) -> None:
        self.event, self.time, self.before = event, event.time_us, before
        self.payments = sorted(
            (one for one in before if one.type == "transaction" and one.time_us <= self.time),
            key=lambda one: one.time_us,
        )
        # everything by now, in order of time; what is of the same time, in order of arrival
        self.everything = sorted(
            (one for one in before if one.time_us <= self.time), key=lambda one: one.time_us
        )
        self.acts = [one for one in self.everything if _acted(one)]
        self.here = [event] if event.type == "transaction" else []
        self.own = _amounts(self.here)
        self.frauds = _frauds(heard, self.time)
        self.made = sorted(made for _, made, _ in self.frauds if made <= self.time)
        self.quiet = sorted(made for _, made, q in self.frauds if made <= self.time and q)

    def over(self, name: str) -> Past:
        """The same past, looked at over the window that ends the name."""
        self.windows = [_span(part) for part in name.split(".") if part[0].isdigit()]
        self.width = self.windows[-1] if self.windows else 0
        self.earlier = self.within(self.time - self.width, self.time)
        self.amounts = _amounts(self.earlier)
        return self

    def of(self, rows: list[Paid], here: bool) -> Past:
        """The same, as if these earlier events were its payments; and whether it is one of them."""
        seen = Past(self.event, self.before, [])
        seen.payments, seen.here = rows, [self.event] if here else []
        seen.own = _amounts(seen.here)
        seen.frauds, seen.made, seen.quiet = self.frauds, self.made, self.quiet
        return seen

    def within(self, after: int, until: int) -> list[Paid]:
        """The earlier payments in (after, until]."""
        return [one for one in self.payments if after < one.time_us <= until]

    def ago(self, time: int) -> float:
        """Seconds from then to now."""
        return (self.time - time) / SECOND


def _mean(past: Past) -> Value:
    everything = past.amounts + past.own
    return sum(everything) / len(everything) if everything else None


def _std(past: Past) -> Value:
    everything = past.amounts + past.own
    n, s, q = len(everything), sum(everything), sum(a * a for a in everything)
    return sqrt(n * q - s * s) / n if n else None


def _zscore(past: Past) -> Value:
    n, s, q = len(past.amounts), sum(past.amounts), sum(a * a for a in past.amounts)
    if not past.own or n < 3 or n * q == s * s:
        return None
    return (n * past.own[0] - s) / sqrt(n * q - s * s)


def _ratio(past: Past) -> Value:
    total = sum(past.amounts)
    return past.own[0] * len(past.amounts) / total if past.own and total > 0 else None


def _middle(past: Past) -> int | None:
    return sorted(past.amounts)[(len(past.amounts) - 1) // 2] if len(past.amounts) >= 3 else None


def _median_ratio(past: Past) -> Value:
    middle = _middle(past)
    return past.own[0] / middle if past.own and middle is not None and middle > 0 else None


def _outliers(past: Past) -> Value:
    middle = _middle(past)
    return 0 if middle is None else sum(amount > 3 * middle for amount in past.amounts)


def _mean_ratio(past: Past) -> Value:
    short_width, long_width = past.windows
    edge = past.time - short_width
    short = _amounts(past.within(edge, past.time)) + past.own
    long = _amounts(past.within(edge - long_width, edge))
    if not short or not long or sum(long) <= 0:
        return None
    return (sum(short) * len(long)) / (len(short) * sum(long))


def _new_payee(past: Past) -> Value:
    payee = past.event.payee
    paid = {one.payee for one in past.payments if one.time_us <= past.time - past.width}
    return None if payee is None else int(payee not in paid)


def _new_device(past: Past) -> Value:
    device = past.event.device
    used = {one.device for one in past.acts if one.time_us <= past.time - past.width}
    return None if device is None else int(device not in used)


def _fraud_risk(past: Past) -> Value:
    after, until = past.time - 7 * DAY - past.width, past.time - 7 * DAY
    settled = past.within(after, until)
    if not settled:
        return None
    return min(1.0, sum(after < one <= until for one in past.made) / len(settled))


def _recent(past: Past, made: list[int]) -> list[int]:
    return [one for one in made if one > past.time - past.width]


def _latest(past: Past, made: list[int]) -> Value:
    recent = _recent(past, made)
    return past.ago(recent[-1]) if recent else None


def _first(past: Past, made: list[int]) -> Value:
    recent = _recent(past, made)
    return past.ago(recent[0]) if recent else None


def _max_ratio(past: Past) -> Value:
    month = _amounts(past.within(past.time - 30 * DAY, past.time))
    middle = sorted(month)[(len(month) - 1) // 2] if len(month) >= 3 else 0
    everything = past.amounts + past.own
    return max(everything) / middle if everything and middle > 0 else None


def _honest_since_fraud(past: Past) -> Value:
    if not past.made or past.made[-1] <= past.time - 7 * DAY - past.width:
        return None
    return len(past.within(past.made[-1], past.time - 7 * DAY))


def _run(past: Past) -> list[int]:
    settled = [one.time_us for one in past.payments if one.time_us <= past.time - 7 * DAY]
    honest = [one for one in settled if one not in past.made]
    return [one for one in past.made if one > max([past.time - past.width, *honest[-1:]])]


def _fraud_run_age(past: Past) -> Value:
    run = _run(past)
    return past.ago(run[0]) if run else None


def _failed(event: Paid) -> bool:
    return event.type == "login" and event.result == "failure"


def _acted(event: Paid) -> bool:
    """A payment, a change, a sign-in that succeeded."""
    return event.type in ("transaction", "login", "account_change") and not _failed(event)


def _changed(event: Paid) -> bool:
    return event.type == "account_change" and event.change != "payee_added"


def _new_country(event: Paid, before: list[Paid]) -> Value:
    """``before`` is what was observed before ``event``, in that order."""
    known = {
        one.country
        for one in before
        if _acted(one) and one.country is not None and one.time_us <= event.time_us
    }
    return int(event.country not in known) if event.country is not None and known else None


def _arrived(event: Paid, before: list[Paid]) -> bool:
    """A successful sign-in from a country that was new when it was observed."""
    if event.type != "login" or _failed(event):
        return False
    at = next(at for at, one in enumerate(before) if one is event)
    return _new_country(event, before[:at]) == 1


def _in_window(past: Past, events: list[Paid]) -> list[Paid]:
    return [one for one in events if past.time - past.width < one.time_us <= past.time]


def _new_country_logins(past: Past) -> Value:
    lately = _in_window(past, past.before)
    return sum(_arrived(one, [*past.before, past.event]) for one in [*lately, past.event])


def _moved(past: Past) -> tuple[float, int] | None:
    """Kilometres and microseconds since the place before."""
    here = past.event
    places = [one for one in past.acts if one.lat is not None and one.lon is not None]
    if here.lat is None or here.lon is None or not places:
        return None
    there = places[-1]
    a, b = math.radians(there.lat or 0.0), math.radians(here.lat)
    turn = math.radians(here.lon - (there.lon or 0.0))
    haversine = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(turn / 2) ** 2
    return 2 * 6371.0088 * math.asin(min(1.0, sqrt(haversine))), past.time - there.time_us


def _distance(past: Past) -> Value:
    moved = _moved(past)
    return None if moved is None else moved[0]


def _speed(past: Past) -> Value:
    moved = _moved(past)
    return None if moved is None else moved[0] * (3600 * SECOND) / max(SECOND, moved[1])


def _unusual_hour(past: Past) -> Value:
    if len(past.acts) < 20:
        return None
    latest = past.acts[-64:]
    hour = past.time // (3600 * SECOND)
    near = ((hour - 1) % 24, hour % 24, (hour + 1) % 24)
    return sum(one.time_us // (3600 * SECOND) % 24 not in near for one in latest) / len(latest)


def _new_payees(past: Past) -> Value:
    firsts = {one.payee: one.time_us for one in reversed(past.payments) if one.payee is not None}
    if past.here and past.event.payee is not None:
        firsts.setdefault(past.event.payee, past.time)
    return sum(past.time - past.width < first for first in firsts.values())


def _customers(past: Past) -> Value:
    came = [
        one
        for one in [*past.everything, past.event]
        if one.type in ("transaction", "login", "account_change")
    ]
    return min(64, len({one.customer for one in _in_window(past, came)}))


def _quantile(past: Past) -> Value:
    if not past.own or len(past.amounts) < 5:
        return None
    below = sum(amount < past.own[0] for amount in past.amounts)
    same = sum(amount == past.own[0] for amount in past.amounts)
    return (below + same / 2) / len(past.amounts)


def _hour_share(past: Past) -> Value:
    if len(past.earlier) < 20:
        return None
    hours = [(past.time // (3600 * SECOND)) + by for by in (-2, -1, 0, 1, 2)]
    near = {hour % 168 for hour in hours}
    return sum(one.time_us // (3600 * SECOND) % 168 in near for one in past.earlier) / len(
        past.earlier
    )


def _since_account_change(past: Past) -> Value:
    changes = [one for one in past.everything if _changed(one)]
    return past.ago(changes[-1].time_us) if changes else None


MEANINGS: dict[str, Callable[[Past], Value]] = {
    "count": lambda past: len(past.earlier) + len(past.here),
    "sum": lambda past: sum(past.amounts) + sum(past.own),
    "mean": _mean,
    "std": _std,
    "zscore": _zscore,
    "ratio": _ratio,
    "median_ratio": _median_ratio,
    "outliers": _outliers,
    "mean_ratio": _mean_ratio,
    "since_last": lambda past: past.ago(past.payments[-1].time_us) if past.payments else None,
    "since_first": lambda past: past.ago(past.payments[0].time_us) if past.payments else None,
    "new_payee": _new_payee,
    "fraud_count": lambda past: sum(
        past.time - past.width < since <= past.time for since, _, _ in past.frauds
    ),
    "fraud_risk": _fraud_risk,
    "since_fraud": lambda past: _latest(past, past.made),
    "fraud_age": lambda past: _first(past, past.made),
    "quiet_frauds": lambda past: len(_recent(past, past.quiet)),
    "quiet_fraud_age": lambda past: _first(past, past.quiet),
    "since_quiet_fraud": lambda past: _latest(past, past.quiet),
    "max_ratio": _max_ratio,
    "honest_since_fraud": _honest_since_fraud,
    "fraud_run": lambda past: len(_run(past)),
    "fraud_run_age": _fraud_run_age,
    "small_payments": lambda past: sum(amount <= 10_000 for amount in past.amounts + past.own),
    "new_payees": _new_payees,
    "new_device": _new_device,
    "new_country": lambda past: _new_country(past.event, past.before),
    "new_country_logins": _new_country_logins,
    "distance_km": _distance,
    "speed_kmh": _speed,
    "unusual_hour": _unusual_hour,
    "login_failures": lambda past: sum(
        map(_failed, [*_in_window(past, past.everything), past.event])
    ),
    "account_changes": lambda past: sum(
        map(_changed, [*_in_window(past, past.everything), past.event])
    ),
    "since_account_change": _since_account_change,
    "customers": _customers,
    "min": lambda past: min(past.amounts + past.own, default=None),
    "max": lambda past: max(past.amounts + past.own, default=None),
    "first": lambda past: past.amounts[0] if past.amounts else None,
    "last": lambda past: past.amounts[-1] if past.amounts else None,
    "none": lambda past: int(not past.earlier and not past.here),
    "quantile": _quantile,
    "hour_share": _hour_share,
}


def answers(
    names: Iterable[str], event: Paid, before: list[Paid], heard: list[Said]
) -> dict[str, Value]:
    """These features of ``event``; ``before``: the earlier observed events of its entity.

    ``before`` and ``heard`` are in the order in which they were observed and heard; both hold only
    what belongs to the entity whose key begins the names.
    """
    past = Past(event, before, heard)
    return {name: MEANINGS[name.split(".")[1]](past.over(name)) for name in names}


def answer(name: str, event: Paid, before: list[Paid], heard: list[Said]) -> Value:
    """One of them."""
    return answers((name,), event, before, heard)[name]
