"""What is durably on record? One SQLite file: the truth that tiles and checkpoints derive from.

    logs      one row a log: size, edge of the tree, signed head
    records   the leaves, at position log << 40 | index
    rids      which producer records have been taken (one each)
    cases     where each case's chain stands
    decisions one row an event: a second decision is refused by the key itself
    nodes     hashes of full tiles, the rows of higher tiles
    keys      whose each data key is; the keys themselves lie in seals.db
    meta      format, last id of the inlet's stream, last ts, number of starts

Everything of one commit, the head's signature and the stream id included, is one transaction
(WAL, synchronous=FULL): after a crash all of it is there, or nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from audit.errors import LedgerDamaged, LedgerFormatUnknown
from audit.tree import TILE_HEIGHT, Tree, edge_of

FORMAT = 1
LOG_SHIFT = 40
INDEX_MASK = (1 << LOG_SHIFT) - 1
CLOSED = 2  # in logs.stopped: closed with its last case, for good

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE logs (
    log INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    class TEXT NOT NULL, year INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
    ts INTEGER NOT NULL, note TEXT NOT NULL, stopped INTEGER NOT NULL, heads INTEGER NOT NULL
);
CREATE TABLE records (
    position INTEGER PRIMARY KEY, kind TEXT NOT NULL, case_no INTEGER, event TEXT,
    hash BLOB NOT NULL, leaf BLOB NOT NULL
);
CREATE INDEX records_case ON records (case_no, position) WHERE case_no IS NOT NULL;
CREATE INDEX records_event ON records (event) WHERE event IS NOT NULL;
CREATE TABLE rids (rid TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE cases (
    case_no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, log INTEGER NOT NULL,
    seq INTEGER NOT NULL, prev BLOB NOT NULL, closed INTEGER NOT NULL, event TEXT
);
CREATE INDEX cases_event ON cases (event) WHERE event IS NOT NULL;
CREATE TABLE decisions (event TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE nodes (
    log INTEGER NOT NULL, level INTEGER NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (log, level, n)
) WITHOUT ROWID;
CREATE TABLE keys (
    subject TEXT NOT NULL, log INTEGER NOT NULL, version INTEGER NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (subject, log, version)
) WITHOUT ROWID;
CREATE TABLE erasures (position INTEGER PRIMARY KEY, subject TEXT NOT NULL, keys TEXT NOT NULL);
"""


@dataclass
class Log:
    """One log as the writer holds it in memory."""

    log: int
    origin: str
    tenant: str
    retention: str
    year: int
    tree: Tree
    ts: int
    note: str
    stopped: bool
    heads: int = 0
    closed: bool = False

    @property
    def size(self) -> int:
        return self.tree.size


@dataclass
class Case:
    """Where a case's chain stands."""

    case_no: int
    name: str
    log: int
    seq: int
    prev: bytes
    closed: bool
    event: str | None

    @property
    def row(self) -> tuple[Any, ...]:
        return (
            self.case_no,
            self.name,
            self.log,
            self.seq,
            self.prev,
            int(self.closed),
            self.event,
        )


@dataclass
class Batch:
    """All rows of one commit."""

    records: list[tuple[int, str, int | None, str | None, bytes, bytes]] = field(
        default_factory=list
    )
    rids: list[tuple[str, int]] = field(default_factory=list)
    nodes: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    decisions: list[tuple[str, int]] = field(default_factory=list)
    keys: list[tuple[str, int, int, int]] = field(default_factory=list)
    erasures: list[tuple[int, str, str]] = field(default_factory=list)
    cases: dict[str, Case] = field(default_factory=dict)
    logs: dict[int, Log] = field(default_factory=dict)


