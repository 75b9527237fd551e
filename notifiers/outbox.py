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

Changes are made in groups: what one turn of the loop asks for is one transaction. Its statements
run in the loop, since a thread would fight with it for the interpreter at each of them; the wait
for the disk is a thread's, and the next group gathers meanwhile.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from notifiers import rows
from notifiers.errors import Fenced, OutboxRefused

SCHEMA_VERSION = 2
BUSY_FOR = 0.6  # seconds; only a leader whose term is over can still hold the lock
LAZY = 0.01  # seconds that a change which nobody waits for gathers others
LARGEST = 256  # changes of one transaction
CHECKPOINT_PAGES = 4000  # written back by some commit while others wait for it: seldom
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
CREATE INDEX waiting ON messages (state, seq) WHERE state IN ('due', 'written');
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
"""
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
        self._called = False  # for a group at the loop's next turn
        self._timer: asyncio.TimerHandle | None = None  # for a group that nobody waits for
        self._under_way: _Group | None = None
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._connection = _open(path)
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    async def change(
        self, change: "Change[_T]", fence: int | None = None, *, lazily: bool = False
    ) -> _T:
        """Run one change inside the next group's transaction; durable once this returns.

        With a fencing number, `Fenced` is raised when a newer leader has been here. A lazy one
        waits a little for others to share the disk's turn with.
        """
        made: _T = await self._queue(_Queued(change, fence), lazily=lazily)
        return made

    async def look(self, look: "Change[_T]", *, apart: bool = False) -> _T:
        """Read what is committed, after all changes asked for before; takes no lock.

        What reads very much goes `apart`, so that the loop goes on meanwhile.
        """
        seen: _T = await self._queue(_Queued(look, None, writes=False, apart=apart))
        return seen

    async def browse(self, look: "Change[_T]") -> _T:
        """Read what is committed just now, beside all else: for what looks at everything."""
        return await asyncio.to_thread(_browse, self._path, look)

    async def _queue(self, queued: "_Queued", *, lazily: bool = False) -> Any:
        if self._closed:
            raise OutboxRefused(f"{self._path}: the outbox is closed")
        loop = queued.loop
        group = self._under_way
        if group is not None and group.loop is not loop:  # of a loop that has ended
            self._finish(group)
        if any(other.loop is not loop for other in self._gathered):
            self._called, self._timer = False, None
        self._gathered.append(queued)
        if lazily:
            if self._timer is None and not self._called:
                self._timer = loop.call_later(LAZY, self._go)
        elif not self._called:  # what this turn of the loop asks for goes as one
            self._called = True
            loop.call_soon(self._go)
        return await queued.future

    def _go(self) -> None:
        """Begin a group, unless one is under way: then the next one begins at its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._called = True
        if self._under_way is not None or self._closed:
            return
        self._called = False
        group = _Group(self._gathered[:LARGEST], asyncio.get_running_loop())
        del self._gathered[:LARGEST]
        if self._gathered:
            self._called = True
        if not group.queued:
            return
        group.begin(self._connection)
        if group.made and not group.writes:
            group.end(self._connection)
            group.settle()
            if self._gathered:
                group.loop.call_soon(self._go)
            return
        self._under_way = group
        self._groups.put(group)

    def _ended(self, group: "_Group") -> None:
        """The group under way is durable, or came to nothing."""
        if self._under_way is group:
            self._under_way = None
            group.settle()
            if self._called and not self._closed:
                self._go()

    def _finish(self, group: "_Group") -> None:
        """Wait for the group under way."""
        group.over.wait()
        self._under_way = None
        group.settle()

    def close(self) -> None:
        """Finish what is queued, and close the file."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._under_way is not None:
            self._finish(self._under_way)
        while self._gathered:
            group = _Group(self._gathered[:LARGEST], self._gathered[0].loop)
            del self._gathered[:LARGEST]
            group.end(self._connection)
            group.settle()
        self._groups.put(None)
        self._thread.join(timeout=10)
        self._connection.close()

    def _run(self) -> None:
        while (group := self._groups.get()) is not None:
            group.end(self._connection)
            group.over.set()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                group.loop.call_soon_threadsafe(self._ended, group)


class _Queued:
    """One change that waits for its group."""

    def __init__(
        self,
        change: "Change[Any]",
        fence: int | None,
        *,
        writes: bool = True,
        apart: bool = False,
    ) -> None:
        self.writes = writes
        self.apart = apart
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self._change = change
        self._fence = fence
        self._result: Any = None
        self._failed: Exception | None = None

    def run(self, connection: sqlite3.Connection, *, several: bool) -> bool:
        """Make the change, or nothing of it; False where the whole transaction is to be undone."""
        apart = self.writes and several
        if apart:
            connection.execute("SAVEPOINT one")
        try:
            if self._fence is not None:
                _check_fence(connection, self._fence)
            self._result = self._change(connection)
        except Exception as failed:  # noqa: BLE001 - it belongs to whoever asked for the change
            self._failed = failed
            if not apart:
                return not self.writes
            connection.execute("ROLLBACK TO one")
        if apart:
            connection.execute("RELEASE one")
        return True

    def settle(self, failed: Exception | None) -> None:
        """Hand the result over, in its loop; with `failed`, the whole group came to nothing."""
        if self.future.done() or self.loop.is_closed():
            return
        failed = failed or self._failed
        if failed is not None:
            self.future.set_exception(failed)
        else:
            self.future.set_result(self._result)


class _Group:
    """Some changes that are one transaction: begun in the loop, ended by the thread."""

    def __init__(self, queued: list[_Queued], loop: asyncio.AbstractEventLoop) -> None:
        self.queued = queued
        self.loop = loop
        self.over = threading.Event()
        # A group that only reads takes no lock: a leader that freezes while idle holds up nobody.
        self.writes = any(one.writes for one in queued)
        self.made = False
        self._failed: Exception | None = None

    def begin(self, connection: sqlite3.Connection) -> None:
        """Make the changes, unless some of them go apart: then all of it is left to `end`."""
        if not any(one.apart for one in self.queued):
            self._make(connection)

    def end(self, connection: sqlite3.Connection) -> None:
        """Make the changes if that is still to be done, and wait for the disk."""
        if not self.made:
            self._make(connection)
        if self._failed is None:
            self._try(connection, lambda: connection.execute("COMMIT"))

    def settle(self) -> None:
        """Hand the results over."""
        for queued in self.queued:
            queued.settle(self._failed)

    def _make(self, connection: sqlite3.Connection) -> None:
        several = len(self.queued) > 1

        def make() -> None:
            connection.execute("BEGIN IMMEDIATE" if self.writes else "BEGIN")
            for queued in self.queued:
                if not queued.run(connection, several=several):
                    connection.execute("ROLLBACK")
                    connection.execute("BEGIN")

        self.made = True
        self._try(connection, make)

    def _try(self, connection: sqlite3.Connection, what: Callable[[], Any]) -> None:
        try:
            what()
        except sqlite3.Error as error:
            self._failed = error
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_FOR
    )
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
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


def _browse(path: Path, look: "Change[_T]") -> _T:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_FOR)) as connection:
        connection.execute("BEGIN")
        return look(connection)


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
