"""A question as the flow puts it, and its end, for tests of the pages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from risk import names
from risk.privacy import seal, web_token
from tests.gateway.bank import Bank


async def ask(bank: Bank, challenge: str = "ch_1", **other: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    payee = {"name": "ACME Trading", "account": "6222020000000000001"}
    question = {
        "v": 1,
        "op": "ask",
        "id": challenge,
        "event": "pay-1",
        "case": "case-pay-1",
        "customer": "cus_you",
        "amount": "9800.00",
        "currency": "CNY",
        "payee": seal(b"e" * 32, orjson.dumps(other.pop("payee", payee)), b"payee", b"n" * 12),
        "kind": "transfer",
        "nonce": "00",
        "created": now.isoformat(),
        "expires": (now + timedelta(seconds=other.pop("seconds", 120))).isoformat(),
        "reasons": ["new_payee.large"],
        **other,
    }
    raw = orjson.dumps(question)
    expires = datetime.fromisoformat(question["expires"]).timestamp() * 1000
    await bank.redis.set(names.challenge(challenge), raw)
    await bank.redis.zadd(names.OPEN, {challenge: expires})
    await bank.redis.xadd(names.CHALLENGES, {"challenge": raw})
    return question


async def end(bank: Bank, question: dict[str, Any], state: str, decision: str) -> None:
    at = datetime.now(UTC).isoformat()
    by = {"type": "customer", "id": question["customer"]}
    outcome = {"state": state, "decision": decision, "at": at, "by": by}
    await bank.redis.set(names.outcome(question["event"]), orjson.dumps(outcome))
    await bank.redis.zrem(names.OPEN, question["id"])
    closed = {"op": "close", **{key: question[key] for key in ("id", "event", "customer")}}
    closed.update(state=state, decision=decision, at=at)
    whole = {"event": question["event"], "decision": "challenge", "score": 900, "outcome": outcome}
    await bank.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(closed)})
    await bank.redis.xadd(names.DECISIONS, {"decision": orjson.dumps(whole)})


def link_token(challenge: str = "ch_1") -> str:
    return web_token(b"w" * 32, challenge)
