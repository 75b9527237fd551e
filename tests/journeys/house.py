"""The whole of Ringback in a test: `ringback run` over a directory, and the people around it.

A journey starts the same command as an operator does, then acts as the bank (HTTP), as a customer
(a chat client, a browser's page) and as an auditor (`python -m audit verify`). Nothing inside is
replaced. What was started is ended by its pid.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson
import psutil
import yaml
from redis.asyncio import Redis

from audit import read
from audit.errors import NotInLedger
from config.settings import HERE, read_yaml
from flows.parts import House as Opened
from flows.parts import open_house
from notifiers.client import CustomerClient, Message
from notifiers.prosody import Prosody, ProsodySettings
from risk import names
from risk.privacy import Tokens, web_token
from tests import servers
from tests.patience import PATIENCE, until

T = TypeVar("T")
SELF_CONSISTENT = 3  # `audit verify`: consistent with itself; the keys are the operator's own
BOT = "check@challenge.localhost"
_numbers = itertools.count(1)


def tell(story: Awaitable[T], seconds: float = 5 * PATIENCE) -> T:
    """Run a story to its end, within bounds."""

    async def bounded() -> T:
        return await asyncio.wait_for(story, seconds)

    return asyncio.run(bounded())


class House:
    """`ringback run` over one directory: `start`, `kill` a part, `end`, `verify`."""

    def __init__(self, data: Path, *, answer_within: int = 120, **policy: Any) -> None:
        servers.redis_program()
        servers.need("prosody")
        servers.need("prosodyctl")
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        shipped = read_yaml(HERE / "policy.yaml")
        asking = {**shipped["asking"], "answer_within_seconds": answer_within}
        (data / "policy.yaml").write_text(yaml.safe_dump({**shipped, "asking": asking, **policy}))
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()

    @property
    def run(self) -> dict[str, Any]:
        """What run.json says now; empty while nothing runs."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            told: dict[str, Any] = json.loads((self.data / "run.json").read_text())
            self._seen.update(told.get("pids", {}).values())
            return told
        return {}

    @property
    def opened(self) -> Opened:
        """Settings and secrets of the directory."""
        return open_house(self.data)

    def start(self, *more: str, seconds: float = 5 * PATIENCE) -> None:
        """Start everything and return when the ready line is printed."""
        line = [sys.executable, "-m", "flows.cli", "run", "--data", str(self.data)]
        with (self.data / "supervisor.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*line, "--http", "127.0.0.1:0", *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        os.set_blocking(self._out.fileno(), False)
        self._said = b""
        end = time.monotonic() + seconds
        while not any(line.startswith(b"{") for line in self.said().splitlines()):
            if self._process.poll() is not None or time.monotonic() > end:
                words = (self.data / "supervisor.log").read_text(errors="replace")[-3000:]
                self.end()
                raise RuntimeError(f"ringback run was not ready:\n{words}")
            time.sleep(0.05)

    @property
    def _out(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def said(self) -> bytes:
        """What the command printed so far."""
        self._said += self._out.read() or b""
        return self._said

    def hear(self, word: str, seconds: float = PATIENCE) -> str:
        """Wait until the command has printed a word; gives all that it printed."""
        end = time.monotonic() + seconds
        while word.encode() not in self.said():
            if time.monotonic() > end:
                raise TimeoutError(f"ringback run did not say {word!r}: {self.said()!r}")
            time.sleep(0.05)
        return self.said().decode()

    def pid(self, part: str) -> int:
        """The pid of a part: redis, ledger, prosody, flow-0, gateway, notify."""
        return int(self.run["pids"][part])

    def signal(self, part: str, number: signal.Signals) -> int:
        """Send a signal to a part; gives its pid."""
        pid = self.pid(part)
        os.kill(pid, number)
        return pid

    def end(self) -> None:
        """End it as an operator does; what is left after that is killed by its pid."""
        process, self._process = self._process, None
        if process is None:
            return
        pids = set(self.run.get("pids", {}).values()) | self._seen
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5.0)
        if process.stdout is not None:
            process.stdout.close()
        for pid in pids - {process.pid}:
            with contextlib.suppress(psutil.Error):
                left = psutil.Process(pid)
                if any(str(self.data) in word for word in left.cmdline()):
                    left.kill()

    def verify(self) -> int:
        """The exit status of `python -m audit verify` over its log: at a turn of the year, logs."""
        logs = sorted((self.data / "ledger" / "main" / "rc10y").iterdir())
        found = {self._verified(log) for log in logs}
        assert len(found) == 1, f"{logs}: {found}"
        return found.pop()

    def _verified(self, log: Path) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "audit", "verify", str(log)],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert "BROKEN" not in done.stdout, done.stdout + done.stderr
        return done.returncode

    def records(self, event: str) -> list[dict[str, Any]]:
        """The ledger's records about an event, in their order."""
        try:
            return read.event_records(self.data, event)
        except NotInLedger:
            return []

    def kinds(self, event: str) -> list[str]:
        """The kinds of those records."""
        return [str(record["kind"]) for record in self.records(event)]

    def register(self, user: str) -> None:
        """Make a chat account, as the demo does."""
        xmpp = self.run["xmpp"]
        Prosody(
            ProsodySettings(
                directory=self.data / "prosody",
                domain=xmpp["domain"],
                secret="",
                client_port=xmpp["client_port"],
                component_port=xmpp["component_port"],
                web_port=0,
            )
        ).register(user, f"pw-{user}")

    @contextlib.asynccontextmanager
    async def chat(self, user: str, password: str = "") -> AsyncIterator[CustomerClient]:
        """A person at their chat client, logged in; without a password the account is made."""
        if not password:
            await asyncio.to_thread(self.register, user)
        port = self.run["xmpp"]["client_port"]
        word = password or f"pw-{user}"
        client = CustomerClient(f"{user}@localhost/phone", word, "127.0.0.1", port)
        await client.connect(PATIENCE)
        try:
            yield client
        finally:
            await client.disconnect()


