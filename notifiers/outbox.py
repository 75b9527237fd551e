"""What was read, what must still go out, what must still be told? One SQLite file knows.

::

    waiting --its rung starts--> due --claim(fence)--> written --proof--> taken
                                  ^                      |  \\--bounce--> bounced
                                  +------ no proof ------+
                    due --past its time--> dropped,  waiting, due --closed--> withdrawn

The place in `rb:challenges` moves in the transaction that stores what stood there, so a question
is read once. A row is claimed with the leader's fencing number, and a claim under an older number
is refused inside the same transaction. Nothing personal lies here in the clear: amounts and tokens
do, payees and addresses are under their seals, codes are not stored but made again.

All changes go through one thread and are committed in groups: one fsync for all that is waiting.
What nobody waits for is patient: it goes with the next group, at the latest after `PATIENT_FOR`.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from notifiers import rows
from notifiers.errors import Fenced, OutboxRefused

SCHEMA_VERSION = 3
PATIENT_FOR = 0.02  # seconds
BUSY_FOR = 0.6  # seconds; only a leader whose term is over can still hold the lock
_T = TypeVar("_T")
Change = Callable[[sqlite3.Connection], _T]

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('position', '0-0'), ('alerts', '0-0'), ('fence', 0),
    ('holder', '');
CREATE TABLE challenges (
    id TEXT PRIMARY KEY, entry TEXT NOT NULL, customer TEXT NOT NULL, ask BLOB NOT NULL,
    language TEXT NOT NULL, zone TEXT NOT NULL, draw INTEGER NOT NULL, closed BLOB,
    repeated INTEGER NOT NULL DEFAULT 0, wrong INTEGER NOT NULL DEFAULT 0,
    told INTEGER NOT NULL DEFAULT 0, ends REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, challenge TEXT NOT NULL,
    kind TEXT NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL, due_after TEXT NOT NULL,
    drop_at REAL NOT NULL, state TEXT NOT NULL DEFAULT 'due',
    fence INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
    rung INTEGER NOT NULL DEFAULT 0, wait REAL NOT NULL DEFAULT 0,
    patience REAL NOT NULL DEFAULT 0, starts REAL, seen INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX climbing ON messages (starts) WHERE state = 'waiting';
CREATE INDEX fading ON messages (drop_at) WHERE state = 'waiting';
CREATE INDEX leaving ON messages (channel, seq) WHERE state = 'due';
CREATE INDEX staling ON messages (drop_at) WHERE state = 'due';
CREATE INDEX unproved ON messages (seq) WHERE state = 'written';
CREATE INDEX of_challenge ON messages (challenge);
CREATE TABLE claims (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, fence INTEGER NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE effects (id INTEGER PRIMARY KEY AUTOINCREMENT, effect BLOB NOT NULL);
"""
# What makes an outbox of the format before into one of the next.
_UPGRADES = {
    1: """
ALTER TABLE messages ADD COLUMN rung INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN wait REAL NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN patience REAL NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN starts REAL;
ALTER TABLE messages ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
CREATE INDEX climbing ON messages (starts) WHERE state = 'waiting';
""",
    # No query is served by a partial index whose term is IN (...): all of a day was looked through.
    2: """
DROP INDEX waiting;
CREATE INDEX fading ON messages (drop_at) WHERE state = 'waiting';
CREATE INDEX leaving ON messages (channel, seq) WHERE state = 'due';
CREATE INDEX staling ON messages (drop_at) WHERE state = 'due';
CREATE INDEX unproved ON messages (seq) WHERE state = 'written';
""",
}


def order(entry: str) -> str:
    """Make a stream id comparable as text."""
    first, _, second = entry.partition("-")
    return f"{int(first or 0):020d}-{int(second or 0):020d}"


