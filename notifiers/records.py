"""What goes on record of the conversation? Records for the ledger, and answers for the flow.

Personal values (a chat address, a text) leave under a seal whose associated data is their path;
the ledger's writer seals them anew. A record's `rid` is made of what came in, so that a second
attempt makes the same one and the writer drops it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from notifiers.facts import Ask, Heard, write_time
from risk import names
from risk.privacy import NONCE_BYTES, seal

GRADE_SECRET = 3
GRADE_PERSONAL = 2


@dataclass(frozen=True, slots=True)
class Effect:
    """What reaches Redis in one transaction, once: `uid` is its own name."""

    uid: str
    entries: tuple[tuple[str, str, bytes], ...]

    @property
    def waited_for(self) -> bool:
        """Whether it is more than a record: an answer, an alert."""
        return any(stream != names.AUDIT for stream, _, _ in self.entries)

    def dump(self) -> bytes:
        return orjson.dumps([self.uid, [[s, f, v.decode()] for s, f, v in self.entries]])

    @classmethod
    def load(cls, raw: bytes) -> "Effect":
        uid, entries = orjson.loads(raw)
        return cls(uid, tuple((s, f, v.encode()) for s, f, v in entries))


class Records:
    """Writes the records of one tenant."""

    def __init__(self, tenant: str, transport_key: bytes, chance: Callable[[int], bytes]) -> None:
        self._tenant = tenant
        self._key = transport_key
        self._chance = chance

    def record(
        self,
        kind: str,
        rid: str,
        at: str,
        body: Mapping[str, Any],
        *,
        ask: Ask | None,
        subject: str,
        actor: Mapping[str, str],
        personal: Mapping[str, str] | None = None,
        strength: str | None = None,
    ) -> dict[str, Any]:
        """Make one record; `personal` maps a path to a clear value, which leaves sealed."""
        made: dict[str, Any] = {
            "v": 1,
            "kind": kind,
            "rid": rid,
            "tenant": self._tenant,
            "case": ask.case if ask else None,
            "event": ask.event if ask else None,
            "subject": subject,
            "actor": dict(actor),
            "at": at,
            "body": dict(body),
            "payload": [],
            "grade": GRADE_PERSONAL,
        }
        if strength:
            made["strength"] = strength
        if personal:
            made["personal"] = {
                path: {
                    "subject": subject,
                    "sealed": seal(
                        self._key, value.encode(), path.encode(), self._chance(NONCE_BYTES)
                    ),
                }
                for path, value in personal.items()
            }
        return made


STRENGTH = {"A": "signed", "B": "app"}
SERVICE = {"type": "service", "id": "notifier", "role": "notifier"}


def customer_actor(token: str) -> dict[str, str]:
    """Name the customer as the one who acted."""
    return {"type": "customer", "id": token, "role": "customer"}


def audit(*made: Mapping[str, Any]) -> tuple[str, str, bytes]:
    """Bundle records as one entry of `rb:audit`."""
    return (names.AUDIT, "records", orjson.dumps(list(made)))


def answer(
    ask: Ask,
    heard: Heard,
    decision: str,
    reason: str | None,
    layer: str,
    evidence: Mapping[str, Any],
    binding: Mapping[str, Any] | None = None,
) -> tuple[str, str, bytes]:
    """Write an answer for the customer's shard, which alone says what it is worth."""
    return (
        names.ANSWERS,
        "answer",
        orjson.dumps(
            {
                "v": 1,
                "kind": "answer",
                "challenge": ask.id,
                "event": ask.event,
                "customer": ask.customer,
                "decision": decision,
                "reason": reason,
                "layer": layer,
                "channel": heard.channel,
                "received": write_time(heard.received),
                "delayed": heard.delayed,
                "strength": STRENGTH.get(layer, "claimed"),
                "binding": binding,
                "evidence": dict(evidence),
            }
        ),
    )


def freeze(
    customer: str, heard: Heard, binding: Mapping[str, Any] | None
) -> tuple[str, str, bytes]:
    """Tell the flow that a customer wants nothing paid any more."""
    told = {
        "v": 1,
        "kind": "freeze",
        "customer": customer,
        "channel": heard.channel,
        "received": write_time(heard.received),
        "binding": binding,
    }
    return (names.ANSWERS, "answer", orjson.dumps(told))


def unreachable(ask: Ask, at: str, why: str) -> tuple[str, str, bytes]:
    """Tell the flow that no channel could carry the question."""
    return (
        names.ANSWERS,
        "answer",
        orjson.dumps(
            {
                "v": 1,
                "kind": "unreachable",
                "challenge": ask.id,
                "event": ask.event,
                "customer": ask.customer,
                "received": at,
                "why": why,
            }
        ),
    )


def gave_up(ask: Ask, at: str, why: str) -> Effect:
    """Say so as an effect, once for each question."""
    return Effect(f"unreachable/{ask.id}", (unreachable(ask, at, why),))


def alert(event: str, kind: str, text: str) -> tuple[str, str, bytes]:
    """Tell the officers' room."""
    return (names.ALERTS, "alert", orjson.dumps({"event": event, "kind": kind, "text": text}))
