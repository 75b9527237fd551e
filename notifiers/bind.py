"""What ties an answer to its question? The canonical bytes, their digest, and the six-digit code.

The code *correlates*; it is no secret and no strong customer authentication. No chat client
echoes a thread id, so it is what a person types back.
"""

import hashlib
import hmac
from collections.abc import Collection
from typing import Any

from notifiers.facts import Ask, Payee
from risk import signed
from risk.privacy import canonical

_CODE = b"ringback-code-v1\0"
_ANSWER = b"ringback-answer-v1\0"


def facts(ask: Ask, payee: Payee) -> dict[str, Any]:
    """Give what was asked: the facts that a signed answer holds, too."""
    about = {
        "id": ask.id,
        "amount": ask.amount,
        "currency": ask.currency,
        "customer": ask.customer,
        "nonce": ask.nonce,
        "expires": ask.expires,
    }
    return signed.question(about, {"name": payee.name, "account": payee.account})


def question(ask: Ask, payee: Payee) -> bytes:
    """Give the canonical JSON of what was asked: change a byte of it, and nothing fits."""
    return canonical(facts(ask, payee))


def digest(asked: bytes) -> str:
    """Give the digest that an own client sends back (base64url of SHA-256, no padding)."""
    return signed.bind(asked)


def tied(asked: str, challenge: str, decision: str, reason: str) -> str:
    """Tie one answer to a sealed question: who never saw its digest can make or turn round none.

    HMAC-SHA256 (base64url, no padding), keyed with the digest, of id, decision and reason.
    """
    said = f"{challenge}\0{decision}\0{reason}".encode()
    return signed.b64(hmac.digest(asked.encode(), _ANSWER + said, hashlib.sha256))


def code(key: bytes, asked: bytes, draw: int = 0) -> str:
    """Give the six digits of one draw."""
    mac = hmac.digest(key, _CODE + draw.to_bytes(4, "big") + asked, hashlib.sha256)
    return f"{int.from_bytes(mac[:8], 'big') % 1_000_000:06d}"


def draw_code(key: bytes, asked: bytes, taken: Collection[str]) -> tuple[int, str]:
    """Draw until the code is none of the customer's other open ones; give the draw with it."""
    for draw in range(10_000):
        drawn = code(key, asked, draw)
        if drawn not in taken:
            return draw, drawn
    raise ValueError(f"code: no free one among {len(taken)} open challenges of one customer")


def same(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
