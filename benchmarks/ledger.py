"""How much does evidence cost? The ledger beside a bare SQLite group commit of the same bytes.

    python -m benchmarks.ledger [--records N] [--seal]

Both run alternately, in one process, on one disk, with the same batches: what is compared is what
the ledger adds (checking, chains, sealing, hashing, signing). Then `verify` of what was written,
and the time from `rb:audit` to the durable mark if a redis-server is there. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.redis_inlet import MARK, STREAM, parse_id
from audit.verify import verify_ledger
from audit.writer import Ledger, run_writer

KEY = bytes(32)
BATCH = 1_000
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


class Bare:
    """The floor: the same bytes, the same batches, one table, WAL, synchronous=FULL."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE records (n INTEGER PRIMARY KEY, leaf BLOB NOT NULL)")

    def append(self, leaves: list[bytes]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO records (leaf) VALUES (?)", [(leaf,) for leaf in leaves])
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


def leaves_of(data: Path, first: int) -> list[bytes]:
    """The leaves that the ledger has written from a position on."""
    db = sqlite3.connect(f"file:{data}/ledger/ledger.db?mode=ro", uri=True)
    rows = db.execute("SELECT leaf FROM records WHERE position & 0xffffffffff >= ?", (first,))
    leaves = [row[0] for row in rows]
    db.close()
    return leaves


def appends(folder: Path, total: int, *, seal: bool) -> dict[str, Any]:
    """Alternate ten rounds of the ledger and of the floor over the same bytes."""
    ledger = Ledger(folder, origin_bank="bank.example", tenant="main", transport_key=KEY)
    bare = Bare(folder / "bare.db")
    per_round, written = total // 10, 1
    ours, floor, size = [], [], 0
    for turn in range(10):
        batch = records(turn * per_round, per_round, seal=seal)
        begun = time.perf_counter()
        ledger.append_many(batch)
        ours.append(time.perf_counter() - begun)
        leaves = leaves_of(folder, written)
        written += len(leaves)
        size += sum(map(len, leaves))
        begun = time.perf_counter()
        for start in range(0, len(leaves), BATCH):
            bare.append(leaves[start : start + BATCH])
        floor.append((time.perf_counter() - begun) * per_round / len(leaves))
    assert ledger.refused == 0
    ledger.close()
    bare.close()
    rates = [per_round / statistics.median(times) for times in (ours, floor)]
    return {
        "leaf_bytes": round(size / max(written - 1, 1)),
        "ledger_per_second": round(rates[0]),
        "bare_sqlite_per_second": round(rates[1]),
        "ratio": round(rates[0] / rates[1], 2),
    }


def verifying(folder: Path) -> dict[str, Any]:
    """Everything that `verify` does, with as many workers as there are cores."""
    begun = time.perf_counter()
    report = verify_ledger(folder / "ledger", workers=os.cpu_count() or 1)[0]
    took = time.perf_counter() - begun
    assert report.faults == []
    return {"verify_per_second": round(report.size / took), "verified": report.size}


def waiting(folder: Path, callers: int = 100, rounds: int = 20) -> dict[str, Any]:
    """Milliseconds from XADD to the durable mark, with that many callers waiting at once."""
    program = shutil.which("redis-server")
    if program is None:
        return {"skipped": "redis-server is not installed"}
    import redis

    from tests.servers import RedisServer

    server = RedisServer(program, folder / "redis")
    server.start()
    stop, ready = threading.Event(), threading.Event()
    writer = threading.Thread(
        target=run_writer,
        kwargs={
            "redis_url": server.url,
            "data_dir": folder / "live",
            "origin_bank": "bank.example",
            "tenant": "main",
            "transport_key": KEY,
            "stop": stop,
            "on_ready": ready.set,
        },
    )
    writer.start()
    ready.wait(10)
    client = redis.Redis.from_url(server.url)
    took: dict[int, list[float]] = {1: [], callers: []}
    first = 0
    for count, times in took.items():
        for _ in range(rounds):
            pipe = client.pipeline(transaction=False)
            for n in range(count):
                story = records(first + n * 6, 5, seal=True)
                pipe.xadd(STREAM, {"records": json.dumps(story)})
            first += count * 6
            begun = time.perf_counter()
            left = sorted(parse_id(entry) for entry in pipe.execute())
            while left:
                mark = parse_id(client.get(MARK) or b"0-0")
                now = time.perf_counter() - begun
                while left and left[0] <= mark:
                    times.append(now * 1000)
                    left.pop(0)
    stop.set()
    writer.join()
    client.close()
    server.stop()
    return {
        f"{count}_callers": {
            "p50_ms": round(statistics.median(times), 1),
            "p99_ms": round(sorted(times)[int(len(times) * 0.99) - 1], 1),
        }
        for count, times in took.items()
    }


def main() -> None:
    """Print the figures as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=60_000)
    chosen = parser.parse_args()
    figures: dict[str, Any] = {"records": chosen.records, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sealed").mkdir()
        (folder / "plain").mkdir()
        figures["sealed"] = appends(folder / "sealed", chosen.records, seal=True)
        figures["plain"] = appends(folder / "plain", chosen.records, seal=False)
        figures["verify"] = verifying(folder / "sealed")
        figures["to_durable"] = waiting(folder)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
