"""Is a customer who is sought out asked only what they bear, and is each answer worth its word?"""

from typing import Any

import orjson
import pytest
import redis

from flows.due import CASE_REST_US
from flows.effects import Inquired, RedisEffects
from flows.errors import Fenced
from flows.inquire import Seeks, inquiry_id
from flows.judge import GRACE_US
from flows.walk import Spoken, Wished
from risk import events, names
from risk.seek import DAY_US, Paid
from tests.flows.facts import NOON_US, SECOND_US, Judge, scored, spoken

ASKED_US = NOON_US + 3600 * SECOND_US
WITHIN_US = DAY_US
MANY = ("p-1", "p-2", "p-3")


def paid(event: str, customer: str = "cus_1") -> Paid:
    return Paid(event, NOON_US, customer, "payee/acc_1")


def wish(*payments: str, at_us: int = ASKED_US, why: str = "review", **over: Any) -> Wished:
    about = "p-of-another" if why == "after_denial" else None
    fields = {"customer": "cus_1", "why": why, "about": about, "at_us": at_us, **over}
    return Wished(payments=tuple(paid(one) for one in payments), **fields)


def house(*payments: str, **over: Any) -> Judge:
    judge = Judge(seeks=Seeks(7 * DAY_US, WITHIN_US), **over)
    for number, event in enumerate(payments):
        judge.hear(scored(event, time_us=NOON_US + number))
    return judge


def answer(
    decision: str, *payments: str, items: tuple[int, ...] = (), after_us: int = 60 * SECOND_US,
    **over: Any,
) -> Spoken:  # fmt: skip
    ident = inquiry_id(payments)
    evidence = {"items": list(items)} if items else {}
    since_us = ASKED_US - NOON_US + after_us
    told = {"challenge": ident, "evidence": evidence, **over}
    return spoken(decision, payments[0], after_us=since_us, **told)


def kinds(judge: Judge, case: str) -> list[str]:
    return [row["kind"] for row in judge.doors.records if row["case"] == case]


def labels(judge: Judge) -> dict[str, bool]:
    assert all(one["source"] == "customer" for one in judge.doors.labels)
    return {one["event"]: one["fraud"] for one in judge.doors.labels}


def test_who_is_sought_out_is_shown_their_own_payments_and_nothing_else() -> None:
    judge = house(*MANY)
    judge.hear(wish(*MANY))
    (told,) = judge.doors.inquired
    assert (told["op"], told["customer"], told["id"]) == ("inquire", "cus_1", inquiry_id(MANY))
    assert [one["amount"] for one in told["payments"]] == ["9800.00"] * 3
    assert [one["payee"] for one in told["payments"]] == ["s1.sealed"] * 3
    assert events.parse_us(told["expires"]) == ASKED_US + WITHIN_US
    assert set(told["payments"][0]) == {"amount", "currency", "kind", "payee", "time"}
    assert kinds(judge, names.case(told["id"])) == ["case.opened", "inquiry.asked"]
    assert judge.doors.outcomes == {}
    assert labels(judge) == {}


def test_a_yes_vouches_for_all_and_closes_the_case() -> None:
    judge = house(*MANY)
    judge.hear(wish(*MANY))
    judge.hear(answer("confirm", *MANY))
    assert labels(judge) == dict.fromkeys(MANY, False)
    assert judge.doors.alerts == []
    told = judge.doors.inquired[-1]
    assert (told["op"], told["state"]) == ("inquired", "confirmed")
    judge.heard_until(ASKED_US - NOON_US + 60 * SECOND_US + CASE_REST_US + GRACE_US)
    assert kinds(judge, names.case(told["id"]))[-2:] == ["inquiry.answered", "case.closed"]


def test_an_answer_that_overtakes_its_question_after_a_crash_is_heard_with_it() -> None:
    judge = house("p-1")
    judge.hear(answer("deny", "p-1"))
    assert labels(judge) == {}
    judge.hear(wish("p-1"))
    assert labels(judge) == {"p-1": True}


