"""The made-up bank: is it always the same, does it look like the real thing, is all of it told?"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.simulate import FRAUDS, NOISE, Happening, World, label, simulate, write
from risk import events

START = datetime(2026, 3, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def told(seed: int = 7, customers: int = 60, days: int = 30, **how: Any) -> list[Happening]:
    return list(simulate(seed, customers, days, START, **how))


@pytest.fixture(scope="module")
def month() -> list[Happening]:
    """A month of 300 customers, shared by the tests that only look at it."""
    return told(customers=300)


def field(happening: Happening, *path: str) -> Any:
    value: Any = happening.event
    for step in path:
        value = cast(dict[str, Any], value)[step]
    return value


def times(happenings: Sequence[Happening]) -> list[datetime]:
    return [datetime.fromisoformat(field(h, "time")) for h in happenings]


def of(happenings: Sequence[Happening], scenario: str) -> list[Happening]:
    return [h for h in happenings if h.truth is not None and h.truth.scenario == scenario]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, simulate(7, 40, 10, START), tmp_path / f"{name}.truth")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one.truth").read_bytes() == (tmp_path / "two.truth").read_bytes()
    assert (tmp_path / "one").stat().st_size > 10_000


def test_another_seed_tells_of_other_days() -> None:
    ids = {h.event["id"] for h in told(seed=1, days=5)}
    assert ids.isdisjoint(h.event["id"] for h in told(seed=2, days=5))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    customers=st.integers(1, 20),
    days=st.integers(1, 8),
    fraud=st.sampled_from([0.0, 1.0, 30.0]),
    noise=st.sampled_from([0.0, 1.0, 10.0]),
)
def test_times_ascend_and_no_id_comes_twice(
    seed: int, customers: int, days: int, fraud: float, noise: float
) -> None:
    happenings = told(seed, customers, days, fraud=fraud, noise=noise)
    assert all(a <= b for a, b in pairwise(times(happenings)))
    assert len({h.event["id"] for h in happenings}) == len(happenings)
    assert all(START <= time < START + timedelta(days=days + 2) for time in times(happenings))


def test_the_gateway_would_take_every_event(month: list[Happening]) -> None:
    for happening in month:
        event, unknown = events.parse(json.loads(json.dumps(happening.event)), LATER)
        assert unknown == 0, happening.event
        assert getattr(event, "customer", None) is not None


def test_payments_logins_and_changes_come_in_both_currencies(month: list[Happening]) -> None:
    assert {h.event["type"] for h in month} == {"transaction", "login", "account_change"}
    payments = [h for h in month if h.event["type"] == "transaction"]
    assert {h.event["currency"] for h in payments} == {"CNY", "EUR"}
    assert {h.event["kind"] for h in payments} == {"card", "transfer", "cash", "bill"}


def test_truth_is_never_part_of_what_the_bank_sends(month: list[Happening]) -> None:
    for happening in month:
        assert not {"fraud", "scenario", "truth"} & happening.event.keys()


def test_every_fraud_and_every_noise_happens_even_to_few() -> None:
    counts = Counter(h.truth.scenario for h in told(customers=3, days=5) if h.truth is not None)
    assert set(counts) == {*FRAUDS, *NOISE}


@pytest.mark.parametrize("scenario", FRAUDS)
def test_only_the_chosen_scenario_happens(scenario: str) -> None:
    frauds = [h.truth for h in told(scenarios=[scenario]) if h.truth is not None and h.truth.fraud]
    assert frauds
    assert {truth.scenario for truth in frauds} == {scenario}


def test_leaving_a_fraud_out_leaves_honest_days_as_they_were() -> None:
    both = [h.event for h in told() if h.truth is None or not h.truth.fraud]
    none = [h.event for h in told(scenarios=[])]
    honest = {str(event["id"]) for event in none}
    # A compromised payee is first paid honestly: that visit belongs to its story.
    assert honest <= {str(event["id"]) for event in both}


def test_without_noise_and_fraud_every_day_is_an_everyday() -> None:
    assert all(h.truth is None for h in told(noise=0.0, scenarios=[]))


def test_fraud_is_rare_as_it_is(month: list[Happening]) -> None:
    payments = [h for h in month if h.event["type"] == "transaction"]
    frauds = [h for h in payments if h.truth is not None and h.truth.fraud]
    assert 0.001 < len(frauds) / len(payments) < 0.02


def test_honest_customers_travel_too(month: list[Happening]) -> None:
    homes = {"CN", "DE", "FR", "ES", "IT", "NL"}
    abroad = [h for h in of(month, "honest_travel") if field(h, "geo", "country") not in homes]
    assert len({h.event["customer"] for h in abroad}) >= 5


def test_a_takeover_signs_in_changes_the_account_and_pays_someone_new(
    month: list[Happening],
) -> None:
    by_session = defaultdict(list)
    for happening in of(month, "account_takeover"):
        by_session[field(happening, "session")].append(happening)
    assert by_session
    for session in by_session.values():
        kinds = [h.event["type"] for h in session]
        assert kinds.index("account_change") < kinds.index("transaction")
        if "login" in kinds:  # else at the customer's own computer
            assert kinds.index("login") < kinds.index("account_change")
        customer, account = session[-1].event["customer"], field(session[-1], "payee", "account")
        earlier = [
            h
            for h in month
            if h.event["customer"] == customer
            and h.event["type"] == "transaction"
            and h.truth is None
        ]
        assert account not in {field(h, "payee", "account") for h in earlier}


def sessions(happenings: Sequence[Happening]) -> dict[str, list[Happening]]:
    told = defaultdict(list)
    for happening in happenings:
        if "session" in happening.event:
            told[str(happening.event["session"])].append(happening)
    return told


def test_who_loses_the_phone_abroad_does_all_that_a_thief_does(month: list[Happening]) -> None:
    homes = {"CN", "DE", "FR", "ES", "IT", "NL"}
    alike = 0
    for session in sessions(of(month, "honest_phone_abroad")).values():
        kinds = [h.event["type"] for h in session]
        if {"login", "account_change", "transaction"} <= set(kinds):
            paid = session[kinds.index("transaction")]
            device = field(paid, "device", "id")
            earlier = month[: month.index(session[0])]
            alike += (
                field(paid, "geo", "country") not in homes
                and all(h.event.get("device", {}).get("id") != device for h in earlier)  # type: ignore[attr-defined]
                and all(field(paid, "payee") != h.event.get("payee") for h in earlier)
            )
    assert alike


def test_thieves_differ_from_afar_from_the_country_and_at_the_customers_own_computer() -> None:
    lives = told(customers=300, fraud=10.0, noise=0.0, scenarios=["account_takeover"])
    honest = {
        (h.event["customer"], field(h, "device", "id"))
        for h in lives
        if h.truth is None and "device" in h.event
    }
    homes = {h.event["customer"]: field(h, "geo", "country") for h in lives if h.truth is None}
    own, near, far = 0, 0, 0
    for session in sessions(of(lives, "account_takeover")).values():
        first = session[0]
        who = first.event["customer"]
        if (who, field(first, "device", "id")) in honest:
            own += 1
        elif field(first, "geo", "country") == homes.get(who):
            near += 1
        else:
            far += 1
    assert far > near > own > 0


def test_of_stolen_cards_some_are_spent_as_the_owner_spends(month: list[Happening]) -> None:
    """No amount tells all of the frauds from all of what is honest."""
    dear = max(float(field(h, "amount")) for h in of(month, "honest_spree"))
    stolen = of(told(customers=300, fraud=5.0, scenarios=["stolen_card"]), "stolen_card")
    assert sum(float(field(h, "amount")) < dear for h in stolen) > len(stolen) / 2


def test_who_lives_together_shares_a_computer_and_an_address() -> None:
    who = defaultdict(set)
    for happening in told(customers=100):
        if happening.truth is None and happening.event.get("channel") == "web":
            device = field(happening, "device", "id")
            who[device].add(happening.event["customer"])
    shared = [customers for customers in who.values() if len(customers) == 2]
    world = World(7, 100, 30, START)
    assert shared
    for one, other in shared:
        homes = [world.customer(int(str(name)[1:])) for name in (one, other)]
        assert homes[0].ip == homes[1].ip
        assert homes[0].home == homes[1].home


def test_card_testing_is_many_small_payments_in_a_short_time(month: list[Happening]) -> None:
    by_card = defaultdict(list)
    for happening in of(month, "card_testing"):
        by_card[field(happening, "card")].append(happening)
    assert by_card
    patient = 0
    for payments in by_card.values():
        small = [h for h in payments if float(field(h, "amount")) < 30]
        assert len(small) >= 5
        hasty = len(small) >= 8 and times(small)[7] - times(small)[0] < timedelta(minutes=15)
        patient += not hasty
    assert patient < len(by_card)


def test_of_card_testers_some_take_days_over_it() -> None:
    by_card = defaultdict(list)
    for happening in of(
        told(customers=100, fraud=30.0, scenarios=["card_testing"]), "card_testing"
    ):
        by_card[field(happening, "card")].append(happening)
    gaps = [
        later - one for payments in by_card.values() for one, later in pairwise(times(payments))
    ]
    slow = sum(timedelta(hours=3) <= gap <= timedelta(hours=9) for gap in gaps)
    hasty = sum(gap <= timedelta(seconds=90) for gap in gaps)
    assert hasty > slow > 0


def test_of_large_sums_some_are_paid_in_two_parts(month: list[Happening]) -> None:
    """What a thief does who drains an account, an honest customer does, too."""
    paid: Counter[tuple[str, str]] = Counter()
    for happening in of(month, "honest_large"):
        if happening.event["type"] == "transaction":
            paid[field(happening, "customer"), field(happening, "payee", "account")] += 1
    assert 2 in paid.values()


def test_a_mule_is_paid_by_several_customers() -> None:
    payers = defaultdict(set)
    for happening in of(told(customers=200), "mule_payee"):
        if happening.event["type"] == "transaction":
            payers[field(happening, "payee", "account")].add(happening.event["customer"])
    assert payers
    assert max(len(customers) for customers in payers.values()) >= 3


def test_addresses_are_of_ranges_that_belong_to_nobody(month: list[Happening]) -> None:
    addresses = {str(h.event["ip"]) for h in month if "ip" in h.event}
    assert addresses
    for address in addresses:
        first, second, *_ = (int(part) for part in address.split("."))
        carrier = first == 100 and 64 <= second < 128
        assert carrier or address.startswith(("192.0.2.", "198.51.100.", "203.0.113."))


def test_a_label_tells_a_truth_when_it_becomes_known(month: list[Happening]) -> None:
    truth = next(h.truth for h in month if h.truth is not None and h.truth.fraud)
    known = datetime.fromisoformat(truth.time) + timedelta(days=7)
    parsed, unknown = events.parse(label(truth, known), LATER)
    assert isinstance(parsed, events.LabelEvent)
    assert (parsed.event, parsed.fraud, parsed.time, unknown) == (truth.event, True, known, 0)


def test_what_is_written_can_be_read_and_counted(tmp_path: Path) -> None:
    counts = write(tmp_path / "events", simulate(7, 20, 10, START), tmp_path / "truth")
    lines = (tmp_path / "events").read_text(encoding="utf-8").splitlines()
    truths = [json.loads(line) for line in (tmp_path / "truth").read_text().splitlines()]
    assert counts.total() == len(lines)
    assert Counter(t["scenario"] for t in truths) == counts - Counter(everyday=10**9)
    assert {t["event"] for t in truths} <= {json.loads(line)["id"] for line in lines}


def test_a_customer_can_be_introduced_to_the_gateway() -> None:
    world = World(7, 10, 1, START)
    for index in range(10):
        customer = world.customer(index)
        assert customer.language in {"zh", "de", "fr", "es", "it", "nl"}
        assert customer.home.zone
        assert customer == World(7, 10, 1, START).customer(index)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"scenarios": ["honest_travel"]}, "honest_travel"),
        ({"customers": 0}, "at least 1 customer"),
        ({"days": 0}, "at least 1 customer and 1 day"),
    ],
)
def test_a_world_that_can_not_be_is_refused_at_once(wrong: dict[str, Any], named: str) -> None:
    arguments: dict[str, Any] = {"customers": 5, "days": 5, **wrong}
    with pytest.raises(ValueError, match=named):
        simulate(7, start=START, **arguments)


def test_a_start_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        simulate(7, 5, 5, datetime(2026, 3, 1))  # noqa: DTZ001  # what is refused
