"""What is taken as an event, and does each refusal say field, need and got?"""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk import events
from risk.events import Refused, parse
from risk.privacy import luhn
from tests.risk.payments import NOON, RATES, transaction

CARD = "4111111111111111"
WRONG: list[tuple[Any, str, str, str]] = [
    (transaction(id=None), "id", "a value", "nothing"),
    (transaction(id=""), "id", "at least 1 character", "0 characters"),
    (transaction(id="x" * 129), "id", "at most 128 characters", "129 characters"),
    (transaction(id="naïve"), "id", "text of the form", "5 characters"),
    (transaction(id=7), "id", "a string", "int"),
    (transaction(time=None), "time", "a value", "nothing"),
    (transaction(time="2026-03-02T12:00:00"), "time", "with an offset", "a time without one"),
    (transaction(time=1_772_452_800), "time", "RFC 3339 with an offset", "int"),
    (transaction(time="2 March 2026"), "time", "RFC 3339 with an offset", "12 characters"),
    (transaction(time="0001-01-01T00:00:00+14:00"), "time", "years 1 to 9999", "another"),
    (transaction(time="9999-12-31T23:59:59-10:00"), "time", "years 1 to 9999", "another"),
    (transaction(time="2026-03-02T12:05:01Z"), "time", "at most 5 minutes ahead", "301 s ahead"),
    (transaction(customer=None), "customer", "a value", "nothing"),
    (transaction(amount=98.0), "amount", "a string", "float"),
    (transaction(amount=98), "amount", "a string", "int"),
    (transaction(amount="1e3"), "amount", "a decimal string", "'1e3'"),
    (transaction(amount="-1"), "amount", "a decimal string", "'-1'"),
    (transaction(amount="0.00"), "amount", "a positive amount", "'0.00'"),
    (transaction(amount="9.999"), "amount", "at most 2 decimal places for CNY", "'9.999'"),
    (transaction(amount="9" * 16), "amount", "minor units", "'" + "9" * 16 + "'"),
    (transaction(currency="XXX"), "currency", "ISO 4217", "'XXX'"),
    (transaction(currency="cny"), "currency", "text of the form", "3 characters"),
    (transaction(payee=None), "payee", "a value", "nothing"),
    (transaction(payee=["acc-1"]), "payee", "an object", "list"),
    (transaction(payee={"name": "ACME"}), "payee.account", "a value", "nothing"),
    (transaction(kind="gift"), "kind", "one of 'transfer'", "4 characters"),
    (transaction(mcc="٣٣٣٣"), "mcc", "text of the form", "4 characters"),
    (transaction(memo="x" * 513), "memo", "at most 512 characters", "513 characters"),
    (transaction(ip="1.2.3"), "ip", "an IPv4 or IPv6 address", "5 characters"),
    (transaction(geo={"country": "CN", "lat": 91}), "geo.lat", "less than or equal to 90", "int"),
    (transaction(geo={"country": "CN", "lat": 10**400}), "geo.lat", "a number", "int"),
    (transaction(geo={"country": "China"}), "geo.country", "text of the form", "5 characters"),
    (transaction(device={"os": "iOS"}), "device.id", "a value", "nothing"),
    (transaction(type="refund"), "type", "one of transaction, login", "refund"),
    (transaction(type=["login"]), "type", "one of transaction, login", "list"),
    (transaction(type=None), "type", "one of transaction, login", "NoneType"),
    ([], "body", "a JSON object", "list"),
    ("transaction", "body", "a JSON object", "str"),
    (None, "body", "a JSON object", "NoneType"),
]


