"""Does more risk ever get a milder outcome, and who is asked at all?"""

import copy
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.challenge import DAY_US, Asked, Conversation
from risk.lists import Entry, Lists
from risk.money import Rates
from risk.policy import (
    BadPolicy,
    Bar,
    Step,
    first_step,
    judge,
    opinions_of,
    read_policy,
    rule_set,
)
from risk.rules import MILD_TO_STRICT, OUTCOMES, Rule, read_rules, vocabulary
from tests.risk import payments
from tests.risk.payments import NOON_US, payment

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "score_acts_after_lessons": 10,
    "score": [{"at_least": 980, "outcome": "decline"}, {"at_least": 600, "outcome": "challenge"}],
    "asking": {
        "per_customer_24h": 5,
        "open_at_once": 3,
        "answer_within_seconds": 120,
        "unsigned_confirm_limit_24h": "50000.00",
    },
    "fail_open": {
        "below": "500.00",
        "per_customer_hour": "1000.00",
        "per_payee_hour": "5000.00",
        "overall_hour": "200000.00",
    },
}


def _rule(name: str, action: str, feature: str = "f") -> Rule:
    when = [{"value": feature, "operator": ">=", "threshold": 1}]
    rules = [{"id": name, "when": when, "action": action, "applies_to": ["transaction", "login"]}]
    return read_rules({"version": 1, "rules": rules}, {feature})[0]


def _outcome(
    score: int,
    rules: tuple[Rule, ...] = (),
    *,
    values: dict[str, Any] | None = None,
    asked: int = 0,
    open_now: int = 0,
    steps: tuple[Step, ...] | None = None,
    **of_event: Any,
) -> str:
    over: dict[str, Any] = {} if steps is None else {"steps": steps}
    told = judge(
        payment(**of_event),
        values if values is not None else {"f": 1},
        {"score": score, "anomaly": None},
        payments.rule_set(*rules, **over),
        _conversation(asked, open_now),
        NOON_US,
    )
    return told.outcome


def _conversation(asked: int = 0, open_now: int = 0) -> Conversation:
    kept = Conversation()
    for number in range(asked):
        question = Asked(f"ch_{number}", f"e_{number}", NOON_US - DAY_US + 1 + number, NOON_US, 1)
        kept.ask(question)
        if number >= open_now:
            kept.settle(
                kept._close(question, "expired", NOON_US, "timer", None).outcome  # type: ignore[arg-type]
            )
    return kept


_STEPS = st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(OUTCOMES)), max_size=5).map(
    lambda rows: tuple(
        Step(at_least, outcome)
        for at_least, outcome in zip(
            sorted((row[0] for row in rows), reverse=True),
            sorted((row[1] for row in rows), key=MILD_TO_STRICT.__getitem__, reverse=True),
            strict=True,
        )
    )
)
_ACTIONS = st.lists(st.sampled_from(OUTCOMES), max_size=4)


@given(_STEPS, _ACTIONS, st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 6))
def test_a_higher_score_never_gets_a_milder_outcome(
    steps: tuple[Step, ...], actions: list[str], one: int, other: int, asked: int
) -> None:
    rules = tuple(_rule(f"r{n}", action) for n, action in enumerate(actions))
    low, high = (_outcome(score, rules, steps=steps, asked=asked) for score in sorted([one, other]))
    assert MILD_TO_STRICT[high] >= MILD_TO_STRICT[low]


@given(_STEPS, _ACTIONS, _ACTIONS, st.integers(0, 1000), st.integers(0, 6))
def test_more_hits_never_get_a_milder_outcome(
    steps: tuple[Step, ...], some: list[str], more: list[str], score: int, asked: int
) -> None:
    rules = tuple(_rule(f"r{n}", action) for n, action in enumerate([*some, *more]))
    fewer = _outcome(score, rules[: len(some)], steps=steps, asked=asked)
    all_of_them = _outcome(score, rules, steps=steps, asked=asked)
    assert MILD_TO_STRICT[all_of_them] >= MILD_TO_STRICT[fewer]


