"""A small bank around a real gateway: its Redis, its callers, and a flow that only decides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from redis.asyncio import Redis

from gateway.app import serve
from gateway.ports import GatewayPorts, GatewaySettings
from risk import names
from risk.events import micros
from risk.failing import FailLimits, fail_policy
from risk.money import Rates
from tests.patience import PATIENCE

DECIDE = """
-- A minimal `decide`: the first decision of an event wins, and is told to who waits.
local out = {}
for i = 5, #ARGV, 8 do
  local id, decision, features, records = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local reply = ARGV[i + 5]
  local known = redis.call('GET', 'rb:decision:' .. id)
  if known then
    out[#out + 1] = known
  else
    redis.call('SET', 'rb:decision:' .. id, decision, 'EX', ARGV[4])
    if features ~= '' then
      redis.call('SET', 'rb:features:' .. id, features, 'EX', ARGV[4])
    end
    redis.call('XADD', 'rb:audit', '*', 'records', records)
    redis.call('XADD', 'rb:decisions', '*', 'decision', decision)
    if reply ~= '' then
      redis.call('XADD', 'rb:reply:' .. reply, 'MAXLEN', '~', 10000, '*', 'decision', decision)
    end
    out[#out + 1] = 'new'
  end
end
return out
"""
BEARERS = {
    "ingest": "ingest-token-for-tests",
    "bank": "bank-token-for-tests",
    "officer": "officer-token-for-tests",
}


def wall_clock() -> int:
    return micros(datetime.now(UTC))


def settings_for(redis_url: str, data: Path, **other: Any) -> GatewaySettings:
    values: dict[str, Any] = {
        "redis_url": redis_url,
        "data": data,
        "token_root": b"r" * 32,
        "edge_key": b"e" * 32,
        "transport_key": b"t" * 32,
        "web_key": b"w" * 32,
        "bearers": BEARERS,
        "fail_limits": FailLimits(
            open_below=50_000, per_customer=100_000, per_payee=100_000, overall=300_000
        ),
        "rates": Rates("CNY", {}),
        "wait": timedelta(seconds=30),  # who wants the fail policy's word asks for it sooner
    }
    return GatewaySettings(**{**values, **other})


def payment(name: str = "pay-1", **other: Any) -> dict[str, Any]:
    return {
        "id": name,
        "type": "transaction",
        "time": datetime.now(UTC).isoformat(),
        "customer": "C-1001",
        "channel": "app",
        "amount": "120.50",
        "currency": "CNY",
        "payee": {"account": "6222020000000000001", "name": "ACME Trading", "country": "CN"},
        "device": {"id": "phone-1", "os": "Android 16"},
        "ip": "203.0.113.7",
        "geo": {"country": "CN", "lat": 31.23, "lon": 121.47},
        "memo": "Invoice 17",
        **other,
    }


@dataclass
class Bank:
    """A running gateway, with clients in its callers' roles."""

    url: str
    redis: Any
    http: aiohttp.ClientSession
    flow: "Flow"
    settings: GatewaySettings
    ports: GatewayPorts

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        role: str | None = "ingest",
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        said = dict(headers or {})
        if role is not None:
            said.setdefault("Authorization", f"Bearer {BEARERS[role]}")
        if body is not None:
            data = orjson.dumps(body)
            said.setdefault("Content-Type", "application/json")
        async with self.http.request(method, self.url + path, data=data, headers=said) as answer:
            text = await answer.read()
            is_json = "json" in answer.content_type and "ndjson" not in answer.content_type
            return answer.status, orjson.loads(text) if is_json else text, answer.headers

    async def post(self, event: Any, **other: Any) -> tuple[int, Any]:
        status, body, _ = await self.call("POST", "/v1/events", event, **other)
        return status, body

    async def entries(self, stream: str) -> list[dict[str, Any]]:
        rows = await self.redis.xrange(stream)
        return [orjson.loads(value) for _, row in rows for value in row.values()]

    async def records(self) -> list[dict[str, Any]]:
        bundles: list[Any] = list(await self.entries(names.AUDIT))
        return [record for bundle in bundles for record in bundle]

    async def until(self, stream: str, length: int) -> None:
        """Wait until a stream is so long; a real Redis tells nobody."""
        async with asyncio.timeout(PATIENCE):
            while await self.redis.xlen(stream) != length:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)

    async def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for partition in range(4):
            found += await self.entries(names.events(partition))
        return found


@dataclass
class Flow:
    """Decides whatever is accepted, in a way that a test chooses."""

    redis: Any
    decide: Callable[[dict[str, Any]], dict[str, Any] | None] = field(
        default=lambda event: {"event": event["id"], "decision": "approve", "score": 7}
    )
    seen: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    async def write(self, envelope: dict[str, Any], decision: dict[str, Any]) -> bytes:
        said: list[bytes] = await self.redis.eval(
            DECIDE,
            0,
            "flow",
            "1",
            "0",
            "604800",
            decision["event"],
            orjson.dumps(decision).decode(),
            '{"customer.count.1h":1}',
            "[]",
            "",
            envelope["reply"] or "",
            "",
            "",
        )
        return said[0]

    async def run(self) -> None:
        at: dict[Any, Any] = {names.events(p): "0" for p in range(4)}
        while not self.ended:  # a cancel is sometimes swallowed by the client's read
            found = await self.redis.execute_command(
                "XREAD", "COUNT", 100, "BLOCK", 100, "STREAMS", *at.keys(), *at.values()
            )
            pairs = found.items() if isinstance(found, dict) else found or []
            for stream, entries in pairs:
                rows = entries[0] if entries and isinstance(entries[0][0], list) else entries
                for entry, fields in rows:
                    at[stream.decode()] = entry.decode()
                    raw = fields[b"e"] if isinstance(fields, dict) else fields[1]
                    envelope = orjson.loads(raw)
                    self.seen.append(envelope)
                    decision = self.decide(envelope["event"])
                    if decision is not None:
                        await self.write(envelope, decision)


class Durable:
    """The ledger's writer as far as who reads must know it: what lies there is durable at once."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self.ended = self.away = False

    async def run(self) -> None:
        last = "0-0"
        while not self.ended:
            found = await self._redis.execute_command(
                "XREAD", "COUNT", 1000, "BLOCK", 50, "STREAMS", names.AUDIT, last
            )
            for _, rows in found.items() if isinstance(found, dict) else found or []:
                entries = rows[0] if rows and isinstance(rows[0][0], list) else rows
                last = entries[-1][0].decode()
            if not self.away and last != "0-0":  # where nothing came, nothing is written
                await self._redis.set(names.AUDIT_DURABLE, last)


@contextlib.asynccontextmanager
async def running(
    redis_url: str,
    data: Path,
    *,
    ports: dict[str, Any] | None = None,
    writes: bool = True,
    **other: Any,
) -> AsyncIterator[Bank]:
    """A gateway that answers on a free loopback port, ended when the block ends.

    With `writes` off nothing becomes durable in a ledger.
    """
    settings = settings_for(redis_url, data, **other)
    lent = GatewayPorts(decide_script=DECIDE, fail_policy=fail_policy, clock=wall_clock)
    lent = replace(lent, **(ports or {}))
    stop = asyncio.Event()
    listening: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(settings, lent, stop, lambda host, port: listening.set_result((host, port)))
    )
    serving.add_done_callback(lambda _: listening.done() or listening.cancel())
    host, port = await asyncio.wait_for(listening, PATIENCE)
    async with (
        Redis.from_url(redis_url) as redis,
        Redis.from_url(redis_url) as flow_redis,
        Redis.from_url(redis_url) as ledger_redis,
        aiohttp.ClientSession() as http,
    ):
        flow = Flow(flow_redis)
        deciding = asyncio.create_task(flow.run())
        ledger = Durable(ledger_redis)
        ledger.away = not writes
        writing = asyncio.create_task(ledger.run())
        try:
            yield Bank(f"http://{host}:{port}", redis, http, flow, settings, lent)
        finally:
            flow.ended = ledger.ended = True
            stop.set()
            await asyncio.wait([serving, deciding, writing], timeout=PATIENCE)
            assert serving.done(), "the gateway did not stop"
            serving.result()
