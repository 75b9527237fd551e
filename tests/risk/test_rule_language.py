"""Does an expression say what it looks like, and is one that can't act refused where it stands?"""

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from risk.docket import Docket, Hit
from risk.rule_check import checked
from risk.rule_language import LARGEST, BadExpression, Place, Source, names_in, read, words
from risk.rule_truth import Cause, as_cel, because, holds, needs
from risk.rules import BadRules, read_rules, vocabulary


class _Unit:
    def __init__(self, unit: str) -> None:
        self.unit = unit


class _Claimed(_Unit):
    claimed = True


FEATURES = {
    "customer.count.1h": _Unit("count"),
    "customer.sum.amount.24h": _Unit("money"),
    "customer.mean.amount.30d": _Unit("money"),
    "customer.new_payee": _Unit("flag"),
    "customer.zscore.amount.14d": _Unit("ratio"),
    "payee.since_first": _Unit("seconds"),
    "event.login_failed": _Unit("flag"),
    "event.hour": _Unit("other"),
}
FACTORS = ("customer.count.1h", "customer.new_payee", "customer.sum.amount.24h")
KNOWN = vocabulary(FEATURES, "CNY", lists=("mules", "vip"), factors=FACTORS)
PAYMENT = frozenset({"transaction"})


def _tree(text: str, types: frozenset[str] = PAYMENT, earlier: tuple[str, ...] = ()) -> Any:
    return checked(read(text), KNOWN, types, "mine", earlier)


def _docket(when: str, **over: Any) -> Docket:
    row = {
        "id": "mine",
        "title": "Mine",
        "reason": "Since.",
        "when": when,
        "action": "challenge",
        "state": "live",
        **over,
    }
    return Docket(read_rules({"version": 2, "rules": [row]}, KNOWN))


def _hit(when: str, values: dict[str, Any]) -> Hit | None:
    found, _ = _docket(when).hits("transaction", values)
    return found[0] if found else None


# -- refused ---------------------------------------------------------------------------------------

