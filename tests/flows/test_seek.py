"""Does the stage that seeks choose the same whatever is batched how, and go on after a crash?"""

from dataclasses import replace
from typing import Any

from flows.scored import Row
from flows.seek import SeekLogic, SeekStage, paid
from flows.walk import HeardUntil, Scored, Wished
from risk.labels import Known
from risk.seek import DAY_US, Seeking
from tests.flows.facts import NOON_US, scored

HOUR_US = DAY_US // 24
SEEKING = Seeking(per_day=5, reviews=2, follow_ups=3, after_denial=2, popular=4)


def payment(number: int, customer: str, payee: str = "acc_bad", **over: Any) -> Scored:
    at_us = NOON_US + number * HOUR_US
    where = {"customer": customer, "payee": payee, "time_us": at_us, "position": number}
    return scored(f"p-{number}", **{**where, **over})


def said(fact: Scored, fraud: bool, position: int, source: str = "customer") -> Known:
    moment = fact.moment
    return Known(
        id=f"l-{position}",
        event=moment.id,
        fraud=fraud,
        source=source,
        known_us=NOON_US + position * HOUR_US,
        event_time_us=moment.time_us,
        customer=moment.customer,
        payee=moment.payee,
        device=moment.device,
        ip=None,
        partition=0,
        position=position,
        teaches=True,
        features={},
        terminal=moment.terminal,
    )


def asked(wishes: list[Wished]) -> list[tuple[str, ...]]:
    return [tuple(one.event for one in wish.payments) for wish in wishes]


def wished(logic: SeekLogic, *facts: Scored | Known | HeardUntil) -> list[Wished]:
    return logic.on_batch(list(facts))[0]


def test_a_denial_wishes_for_the_other_customers_of_the_payee_the_terminal_and_the_device() -> None:
    places = {"terminal": "ter_1", "device": "dev_1"}
    first = payment(0, "cus_a", "acc_1", terminal="ter_1")
    second = payment(1, "cus_b", "acc_2", device="dev_1")
    third = payment(2, "cus_c", "acc_3")
    denied = payment(3, "cus_d", "acc_4", **places)
    logic = SeekStage(SEEKING).logic(None)
    wishes = wished(logic, first, second, third, denied, said(denied, True, 4))
    assert asked(wishes) == [("p-0",), ("p-1",)]
    assert {(one.why, one.about) for one in wishes} == {("after_denial", "p-3")}
    assert [one.customer for one in wishes] == ["cus_a", "cus_b"]


def test_a_payee_of_many_is_left_alone_and_so_is_what_officers_know() -> None:
    logic = SeekStage(SEEKING).logic(None)
    many = [payment(number, f"cus_{number}") for number in range(5)]
    assert wished(logic, *many, said(many[4], True, 5)) == []
    few = [payment(number, f"cus_{number}", "acc_few") for number in range(6, 9)]
    told = (said(few[0], True, 9, "officer"), said(few[2], True, 10))
    assert asked(wished(logic, *few, *told)) == [("p-7",)]


def test_a_new_day_wishes_for_reviews_and_the_first_mark_only_sets_the_clock() -> None:
    logic = SeekStage(SEEKING).logic(None)
    rows = [payment(number, f"cus_{number % 3}", f"acc_{number}") for number in range(6)]
    assert wished(logic, HeardUntil(0, NOON_US), *rows) == []
    assert wished(logic, HeardUntil(0, NOON_US + 6 * HOUR_US)) == []
    reviews = wished(logic, HeardUntil(0, NOON_US + DAY_US))
    assert [one.why for one in reviews] == ["review", "review"]
    assert asked(reviews) == [("p-5", "p-2"), ("p-4", "p-1")]
    assert wished(logic, HeardUntil(0, NOON_US + DAY_US + 1)) == []


def test_nobody_is_asked_at_night_and_reviews_wait_for_the_morning() -> None:
    by_day = replace(SEEKING, from_us=8 * HOUR_US, until_us=20 * HOUR_US)
    logic = SeekStage(by_day).logic(None)
    rows = [payment(number, f"cus_{number}") for number in range(4)]
    wished(logic, HeardUntil(0, NOON_US), *rows)
    night = said(rows[3], True, 10)  # ten hours after noon
    assert wished(logic, night, HeardUntil(0, NOON_US + 12 * HOUR_US)) == []
    assert wished(logic, HeardUntil(0, NOON_US + 19 * HOUR_US)) == []
    assert len(wished(logic, HeardUntil(0, NOON_US + 20 * HOUR_US))) == 2
    late = SeekStage(by_day).logic(None)  # it was down in the morning: it waits for the next one
    wished(late, HeardUntil(0, NOON_US), *rows)
    assert wished(late, HeardUntil(0, NOON_US + 35 * HOUR_US)) == []
    assert len(wished(late, HeardUntil(0, NOON_US + 44 * HOUR_US))) == 2


def test_over_a_file_no_batching_changes_what_is_wished_for() -> None:
    rows = [payment(number, f"cus_{number}") for number in range(4)]
    facts: list[Any] = [
        *rows,
        HeardUntil(0, NOON_US, 2),
        HeardUntil(0, NOON_US + DAY_US, 5),
        said(rows[3], True, 4),
        payment(5, "cus_9", "acc_2"),
    ]
    whole = wished(SeekStage(SEEKING, sequenced=True).logic(None), *facts)
    assert [one.why for one in whole] == ["after_denial", "after_denial", "review"]
    logic = SeekStage(SEEKING, sequenced=True).logic(None)
    parts = [wish for fact in (*facts[4:7], *facts[:4], facts[7]) for wish in wished(logic, fact)]
    assert parts == whole


def test_it_goes_on_from_the_cut_with_the_payments_of_the_store() -> None:
    rows = [payment(number, f"cus_{number}") for number in range(4)]
    heard = said(rows[3], True, 5)
    logic = SeekStage(SEEKING).logic(None)
    wished(logic, *rows)
    kept = logic.snapshot()
    expected = wished(logic, heard)
    since: list[int] = []

    def past(since_us: int) -> list[Row]:
        since.append(since_us)
        told = [paid(one.moment) for one in rows]
        return [
            Row(one.event, one.time_us, one.customer, "acc_bad", None, None, {}) for one in told
        ]

    again = SeekStage(SEEKING, past).logic(kept)
    assert since == [rows[3].moment.time_us - SEEKING.look_back_us]
    # What the cut had not seen comes once more, and counts once.
    assert wished(again, *rows, heard) == expected
    assert asked(expected) == [("p-2",), ("p-1",)]
    assert asked(wished(again, heard)) == [("p-0",)]
