"""What does the ledger say about a case, an event, a record? Read-only, for consoles and pages.

Danger: reading a person's records is itself to be on record first (evidence rule 8); whoever
calls these sees to that. Values come as stored: personal ones are sealed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audit.errors import KeyMissing, NotInLedger
from audit.keys import read_secret
from audit.leaf import follow_up_of, utc_text
from audit.note import parse_checkpoint
from audit.prove import Proof
from audit.seal import Disclosure, Seals
from audit.store import INDEX_MASK, LOG_SHIFT, node_at, open_read_only
from audit.tiles import checkpoint_file, saved_checkpoint_file, write_atomically
from audit.tree import inclusion_path

Leaf = dict[str, Any]


def heads(data_dir: Path | str) -> list[dict[str, Any]]:
    """The durable head of every log: `{origin, size, root, ts}`."""
    with reading(data_dir) as db:
        rows = db.execute(
            "SELECT origin, size, root, ts FROM logs ORDER BY ts DESC, log"
        ).fetchall()
    return [
        {"origin": row[0], "size": row[1], "root": row[2].hex(), "ts": utc_text(row[3])}
        for row in rows
    ]


def head(data_dir: Path | str) -> dict[str, Any]:
    """The head of the log that was written to last. NotInLedger before the first record."""
    found = heads(data_dir)
    if not found:
        raise NotInLedger(f"the ledger in {data_dir} has no log yet")
    return found[0]


def case_records(data_dir: Path | str, case: str) -> list[Leaf]:
    """A case's leaves in order, each with `origin`, `index` and `hash`; empty when unknown."""
    with reading(data_dir) as db:
        rows = db.execute(
            "SELECT position, hash, leaf FROM records WHERE case_no ="
            " (SELECT case_no FROM cases WHERE name = ?) ORDER BY position",
            (case,),
        ).fetchall()
        # A case that has moved lies in two logs, and the second may be the older file.
        return sorted(leaves_of(db, rows), key=lambda leaf: int(leaf["case_seq"]))


def case_family(data_dir: Path | str, case: str) -> list[Leaf]:
    """A case's leaves and those of its follow-up cases, in order."""
    found, name = case_records(data_dir, case), case
    while found and (more := case_records(data_dir, name := follow_up_of(name))):
        found += more
    return found


def log_directory(data_dir: Path | str, origin: str) -> Path:
    """Where a log is published: the last three parts of its origin, below the ledger."""
    return Path(data_dir, "ledger", *origin.split("/")[-3:])


def disclose(data_dir: Path | str, leaf: Leaf, path: str) -> Disclosure:
    """Open one sealed value of a leaf as these functions hand them out.

    KeyMissing when its key is destroyed. Danger: put the reading on record first.
    """
    entry = leaf["body"]["sealed"][path]
    subject, version = str(entry["subject"]), int(entry.get("key", 1))
    with reading(data_dir) as db:
        row = db.execute(
            "SELECT number FROM keys JOIN logs USING (log)"
            " WHERE subject = ? AND version = ? AND origin = ?",
            (subject, version, leaf["origin"]),
        ).fetchone()
    if row is None:
        raise KeyMissing(f"the ledger knows no key {version} of {subject} in {leaf['origin']}")
    kek = read_secret(Path(data_dir) / "secrets" / "ledger.kek")
    seals = Seals(Path(data_dir) / "ledger" / "seals.db", kek)
    try:
        key = seals.key_of(leaf["origin"], subject, version, row[0])
        return seals.open(key, leaf["rid"], path, str(entry["ct"]))
    finally:
        seals.close()


def event_records(data_dir: Path | str, event: str) -> list[Leaf]:
    """Every leaf about an event, follow-up cases included, in order of the log."""
    with reading(data_dir) as db:
        rows = db.execute(
            "SELECT position, hash, leaf FROM records WHERE event = ?1 OR event IS NULL AND"
            " case_no IN (SELECT case_no FROM cases WHERE event = ?1) ORDER BY position",
            (event,),
        ).fetchall()
        found = [leaf for leaf in leaves_of(db, rows) if leaf["event"] == event]
    if len({leaf["origin"] for leaf in found}) > 1:
        found.sort(key=_told)
    return found


def _told(leaf: Leaf) -> tuple[str, int, str, int]:
    case = str(leaf["case"] or "")
    return leaf["ts"], len(case), case, leaf["case_seq"] or 0


def decisions(data_dir: Path | str) -> Iterator[Leaf]:
    """Every decision on record, in no promised order: to put back what a Redis has lost."""
    with reading(data_dir) as db:
        rows = db.execute(
            "SELECT position, hash, leaf FROM decisions JOIN records USING (position)"
        )
        while part := rows.fetchmany(1_000):
            yield from leaves_of(db, part)


def steps(data_dir: Path | str, kinds: Sequence[str]) -> Iterator[tuple[str, str, str, bytes]]:
    """(kind, event or "", at, stored leaf) of every record of these kinds, in no promised order.

    Reads the whole ledger: for reconciling, not for answering a page.
    """
    marks = ",".join("?" * len(kinds))
    with reading(data_dir) as db:
        rows = db.execute(
            "SELECT kind, COALESCE(records.event, cases.event), leaf"  # noqa: S608  marks only
            f" FROM records LEFT JOIN cases USING (case_no) WHERE kind IN ({marks})",
            list(kinds),
        )
        while part := rows.fetchmany(1_000):
            for kind, event, leaf in part:
                start = leaf.index(b'"at":"') + 6
                yield kind, event or "", leaf[start : start + 27].decode(), leaf