_REFUSED = Path(__file__).parent.parent / "assets" / "rules" / "refused.yaml"
REFUSED = [
    *((row["when"], row["told"]) for row in yaml.safe_load(_REFUSED.read_text(encoding="utf-8"))),
    ("!" * 40 + "customer.new_payee", "needed at most 24 brackets deep"),
    ("(" * 40 + "score > 3" + ")" * 40, "needed at most 24 brackets deep"),
    (" && ".join(["score > 3"] * LARGEST), f"~needed at most {LARGEST} names, .*; split the rule"),
    ("score > 3" + " " * 5000, "needed at most 4000 characters, got 5009"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_an_expression_that_cannot_act_is_refused_where_it_stands(text: str, told: str) -> None:
    with pytest.raises(BadExpression, match=told[1:] if told[:1] == "~" else re.escape(told)):
        _tree(text)


def test_a_hit_is_no_number_to_compare() -> None:
    with pytest.raises(BadExpression, match=r"needed hit\.a or !hit\.a alone, got hit\.a =="):
        _tree("hit.a == hit.b", earlier=("a", "b"))


def test_a_rule_that_ends_before_it_begins_is_refused() -> None:
    valid = {"from": "2026-05-02", "until": "2026-05-01"}
    with pytest.raises(BadRules, match=r"needed 'valid\.from' before 'valid\.until', got"):
        _docket("score > 3", valid=valid)


def test_a_place_is_a_place_in_the_file() -> None:
    text = "  score > 3\n  && cuont > 5\n"
    with pytest.raises(BadExpression) as told:
        _tree(Source(text.strip(), text, "mine.yaml", 12))
    assert told.value.place == Place(13, 6, "mine.yaml")
    assert str(told.value).startswith("mine.yaml: line 13, column 6: needed a known name, got cuon")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    with contextlib.suppress(BadExpression):
        assert list(names_in(read(text))) is not None


def test_a_factor_is_a_bare_number_whatever_its_feature_is() -> None:
    docket = _docket("factor.customer.sum.amount.24h > 1.5 && !(factor.customer.new_payee < 0)")
    assert docket.factors == {"customer.sum.amount.24h", "customer.new_payee"}
    held, _ = docket.hits("transaction", {"factor.customer.sum.amount.24h": 1.75})
    assert held[0].because == (
        Cause("factor.customer.sum.amount.24h", 1.75, ">", 1.5),
        Cause("factor.customer.new_payee", None, "<", 0),
    )
    assert _docket("score > 3").factors == frozenset()
    assert _docket("factor.customer.new_payee > 0", state="draft").factors == frozenset()


def test_a_factor_of_what_a_client_claims_lowers_no_score() -> None:
    known = vocabulary({"device.count.1h": _Claimed("count")}, factors=("device.count.1h",))
    row = {
        "id": "mine", "title": "Mine", "reason": "Since.", "action": "score -50",
        "when": "factor.device.count.1h < 0",
    }  # fmt: skip
    with pytest.raises(BadRules, match=r"got factor\.device\.count\.1h, which a client says"):
        read_rules({"version": 2, "rules": [row]}, known)


# -- what it means ---------------------------------------------------------------------------------


def test_a_hit_tells_every_comparison_that_made_it_hold() -> None:
    hit = _hit(
        'customer.new_payee && event.amount >= money("5000.00") && '
        '(score > 900 || customer.count.1h >= 8 || event.country == "KP")',
        {
            "customer.new_payee": 1,
            "event.amount": 500_000,
            "score": 20,
            "customer.count.1h": 9,
            "event.country": "KP",
        },
    )
    assert hit is not None
    assert hit.because == (
        Cause("customer.new_payee", 1, "==", 1),
        Cause("event.amount", 500_000, ">=", 500_000),
        Cause("customer.count.1h", 9, ">=", 8),
        Cause("event.country", "KP", "==", "KP"),
    )
    assert hit.values == (1, 500_000, 9, "KP")


def test_a_threshold_that_was_worked_out_says_from_what() -> None:
    hit = _hit(
        "event.amount > 5 * customer.mean.amount.30d",
        {"event.amount": 70_000, "customer.mean.amount.30d": 10_000.5},
    )
    assert hit is not None
    (cause,) = hit.because
    assert cause == Cause("event.amount", 70_000, ">", 50_002.5, "5 * customer.mean.amount.30d")


def test_what_is_denied_is_told_the_other_way_round() -> None:
    hit = _hit("!(score >= 500 || customer.new_payee)", {"score": 3, "customer.new_payee": 0})
    assert hit is not None
    assert hit.because == (Cause("score", 3, "<", 500), Cause("customer.new_payee", 0, "!=", 1))


def test_why_a_rule_did_not_hold_can_be_told() -> None:
    tree = _tree("score >= 500 && customer.count.1h >= 8")
    kept = because(tree, {"score": 600, "customer.count.1h": 2}, held=False)
    assert kept == [Cause("customer.count.1h", 2, "<", 8)]
    assert because(tree, {"score": 600}, held=False) == [Cause("customer.count.1h", None, ">=", 8)]


@pytest.mark.parametrize("sign", [">=", ">", "<=", "<", "==", "!="])
def test_a_comparison_with_a_null_is_false_and_its_denial_true(sign: str) -> None:
    assert _hit(f"score {sign} 500", {"score": None}) is None
    assert _hit(f"score {sign} 500", {}) is None
    assert _hit(f"!(score {sign} 500)", {}) is not None
    assert _hit(f"score {sign} 500 || customer.new_payee", {"customer.new_payee": 1}) is not None
    assert _hit(f"score * 2 {sign} 500", {}) is None


def test_null_itself_can_be_asked_for() -> None:
    assert _hit("event.country == null", {}) is not None
    assert _hit("event.country == null", {"event.country": "CN"}) is None
    assert _hit('event.country != null && event.country != "CN"', {"event.country": "KP"})


def test_whole_numbers_and_broken_ones_are_compared_as_they_are() -> None:
    assert _hit("customer.zscore.amount.14d > 2", {"customer.zscore.amount.14d": 2.5})
    assert _hit("customer.zscore.amount.14d > 2.5", {"customer.zscore.amount.14d": 3})
    assert _hit("customer.zscore.amount.14d == 3", {"customer.zscore.amount.14d": 3.0})
    assert _hit("score * 1.5 > 10", {"score": 7})
    assert _hit("score / 2 > 3", {"score": 7})


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ({"customer.zscore.amount.14d": math.nan}, False),
        ({"customer.zscore.amount.14d": math.inf}, True),
        ({"customer.zscore.amount.14d": 2**80}, True),
        ({"customer.zscore.amount.14d": -(2**80)}, False),
    ],
)
def test_a_value_beyond_all_numbers_stops_nothing(values: dict[str, Any], held: bool) -> None:
    assert (_hit("customer.zscore.amount.14d > 2.5", values) is not None) is held
    assert _hit("customer.zscore.amount.14d / score > 2", {**values, "score": 0}) is None or held


