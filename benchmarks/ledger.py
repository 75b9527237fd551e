"""What does evidence cost beside a bare SQLite group commit of the same records?

    python -m benchmarks ledger

Both take the same stream from the same Redis (`floors/group_commit.py`), in turns: what is compared
is what the ledger adds (checking, chains, sealing, indexes, hashing, signing). Then the reading
side: the root alone, `verify` with case chains, and one case's chain out of all.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import redis
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit import read
from audit.find import bring_up, find
from audit.redis_inlet import MARK, STREAM, parse_id
from audit.tiles import checkpoint_file
from audit.verify import find_logs, verify_ledger
from audit.writer import Ledger
from benchmarks.floors.group_commit import Bare
from benchmarks.harness import Given, Result, median, percentile
from tests.servers import RedisServer, redis_program

NAME = "ledger"
BAR = (
    "to durable >= 0.5 x bare group commit, p99 <= 50 ms at 100 callers; root >= 250,000/s; "
    "with chains >= 80,000/s, 1,000,000 <= 15 s; of 10,000 a case <= 5 ms p99, an event or a "
    "customer's last 100 records <= 100 ms"
)
CALLERS = 100
STORY = 5  # records that an event brings at once
KEY = bytes(32)
KINDS = ("case.opened", "event.in", "features", "score", "decision", "case.closed")
SUBJECTS = 5_000
Record = dict[str, Any]


def sealed(value: str, path: str) -> str:
    """A value as a producer seals it for the way."""
    nonce = os.urandom(12)
    packed = nonce + AESGCM(KEY).encrypt(nonce, value.encode(), path.encode())
    return "s1." + base64.urlsafe_b64encode(packed).decode()


def records(first: int, count: int, *, seal: bool) -> list[Record]:
    """Stories of six records each, about 959 bytes a leaf; one in six with personal values."""
    made = []
    for n in range(first, first + count):
        event, kind = f"ev{n // 6:09d}", KINDS[n % 6]
        record: Record = {
            "v": 1,
            "kind": kind,
            "rid": f"rb:events:0/{event}/{kind}",
            "tenant": "main",
            "case": f"case-{event}",
            "event": event,
            "subject": f"cus_{n // 6 % SUBJECTS}",
            "actor": {"type": "service", "id": "flow", "role": "engine"},
            "at": "2026-01-01T00:00:00.000000Z",
            "body": {
                "score": n % 1000,
                "reasons": [{"code": "velocity", "value": "1.25", "text": "x" * 120}],
                "features": {f"customer.count.{w}": str(n) for w in ("1m", "1h", "24h", "7d")},
                "pad": "y" * 160,
            },
            "payload": [],
            "grade": 1,
        }
        if seal and kind == "event.in":
            record["personal"] = {
                "payee.name": {
                    "subject": f"acc_{n % SUBJECTS}",
                    "sealed": sealed("ACME", "payee.name"),
                },
                "memo": {"subject": record["subject"], "sealed": sealed("rent", "memo")},
            }
        made.append(record)
    return made


@contextlib.contextmanager
def taking(who: str, url: str, folder: Path) -> Iterator[None]:
    """The ledger's writer or the floor, at work on a stream, as a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "transport.key"
    key.write_text(KEY.hex())
    line = [sys.executable, "-m", "benchmarks.floors.group_commit", url, str(folder / "bare.db")]
    if who == "ledger":
        line = [sys.executable, "-m", "audit", "writer", "--redis", url, "--data", str(folder)]
        line += ["--bank", "bank.example", "--transport-key", str(key)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert b"ready" in process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(30)


def callers(client: redis.Redis, first: int, rounds: int) -> dict[str, Any]:
    """So many callers at once, each with an event's records and waiting until they are durable."""
    took: list[float] = []
    spent = 0.0
    for turn in range(rounds):
        bundles = [
            orjson.dumps(records(first + (turn * CALLERS + n) * 6, STORY, seal=True))
            for n in range(CALLERS)
        ]
        begun = time.perf_counter()
        with client.pipeline(transaction=False) as pipe:
            for bundle in bundles:
                pipe.xadd(STREAM, {"records": bundle})
            left = sorted(parse_id(entry) for entry in pipe.execute())
        while left:
            mark = parse_id(client.get(MARK) or b"0-0")
            now = time.perf_counter() - begun
            while left and left[0] <= mark:
                took.append(now * 1000)
                left.pop(0)
            time.sleep(0.0005)
        spent += time.perf_counter() - begun
    took.sort()
    return {
        "records_per_second": round(rounds * CALLERS * STORY / spent),
        "p50_ms": round(percentile(took, 0.5), 1),
        "p99_ms": round(percentile(took, 0.99), 1),
    }


def gathered(client: redis.Redis, first: int, count: int) -> float:
    """Records a second once so many lie there, in bundles of an event each."""
    with client.pipeline(transaction=False) as pipe:
        for n in range(0, count, 6):
            bundle = orjson.dumps(records(first + n, STORY, seal=True))
            pipe.xadd(STREAM, {"records": bundle})
        begun = time.perf_counter()
        tail = parse_id(pipe.execute()[-1])
    while parse_id(client.get(MARK) or b"0-0") < tail:
        time.sleep(0.002)
    return count // 6 * STORY / (time.perf_counter() - begun)


def to_durable(folder: Path, rounds: int, count: int) -> list[dict[str, Any]]:
    """Ledger and floor in turns, each over a stream of its own."""
    found = []
    for number in range(3):
        for who in ("floor", "ledger") if number % 2 == 0 else ("ledger", "floor"):
            here = folder / f"{who}-{number}"
            server = RedisServer(redis_program(), here / "redis")
            server.start()
            try:
                with taking(who, server.url, here), redis.Redis.from_url(server.url) as client:
                    row = {"who": who, "round": number, **callers(client, 0, rounds)}
                    row["gathered_per_second"] = round(gathered(client, 10**7, count))
            finally:
                server.stop()
            found.append(row)
    return found


def in_process(folder: Path, total: int) -> dict[str, Any]:
    """The same records without the way: `append_many` beside the bare commit, groups of 100."""
    took: dict[str, list[float]] = {"ledger": [], "floor": []}
    ledger = Ledger(folder / "ours", origin_bank="bank.example", tenant="main", transport_key=KEY)
    bare = Bare(folder / "bare.db")
    for first in range(0, total, 6_000):
        batch = records(first, 6_000, seal=True)
        leaves = [orjson.dumps(one) for one in batch]
        for who in ("ledger", "floor"):
            begun = time.process_time()
            for start in range(0, len(batch), 100):
                part = slice(start, start + 100)
                if who == "ledger":
                    ledger.append_many(batch[part])
                else:
                    bare.append(leaves[part])
            took[who].append((time.process_time() - begun) / len(batch) * 1e6)
    ledger.close()
    return {f"{who}_cpu_us_a_record": round(median(each), 1) for who, each in took.items()}


def reading(folder: Path, total: int, looks: int) -> dict[str, Any]:
    """Write so many records; then the root alone, everything that `verify` does, and look-ups."""
    data = folder / "large"
    ledger = Ledger(data, origin_bank="bank.example", tenant="main", transport_key=KEY)
    for first in range(0, total, 6_000):
        ledger.append_many(records(first, min(6_000, total - first), seal=first < total // 10))
    assert ledger.refused == 0
    ledger.close()
    [log] = find_logs(data / "ledger")
    figures: dict[str, Any] = {}
    since = [checkpoint_file(log).read_bytes()]
    cores = os.cpu_count() or 1
    for name, known, workers in (
        ("root", since, cores),
        ("verify", [], cores),
        ("verify_on_one_core", [], 1),
    ):
        begun = time.perf_counter()
        [report] = verify_ledger(log, since=known, workers=workers)
        took = time.perf_counter() - begun
        assert report.faults == []
        figures |= {f"{name}_seconds": round(took, 2), f"{name}_rate": round(report.size / took)}
        figures["records"] = report.size
    begun = time.process_time()
    assert bring_up(data) == figures["records"]
    figures["find_brought_up_cpu_us_a_record"] = round(
        (time.process_time() - begun) / figures["records"] * 1e6, 1
    )
    for what, of, look, least in (
        ("case", "case-ev{:09d}", partial(read.case_records, data), 6),
        ("event", "ev{:09d}", partial(read.event_records, data), 6),
        ("customer", "cus_{}", partial(_of_customer, data), min(100, total // 6 // SUBJECTS * 6)),
    ):
        took_ms, chance = [], random.Random(1)
        known_of = SUBJECTS if what == "customer" else total // 6
        for _ in range(looks):
            name = of.format(chance.randrange(known_of))
            begun = time.perf_counter()
            leaves = look(name)
            took_ms.append((time.perf_counter() - begun) * 1000)
            assert len(leaves) >= least
        took_ms.sort()
        figures[f"{what}_p50_ms"] = round(percentile(took_ms, 0.5), 2)
        figures[f"{what}_p99_ms"] = round(percentile(took_ms, 0.99), 2)
    return figures


def _of_customer(data: Path, token: str) -> list[Record]:
    return find(data, subject=token, most=100)


def run(given: Given) -> Result:
    """To durable in turns with the floor, then reading."""
    rounds, count, total, looks = 40, 60_000, 1_000_000, 10_000
    if given.quick:
        rounds, count, total, looks = 3, 1_200, 12_000, 200
    folder = given.scratch / "ledger"
    rows = to_durable(folder, rounds, count)
    figures = {**in_process(folder, min(count, 30_000)), **reading(folder, total, looks)}

    def of(who: str, what: str) -> float:
        return median([row[what] for row in rows if row["who"] == who])

    compared = {
        "at_100_callers": round(
            of("ledger", "records_per_second") / of("floor", "records_per_second"), 2
        ),
        "gathered": round(
            of("ledger", "gathered_per_second") / of("floor", "gathered_per_second"), 2
        ),
    }
    p99, rate = of("ledger", "p99_ms"), of("ledger", "gathered_per_second")
    met = (
        min(compared.values()) >= 0.5
        and p99 <= 50
        and figures["root_rate"] >= 250_000
        and figures["verify_rate"] >= 80_000
        and figures["verify_seconds"] * 1_000_000 / figures["records"] <= 15
        and figures["case_p99_ms"] <= 5
        and figures["event_p99_ms"] <= 100
        and figures["customer_p99_ms"] <= 100
    )
    summary = (
        f"to durable {rate:.0f}/s ({compared['gathered']} x floor), at 100 callers "
        f"{compared['at_100_callers']} x, p99 {p99} ms; root {figures['root_rate']}/s, verify "
        f"{figures['verify_rate']}/s, on one core "
        f"{figures['verify_on_one_core_rate']}/s; a case {figures['case_p99_ms']} ms p99, an event "
        f"{figures['event_p99_ms']}, a customer's last 100 {figures['customer_p99_ms']} ms"
    )
    return Result(NAME, BAR, met, summary, {"ratio": compared, **figures, "runs": rows})
