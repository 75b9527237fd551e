"""Does the judge ask, hear, end and teach as it should, whatever comes twice or too early?"""

from typing import Any

import orjson
import pytest

from flows.due import CASE_REST_US, Due, load_kept
from flows.judge import GRACE_US, challenge_id
from flows.walk import HeardUntil
from risk import events, names
from risk.challenge import Conversation
from risk.events import Moment
from risk.rules import Rule, read_rules
from tests.flows.facts import NOON_US, SECOND_US, Judge, scored, spoken

DEADLINE_US = 120 * SECOND_US


def _asked(**of_policy: Any) -> Judge:
    judge = Judge(**of_policy)
    (decision,) = judge.hear(scored(score=700))
    assert decision["decision"] == "challenge"
    return judge


def _status(event: str = "p-1", ident: str = "s-1", customer: str = "cus_1") -> Any:
    return scored(
        ident,
        type="status",
        refers_to=event,
        state="cancelled",
        customer=customer,
        accepted_us=NOON_US + SECOND_US,
        amount=None,
        currency=None,
        amount_base=None,
        payee=None,
        payee_sealed=None,
    )


def _rule(action: str, threshold: float) -> Rule:
    name = "customer.mean.amount.24h"
    when = [{"value": name, "operator": ">=", "threshold": threshold}]
    rows = [{"id": "mean", "when": when, "action": action}]
    return read_rules({"version": 1, "rules": rows}, {name})[0]


# --- asking ---------------------------------------------------------------------------------


def test_an_unsuspicious_payment_is_approved_and_its_case_closed() -> None:
    judge = Judge()
    (decision,) = judge.hear(scored(score=100))
    assert (decision["decision"], decision["score"], decision["reasons"]) == ("approve", 100, [])
    assert "challenge" not in decision
    assert judge.doors.asked == []
    assert [row["kind"] for row in judge.doors.records] == [
        "features",
        "score",
        "decision",
        "case.closed",
    ]
    assert judge.scoreds.has("p-1")


def test_a_suspicious_payment_is_asked_about_in_plain_values() -> None:
    judge = _asked()
    (ask,) = judge.doors.asked
    decision = judge.doors.decisions["p-1"]
    assert decision["challenge"] == {"id": ask["id"], "expires": ask["expires"]}
    assert ask["id"] == challenge_id("p-1")
    assert (ask["amount"], ask["currency"], ask["payee"]) == ("9800.00", "CNY", "s1.sealed")
    assert events.parse_us(ask["expires"]) == NOON_US + DEADLINE_US
    assert (ask["customer"], ask["case"]) == ("cus_1", "case-p-1")
    assert len(ask["nonce"]) == 32
    kinds = [row["kind"] for row in judge.doors.records]
    assert kinds[-1] == "challenge.created"
    assert "case.closed" not in kinds


def test_an_event_s_question_has_one_id_and_one_nonce_for_ever() -> None:
    assert challenge_id("p-1") == "ch_eo7y7kd3gf64g2laakaqm"
    assert _asked().doors.asked[0]["nonce"] == _asked().doors.asked[0]["nonce"]
    assert challenge_id("p-1") != challenge_id("p-2")


def test_two_payments_of_one_customer_in_one_batch_see_each_other_s_question() -> None:
    judge = Judge(open_at_once=1)
    told = judge.hear(
        scored("p-2", 700, time_us=NOON_US + 2),
        scored("p-1", 700, time_us=NOON_US + 1),
        scored("p-3", 700, time_us=NOON_US + 3, customer="cus_2"),
    )
    by_event = {row["event"]: row["decision"] for row in told}
    assert by_event == {"p-1": "challenge", "p-2": "review", "p-3": "challenge"}


def test_a_batch_is_judged_in_the_order_of_event_time() -> None:
    judge = Judge(asked_per_day=2, open_at_once=9)
    batch = [scored(f"p-{n}", 700, time_us=NOON_US + n) for n in (4, 1, 3, 2)]
    judge.hear(*batch)
    asked = [row["event"] for row in judge.doors.asked]
    assert asked == ["p-1", "p-2"]


