"""Does a tripped brake stop its rule, tell officers, and hold after a restart?"""

from typing import Any

from flows.walk import Scored, Values
from risk.brakes import BrakeLimits
from risk.rules import Rule, read_rules
from tests.flows.facts import MARK, Judge, moment
from tests.risk.payments import NOON_US


def _rule(action: str = "challenge") -> Rule:
    row = {
        "id": "many", "title": "Many", "reason": "Many.", "when": "customer.count.1h >= 1",
        "action": action, "state": "live",
    }  # fmt: skip
    return read_rules({"version": 2, "rules": [row]}, ("customer.count.1h",))[0]


def _judge(*rules: Rule, **limits: int) -> Judge:
    known = {
        "challenges_of_a_rule": 99, "challenges": 99, "declines_of_a_rule": 99, "declines": 99,
    }  # fmt: skip
    return Judge(*rules, brakes=BrakeLimits(**{**known, **limits}))


def _payment(number: int, score: int = 100, **over: Any) -> Scored:
    event = moment(f"p-{number}", customer=f"cus_{number}", position=number, **over)
    values: Values = {"customer.count.1h": 1}
    return Scored(event, values, score, score / 1000, MARK, {}, 10_000, 7)


def _outcomes(judge: Judge, *numbers: int, **over: Any) -> list[str]:
    return [judge.hear(_payment(number, **over))[0]["decision"] for number in numbers]


def test_a_rule_that_asks_too_many_goes_to_shadow_and_officers_are_told() -> None:
    judge = _judge(_rule(), challenges_of_a_rule=3)
    demoted: list[tuple[str, str]] = []
    judge.stage.on_brake = lambda rule, why: demoted.append((rule, why))
    assert _outcomes(judge, 1, 2, 3) == ["challenge"] * 3
    (braked,) = judge.hear(_payment(4))
    assert braked["decision"] == "review"
    assert braked["reasons"][-1] == {
        "code": "brake",
        "text": "rule many asked more than 3 times within an hour here; it is in shadow now",
    }
    assert _outcomes(judge, 5, 6) == ["approve"] * 2
    assert [rule for rule, _ in demoted] == ["many"]
    alerts = [one for one in judge.doors.alerts if one["kind"] == "brake"]
    assert len(alerts) == 1
    assert alerts[0]["text"].startswith("A brake tripped: rule many asked more than 3 times")
    records = [one for one in judge.doors.records if one["kind"] == "config.change"]
    assert [one["body"]["brake"] for one in records] == ["many"]
    hits = [one for one in judge.doors.records if one["rid"] == "event/p-5/rule.hits"]
    assert [hit["rule"] for hit in hits[0]["body"]["shadow"]] == ["many"], "shadow goes on"


def test_a_reached_cap_of_all_questions_means_review_never_approve() -> None:
    judge = _judge(challenges=2)
    assert _outcomes(judge, 1, 2, 3, 4, score=700) == [
        "challenge", "challenge", "review", "review",
    ]  # fmt: skip
    later = 3_600_000_000 + 300_000_000
    judge.now_us = NOON_US + later
    assert _outcomes(judge, 5, score=700, time_us=NOON_US + later) == ["challenge"]


def test_too_many_declines_become_reviews() -> None:
    judge = _judge(_rule("decline"), declines_of_a_rule=1)
    assert _outcomes(judge, 1, 2, 3) == ["decline", "review", "approve"]


def test_a_tripped_brake_holds_after_a_restart() -> None:
    judge = _judge(_rule(), challenges_of_a_rule=1)
    assert _outcomes(judge, 1, 2) == ["challenge", "review"]
    judge.snapshot()
    judge.start()
    assert _outcomes(judge, 3) == ["approve"]


def test_what_was_counted_after_the_cut_is_counted_again() -> None:
    judge = _judge(_rule(), challenges_of_a_rule=2)
    assert _outcomes(judge, 1) == ["challenge"]
    judge.snapshot()
    assert _outcomes(judge, 2, 3) == ["challenge", "review"]
    judge.start()
    assert _outcomes(judge, 2, 3) == ["challenge", "review"], "those on record stand"
    assert _outcomes(judge, 4) == ["approve"]


def test_in_another_set_the_rule_acts_again() -> None:
    """Promoting it again makes another set."""
    from dataclasses import replace

    judge = _judge(_rule(), challenges_of_a_rule=1)
    assert _outcomes(judge, 1, 2, 3) == ["challenge", "review", "approve"]
    judge.rules = replace(judge.rules, sha256="1" * 64)
    later = NOON_US + 2 * 3_600_000_000
    assert _outcomes(judge, 4, time_us=later) == ["challenge"]


def test_a_rule_that_falls_silent_is_told_of() -> None:
    judge = _judge(_rule())
    for number in range(30):
        judge.hear(_payment(number, time_us=NOON_US + number * 60_000_000))
    quiet = _payment(99, time_us=NOON_US + 3 * 3_600_000_000)
    quiet.features["customer.count.1h"] = 0
    judge.hear(quiet)
    told = [one["text"] for one in judge.doors.alerts if one["kind"] == "silent"]
    since = "2026-03-02T12:29:00.000000Z"
    assert told == [f"Rule many was hit regularly and has been silent since {since}."]
