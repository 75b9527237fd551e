"""How long until the question is in the customer's client, against bare stanzas on the same server?

From the moment at which an event should have been posted to the arrival of the stanza at a chat
client: gateway, flow, ledger, outbox and chat server lie between. Beside it the round trip of bare
slixmpp (``floors/stanza.py``) by the same kind of chat server with as many clients, in turns, in a
loop of the same kind. Both begin with a warm-up that isn't counted. The customers' clients send
receipts, as people's clients do, and nobody answers. All of it shares the machine's processors, so
what each part took of them is kept: the bank and the customers of the benchmark, too.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop
import yaml

from benchmarks import harness
from benchmarks.floors import stanza
from benchmarks.harness import Given, Result
from flows.cycles import looking_seldom
from flows.redis_server import free_port
from notifiers.client import CustomerClient, Message
from notifiers.prosody import HOST, Prosody, ProsodySettings, available

NAME = "conversation"
BAR = "p99 <= 2 x the bare round trip + 50 ms at 1, 50 and 200/s, and <= 300 ms at 50/s"
TARGET_P99_MS = 300.0
TARGET_RATE = 50
CUSTOMERS = 50
WARM = 3.0
PASSWORD = "bench-chat"  # noqa: S105 - of accounts that live as long as the run
ARRIVES_WITHIN = 30.0

_POLICY = {
    "version": 1,
    "score": [],
    "asking": {
        "per_customer_24h": 1_000_000,
        "open_at_once": 1_000_000,
        "answer_within_seconds": 600,
    },
    "fail_open": {
        "below": "0.01",
        "per_customer_hour": "0.01",
        "per_payee_hour": "0.01",
        "overall_hour": "0.01",
    },
}
_RULES = {
    "version": 2,
    "rules": [
        {
            "id": "all_are_asked",
            "title": "Every payment of this benchmark",
            "reason": {"en": "A benchmark asks about it.", "zh-CN": "性能测试。"},
            "severity": "high",
            "applies_to": ["transaction"],
            "when": 'event.amount >= money("1.00")',
            "action": "challenge",
            "state": "live",
            "owner": "benchmarks",
            "tests": [
                {"name": "a payment", "events": [{"amount": "1.00", "payee": "a"}], "hit": True},
                {"name": "less", "events": [{"amount": "0.99", "payee": "a"}], "hit": False},
            ],
        }
    ],
}


def run(given: Given) -> Result:
    """Measure floor and product in turns, at each rate."""
    if not available():
        raise RuntimeError("conversation: needed Prosody, got none: apt-get install prosody")
    rates = (1.0, 20.0) if given.quick else (1.0, 50.0, 200.0)
    rounds = given.rounds or (1 if given.quick else 3)
    found: list[dict[str, Any]] = []
    for number in range(rounds):
        turns = (_floor, _product) if number % 2 == 0 else (_product, _floor)
        for turn in turns:
            # What one turn leaves must not stop the clients of the next to be looked through.
            with looking_seldom():
                found += [{"round": number, **row} for row in turn(given, rates)]
    compared = [_compare(rate, found) for rate in rates]
    lost = sum(row["lost"] for row in found)
    met = not lost and all(_good(row) for row in compared)
    summary = "; ".join(
        f"{row['rate']:g}/s p50 {row['product_p50_ms']} p99 {row['product_p99_ms']} ms"
        f" (bare {row['floor_p50_ms']} and {row['floor_p99_ms']})"
        for row in compared
    )
    raw = {"compared": compared, "lost": lost, "runs": found}
    return Result(NAME, BAR, met, summary + (f"; {lost} never arrived" if lost else ""), raw)


def _good(row: dict[str, Any]) -> bool:
    in_time = row["rate"] != TARGET_RATE or row["product_p99_ms"] <= TARGET_P99_MS
    return in_time and bool(row["product_p99_ms"] <= 2 * row["floor_p99_ms"] + 50)


def _seconds(given: Given, rate: float) -> float:
    if given.quick:
        return 4.0
    return 60.0 if rate <= 1 else 20.0


def _warm(rate: float) -> float:
    """How long before it counts, in seconds: at the same rate, and more than one."""
    return max(WARM, 2 / rate)


def _users() -> list[str]:
    return [f"bench{number:03d}" for number in range(CUSTOMERS)]


def _told(
    who: str, rate: float, waits: Sequence[float], wanted: int, **more: Any
) -> dict[str, Any]:
    ordered = [1000 * one for one in waits] or [1000 * ARRIVES_WITHIN]
    return {
        "who": who,
        "rate": rate,
        "asked": wanted,
        "lost": wanted - len(waits),  # or not asked, or refused
        "p50_ms": round(harness.percentile(ordered, 0.5), 2),
        "p99_ms": round(harness.percentile(ordered, 0.99), 2),
        "max_ms": round(max(ordered), 2),
        **more,
    }


def _compare(rate: float, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"rate": rate}
    for who in ("floor", "product"):
        for share in ("p50_ms", "p99_ms"):
            mine = [one[share] for one in found if one["who"] == who and one["rate"] == rate]
            row[f"{who}_{share}"] = harness.median(mine)
    return row


def _register(server: Prosody) -> None:
    """Make the accounts: one by the server's own tool, the others as copies of its file."""
    first, *others = _users()
    server.register(first, PASSWORD)
    [made] = (server.settings.directory / "data").glob(f"*/accounts/{first}.dat")
    for user in others:
        shutil.copy2(made, made.with_name(f"{user}.dat"))


# ------------------------------------------------------------------------------------- the floor