def test_a_login_is_never_asked_about() -> None:
    judge = Judge()
    (decision,) = judge.hear(
        scored(score=700, type="login", amount=None, currency=None, amount_base=None)
    )
    assert decision["decision"] == "review"
    assert judge.doors.asked == []


def test_observing_decides_and_records_but_approves_and_contacts_nobody() -> None:
    judge = Judge(mode="observe")
    (decision,) = judge.hear(scored(score=700))
    assert decision["decision"] == "approve"
    assert decision["would"]["decision"] == "challenge"
    assert judge.doors.asked == []
    assert judge.doors.records[-1]["kind"] == "case.closed"
    judge.heard_until(DEADLINE_US + GRACE_US)
    assert judge.doors.outcomes == {}


def test_backfilling_decides_nothing_and_keeps_what_was_scored() -> None:
    judge = Judge(mode="backfill")
    judge.hear(scored(score=999))
    assert judge.doors.decisions == {}
    assert judge.doors.records == []
    assert judge.scoreds.has("p-1")


# --- hearing --------------------------------------------------------------------------------


def test_a_confirm_ends_the_question_and_teaches_that_it_was_honest() -> None:
    judge = _asked()
    judge.hear(spoken("confirm"))
    outcome = judge.doors.outcomes["p-1"]
    assert (outcome["state"], outcome["decision"]) == ("confirmed", "approve")
    assert outcome["by"] == {"type": "customer", "id": "cus_1"}
    assert [row["fraud"] for row in judge.doors.labels] == [False]
    assert judge.doors.alerts == []
    assert [row["state"] for row in judge.doors.closed] == ["confirmed"]
    assert judge.doors.records[-1]["kind"] == "outcome"


def test_a_case_is_closed_once_the_closing_message_has_had_its_time() -> None:
    judge = _asked()
    judge.hear(spoken("confirm"))
    answered_us = events.parse_us(judge.doors.outcomes["p-1"]["at"]) - NOON_US
    judge.heard_until(answered_us + CASE_REST_US + GRACE_US - 1)
    assert judge.doors.records[-1]["kind"] == "outcome"
    for _ in range(2):
        judge.heard_until(answered_us + CASE_REST_US + GRACE_US)
    assert [row["kind"] for row in judge.doors.records].count("case.closed") == 1


def test_a_deny_ends_the_question_teaches_fraud_and_alarms() -> None:
    judge = _asked()
    judge.hear(spoken("deny"))
    assert judge.doors.outcomes["p-1"]["decision"] == "decline"
    (label,) = judge.doors.labels
    assert (label["event"], label["fraud"], label["source"]) == ("p-1", True, "customer")
    assert [row["kind"] for row in judge.doors.alerts] == ["denied"]


def test_a_cancel_declines_and_teaches_nothing() -> None:
    judge = _asked()
    judge.hear(spoken("deny", reason="cancel"))
    assert judge.doors.outcomes["p-1"]["decision"] == "decline"
    assert judge.doors.labels == []


def test_a_question_and_its_answer_may_come_in_one_batch() -> None:
    judge = Judge()
    judge.hear(spoken("confirm"), scored(score=700))
    assert judge.doors.outcomes["p-1"]["state"] == "confirmed"


def test_an_answer_that_overtakes_its_question_is_held_and_then_counts() -> None:
    judge = Judge()
    judge.hear(spoken("deny"))
    assert judge.doors.records == []
    judge.hear(scored(score=700))
    assert judge.doors.outcomes["p-1"]["state"] == "denied"


def test_a_held_answer_outlives_a_crash() -> None:
    judge = Judge()
    judge.hear(spoken("deny"))
    judge.snapshot()
    judge.start()
    judge.hear(scored(score=700))
    assert judge.doors.outcomes["p-1"]["state"] == "denied"