def test_one_may_also_divide_by_what_happens_to_be_nothing() -> None:
    assert _hit("1 / score > 2", {"score": 0}) is not None
    assert _hit("score / score > 2", {"score": 0}) is None


def test_one_name_may_be_quoted_where_it_holds_a_sign() -> None:
    known = vocabulary({"customer+payee.count.1h": _Unit("count")})
    tree = checked(read("`customer+payee.count.1h` >= 3"), known, PAYMENT)
    assert holds(tree, {"customer+payee.count.1h": 3})


def test_a_comment_ends_with_its_line() -> None:
    assert _hit("score > 3 // why not\n && score < 5", {"score": 4}) is not None


def test_money_is_of_the_base_currency_and_its_own_places() -> None:
    yen = vocabulary(FEATURES, "JPY")
    tree = checked(read('event.amount >= money("5000")'), yen, PAYMENT)
    assert holds(tree, {"event.amount": 5000})
    assert not holds(tree, {"event.amount": 4999})
    tree = _tree('event.amount in [money("1.00"), money("2.00")]')
    assert holds(tree, {"event.amount": 200})
    assert _hit('event.amount != money("0")', {"event.amount": 1})


def test_a_constant_may_stand_on_the_left() -> None:
    assert words(_tree("500 < score")) == "score > 500"


# -- the engine and the plain meaning --------------------------------------------------------------

_NUMBERS = sorted(
    ["customer.count.1h", "score", "anomaly", "payee.since_first", "customer.zscore.amount.14d"]
)
_AMOUNTS = ["event.amount", "customer.sum.amount.24h", "customer.mean.amount.30d"]
_SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


@st.composite
def _expressions(draw: st.DrawFn, depth: int = 3) -> str:  # noqa: C901  one branch a form
    def number(deep: int) -> str:
        kind = draw(st.integers(0, 5 if deep else 1))
        if kind == 0:
            return draw(st.sampled_from(_NUMBERS))
        if kind == 1:
            return str(draw(st.integers(0, 999) | st.sampled_from(["0.5", "2.25", "1e3"])))
        if kind == 2:
            return f"-({number(deep - 1)})"
        if kind == 3:
            return f"({condition(0)} ? {number(deep - 1)} : {number(deep - 1)})"
        sign = draw(st.sampled_from(["+", "-", "*", "/"]))
        return f"({number(deep - 1)} {sign} {number(deep - 1)})"

    def condition(deep: int) -> str:
        kind = draw(st.integers(0, 8 if deep else 4))
        if kind == 0:
            return f'{draw(st.sampled_from(_AMOUNTS))} {draw(_SIGNS)} money("1.00")'
        if kind == 1:
            return f"{number(2)} {draw(_SIGNS)} {number(1)}"
        if kind == 2:
            return f'event.country {draw(st.sampled_from(["==", "!="]))} "CN"'
        if kind == 3:
            name, null = draw(st.sampled_from(["score", "event.country"])), draw(st.booleans())
            return f"{name} {'==' if null else '!='} null"
        if kind == 4:
            return draw(st.sampled_from(["customer.new_payee", "score in [1, 2, 3]"]))
        if kind == 5:
            return f"!({condition(deep - 1)})"
        if kind == 6:
            test, yes, no = (condition(deep - 1) for _ in range(3))
            return f"({test} ? {yes} : {no})"
        sign = draw(st.sampled_from(["&&", "||"]))
        return f"({condition(deep - 1)} {sign} {condition(deep - 1)})"

    return condition(depth)


