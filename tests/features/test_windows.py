"""The engine gives what the brute-force reference gives, whatever comes in whatever order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import timeline
from features.catalogue import CUSTOMER, DESCRIBERS, PAYEE
from features.describer import Describer, Profile
from features.moment import DAY, HOUR, LATENESS, MINUTE, SECOND
from features.timeline import Timeline
from tests.features.reference import Paid, Said, answer

START = 1_700_000_000 * SECOND

STEPS = st.sampled_from(
    [0, 0, 1, SECOND, MINUTE - 1, MINUTE, HOUR, HOUR + 1, DAY, 7 * DAY, 8 * DAY, 200 * DAY]
)
BEHIND = st.sampled_from([0, 0, 0, 1, SECOND, MINUTE, HOUR - 1, HOUR, HOUR + 1, 3 * DAY])
AMOUNTS = st.one_of(
    st.none(), st.integers(0, 100_000), st.sampled_from([0, 1, -500, 2**50, 2**63, -(2**70)])
)


@dataclass(frozen=True)
class Step:
    """One thing that happens in a random stream."""

    advance: int
    behind: int
    amount: int | None
    payee: int | None
    type: str
    label: tuple[int, bool, str, int, float | None] | None  # of which, fraud, source, ahead, odd
    stored: bool


STREAMS = st.lists(
    st.builds(
        Step,
        STEPS,
        BEHIND,
        AMOUNTS,
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from(["transaction", "transaction", "transaction", "login"]),
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


def _walk(describer: Describer, stream: list[Step]) -> None:
    profile: Profile = describer.new()
    now = START
    seen: list[Paid] = []
    before: list[Paid] = []
    heard: list[Said] = []
    for at, step in enumerate(stream):
        now += step.advance
        payee = "p" if describer is PAYEE else None if step.payee is None else f"p{step.payee}"
        event = Paid(f"e{at}", now - step.behind, step.amount, payee=payee, type=step.type)
        got = profile.describe(event)
        want = {one.name: answer(one.name, event, before, heard) for one in describer.features}
        assert got == want
        if step.behind <= LATENESS:
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
@settings(max_examples=300, deadline=None)
@given(stream=STREAMS)
def test_every_feature_equals_its_brute_force_definition(
    describer: Describer, stream: list[Step]
) -> None:
    """Out of order, late, at equal times, in bursts, after silence, stored and loaded."""
    _walk(describer, stream)


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
    assert len(profile.frauds) <= 512
    assert profile.describe(Paid("x", START + DAY, 1))["payee.fraud_count.7d"] == 512
    customer = CUSTOMER.new()
    for at in range(2_000):
        customer.observe(Paid(f"e{at}", START + at, 1, payee=f"p{at}"))
    assert len(customer.payees) == 256
    assert len(customer.dump()) <= 60_000


def test_totals_survive_the_largest_amounts() -> None:
    """An amount that no bank sends neither stops the stream nor spoils the next window."""
    line = Timeline()
    for at in range(20_000):
        line.add(START + at, 2**80, 40 * DAY)
    line = Timeline.load(line.dump())
    assert line.tally(START - 1, START + 20_000) == (20_000, 20_000, 20_000 * 2**50)