@pytest.mark.parametrize(("raw", "field", "needed", "got"), WRONG)
def test_a_refusal_names_the_field_what_was_needed_and_what_was_got(
    raw: Any, field: str, needed: str, got: str
) -> None:
    with pytest.raises(Refused) as refused:
        parse(raw, NOON)
    (problem,) = refused.value.problems
    assert problem.field == field
    assert needed in problem.needed
    assert got in problem.got
    assert f"{field}: needed" in str(refused.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        parse(transaction(id=None, customer=7, payee={}), NOON)
    assert [problem.field for problem in refused.value.problems] == [
        "id",
        "customer",
        "payee.account",
    ]


@pytest.mark.parametrize("name", sorted(events.FORBIDDEN_NAMES))
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_secret_is_refused_by_its_name_at_any_depth_and_never_shown(
    name: str, depth: int
) -> None:
    inner: Any = {name.upper(): "s3cret"}
    for _ in range(depth):
        inner = {"more": [inner]}
    with pytest.raises(Refused) as refused:
        parse(transaction(**inner), NOON)
    (problem,) = refused.value.problems
    assert problem.field.endswith(name.upper())
    assert problem.field.startswith("more[0]") == (depth > 0)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("field", ["card", "memo"])
@pytest.mark.parametrize(
    "text", [CARD, "4111-1111-1111-1111", "4111_1111 " + CARD, f"{CARD}-12/27", f"12-{CARD}"]
)
def test_a_card_number_is_refused_in_the_listed_fields_and_never_shown(
    field: str, text: str
) -> None:
    text = text.replace(" ", "_") if field == "card" else text
    with pytest.raises(Refused) as refused:
        parse(transaction(**{field: text}), NOON)
    assert [problem.field for problem in refused.value.problems] == [field]
    assert "1111" not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        transaction(payee={"account": "acc-1", "name": f"ACME {CARD}"}),
        transaction(memo="4111 1111 1111 1111 12/27"),
        transaction(memo=f"card{CARD}exp"),
        {
            "type": "account_change",
            "id": "a",
            "time": "2026-03-02T12:00:00Z",
            "customer": "c",
            "change": "phone",
            "detail": CARD,
        },
        {
            "type": "login",
            "id": "a",
            "time": "2026-03-02T12:00:00Z",
            "customer": "c",
            "result": "success",
            "user_agent": f"bot/{CARD}",
        },
    ],
)
def test_free_text_with_a_card_number_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="no card number in it"):
        parse(body, NOON)


def test_an_account_or_an_id_may_look_like_a_card() -> None:
    body = transaction(id=CARD, customer=CARD, session=CARD, payee={"account": CARD}, terminal=CARD)
    event, _ = parse(body, NOON)
    assert event.id == CARD


@pytest.mark.parametrize(
    "text", ["4111111111111112", "2026-03-02 12:00:00", "41111111111111111111", "No. 17", ""]
)
def test_other_digits_are_no_card_number(text: str) -> None:
    assert not events.holds_card_number(text)


@given(st.integers(10**11, 10**17), st.text(st.characters(exclude_categories=["Nd"])))
def test_a_card_number_is_found_wherever_it_stands(stem: int, around: str) -> None:
    digits = next(run for last in range(10) if luhn(run := f"{stem}{last}") and len(run) >= 12)
    if len(digits) < 13:
        return
    assert events.holds_card_number(f"{around}{digits}{around}")


def test_unknown_fields_are_dropped_and_counted() -> None:
    body = transaction(
        colour="red",
        taste={"sweet": 1},
        payee={"account": "acc-1", "shoe": 42},
        device={"id": "d", "x": 1, "y": 2},
    )
    event, unknown = parse(body, NOON)
    assert unknown == 5
    assert "colour" not in event.model_dump()


def test_an_event_that_is_known_whole_counts_nothing_unknown() -> None:
    assert parse(transaction(), NOON)[1] == 0


def test_a_body_may_be_nested_deeper_than_the_interpreter_recurses() -> None:
    inside: Any = {"pin": 1}
    for turn in range(5_000):
        inside = [inside] if turn % 2 else {"a": inside}
    with pytest.raises(Refused) as refused:
        parse(transaction(more=inside), NOON)
    assert refused.value.problems[0].field.endswith("pin")


