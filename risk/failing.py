"""What is answered when the flow can't answer in time? The fail policy, bounded on every side.

Below a limit a payment passes (*fail-open*), as long as what passed in this hour stays within its
bounds for this customer, this payee and the whole bank; beyond, it is declined (*fail-closed*).
A missing amount, or one without a known rate, is beyond every limit.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailLimits:
    """Bounds in minor units of the base currency; the three sums are over one hour."""

    open_below: int
    per_customer: int
    per_payee: int
    overall: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What already passed by fail-open in this hour, in minor units of the base currency."""

    customer: int = 0
    payee: int = 0
    overall: int = 0


@dataclass(frozen=True, slots=True)
class FailDecision:
    """The answer in place of the flow's, and the reason code that goes with it."""

    outcome: str
    policy: str
    code: str


def fail_policy(amount_base: int | None, spent: Spent, limits: FailLimits) -> FailDecision:
    """Decide without features, model or rules. More risk never gets the milder answer."""
    if amount_base is None:
        return FailDecision("decline", "fail-closed", "fail.amount_unknown")
    if amount_base >= limits.open_below:
        return FailDecision("decline", "fail-closed", "fail.amount")
    if spent.customer + amount_base > limits.per_customer:
        return FailDecision("decline", "fail-closed", "fail.customer_bound")
    if spent.payee + amount_base > limits.per_payee:
        return FailDecision("decline", "fail-closed", "fail.payee_bound")
    if spent.overall + amount_base > limits.overall:
        return FailDecision("decline", "fail-closed", "fail.overall_bound")
    return FailDecision("approve", "fail-open", "fail.open")
