"""What of a customer, by an officer, between two times? Found among millions of records.

    ledger.db --what has come since--> find.db: who, position --which--> ledger.db: the leaves

``find.db`` lies beside the ledger and follows from it: whoever asks, and the review every quarter
of an hour, adds what has come since, never the writer on its way. It may be deleted at any time,
holds ids and tokens alone, and proves nothing. Times need no index: in a log they never fall.

Danger: reading a person's records is itself to be on record first (evidence rule 8); whoever calls
`find` sees to that.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from audit.read import Leaf, leaves_of, reading
from audit.store import INDEX_MASK, LOG_SHIFT

FORMAT = 1
_SERVICE = "service"  # programs act in each record: nobody looks for them
_PART = 20_000
_WAIT_SECONDS = 30.0

_SCHEMA = """
CREATE TABLE taken (
    log INTEGER PRIMARY KEY, origin TEXT NOT NULL, size INTEGER NOT NULL, last BLOB NOT NULL
);
CREATE TABLE subjects (subject TEXT, position INTEGER, PRIMARY KEY (subject, position))
    WITHOUT ROWID;
CREATE TABLE actors (actor TEXT, position INTEGER, PRIMARY KEY (actor, position)) WITHOUT ROWID;
"""


def bring_up(data_dir: Path | str, *, stopped: Callable[[], bool] = lambda: False) -> int:
    """Take in what has come since; gives how many records. NotInLedger where there is no ledger.

    ``stopped`` is asked after each part of 20,000 records; what was taken in by then stays.
    """
    with reading(data_dir) as ledger, _index(data_dir, ledger) as index:
        count = 0
        for log, origin, size in ledger.execute("SELECT log, origin, size FROM logs").fetchall():
            while not stopped() and (taken := _take(ledger, index, log, origin, size)):
                count += taken
        return count


def find(
    data_dir: Path | str,
    *,
    subject: str | None = None,
    actor: str | None = None,
    since: str = "",
    until: str = "",
    most: int = 100,
) -> list[Leaf]:
    """The last leaves, ``most`` at the most, that are about a subject and by an actor, in order.

    ``since`` and ``until`` are of the writer's stamp ``ts``, ``until`` excluded, in its own
    spelling (``2026-05-28T20:26:40.000000Z``) or a beginning of it.
    """
    bring_up(data_dir)
    with reading(data_dir) as ledger, _index(data_dir, ledger) as index:
        found: list[Leaf] = []
        for log, size in ledger.execute("SELECT log, size FROM logs").fetchall():
            low = _first_from(ledger, log, size, since)
            high = _first_from(ledger, log, size, until) if until else size
            span = (log << LOG_SHIFT | low, log << LOG_SHIFT | high)
            positions = _positions(index, span, subject, actor, most)
            marks = ",".join("?" * len(positions))
            rows = ledger.execute(
                f"SELECT position, hash, leaf FROM records WHERE position IN ({marks})",  # noqa: S608
                positions,
            ).fetchall()
            found += leaves_of(ledger, rows)
    found.sort(key=lambda leaf: (leaf["ts"], leaf["origin"], leaf["index"]))
    return found[-most:]


def _positions(
    index: sqlite3.Connection,
    span: tuple[int, int],
    subject: str | None,
    actor: str | None,
    most: int,
) -> list[int]:
    """The last positions within the span that fit, newest first."""
    low, high = span
    if subject is None and actor is None:
        return list(range(high - 1, max(low, high - most) - 1, -1))
    within = "position >= ? AND position < ?"
    asked = [
        (f"SELECT position FROM {table} WHERE {column} = ? AND {within}", value)  # noqa: S608
        for table, column, value in (("subjects", "subject", subject), ("actors", "actor", actor))
        if value is not None
    ]
    query = " INTERSECT ".join(text for text, _ in asked) + " ORDER BY position DESC LIMIT ?"
    values = [one for _, value in asked for one in (value, low, high)]
    return [row[0] for row in index.execute(query, [*values, most])]


def _first_from(ledger: sqlite3.Connection, log: int, size: int, time: str) -> int:
    """The index of the first record of a log that was stamped at ``time`` or later."""
    low, high = 0, size
    while time and low < high:
        middle = (low + high) // 2
        (leaf,) = ledger.execute(
            "SELECT leaf FROM records WHERE position = ?", (log << LOG_SHIFT | middle,)
        ).fetchone()
        low, high = (middle + 1, high) if json.loads(leaf)["ts"] < time else (low, middle)
    return low if time else 0


def _take(
    ledger: sqlite3.Connection, index: sqlite3.Connection, log: int, origin: str, size: int
) -> int:
    """Take in the next part of a log. Two may do so at once: each begins where the other ended."""
    index.execute("BEGIN IMMEDIATE")
    try:
        row = index.execute("SELECT size FROM taken WHERE log = ?", (log,)).fetchone()
        start = row[0] if row else 0
        first = log << LOG_SHIFT | start
        rows = ledger.execute(
            "SELECT position, leaf, hash FROM records WHERE position >= ? AND position < ?"
            " ORDER BY position LIMIT ?",
            (first, log << LOG_SHIFT | size, _PART),
        ).fetchall()
        subjects, actors = [], []
        for position, data, _ in rows:
            leaf = json.loads(data)
            if leaf["subject"] is not None:
                subjects.append((leaf["subject"], position))
            if leaf["actor"]["type"] != _SERVICE:
                actors.append((leaf["actor"]["id"], position))
        index.executemany("INSERT INTO subjects VALUES (?, ?)", subjects)
        index.executemany("INSERT INTO actors VALUES (?, ?)", actors)
        if rows:
            taken = (log, origin, (rows[-1][0] & INDEX_MASK) + 1, rows[-1][2])
            index.execute("INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)", taken)
        index.execute("COMMIT")
    except BaseException:
        index.execute("ROLLBACK")
        raise
    return len(rows)


@contextmanager
def _index(data_dir: Path | str, ledger: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """The index, made anew where there is none, or one that is not of this ledger."""
    path = Path(data_dir) / "ledger" / "find.db"
    index = _kept(path, ledger)
    if index is None:
        for file in (path, path.with_name("find.db-journal")):
            file.unlink(missing_ok=True)
        index = _opened(path)
    with closing(index):
        yield index


def _kept(path: Path, ledger: sqlite3.Connection) -> sqlite3.Connection | None:
    try:
        index = _opened(path)
        if _fits(index, ledger):
            return index
        index.close()
    except sqlite3.OperationalError:  # another is at it
        raise
    except sqlite3.DatabaseError:  # no database any more: nothing is lost with it
        pass
    return None


def _opened(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, isolation_level=None, timeout=_WAIT_SECONDS)
    try:
        index.execute("PRAGMA synchronous = OFF")  # it can be made again
        index.execute("BEGIN IMMEDIATE")
        if not index.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA.split(";")[:-1]:
                index.execute(statement)
            index.execute(f"PRAGMA user_version = {FORMAT}")
        index.execute("COMMIT")
    except BaseException:
        index.close()
        raise
    return index


def _fits(index: sqlite3.Connection, ledger: sqlite3.Connection) -> bool:
    """Is it of this format, and is what was taken in a beginning of this very ledger?"""
    if index.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
        return False
    for log, origin, size, last in index.execute("SELECT log, origin, size, last FROM taken"):
        row = ledger.execute(
            "SELECT 1 FROM logs, records"
            " WHERE log = ? AND origin = ? AND position = ? AND hash = ?",
            (log, origin, log << LOG_SHIFT | size - 1, last),
        ).fetchone()
        if row is None:
            return False
    return True