def _floor(given: Given, rates: Sequence[float]) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="ringback-stanza-") as scratch:
        server = Prosody(
            ProsodySettings(
                Path(scratch), "localhost", "floor-secret", free_port(), free_port(), free_port()
            )
        )
        server.write_config()
        _register(server)
        server.start()
        try:
            users = [(user, PASSWORD) for user in _users()]
            for rate in rates:
                seconds = _seconds(given, rate)
                warm = _warm(rate)
                trips = stanza.round_trips(server.settings, users, rate, warm + seconds)
                there, back = (
                    [at for number, at in came.items() if int(number) >= int(rate * warm)]
                    for came in uvloop.run(trips)
                )
                one_way = round(1000 * harness.percentile(there or [0.0], 0.5), 2)
                asked = int(rate * (warm + seconds)) - int(rate * warm)
                rows.append(_told("floor", rate, back, asked, there_p50_ms=one_way))
        finally:
            server.stop()
    return rows


# ----------------------------------------------------------------------------------- the product


def _product(given: Given, rates: Sequence[float]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="ringback-asked-") as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        for name, document in (("policy.yaml", _POLICY), ("rules.yaml", _RULES)):
            (data / name).write_text(yaml.safe_dump(document), encoding="utf-8")
        with harness.running(data) as system:
            chat = system.house.run["xmpp"]
            server = Prosody(
                ProsodySettings(
                    data / "prosody",
                    chat["domain"],
                    system.house.secrets.component_secret,
                    chat["client_port"],
                    chat["component_port"],
                    0,
                )
            )
            _register(server)
            return uvloop.run(_ask(given, system, server.settings, rates))


async def _ask(
    given: Given, system: harness.System, server: ProsodySettings, rates: Sequence[float]
) -> list[dict[str, Any]]:
    arrived: dict[str, float] = {}

    def read(message: Message) -> None:
        if message.challenge:
            arrived.setdefault(message.challenge, time.perf_counter())

    clients = [
        CustomerClient(f"{user}@{server.domain}/bench", PASSWORD, HOST, server.client_port, read)
        for user in _users()
    ]
    async with harness.session(system.headers) as http:
        for user, client in zip(_users(), clients, strict=True):
            await client.connect(20.0)
            await _bind(http, system.http, user, f"{user}@{server.domain}")
        try:
            rows = []
            for rate in rates:
                await _at_rate(http, system.http, rate, _warm(rate), arrived)
                before = _processor(system)
                row = await _at_rate(http, system.http, rate, _seconds(given, rate), arrived)
                rows.append({**row, "processor_ms_each": _spent(system, before, row["asked"])})
            return rows
        finally:
            for client in clients:
                await client.disconnect()


def _processor(system: harness.System) -> dict[str, float]:
    """What each part has used of the processors, in seconds; `load` is the benchmark itself."""
    mine = psutil.Process().cpu_times()
    return {**system.processor_seconds(), "load": mine.user + mine.system}


def _spent(system: harness.System, before: dict[str, float], asked: int) -> dict[str, float]:
    now = _processor(system)
    return {one: round(1000 * (now[one] - before.get(one, 0.0)) / asked, 2) for one in now}


async def _bind(http: aiohttp.ClientSession, url: str, user: str, address: str) -> None:
    said = {
        "language": "en",
        "zone": "UTC",
        "channels": [{"kind": "xmpp", "address": address, "verified": True}],
    }
    async with http.put(f"{url}/v1/customers/{user}", json=said) as answer:
        if answer.status != 200:
            raise RuntimeError(f"conversation: needed 200 to a binding, got {answer.status}")


_numbers = itertools.count(1)


def _name(number: int) -> str:
    """A payee's name: each payment has another, so that none is at hand from the one before."""
    letters = "".join(chr(ord("a") + number // 26**place % 26) for place in range(4))
    return f"ACME Trading {letters.title()}"


async def _at_rate(
    http: aiohttp.ClientSession, url: str, rate: float, seconds: float, arrived: dict[str, float]
) -> dict[str, Any]:
    """Post payments at their moments; latency counts from the moment, whatever came before."""
    intended: dict[str, float] = {}
    others: list[str] = []

    async def pay(number: int, moment: float) -> None:
        user = _users()[number % CUSTOMERS]
        event = {
            "id": f"bench-{number}",
            "type": "transaction",
            "time": datetime.now(UTC).isoformat(),
            "customer": user,
            "channel": "app",
            "amount": "9800.00",
            "currency": "CNY",
            "payee": {"account": f"ACC{number}", "name": _name(number), "country": "CN"},
            "kind": "transfer",
        }
        async with http.post(f"{url}/v1/events", json=event) as answer:
            decision = await answer.json()
        asked = decision.get("challenge")
        if answer.status == 200 and asked:
            intended[asked["id"]] = moment
        else:
            others.append(str(decision.get("decision") or answer.status))

    first = time.perf_counter() + 0.2
    paying = []
    for step in range(int(rate * seconds)):
        moment = first + step / rate
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        paying.append(asyncio.create_task(pay(next(_numbers), moment)))
    await asyncio.gather(*paying)
    end = time.perf_counter() + ARRIVES_WITHIN
    while any(one not in arrived for one in intended) and time.perf_counter() < end:  # noqa: ASYNC110 - another process sends them
        await asyncio.sleep(0.05)
    waits = [arrived[one] - moment for one, moment in intended.items() if one in arrived]
    return _told("product", rate, waits, len(paying), not_asked=len(others), why=sorted({*others}))