def test_a_no_with_numbers_denies_those_vouches_for_the_rest_and_tells_the_officers() -> None:
    judge = house(*MANY)
    judge.hear(wish(*MANY, why="after_denial"))
    judge.hear(answer("deny", *MANY, items=(2,)))
    assert labels(judge) == {"p-1": False, "p-2": True, "p-3": False}
    (alert,) = judge.doors.alerts
    assert (alert["event"], alert["kind"]) == ("p-2", "inquiry")
    assert "p-of-another" in alert["text"]
    judge.heard_until(3 * DAY_US)
    assert "case.closed" not in kinds(judge, names.case(inquiry_id(MANY)))


def test_a_no_that_names_none_of_several_teaches_nothing_and_leaves_it_open() -> None:
    judge = house(*MANY)
    judge.hear(wish(*MANY))
    for minute, items in enumerate(((), (9,))):
        judge.hear(answer("deny", *MANY, items=items, after_us=minute * 60 * SECOND_US))
    assert labels(judge) == {}
    judge.hear(answer("deny", *MANY, items=(3, 9), after_us=3600 * SECOND_US))
    assert labels(judge) == {"p-1": False, "p-2": False, "p-3": True}


def test_a_no_counts_after_a_yes_and_after_the_end_and_a_yes_after_neither() -> None:
    judge = house("p-1")
    judge.hear(wish("p-1"))
    judge.hear(answer("confirm", "p-1"))
    judge.hear(answer("deny", "p-1", after_us=2 * DAY_US))
    judge.hear(answer("confirm", "p-1", after_us=3 * DAY_US))
    assert [one["fraud"] for one in judge.doors.labels] == [False, True]
    late = house("p-1")
    late.hear(wish("p-1"))
    late.heard_until(ASKED_US - NOON_US + WITHIN_US + GRACE_US)
    late.hear(answer("confirm", "p-1", after_us=2 * DAY_US))
    assert labels(late) == {}
    late.hear(answer("deny", "p-1", after_us=3 * DAY_US))
    assert labels(late) == {"p-1": True}


def test_silence_and_a_channel_that_is_none_end_it_and_teach_nothing() -> None:
    judge = house("p-1")
    judge.hear(wish("p-1"))
    judge.heard_until(ASKED_US - NOON_US + WITHIN_US + GRACE_US)
    assert judge.doors.inquired[-1]["state"] == "expired"
    gone = house("p-1")
    gone.hear(wish("p-1"))
    gone.hear(answer("confirm", "p-1", kind="unreachable", why="no_channel"))
    assert gone.doors.inquired[-1]["state"] == "unreachable"
    for one in (judge, gone):
        assert labels(one) == {}
        one.heard_until(9 * DAY_US)
        assert kinds(one, names.case(inquiry_id(("p-1",))))[-1] == "case.closed"


@pytest.mark.parametrize(
    "over",
    [
        {"delayed": True},
        {"reason": "duress"},
        {"binding": {"id": "xmpp/a", "bound": events.rfc3339(ASKED_US), "verified": True}},
    ],
)
def test_a_yes_that_would_not_count_for_a_held_payment_vouches_for_nothing(
    over: dict[str, Any],
) -> None:
    judge = house("p-1")
    judge.hear(wish("p-1"))
    judge.hear(answer("confirm", "p-1", **over))
    assert labels(judge) == {}
    assert [one["kind"] for one in judge.doors.alerts] == (["duress"] if "reason" in over else [])