def test_word_that_nobody_could_be_reached_ends_in_review_even_before_the_question() -> None:
    for early in (True, False):
        judge = Judge()
        gone = spoken("confirm", kind="unreachable", why="no bound channel")
        for fact in (gone, scored(score=700)) if early else (scored(score=700), gone):
            judge.hear(fact)
        outcome = judge.doors.outcomes["p-1"]
        assert (outcome["state"], outcome["decision"]) == ("unreachable", "review")
        assert outcome["by"] == {"type": "notifier", "id": "notifier"}
        assert judge.doors.labels == []
        assert judge.doors.records[-1]["kind"] == "outcome"


@pytest.mark.parametrize(
    ("second", "verdict"), [("confirm", "duplicate"), ("deny", "contradicted")]
)
def test_what_is_said_after_a_confirm_is_recorded_and_only_a_contradiction_alarms(
    second: str, verdict: str
) -> None:
    judge = _asked()
    judge.doors.fetched.add("p-1")
    judge.hear(spoken("confirm"))
    judge.hear(spoken(second, after_us=2 * SECOND_US))
    record = judge.doors.records[-1]
    assert record["body"]["verdict"] == verdict
    assert judge.doors.outcomes["p-1"]["state"] == "confirmed"
    assert [row["kind"] for row in judge.doors.alerts] == (
        ["contradicted"] if verdict == "contradicted" else []
    )


def test_a_confirm_above_the_limit_needs_a_signature_and_the_question_stays() -> None:
    judge = _asked(unsigned_limit=100)
    judge.hear(spoken("confirm"))
    assert judge.doors.outcomes == {}
    assert judge.doors.records[-1]["body"]["verdict"] == "unsigned"
    judge.hear(spoken("confirm", strength="signed", after_us=2 * SECOND_US))
    assert judge.doors.outcomes["p-1"]["state"] == "confirmed"


def test_a_question_says_whether_a_confirm_must_be_signed() -> None:
    assert _asked().doors.asked[0]["must_sign"] is False
    assert _asked(unsigned_limit=979_999).doors.asked[0]["must_sign"] is True
    judge = _asked(unsigned_limit=1_500_000)
    judge.hear(spoken("confirm"))
    judge.hear(scored("p-2", 700))
    assert [ask["must_sign"] for ask in judge.doors.asked] == [False, True]


@pytest.mark.parametrize(
    ("over", "say"),
    [
        ({"unsigned_limit": 100, "binding_wait_us": 0}, "unsigned"),
        ({"binding_wait_us": 10 * SECOND_US}, "fresh"),
    ],
)
def test_who_confirms_in_vain_is_told_why_and_the_question_stays_open(
    over: dict[str, int], say: str
) -> None:
    judge = _asked(**over)
    bound = {"id": "xmpp/jid_2", "bound": events.rfc3339(NOON_US), "verified": True}
    judge.hear(spoken("confirm", binding=bound))
    (notice,) = judge.doors.notices
    assert (notice["op"], notice["say"], notice["channel"]) == ("notice", say, "xmpp")
    assert notice["id"] == challenge_id("p-1")
    assert judge.doors.outcomes == {}
    judge.hear(spoken("deny", after_us=2 * SECOND_US, binding=bound))
    assert judge.doors.outcomes["p-1"]["state"] == "denied"


# --- contradiction, freeze, duress -----------------------------------------------------------


def test_a_contradiction_before_the_caller_has_fetched_the_confirm_declines() -> None:
    judge = _asked()
    judge.hear(spoken("confirm"))
    judge.hear(spoken("deny", after_us=2 * SECOND_US))
    outcome = judge.doors.outcomes["p-1"]
    assert (outcome["state"], outcome["decision"]) == ("denied", "decline")
    assert outcome["was"] == "confirmed"
    assert "declined now" in judge.doors.alerts[-1]["text"]
    assert [row["fraud"] for row in judge.doors.labels] == [False, True]
    assert judge.doors.notices[-1]["say"] == "contradicted"
    kinds = [row["kind"] for row in judge.doors.records[-2:]]
    assert kinds == ["answer.contradicted", "outcome"]
    judge.heard_until(10 * DEADLINE_US)
    assert "case.closed" not in [row["kind"] for row in judge.doors.records]  # officers do


