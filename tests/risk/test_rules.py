"""Is a rule file read as it was meant, or refused by name?"""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.docket import hits, written
from risk.rules import BadRules, read_rules

FEATURES = ("customer.count.1h", "customer.sum.amount.24h", "payee.fraud_count.30d")
GOOD: dict[str, Any] = {
    "version": 1,
    "rules": [
        {
            "id": "burst",
            "text": "Many payments within an hour.",
            "when": [
                {"value": "customer.count.1h", "operator": ">=", "threshold": 8},
                {"value": "event.country", "operator": "!=", "threshold": "CN"},
            ],
            "action": "challenge",
        }
    ],
}


def _changed(**over: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    document["rules"][0].update(over)
    return document


def _compared(value: str, operator: str, threshold: object) -> dict[str, Any]:
    return _changed(when=[{"value": value, "operator": operator, "threshold": threshold}])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"version": 7}, "needed 'version: 1' or 'version: 2', got 7"),
    ({"version": 1, "rules": {"id": "burst"}}, "needed a list of rules"),
    ({"version": 1, "rules": ["burst"]}, "needed a list of rules"),
    ({"version": 1, "rules": GOOD["rules"] * 2}, "an id of its own for each rule, got 'burst'"),
    (_changed(id=None), "an id of its own"),
    (_changed(action="block"), "rule burst: needed an action of .*'decline'.*, got 'block'"),
    (_changed(when=[]), "rule burst: needed at least one comparison"),
    (_changed(when="always"), "rule burst: needed a list of comparisons"),
    (_changed(when=["always"]), "rule burst: needed a list of comparisons"),
    (_changed(applies_to=["transactions"]), "rule burst: needed a list of transaction, login"),
    (_changed(applies_to=[]), "rule burst: needed a list of transaction, login"),
    (_compared("customer.cuont.1h", ">=", 8), "nearest known name is customer.count.1h"),
    (_compared("event.ammount", ">=", 8), "nearest known name is event.amount"),
    (_compared("zzz", ">=", 8), "rule burst: needed a known name in 'value', got 'zzz'$"),
    (_compared("customer.count.1h", "=>", 8), "rule burst: needed an operator of >= .*, got '=>'"),
    (_compared("customer.count.1h", ">=", None), "needed a number or a text in 'threshold'"),
    (_compared("customer.count.1h", ">=", True), "needed a number or a text in 'threshold'"),
    (_compared("customer.count.1h", ">=", "8"), "needed a number in 'threshold' of customer"),
    (_compared("event.country", ">=", 8), "needed a text in 'threshold' of event.country"),
    (_compared("score", ">=", float("nan")), "needed a finite number"),
]


@pytest.mark.parametrize(("document", "told"), WRONG)
def test_a_rule_file_that_cannot_act_is_refused_by_name(
    document: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadRules, match=told):
        read_rules(document, FEATURES)


_ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(st.sampled_from(["rules", "id", "text", "when", "action", "applies_to"]), _ANY)
def test_any_rule_file_is_read_or_refused(field: str, value: Any) -> None:
    document = {"version": 1, "rules": value} if field == "rules" else _changed(**{field: value})
    told = "rule"
    try:
        read_rules(document, FEATURES)
    except BadRules as refused:
        told = str(refused)
    assert told.startswith("rule")


@given(st.fixed_dictionaries({"value": _ANY, "operator": _ANY, "threshold": _ANY}))
def test_any_comparison_is_read_or_refused(row: dict[str, Any]) -> None:
    with pytest.raises(BadRules):
        read_rules(_changed(when=[row]), FEATURES)


def test_a_file_without_rules_hits_nothing() -> None:
    assert read_rules({"version": 1, "rules": None}, FEATURES) == ()
    assert read_rules({"version": 1}, FEATURES) == ()


def test_a_rule_holds_when_all_of_its_comparisons_hold_and_tells_their_values() -> None:
    rules = read_rules(GOOD, FEATURES)
    (hit,) = hits(rules, "transaction", {"customer.count.1h": 8, "event.country": "KP"})
    assert (hit.rule.id, hit.rule.action, hit.values) == ("burst", "challenge", (8, "KP"))
    assert not list(hits(rules, "transaction", {"customer.count.1h": 8, "event.country": "CN"}))
    assert not list(hits(rules, "transaction", {"customer.count.1h": 7, "event.country": "KP"}))


def test_a_rule_without_applies_to_is_of_payments_alone() -> None:
    rules = read_rules(GOOD, FEATURES)
    values: dict[str, Any] = {"customer.count.1h": 9, "event.country": "KP"}
    assert not list(hits(rules, "login", values))
    told = read_rules(_changed(applies_to=["login", "status"]), FEATURES)
    assert list(hits(told, "login", values))
    assert not list(hits(told, "transaction", values))


@pytest.mark.parametrize("operator", [">=", ">", "<=", "<", "==", "!="])
@pytest.mark.parametrize("values", [{"customer.count.1h": None}, {}])
def test_null_makes_every_comparison_false(operator: str, values: dict[str, Any]) -> None:
    rules = read_rules(_compared("customer.count.1h", operator, 0), FEATURES)
    assert not list(hits(rules, "transaction", values))


def test_rules_are_hit_in_the_order_of_the_file() -> None:
    document = {"version": 1, "rules": [{**GOOD["rules"][0], "id": name} for name in "cab"]}
    rules = read_rules(document, FEATURES)
    values: dict[str, Any] = {"customer.count.1h": 8, "event.country": "KP"}
    assert [hit.rule.id for hit in hits(rules, "transaction", values)] == ["c", "a", "b"]


@given(st.floats(allow_nan=False) | st.integers() | st.text() | st.none())
def test_a_value_is_written_without_a_float_and_comes_back_the_same(
    value: float | str | None,
) -> None:
    told = written(value)
    assert not isinstance(told, float)
    assert (float(told or "") if isinstance(value, float) else told) == value
