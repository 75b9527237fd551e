"""How many events a second are decided: one by one, by batch, by stream?

Single requests at growing rates until a rate is not sustained; batches from a few connections that
each send the next when the last is answered; the stream ``rb:inbox`` filled at once and timed until
the last is decided.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from benchmarks import harness
from benchmarks.harness import Bank, Given, Result, System
from risk import names

NAME = "throughput"
BAR = "target on a quiet machine: >= 1,000/s single, >= 3,000/s by batch or stream"
SINGLE, TOGETHER = 1_000, 3_000
CUSTOMERS = 20_000
LINES, CONNECTIONS = 200, 4
SUSTAINED_P99_MS = 500.0


def run(given: Given) -> Result:
    """Find the highest sustained rate of each door."""
    rates = range(50, 101, 50) if given.quick else range(200, 2_001, 200)
    seconds = 2.0 if given.quick else 10.0
    with harness.running() as system:
        steps = _single(system, rates, seconds)
    with harness.running() as system:
        batch = harness.in_loop(lambda: _batches(system, seconds))
    with harness.running() as system:
        stream = _stream(system, 500 if given.quick else 20_000)
    single = max((row["per_second"] for row in steps if row["sustained"]), default=0.0)
    best = max(batch["per_second"], stream["per_second"])
    raw = {"single_per_second": single, "single": steps, "batch": batch, "stream": stream}
    summary = (
        f"single {single:.0f}/s sustained, batch {batch['per_second']:.0f}/s, "
        f"stream {stream['per_second']:.0f}/s"
    )
    return Result(NAME, BAR, single >= SINGLE and best >= TOGETHER, summary, raw)


def _single(system: System, rates: range, seconds: float) -> list[dict[str, Any]]:
    """Each rate for so long, until one isn't sustained: too slow in the end, or degraded."""
    rows: list[dict[str, Any]] = []
    for rate in rates:
        bank = Bank(CUSTOMERS, CUSTOMERS, f"s{rate}")
        url, headers = f"{system.http}/v1/events", system.headers
        before = system.processor_seconds()
        shots = harness.in_loop(
            lambda: harness.measure(url, headers, bank, rate, seconds)  # noqa: B023  run at once
        )
        row = {"rate": rate, **harness.told(shots, seconds)}
        spent = system.processor_seconds()
        row["processor_share"] = {
            name: round((spent[name] - before.get(name, 0.0)) / (seconds + 2.0), 2)
            for name in spent
        }
        row["sustained"] = (
            harness.healthy(row) and not row["degraded"] and row["p99_ms"] <= SUSTAINED_P99_MS
        )
        rows.append(row)
        if not row["sustained"]:
            break
        time.sleep(1.0)
    return rows


async def _batches(system: System, seconds: float) -> dict[str, Any]:
    """Batches, one after the other, on a few connections."""
    url = f"{system.http}/v1/events:batch"
    headers = {
        **system.headers,
        "Content-Type": "application/x-ndjson",
        "Prefer": "wait=20",
    }
    bank = Bank(CUSTOMERS, CUSTOMERS, "b")
    decided, refused, degraded, took = 0, 0, 0, list[float]()
    async with harness.session(headers) as client:
        end = time.perf_counter() + seconds
        began = time.perf_counter()

        async def send() -> None:
            nonlocal decided, refused, degraded
            while time.perf_counter() < end:
                now = time.time()
                body = b"\n".join(bank.payment(now) for _ in range(LINES))
                sent = time.perf_counter()
                async with client.post(url, data=body) as response:
                    raw = await response.read()
                took.append(time.perf_counter() - sent)
                for line in raw.splitlines():
                    answer = orjson.loads(line)
                    if answer.get("status") != 200:
                        refused += 1
                    elif answer["decision"].get("degraded"):
                        degraded += 1
                    else:
                        decided += 1

        await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
        lasted = time.perf_counter() - began
    return {
        "lines": LINES,
        "connections": CONNECTIONS,
        "batches": len(took),
        "decided": decided,
        "degraded": degraded,
        "refused": refused,
        "seconds": round(lasted, 2),
        "per_second": round(decided / lasted, 1),
        "batch_p50_ms": round(harness.percentile(took, 0.5) * 1000, 1),
    }


def _stream(system: System, count: int) -> dict[str, Any]:
    """So many events on the inbox at once; how long until all are decided."""
    client = system.connect()
    bank = Bank(CUSTOMERS, CUSTOMERS, "i")
    began = time.perf_counter()
    for start in range(0, count, 500):
        pipe = client.pipeline(transaction=False)
        now = time.time()
        for _ in range(min(500, count - start)):
            pipe.xadd(names.INBOX, {"event": bank.payment(now)})
        pipe.execute()
    filled = time.perf_counter() - began
    before = system.processor_seconds()
    while True:
        decided = int(client.hget(names.COUNTERS, "decisions_flow") or 0)
        lasted = time.perf_counter() - began
        if decided >= count or lasted > 300:
            break
        time.sleep(0.02)
    spent = system.processor_seconds()
    client.close()
    return {
        "events": count,
        "decided": decided,
        "filled_after_s": round(filled, 2),
        "seconds": round(lasted, 2),
        "per_second": round(decided / lasted, 1),
        "processor_seconds": {
            name: round(spent[name] - before.get(name, 0.0), 2) for name in spent
        },
    }