def test_a_contradiction_after_the_caller_has_fetched_it_asks_to_recall_the_payment() -> None:
    judge = _asked()
    judge.hear(spoken("confirm"))
    judge.doors.fetched.add("p-1")
    judge.hear(spoken("deny", reason="cancel", after_us=2 * SECOND_US))
    outcome = judge.doors.outcomes["p-1"]
    assert (outcome["state"], outcome["decision"]) == ("confirmed", "approve")
    assert outcome["contradicted"]
    assert "recall the payment" in judge.doors.alerts[-1]["text"]
    assert len(judge.doors.labels) == 1


def test_a_crash_between_confirm_and_contradiction_freezes_all_the_same() -> None:
    judge = _asked()
    judge.snapshot()
    judge.hear(spoken("confirm"), spoken("deny", after_us=2 * SECOND_US))
    judge.start()  # as of before the confirm; both are read again
    judge.hear(spoken("confirm"), spoken("deny", after_us=2 * SECOND_US))
    assert judge.doors.outcomes["p-1"]["state"] == "denied"
    assert [row["kind"] for row in judge.doors.alerts] == ["contradicted"]
    judge.hear(scored("p-2", 700), spoken("confirm", "p-2", after_us=3 * SECOND_US))
    assert judge.doors.records[-1]["body"]["verdict"] == "frozen"


def test_freeze_blocks_at_once_in_a_case_of_its_own_until_the_bank_lifts_it() -> None:
    judge = _asked()
    judge.hear(spoken(kind="freeze", challenge=None))
    assert judge.doors.outcomes["p-1"]["decision"] == "decline"
    assert judge.doors.alerts[-1]["kind"] == "freeze"
    opened = next(row for row in judge.doors.records if row["kind"] == "case.opened")
    assert opened["class"] == opened["body"]["class"] == "rc10y"
    assert opened["case"].startswith("case-freeze-")
    (decision,) = judge.hear(scored("p-2", 10))
    assert decision["decision"] == "decline"
    assert decision["reasons"][-1]["code"] == "customer_blocked"
    judge.hear(spoken(kind="unfreeze", after_us=3 * SECOND_US))
    (decision,) = judge.hear(scored("p-3", 10))
    assert decision["decision"] == "approve"


def test_under_duress_all_that_the_customer_sees_is_as_ever() -> None:
    told = []
    for reason in (None, "duress"):
        judge = _asked()
        judge.hear(spoken("confirm", reason=reason))
        judge.hear(spoken("confirm", after_us=2 * SECOND_US))
        judge.hear(scored("p-2", 10))
        told.append((judge, orjson.dumps([judge.doors.closed, judge.doors.notices])))
    (plain, seen), (forced, seen_too) = told
    assert seen == seen_too
    assert plain.doors.outcomes["p-1"]["decision"] == "approve"
    held = forced.doors.outcomes["p-1"]
    assert (held["state"], held["decision"]) == ("confirmed", "review")
    assert "duress" not in orjson.dumps(held).decode()
    assert [row["kind"] for row in forced.doors.alerts] == ["duress"]
    assert forced.doors.labels == []  # neither honest nor fraud: an officer will say
    ended = [row for row in forced.doors.records if row["kind"] == "outcome"]
    assert [row["body"].get("duress") for row in ended] == [True]


def test_duress_that_brings_no_outcome_alarms_all_the_same() -> None:
    judge = _asked(unsigned_limit=100)
    judge.hear(spoken("confirm", reason="duress"))
    assert judge.doors.outcomes == {}
    assert [row["kind"] for row in judge.doors.alerts] == ["duress"]
    assert [row["say"] for row in judge.doors.notices] == ["unsigned"]