class Bank:
    """The bank's transaction system: sends payments, waits for decisions, by HTTP alone."""

    def __init__(self, house: House, http: aiohttp.ClientSession, redis: Any) -> None:
        self.house, self.http, self.redis = house, http, redis
        self.bearers = house.opened.secrets.bearers

    def headers(self, role: str) -> dict[str, str]:
        """The headers of a caller in a role."""
        return self._as(role)

    def _as(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.bearers[role]}"}

    async def introduce(self, customer: str, *channels: str) -> None:
        """Tell how a customer is reached: `xmpp` by their own name, `web` by the page."""
        told = [
            {"kind": kind, "address": f"{customer}@localhost", "verified": True}
            if kind == "xmpp"
            else {"kind": kind, "verified": True}
            for kind in channels or ("xmpp",)
        ]
        body = {"language": "en", "zone": "Asia/Shanghai", "channels": told}
        async with self.http.put(
            f"/v1/customers/{customer}", json=body, headers=self._as("bank")
        ) as answer:
            assert answer.status == 200, await answer.text()

    def payment(self, customer: str, **changes: Any) -> dict[str, Any]:
        """A large payment to somebody new: what the shipped rules ask about."""
        return {
            "id": f"pay-{customer}-{next(_numbers)}",
            "type": "transaction",
            "time": datetime.now(UTC).isoformat(),
            "customer": customer,
            "channel": "app",
            "amount": "9800.00",
            "currency": "CNY",
            "payee": {"account": f"ACME-{customer}", "name": "ACME Trading", "country": "CN"},
            "kind": "transfer",
        } | changes

    async def send(self, payment: dict[str, Any], wait: float = 30.0) -> tuple[int, dict[str, Any]]:
        """Post an event; gives status and body."""
        headers = {**self._as("ingest"), "Prefer": f"wait={wait}"}
        async with self.http.post("/v1/events", json=payment, headers=headers) as answer:
            return answer.status, await answer.json()

    async def pay(self, customer: str, **changes: Any) -> dict[str, Any]:
        """Post a payment and give the decision."""
        status, decision = await self.send(self.payment(customer, **changes))
        assert status == 200, decision
        return decision

    async def asked(self, customer: str, **changes: Any) -> dict[str, Any]:
        """Post a payment that must be asked about; gives its decision."""
        decision = await self.pay(customer, **changes)
        assert decision["decision"] == "challenge", decision
        assert decision["challenge"]["id"].startswith("ch_")
        return decision

    async def decision(self, event: str, wait: float = 0.0) -> dict[str, Any]:
        """What there is about an event, waiting for its outcome so many seconds."""
        where = f"/v1/decisions/{event}?wait={wait}"
        async with self.http.get(where, headers=self._as("bank")) as answer:
            assert answer.status == 200, await answer.text()
            told: dict[str, Any] = await answer.json()
            return told

    async def features(self, event: str) -> dict[str, Any]:
        """The features of an event, as it was scored."""
        where = f"/v1/decisions/{event}?include=features"
        async with self.http.get(where, headers=self._as("bank")) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = (await answer.json())["features"]
            return found

    async def outcome(self, event: str) -> dict[str, Any]:
        """How the question about an event ended."""

        async def ended() -> Any:
            return (await self.decision(event, wait=30.0)).get("outcome")

        found: dict[str, Any] = await until(ended, f"the outcome of {event}")
        return found

    async def stream(self, name: str, field: str) -> list[dict[str, Any]]:
        """All entries of a stream, as their JSON."""
        return [orjson.loads(fields[field.encode()]) for _, fields in await self.redis.xrange(name)]

    async def outcomes_told(self, event: str) -> list[dict[str, Any]]:
        """The outcomes of an event on rb:decisions: one, or none yet."""
        told = await self.stream(names.DECISIONS, "decision")
        return [one["outcome"] for one in told if one["event"] == event and "outcome" in one]

    async def recorded(self, event: str, *kinds: str) -> list[str]:
        """Wait until the ledger holds records of these kinds about an event; gives all kinds."""

        async def there() -> list[str]:
            found = await asyncio.to_thread(self.house.kinds, event)
            return found if set(kinds) <= set(found) else []

        return await until(there, f"records {kinds} of {event}")

    async def learnt(self, event: str) -> list[dict[str, Any]]:
        """Wait for the lesson about an event; gives the bodies of all `learn` records of it."""
        await self.recorded(event, "learn")
        return [one["body"] for one in self.house.records(event) if one["kind"] == "learn"]

    async def page(self, challenge: str) -> "Page":
        """Open the challenge's page as a browser does that was given the link."""
        page = Page(self, challenge)
        await page.open()
        return page

    def token(self, customer: str) -> str:
        """The customer's token, as it stands inside."""
        opened = self.house.opened
        return Tokens(opened.secrets.token_root, opened.settings.tenant).token("customer", customer)


