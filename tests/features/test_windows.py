"""The engine gives what the brute-force reference gives, whatever comes in whatever order."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import timeline
from features.catalogue import CUSTOMER, DESCRIBERS, DEVICE, IP, PAYEE
from features.describer import Describer, Profile
from features.moment import DAY, HOUR, LATENESS, MINUTE, SECOND, Value
from features.timeline import Timeline
from tests.features.reference import Paid, Said, answers

START = 1_700_000_000 * SECOND

STEPS = st.sampled_from(
    [0, 0, 1, SECOND, MINUTE - 1, MINUTE, HOUR, HOUR + 1, DAY, 7 * DAY, 8 * DAY, 200 * DAY]
)
BEHIND = st.sampled_from([0, 0, 0, 1, SECOND, MINUTE, HOUR - 1, HOUR, HOUR + 1, 3 * DAY])
AMOUNTS = st.one_of(
    st.none(), st.integers(0, 100_000), st.sampled_from([0, 1, -500, 2**50, 2**63, -(2**70)])
)

PLACES: list[tuple[str | None, float | None, float | None]] = [
    (None, None, None),
    ("CN", None, None),
    ("CN", 31.23, 121.47),
    ("CN", 39.9, 116.4),
    ("DE", 52.52, 13.405),
    ("NZ", -41.29, 174.78),
    ("NZ", 41.29, -5.22),
]


@dataclass(frozen=True)
class Step:
    """One thing that happens in a random stream."""

    advance: int
    behind: int
    amount: int | None
    payee: int | None
    does: str
    customer: int
    device: int | None
    place: tuple[str | None, float | None, float | None]
    label: tuple[int, bool, str, int, float | None] | None  # of which, fraud, source, ahead, odd
    stored: bool


STREAMS = st.lists(
    st.builds(
        Step,
        STEPS,
        BEHIND,
        AMOUNTS,
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from(
            [
                *["transaction"] * 6,
                *["login/success"] * 3,
                *["login/failure"] * 2,
                "account_change/phone",
                "account_change/payee_added",
                "status",
            ]
        ),
        st.integers(0, 4),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from(PLACES),
        st.none()
        | st.tuples(
            st.integers(0, 9),
            st.booleans(),
            st.sampled_from(["customer", "chargeback", "officer"]),
            st.sampled_from([0, 0, SECOND, HOUR]),
            st.sampled_from([None, 0.5, 3.0, 3.1]),
        ),
        st.booleans(),
    ),
    max_size=40,
)


def _happened(describer: Describer, step: Step, name: str, time: int) -> Paid:
    """An event of the one entity that the describer is asked about."""
    payee = "p" if describer is PAYEE else None if step.payee is None else f"p{step.payee}"
    device = "d" if describer is DEVICE else None if step.device is None else f"d{step.device}"
    kind, _, which = step.does.partition("/")
    country, lat, lon = step.place
    return Paid(
        name,
        time,
        step.amount if kind == "transaction" else None,
        customer="c" if describer is CUSTOMER else f"c{step.customer}",
        payee=payee,
        type=kind,
        device=device,
        country=country,
        lat=lat,
        lon=lon,
        result=which if kind == "login" else None,
        change=which if kind == "account_change" else None,
    )


def _may_miss(name: str, got: Value, want: Value) -> bool:
    """A late event may find places and visitors forgotten; it never finds what was not there."""
    kind = name.split(".")[1]
    if kind in ("distance_km", "speed_kmh"):
        return got is None
    return kind == "customers" and got is not None and want is not None and got < want


def _walk(describer: Describer, stream: list[Step]) -> None:
    profile: Profile = describer.new()
    names = [one.name for one in describer.features]
    now = START
    seen: list[Paid] = []
    before: list[Paid] = []
    heard: list[Said] = []
    for at, step in enumerate(stream):
        now += step.advance
        event = _happened(describer, step, f"e{at}", now - step.behind)
        got = profile.describe(event)
        want = answers(names, event, before, heard)
        late = step.behind > LATENESS
        wrong = {
            name: (got[name], value)
            for name, value in want.items()
            if got[name] != value and not (late and _may_miss(name, got[name], value))
        }
        assert not wrong
        if not late:
            profile.observe(event)
            before.append(event)
            seen.append(event)
        if step.label is not None and seen:
            back, fraud, source, ahead, odd = step.label
            about = seen[-1 - back % len(seen)]
            label = Said(about.id, fraud, source, now + ahead, about.time_us, oddness=odd)
            profile.hear(label)
            heard.append(label)
        if step.stored:
            profile = describer.load(profile.dump())


@pytest.mark.parametrize("describer", DESCRIBERS, ids=lambda one: one.key)
@settings(max_examples=200, deadline=None)
@given(stream=STREAMS)
def test_every_feature_equals_its_brute_force_definition(
    describer: Describer, stream: list[Step]
) -> None:
    """Out of order, late, at equal times, in bursts, after silence, stored and loaded."""
    _walk(describer, stream)


@pytest.mark.parametrize("describer", [CUSTOMER, IP], ids=lambda one: one.key)
@pytest.mark.parametrize("seed", range(3))
def test_a_long_life_equals_its_brute_force_definition(describer: Describer, seed: int) -> None:
    """Long enough for the hours of the day, busy enough to have neighbours in each window."""
    chance = random.Random(seed)
    stream = [
        Step(
            advance=chance.choice([0, MINUTE, 20 * MINUTE, HOUR, HOUR + 1, 9 * HOUR]),
            behind=chance.choice([0, 0, MINUTE, 40 * MINUTE, HOUR]),
            amount=chance.randrange(100_000),
            payee=chance.randrange(9),
            does=chance.choice(["transaction", "login/success", "login/failure"]),
            customer=chance.randrange(30),
            device=chance.randrange(5),
            place=chance.choice(PLACES),
            label=None,
            stored=chance.random() < 0.1,
        )
        for _ in range(250)
    ]
    _walk(describer, stream)


def test_of_a_busy_device_the_latest_64_customers_are_remembered() -> None:
    """Below 64 the count is exact; 64 means so many or more, and no profile grows beyond."""
    profile, told = DEVICE.new(), []
    for at in range(300):
        event = Paid(f"e{at}", START + at * MINUTE, 1, customer=f"c{at}", device="d")
        told.append(profile.describe(event)["device.customers.24h"])
        profile.observe(event)
    assert told == [*range(1, 65), *[64] * 236]
    later = Paid("later", START + 5 * DAY, 1, customer="c7", device="d")
    assert profile.describe(later)["device.customers.24h"] == 1
    assert profile.visitors is not None
    assert len(profile.visitors) == 64
    assert len(profile.dump()) <= 7_500


def test_a_stranger_teaches_no_habits_by_failing() -> None:
    """A failed sign-in is described by the habits and makes nothing usual."""
    profile = CUSTOMER.new()
    home = {"country": "CN", "lat": 31.23, "lon": 121.47, "device": "own", "payee": None}
    away = {"country": "BR", "lat": -23.55, "lon": -46.63, "device": "other", "payee": None}
    login = Paid("e0", START, None, type="login", result="success", **home)  # type: ignore[arg-type]
    profile.observe(login)
    for at in range(1, 3):
        tried = replace(login, id=f"e{at}", time_us=START + at * HOUR, result="failure", **away)  # type: ignore[arg-type]
        told = profile.describe(tried)
        assert (told["customer.new_country"], told["customer.new_device"]) == (1, 1)
        assert told["customer.login_failures.1h"] == 1
        assert told["customer.new_country_logins.24h"] == 0
        assert 18_000 < (told["customer.distance_km"] or 0) < 19_000
        profile.observe(tried)
    back = profile.describe(replace(login, id="back", time_us=START + 3 * HOUR))
    assert (back["customer.distance_km"], back["customer.new_device"]) == (0.0, 0)


def test_a_payment_never_explains_itself() -> None:
    """A first payment to a payee is new, and compared with nothing: it is not its own past."""
    first = Paid("e1", START, 5_000)
    profile = CUSTOMER.new()
    told = profile.describe(first)
    assert told["customer.new_payee"] == 1
    assert told["customer.since_last"] is None
    assert told["customer.ratio.amount.30d"] is None
    assert told["customer.count.1h"] == 1, "a window includes the event itself, once"
    profile.observe(first)
    again = profile.describe(Paid("e2", START, 7_000))
    assert again["customer.new_payee"] == 0
    assert again["customer.ratio.amount.30d"] == 1.4
    assert again["customer.count.1h"] == 2


def test_a_window_holds_its_end_and_not_its_beginning() -> None:
    """(t - W, t]: what is exactly W old has left."""
    profile = CUSTOMER.new()
    profile.observe(Paid("e1", START, 100))
    assert profile.describe(Paid("e2", START + MINUTE - 1, 1))["customer.count.1m"] == 2
    assert profile.describe(Paid("e2", START + MINUTE, 1))["customer.count.1m"] == 1


def test_a_label_is_not_known_before_it_is_known() -> None:
    """Heard already, known only a second after the event: it does not count yet."""
    profile = PAYEE.new()
    bad = Paid("bad", START, 100)
    profile.observe(bad)
    profile.hear(Said("bad", True, "customer", START + HOUR, START))
    early = profile.describe(Paid("e2", START + HOUR - 1, 100))
    at = profile.describe(Paid("e3", START + HOUR, 100))
    assert early["payee.fraud_count.7d"] == 0
    assert early["payee.since_fraud.30d"] is None
    assert at["payee.fraud_count.7d"] == 1
    assert at["payee.since_fraud.30d"] == 3600


def test_an_officer_outranks_a_chargeback_whenever_either_comes() -> None:
    """Officer > chargeback > customer, in any order of hearing."""
    labels = [
        Said("bad", True, "chargeback", START + 2, START),
        Said("bad", False, "officer", START + 1, START),
    ]
    for order in (labels, labels[::-1]):
        profile = PAYEE.new()
        profile.observe(Paid("bad", START, 100))
        for label in order:
            profile.hear(label)
        later = profile.describe(Paid("e2", START + HOUR, 100))
        assert later["payee.fraud_count.7d"] == 0


BUSY = st.lists(
    st.tuples(st.sampled_from([0, 1, 1000, SECOND, MINUTE, HOUR, DAY]), st.integers(0, 5_000)),
    min_size=30,
    max_size=300,
)


@settings(max_examples=150, deadline=None)
@given(stream=BUSY, stored=st.booleans())
def test_a_busy_entity_answers_for_a_window_at_most_an_eighth_longer(
    stream: list[tuple[int, int]], stored: bool
) -> None:
    """Beyond the exact entries a window of length W is answered for W to W + W/8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "EXACT", 8)
        line, now, past = Timeline(), START, []
        for advance, amount in stream:
            now += advance
            line.add(now, amount, 30 * DAY + HOUR)
            past.append((now, amount))
            if stored:
                line = Timeline.load(line.dump())
            for window in (MINUTE, HOUR, DAY, 7 * DAY, 30 * DAY):
                count, priced, total = line.tally(now - window, now)
                least = [worth for time, worth in past if time > now - window]
                most = [worth for time, worth in past if time > now - window - window / 8]
                assert len(least) <= count <= len(most)
                assert priced == count
                assert sum(least) <= total <= sum(most)
                extremes = line.extremes(now - window, now)
                assert (extremes is None) == (not count)
                if extremes is not None:
                    assert min(most) <= extremes[0] <= min(least or most)
                    assert max(least or most[-1:]) <= extremes[1] <= max(most)


