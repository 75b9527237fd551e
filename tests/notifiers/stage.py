"""What the notifier's tests act on: real servers, a pretended flow, and customers that chat."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers import ending
from notifiers.client import CustomerClient
from notifiers.notify import NotifierSettings, run_notifier
from notifiers.prosody import Prosody, ProsodySettings
from risk import names
from risk.privacy import Tokens, seal
from tests import patience, servers
from tests.patience import PATIENCE

DOMAIN = "bank.example"
SEAL_KEY = b"s" * 32
ANSWER_KEY = b"a" * 32
TOKEN_ROOT = b"t" * 32
TENANT = "main"
BOT = f"check@challenge.{DOMAIN}"
BOT_FULL = f"{BOT}/bank"
TEMPLATES = Path(__file__).resolve().parents[2] / "config" / "templates"
TOKENS = Tokens(TOKEN_ROOT, TENANT)
_numbers = itertools.count(1)


def now() -> datetime:
    return datetime.now(UTC)


def rfc(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def sealed(text: bytes, field: bytes) -> str:
    return seal(SEAL_KEY, text, field, os.urandom(12))


def make_ask(customer: str, **changes: Any) -> dict[str, Any]:
    number = next(_numbers)
    life = changes.pop("life", 120.0)
    payee = changes.pop("payee", {"name": "ACME Trading", "account": "6222020200011234"})
    ask = {
        "v": 1,
        "op": "ask",
        "id": f"ch_{os.getpid()}x{number:08d}",
        "event": f"evt-{number}",
        "case": f"case-evt-{number}",
        "customer": customer,
        "amount": "9800.00",
        "currency": "CNY",
        "payee": sealed(orjson.dumps(payee), b"payee"),
        "kind": "transfer",
        "nonce": os.urandom(8).hex(),
        "created": rfc(now()),
        "expires": rfc(now() + timedelta(seconds=life)),
        "reasons": ["new_payee"],
    }
    return ask | changes


def settings_for(redis_url: str, data: Path, **changes: Any) -> NotifierSettings:
    fields: dict[str, Any] = {
        "redis": redis_url,
        "data": data,
        "tenant": TENANT,
        "token_root": TOKEN_ROOT,
        "seal_key": SEAL_KEY,
        "answer_key": ANSWER_KEY,
        "institution": "Example Bank",
        "callback": "95588",
        "templates": TEMPLATES,
    }
    return NotifierSettings(**(fields | changes))


class Flow:
    """The pretended flow: asks, closes, and reads what comes back."""

    def __init__(self, url: str) -> None:
        self.redis: Any = Redis.from_url(url, protocol=2)
        self._ledger_stops = asyncio.Event()
        self._ledger: asyncio.Task[None] | None = None

    async def _write_ledger(self) -> None:
        """The pretended ledger: what lies on the audit stream is durable a moment later."""
        with contextlib.suppress(RedisError, OSError):
            while not self._ledger_stops.is_set():
                await self.make_durable()
                await asyncio.sleep(0.003)

    async def stop_ledger(self) -> None:
        """From now on nothing becomes durable but by `make_durable`."""
        self._ledger_stops.set()
        if self._ledger is not None:
            await self._ledger

    def start_ledger(self) -> None:
        """All becomes durable by itself, as it does from the start."""
        self._ledger_stops.clear()
        self._ledger = asyncio.create_task(self._write_ledger())

    async def __aenter__(self) -> Self:
        self.start_ledger()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ledger is not None:
            await ending.end([self._ledger])
        await self.redis.aclose()

    async def bind(self, user: str, language: str = "en", kind: str = "xmpp", **more: Any) -> str:
        """Bind a channel of this kind; `more` are further fields of it."""
        jid = f"{user}@{DOMAIN}"
        customer = TOKENS.token("customer", user)
        profile = {
            "language": language,
            "zone": "Asia/Shanghai",
            "channels": [
                {"kind": kind, "address": sealed(jid.encode(), b"address"), "verified": True} | more
            ],
        }
        await self.redis.set(names.customer(customer), orjson.dumps(profile))
        await self.redis.set(names.jid(TOKENS.token("jid", jid)), customer)
        return customer

    async def ask(self, customer: str, **changes: Any) -> dict[str, Any]:
        ask = make_ask(customer, **changes)
        await self.put(ask)
        return ask

    async def put(self, ask: dict[str, Any]) -> None:
        """Put a question that is made already, with its decision's records before it."""
        pipe = self.redis.pipeline(transaction=True)
        pipe.xadd(names.AUDIT, {"records": b"[]"})
        pipe.xadd(names.CHALLENGES, {"challenge": orjson.dumps(ask)})
        await pipe.execute()

    async def close(self, ask: dict[str, Any], state: str, decision: str = "approve") -> None:
        closing = {
            "op": "close",
            "id": ask["id"],
            "event": ask["event"],
            "customer": ask["customer"],
            "state": state,
            "decision": decision,
            "at": rfc(now()),
        }
        await self.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(closing)})

    async def alert(self, event: str, kind: str, text: str) -> None:
        alert = orjson.dumps({"event": event, "kind": kind, "text": text})
        await self.redis.xadd(names.ALERTS, {"alert": alert})

    async def make_durable(self) -> None:
        newest = await self.redis.xrevrange(names.AUDIT, count=1)
        if newest:
            moved = await self.redis.set(names.AUDIT_DURABLE, newest[0][0], get=True)
            if moved != newest[0][0]:
                await self.redis.xadd(names.AUDIT_MARKS, {"mark": newest[0][0]}, maxlen=1)

    async def answers(self) -> list[dict[str, Any]]:
        return [orjson.loads(f[b"answer"]) for _, f in await self.redis.xrange(names.ANSWERS)]

    async def records(self, kind: str = "") -> list[dict[str, Any]]:
        found = []
        for _, fields in await self.redis.xrange(names.AUDIT):
            found += orjson.loads(fields[b"records"])
        return [one for one in found if not kind or one["kind"] == kind]

    async def until(self, read: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Give what `read` gives as soon as it is true; TimeoutError otherwise."""
        return await patience.until(read, seconds=seconds)


@contextlib.asynccontextmanager
async def notifier(settings: NotifierSettings) -> AsyncIterator[asyncio.Event]:
    """A notifier in this process, leading."""
    stop, leading = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run_notifier(settings, stop, leading))
    waiting = asyncio.create_task(leading.wait())
    await asyncio.wait({task, waiting}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield leading
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


@contextlib.asynccontextmanager
async def chatting(prosody: Prosody, user: str, **how: Any) -> AsyncIterator[CustomerClient]:
    """A customer at their client."""
    client = CustomerClient(
        f"{user}@{DOMAIN}/phone", f"pw-{user}", "127.0.0.1", prosody.settings.client_port, **how
    )
    await client.connect(PATIENCE)
    try:
        yield client
    finally:
        await client.disconnect()


def make_prosody(directory: Path, users: tuple[str, ...]) -> Prosody:
    """A started chat server with these accounts."""
    servers.need("prosody")
    servers.need("prosodyctl")
    prosody = Prosody(
        ProsodySettings(
            directory=directory,
            domain=DOMAIN,
            secret="component-secret",
            client_port=servers.free_port(),
            component_port=servers.free_port(),
            web_port=servers.free_port(),
        )
    )
    prosody.write_config()
    for user in users:
        prosody.register(user, f"pw-{user}")
    prosody.start()
    return prosody