class Page:
    """A browser on the challenge's page: own origin, a cookie, JSON."""

    def __init__(self, bank: Bank, challenge: str) -> None:
        self._bank, self._challenge = bank, challenge
        self._cookies: dict[str, str] = {}
        self._headers = {
            "Origin": bank.house.run["http"],
            "Sec-Fetch-Site": "same-origin",
        }

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        where = f"/v1/challenges/{self._challenge}{path}"
        async with self._bank.http.request(
            method, where, json=body, headers=self._headers, cookies=self._cookies
        ) as answer:
            self._cookies |= {name: kept.value for name, kept in answer.cookies.items()}
            return answer.status, await answer.json()

    async def open(self) -> None:
        """Follow the link: its token becomes this browser's cookie."""
        token = web_token(self._bank.house.opened.secrets.web_key, self._challenge)
        status, told = await self._call("POST", "/session", {"token": token})
        assert status == 201, told

    async def look(self) -> tuple[int, dict[str, Any]]:
        """What the page shows."""
        return await self._call("GET", "")

    async def press(self, decision: str, reason: str | None = None) -> tuple[int, dict[str, Any]]:
        """Press one of the two buttons."""
        body = {"decision": decision} | ({"reason": reason} if reason else {})
        return await self._call("POST", "/answer", body)


@contextlib.asynccontextmanager
async def bank_of(house: House) -> AsyncIterator[Bank]:
    """The bank, connected to a running house."""
    redis: Any = Redis.from_url(house.opened.redis_url, protocol=2)
    jar = aiohttp.DummyCookieJar()
    timeout = aiohttp.ClientTimeout(total=2 * PATIENCE)
    try:
        async with aiohttp.ClientSession(
            house.run["http"], cookie_jar=jar, timeout=timeout
        ) as http:
            yield Bank(house, http, redis)
    finally:
        await redis.aclose()


async def question(client: CustomerClient, decision: dict[str, Any]) -> Message:
    """The question about a decision, as it arrives in the chat."""
    asked = decision["challenge"]["id"]
    return await client.wait_for(lambda m: m.challenge == asked, PATIENCE)


async def closing(client: CustomerClient, decision: dict[str, Any]) -> Message:
    """The correction that closes the question in the chat."""
    asked = decision["challenge"]["id"]
    return await client.wait_for(lambda m: m.replaces == asked, PATIENCE)


def code(asked: Message) -> str:
    """The code that the customer reads in the question."""
    return asked.buttons["Confirm"].split()[1]