class Store:
    """The one writing connection. `commit` is the only way in."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA cache_size = -32768")
        self._db.execute("PRAGMA wal_autocheckpoint = 4000")
        known = self._db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone()
        if known is None:
            self._db.executescript("BEGIN;" + _SCHEMA)
            self._db.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
            self._db.execute("COMMIT")
        check_format(self._db, path)

    def meta(self, key: str, default: Any = None) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def logs(self) -> list[Log]:
        """All logs with their trees rebuilt. LedgerDamaged when a tree isn't the signed head's."""
        logs = []
        for row in self._db.execute(
            "SELECT log, origin, tenant, class, year, size, root, ts, note, stopped, heads"
            " FROM logs ORDER BY log"
        ).fetchall():
            tree = Tree(row[5], edge_of(row[5], partial(node_at, self._db, row[0])))
            beyond = self._db.execute(
                "SELECT COUNT(*) FROM records WHERE position >= ? AND position < ?",
                (row[0] << LOG_SHIFT | row[5], (row[0] + 1) << LOG_SHIFT),
            ).fetchone()[0]
            if tree.root() != row[6] or beyond:
                raise LedgerDamaged(
                    f"{self.path}: the records of {row[1]} do not give its signed head of size "
                    f"{row[5]}; nothing is written to it. Run `python -m audit verify` on its "
                    "published tiles and restore the file from a backup"
                )
            number, origin, tenant, retention, year = row[:5]
            stopped = bool(row[9])
            logs.append(
                Log(
                    number,
                    origin,
                    tenant,
                    retention,
                    year,
                    tree,
                    row[7],
                    row[8],
                    stopped,
                    row[10],
                    closed=row[9] == CLOSED,
                )
            )
        return logs

    def node(self, log: int, height: int, index: int) -> bytes:
        """The hash of a perfect subtree of a log."""
        return node_at(self._db, log, height, index)

    def known_rids(self, rids: Sequence[str]) -> set[str]:
        return {row[0] for row in self._select_in("SELECT rid FROM rids WHERE rid IN", rids)}

    def decided(self, events: Sequence[str]) -> dict[str, int]:
        sql = "SELECT event, position FROM decisions WHERE event IN"
        return {row[0]: row[1] for row in self._select_in(sql, events)}

    def cases(self, names: Sequence[str]) -> list[Case]:
        sql = "SELECT case_no, name, log, seq, prev, closed, event FROM cases WHERE name IN"
        return [_case(row) for row in self._select_in(sql, names)]

    def cases_by_number(self, numbers: Sequence[int]) -> list[Case]:
        sql = "SELECT case_no, name, log, seq, prev, closed, event FROM cases WHERE case_no IN"
        return [_case(row) for row in self._select_in(sql, numbers)]

    def changed_since(self, log: int, index: int) -> set[int]:
        """The numbers of a log's cases that have a record at or after that index of it."""
        rows = self._db.execute(
            "SELECT DISTINCT case_no FROM records JOIN cases USING (case_no)"
            " WHERE position >= ? AND position < ? AND log = ?",
            (log << LOG_SHIFT | index, (log + 1) << LOG_SHIFT, log),
        )
        return {row[0] for row in rows}

    def has_open_case(self, log: int) -> bool:
        """Whether a case of that log may still go on. Reads the whole table: ask seldom."""
        row = self._db.execute("SELECT 1 FROM cases WHERE log = ? AND closed = 0 LIMIT 1", (log,))
        return row.fetchone() is not None

    def records_of(self, case_no: int) -> list[tuple[int, bytes]]:
        """(position, leaf) of a case's durable records."""
        return self._db.execute(
            "SELECT position, leaf FROM records WHERE case_no = ?", (case_no,)
        ).fetchall()

    def last_case_no(self) -> int:
        return int(self._db.execute("SELECT COALESCE(MAX(case_no), 0) FROM cases").fetchone()[0])

    def latest_key(self, log: int, subject: str) -> tuple[int, int] | None:
        """(version, number) of a subject's newest data key in a log."""
        row = self._db.execute(
            "SELECT version, number FROM keys WHERE subject = ? AND log = ?"
            " ORDER BY version DESC LIMIT 1",
            (subject, log),
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def latest_keys(self, subjects: Sequence[str]) -> dict[tuple[str, int], tuple[int, int]]:
        """(version, number) of the newest data key of each (subject, log) that has one."""
        sql = "SELECT subject, log, version, number FROM keys WHERE subject IN"
        newest: dict[tuple[str, int], tuple[int, int]] = {}
        for subject, log, version, number in self._select_in(sql, subjects):
            if newest.get((subject, log), (0, 0)) < (version, number):
                newest[subject, log] = (version, number)
        return newest

    def keys_of(self, subject: str) -> list[int]:
        rows = self._db.execute("SELECT number FROM keys WHERE subject = ?", (subject,))
        return [row[0] for row in rows]

    def last_key(self) -> int:
        return int(self._db.execute("SELECT COALESCE(MAX(number), 0) FROM keys").fetchone()[0])

    def erasures(self) -> list[tuple[str, str]]:
        return self._db.execute("SELECT subject, keys FROM erasures ORDER BY position").fetchall()

    def commit(self, batch: Batch, meta: Iterable[tuple[str, Any]]) -> None:
        """Write it all durably, or nothing."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", batch.records)
            db.executemany("INSERT INTO rids VALUES (?, ?)", batch.rids)
            if batch.nodes:
                db.executemany("INSERT INTO nodes VALUES (?, ?, ?, ?)", batch.nodes)
            if batch.decisions:
                db.executemany("INSERT INTO decisions VALUES (?, ?)", batch.decisions)
            if batch.keys:
                db.executemany("INSERT INTO keys VALUES (?, ?, ?, ?)", batch.keys)
            if batch.erasures:
                db.executemany("INSERT INTO erasures VALUES (?, ?, ?)", batch.erasures)
            db.executemany(
                "INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (case_no) DO UPDATE"
                " SET log = excluded.log, seq = excluded.seq, prev = excluded.prev,"
                " closed = excluded.closed",
                [case.row for case in batch.cases.values()],
            )
            for log in batch.logs.values():
                db.execute(
                    "INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        log.log,
                        log.origin,
                        log.tenant,
                        log.retention,
                        log.year,
                        log.size,
                        log.tree.root(),
                        log.ts,
                        log.note,
                        CLOSED if log.closed else int(log.stopped),
                        log.heads,
                    ),
                )
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()

    def _select_in(self, sql: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            # Asked for by so many that few statements are ever prepared: one name several times.
            width = 1 << (len(part) - 1).bit_length()
            marks = ",".join("?" * width)
            asked = [*part, *[part[0]] * (width - len(part))]
            rows += self._db.execute(f"{sql} ({marks})", asked).fetchall()
        return rows


def open_read_only(path: Path) -> sqlite3.Connection:
    """A reading connection on a ledger that a writer may be writing."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
    try:
        check_format(db, path)
    except BaseException:
        db.close()
        raise
    return db


def check_format(db: sqlite3.Connection, path: Path) -> None:
    """LedgerFormatUnknown when the file is of another format than this version's."""
    found = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if found is None or found[0] != FORMAT:
        raise LedgerFormatUnknown(
            f"{path} has format {found and found[0]}, this version knows {FORMAT}; "
            "use the version that wrote it, or a newer one"
        )


def node_at(db: sqlite3.Connection, log: int, height: int, index: int) -> bytes:
    """The hash of a perfect subtree, from leaf hashes or from the rows of higher tiles."""
    level, within = divmod(height, TILE_HEIGHT)
    count = 1 << within
    start = index << within
    if level == 0:
        rows = db.execute(
            "SELECT hash FROM records WHERE position >= ? AND position < ? ORDER BY position",
            (log << LOG_SHIFT | start, log << LOG_SHIFT | (start + count)),
        ).fetchall()
    else:
        rows = db.execute(
            "SELECT hash FROM nodes WHERE log = ? AND level = ? AND n >= ? AND n < ? ORDER BY n",
            (log, level, start, start + count),
        ).fetchall()
    if len(rows) != count:
        raise LedgerDamaged(f"log {log} lacks records below node {height}/{index}")
    tree = Tree()
    for (hashed,) in rows:
        tree.append(hashed)
    return tree.root()


def _case(row: tuple[Any, ...]) -> Case:
    return Case(row[0], row[1], row[2], row[3], row[4], bool(row[5]), row[6])