@given(_ACTIONS, st.integers(0, 1000))
def test_the_strictest_demand_is_what_happens(actions: list[str], score: int) -> None:
    rules = tuple(_rule(f"r{n}", action) for n, action in enumerate(actions))
    by_score = _outcome(score)
    demanded = [by_score, *actions]
    assert _outcome(score, rules) == max(demanded, key=MILD_TO_STRICT.__getitem__)


@pytest.mark.parametrize(
    ("score", "outcome"),
    [(0, "approve"), (599, "approve"), (600, "challenge"), (799, "challenge"), (800, "review"),
     (900, "decline"), (1000, "decline")],
)  # fmt: skip
def test_the_first_step_that_is_reached_counts(score: int, outcome: str) -> None:
    assert _outcome(score) == outcome


def test_a_rule_of_a_milder_action_softens_nothing() -> None:
    assert _outcome(950, (_rule("trusted", "approve"),)) == "decline"


@given(st.integers(0, 8), st.integers(0, 8))
def test_a_reached_bound_on_questions_means_review_and_never_approve(
    asked: int, open_now: int
) -> None:
    outcome = _outcome(650, asked=asked, open_now=min(asked, open_now))
    bound = asked >= 5 or min(asked, open_now) >= 3
    assert outcome == ("review" if bound else "challenge")


def test_questions_of_yesterday_bound_nothing() -> None:
    kept = Conversation()
    for number in range(9):
        kept.ask(Asked(f"ch_{number}", f"e_{number}", NOON_US - DAY_US, NOON_US, 1))
        kept.open.clear()
    told = judge(payment(), {}, {"score": 650, "anomaly": None}, payments.rule_set(), kept, NOON_US)
    assert told.outcome == "challenge"


@pytest.mark.parametrize("kind", ["login", "account_change", "status"])
def test_only_a_payment_is_asked_about(kind: str) -> None:
    of_event: dict[str, Any] = {"type": kind, "amount": None, "amount_base": None, "currency": None}
    assert _outcome(650, **of_event) == "review"
    assert _outcome(950, **of_event) == "decline"
    assert _outcome(100, **of_event) == "approve"


def test_each_reason_names_value_operator_and_threshold() -> None:
    told = judge(
        payment(late=True, amount_base=None, currency="USD"),
        {"f": 2.5},
        {"score": 650, "anomaly": 3},
        payments.rule_set(_rule("burst", "challenge")),
        _conversation(5),
        NOON_US,
    )
    codes = [reason["code"] for reason in told.reasons]
    assert codes == ["score", "burst", "no_rate", "late", "asked_enough"]
    score, burst = told.reasons[:2]
    assert (score["value"], score["operator"], score["threshold"]) == (650, ">=", 600)
    assert (burst["feature"], burst["value"], burst["operator"]) == ("f", "2.5", ">=")
    assert [hit.rule.id for hit in told.hits] == ["burst"]


def test_rules_see_the_factors_that_they_name_and_no_others() -> None:
    row = {
        "id": "unlike", "title": "Unlike", "reason": "A payee who speaks for fraud.",
        "when": "factor.customer.new_payee >= 0.5 && score >= 10", "action": "review",
        "state": "live",
    }  # fmt: skip
    names = ("customer.new_payee", "event.hour")
    (rule,) = read_rules({"version": 2, "rules": [row]}, vocabulary(names, factors=names))
    rules = payments.rule_set(rule)
    factors = [
        {"feature": "customer.new_payee", "weight": 0.625, "share": 0.5, "value": 1, "usual": 0},
        {"feature": "event.hour", "weight": -0.25, "share": 0.2, "value": 3, "usual": None},
    ]
    told = opinions_of(20, 7, factors, rules.docket)
    assert told == {"score": 20, "anomaly": 7, "factor.customer.new_payee": 0.625}
    assert opinions_of(20, None, None, rules.docket) == {"score": 20, "anomaly": None}
    judged = judge(payment(), {}, told, rules, Conversation(), NOON_US)
    assert judged.outcome == "review"
    assert judged.reasons[0]["value"] == "0.625"
    without = opinions_of(20, 7, factors[1:], rules.docket)
    assert judge(payment(), {}, without, rules, Conversation(), NOON_US).outcome == "approve"


