"""How does the bank's system hear of an outcome that it doesn't wait for? By a signed call.

Standard Webhooks (standardwebhooks.com): ``webhook-id`` stays the same over all attempts,
``webhook-signature`` is an HMAC over id, timestamp and body. What is due lies in Redis, so a
restart forgets nothing; one gateway at a time sends. After a day a call is a dead letter.

The URL comes from configuration alone, and still the address behind it is looked at: private,
loopback, link-local and metadata addresses are refused unless ``host:port`` is allowed by name;
the address that was looked at is the one that is called; redirects are not followed.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.fetched import outcome_for_caller
from gateway.ports import Webhook
from gateway.turns import StoreAway, Turns
from risk import events, names
from risk.calls import check_url, may_be_called, signature

log = logging.getLogger("ringback.gateway")
POSITION = "rb:webhook:position"
DUE = "rb:webhook:due"
CALLS = "rb:webhook:calls"
LEADER = "rb:webhook:leader"
BACK_OFF_SECONDS = (1, 2, 4, 8, 15, 30, 60, 120, 300, 900, 1800, 3600)
GIVE_UP_MS = 24 * 3600 * 1000
TIMEOUT_SECONDS = 10.0
LARGEST_ANSWER = 64 * 1024
AT_ONCE = 16
_LEASE_MS = 15_000

# Takes outcomes over from the stream, with the position up to which that is done.
TAKE = """
-- ARGV: 1 position key, 2 position read, 3 position reached, 4 due key, 5 calls key, 6 now ms,
--       then id and body of each call. Gives 1, or 0 where another was faster.
local at = redis.call('GET', ARGV[1]) or ''
if at ~= ARGV[2] then
  return at == ARGV[3] and 1 or 0
end
for i = 7, #ARGV, 2 do
  if redis.call('HSETNX', ARGV[5], ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('ZADD', ARGV[4], ARGV[6], ARGV[i])
  end
end
redis.call('SET', ARGV[1], ARGV[3])
return 1
"""
# Leads, or goes on leading, for a while.
LEAD = """
-- ARGV: 1 leader key, 2 who, 3 ms. Gives 1 for the leader.
local leader = redis.call('GET', ARGV[1])
if leader and leader ~= ARGV[2] then
  return 0
end
redis.call('SET', ARGV[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class AddressRefused(OSError):
    """The webhook's name leads to an address that is not called."""


class CheckedResolver(AbstractResolver):
    """Resolves a name once for a call, and lets through only what may be called."""

    def __init__(self, allow: frozenset[str]) -> None:
        self._allow = allow

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        checked: list[ResolveResult] = []
        for kind, _, proto, _, address in found:
            where = str(address[0])
            if f"{host}:{port}" not in self._allow and not may_be_called(where):
                raise AddressRefused(f"webhook: {host} leads to an address that is not public")
            checked.append(
                ResolveResult(
                    hostname=host,
                    host=where,
                    port=port,
                    family=kind,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return checked

    async def close(self) -> None:
        """Nothing is held."""


class Outcomes:
    """Calls the webhook for every outcome, until it is taken or a day has passed."""

    def __init__(
        self, turns: Turns, webhook: Webhook, gateway: str, clock: Callable[[], int]
    ) -> None:
        check_url(webhook.url, webhook.allow)
        self._turns = turns
        self._webhook = webhook
        self._gateway = gateway
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Take over and call until told to stop."""
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(self._webhook.allow), use_dns_cache=False, limit=AT_ONCE
        )
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            while not stop.is_set():
                busy = False
                try:
                    lead = await self._turns.run("lead", LEADER, self._gateway, _LEASE_MS)
                    if lead:
                        busy = await self._take()
                        busy = await self._call_due(http) or busy
                except StoreAway as away:
                    log.warning("webhook: %s", away)
                try:
                    await asyncio.wait_for(stop.wait(), 0.02 if busy else 0.25)
                except TimeoutError:
                    continue
        with contextlib.suppress(StoreAway):  # another may lead at once
            await self._turns.run("lead", LEADER, self._gateway, 1)

    async def _take(self) -> bool:
        at = await self._turns.ask("GET", POSITION)
        if at is None:  # the first start: what ended before is not told
            last = await self._turns.ask("XREVRANGE", names.DECISIONS, "+", "-", "COUNT", 1)
            await self._turns.ask("SET", POSITION, last[0][0] if last else b"0-0", "NX")
            return False
        rows = await self._turns.ask("XRANGE", names.DECISIONS, b"(" + at, "+", "COUNT", 200)
        if not rows:
            return False
        calls: list[bytes | str] = []
        for entry, fields in rows:
            values = fields.values() if isinstance(fields, dict) else fields[1::2]
            value = orjson.loads(next(iter(values)))
            if value.get("outcome"):
                said = {"type": "outcome", "timestamp": self._now(), "data": value}
                kept = {"since": self._clock() // 1000, "tries": 0, "said": said}
                calls += [f"outcome_{entry.decode()}", orjson.dumps(kept)]
        await self._turns.run(
            "take", POSITION, at, rows[-1][0], DUE, CALLS, self._clock() // 1000, *calls
        )
        return True

    async def _call_due(self, http: aiohttp.ClientSession) -> bool:
        due = await self._turns.ask(
            "ZRANGEBYSCORE", DUE, "-inf", self._clock() // 1000, "LIMIT", 0, AT_ONCE
        )
        await asyncio.gather(*(self._call(http, name.decode()) for name in due))
        return bool(due)

    async def _call(self, http: aiohttp.ClientSession, name: str) -> None:
        raw = await self._turns.ask("HGET", CALLS, name)
        if raw is None:
            await self._turns.ask("ZREM", DUE, name)
            return
        kept: dict[str, Any] = orjson.loads(raw)
        told = kept["said"]["data"]
        stands = await outcome_for_caller(self._turns, str(told["event"]))
        if stands is not None:
            told["outcome"] = orjson.loads(stands)
        why = await self._post(http, name, orjson.dumps(kept["said"]))
        now_ms = self._clock() // 1000
        if why is None or now_ms - kept["since"] > GIVE_UP_MS:
            if why is not None:
                await self._bury(name, kept, why)
            await asyncio.gather(
                self._turns.ask("ZREM", DUE, name), self._turns.ask("HDEL", CALLS, name)
            )
            return
        wait = BACK_OFF_SECONDS[min(kept["tries"], len(BACK_OFF_SECONDS) - 1)]
        kept["tries"] += 1
        log.warning("webhook: %s: %s; again in %s s", name, why, wait)
        await asyncio.gather(
            self._turns.ask("HSET", CALLS, name, orjson.dumps(kept)),
            self._turns.ask("ZADD", DUE, now_ms + wait * 1000, name),
        )

    async def _post(self, http: aiohttp.ClientSession, name: str, body: bytes) -> str | None:
        """Call once; None where it was taken, else why not."""
        timestamp = self._clock() // 1_000_000
        headers = {
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._webhook.secret, name, timestamp, body),
        }
        try:
            async with http.post(
                self._webhook.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.content.read(LARGEST_ANSWER)
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as fault:
            return f"{type(fault).__name__}"

    async def _bury(self, name: str, kept: dict[str, Any], why: str) -> None:
        problem = orjson.dumps({"title": "The webhook was not taken", "detail": why, "id": name})
        event = orjson.dumps(kept["said"])
        await self._turns.ask(
            "XADD", names.DEAD, "*", "reason", "webhook", "problem", problem, "event", event
        )

    def _now(self) -> str:
        return events.rfc3339(self._clock())
