"""Which channels a customer is asked by, in which order."""

from typing import Any

import pytest

from config.settings import HERE, read_yaml
from notifiers.catalogue import KINDS
from notifiers.errors import BadLadder
from notifiers.facts import Ask
from notifiers.plan import SEVERITIES, Plans, read_plans
from risk import rules
from tests.notifiers import stage

ASK = Ask.from_stream("1-0", stage.make_ask("cus_1"))
SHIPPED = read_plans(read_yaml(HERE / "ladder.yaml"), KINDS)


def kinds(plans: Plans, ask: Ask, has: tuple[str, ...], ladder: str = "") -> list[str]:
    return [rung.kind for rung in plans.rungs(ask, ladder, has)]


def test_the_order_is_the_ladders_and_only_what_the_customer_has() -> None:
    assert kinds(SHIPPED, ASK, ("sms", "push", "xmpp")) == ["xmpp", "push", "sms"]
    assert kinds(SHIPPED, ASK, ("push",)) == ["push"]
    assert kinds(SHIPPED, ASK, ()) == []


def test_a_channel_that_no_ladder_names_comes_last_and_is_never_left_out() -> None:
    assert kinds(SHIPPED, ASK, ("memory", "xmpp")) == ["xmpp", "memory"]


def test_a_customer_may_have_a_ladder_of_their_own() -> None:
    assert kinds(SHIPPED, ASK, ("xmpp", "sms", "voice"), "telephone") == ["voice", "sms", "xmpp"]
    assert kinds(SHIPPED, ASK, ("xmpp", "sms"), "no-such-ladder") == ["xmpp", "sms"]


def test_a_large_amount_climbs_faster() -> None:
    large = Ask.from_stream("1-0", stage.make_ask("cus_1", amount="50000.00"))
    assert SHIPPED.severity(large) == "high"
    assert SHIPPED.severity(ASK) == "normal"
    foreign = Ask.from_stream("1-0", stage.make_ask("cus_1", amount="50000.00", currency="ISK"))
    assert SHIPPED.severity(foreign) == "normal"  # no bound is set in that currency

    def patience(ask: Ask) -> float:
        return SHIPPED.rungs(ask, "", ("xmpp",))[0].patience

    assert patience(large) < patience(ASK)


def test_the_severity_of_the_rule_that_hit_counts() -> None:
    assert SEVERITIES == rules.SEVERITIES
    for severity, named in (("low", "normal"), ("high", "high"), ("critical", "high")):
        ask = Ask.from_stream("1-0", stage.make_ask("cus_1", severity=severity))
        assert SHIPPED.severity(ask) == named


def test_a_reason_may_make_it_severe() -> None:
    document = {
        "version": 1,
        "severities": {"worst": {"reasons": ["account_takeover"]}},
        "ladders": {
            "usual": {"normal": [{"channel": "xmpp"}], "worst": [{"channel": "voice", "wait": 0}]}
        },
    }
    plans = read_plans(document, KINDS)
    worst = Ask.from_stream("1-0", stage.make_ask("cus_1", reasons=["account_takeover"]))
    assert kinds(plans, worst, ("xmpp", "voice")) == ["voice", "xmpp"]
    assert kinds(plans, ASK, ("xmpp", "voice")) == ["xmpp", "voice"]


GOOD: dict[str, Any] = {"version": 1, "ladders": {"usual": {"normal": [{"channel": "xmpp"}]}}}


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"version": 2}, "version: 1"),
        ({"ladder": {}}, "needed one of"),
        ({"ladders": {}}, "usual.normal"),
        ({"ladders": {"usual": {"normal": []}}}, "a list of channels"),
        ({"ladders": {"usual": {"normal": [{"channel": "pigeon"}]}}}, "got 'pigeon'"),
        ({"ladders": {"usual": {"normal": [{"channel": "sms"}, {"channel": "sms"}]}}}, "once"),
        ({"ladders": {"usual": {"normal": [{"channel": "sms", "wait": -1}]}}}, "0 to 600"),
        ({"ladders": {"usual": {"normal": [{"channel": "sms", "waits": 1}]}}}, "waits"),
        ({"ladders": {"usual": {"nromal": [{"channel": "sms"}]}}}, "nromal"),
        ({"severities": {"high": {"amounts": {"CNY": 5.0}}}}, "amount as text"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_where_and_what(
    change: dict[str, Any], needed: str
) -> None:
    assert read_plans(GOOD, KINDS).ladders is not None
    with pytest.raises(BadLadder, match=needed):
        read_plans(GOOD | change, KINDS)
