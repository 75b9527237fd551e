"""One answer settles an afternoon of shopping, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.challenge import Answer, Asked, Conversation, Outcome
from risk.lists import FORCE, Entry, Lists
from risk.policy import judge, read_policy
from risk.rest import AS_DEAR, TOGETHER, Word, rested
from tests.risk import payments
from tests.risk.payments import NOON_US, payment
from tests.risk.test_policy import DOCUMENT, _rule

HOUR_US = 3_600_000_000
REST_US = 12 * HOUR_US
ASKS = _rule("asks", "challenge")
REVIEWS = _rule("reviews", "review")


def _answered(decision: str, reason: str | None = None, *, rests: bool = True) -> Conversation:
    """A customer who answered an hour ago, about 100.00."""
    at_us = NOON_US - HOUR_US
    kept = Conversation()
    kept.ask(Asked("ch_1", "e_1", at_us - 1, at_us + 1, 10_000, rests))
    kept.hear(Answer("ch_1", decision, reason, "A", "app", at_us, False, "1-1"))
    return kept


def _judged(
    kept: Conversation,
    *rules: Any,
    rest_us: int = REST_US,
    unsigned_limit: int | None = None,
    **of_event: Any,
) -> Any:
    of_event = {"kind": "card", "amount_base": 10_000} | of_event
    asked = payments.rule_set(*(rules or (ASKS,)), rest_us=rest_us, unsigned_limit=unsigned_limit)
    return judge(payment(**of_event), {"f": 1}, {"score": 0, "anomaly": None}, asked, kept, NOON_US)


def _codes(judged: Any) -> list[str]:
    return [one["code"] for one in judged.reasons]


def test_who_confirmed_a_card_payment_is_not_asked_about_the_next() -> None:
    judged = _judged(_answered("confirm"))
    assert judged.outcome == "approve"
    assert _codes(judged) == ["asks", "confirmed_lately"]
    assert judged.given["word"] == [HOUR_US, 10_000, 1, 0]


def test_what_passes_by_one_word_is_bounded_together() -> None:
    kept, passed = _answered("confirm"), 0
    while "confirmed_lately" in _codes(_judged(kept, amount_base=30_000)):
        kept.passes(30_000, NOON_US)
        passed += 30_000
    assert passed == 90_000 <= TOGETHER * 10_000 < passed + 30_000
    assert _judged(kept, amount_base=30_000).outcome == "challenge"
    assert _judged(kept, amount_base=10_000).outcome == "approve"
    assert Conversation.load(kept.dump()) == kept


def test_what_would_have_to_be_signed_does_not_pass_by_a_word() -> None:
    kept = _answered("confirm")
    assert kept.unsigned_spent(NOON_US) == 10_000
    assert _judged(kept, unsigned_limit=20_000).outcome == "approve"
    kept.passes(10_000, NOON_US)
    assert kept.unsigned_spent(NOON_US) == 20_000
    assert _judged(kept, unsigned_limit=20_000).outcome == "challenge"


def test_who_denied_one_is_not_asked_and_an_officer_looks() -> None:
    judged = _judged(_answered("deny", "not_me"))
    assert judged.outcome == "review"
    assert _codes(judged) == ["asks", "denied_lately"]


@pytest.mark.parametrize(
    "of_event",
    [
        {"kind": "transfer"},
        {"kind": None},
        {"amount_base": AS_DEAR * 10_000 + 1},
        {"amount_base": None},
    ],
)
def test_what_the_word_does_not_cover_is_asked_about(of_event: dict[str, Any]) -> None:
    judged = _judged(_answered("confirm"), **of_event)
    assert judged.outcome == "challenge"
    assert "confirmed_lately" not in _codes(judged)


def test_a_policy_without_rest_asks_each_time() -> None:
    assert _judged(_answered("confirm"), rest_us=0).outcome == "challenge"
    assert read_policy(DOCUMENT, "CNY").rest_us == 0
    asking = {**DOCUMENT["asking"], "rest_after_answer_hours": 12}
    assert read_policy({**DOCUMENT, "asking": asking}, "CNY").rest_us == REST_US


def test_a_word_about_another_kind_or_none_at_all_settles_nothing() -> None:
    assert _judged(_answered("confirm", rests=False)).outcome == "challenge"
    assert _judged(_answered("deny", "cancel")).outcome == "challenge"
    assert _judged(Conversation()).outcome == "challenge"


def test_what_is_due_anyway_is_no_milder_after_a_confirm() -> None:
    assert _judged(_answered("confirm"), ASKS, REVIEWS).outcome == "review"
    assert _judged(_answered("confirm"), _rule("no", "decline")).outcome == "decline"


def test_a_confirm_under_duress_settles_nothing_nor_does_an_earlier_one() -> None:
    assert _answered("confirm", "duress").word is None
    kept = _answered("confirm")
    kept.duress_us = NOON_US - 1
    assert _judged(kept).outcome == "challenge"


def test_a_denial_after_the_confirm_takes_the_word_back() -> None:
    kept = _answered("confirm")
    kept.hear(Answer("ch_1", "deny", "not_me", "A", "app", NOON_US - 1, False, "1-2"))
    assert kept.word is None


def test_the_word_and_what_may_bring_one_outlive_a_restart() -> None:
    kept = _answered("confirm")
    kept.ask(Asked("ch_2", "e_2", NOON_US, NOON_US + 1, 1, rests=True))
    kept.ask(Asked("ch_3", "e_3", NOON_US, NOON_US + 1, 1))
    again = Conversation.load(kept.dump())
    assert again == kept
    assert again.word == Word(NOON_US - HOUR_US, 10_000, confirmed=True)


def test_an_outcome_on_record_brings_its_word_again() -> None:
    kept = Conversation()
    kept.ask(Asked("ch_1", "e_1", NOON_US - 9, NOON_US, 700, rests=True))
    kept.settle(Outcome("e_1", "ch_1", "denied", "decline", NOON_US - 5, "customer", "not_me"))
    assert kept.word == Word(NOON_US - 5, 700, confirmed=False)


def test_a_list_that_asks_is_obeyed_all_the_same() -> None:
    lists = Lists("1-0", {FORCE + "challenge": {("customer", "cus_1"): Entry("watched", "ann")}})
    told = replace(payments.rule_set(rest_us=REST_US), lists=lists)
    said = {"score": 0, "anomaly": None}
    judged = judge(payment(kind="card"), {}, said, told, _answered("confirm"), NOON_US)
    assert judged.outcome == "challenge"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 2 * REST_US), st.booleans())
def test_the_dearer_payment_never_rests_where_the_cheaper_does_not(
    one: int, other: int, ago_us: int, confirmed: bool
) -> None:
    word, low, high = Word(NOON_US - ago_us, 100_000, confirmed), *sorted((one, other))
    cheap, dear = (rested(word, "card", amount, NOON_US, REST_US) for amount in (low, high))
    assert (cheap is None) <= (dear is None)
    if ago_us >= REST_US:
        assert cheap is None