# --- deadlines ------------------------------------------------------------------------------


def test_a_question_expires_only_once_everybody_was_heard_past_deadline_and_grace() -> None:
    judge = _asked()
    judge.now_us = NOON_US + 10 * DEADLINE_US  # the wall clock ends nothing
    judge.heard_until(DEADLINE_US + GRACE_US - 1)
    assert judge.doors.outcomes == {}
    judge.heard_until(DEADLINE_US + GRACE_US)
    outcome = judge.doors.outcomes["p-1"]
    assert (outcome["state"], outcome["decision"]) == ("expired", "decline")
    assert events.parse_us(outcome["at"]) == NOON_US + DEADLINE_US
    assert judge.doors.labels == []


def test_an_answer_received_in_time_counts_though_it_is_read_with_the_mark() -> None:
    judge = _asked()
    judge.hear(
        HeardUntil(0, NOON_US + DEADLINE_US + GRACE_US),
        spoken("confirm", after_us=DEADLINE_US - 1),
    )
    assert judge.doors.outcomes["p-1"]["state"] == "confirmed"


def test_a_late_confirm_is_recorded_and_changes_nothing() -> None:
    judge = _asked()
    judge.heard_until(DEADLINE_US + GRACE_US)
    judge.hear(spoken("confirm", after_us=DEADLINE_US + 5))
    assert judge.doors.outcomes["p-1"]["state"] == "expired"
    assert judge.doors.records[-1]["body"]["verdict"] == "late"


def test_a_deadline_outlives_a_crash_and_fires_once() -> None:
    judge = _asked()
    judge.snapshot()
    judge.start()
    for _ in range(2):
        judge.heard_until(DEADLINE_US + GRACE_US)
    assert [row["state"] for row in judge.doors.closed] == ["expired"]


def test_an_answered_question_has_no_deadline_any_more() -> None:
    judge = _asked()
    judge.hear(spoken("confirm"))
    judge.snapshot()
    due = load_kept(judge.store.load("judge", 0, ["~due"])[0] or b"")
    assert isinstance(due, Due)
    assert list(due.rows) == ["case:p-1"]
    judge.heard_until(10 * DEADLINE_US)
    assert len(judge.doors.closed) == 1


# --- the bank ends it -----------------------------------------------------------------------


def test_a_cancelled_payment_withdraws_its_question() -> None:
    judge = _asked()
    judge.hear(_status())
    outcome = judge.doors.outcomes["p-1"]
    assert (outcome["state"], outcome["decision"], outcome["by"]["type"]) == (
        "withdrawn",
        "decline",
        "bank",
    )
    judge.hear(spoken("confirm"))
    assert judge.doors.records[-1]["body"]["verdict"] == "late"


def test_a_cancellation_that_overtakes_its_payment_is_held() -> None:
    judge = Judge()
    judge.hear(_status())
    judge.hear(scored(score=700))
    assert judge.doors.outcomes["p-1"]["state"] == "withdrawn"


def test_a_status_of_another_customer_s_payment_withdraws_nothing() -> None:
    judge = _asked()
    judge.hear(_status(customer="cus_2"))
    assert judge.doors.outcomes == {}


# --- replays and the fail policy ------------------------------------------------------------


def test_a_replay_carries_the_recorded_decision_and_its_features_on() -> None:
    judge = _asked()
    judge.start()  # nothing was snapshotted: the event is read again
    again = scored(score=100)
    again.features["customer.count.1h"] = 99
    (decision,) = judge.hear(again)
    assert decision["decision"] == "challenge"
    assert decision["score"] == 700
    assert again.features["customer.count.1h"] == 1
    row = judge.scoreds.get("p-1")
    assert row is not None
    assert row.features["customer.count.1h"] == 1
    assert len(judge.doors.asked) == 1
    judge.hear(spoken("confirm"))
    assert judge.doors.outcomes["p-1"]["state"] == "confirmed"