@settings(max_examples=100, deadline=None)
@given(
    stream=st.lists(st.tuples(st.integers(0, 2 * MINUTE), st.integers(0, HOUR)), max_size=200),
    stored=st.booleans(),
)
def test_a_busy_entity_loses_nothing_that_comes_out_of_order(
    stream: list[tuple[int, int]], stored: bool
) -> None:
    """Whatever bucket a payment falls into, the longest window counts it once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "EXACT", 8)
        line, now = Timeline(), START
        for at, (advance, behind) in enumerate(stream, start=1):
            now += advance
            line.add(now - behind, 1, 30 * DAY + HOUR)
            if stored:
                line = Timeline.load(line.dump())
            assert line.tally(now - 30 * DAY, now) == (at, at, at)


def test_a_profile_stays_bounded_under_a_hundred_thousand_payments() -> None:
    """The sizes that docs/semantics.md states."""
    profile = PAYEE.new()
    keep = PAYEE.keep
    for at in range(100_000):
        profile.payments.add(START + at * 25 * SECOND, 1_000, keep)
    assert len(profile.payments) <= 512 + 500
    assert len(profile.dump()) <= 40_000
    for at in range(3_000):
        profile.hear(Said(f"e{at}", True, "chargeback", START + at, START + at))
    assert profile.frauds is not None
    assert len(profile.frauds) <= 512
    assert profile.describe(Paid("x", START + DAY, 1))["payee.fraud_count.7d"] == 512
    customer = CUSTOMER.new()
    for at in range(2_000):
        customer.observe(Paid(f"e{at}", START + at, 1, payee=f"p{at}"))
        customer.observe(
            Paid(
                f"l{at}",
                START + at,
                None,
                payee=None,
                type="account_change" if at % 2 else "login",
                result=None if at % 2 else "success",
                change="phone" if at % 2 else None,
                device=f"d{at}",
                country=f"C{at}",
                lat=1.0,
                lon=2.0,
            )
        )
    assert len(customer.payees) == 256
    assert customer.habits is not None
    assert len(customer.habits.devices) == len(customer.habits.places) == 64
    assert len(customer.habits.changes) == len(customer.habits.arrivals) == 64
    assert len(customer.dump()) <= 30_000


def test_buckets_stored_before_they_had_extremes_are_still_read() -> None:
    """Their mean stands in; what came since is exact."""
    line = Timeline()
    for at in range(2_000):
        line.add(START + at * SECOND, 100 + 100 * (at % 2), DAY)
    stored = line.dump()
    buckets = int.from_bytes(stored[12:16], "little")
    assert buckets > 0
    old = Timeline.load(stored[: -16 * buckets])
    assert old.tally(START - 1, START + HOUR) == line.tally(START - 1, START + HOUR)
    assert line.extremes(START - 1, START + HOUR) == (100, 200)
    before = START + 1_000 * SECOND
    low, high = old.extremes(START - 1, before) or (0, 0)
    assert 100 <= low <= high <= 200
    assert Timeline.load(old.dump()).extremes(START - 1, before) == (low, high)


def test_totals_survive_the_largest_amounts() -> None:
    """An amount that no bank sends neither stops the stream nor spoils the next window."""
    line = Timeline()
    for at in range(20_000):
        line.add(START + at, 2**80, 40 * DAY)
    line = Timeline.load(line.dump())
    assert line.tally(START - 1, START + 20_000) == (20_000, 20_000, 20_000 * 2**50)