@pytest.mark.parametrize("text", ["2026-03-02T20:00:00+08:00", "2026-03-02T12:00:00Z"])
def test_a_time_is_taken_with_any_offset_and_kept_in_utc(text: str) -> None:
    event, _ = parse(transaction(time=text), NOON)
    assert event.time == NOON
    assert event.time.utcoffset() == timedelta(0)


def test_a_time_up_to_five_minutes_ahead_is_taken() -> None:
    event, _ = parse(transaction(time="2026-03-02T12:05:00Z"), NOON)
    assert event.time == NOON + events.FUTURE_TOLERANCE


def test_an_address_is_taken_in_one_spelling() -> None:
    event, _ = parse(transaction(ip="2001:DB8:0:0::1"), NOON)
    assert getattr(event, "ip", None) == "2001:db8::1"


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_NAMES = sorted(
    {
        *events.Transaction.model_fields,
        *events.Login.model_fields,
        *events.AccountChange.model_fields,
        *events.Status.model_fields,
        *events.LabelEvent.model_fields,
    }
)
_TIMES = st.datetimes().map(lambda time: time.isoformat() + "Z") | st.datetimes().map(
    lambda time: time.isoformat() + "+13:59"
)


@given(_JSON)
def test_any_json_is_parsed_or_refused(raw: Any) -> None:
    _parsed_or_refused(raw)


@given(
    st.sampled_from(["transaction", "login", "account_change", "status", "label"]),
    st.dictionaries(st.sampled_from(_NAMES), _JSON | _TIMES, max_size=6),
)
def test_any_event_with_any_value_in_any_field_is_parsed_or_refused(
    kind: str, over: dict[str, Any]
) -> None:
    body = {
        **transaction(),
        "result": "success",
        "change": "phone",
        "event": "p-0",
        "state": "executed",
        "fraud": True,
        "source": "officer",
        **over,
        "type": kind,
    }
    _parsed_or_refused(body)


def _parsed_or_refused(raw: Any) -> None:
    problems: list[events.Problem] = []
    try:
        event, unknown = parse(raw, NOON)
    except Refused as refused:
        problems = refused.problems
        assert problems
    else:
        assert unknown >= 0
        assert event.time.utcoffset() == timedelta(0)
    assert all(one.field and one.needed and one.got for one in problems)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back_as_it_was_written(time: datetime) -> None:
    told = events.rfc3339(events.micros(time))
    assert events.parse_us(told) == events.micros(time)
    assert len(told) == len("2026-03-02T12:00:00.000000Z")


def _envelope(**over: Any) -> dict[str, Any]:
    event = transaction(**over)
    event["payee"] = {"account": "acc_1", "sealed": "s1.x", "country": "CN"}
    return {"event": event, "accepted": "2026-03-02T12:00:01.000000Z", "reply": "g1", "trace": "t"}


def _moment(envelope: dict[str, Any], watermark_us: int = 0, rates: Any = RATES) -> events.Moment:
    return events.moment(
        envelope,
        partition=2,
        position=9,
        watermark_us=watermark_us,
        lateness_us=3_600_000_000,
        rates=rates,
    )


def test_an_accepted_event_walks_with_minor_units_and_without_clear_names() -> None:
    envelope = json.loads(json.dumps(_envelope()))
    walking = _moment(envelope)
    assert (walking.amount, walking.currency, walking.amount_base) == (9800, "CNY", 9800)
    assert (walking.payee, walking.payee_sealed, walking.payee_country) == ("acc_1", "s1.x", "CN")
    assert (walking.partition, walking.position, walking.reply) == (2, 9, "g1")
    assert events.amount_of(walking) == Decimal("98.00")
    assert "ACME" not in repr(walking)


def test_an_event_is_late_by_the_watermark_that_it_met() -> None:
    time_us = events.micros(NOON)
    hour_us = 3_600_000_000
    assert not _moment(_envelope(), watermark_us=time_us + hour_us).late
    assert _moment(_envelope(), watermark_us=time_us + hour_us + 1).late


def test_a_currency_without_a_rate_has_no_amount_in_the_base() -> None:
    assert _moment(_envelope(currency="USD")).amount_base is None