def test_a_replayed_answer_finds_the_recorded_outcome_and_ends_it_no_second_time() -> None:
    judge = _asked()
    judge.snapshot()
    judge.hear(spoken("confirm"))
    judge.start()
    judge.hear(spoken("confirm"))
    assert len(judge.doors.closed) == 1
    assert len(judge.doors.labels) == 1
    judge.hear(spoken("deny", after_us=2 * SECOND_US))
    assert judge.doors.records[-2]["body"]["verdict"] == "contradicted"


def test_a_recorded_outcome_stands_against_what_a_replay_would_make_of_it() -> None:
    judge = _asked()
    judge.doors.outcomes["p-1"] = {"state": "denied", "decision": "decline"}
    judge.hear(spoken("confirm"))
    judge.hear(spoken("deny", after_us=2 * SECOND_US))
    assert judge.doors.records[-1]["body"]["verdict"] == "duplicate"
    assert judge.doors.closed == []


def test_after_a_fail_open_the_flow_s_word_is_late_and_no_question_is_asked() -> None:
    judge = Judge()
    failed = {
        "event": "p-1",
        "decision": "approve",
        "degraded": {"policy": "fail-open", "skipped": []},
        "decided": events.rfc3339(NOON_US),
    }
    judge.doors.decisions["p-1"] = failed
    (decision,) = judge.hear(scored(score=700))
    assert decision == failed
    assert judge.doors.asked == []
    late = judge.doors.lates["p-1"]
    assert (late["decision"], late["late"]) == ("challenge", True)
    assert "challenge" not in late
    assert [row["kind"] for row in judge.doors.alerts] == ["late"]
    kinds = [row["kind"] for row in judge.doors.records]
    assert "escalation" in kinds
    assert "decision" not in kinds
    assert "challenge.created" not in kinds
    judge.heard_until(10 * DEADLINE_US)
    assert judge.doors.outcomes == {}


@pytest.mark.parametrize(("failed", "score"), [("decline", 700), ("approve", 100)])
def test_a_late_word_that_would_have_stopped_nothing_is_no_alarm(failed: str, score: int) -> None:
    judge = Judge()
    judge.doors.decisions["p-1"] = {
        "event": "p-1",
        "decision": failed,
        "degraded": {"policy": "x"},
        "reasons": [],
    }
    judge.hear(scored(score=score))
    assert "p-1" in judge.doors.lates
    assert "late" not in [alert["kind"] for alert in judge.doors.alerts]


@pytest.mark.parametrize(("score", "kind"), [(999, ["declined"]), (700, []), (5, [])])
def test_each_decline_alarms_the_officers(score: int, kind: list[str]) -> None:
    judge = Judge()
    judge.hear(scored(score=score))
    assert [alert["kind"] for alert in judge.doors.alerts] == kind


# --- what is kept and recorded --------------------------------------------------------------


def _floats(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for inner in value.values() for one in _floats(inner)]
    if isinstance(value, list | tuple):
        return [one for inner in value for one in _floats(inner)]
    return [value] if isinstance(value, float) else []


def test_no_record_holds_a_float_and_every_record_has_its_own_name() -> None:
    judge = Judge(_rule("challenge", 0.5))
    judge.hear(scored("p-1", 700, lat=1.5, lon=2.5), scored("p-2", 950), scored("p-3", 10))
    judge.doors.decisions["p-4"] = {"event": "p-4", "decision": "approve", "degraded": {"a": "b"}}
    judge.hear(scored("p-4", 950, customer="cus_4"))
    judge.hear(spoken("confirm"), spoken("deny", after_us=2 * SECOND_US))
    judge.heard_until(10 * DEADLINE_US)
    records = judge.doors.records
    kinds = {row["kind"] for row in records}
    assert {"features", "score", "rule.hits", "decision", "challenge.created"} <= kinds
    assert {"outcome", "case.closed", "answer.contradicted", "escalation"} <= kinds
    assert _floats(records) == []
    names_of = [row["rid"] for row in records]
    assert len(set(names_of)) == len(names_of)
    features = next(row for row in records if row["kind"] == "features")
    assert features["body"]["values"]["customer.mean.amount.24h"] == "12.5"
    for row in records:
        assert row["tenant"] == "main"
        assert row["case"] in {names.case(row["event"]), None}
        orjson.dumps(row)


