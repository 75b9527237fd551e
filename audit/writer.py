"""In which order did it happen, and who says so? The one writer of a ledger.

    producer's record ->  known rid? dropped
                          ill-formed, second decision? kept as record.refused, with why
                          ts, case_seq, case_prev; personal values sealed anew; leaf; tree
                       -> one SQLite transaction with the signed head and the stream's id

Every start writes `log.start`, every orderly end `case.heads` and `log.stop`. A log that is found
without its `log.stop` gets `log.gap`, which names the last durable index. What is durable is
what `append_many` has returned from.

A case stays in the log of the year and class that it was opened in. Two things end that: a record
whose `class` is longer takes its case along (`case.moved`, on both sides), and once a year is over
and its last case closed, its log ends with a final `log.stop`.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.admit import Record
from audit.errors import LedgerFailed, LedgerLocked
from audit.keys import log_signer, ml_dsa_signer, read_or_make_secret
from audit.leaf import (
    DEFAULT_CLASS,
    FORMAT,
    plain_object,
    utc_text,
)
from audit.note import Signer, head_text
from audit.publish import STAMP_SECONDS, Publisher, check_published
from audit.seal import Seals
from audit.sequence import ACTOR, Sequencer
from audit.store import Batch, Log, Store

Clock = Callable[[], int]

COMMIT_RECORDS = 1_000
HEADS_EVERY = 3_600_000_000
CLOCK_TOLERANCE = 500_000


def wall_clock() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def monotonic_clock() -> int:
    """Microseconds that never jump."""
    return time.monotonic_ns() // 1000


class Ledger:
    """The open ledger under `<data>/ledger/`. One process at a time; calls are serialised."""

    def __init__(
        self,
        data_dir: Path | str,
        *,
        origin_bank: str,
        tenant: str,
        transport_key: bytes,
        default_class: str = DEFAULT_CLASS,
        now: Clock = wall_clock,
        steady: Clock = monotonic_clock,
        witnesses: Sequence[str] = (),
        tsa: str | None = None,
        stamp_every: float = STAMP_SECONDS,
        ml_dsa: bool = False,
    ) -> None:
        """`ml_dsa` adds a line of ML-DSA-44 to what is published, `tsa` (URL) time stamps.

        Refused: a ledger that another writer holds (LedgerLocked), or that is damaged."""
        data = Path(data_dir)
        self.path = data / "ledger"
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock_file = _own(self.path / "writer.lock")
        self._lock = threading.RLock()
        self._failed: BaseException | None = None
        try:
            self._tenant, self._class = tenant, default_class
            self._now, self._steady = now, steady
            self._secret = read_or_make_secret(data / "secrets" / "ledger.key")
            self._signers: dict[int, Signer] = {}
            self._store = Store(self.path / "ledger.db")
            kek = read_or_make_secret(data / "secrets" / "ledger.kek")
            self._seals = Seals(self.path / "seals.db", kek, first_free=self._store.last_key() + 1)
            self._order = Sequencer(
                self.path,
                store=self._store,
                seals=self._seals,
                transport=AESGCM(transport_key),
                bank=origin_bank,
                tenant=tenant,
                retention=default_class,
            )
            check_published(self.path, self._store, list(self._order.logs.values()))
            self._last_ts = int(self._store.meta("ts", 0))
            self._years_due = self._sync_due = 0
            self._finish_erasures()
            self.publisher = Publisher(
                self.path,
                partial(_signers, self._secret, ml_dsa),
                witnesses,
                tsa=tsa,
                stamp_every=stamp_every,
            )
            self._open()
        except BaseException:
            os.close(self._lock_file)
            raise

    @property
    def stream_id(self) -> str:
        """The last id of the inlet's stream whose records are durable."""
        return self._order.stream

    @property
    def dropped(self) -> int:
        """How many records came again."""
        return self._order.dropped

    @property
    def refused(self) -> int:
        """How many could be no record."""
        return self._order.refused

    @property
    def outcomes(self) -> dict[str, str]:
        """The leaf hash (hex) of each event's outcome among the records taken last."""
        return {event: hashed.hex() for event, hashed in self._order.outcomes.items()}

    @property
    def is_open(self) -> bool:
        """False once it is closed, abandoned or failed."""
        return self._failed is None

    def append_many(self, records: Sequence[Record], *, stream_id: str | None = None) -> None:
        """Put records on record, in order; they are durable when this returns.

        A record whose `rid` is known is dropped and counted (`dropped`); one that can't be a leaf
        is kept as `record.refused` (`refused`). Raises LedgerFailed for good after a commit has
        failed: start again, and the disk says what holds.
        """
        with self._lock:
            self._usable()
            self._order.outcomes.clear()
            for start in range(0, len(records), COMMIT_RECORDS):
                part = records[start : start + COMMIT_RECORDS]
                last = start + COMMIT_RECORDS >= len(records)
                self._commit(partial(self._order.take, part), last, stream_id)
            if not records and stream_id is not None:
                self._commit(lambda batch: None, True, stream_id)

    def refuse(self, rid: str, why: str, raw: bytes) -> Record:
        """A record for what can't be read at all: its hash and size, so that it can be found."""
        body = {"rid": None, "sha256": sha256(raw).hexdigest(), "size": len(raw), "why": why}
        return {
            "actor": ACTOR,
            "at": utc_text(self._now()),
            "body": body,
            "case": None,
            "event": None,
            "grade": 1,
            "kind": "record.refused",
            "payload": [],
            "rid": rid,
            "subject": None,
            "tenant": self._tenant,
            "v": FORMAT,
        }

    def tick(self) -> None:
        """Do what is due between commits: each hour `case.heads` and `clock.sync`; spare keys."""
        with self._lock:
            self._usable()
            self._seals.refill()
            now = self._now()
            due = [
                log
                for log in self._order.logs.values()
                if self._order.changed.get(log.log)
                and now - self._order.heads_ts[log.log] >= HEADS_EVERY
            ]
            if due:
                self._commit(partial(self._write_all_heads, due))
            if self._steady() >= self._sync_due:
                self._commit(self._sync)
            if now >= self._years_due:
                self._years_due = now + HEADS_EVERY
                self._end_years()

    def _sync(self, batch: Batch) -> None:
        """`clock.sync`: both clocks at one moment, and how far they have gone apart.

        A jump is a `clock.step` at once; what is slewed slowly shows here.
        """
        now, steady = self._now(), self._steady()
        self._sync_due = steady + HEADS_EVERY
        drift = now - steady - self._clock_offset
        self._note(
            "clock.sync", {"clock": utc_text(now), "drift_us": drift, "steady_us": steady}, batch
        )

    def _write_all_heads(self, logs: Sequence[Log], batch: Batch) -> None:
        for log in logs:
            self._order.write_heads(batch, log)

    def _end_years(self) -> None:
        year = int(utc_text(max(self._last_ts, self._now()))[:4])
        old = [log for log in self._order.logs.values() if log.year < year and not log.closed]
        if any(not self._store.has_open_case(log.log) for log in old):
            self._commit(self._close_years)
            self.publisher.publish(keep=True)

    def note(self, kind: str, body: Record) -> None:
        """Put a fact of the ledger's own keeping on record, outside of any case."""
        with self._lock:
            self._usable()
            self._commit(partial(self._note, kind, plain_object(body)))

    def _note(self, kind: str, body: Record, batch: Batch) -> None:
        log = self._order.log_for(self._class)
        self._order.begin(batch, log)
        self._order.write(batch, log, kind, body)

    def publish(self) -> None:
        """Bring tiles and checkpoints up to the last commit."""
        self.publisher.publish()

    def position_of(self, case: str) -> tuple[str, int] | None:
        """(origin, next case_seq) of a case, for tests and consoles; None when unknown."""
        with self._lock:
            found = self._order.find(case)
            return None if found is None else (self._order.logs[found.log].origin, found.seq + 1)

    def close(self) -> None:
        """Orderly end: heads, `log.stop`, publication; then another writer may start."""
        with self._lock:
            try:
                if self._failed is None:
                    self._commit(self._stop)
                    self.publisher.publish(keep=True)
            finally:
                # The store goes last: who closes it last empties its write-ahead log, which every
                # reader of a ledger at rest would have to go through anew.
                self.publisher.close()
                self._seals.close()
                self._store.close()
                os.close(self._lock_file)
                self._failed = self._failed or LedgerFailed("the ledger is closed")

    def abandon(self) -> None:
        """Let go without a word, as a crash would (for tests of recovery)."""
        self._failed = LedgerFailed("the ledger was abandoned")
        self._seals.close()
        self._store.close()
        self.publisher.close()
        os.close(self._lock_file)

    # opening and closing

    def _open(self) -> None:
        now = self._now()
        self._clock_offset = now - self._steady()
        self._order.heads_ts = dict.fromkeys(self._order.logs, now)
        self._years_due = now + HEADS_EVERY
        self._sync_due = self._steady() + HEADS_EVERY
        before = self._last_ts

        def begin(batch: Batch) -> None:
            for log in list(self._order.logs.values()):
                if not log.stopped:
                    gap = {
                        "last": log.size - 1,
                        "last_ts": utc_text(log.ts),
                        "stream": self._order.stream,
                    }
                    self._order.write(batch, log, "log.gap", gap)
                    log.stopped = True
                    self._order.begin(batch, log)
            self._order.begin(batch, self._order.log_for(self._class))
            self._close_years(batch)
            if now < before - CLOCK_TOLERANCE:
                self._step(batch, before, now)

        self._commit(begin)

    def _stop(self, batch: Batch) -> None:
        for log in self._order.logs.values():
            if not log.stopped:
                if self._order.changed.get(log.log):
                    self._order.write_heads(batch, log)
                self._order.write(batch, log, "log.stop", {"start": self._order.starts})
                log.stopped = True

    def _close_years(self, batch: Batch) -> bool:
        """Close the logs of past years whose last case is closed: a final `log.stop`."""
        year, any_closed = int(self._order.ts[:4]), False
        for log in list(self._order.logs.values()):
            if log.year >= year or log.closed or self._is_open(batch, log):
                continue
            self._order.begin(batch, log)
            if self._order.changed.get(log.log):
                self._order.write_heads(batch, log)
            self._order.write(batch, log, "log.stop", {"final": True, "start": self._order.starts})
            log.stopped = log.closed = any_closed = True
        return any_closed

    def _is_open(self, batch: Batch, log: Log) -> bool:
        here = [case for case in batch.cases.values() if case.log == log.log]
        return any(not case.closed for case in here) or self._store.has_open_case(log.log)

    def _finish_erasures(self) -> None:
        numbers = [number for _, keys in self._store.erasures() for number in json.loads(keys)]
        if numbers:
            self._seals.destroy(numbers)

    def _usable(self) -> None:
        if self._failed is not None:
            raise LedgerFailed(
                f"an earlier commit failed ({self._failed}); start the writer again"
            ) from self._failed

    # one commit

    def _commit(
        self, fill: Callable[[Batch], Any], last: bool = True, stream_id: str | None = None
    ) -> None:
        batch = Batch()
        try:
            now = self._now()
            self._last_ts = max(self._last_ts, now)
            self._order.at(self._last_ts)
            self._watch_clock(batch, now)
            if last and stream_id is not None:
                self._order.stream = stream_id
            fill(batch)
            for log in batch.logs.values():
                log.ts = self._last_ts
                text = head_text(log.origin, log.size, log.tree.root())
                log.note = text + "\n" + self._signer(log).sign(text)
            self._store.commit(
                batch,
                [
                    ("ts", self._last_ts),
                    ("starts", self._order.starts),
                    ("stream", self._order.stream),
                ],
            )
            self._seals.committed()
            for _, _, keys in batch.erasures:
                self._seals.destroy(json.loads(keys))
        except BaseException as error:
            self._failed = error
            raise
        self._order.forget_some()

    def _watch_clock(self, batch: Batch, now: int) -> None:
        offset = now - self._steady()
        step = offset - self._clock_offset
        if abs(step) > CLOCK_TOLERANCE:
            self._clock_offset = offset
            self._step(batch, now - step, now)

    def _step(self, batch: Batch, expected: int, now: int) -> None:
        body = {"by_us": now - expected, "clock": utc_text(now), "expected": utc_text(expected)}
        log = self._order.log_for(self._class)
        self._order.begin(batch, log)
        self._order.write(batch, log, "clock.step", body)

    def _signer(self, log: Log) -> Signer:
        found = self._signers.get(log.log)
        if found is None:
            found = self._signers[log.log] = log_signer(self._secret, log.origin)
        return found


