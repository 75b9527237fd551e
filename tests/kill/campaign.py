"""A bank under load whose processes are killed at random, from a seed; then everything is counted.

Families of one customer and two payees of its own send payments one after the other, so that for
each event it is known which ones were described before it; the families run side by side. Killed
are flow processes, gateway, notifier, ledger writer and Redis, with no pause before any.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import redis
import yaml

from config.settings import HERE
from flows.parts import open_house
from risk import names
from risk.events import rfc3339
from risk.privacy import web_token
from tests.patience import PATIENCE, until

ANSWER_WITHIN_S = 6
STEP_US = 7_000_000
_VICTIMS = ("flow-0", "flow-0", "flow-1", "flow-1", "gateway", "notify", "ledger", "redis")


@dataclass
class Sent:
    """A payment that was accepted, as it was sent; ``time_us`` is its event time."""

    id: str
    family: int
    payee: str
    time_us: int
    amount: int


@dataclass
class Campaign:
    """What to do, and what came of it."""

    data: Path
    seed: int
    kills: int
    families: int = 24
    processes: int = 2
    sent: list[Sent] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)
    stop: bool = False

    def begin(self) -> None:
        """Start the whole system in the data directory."""
        self.data.mkdir(parents=True, exist_ok=True)
        policy = yaml.safe_load((HERE / "policy.yaml").read_text(encoding="utf-8"))
        policy["asking"] |= {
            "answer_within_seconds": ANSWER_WITHIN_S,
            "per_customer_24h": 1000,
            "open_at_once": 1000,
        }
        (self.data / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
        line = [sys.executable, "-m", "flows.cli", "run", "--data", str(self.data)]
        line += ["--http", "127.0.0.1:0", "--workers", str(self.processes)]
        with (self.data / "run.log").open("ab") as log:
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        ready = self.process.stdout.readline() if self.process.stdout else b""
        if not ready:
            raise RuntimeError(f"run did not start: {(self.data / 'run.log').read_text()[-2000:]}")
        self.run = json.loads(ready)
        self.house = open_house(self.data)

    def end(self) -> None:
        """End the system in good order, by pid."""
        self.process.terminate()
        try:
            self.process.wait(2 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def pids(self) -> dict[str, int]:
        """Who runs now."""
        found: dict[str, int] = json.loads((self.data / "run.json").read_text())["pids"]
        return found

    async def play(self) -> None:
        """Load and kill, until enough was killed and all is answered."""
        token = self.house.secrets.bearers["ingest"]
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
            self._redis = redis.Redis.from_url(self.house.redis_url, socket_timeout=5)
            for family in range(self.families):
                await self._bind(http, family)
            senders = [asyncio.create_task(self._family(http, n)) for n in range(self.families)]
            await self._kill()
            self.stop = True
            await asyncio.wait_for(asyncio.gather(*senders), 5 * PATIENCE)
            await self._settled()

    async def _kill(self) -> None:
        chance = random.Random(self.seed)
        while sum(self.killed.values()) < self.kills:
            await asyncio.sleep(chance.uniform(0.5, 4.5))
            victim = chance.choice(_VICTIMS)
            if victim.startswith("flow") and chance.random() < 0.6:
                await self._just_flushed()
            pid = self.pids().get(victim)
            if pid is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed[victim.partition("-")[0]] += 1

    async def _just_flushed(self) -> None:
        """Return at the worst moment: a stage has flushed, and its epoch is not committed yet."""
        keys = [
            f"rb:ver:{stage}:{n}" for stage in ("customer", "payee", "judge") for n in range(16)
        ]
        end = time.monotonic() + 3
        with contextlib.suppress(redis.RedisError):
            seen: Any = self._redis.mget(keys)
            while time.monotonic() < end:
                if self._redis.mget(keys) != seen:
                    return
                await asyncio.sleep(0)

    async def _bind(self, http: aiohttp.ClientSession, family: int) -> None:
        bound = {
            "language": "en",
            "zone": "UTC",
            "channels": [{"kind": "web", "address": f"f{family}", "verified": True}],
        }
        bank = {"Authorization": f"Bearer {self.house.secrets.bearers['bank']}"}
        url = f"{self.run['http']}/v1/customers/cust{family}"

        async def taken() -> bool:
            async with http.put(url, json=bound, headers=bank) as told:
                assert told.status in (200, 201, 204, 503), await told.text()
                return told.status != 503  # a busy Redis puts off

        await until(taken, f"the binding of family {family}")

    async def _family(self, http: aiohttp.ClientSession, family: int) -> None:
        chance = random.Random(self.seed * 1000 + family)
        began = datetime.now(UTC) - timedelta(minutes=55)
        start_us = int(began.timestamp()) * 1_000_000
        number = 0
        while not self.stop and number < 450:
            # A large payment goes to a payee never paid before: that one is asked about.
            large = number % 9 == 5
            payee = f"acc{family}n{number}" if large else f"acc{family}p{chance.randrange(2)}"
            amount = 700_000 if large else chance.randrange(100, 20_000)
            event = Sent(f"k{family}x{number}", family, payee, start_us + number * STEP_US, amount)
            await self._send(http, event)
            self.sent.append(event)
            await self._walked(event)
            if large:
                await self._perhaps_answer(http, event, chance)
            number += 1

    async def _send(self, http: aiohttp.ClientSession, event: Sent) -> None:
        body = {
            "id": event.id,
            "type": "transaction",
            "time": rfc3339(event.time_us),
            "customer": f"cust{event.family}",
            "amount": f"{event.amount // 100}.{event.amount % 100:02d}",
            "currency": "CNY",
            "payee": {"account": event.payee, "name": "Somebody"},
        }
        end = time.monotonic() + 3 * PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.post(f"{self.run['http']}/v1/events", json=body) as told:
                    if told.status in (200, 202):
                        return
                    assert told.status == 503, (told.status, await told.text())
            await asyncio.sleep(0.1)
        raise AssertionError(f"{event.id} was not accepted within {3 * PATIENCE} s")

    async def _walked(self, event: Sent) -> None:
        """Wait until the flow itself has described the event: its features are kept."""
        end = time.monotonic() + 3 * PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(redis.RedisError):
                if self._redis.exists(names.features(event.id)):
                    return
            await asyncio.sleep(0.03)
        raise AssertionError(f"{event.id} was accepted and not described within {3 * PATIENCE} s")

    async def _perhaps_answer(
        self, http: aiohttp.ClientSession, event: Sent, chance: random.Random
    ) -> None:
        decision = None
        while decision is None:
            with contextlib.suppress(redis.RedisError):
                raw: Any = self._redis.get(names.decision(event.id))
                decision = json.loads(raw)
            await asyncio.sleep(0.01)
        if decision["decision"] != "challenge":
            return
        # Answers that teach would move the payee's fraud features while others are described;
        # these payees are paid once, so nothing of theirs is described again.
        said = chance.choice(["confirm", "deny", "silence"])
        self.asked[event.id] = said
        if said != "silence":
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self._answer(http, decision["challenge"]["id"], said)

    async def _answer(self, http: aiohttp.ClientSession, challenge: str, said: str) -> None:
        own = {"Origin": self.run["http"], "Sec-Fetch-Site": "same-origin"}
        url = f"{self.run['http']}/v1/challenges/{challenge}"
        token = web_token(self.house.secrets.web_key, challenge)
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, headers=own) as page:
            async with page.post(f"{url}/session", json={"token": token}):
                pass
            reason = {"reason": "not_me"} if said == "deny" else {}
            async with page.post(f"{url}/answer", json={"decision": said, **reason}):
                pass

    async def _settled(self) -> None:
        """Wait until no question is open and the ledger has taken everything down."""
        end, behind = time.monotonic() + 3 * PATIENCE, True
        while time.monotonic() < end:
            with contextlib.suppress(redis.RedisError):
                tail: Any = self._redis.xrevrange(names.AUDIT, count=1)
                mark: Any = self._redis.get(names.AUDIT_DURABLE)
                behind = bool(tail) and (mark is None or _id(mark) < _id(tail[0][0]))
                if not self._redis.zcard(names.OPEN) and not behind:
                    return
            await asyncio.sleep(0.2)
        left: Any = self._redis.zrange(names.OPEN, 0, -1)
        raise AssertionError(
            f"after {3 * PATIENCE} s questions are still open: {left}; ledger behind: {behind}"
        )

    def counters(self) -> dict[str, int]:
        """What the system counted of itself."""
        found: Any = self._redis.hgetall(names.COUNTERS)
        return {name.decode(): int(value) for name, value in found.items()}

    def kept(self, key: str) -> Any:
        """A JSON value in Redis, or None."""
        raw: Any = self._redis.get(key)
        return None if raw is None else json.loads(raw)

    def decisions(self) -> list[dict[str, Any]]:
        """Everything on ``rb:decisions``."""
        rows: Any = self._redis.xrange(names.DECISIONS)
        return [json.loads(row[b"decision"]) for _, row in rows]


def _id(entry: bytes) -> tuple[int, int]:
    ms, _, seq = entry.partition(b"-")
    return int(ms), int(seq or b"0")
