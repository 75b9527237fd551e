"""Has Redis lost what it acknowledged? Then nothing starts on it, unless it is put back first.

The ledger knows how far into ``rb:audit`` it has read; a Redis whose stream ends before that has
lost writes. What ``--recover-from-ledger`` puts back, `flows/recover.py` says; without need nothing
of it is loaded, and so the ledger's writer starts without the engine.
"""

from typing import Any

import redis

from audit import read
from audit.errors import RedisBehindLedger
from audit.redis_inlet import parse_id
from flows.parts import House
from risk import names

NOT_KNOWN = (
    "Not in the ledger, and so still lost: profiles (fill them by `ringback backfill`), events "
    "accepted but not decided (`ringback audit reconcile` names them)."
)


def settle(house: House, client: "redis.Redis", *, recover: bool) -> dict[str, int] | None:
    """Compare Redis with the ledger before anything starts on them.

    RedisBehindLedger unless `recover`, which puts back what can be and tells how much; None where
    nothing was lost.
    """
    stands, taken = _end_of(client), read.stream_position(house.data)
    if stands >= parse_id(taken):
        return None
    found = f"{stands[0]}-{stands[1]}"
    if not recover:
        raise RedisBehindLedger(
            f"{names.AUDIT} in Redis ends at {found}, the ledger has already taken "
            f"{taken}: Redis has lost acknowledged writes. Put its file back from where it went, "
            "or start with --recover-from-ledger, which puts back decisions and open questions"
        )
    from flows.recover import put_back

    return put_back(client, house, found, taken)


def _end_of(client: "redis.Redis") -> tuple[int, int]:
    try:
        info: Any = client.xinfo_stream(names.AUDIT)
    except redis.ResponseError:
        return (0, 0)
    return parse_id(info["last-generated-id"])
