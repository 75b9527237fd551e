"""How long is nothing decided after a part was killed?

Each part in turn by kill -9, under a light load. What is waited for, from the kill on: of flow,
gateway and Redis the first decision of the flow for a payment sent after the kill; of the ledger's
writer its durable mark beyond all that was on record at the kill; of the notifier a question in
the customer's chat, asked after the kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks import harness
from benchmarks.harness import Bank, Given, Result, System
from notifiers.client import CustomerClient
from risk import names

NAME = "restart"
BAR = "kill -9 to the first decision again <= 3 s; of Redis: its own load time + 3 s"
WITHIN_S = 3.0
PARTS = ("flow-0", "gateway", "ledger", "notify", "redis")
RATE = 25
_FENCE = "rb:leader:notifier:fence"
_PATIENCE_S = 90.0
_CALM_S = 11.0  # a part that dies sooner after its start is started again with a growing pause


def run(given: Given) -> Result:
    """Kill each part a few times; the longest time of each is held against the bar."""
    count, rounds = (2_000, 1) if given.quick else (100_000, 5)
    known = harness.populated(given, count)
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        data = harness.copy(known, Path(folder) / "data")
        with harness.running(data, killing=True) as system:
            rows = harness.in_loop(lambda: _kills(system, Bank(count, count, "r"), rounds))
    rows = [
        row | {"seconds": min(row["seconds"], _PATIENCE_S), "back": row["seconds"] < _PATIENCE_S}
        for row in rows
    ]
    longest = {
        part: max(row["seconds"] for row in rows if row["part"] == part)
        for part in dict.fromkeys(row["part"] for row in rows)
    }
    met = all(row["seconds"] <= WITHIN_S + row.get("redis_load_s", 0.0) for row in rows)
    raw = {"known": count, "rate": RATE, "longest_s": longest, "kills": rows}
    summary = "longest: " + ", ".join(f"{part} {value} s" for part, value in longest.items())
    return Result(NAME, BAR, met, summary, raw)


class _Load:
    """A light load that notes when a payment was sent and when the flow's decision came."""

    def __init__(self, client: aiohttp.ClientSession, url: str, bank: Bank) -> None:
        self._client, self._url, self._bank = client, url, bank
        self._answered: list[tuple[float, float]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed = 0

    async def run(self) -> None:
        while True:
            task = asyncio.create_task(self._one(self._bank.payment(time.time())))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(1 / RATE)

    async def _one(self, body: bytes) -> None:
        sent = time.perf_counter()
        shot = await harness.shoot(self._client, self._url, body, sent)
        if shot.status == 200 and not shot.degraded:
            self._answered.append((sent, time.perf_counter()))
        else:
            self.failed += 1

    async def first_after(self, moment: float) -> float:
        """Seconds from a moment to the first decision of a payment sent after it."""
        self._answered.clear()
        while time.perf_counter() - moment < _PATIENCE_S:
            await asyncio.sleep(0.005)
            for sent, answered in self._answered:
                if sent > moment:
                    return answered - moment
        return float("inf")


async def _kills(system: System, bank: Bank, rounds: int) -> list[dict[str, Any]]:
    headers = {**system.headers, "Prefer": "wait=20"}
    rows: list[dict[str, Any]] = []
    chance = random.Random(9)
    async with harness.session(headers) as client:
        load = _Load(client, f"{system.http}/v1/events", bank)
        running = asyncio.create_task(load.run())
        customers = await _customers(system, client, 2 * rounds)
        try:
            for number in range(rounds):
                for part in PARTS:
                    await asyncio.sleep(2.0 + chance.random())
                    failed = load.failed
                    row = await _kill(system, part, load, client, customers)
                    row |= {"round": number, "not_decided": load.failed - failed}
                    rows.append(row)
                    sys.stderr.write(f"  {row}\n")
                await asyncio.sleep(_CALM_S if number + 1 < rounds else 0.0)
        finally:
            running.cancel()
            for one in customers:
                await one.chat.disconnect()
    return rows


async def _kill(
    system: System,
    part: str,
    load: _Load,
    client: aiohttp.ClientSession,
    customers: list[_Customer],
) -> dict[str, Any]:
    row: dict[str, Any] = {"part": part}
    with contextlib.closing(await asyncio.to_thread(system.connect)) as store:
        fence: Any = store.get(_FENCE)
        os.kill(system.pids[part], signal.SIGKILL)
        moment = time.perf_counter()
        if part == "ledger":
            last = store.xinfo_stream(names.AUDIT)["last-generated-id"]
            seconds = await _until(lambda: _id(store.get(names.AUDIT_DURABLE)) > _id(last), moment)
        elif part == "notify":
            leading = asyncio.create_task(_until(lambda: bool(store.get(_FENCE) != fence), moment))
            seconds = await (_asked(customers, client, system, moment) if customers else leading)
            row["leads_after_s"] = round(min(await leading, _PATIENCE_S), 3)
        else:
            seconds = await load.first_after(moment)
    if part == "redis":
        row["redis_load_s"] = _load_seconds(system)
    row["seconds"] = round(seconds, 3)
    return row


async def _until(true: Callable[[], bool], moment: float) -> float:
    """Wait until it is true; gives the seconds since a moment."""

    def wait() -> float:
        while not true():
            if time.perf_counter() - moment > _PATIENCE_S:
                return float("inf")
            time.sleep(0.005)
        return time.perf_counter() - moment

    return await asyncio.to_thread(wait)


def _id(text: Any) -> tuple[int, int]:
    milliseconds, _, sequence = (text or b"0-0").decode().partition("-")
    return int(milliseconds), int(sequence)


def _load_seconds(system: System) -> float:
    """What Redis says of its last start."""
    log = (system.data / "redis" / "redis.log").read_text(encoding="utf-8", errors="replace")
    said = re.findall(r"DB loaded from append only file: ([\d.]+) seconds", log)
    return float(said[-1]) if said else 0.0


# ------------------------------------------------------------------------------- who is asked


class _Customer:
    """A customer whose chat is open, and who is asked once."""

    def __init__(self, name: str, chat: CustomerClient) -> None:
        self.name, self.chat = name, chat

    async def is_asked(self, client: aiohttp.ClientSession, system: System) -> bool:
        """Have a large payment of theirs asked about; True when the question is in the chat."""
        payment = orjson.loads(Bank(1, 1, f"ask-{self.name}", large=1).payment(time.time()))
        payment |= {"customer": self.name, "payee": {"account": f"new-{self.name}", "name": "ACME"}}
        body = orjson.dumps(payment)
        shot = await harness.shoot(client, f"{system.http}/v1/events", body, time.perf_counter())
        if shot.outcome != "challenge":
            return False  # the fail policy was quicker than the flow: nobody is asked
        with contextlib.suppress(TimeoutError):
            await self.chat.wait_for(lambda message: bool(message.challenge), _PATIENCE_S)
        return True


async def _asked(
    customers: list[_Customer], client: aiohttp.ClientSession, system: System, moment: float
) -> float:
    """Seconds from a moment until one of the customers is asked."""
    while customers:
        if await customers.pop().is_asked(client, system):
            return time.perf_counter() - moment
    return float("inf")


async def _customers(system: System, client: aiohttp.ClientSession, count: int) -> list[_Customer]:
    """So many customers in the chat; nobody where there is no chat server."""
    told = system.house.run.get("xmpp")
    program = shutil.which("prosodyctl", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not told or program is None:
        return []
    config = next((system.data / "prosody").glob("*.cfg.lua"))
    made: list[_Customer] = []
    for number in range(count):
        name, password = f"asked{number}", secrets.token_hex(8)
        line = [program, "--config", str(config), "register", name, told["domain"], password]
        await asyncio.to_thread(subprocess.run, line, check=True, capture_output=True, timeout=60)
        jid = f"{name}@{told['domain']}"
        chat = CustomerClient(jid, password, "127.0.0.1", told["client_port"])
        await chat.connect(30)
        channel = {"kind": "xmpp", "address": jid, "verified": True}
        said = {"language": "en", "zone": "Europe/Berlin", "channels": [channel]}
        async with client.put(f"{system.http}/v1/customers/{name}", json=said) as response:
            if response.status != 200:
                raise RuntimeError(f"restart: {await response.text()}")
        made.append(_Customer(name, chat))
    return made