def test_an_approval_without_a_reason_has_none() -> None:
    told = judge(
        payment(), {}, {"score": 1, "anomaly": 1}, payments.rule_set(), Conversation(), NOON_US
    )
    assert (told.outcome, told.reasons, told.hits) == ("approve", [], [])


def test_a_score_of_a_model_that_learnt_too_little_is_not_acted_upon() -> None:
    rules = payments.rule_set(acts_after_lessons=10)
    for lessons, outcome in ((9, "approve"), (10, "decline")):
        told = judge(
            payment(), {}, {"score": 999, "anomaly": None}, rules, Conversation(), NOON_US, lessons
        )
        assert told.outcome == outcome


def test_a_policy_is_read_in_minor_units_and_microseconds() -> None:
    told = read_policy(DOCUMENT, "CNY")
    assert told.steps == (Step(980, "decline"), Step(600, "challenge"))
    assert told.answer_within_us == 120_000_000
    assert told.unsigned_limit == 5_000_000
    assert told.fail.open_below == 50_000
    assert told.acts_after_lessons == 10


def _policy(*path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


WRONG: list[tuple[dict[str, Any], str]] = [
    (_policy("version", value=2), "needed 'version: 1', got 2"),
    (_policy("score", value=...), "needed a list of steps in 'score', got None"),
    (_policy("score", value=[{"at_least": 5, "outcome": "block"}]), "needed an outcome of"),
    (_policy("score", value=[{"at_least": "5", "outcome": "decline"}]), "an integer .*'at_least'"),
    (_policy("score", value=[{"at_lest": 5, "outcome": "decline"}]), "nearest .* at_least"),
    (_policy("score", value=DOCUMENT["score"][::-1]), "from strict to mild with falling scores"),
    (_policy("asking", value=...), "needed an object in 'asking', got None"),
    (_policy("asking", "per_custmer_24h", value=9), "nearest known name is per_customer_24h"),
    (_policy("asking", "open_at_once", value=...), "an integer of at least 0 in 'open_at_once'"),
    (_policy("asking", "open_at_once", value=-1), "an integer of at least 0 in 'open_at_once'"),
    (_policy("asking", "answer_within_seconds", value=0), "an integer of at least 1"),
    (_policy("asking", "unsigned_confirm_limit_24h", value=5.0), "an amount as text"),
    (_policy("fail_open", "below", value=500), "an amount as text in 'below', got 500"),
    (_policy("fail_open", "below", value="5.001"), "below: needed at most 2 decimal places"),
    (_policy("fail_opne", value={}), "nearest known name is fail_open"),
    (_policy("score_acts_after_lessons", value="many"), "an integer of at least 0"),
]


@pytest.mark.parametrize(("document", "told"), WRONG)
def test_a_policy_that_cannot_be_used_is_refused_by_name(
    document: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadPolicy, match=told):
        read_policy(document, "CNY")


def test_without_a_limit_every_confirm_may_be_unsigned() -> None:
    told = read_policy(_policy("asking", "unsigned_confirm_limit_24h", value=...), "CNY")
    assert told.unsigned_limit is None


RULES: dict[str, Any] = {
    "version": 1,
    "rules": [
        {
            "id": "large",
            "when": [{"value": "event.amount", "operator": ">=", "threshold": 500_000}],
            "action": "challenge",
        }
    ],
}


def _hash(
    rules: dict[str, Any] = RULES,
    policy: dict[str, Any] = DOCUMENT,
    rate: str = "7.05",
    day: date = date(2026, 1, 1),
) -> str:
    return rule_set(rules, policy, Rates("CNY", {"USD": [(day, Decimal(rate))]}), ()).sha256


def test_the_hash_changes_with_any_file_and_with_nothing_else() -> None:
    other_rules = copy.deepcopy(RULES)
    other_rules["rules"][0]["when"][0]["threshold"] = 500_001
    reworded = copy.deepcopy(RULES)
    reworded["rules"][0]["text"] = "A large payment."
    told = [
        _hash(),
        _hash(rules=other_rules),
        _hash(rules=reworded),
        _hash(policy=_policy("asking", "open_at_once", value=4)),
        _hash(rate="7.06"),
        _hash(day=date(2026, 1, 2)),
    ]
    assert len(set(told)) == len(told)
    assert _hash(policy=dict(reversed(DOCUMENT.items()))) == _hash()
    assert len(_hash()) == 64


def _with_share(share: Any, *, step: bool = False) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["asking"]["customers_per_day_share"] = share
    if not step:
        document["score"] = document["score"][:1]
    return document


def test_a_budget_takes_the_place_of_the_step_to_challenge() -> None:
    policy = read_policy(_with_share(0.02), "CNY")
    assert policy.customers_share == 0.02
    assert [step.outcome for step in policy.steps] == ["decline"]
    with pytest.raises(BadPolicy, match="either a score step to challenge or"):
        read_policy(_with_share(0.02, step=True), "CNY")
    for share in (0, 1.5, True, "0.02", None):
        with pytest.raises(BadPolicy, match="needed a share of customers"):
            read_policy(_with_share(share), "CNY")


@pytest.mark.parametrize(
    ("probability", "score", "lessons", "outcome"),
    [
        (0.3, 300, 10, "challenge"),
        (0.2999, 300, 10, "approve"),
        (0.99, 990, 10, "decline"),
        (0.99, 990, 9, "approve"),
    ],
)
def test_who_reaches_the_budgets_bar_is_asked(
    probability: float, score: int, lessons: int, outcome: str
) -> None:
    rules = payments.rule_set(
        steps=(Step(980, "decline"),), acts_after_lessons=10, customers_share=0.02
    )
    told = judge(
        payment(),
        {"f": 1},
        {"score": score, "anomaly": None},
        rules,
        _conversation(),
        NOON_US,
        lessons,
        Bar(probability, 0.3),
    )
    assert told.outcome == outcome
    codes = [reason["code"] for reason in told.reasons]
    assert codes == {"challenge": ["asking_budget"], "decline": ["score"], "approve": []}[outcome]


# -- amounts and segments --------------------------------------------------------------------------

STEPS: list[dict[str, Any]] = [
    {"at_least": 950, "outcome": "decline"},
    {"at_least": 700, "outcome": "decline", "amount_at_least": "20000.00"},
    {"at_least": 300, "outcome": "review", "segment": "elderly"},
    {"at_least": 600, "outcome": "challenge"},
    {"at_least": 300, "outcome": "challenge", "amount_at_least": "20000.00"},
]


@pytest.mark.parametrize(
    ("score", "amount", "segments", "outcome"),
    [
        (950, 100, (), "decline"),
        (700, 1_999_999, (), "challenge"),
        (700, 2_000_000, (), "decline"),
        (700, None, (), "decline"),
        (300, 100, (), None),
        (300, 2_000_000, (), "challenge"),
        (300, 100, ("elderly",), "review"),
        (299, None, ("elderly",), None),
    ],
)
def test_amounts_and_segments_choose_the_first_step(
    score: int, amount: int | None, segments: tuple[str, ...], outcome: str | None
) -> None:
    steps = read_policy(_policy("score", value=STEPS), "CNY").steps
    found = first_step(steps, score, amount, segments)
    assert (None if found is None else found.outcome) == outcome


def test_a_segment_is_a_list_of_customers() -> None:
    lists = Lists("1-0", {"elderly": {("customer", "cus_1"): Entry("asked for it", "ann")}})
    steps = read_policy(_policy("score", value=STEPS), "CNY").steps
    told = []
    for known in (lists, Lists()):
        rules = replace(payments.rule_set(steps=steps), lists=known)
        opinions = {"score": 400, "anomaly": None}
        told.append(judge(payment(), {}, opinions, rules, Conversation(), NOON_US).outcome)
    assert told == ["review", "approve"]


MILDER = [
    ([{"at_least": 5, "outcome": "review"}, {"at_least": 9, "outcome": "decline"}][::-1], None),
    ([{"at_least": 5, "outcome": "decline"}, {"at_least": 9, "outcome": "review"}],
     "got one from 9 on to review that is never reached"),
    ([{"at_least": 9, "outcome": "review"}, {"at_least": 5, "outcome": "decline"}],
     "score 5, amount 0.00 decline, but score 9, amount 0.00 review"),
    ([{"at_least": 5, "outcome": "challenge", "amount_at_least": "9.00"},
      {"at_least": 5, "outcome": "decline"}], "amount 0.00 decline, but score 5, amount 9.00"),
    ([{"at_least": 8, "outcome": "challenge", "segment": "vip"},
      {"at_least": 5, "outcome": "decline"}], "of vip score 5, amount 0.00 decline, but score 8"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "told"), MILDER)
def test_steps_by_which_more_risk_is_milder_are_refused(
    steps: list[dict[str, Any]], told: str | None
) -> None:
    document = _policy("score", value=steps)
    if told is None:
        assert read_policy(document, "CNY").steps
        return
    with pytest.raises(BadPolicy, match=told):
        read_policy(document, "CNY")


_ROWS = st.lists(
    st.fixed_dictionaries(
        {"at_least": st.integers(0, 9), "outcome": st.sampled_from(OUTCOMES)},
        optional={
            "amount_at_least": st.sampled_from(["1.00", "2.00", "3.00"]),
            "segment": st.sampled_from(["a", "b"]),
        },
    ),
    max_size=5,
)


@given(
    _ROWS,
    st.integers(0, 10),
    st.integers(0, 3),
    st.none() | st.integers(0, 400),
    st.integers(0, 200),
    st.lists(st.sampled_from(["a", "b"]), unique=True),
)
def test_any_policy_that_is_read_is_monotone(
    rows: list[dict[str, Any]],
    score: int,
    more: int,
    amount: int | None,
    greater: int,
    segments: list[str],
) -> None:
    try:
        steps = read_policy(_policy("score", value=rows), "CNY").steps
    except BadPolicy:
        return
    higher = None if amount is None else amount + greater
    ranks = []
    for one, worth in ((score, amount), (score + more, higher)):
        found = first_step(steps, one, worth, segments)
        ranks.append(-1 if found is None else MILD_TO_STRICT[found.outcome])
    assert max(ranks[0], 0) <= max(ranks[1], 0)


BRAKES = {"challenges_per_hour": {"rule": 5, "overall": 9}, "declines_per_hour": {"rule": 1}}


def test_brakes_are_read_or_refused() -> None:
    good = {**BRAKES, "declines_per_hour": {"rule": 1, "overall": 2}}
    told = read_policy(_policy("brakes", value=good), "CNY").brakes
    assert told is not None
    assert (told.of("challenge", overall=True), told.of("decline", overall=False)) == (9, 1)
    assert read_policy(DOCUMENT, "CNY").brakes is None
    with pytest.raises(BadPolicy, match="an integer of at least 1 in 'overall', got None"):
        read_policy(_policy("brakes", value=BRAKES), "CNY")
    with pytest.raises(BadPolicy, match="needed an object in 'declines_per_hour', got None"):
        read_policy(
            _policy("brakes", value={"challenges_per_hour": {"rule": 1, "overall": 1}}), "CNY"
        )
    with pytest.raises(BadPolicy, match="got 'challenges'; the nearest known name is challenges_"):
        read_policy(_policy("brakes", value={"challenges": 3}), "CNY")
