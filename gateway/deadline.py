"""What is said when time runs out? The fail policy, written first-wins beside the flow's decision.

What passes by fail-open is summed per customer, payee and overall for each hour. An amount is
added before the policy looks, and taken back when it doesn't pass: two gateways at once may find
the bound too early, never too late.
"""

from datetime import timedelta
from importlib import resources
from typing import Any

import orjson

from gateway.edge import Accepting
from gateway.ports import Counts, FailPolicy
from gateway.records import GATEWAY, record
from gateway.turns import Turns
from risk import events, names
from risk.failing import FailDecision, Spent
from risk.money import Rates

SCRIPT = resources.files("gateway").joinpath("spend.lua").read_text()
SKIPPED = ("features", "model", "rules")
_KEPT_SECONDS = 7200
_TEXTS = {
    "fail.open": "No decision in time; small enough to pass without one",
    "fail.amount_unknown": "No decision in time; the amount in the base currency is not known",
    "fail.amount": "No decision in time; the amount is too large to pass without one",
    "fail.customer_bound": "No decision in time; the customer's hourly bound is reached",
    "fail.payee_bound": "No decision in time; the payee's hourly bound is reached",
    "fail.overall_bound": "No decision in time; the bank's hourly bound is reached",
}


class Deadline:
    """Decides in the flow's place, by a policy that was handed in."""

    def __init__(
        self,
        turns: Turns,
        *,
        policy: FailPolicy,
        counts: Counts,
        rates: Rates,
        tenant: str,
        kept: timedelta,
    ) -> None:
        self._turns = turns
        self._policy = policy
        self._counts = counts
        self._rates = rates
        self._tenant = tenant
        self._kept_seconds = int(kept.total_seconds())

    def hint(self, event: Accepting) -> dict[str, str]:
        """What the policy would say where nothing can be written, as if nothing had passed yet."""
        said = self._policy(self._base(event), Spent(), self._counts()[0])
        return {"decision": said.outcome, "policy": said.policy, "code": said.code}

    async def decide(self, event: Accepting, now_us: int) -> tuple[bytes, bool]:
        """Give the decision that was written first, and whether it is the policy's."""
        amount = self._base(event)
        sums = _sums(event, now_us)
        spent = Spent()
        if amount is not None:
            before = await self._turns.run("spend", amount, _KEPT_SECONDS, *sums)
            spent = Spent(
                overall=int(before[0]),
                customer=int(before[1]),
                payee=int(before[2]) if len(before) > 2 else 0,
            )
        limits, sha256 = self._counts()
        said = self._policy(amount, spent, limits)
        decision = orjson.dumps(self._decision(event, said, sha256, now_us))
        [first] = await self._turns.run(
            "decide",
            "gateway",
            "",
            now_us // 1000,
            self._kept_seconds,
            event.id,
            decision,
            "",
            orjson.dumps([self._record(event, said, sha256, amount, now_us)]),
            "",
            "",
            "",
            "",
        )
        ours = first == b"new"
        if amount is not None and not (ours and said.policy == "fail-open"):
            self._turns.run("spend", -amount, _KEPT_SECONDS, *sums).add_done_callback(_seen)
        return (decision, True) if ours else (first, False)

    def _base(self, event: Accepting) -> int | None:
        if event.amount is None:
            return None
        minor, currency = event.amount
        return self._rates.to_base(minor, currency, events.instant(event.time_us).date())

    def _decision(
        self, event: Accepting, said: FailDecision, sha256: str, now_us: int
    ) -> dict[str, Any]:
        return {
            "event": event.id,
            "decision": said.outcome,
            "score": None,
            "reasons": [{"code": said.code, "text": _TEXTS.get(said.code, said.code)}],
            "model": None,
            "policy_sha256": sha256,
            "degraded": {"policy": said.policy, "skipped": list(SKIPPED)},
            "trace": event.trace,
            "stages_us": {"waited": now_us - event.accepted_us},
            "decided": events.rfc3339(now_us),
        }

    def _record(
        self,
        event: Accepting,
        said: FailDecision,
        sha256: str,
        amount: int | None,
        now_us: int,
    ) -> dict[str, Any]:
        return record(
            "decision",
            f"gateway/{event.id}/decision",
            tenant=self._tenant,
            case=names.case(event.id),
            event=event.id,
            subject=event.customer,
            actor=GATEWAY,
            at_us=now_us,
            body={
                "decision": said.outcome,
                "code": said.code,
                "policy": said.policy,
                "policy_sha256": sha256,
                "skipped": list(SKIPPED),
                "amount_base": amount,
                "waited_us": now_us - event.accepted_us,
            },
        )


def _sums(event: Accepting, now_us: int) -> list[str]:
    hour = events.instant(now_us).strftime("%Y%m%d%H")
    keys = [f"rb:spent:{hour}", f"rb:spent:{hour}:{event.customer}"]
    if event.payee is not None:
        keys.append(f"rb:spent:{hour}:{event.payee}")
    return keys


def _seen(reply: Any) -> None:
    """Look at a reply that nobody waits for: a refund that was lost only tightens the bound."""
    if not reply.cancelled():
        reply.exception()
