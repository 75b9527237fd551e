"""Facts that the tests of judgement are made of."""

from datetime import UTC, datetime
from typing import Any

from risk import events, money
from risk.failing import FailLimits
from risk.policy import Policy, RuleSet, Step
from risk.rules import Rule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOON_US = events.micros(NOON)
RATES = money.Rates("CNY", {})


def transaction(**over: Any) -> dict[str, Any]:
    """A payment as a bank sends it; ``over`` replaces fields, None leaves one out."""
    body: dict[str, Any] = {
        "type": "transaction",
        "id": "p-1",
        "time": "2026-03-02T12:00:00+00:00",
        "customer": "c-1",
        "amount": "98.00",
        "currency": "CNY",
        "payee": {"account": "acc-1", "name": "ACME"},
    }
    body.update(over)
    return {key: value for key, value in body.items() if value is not None}


def payment(**over: Any) -> events.Moment:
    """A payment as it walks the flow."""
    known: dict[str, Any] = {
        "id": "p-1",
        "type": "transaction",
        "time_us": NOON_US,
        "customer": "cus_1",
        "accepted_us": NOON_US,
        "partition": 0,
        "position": 1,
        "amount": 9800,
        "currency": "CNY",
        "amount_base": 9800,
        "payee": "acc_1",
    }
    return events.Moment(**{**known, **over})


def policy(**over: Any) -> Policy:
    """A policy with a step to each stricter outcome."""
    known: dict[str, Any] = {
        "steps": (Step(900, "decline"), Step(800, "review"), Step(600, "challenge")),
        "acts_after_lessons": 0,
        "asked_per_day": 5,
        "open_at_once": 3,
        "answer_within_us": 120_000_000,
        "unsigned_limit": 5_000_000,
        "fail": FailLimits(50_000, 100_000, 500_000, 20_000_000),
    }
    return Policy(**{**known, **over})


def rule_set(*rules: Rule, **over: Any) -> RuleSet:
    """Rules under a policy."""
    return RuleSet(rules, policy(**over), "0" * 64, RATES)