def test_nobody_is_asked_twice_in_a_week_nor_a_day_after_a_question_nor_under_a_block() -> None:
    rested = house(*MANY)
    rested.hear(wish("p-1"), wish("p-2"))
    rested.hear(wish("p-2", at_us=ASKED_US + 6 * DAY_US))
    assert len(rested.doors.inquired) == 1
    rested.hear(wish("p-2", at_us=ASKED_US + 7 * DAY_US))
    assert [one["op"] for one in rested.doors.inquired] == ["inquire", "inquire"]
    asked = house("p-1")
    asked.hear(scored("p-9", 700))
    asked.hear(wish("p-1"))
    assert asked.doors.inquired == []
    blocked = house("p-1")
    blocked.hear(Spoken("cus_1", "1-0", ASKED_US, {"kind": "freeze", "customer": "cus_1"}))
    blocked.hear(wish("p-1"))
    assert blocked.doors.inquired == []


def test_what_was_not_simply_paid_is_not_asked_about() -> None:
    judge = house("p-1")
    judge.hear(scored("p-2", 950))
    judge.hear(wish("p-2", "p-1", at_us=ASKED_US + DAY_US))
    (told,) = judge.doors.inquired
    assert told["id"] == inquiry_id(("p-1",))


def test_what_was_paid_before_it_was_turned_on_cannot_be_shown_and_is_left_out() -> None:
    judge = house("p-1", "p-2")
    row = judge.scoreds.look("p-1")
    assert row is not None
    judge.scoreds.put(row._replace(paid=None))
    judge.hear(wish("p-1", "p-2"))
    (told,) = judge.doors.inquired
    assert (told["event"], len(told["payments"])) == ("p-2", 1)
    other = house("p-1")
    other.scoreds.put(row._replace(paid=None))
    other.hear(wish("p-1"))
    assert other.doors.inquired == []


def test_in_observe_mode_nobody_is_contacted() -> None:
    judge = house("p-1", mode="observe")
    judge.hear(wish("p-1"))
    assert judge.doors.inquired == []


def test_an_open_inquiry_survives_a_restart_and_leaves_once() -> None:
    judge = house("p-1")
    judge.hear(wish("p-1"))
    judge.snapshot()
    judge.start()
    judge.hear(wish("p-1"))
    assert len(judge.doors.inquired) == 1
    judge.hear(answer("deny", "p-1"))
    assert labels(judge) == {"p-1": True}


def test_it_leaves_once_whole_and_only_from_the_newest_flow(client: "redis.Redis") -> None:
    doors = RedisEffects(client, 1, 600, lambda: NOON_US)
    label = {"id": "l", "event": "p-1", "fraud": True, "source": "customer"}
    one = Inquired("r", [{"rid": "r/inquiry.answered"}], {"op": "inquired"}, [{"event": "p"}],
                   [label, {**label, "event": "p-2"}])  # fmt: skip
    client.hset("rb:labelled:p-2", "rank", 3)
    doors.inquire(one)
    doors.inquire(one)
    read: Any = client.xrange
    found = {
        name: [orjson.loads(entry[field.encode()]) for _, entry in read(name)]
        for name, field in (
            (names.AUDIT, "records"),
            (names.CHALLENGES, "challenge"),
            (names.ALERTS, "alert"),
            (names.LABELS, "label"),
        )
    }
    assert found[names.AUDIT] == [one.records]
    assert found[names.CHALLENGES] == [one.told]
    assert found[names.ALERTS] == one.alerts
    assert found[names.LABELS] == [label, {**label, "event": "p-2", "outranked": True}]
    client.set(names.GENERATION, 2)
    with pytest.raises(Fenced):
        doors.inquire(one._replace(rid="other"))


def test_a_payment_was_made_if_it_was_approved_at_once(client: "redis.Redis") -> None:
    doors = RedisEffects(client, 1, 600, lambda: NOON_US)
    for event, decision in (("p-1", "approve"), ("p-2", "challenge")):
        client.set(names.decision(event), orjson.dumps({"event": event, "decision": decision}))
    assert doors.made(["p-1", "p-2", "p-3"]) == [True, False, False]
    assert doors.made([]) == []
