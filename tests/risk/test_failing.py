"""Is the answer in place of the flow's bounded on every side, and never milder for more risk?"""

from hypothesis import given
from hypothesis import strategies as st

from risk.failing import FailDecision, FailLimits, Spent, fail_policy

LIMITS = FailLimits(open_below=500, per_customer=1000, per_payee=2000, overall=5000)
_AMOUNT = st.integers(0, 7000)
_SPENT = st.builds(Spent, _AMOUNT, _AMOUNT, _AMOUNT)
_LIMITS = st.builds(FailLimits, _AMOUNT, _AMOUNT, _AMOUNT, _AMOUNT)


def _mild(decision: FailDecision) -> bool:
    assert (decision.outcome, decision.policy) in {
        ("approve", "fail-open"),
        ("decline", "fail-closed"),
    }
    return decision.outcome == "approve"


@given(_AMOUNT, _AMOUNT, _SPENT, _LIMITS)
def test_a_greater_amount_never_gets_the_milder_answer(
    amount: int, more: int, spent: Spent, limits: FailLimits
) -> None:
    if _mild(fail_policy(amount + more, spent, limits)):
        assert _mild(fail_policy(amount, spent, limits))


@given(_AMOUNT, _SPENT, _SPENT, _LIMITS)
def test_more_spent_never_gets_the_milder_answer(
    amount: int, spent: Spent, more: Spent, limits: FailLimits
) -> None:
    greater = Spent(
        spent.customer + more.customer, spent.payee + more.payee, spent.overall + more.overall
    )
    if _mild(fail_policy(amount, greater, limits)):
        assert _mild(fail_policy(amount, spent, limits))


@given(st.lists(st.integers(1, 600), max_size=60), _LIMITS)
def test_whatever_comes_what_passes_in_an_hour_stays_within_its_bounds(
    amounts: list[int], limits: FailLimits
) -> None:
    passed = 0
    for amount in amounts:
        if _mild(fail_policy(amount, Spent(passed, passed, passed), limits)):
            assert amount < limits.open_below
            passed += amount
    assert passed <= min(limits.per_customer, limits.per_payee, limits.overall)


@given(_SPENT, _LIMITS)
def test_an_unknown_amount_is_beyond_every_limit(spent: Spent, limits: FailLimits) -> None:
    assert fail_policy(None, spent, limits).code == "fail.amount_unknown"


def test_the_code_names_the_bound_that_was_reached() -> None:
    told = {
        fail_policy(499, Spent(), LIMITS).code,
        fail_policy(500, Spent(), LIMITS).code,
        fail_policy(400, Spent(customer=601), LIMITS).code,
        fail_policy(400, Spent(payee=1601), LIMITS).code,
        fail_policy(400, Spent(overall=4601), LIMITS).code,
    }
    assert told == {
        "fail.open",
        "fail.amount",
        "fail.customer_bound",
        "fail.payee_bound",
        "fail.overall_bound",
    }
    assert fail_policy(400, Spent(600, 1600, 4600), LIMITS).outcome == "approve"