def run_writer(
    *,
    redis_url: str,
    data_dir: Path | str,
    origin_bank: str,
    tenant: str,
    transport_key: bytes,
    stop: threading.Event,
    default_class: str = DEFAULT_CLASS,
    publish_every: float = 1.0,
    witnesses: Sequence[str] = (),
    tsa: str | None = None,
    ml_dsa: bool = False,
    recover_from_ledger: bool = False,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Take `rb:audit` down until `stop` is set; then end the log in order.

    Blocks. Refused by name: a second writer, a damaged ledger, a Redis behind the ledger (unless
    `recover_from_ledger`, which goes on after the ledger's position and puts that on record), a
    ledger behind Redis. A Redis that is away is waited for. Every stream entry up to
    `rb:audit:durable` is on disk.
    """
    from audit.redis_inlet import Inlet

    ledger = Ledger(
        data_dir,
        origin_bank=origin_bank,
        tenant=tenant,
        transport_key=transport_key,
        default_class=default_class,
        witnesses=witnesses,
        tsa=tsa,
        ml_dsa=ml_dsa,
    )
    published = threading.Thread(
        target=ledger.publisher.run, args=(publish_every, stop), name="publish", daemon=True
    )
    inlet = Inlet(redis_url, ledger)
    try:
        if not inlet.meet(stop, recover=recover_from_ledger):
            return
        published.start()
        if on_ready is not None:
            on_ready()
        inlet.run(stop)
    finally:
        inlet.close()
        stop.set()
        if published.ident is not None:
            published.join()
        ledger.close()


@lru_cache
def _signers(secret: bytes, ml_dsa: bool, origin: str) -> list[Signer]:
    own = log_signer(secret, origin)
    return [own, ml_dsa_signer(secret, origin)] if ml_dsa else [own]


def _own(path: Path) -> int:
    """Hold the lock file as long as the process lives; LedgerLocked when another one does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise LedgerLocked(
            f"{path.parent} is being written by process {owner}; "
            "one writer owns the head, stop that one first"
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