def since(
    data_dir: Path | str, origin: str, index: int, kinds: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The leaves of these kinds that a log has from an index on, in order."""
    marks = ",".join("?" * len(kinds))
    with reading(data_dir) as db:
        row = db.execute("SELECT log FROM logs WHERE origin = ?", (origin,)).fetchone()
        if row is None:
            raise NotInLedger(f"there is no log {origin}")
        low, high = row[0] << LOG_SHIFT | index, (row[0] + 1) << LOG_SHIFT
        rows = db.execute(
            "SELECT leaf FROM records WHERE position >= ? AND position < ?"  # noqa: S608  marks only
            f" AND kind IN ({marks}) ORDER BY position",
            (low, high, *kinds),
        )
        for (leaf,) in rows:
            yield json.loads(leaf)


def stream_position(data_dir: Path | str) -> str:
    """The last stream id whose records are durable; 0-0 where there is no ledger yet."""
    try:
        with reading(data_dir) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'stream'").fetchone()
    except NotInLedger:
        return "0-0"
    return "0-0" if row is None else str(row[0])


@contextmanager
def by_rid(data_dir: Path | str) -> Iterator[Callable[[str], Leaf | None]]:
    """Look up leaves by their rid, one after the other; None where there is no such record."""
    with reading(data_dir) as db:

        def look(rid: str) -> Leaf | None:
            row = db.execute(
                "SELECT leaf FROM rids JOIN records USING (position) WHERE rid = ?", (rid,)
            ).fetchone()
            return None if row is None else json.loads(row[0])

        yield look


def record_position(data_dir: Path | str, rid: str) -> tuple[str, int]:
    """(origin, index) of the record with that rid: the caller's receipt. NotInLedger if none."""
    with reading(data_dir) as db:
        row = db.execute("SELECT position FROM rids WHERE rid = ?", (rid,)).fetchone()
        if row is None:
            raise NotInLedger(f"there is no record {rid}")
        return _origins(db)[row[0] >> LOG_SHIFT], row[0] & INDEX_MASK


def of_kinds(data_dir: Path | str, kinds: Sequence[str]) -> Iterator[Leaf]:
    """Every leaf of these kinds, in the order in which the writer took them log by log.

    Reads the whole ledger: for putting back what was lost, not for answering a page.
    """
    marks = ",".join("?" * len(kinds))
    with reading(data_dir) as db:
        rows = db.execute(
            f"SELECT position, hash, leaf FROM records WHERE kind IN ({marks})"  # noqa: S608
            " ORDER BY position",
            list(kinds),
        )
        while part := rows.fetchmany(1_000):
            yield from leaves_of(db, part)


def decision_position(data_dir: Path | str, event: str) -> tuple[str, int] | None:
    """(origin, index) of an event's decision: its caller's receipt; None until it is durable."""
    with reading(data_dir) as db:
        row = db.execute("SELECT position FROM decisions WHERE event = ?", (event,)).fetchone()
        if row is None:
            return None
        return _origins(db)[row[0] >> LOG_SHIFT], row[0] & INDEX_MASK


def inclusion_proof(
    data_dir: Path | str, origin: str, index: int, *, keep: bool = True
) -> tuple[Proof, bytes]:
    """The proof of a durable record below the current head, and its leaf.

    Below the published checkpoint where that covers the record, and `keep` then stores it in the
    log's `checkpoints/`; in the second before it is published, below the head of the last commit.
    """
    with reading(data_dir) as db:
        row = db.execute(
            "SELECT log, size, note, tenant, class, year FROM logs WHERE origin = ?", (origin,)
        ).fetchone()
        if row is None or not 0 <= index < row[1]:
            raise NotInLedger(f"there is no record {index} in {origin}")
        log, size, data = row[0], row[1], row[2].encode()
        folder = Path(data_dir) / "ledger" / row[3] / row[4] / str(row[5])
        published = checkpoint_file(folder)
        if published.is_file() and parse_checkpoint(published.read_bytes()).size > index:
            data = published.read_bytes()
            size = parse_checkpoint(data).size
            if keep:
                write_atomically(saved_checkpoint_file(folder, size), data)
        path = inclusion_path(index, size, lambda height, n: node_at(db, log, height, n))
        leaf = db.execute(
            "SELECT leaf FROM records WHERE position = ?", (log << LOG_SHIFT | index,)
        ).fetchone()[0]
    return Proof(index, tuple(path), data), bytes(leaf)


@contextmanager
def reading(data_dir: Path | str) -> Iterator[sqlite3.Connection]:
    """A reading connection on the ledger of a data directory. NotInLedger where there is none."""
    path = Path(data_dir) / "ledger" / "ledger.db"
    if not path.is_file():
        raise NotInLedger(f"there is no ledger in {data_dir}")
    db = open_read_only(path)
    try:
        yield db
    finally:
        db.close()


def _origins(db: sqlite3.Connection) -> dict[int, str]:
    return dict(db.execute("SELECT log, origin FROM logs").fetchall())


def leaves_of(db: sqlite3.Connection, rows: list[tuple[int, bytes, bytes]]) -> list[Leaf]:
    """Rows of (position, hash, leaf) as these functions hand them out."""
    origins = _origins(db)
    found = []
    for position, hashed, data in rows:
        leaf: Leaf = json.loads(data)
        leaf["origin"] = origins[position >> LOG_SHIFT]
        leaf["index"] = position & INDEX_MASK
        leaf["hash"] = hashed.hex()
        found.append(leaf)
    return found