_VALUES = st.fixed_dictionaries(
    {
        **dict.fromkeys(_NUMBERS, st.none() | st.integers(0, 5) | st.floats(0, 5)),
        **dict.fromkeys(_AMOUNTS, st.none() | st.integers(0, 200) | st.floats(0, 200)),
        "customer.new_payee": st.sampled_from([None, 0, 1]),
        "event.country": st.sampled_from([None, "CN", "KP"]),
    }
)


@given(_expressions(), _VALUES)
def test_the_engine_and_the_plain_meaning_agree(text: str, values: dict[str, Any]) -> None:
    try:
        tree = _tree(text)
    except BadExpression:
        return
    found, _ = _docket(text).hits("transaction", values)
    assert bool(found) is holds(tree, values)
    if found:
        assert set(found[0].because) == set(because(tree, values))


@given(_expressions(), _VALUES)
def test_one_spelling_means_the_same(text: str, values: dict[str, Any]) -> None:
    try:
        tree = _tree(text)
    except BadExpression:
        return
    again = _tree(words(tree))
    assert holds(again, values) is holds(tree, values)
    assert words(again) == words(tree)


@given(_expressions(), _VALUES)
def test_the_causes_alone_explain_a_hit(text: str, values: dict[str, Any]) -> None:
    """What is not named among the causes may be anything else, and the rule holds all the same."""
    try:
        tree = _tree(text)
    except BadExpression:
        return
    held = holds(tree, values)
    told = because(tree, values, held)
    assert told or not held or not list(names_in(tree))
    for cause in told:
        if cause.value is not None and cause.feature in values:
            assert cause.value == values[cause.feature]


def test_a_plain_chain_needs_no_guards() -> None:
    assert sorted(needs(_tree("score > 3 && customer.new_payee")) or ()) == [
        "customer.new_payee",
        "score",
    ]
    assert needs(_tree("score > 3 || customer.new_payee")) is None
    assert needs(_tree("!(score > 3)")) is None
    assert needs(_tree("score == null")) is None
    assert "null" not in as_cel(_tree("score > 3"), str, guarded=False)


def test_a_text_with_quotes_is_handed_on_as_it_is() -> None:
    tree = _tree(r'event.country == "a\"b\\c"')
    program = cel.compile(as_cel(tree, lambda _: "v", guarded=True))
    assert program.execute({"v": 'a"b\\c'}) is True


@pytest.mark.parametrize(
    ("when", "name"),
    [
        ('score > 0 && event.country == "CN"', "event.country"),
        ("event.device in list.vip", "event.device"),
        ("customer.known.24h == 1", "customer.known.24h"),
    ],
)
def test_what_a_client_says_of_itself_lowers_no_score(when: str, name: str) -> None:
    features = {"customer.known.24h": _Claimed("flag"), "customer.count.1h": _Unit("count")}
    known = vocabulary(features, "CNY", lists=("vip",))
    row = {"id": "r", "title": "T", "reason": "R.", "when": when, "action": "score -50"}
    told = f"where 'action' lowers the score, got {name}, which a client says of itself"
    with pytest.raises(BadRules, match=re.escape(told)):
        read_rules({"version": 2, "rules": [row]}, known)
    assert read_rules({"version": 2, "rules": [row | {"action": "score +50"}]}, known)
    vouched = row | {"when": "score > 0 && customer.count.1h > 3"}
    assert read_rules({"version": 2, "rules": [vouched]}, known)
