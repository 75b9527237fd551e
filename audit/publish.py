"""What may the world see? The tiles and the checkpoint of every log, once a second.

Derived from the store and off the way to durability. Tiles first, then `checkpoint`, so that a
reader never meets a head whose entries aren't there. Files are not synced one by one; at a start
everything since the last checkpoint that had minutes to reach the disk is written again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from audit.errors import AuditError, EvidenceMalformed, LedgerDamaged, WitnessRefused
from audit.note import Signer, parse_checkpoint
from audit.store import LOG_SHIFT, Log, Store, node_at, open_read_only
from audit.tiles import (
    checkpoint_file,
    entry_tile,
    hash_tile,
    pack_entries,
    saved_checkpoint_file,
    write_atomically,
    write_tile,
)
from audit.timestamp import ask_and_keep, timestamp_file
from audit.tree import TILE_WIDTH, consistency_path, range_root
from audit.witness import ask_witness

SETTLED_SECONDS = 120.0
STAMP_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class Publisher:
    """Brings the files of a ledger's logs up to its last commit. Reads the store only."""

    def __init__(
        self,
        ledger: Path,
        signers_of: Callable[[str], Sequence[Signer]],
        witnesses: Sequence[str] = (),
        *,
        tsa: str | None = None,
        stamp_every: float = STAMP_SECONDS,
    ) -> None:
        """`signers_of(origin)` are a log's own keys; the first has signed already, the others
        cosign what is published. `witnesses` are URLs to ask, `tsa` is a time-stamp authority's.
        """
        self._ledger = ledger
        self._signers_of = signers_of
        self._tsa, self._stamp_every = tsa, stamp_every
        self._stamp_due: dict[int, float] = {}
        self._witnesses = witnesses
        self._seen: dict[tuple[int, str], int] = {}
        self._done: dict[int, int] = {}
        self._minute: dict[int, int] = {}
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self.failure: Exception | None = None

    def run(self, every: float, stop: threading.Event) -> None:
        """Publish until told to stop. A failure (a full disk) is kept, told and tried again."""
        while not stop.wait(every):
            try:
                self.failure = None
                self.publish()
            except (OSError, sqlite3.Error, AuditError) as error:
                self.failure = error
                _log.warning("publication failed, it is tried again: %s", error)

    def publish(self, *, keep: bool = False) -> None:
        """Publish every log that grew. `keep` saves the checkpoint under checkpoints/ as well."""
        with self._lock:
            db = self._connection()
            db.execute("BEGIN")
            try:
                rows = db.execute(
                    "SELECT log, origin, tenant, class, year, size, note FROM logs"
                ).fetchall()
                for log, origin, tenant, retention, year, size, note in rows:
                    path = self._ledger / tenant / retention / str(year)
                    if log not in self._done:
                        self._done[log] = settled_size(path)
                        vkeys = [signer.verifier.vkey for signer in self._signers_of(origin)]
                        write_atomically(path / "keys", "".join(f"{v}\n" for v in vkeys).encode())
                    if size > self._done[log]:
                        self._write(db, log, path, self._done[log], size)
                        lines = self._cosigned(db, log, size, note)
                        lines += _own_cosignatures(self._signers_of(origin)[1:], note)
                        self._write_head(log, path, size, note + "".join(lines))
                        self._done[log] = size
                    if keep and size:
                        data = checkpoint_file(path).read_bytes()
                        write_atomically(saved_checkpoint_file(path, size), data)
            finally:
                db.execute("ROLLBACK")
            for log, _, tenant, retention, year, size, _ in rows:
                if self._tsa is not None and size:
                    self._stamp(self._tsa, log, self._ledger / tenant / retention / str(year))

    def _stamp(self, tsa: str, log: int, path: Path) -> None:
        """A time stamp on the published head, when one is due; a refusal costs a minute."""
        now = time.monotonic()
        if now < self._stamp_due.get(log, 0.0):
            return
        data = checkpoint_file(path).read_bytes()
        head = parse_checkpoint(data)
        if timestamp_file(path, head.size).exists():
            return
        self._stamp_due[log] = now + min(self._stamp_every, 60.0)
        try:
            write_atomically(saved_checkpoint_file(path, head.size), data)
            ask_and_keep(tsa, path, head.size, head.text)
        except AuditError as error:
            self.failure = error
            _log.warning("no time stamp, it is asked for again: %s", error)
        else:
            self._stamp_due[log] = now + self._stamp_every

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = open_read_only(self._ledger / "ledger.db")
            self._db.isolation_level = None
        return self._db

    def _write(self, db: sqlite3.Connection, log: int, path: Path, old: int, size: int) -> None:
        for n in range(old // TILE_WIDTH, (size + TILE_WIDTH - 1) // TILE_WIDTH):
            start = n * TILE_WIDTH
            width = min(TILE_WIDTH, size - start)
            base = log << LOG_SHIFT | start
            rows = db.execute(
                "SELECT leaf, hash FROM records WHERE position >= ? AND position < ?"
                " ORDER BY position",
                (base, base + width),
            ).fetchall()
            write_tile(entry_tile(path, n, width), pack_entries(row[0] for row in rows))
            write_tile(hash_tile(path, 0, n, width), b"".join(row[1] for row in rows))
        level, old_count, count = 1, old // TILE_WIDTH, size // TILE_WIDTH
        while count:
            for n in range(old_count // TILE_WIDTH, (count + TILE_WIDTH - 1) // TILE_WIDTH):
                start = n * TILE_WIDTH
                width = min(TILE_WIDTH, count - start)
                rows = db.execute(
                    "SELECT hash FROM nodes WHERE log = ? AND level = ? AND n >= ? AND n < ?"
                    " ORDER BY n",
                    (log, level, start, start + width),
                ).fetchall()
                write_tile(hash_tile(path, level, n, width), b"".join(row[0] for row in rows))
            level, old_count, count = level + 1, old_count // TILE_WIDTH, count // TILE_WIDTH

    def _cosigned(self, db: sqlite3.Connection, log: int, size: int, note: str) -> list[str]:
        """The lines of the witnesses that answer; one that does not costs its line only."""
        lines = []
        for url in self._witnesses:
            for _ in range(2):
                old = self._seen.get((log, url), 0)
                path = consistency_path(old, size, partial(node_at, db, log)) if old else []
                try:
                    lines.append(ask_witness(url, old, path, note.encode()))
                    self._seen[log, url] = size
                    break
                except WitnessRefused as refusal:
                    self.failure = refusal
                    if refusal.status != 409 or not refusal.detail.isdigit():
                        break
                    self._seen[log, url] = min(int(refusal.detail), size)
        return lines

    def _write_head(self, log: int, path: Path, size: int, note: str) -> None:
        data = note.encode()
        write_atomically(checkpoint_file(path), data)
        minute = int(time.time() // 60)
        if self._minute.get(log) != minute:
            self._minute[log] = minute
            write_atomically(saved_checkpoint_file(path, size), data)


def check_published(ledger: Path, store: Store, logs: Sequence[Log]) -> None:
    """LedgerDamaged where what was published is not a beginning of what is stored.

    So a store put back from an older copy does not go on beside what others have seen already.
    A checkpoint that can't be read (its bytes never reached the disk) is published anew.
    """
    known = {log.origin: log for log in logs}
    for file in sorted(ledger.glob("*/*/*/checkpoint")):
        try:
            head = parse_checkpoint(file.read_bytes())
        except EvidenceMalformed:
            continue
        log = known.get(head.origin)
        stored = 0 if log is None else log.size
        if log is not None and 0 < head.size <= stored:
            root = range_root(0, head.size, partial(store.node, log.log))
            if root == head.root:
                continue
        if head.size:
            raise LedgerDamaged(
                f"{file} of size {head.size} was published, and the {stored} records of "
                f"{head.origin} in {store.path} are not that history gone on: it would fork. Put "
                "the file back that belongs to it; if that is lost, keep these tiles as the "
                "evidence they are and start a ledger elsewhere"
            )


def _own_cosignatures(signers: Sequence[Signer], note: str) -> list[str]:
    text = parse_checkpoint(note.encode()).text
    return [signer.cosign(text, int(time.time())) for signer in signers]


def settled_size(path: Path) -> int:
    """The size up to which files had time to reach the disk; everything after is written anew."""
    settled, oldest = 0, time.time() - SETTLED_SECONDS
    saved = path / "checkpoints"
    if saved.is_dir():
        for file in saved.iterdir():
            if file.name.isdigit() and file.stat().st_mtime < oldest:
                settled = max(settled, int(file.name))
    return settled
