"""Which list counts before which, and what may not lower a risk?"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.challenge import Conversation
from risk.lists import BadList, Entry, Lists, checked_change, rank
from risk.policy import Judged, judge
from risk.rules import OUTCOMES, Rule, read_rules
from tests.risk.payments import NOON_US, payment, rule_set

HOUR_US = 3_600_000_000
NAMES = ["final", "force.approve", "force.review", "block", "allow", "watch", "suppress.strict"]


def _rules(*states: str) -> tuple[Rule, ...]:
    row = {
        "title": "T", "reason": "R.", "when": "customer.count.1h >= 1", "action": "review",
    }  # fmt: skip
    rows = [{**row, "id": "strict", "state": "live"}]
    rows += [{**row, "id": f"more{place}", "state": state} for place, state in enumerate(states)]
    return read_rules({"version": 2, "rules": rows}, ("customer.count.1h",))


def _lists(*names: str, until_us: int | None = None, kind: str = "customer") -> Lists:
    value = {"customer": "cus_1", "payee": "acc_1", "device": "dev_1"}[kind]
    entry = Entry("seen", "ann", until_us)
    return Lists("1-0", {name: {(kind, value): entry} for name in names})


def _judged(lists: Lists, *states: str, blocked: bool = False, **over: Any) -> Judged:
    from dataclasses import replace

    rules = replace(rule_set(*_rules(*states)), lists=lists)
    known = Conversation(blocked_us=1 if blocked else None)
    values = {"customer.count.1h": 1}
    return judge(payment(**over), values, {"score": 0, "anomaly": 0}, rules, known, NOON_US)


ORDER = [
    ((), "review"),
    (("watch",), "review"),
    (("suppress.strict",), "approve"),
    (("suppress.other",), "review"),
    (("allow",), "approve"),
    (("block",), "decline"),
    (("allow", "block"), "decline"),
    (("force.challenge", "block"), "challenge"),
    (("force.approve", "block"), "approve"),
    (("force.approve", "final"), "decline"),
    (("allow", "final", "force.review"), "decline"),
]


@pytest.mark.parametrize(("names", "outcome"), ORDER)
def test_lists_act_in_their_order(names: tuple[str, ...], outcome: str) -> None:
    assert _judged(_lists(*names)).outcome == outcome


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_nothing_overrides_the_final_list(names: list[str]) -> None:
    assert _judged(_lists("final", *names)).outcome == "decline"


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_no_list_pays_for_a_customer_who_wants_nothing_paid(names: list[str]) -> None:
    assert _judged(_lists(*names), blocked=True).outcome == "decline"


def test_an_entry_says_itself_among_the_reasons() -> None:
    told = _judged(_lists("block")).reasons
    assert told[0] == {
        "code": "list.block",
        "text": "seen",
        "feature": "customer",
        "value": "cus_1",
        "operator": "in",
        "threshold": "list.block",
    }
    told = _judged(_lists("suppress.strict")).reasons
    assert [reason["code"] for reason in told] == ["list.suppress.strict"]


def test_an_entry_ends_when_it_ends() -> None:
    assert _judged(_lists("block", until_us=NOON_US + 1)).outcome == "decline"
    assert _judged(_lists("block", until_us=NOON_US)).outcome == "review"


def test_who_is_watched_is_marked_and_nothing_else() -> None:
    told = _judged(_lists("watch", kind="device"), device="dev_1")
    assert told.tags == ("watch.device",)
    assert told.outcome == "review"
    assert not _judged(_lists("watch", kind="device"), device="dev_2").tags


def test_a_change_leaves_what_was_there_before() -> None:
    add = {"op": "add", "list": "mules", "kind": "payee", "reason": "r", "by": "ann"}
    one = Lists().changed([("1-0", {**add, "value": "acc_1"})])
    two = one.changed([("2-0", {**add, "value": "acc_2"}), ("3-0", {**add, "value": "acc_3"})])
    gone = two.changed(
        [("4-0", {"op": "remove", "list": "mules", "kind": "payee", "value": "acc_1"})]
    )
    assert (one.version, two.version, gone.version) == ("1-0", "3-0", "4-0")
    assert [len(held.entries["mules"]) for held in (one, two, gone)] == [1, 3, 2]
    last = gone.changed(
        (f"{5 + place}-0", {"op": "remove", "list": "mules", "kind": "payee", "value": value})
        for place, value in enumerate(["acc_2", "acc_3", "acc_4"])
    )
    assert last.entries == {}


_GOOD: dict[str, Any] = {
    "op": "add", "list": "mules", "kind": "payee", "value": "acc_1", "reason": "seen", "by": "ann",
}  # fmt: skip
REFUSED = [
    ({"op": "put"}, "needed add or remove, got 'put'"),
    ({"list": "my mules"}, "needed a name of letters, digits and _, at most 64, got 'my mules'"),
    ({"list": "my.mules"}, "needed force.<outcome> or suppress.<rule> before a dot"),
    ({"kind": "phone"}, "needed a key of customer, payee, .*, got 'phone'"),
    ({"list": "force.stop", "until_us": 1}, "needed an outcome of approve, challenge"),
    ({"list": "suppress.none", "until_us": 1}, "needed a known rule after suppress"),
    ({"list": "allow", "kind": "device", "until_us": 1}, "needed a key that the bank vouches for"),
    ({"list": "suppress.strict", "kind": "ip", "until_us": 1}, "what anybody can claim never low"),
    ({"list": "force.approve", "kind": "country", "until_us": 1}, "the bank vouches for"),
    ({"list": "allow"}, "needed an end: what overrides judgement does not last for good"),
    ({"list": "force.decline"}, "needed an end"),
    ({"value": ""}, "needed a text in 'value', got ''"),
    ({"reason": None}, "needed a text in 'reason', got None"),
    ({"until_us": "1"}, "needed microseconds in 'until_us', got '1'"),
]


@pytest.mark.parametrize(("over", "told"), REFUSED)
def test_a_change_that_cannot_be_is_refused_in_words(over: dict[str, Any], told: str) -> None:
    assert checked_change(_GOOD, ["strict"]) == _GOOD
    with pytest.raises(BadList, match=told):
        checked_change({**_GOOD, **over}, ["strict"])


@pytest.mark.parametrize("kind", ["device", "ip", "country", "channel", "currency"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_anybody_can_claim_lowers_nothing(kind: str, outcome: str) -> None:
    change = {**_GOOD, "kind": kind, "list": f"force.{outcome}", "until_us": 1}
    if outcome == "approve":
        with pytest.raises(BadList):
            checked_change(change, [])
    else:
        assert checked_change(change, [])["list"] == f"force.{outcome}"


# -- shadow ----------------------------------------------------------------------------------------

_SHADOW_WHEN = st.sampled_from(
    [
        "customer.count.1h >= 1", "!(customer.count.1h >= 5)", "hit.strict", "event.late || true",
        "event.amount > money(\"1.00\")", "event.customer in list.block", "score == null",
        "event.payee in list.watch",
    ]
)  # fmt: skip


@given(
    st.lists(
        st.tuples(
            _SHADOW_WHEN.filter(lambda when: "true" not in when),
            st.sampled_from([*OUTCOMES, "score +900", "score -900", "tag odd"]),
        ),
        max_size=6,
    ),
    st.lists(st.sampled_from(NAMES), unique=True),
    st.integers(0, 1000),
)
def test_no_shadow_rule_ever_changes_a_decision(
    shadows: list[tuple[str, str]], names: list[str], score: int
) -> None:
    from dataclasses import replace

    row = {"title": "T", "reason": "R.", "state": "shadow"}
    rows = [
        {**row, "id": f"s{place}", "when": when, "action": action}
        for place, (when, action) in enumerate(shadows)
    ]
    live = _rules()
    more = read_rules({"version": 2, "rules": rows}, ("customer.count.1h",), live)
    told = []
    for rules in (live, (*live, *more)):
        whole = replace(rule_set(*rules), lists=_lists(*names))
        values = {"customer.count.1h": 1}
        known = {"score": score, "anomaly": 0}
        told.append(judge(payment(), values, known, whole, Conversation(), NOON_US))
    without, beside = told
    assert beside._replace(shadow=[]) == without
    held = {hit.rule.id for hit in beside.shadow}
    assert all(hit.rule.state == "shadow" for hit in beside.shadow)
    assert {
        f"s{place}" for place, (when, _) in enumerate(shadows) if when.startswith("cust")
    } <= held


def test_the_lists_that_act_are_in_a_stated_order() -> None:
    ranks = [
        rank(name) for name in ("final", "force.approve", "block", "allow", "suppress.x", "watch")
    ]
    assert ranks == sorted(ranks, key=lambda one: (one is None, one))
    assert rank("mules") is None
