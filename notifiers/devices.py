"""Has a device key of the customer signed this answer? Layer A over the chat.

The same statement as a passkey signs on the page, as a JWS; the key was enrolled at the gateway.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import RedisError

from notifiers.facts import Decision, Reason
from risk import names, signed
from risk.signed import Unsigned

_USED_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """What a device key has said, and by which binding."""

    decision: Decision
    reason: Reason | None
    credential: str
    mark: str
    binding: dict[str, Any]
    compact: str


async def check_signed(redis: Any, compact: str, asked: Mapping[str, Any]) -> SignedAnswer:
    """The answer in a JWS about the question ``asked``; else `Unsigned` with the reason."""
    try:
        return await _check(redis, compact, asked)
    except (RedisError, OSError, TimeoutError) as away:
        raise Unsigned("away", "the key can't be looked up now") from away


async def spend(redis: Any, mark: str) -> None:
    """Say that a signature was used: once its answer is durable, never before."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await redis.set(names.signed(mark), 1, nx=True, ex=_USED_SECONDS)


async def _check(redis: Any, compact: str, asked: Mapping[str, Any]) -> SignedAnswer:
    kid = signed.kid_of(compact)
    raw = await redis.hget(names.credential(kid), "data")
    kept = orjson.loads(raw) if raw is not None else {}
    if kept.get("kind") != "device" or kept.get("customer") != asked["customer"]:
        raise Unsigned("credential", "needed a device key of the customer that is asked")
    algorithm, der = str(kept["algorithm"]), signed.unb64(kept["der"])
    found = signed.check_answer(compact, algorithm, der, asked)
    mark = hashlib.sha256(found.compact.encode()).hexdigest()
    if await redis.exists(names.signed(mark)):
        raise Unsigned("replayed", "this signature was an answer before")
    binding = {
        "id": f"device/{kid}",
        "bound": kept["bound"],
        "waits": kept["waits"],
        "verified": True,
    }
    decision: Any = found.decision
    reason: Any = found.reason
    return SignedAnswer(decision, reason, kid, mark, binding, found.compact)
