"""How does an answer go from a page, or from a customer's device, to the customer's shard?

Passed on once, with its record, in one script; a signature is spent in the same one. What is
refused here (a signature that is not one over this question) is put on record with its reason and
passed on to nobody.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import orjson

from gateway.devices import Signed
from gateway.edge import Edge
from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.records import record
from gateway.turns import Turns
from risk import events, names
from risk.signed import Unsigned

SCRIPT = resources.files("gateway").joinpath("answer.lua").read_text()
KEPT_SECONDS = 7 * 86_400
REFUSALS_ON_RECORD = 50


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as it was given: what is said, by which binding, and its signature if any."""

    ask: dict[str, Any]
    decision: str
    reason: str | None
    channel: str
    binding: dict[str, Any] | None
    session: str = ""
    signature: Signed | None = None

    @property
    def layer(self) -> str:
        return "A" if self.signature else "web"

    @property
    def strength(self) -> str:
        return "signed" if self.signature else "app"

    @property
    def said(self) -> str:
        """What makes it another answer than the one before."""
        plain = self.decision if self.reason is None else f"{self.decision}:{self.reason}"
        return f"{plain}/{self.signature.mark}" if self.signature else plain


class Answers:
    """Passes answers on, and puts on record what is refused."""

    def __init__(self, turns: Turns, edge: Edge, metrics: Metrics) -> None:
        self._turns, self._edge, self._metrics = turns, edge, metrics

    async def pass_on(self, given: Given, now_us: int) -> bool:
        """Pass an answer on; True where its question is open. `Unsigned` where it was spent."""
        challenge, signature = given.ask["id"], given.signature
        verdict, is_open = await self._turns.run(
            "answer",
            f"rb:web:given:{challenge}",
            given.said,
            KEPT_SECONDS,
            names.OPEN,
            challenge,
            names.ANSWERS,
            orjson.dumps(self._entry(given, now_us)),
            names.AUDIT,
            orjson.dumps([self._record(given, now_us)]),
            names.signed(signature.mark) if signature else "",
            names.credential(signature.credential.id) if signature else "",
            signature.count if signature else 0,
        )
        if verdict in (b"gone", b"replayed", b"counter"):
            why = {b"gone": "credential"}.get(verdict, verdict.decode())
            raise Unsigned(why, "another answer with it was first")
        if verdict == b"new":
            self._metrics.answers.labels(given.decision).inc()
        return bool(is_open)

    async def took_nothing(self, given: Given) -> None:
        """An answer counted for nothing, and its question is open: it may be given once more."""
        await self._turns.ask("HDEL", f"rb:web:given:{given.ask['id']}", given.said)

    async def refuse(
        self, ask: dict[str, Any], refused: Unsigned, given: Any, channel: str, now_us: int
    ) -> Problem:
        """Put a refused signature on record; gives the problem that says so."""
        challenge, customer = ask["id"], ask["customer"]
        counted = f"rb:web:refused:{challenge}"
        number = await self._turns.ask("INCR", counted)
        await self._turns.ask("EXPIRE", counted, KEPT_SECONDS)
        if number <= REFUSALS_ON_RECORD:
            raw = orjson.dumps(given)[:16_384]
            made = record(
                "answer",
                f"answers/{challenge}/refused/{number}",
                **self._about(ask, now_us),
                body={
                    "challenge": challenge,
                    "layer": "A",
                    "channel": channel,
                    "taken": False,
                    "why": refused.why,
                    "received": events.rfc3339(now_us),
                    "given_sha256": hashlib.sha256(raw).hexdigest(),
                },
                personal={"given": self._edge.personal("given", raw.decode(), customer)},
                strength="claimed",
            )
            await self._turns.ask("XADD", names.AUDIT, "*", "records", orjson.dumps([made]))
        if number == 1:  # the officers hear of it once a question, whatever else is tried
            text = f"A signature that is not one over this question was refused: {refused.why}."
            alert = {"event": ask["event"], "kind": "signature", "text": text}
            await self._turns.ask("XADD", names.ALERTS, "*", "alert", orjson.dumps(alert))
        return Problem(
            "not_signed", f"Not taken: {refused}. The question stands as it stood.", why=refused.why
        )

    def _about(self, ask: dict[str, Any], now_us: int) -> dict[str, Any]:
        customer, event = ask["customer"], ask["event"]
        return {
            "tenant": self._edge.tenant,
            "case": ask.get("case") or names.case(event),
            "event": event,
            "subject": customer,
            "actor": {"type": "customer", "id": customer, "role": "customer"},
            "at_us": now_us,
        }

    def _entry(self, given: Given, now_us: int) -> dict[str, Any]:
        evidence: dict[str, Any] = {"session": given.session}
        if given.signature is not None:
            evidence = {"credential": given.signature.credential.id}
        return {
            "v": 1,
            "kind": "answer",
            "challenge": given.ask["id"],
            "event": given.ask["event"],
            "customer": given.ask["customer"],
            "decision": given.decision,
            "reason": given.reason,
            "layer": given.layer,
            "channel": given.channel,
            "received": events.rfc3339(now_us),
            "delayed": False,
            "strength": given.strength,
            "binding": given.binding,
            "evidence": evidence,
        }

    def _record(self, given: Given, now_us: int) -> dict[str, Any]:
        challenge, signature = given.ask["id"], given.signature
        body = {
            "challenge": challenge,
            "decision": given.decision,
            "reason": given.reason,
            "layer": given.layer,
            "channel": given.channel,
            "received": events.rfc3339(now_us),
        }
        if given.binding is not None:
            body["binding"] = given.binding["id"]
        more: dict[str, Any] = {}
        if signature is not None:
            body |= signature.evidence
            customer = given.ask["customer"]
            more["personal"] = {
                path: self._edge.personal(path, value, customer)
                for path, value in signature.personal.items()
            }
        return record(
            "answer",
            f"answers/{challenge}/answer/web.{given.said}.{now_us}",
            **self._about(given.ask, now_us),
            body=body,
            strength=given.strength,
            **more,
        )
