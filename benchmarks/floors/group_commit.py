"""The floor for the ledger: `rb:audit` into one SQLite table, group commit, nothing made of it.

    python -m benchmarks.floors.group_commit REDIS_URL FILE     rb:audit -> FILE -> rb:audit:durable

Tuned like the product: the same stream, the same groups, WAL, synchronous=FULL, one statement, the
mark and the next read in one turn. No chain, no seal, no tree, no signature, no index.
"""

import sqlite3
import sys
from pathlib import Path
from typing import Any

import orjson
import redis

STREAM, MARK, GROUP = "rb:audit", "rb:audit:durable", 1_000


class Bare:
    """One table of bytes, one durable transaction a group."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE records (n INTEGER PRIMARY KEY, leaf BLOB NOT NULL)")

    def append(self, leaves: list[bytes]) -> None:
        """Durable when it returns."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO records (leaf) VALUES (?)", [(leaf,) for leaf in leaves])
        self._db.execute("COMMIT")


def main() -> None:
    """Take the stream down until killed."""
    client, bare, last = redis.Redis.from_url(sys.argv[1]), Bare(Path(sys.argv[2])), "0-0"
    client.set(MARK, last)
    print("ready", flush=True)
    gathered: Any = None
    while True:
        gathered = gathered or client.xread({STREAM: last}, count=512, block=250)
        if not gathered:
            continue
        entries = gathered[0][1] if isinstance(gathered, list) else gathered[STREAM.encode()][0]
        records = [one for _, fields in entries for one in orjson.loads(fields[b"records"])]
        for start in range(0, len(records), GROUP):
            bare.append([orjson.dumps(one) for one in records[start : start + GROUP]])
        last = entries[-1][0].decode()
        with client.pipeline(transaction=False) as turn:
            turn.set(MARK, last)
            turn.xread({STREAM: last}, count=512)
            gathered = turn.execute()[1]


if __name__ == "__main__":
    main()