class Outbox:
    """The durable half of the conversation. Open it once per process; many may share the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._closed = False
        self._gathered: list[_Queued] = []
        self._leaves_now = False
        self._leaves_later: asyncio.TimerHandle | None = None
        self._waiting: queue.SimpleQueue[list[_Queued] | None] = queue.SimpleQueue()
        connection = _open(path)
        self._thread = threading.Thread(
            target=self._run, args=(connection,), name="outbox", daemon=True
        )
        self._thread.start()

    async def change(
        self, change: "Change[_T]", fence: int | None = None, *, patient: bool = False
    ) -> _T:
        """Run one change inside the next group's transaction; durable once this returns.

        With a fencing number, `Fenced` is raised when a newer leader has been here. A patient
        change waits a moment for others, so that it costs no transaction of its own.
        """
        return await self._queue(change, fence, patient=patient)

    async def look(self, look: "Change[_T]") -> _T:
        """Read what is committed, after all changes asked for before; takes no lock."""
        return await self._queue(look, None, writes=False)

    async def _queue(
        self,
        change: "Change[_T]",
        fence: int | None,
        *,
        writes: bool = True,
        patient: bool = False,
    ) -> _T:
        if self._closed:
            raise OutboxRefused(f"{self._path}: the outbox is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        if self._gathered and self._gathered[0].loop is not loop:
            self._hand_over()  # of a loop that has ended
        if not patient and not self._leaves_now:
            self._leaves_now = True
            loop.call_soon(self._hand_over)  # what this turn of the loop asks for goes as one
        elif not self._gathered:
            self._leaves_later = loop.call_later(PATIENT_FOR, self._hand_over)
        self._gathered.append(_Queued(change, fence, loop, future, writes=writes))
        return await future

    def _hand_over(self) -> None:
        if self._leaves_later is not None:
            self._leaves_later.cancel()
        self._leaves_now, self._leaves_later = False, None
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._waiting.put(gathered)

    def close(self) -> None:
        """Finish what is queued, and close the file."""
        self._closed = True
        self._hand_over()
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _run(self, connection: sqlite3.Connection) -> None:
        ended = False
        while not ended:
            gathered = self._waiting.get()
            group = gathered or []
            with suppress(queue.Empty):
                while gathered is not None and len(group) < 256:
                    gathered = self._waiting.get_nowait()
                    group += gathered or []
            ended = gathered is None
            _commit(connection, group)
        connection.close()


class _Queued:
    """One change that waits for its group."""

    def __init__(
        self,
        change: "Change[Any]",
        fence: int | None,
        loop: asyncio.AbstractEventLoop,
        future: "asyncio.Future[Any]",
        *,
        writes: bool = True,
    ) -> None:
        self.writes = writes
        self.loop = loop
        self._change = change
        self._fence = fence
        self._future = future
        self._result: Any = None
        self._failed: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        if self.writes:
            connection.execute("SAVEPOINT one")
        try:
            if self._fence is not None:
                _check_fence(connection, self._fence)
            self._result = self._change(connection)
        except Exception as failed:  # noqa: BLE001 - it belongs to whoever asked for the change
            self._failed = failed
            if self.writes:
                connection.execute("ROLLBACK TO one")
        if self.writes:
            connection.execute("RELEASE one")

    def settle(self, failed: Exception | None) -> None:
        """Hand the result over, in its loop; with `failed`, the whole group came to nothing."""
        if self._future.done():
            return
        failed = failed or self._failed
        if failed is not None:
            self._future.set_exception(failed)
        else:
            self._future.set_result(self._result)


def _commit(connection: sqlite3.Connection, group: list[_Queued]) -> None:
    if not group:
        return
    failed: Exception | None = None
    # A group that only reads takes no lock: a leader that freezes while idle holds up nobody.
    begin = "BEGIN IMMEDIATE" if any(queued.writes for queued in group) else "BEGIN"
    try:
        connection.execute(begin)
        for queued in group:
            queued.run(connection)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        failed = error
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
    for loop in {queued.loop for queued in group}:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, group, loop, failed)


def _settle(
    group: list[_Queued], loop: asyncio.AbstractEventLoop, failed: Exception | None
) -> None:
    for queued in group:
        if queued.loop is loop:
            queued.settle(failed)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_FOR
    )
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = _version(connection)
    if version < SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        version = _version(connection)  # another one may have been first
        steps = (
            [_SCHEMA] if version == 0 else [_UPGRADES[n] for n in range(version, SCHEMA_VERSION)]
        )
        for statement in ";\n".join(steps).split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
        version = _version(connection)
    if version != SCHEMA_VERSION:
        connection.close()
        raise OutboxRefused(
            f"{path}: needed outbox format {SCHEMA_VERSION}, got {version}: "
            "run the version of Ringback that wrote it"
        )
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_fence(connection: sqlite3.Connection, fence: int) -> None:
    (newest,) = connection.execute("SELECT value FROM meta WHERE key = 'fence'").fetchone()
    if newest != fence:
        raise Fenced(f"outbox: needed the newest leader's number {newest}, got {fence}")


def take_over(fence: int, holder: str, now: float) -> "Change[None]":
    """Begin a term: older numbers are refused from now on, unfinished sends are due again."""

    def change(connection: sqlite3.Connection) -> None:
        (newest,) = connection.execute("SELECT value FROM meta WHERE key = 'fence'").fetchone()
        if newest > fence:
            raise Fenced(f"outbox: needed a number above {newest}, got {fence}")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'fence'", (fence,))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'holder'", (holder,))
        rows.unproved(connection, None, now)

    return change
