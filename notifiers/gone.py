"""What if an address exists no more? It is unbound, on record, and the other channels are told."""

import asyncio
import logging
from typing import Any

import orjson

from notifiers import records
from notifiers.facts import Ask, write_time
from notifiers.term import Term, read_object
from risk import names
from risk.privacy import SealBroken, open_sealed

log = logging.getLogger(__name__)

_TRIES = 5
# Someone else may bind at the same moment: nothing is written over what was not read.
_UNBIND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'records', ARGV[3])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 100000, '*', 'telling', ARGV[4])
return 1
"""


async def unbind(term: Term, ask: Ask, kind: str, address: str) -> None:
    """Remove one address of this kind from the customer who was asked."""
    key = names.customer(ask.customer)
    for _ in range(_TRIES):
        raw: Any = await term.redis.get(key)
        kept = read_object(raw)
        if raw is None or kept is None:
            return
        gone = [
            channel
            for channel in kept.get("channels") or ()
            if channel.get("kind") == kind and _opened(term, channel.get("address")) == address
        ]
        if not gone:
            return
        left = [channel for channel in kept["channels"] if channel not in gone]
        token = str(gone[0].get("token") or "")
        at = write_time(term.clock())
        made = term.records.record(
            "binding.removed",
            f"customers/{ask.customer}/binding.removed/{kind}.{token}.{gone[0].get('bound')}",
            at,
            {"channel": kind, "token": token, "why": "gone", "challenge": ask.id},
            ask=None,
            subject=ask.customer,
            actor=records.SERVICE,
        )
        stands = orjson.dumps({**kept, "channels": left})
        to = [{"kind": c["kind"], "address": c["address"]} for c in left if c.get("verified")]
        told = {"v": 1, "customer": ask.customer, "added": [], "removed": [kind], "at": at}
        told["to"] = to
        keys = (key, names.AUDIT, names.TELLINGS)
        values = (raw, stands, orjson.dumps([made]), orjson.dumps(told))
        done = await term.redis.eval(_UNBIND, len(keys), *keys, *values)
        if done:
            log.info("%s: an address is gone and unbound", kind)
            return
        await asyncio.sleep(0.05)


def _opened(term: Term, sealed: object) -> str:
    try:
        return open_sealed(term.seal_key, str(sealed or ""), b"address").decode()
    except SealBroken:
        return ""
