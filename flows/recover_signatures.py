"""Which signatures were used, and how far had each key counted? Brought back from the records.

A passkey's counter only rises, and no signature counts twice. Both stand in the records of what was
signed (answers, bindings), so that a copied key and a captured answer are refused after a Redis was
lost as they were before. Of old records what was not written down yet is missing: where a key's
counter stood when it was enrolled.
"""

import hashlib
from typing import Any

import redis

from audit import read
from flows.clock import wall_us
from flows.parts import House
from risk import names, signed
from risk.events import parse_us

_KINDS = ("credential.enrolled", "answer", "step")
_KEPT_US = 7 * 86_400_000_000  # as long as a used signature is known
_CHUNK = 500


def signatures_back(client: "redis.Redis", house: House) -> int:
    """Put back counters and used signatures; how many signatures were missing. Safe to run again.

    After the keys themselves are back: of a key that is gone nothing is kept.
    """
    counts: dict[str, int] = {}
    used: dict[str, tuple[int, str]] = {}
    now_us = wall_us()
    for leaf in read.of_kinds(house.data, _KINDS):
        body = leaf["body"]
        credential = body.get("credential")
        if not credential or body.get("taken") is False:
            continue
        counts[credential] = max(counts.get(credential, 0), _count(body))
        mark = _mark(body)
        left = (parse_us(leaf["at"]) + _KEPT_US - now_us) // 1_000_000
        if mark is not None and left > 0:
            used[mark] = (left, str(body.get("challenge") or body.get("binding") or ""))
    _raise(client, counts)
    put, pipe = 0, client.pipeline(transaction=False)
    for number, (mark, (left, what)) in enumerate(used.items(), 1):
        pipe.set(names.signed(mark), what, ex=left, nx=True)
        if number % _CHUNK == 0:
            put += sum(map(bool, pipe.execute()))
    return put + sum(map(bool, pipe.execute()))


def _raise(client: "redis.Redis", counts: dict[str, int]) -> None:
    for credential, count in counts.items():
        kept: Any = client.hmget(names.credential(credential), "data", "count")
        if kept[0] is not None and int(kept[1] or 0) < count:
            client.hset(names.credential(credential), "count", count)


def _count(body: dict[str, Any]) -> int:
    """The counter in authenticator data (WebAuthn Level 2, 6.1), or told at the enrolment."""
    told = body.get("authenticator_data")
    if told is None:
        return int(body.get("count", 0))
    return int.from_bytes(signed.unb64(told)[33:37], "big")


def _mark(body: dict[str, Any]) -> str | None:
    """By what a signature is known again; None for a record of something else."""
    if "authenticator_data" in body:
        parts = (body[name] for name in ("authenticator_data", "client_data", "signature"))
        return hashlib.sha256(b"\0".join(map(signed.unb64, parts))).hexdigest()
    digest = body.get("digest")
    return str(digest) if digest else None