def test_a_replay_makes_the_same_names_of_records_again() -> None:
    told = []
    for _ in range(2):
        judge = _asked()
        judge.hear(spoken("deny"), spoken("deny", after_us=2 * SECOND_US))
        told.append([row["rid"] for row in judge.doors.records])
    assert told[0] == told[1]


def test_the_payee_in_clear_is_in_no_record() -> None:
    judge = _asked()
    created = judge.doors.records[-1]
    assert created["personal"] == {"payee": {"subject": "acc_1", "sealed": "s1.sealed"}}
    assert "payee" not in created["body"]


def test_what_a_shard_keeps_is_a_conversation_or_its_deadlines() -> None:
    due = Due({"ch_1": (5, "cus_1")})
    back = load_kept(due.dump())
    assert isinstance(back, Due)
    assert back.rows == due.rows
    assert isinstance(load_kept(Conversation().dump()), Conversation)


def test_facts_go_to_the_shard_of_their_customer() -> None:
    judge = Judge()
    judge.stage.shards = 16
    one, answer = scored(), spoken()
    assert judge.stage.route(one) == judge.stage.route(answer)
    assert judge.stage.route(HeardUntil(7, 0)) == "007"
    moments = {judge.stage.route(scored(customer=f"cus_{n}")) for n in range(200)}
    assert len(moments) == 16
    assert isinstance(one.moment, Moment)


def test_a_shard_that_saw_nothing_keeps_the_version_of_the_cut() -> None:
    judge = Judge()
    judge.version = 7
    judge.start()
    assert judge.shard.snapshot() == 7


# --- the asking budget ----------------------------------------------------------------------


def test_an_asking_budget_moves_its_bar_and_stands_where_the_cut_stood() -> None:
    judge = Judge(steps=(), customers_share=0.1)
    told = judge.hear(*(scored(f"p-{n}", 20 * n, customer=f"cus_{n}") for n in range(40)))
    asked = [row["score"] for row in told if row["decision"] == "challenge"]
    assert asked
    assert asked == sorted(asked)
    assert all(
        row["reasons"][0]["code"] == "asking_budget" for row in told if row["score"] in asked
    )
    judge.snapshot()
    (stored,) = judge.store.load("judge", 0, ["~due"])
    due = load_kept(stored or b"")
    assert isinstance(due, Due)
    assert due.budget is not None
    stands = judge.shard.hearing.due().budget
    assert stands is not None
    assert due.budget.state() == stands.state()


def test_one_answer_about_a_card_payment_settles_the_next_of_the_kind() -> None:
    for word, settled in (("confirm", "approve"), ("deny", "review")):
        judge = Judge(rest_us=3600 * SECOND_US)
        judge.hear(scored("p-1", 700, kind="card"))
        judge.hear(spoken(word))
        later = {"time_us": NOON_US + 9 * SECOND_US, "accepted_us": NOON_US + 9 * SECOND_US}
        judge.now_us = NOON_US + 9 * SECOND_US
        (card,) = judge.hear(scored("p-2", 700, kind="card", **later))
        (transfer,) = judge.hear(scored("p-3", 700, kind="transfer", **later))
        assert (card["decision"], transfer["decision"]) == (settled, "challenge")
        word_then = judge.shard.hearing.conversation(scored("p-1", 700).moment.customer).word
        assert word_then is not None
        assert word_then.passed_base == (word_then.amount_base if word == "confirm" else 0)
