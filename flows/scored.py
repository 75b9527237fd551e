"""What was known when an event was scored? The as-scored store, which labels are joined with.

SQLite files of the flow (one a process, read by all), kept for 180 days by default. A row that a
crash lost is written again by the replay, from the recorded features.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from flows.walk import Scored, Values
from risk.events import amount_of

FORMAT = 1


class Row(NamedTuple):
    """An event as it was scored."""

    event: str
    time_us: int
    customer: str
    payee: str | None
    device: str | None
    ip: str | None
    features: Values
    card: str | None = None
    terminal: str | None = None
    scores: dict[str, float] | None = None
    paid: list[str | None] | None = None  # amount, currency, kind, sealed payee: to ask about it


class Scoreds(Protocol):
    """Keeps events as scored, until a label asks."""

    def put(self, row: Row) -> None:
        """Keep a row; the same event again replaces it."""

    def commit(self) -> None:
        """Make what was put durable against the death of this process."""

    def get(self, event: str) -> Row | None:
        """The row of an event, or None."""

    def look(self, event: str) -> Row | None:
        """The row of an event, or None; it stays as it is."""


def row_of(fact: Scored, *, with_paid: bool = False) -> Row:
    """The row of a scored event; ``with_paid`` keeps what a question about it would show."""
    moment = fact.moment
    paid: list[str | None] | None = None
    if with_paid and moment.type == "transaction":
        paid = [str(amount_of(moment)), moment.currency, moment.kind, moment.payee_sealed]
    return Row(
        moment.id,
        moment.time_us,
        moment.customer,
        moment.payee,
        moment.device,
        moment.ip,
        fact.features,
        moment.card,
        moment.terminal,
        fact.scores,
        paid,
    )


class MemoryScoreds:
    """Rows in memory, each forgotten once it was asked for: for a replay, one label an event."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def put(self, row: Row) -> None:
        self._rows[row.event] = row

    def commit(self) -> None:
        return

    def get(self, event: str) -> Row | None:
        return self._rows.pop(event, None)

    def look(self, event: str) -> Row | None:
        return self._rows.get(event)

    def has(self, event: str) -> bool:
        """Whether the event was scored and its row not taken yet."""
        return event in self._rows


class SqliteScoreds:
    """Rows in ``<folder>/scored-<name>.db``; reads every such file in the folder."""

    def __init__(self, folder: Path, name: str, now_us: Callable[[], int], days: int = 180) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._own = folder / f"scored-{name}.db"
        self._now_us, self._keep_us = now_us, days * 86_400_000_000
        self._pending: dict[str, Row] = {}
        self._db = sqlite3.connect(self._own, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS scored (event TEXT PRIMARY KEY, time_us INTEGER NOT NULL,"
            " row BLOB NOT NULL) WITHOUT ROWID"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS by_time ON scored (time_us)")
        self._db.execute(f"PRAGMA user_version={FORMAT}")
        self._files = ScoredFiles(folder)
        self._commits = 0

    def put(self, row: Row) -> None:
        self._pending[row.event] = row

    def commit(self) -> None:
        if not self._pending:
            return
        rows = [(row.event, row.time_us, orjson.dumps(row[2:])) for row in self._pending.values()]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO scored VALUES (?, ?, ?)", rows)
        self._commits += 1
        if self._commits % 1000 == 0:
            oldest = self._now_us() - self._keep_us
            self._db.execute("DELETE FROM scored WHERE time_us < ?", (oldest,))
        self._db.execute("COMMIT")
        self._pending.clear()

    def has(self, event: str) -> bool:
        """Whether the event was scored."""
        return self.get(event) is not None

    def get(self, event: str) -> Row | None:
        pending = self._pending.get(event)
        return self._files.get(event) if pending is None else pending

    def look(self, event: str) -> Row | None:
        return self.get(event)

    def since(self, time_us: int) -> list[Row]:
        """All rows of events since a time, in order of time; their features are left out."""
        return self._files.since(time_us)


class ScoredFiles:
    """The rows of all processes' files in a folder, to be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[Path, sqlite3.Connection] = {}

    def get(self, event: str) -> Row | None:
        """The row of an event, or None."""
        for path in sorted(self._folder.glob("scored-*.db")):
            if path not in self._open:
                uri = f"{path.absolute().as_uri()}?mode=ro"
                self._open[path] = sqlite3.connect(uri, uri=True, check_same_thread=False)
            try:
                found = (
                    self._open[path]
                    .execute("SELECT event, time_us, row FROM scored WHERE event = ?", (event,))
                    .fetchone()
                )
            except sqlite3.DatabaseError:
                continue  # another process is just making its file, or lost it
            if found:
                # the first programs wrote neither card nor terminal
                return Row(found[0], found[1], *orjson.loads(found[2]))
        return None

    def since(self, time_us: int) -> list[Row]:
        """All rows of events since a time, in order of time; their features are left out."""
        found: list[Row] = []
        for path in sorted(self._folder.glob("scored-*.db")):
            uri = f"{path.absolute().as_uri()}?mode=ro"
            try:
                with closing(sqlite3.connect(uri, uri=True)) as db:
                    for event, at_us, raw in db.execute(
                        "SELECT event, time_us, row FROM scored WHERE time_us >= ?", (time_us,)
                    ):
                        row = Row(event, at_us, *orjson.loads(raw))
                        found.append(row._replace(features={}, scores=None))
            except sqlite3.DatabaseError:
                continue  # another process is just making its file, or lost it
        return sorted(found, key=lambda row: row.time_us)

    def close(self) -> None:
        """Close the files."""
        for db in self._open.values():
            db.close()
