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
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import LedgerFailed, LedgerLocked, RecordRefused
from audit.keys import log_signer, read_or_make_secret
from audit.leaf import (
    DEFAULT_CLASS,
    FOLLOW_UP,
    FORMAT,
    NO_PREVIOUS,
    follow_up_of,
    is_longer,
    plain,
    plain_object,
    utc_text,
    utc_time,
)
from audit.note import Signer, head_text
from audit.publish import Publisher
from audit.seal import DataKey, Seals, open_transport
from audit.store import INDEX_MASK, LOG_SHIFT, Batch, Case, Log, Store
from audit.tiles import MAX_LEAF, pack_entries, payload_file, write_atomically
from audit.tree import Tree, leaf_hash, root_of

Record = dict[str, Any]
Clock = Callable[[], int]

ACTOR = {"id": "ledger", "role": "writer", "type": "service"}
COMMIT_RECORDS = 1_000
CACHED_CASES = 100_000
HEADS_EVERY = 3_600_000_000
CLOCK_TOLERANCE = 500_000
MOST_NAMED_HASHES = 500
OWN_RID = "ledger/"
_FIELDS = frozenset(
    ["v", "kind", "rid", "tenant", "case", "class", "event", "subject", "actor", "at", "body"]
) | frozenset(["payload", "grade", "strength", "sig", "personal"])
_ACTOR = frozenset(["type", "id", "role"])
_PLAIN_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


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
    ) -> None:
        """Refused: a ledger that another writer holds (LedgerLocked), or that is damaged."""
        data = Path(data_dir)
        self.path = data / "ledger"
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock_file = _own(self.path / "writer.lock")
        self._lock = threading.RLock()
        self._failed: BaseException | None = None
        try:
            self._bank, self._tenant, self._class = origin_bank, tenant, default_class
            self._now, self._steady = now, steady
            self._transport = AESGCM(transport_key)
            self._secret = read_or_make_secret(data / "secrets" / "ledger.key")
            self._signers: dict[int, Signer] = {}
            self._store = Store(self.path / "ledger.db")
            kek = read_or_make_secret(data / "secrets" / "ledger.kek")
            self._seals = Seals(self.path / "seals.db", kek, first_free=self._store.last_key() + 1)
            self._logs = {log.log: log for log in self._store.logs()}
            self._by_year = {(log.retention, log.year): log for log in self._logs.values()}
            self._cases: dict[str, Case] = {}
            self._next_case = self._store.last_case_no() + 1
            self._last_ts = int(self._store.meta("ts", 0))
            self._starts = int(self._store.meta("starts", 0)) + 1
            self._stream_id = str(self._store.meta("stream", "0-0"))
            self._changed = {
                log.log: set() if log.stopped else self._store.changed_since(log.log, log.heads)
                for log in self._logs.values()
            }
            self.dropped = self.refused = 0
            self._own_records = self._years_due = 0
            self._finish_erasures()
            self._absent: set[str] = set()
            self.publisher = Publisher(
                self.path,
                lambda origin: log_signer(self._secret, origin).verifier.vkey,
                witnesses,
            )
            self._open()
        except BaseException:
            os.close(self._lock_file)
            raise

    @property
    def stream_id(self) -> str:
        """The last id of the inlet's stream whose records are durable."""
        return self._stream_id

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
            for start in range(0, len(records), COMMIT_RECORDS):
                part = records[start : start + COMMIT_RECORDS]
                last = start + COMMIT_RECORDS >= len(records)
                self._commit(partial(self._take, part), last, stream_id)
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
        """Do what is due between commits: the hourly `case.heads`, and spare keys."""
        with self._lock:
            self._usable()
            self._seals.refill()
            now = self._now()
            due = [
                log
                for log in self._logs.values()
                if self._changed.get(log.log) and now - self._heads_ts[log.log] >= HEADS_EVERY
            ]
            if due:
                self._commit(partial(self._write_all_heads, due))
            if now >= self._years_due:
                self._years_due = now + HEADS_EVERY
                self._end_years()

    def _end_years(self) -> None:
        year = int(utc_text(max(self._last_ts, self._now()))[:4])
        old = [log for log in self._logs.values() if log.year < year and not log.closed]
        if any(not self._store.has_open_case(log.log) for log in old):
            self._commit(self._close_years)
            self.publisher.publish(keep=True)

    def note(self, kind: str, body: Record) -> None:
        """Put a fact of the ledger's own keeping on record, outside of any case."""
        with self._lock:
            self._usable()
            self._commit(partial(self._note, kind, plain_object(body)))

    def _note(self, kind: str, body: Record, batch: Batch) -> None:
        log = self._log_for(self._class)
        self._begin(batch, log)
        self._write(batch, log, kind, body)

    def publish(self) -> None:
        """Bring tiles and checkpoints up to the last commit."""
        self.publisher.publish()

    def position_of(self, case: str) -> tuple[str, int] | None:
        """(origin, next case_seq) of a case, for tests and consoles; None when unknown."""
        with self._lock:
            found = self._find(case)
            return None if found is None else (self._logs[found.log].origin, found.seq + 1)

    def close(self) -> None:
        """Orderly end: heads, `log.stop`, publication; then another writer may start."""
        with self._lock:
            try:
                if self._failed is None:
                    self._commit(self._stop)
                    self.publisher.publish(keep=True)
            finally:
                self._seals.close()
                self._store.close()
                self.publisher.close()
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
        self._heads_ts = dict.fromkeys(self._logs, now)
        self._years_due = now + HEADS_EVERY
        before = self._last_ts

        def begin(batch: Batch) -> None:
            for log in list(self._logs.values()):
                if not log.stopped:
                    gap = {
                        "last": log.size - 1,
                        "last_ts": utc_text(log.ts),
                        "stream": self._stream_id,
                    }
                    self._write(batch, log, "log.gap", gap)
                    log.stopped = True
                    self._begin(batch, log)
            self._begin(batch, self._log_for(self._class))
            self._close_years(batch)
            if now < before - CLOCK_TOLERANCE:
                self._step(batch, before, now)

        self._commit(begin)

    def _begin(self, batch: Batch, log: Log) -> None:
        if log.stopped:
            log.stopped = False
            self._heads_ts[log.log] = self._last_ts
            body = {"format": FORMAT, "start": self._starts, "stream": self._stream_id}
            self._write(batch, log, "log.start", body)

    def _stop(self, batch: Batch) -> None:
        for log in self._logs.values():
            if not log.stopped:
                if self._changed.get(log.log):
                    self._write_heads(batch, log)
                self._write(batch, log, "log.stop", {"start": self._starts})
                log.stopped = True

    def _close_years(self, batch: Batch) -> bool:
        """Close the logs of past years whose last case is closed: a final `log.stop`."""
        year, any_closed = int(self._ts[:4]), False
        for log in list(self._logs.values()):
            if log.year >= year or log.closed or self._is_open(batch, log):
                continue
            self._begin(batch, log)
            if self._changed.get(log.log):
                self._write_heads(batch, log)
            self._write(batch, log, "log.stop", {"final": True, "start": self._starts})
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
            self._ts = utc_text(self._last_ts)
            self._watch_clock(batch, now)
            if last and stream_id is not None:
                self._stream_id = stream_id
            fill(batch)
            for log in batch.logs.values():
                log.ts = self._last_ts
                text = head_text(log.origin, log.size, log.tree.root())
                log.note = text + "\n" + self._signer(log).sign(text)
            self._store.commit(
                batch,
                [("ts", self._last_ts), ("starts", self._starts), ("stream", self._stream_id)],
            )
            self._seals.committed()
            for _, _, keys in batch.erasures:
                self._seals.destroy(json.loads(keys))
        except BaseException as error:
            self._failed = error
            raise
        if len(self._cases) > CACHED_CASES:
            self._cases.clear()
            self._absent.clear()

    def _watch_clock(self, batch: Batch, now: int) -> None:
        offset = now - self._steady()
        step = offset - self._clock_offset
        if abs(step) > CLOCK_TOLERANCE:
            self._clock_offset = offset
            self._step(batch, now - step, now)

    def _step(self, batch: Batch, expected: int, now: int) -> None:
        body = {"by_us": now - expected, "clock": utc_text(now), "expected": utc_text(expected)}
        log = self._log_for(self._class)
        self._begin(batch, log)
        self._write(batch, log, "clock.step", body)

    def _signer(self, log: Log) -> Signer:
        found = self._signers.get(log.log)
        if found is None:
            found = self._signers[log.log] = log_signer(self._secret, log.origin)
        return found

    # sequencing

    def _take(self, records: Sequence[Record], batch: Batch) -> None:
        rids, cases, events = [], [], []
        for record in records:
            if type(record) is dict:
                rid, case = record.get("rid"), record.get("case")
                if type(rid) is str:
                    rids.append(rid)
                if type(case) is str and case not in self._cases:
                    cases.append(case)
                if record.get("kind") == "decision" and type(record.get("event")) is str:
                    events.append(record["event"])
        known = self._store.known_rids(rids)
        decided = self._store.decided(events) if events else {}
        if cases:
            for found in self._store.cases(cases):
                self._cases[found.name] = found
            # A name that is now neither here nor there is a new case.
            self._absent = {case for case in cases if case not in self._cases}
        else:
            self._absent = set()
        for record in records:
            rid = record.get("rid") if type(record) is dict else None
            if type(rid) is str:
                if rid in known:
                    self.dropped += 1
                    continue
                known.add(rid)
            try:
                self._take_one(batch, record, decided)
            except RecordRefused as refusal:
                self._refuse(batch, record, rid, refusal.why)

    def _take_one(self, batch: Batch, record: Record, decided: dict[str, int]) -> None:
        leaf = self._check(record)
        kind, name, event = leaf["kind"], leaf["case"], leaf["event"]
        if kind == "decision" and event is not None and event in decided:
            raise RecordRefused(
                f"event {event} has its decision at record {decided[event] % (1 << LOG_SHIFT)}"
            )
        personal = record.get("personal")
        opened = self._open_personal(personal) if personal else None
        demanded = record.get("class")
        retention = demanded or self._class
        case = None
        if name is None:
            log = self._log_for(retention)
        else:
            case = self._case_for(batch, name, retention, leaf, demanded)
            if demanded and is_longer(demanded, self._logs[case.log].retention):
                self._move(batch, case, demanded)
            log = self._logs[case.log]
        self._begin(batch, log)
        if opened:
            leaf["body"]["sealed"] = self._seal(batch, log, leaf["rid"], opened)
        position = self._place(batch, log, case, leaf)
        if kind == "decision" and event is not None:
            decided[event] = position
            batch.decisions.append((event, position))
        elif kind == "key.destroyed" and leaf["subject"]:
            subject = leaf["subject"]
            numbers = [*self._store.keys_of(subject), *self._seals.pending(subject)]
            self._seals.retire(subject, numbers)
            batch.erasures.append((position, subject, json.dumps(numbers)))

    def _check(self, record: Record) -> Record:
        """The producer's fields as a leaf without the writer's; RecordRefused names the fault."""
        check_fields(record)
        if record["tenant"] != self._tenant:
            raise RecordRefused(f"tenant is {self._tenant}, got {record['tenant']!r}")
        leaf: Record = {
            "actor": plain_object(record["actor"]),
            "at": utc_time(record.get("at")),
            "body": plain_object(record.get("body") or {}),
            "case": record.get("case"),
            "event": record.get("event"),
            "grade": record["grade"],
            "kind": record["kind"],
            "payload": plain(record["payload"]) if record.get("payload") else [],
            "rid": record["rid"],
            "subject": record.get("subject"),
            "tenant": self._tenant,
            "v": FORMAT,
        }
        for key in ("strength", "sig"):
            if record.get(key) is not None:
                leaf[key] = plain(record[key])
        if "sealed" in leaf["body"]:
            raise RecordRefused("body.sealed is the ledger's own; hand values in by `personal`")
        return leaf

    def _open_personal(self, personal: Any) -> list[tuple[str, str, str]]:
        """(path, subject, value) of each value that came sealed for the way."""
        if type(personal) is not dict:
            raise RecordRefused("personal is {path: {subject, sealed}}")
        opened = []
        for path, entry in personal.items():
            subject = entry.get("subject") if type(entry) is dict else None
            sealed = entry.get("sealed") if type(entry) is dict else None
            if type(subject) is not str or type(sealed) is not str or "|" in path + subject:
                raise RecordRefused(f"personal value {path!r} is {{subject, sealed}}, no '|' in it")
            if not path.isascii():
                raise RecordRefused(f"a key is an ASCII string, got {path!r}")
            opened.append((path, subject, open_transport(self._transport, sealed, path)))
        return opened

    def _seal(self, batch: Batch, log: Log, rid: str, opened: list[tuple[str, str, str]]) -> Record:
        sealed = {}
        for path, subject, value in opened:
            key = self._key_for(batch, log, subject)
            sealed[path] = self._seals.seal(key, rid, path, value)
        return sealed

    def _key_for(self, batch: Batch, log: Log, subject: str) -> DataKey:
        """A subject's data key; `key.created` goes in front of its first use in a log."""
        key = self._seals.key_for(
            log.origin, subject, partial(self._latest_key, batch, log.log, subject)
        )
        if key.is_new:
            batch.keys.append((subject, log.log, key.version, key.number))
            rid = f"{OWN_RID}{log.origin}/{subject}/{key.version}/key.created"
            body = {"com": key.commitment, "version": key.version}
            self._write(batch, log, "key.created", body, rid=rid, subject=subject)
        return key

    def _latest_key(self, batch: Batch, log: int, subject: str) -> tuple[int, int] | None:
        if batch.erasures:  # only then may a key of this very commit have left the cache
            pending = [row[2:] for row in batch.keys if row[0] == subject and row[1] == log]
            if pending:
                return max(pending)
        return self._store.latest_key(log, subject)

    def _find(self, name: str) -> Case | None:
        found = self._cases.get(name)
        if found is None and name not in self._absent:
            rows = self._store.cases([name])
            if rows:
                found = self._cases[name] = rows[0]
        return found

    def _case_for(
        self, batch: Batch, name: str, retention: str, leaf: Record, demanded: str | None
    ) -> Case:
        """The open case that takes this record; opened here when there is none."""
        case = self._find(name)
        if case is None or not case.seq:
            if FOLLOW_UP in name:
                raise RecordRefused(f"there is no case {name}; follow-ups are the ledger's to open")
            case = case or self._new_case(name, self._log_for(retention), leaf["event"])
            if leaf["kind"] == "case.opened":
                leaf["body"].setdefault("class", retention)
            else:
                body = {"class": retention, "unannounced": True}
                self._open_case(batch, case, body, leaf)
            return case
        if leaf["kind"] == "case.opened":
            raise RecordRefused(f"case {name} is open since its record 1")
        while case.closed:
            following = follow_up_of(case.name)
            found = self._find(following)
            if found is None:
                before, kept = case, self._logs[case.log].retention
                longer = demanded is not None and is_longer(demanded, kept)
                kept = demanded if demanded is not None and longer else kept
                case = self._new_case(following, self._log_for(kept), before.event)
                body = {"class": kept, "follows": before.name, "last": before.prev.hex()}
                self._open_case(batch, case, body, leaf)
                if longer:
                    self._carry(batch, case, self._family(before))
            else:
                case = found
        leaf["case"] = case.name
        return case

    def _new_case(self, name: str, log: Log, event: str | None) -> Case:
        case = Case(self._next_case, name, log.log, 0, bytes(32), False, event)
        self._next_case += 1
        self._cases[name] = case
        return case

    def _open_case(self, batch: Batch, case: Case, body: Record, leaf: Record) -> None:
        log = self._logs[case.log]
        self._begin(batch, log)
        rid = f"ledger/{case.name}/case.opened"
        opened = self._own_leaf("case.opened", body, rid)
        opened |= {"case": case.name, "event": case.event, "subject": leaf["subject"]}
        self._place(batch, log, case, opened)

    # moving to a longer class

    def _move(self, batch: Batch, case: Case, retention: str) -> None:
        """Go on with an open case in a longer log: `case.moved` ends it here and begins it there.

        The one here says where to; the one there names where from, and carries every leaf.
        """
        old = self._logs[case.log]
        new = self._log_for(retention, old.year)
        self._begin(batch, old)
        self._write_moved(batch, case, old, {"to": new.origin})
        self._changed[old.log].discard(case.case_no)
        self._begin(batch, new)
        case.log = new.log
        self._carry(batch, case, [case])

    def _family(self, last: Case) -> list[Case]:
        """A closed case and those it follows, first one first."""
        family, name = [last], last.name
        while FOLLOW_UP in name:
            base, _, number = name.rpartition(FOLLOW_UP)
            name = base if number == "2" else f"{base}{FOLLOW_UP}{int(number) - 1}"
            before = self._find(name)
            if before is None:
                break
            family.insert(0, before)
        return family

    def _carry(self, batch: Batch, case: Case, sources: Sequence[Case]) -> None:
        """Write `case.moved` in the case's own log, with the leaves of the cases it comes from."""
        log = self._logs[case.log]
        places: dict[str, Record] = {}
        leaves: list[bytes] = []
        for source in sources:
            rows = dict(self._store.records_of(source.case_no))
            rows |= {row[0]: row[5] for row in batch.records if row[2] == source.case_no}
            read = [(json.loads(leaf), position, leaf) for position, leaf in rows.items()]
            for record, position, leaf in sorted(read, key=lambda row: int(row[0]["case_seq"])):
                held = self._logs[position >> LOG_SHIFT]
                place = places.setdefault(held.origin, {"hashes": [], "indices": []})
                place["hashes"].append(leaf_hash(leaf).hex())
                place["indices"].append(position & INDEX_MASK)
                leaves.append(leaf)
                self._copy_payloads(record, held, log)
        packed = pack_entries(leaves)
        digest = sha256(packed).hexdigest()
        write_atomically(payload_file(self.directory(log), digest), packed, durable=True)
        origins = [{"origin": origin, **place} for origin, place in places.items()]
        if len(leaves) > MOST_NAMED_HASHES:  # a leaf has its limit; the carried leaves give them
            origins = [{**place, "hashes": None} for place in origins]
        payload = [{"path": "leaves", "sha256": digest, "size": len(packed)}]
        self._write_moved(batch, case, log, {"from": origins}, payload)

    def _copy_payloads(self, record: Record, old: Log, new: Log) -> None:
        for digest in [entry["sha256"] for entry in record["payload"]]:
            target = payload_file(self.directory(new), digest)
            if old is not new and not target.exists():
                data = payload_file(self.directory(old), digest).read_bytes()
                write_atomically(target, data, durable=True)

    def _write_moved(
        self, batch: Batch, case: Case, log: Log, body: Record, payload: list[Record] | None = None
    ) -> None:
        rid = f"{OWN_RID}{case.name}/{case.seq + 1}/case.moved"
        leaf = self._own_leaf("case.moved", body, rid)
        leaf |= {"case": case.name, "event": case.event, "payload": payload or []}
        self._place(batch, log, case, leaf)

    def _place(self, batch: Batch, log: Log, case: Case | None, leaf: Record) -> int:
        """Give a leaf its place in the case and the log; its position."""
        if case is None:
            leaf["case_seq"] = None
            leaf["case_prev"] = None
        else:
            leaf["case_seq"] = case.seq + 1
            leaf["case_prev"] = case.prev.hex() if case.seq else NO_PREVIOUS
            if leaf["kind"] == "case.closed":
                leaf["body"]["n"] = case.seq + 1
        leaf["ts"] = self._ts
        data = self._encode(leaf)
        if len(data) > MAX_LEAF:
            data = self._encode(self._outsource(batch, log, leaf))
        hashed = leaf_hash(data)
        position = log.log << LOG_SHIFT | log.tree.size
        for height, n, node in log.tree.append(hashed):
            batch.nodes.append((log.log, height >> 3, n, node))
        batch.logs[log.log] = log
        event = leaf["event"]
        if case is not None:
            case.seq += 1
            case.prev = hashed
            case.closed = leaf["kind"] == "case.closed"
            batch.cases[case.name] = case
            self._changed.setdefault(log.log, set()).add(case.case_no)
            if event == case.event:
                event = None
        number = None if case is None else case.case_no
        batch.records.append((position, leaf["kind"], number, event, hashed, data))
        batch.rids.append((leaf["rid"], position))
        return position

    def _encode(self, leaf: Record) -> bytes:
        try:
            return orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError as error:
            raise RecordRefused(f"the record is no JSON: {error}") from error

    def _outsource(self, batch: Batch, log: Log, leaf: Record) -> Record:
        """Move a body that is too large for a leaf to cas/, sealed under its subject's key."""
        subject = leaf["subject"] or "log"
        data = orjson.dumps(leaf["body"], option=orjson.OPT_SORT_KEYS)
        key = self._key_for(batch, log, subject)
        sealed = self._seals.seal_bytes(key, leaf["rid"], data)
        digest = sha256(sealed).hexdigest()
        write_atomically(payload_file(self.directory(log), digest), sealed, durable=True)
        body: Record = {"cas": digest}
        if leaf["kind"] == "case.closed":
            body["n"] = leaf["body"]["n"]
        entry = {"path": "body", "sha256": digest, "size": len(sealed), "subject": subject}
        if key.version > 1:
            entry["key"] = key.version
        moved = leaf | {"body": body, "payload": [*leaf["payload"], entry]}
        if len(self._encode(moved)) > MAX_LEAF:
            raise RecordRefused("the record is larger than a leaf even without its body")
        return moved

    def _refuse(self, batch: Batch, record: Any, rid: str | None, why: str) -> None:
        self.refused += 1
        try:
            kept = plain(record)
            data = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
        except (RecordRefused, orjson.JSONEncodeError):
            kept, data = None, repr(record).encode(errors="replace")
        digest = sha256(data).hexdigest()
        body: Record = {"rid": rid and rid[:512], "sha256": digest, "size": len(data), "why": why}
        if kept is not None and len(data) < MAX_LEAF // 2:
            body["record"] = kept
        refused_rid = f"{OWN_RID}refused/{rid[:512] if rid else digest}"
        if self._store.known_rids([refused_rid]) or refused_rid in dict(batch.rids):
            self.dropped += 1
            return
        log = self._log_for(self._class)
        self._begin(batch, log)
        self._write(batch, log, "record.refused", body, rid=refused_rid)
        if rid and len(rid) <= 512 and not rid.startswith(OWN_RID):
            batch.rids.append((rid, batch.records[-1][0]))

    # the writer's own records

    def _write(
        self,
        batch: Batch,
        log: Log,
        kind: str,
        body: Record,
        *,
        rid: str | None = None,
        subject: str | None = None,
    ) -> None:
        if rid is None:
            self._own_records += 1
            rid = f"ledger/{log.origin}/{self._starts}/{self._own_records}/{kind}"
        leaf = self._own_leaf(kind, body, rid)
        leaf["subject"] = subject
        self._place(batch, log, None, leaf)

    def _own_leaf(self, kind: str, body: Record, rid: str) -> Record:
        return {
            "actor": ACTOR,
            "at": self._ts,
            "body": body,
            "case": None,
            "event": None,
            "grade": 1,
            "kind": kind,
            "payload": [],
            "rid": rid,
            "subject": None,
            "tenant": self._tenant,
            "v": FORMAT,
        }

    def _write_all_heads(self, logs: Sequence[Log], batch: Batch) -> None:
        for log in logs:
            self._write_heads(batch, log)

    def _write_heads(self, batch: Batch, log: Log) -> None:
        """`case.heads`: where every case stands that changed since the last one."""
        numbers = self._changed.pop(log.log, set())
        stand = {case.case_no: case for case in self._store.cases_by_number(sorted(numbers))}
        stand |= {c.case_no: c for c in batch.cases.values() if c.case_no in numbers}
        lines = sorted(f"{case.name} {case.seq} {case.prev.hex()}" for case in stand.values())
        listing = "".join(line + "\n" for line in lines).encode()
        digest = sha256(listing).hexdigest()
        write_atomically(payload_file(self.directory(log), digest), listing, durable=True)
        body = {
            "count": len(lines),
            "from": utc_text(self._heads_ts[log.log]),
            "list": digest,
            "root": root_of(leaf_hash(line.encode()) for line in lines).hex(),
            "to": self._ts,
        }
        self._heads_ts[log.log] = self._last_ts
        log.heads = log.size
        self._write(batch, log, "case.heads", body)

    # logs

    def directory(self, log: Log) -> Path:
        return self.path / log.tenant / log.retention / str(log.year)

    def _log_for(self, retention: str, opened: int | None = None) -> Log:
        """The log of a class and a year: this one, or the one that a case was opened in."""
        year = opened or int(self._ts[:4])
        found = self._by_year.get((retention, year))
        if found is not None and found.closed:
            year = int(self._ts[:4])
            found = self._by_year.get((retention, year))
        if found is None:
            number = max(self._logs, default=0) + 1
            origin = f"{self._bank}/ringback/{self._tenant}/{retention}/{year}"
            found = Log(number, origin, self._tenant, retention, year, Tree(), 0, "", True)
            self._logs[number] = found
            self._by_year[retention, year] = found
            self._changed[number] = set()
            self._heads_ts[number] = self._last_ts
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


def check_fields(record: Any) -> None:
    """RecordRefused names the first field of a producer's record that can't be."""
    if type(record) is not dict:
        raise RecordRefused("a record is a JSON object")
    if _is_sound(record):
        return
    if not _FIELDS.issuperset(record):
        strange = sorted(str(key) for key in set(record) - _FIELDS)
        raise RecordRefused(f"unknown fields {', '.join(strange)}")
    for key, holds, needed in _CHECKS:
        if not holds(record.get(key)):
            raise RecordRefused(f"{key} is {needed}, got {str(record.get(key))[:80]!r}")


def _is_sound(record: Record) -> bool:
    """The same checks at once, for the common record; what fails here is asked in detail."""
    get = record.get
    rid, case, event, subject = get("rid"), get("case"), get("event"), get("subject")
    kind, tenant, retention = get("kind"), get("tenant"), get("class")
    if not (type(kind) is str and type(tenant) is str and type(rid) is str):
        return False
    if not (retention is None or type(retention) is str):
        return False
    if (kind, tenant, retention) not in _sound_names:
        if not (_is_name(kind) and _is_name(tenant) and (retention is None or _is_name(retention))):
            return False
        if len(_sound_names) < 10_000:
            _sound_names.add((kind, tenant, retention))
    actor, grade = get("actor"), get("grade")
    return (
        _FIELDS.issuperset(record)
        and type(get("v")) is int
        and get("v") == FORMAT
        and 0 < len(rid) <= 512
        and not rid.startswith(OWN_RID)
        and (case is None or (type(case) is str and 0 < len(case) <= 256))
        and (event is None or (type(event) is str and 0 < len(event) <= 256))
        and (subject is None or (type(subject) is str and 0 < len(subject) <= 256))
        and type(grade) is int
        and 1 <= grade <= 3
        and type(actor) is dict
        and actor.keys() == _ACTOR
        and type(get("body")) is dict
        and type(get("payload")) is list
    )


_sound_names: set[tuple[str, str, str | None]] = set()


def _is_name(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 64 and _PLAIN_NAME.issuperset(value)


def _is_rid(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 512 and not value.startswith(OWN_RID)


def _is_reference(value: object) -> bool:
    return value is None or (type(value) is str and 0 < len(value) <= 256)


_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("v", lambda value: type(value) is int and value == FORMAT, f"{FORMAT}"),
    ("kind", _is_name, "a lower-case name"),
    ("rid", _is_rid, f"a string of 1 to 512 characters that does not begin with {OWN_RID}"),
    ("tenant", _is_name, "a lower-case name"),
    ("case", _is_reference, "null or a string of 1 to 256 characters"),
    ("event", _is_reference, "null or a string of 1 to 256 characters"),
    ("subject", _is_reference, "null or a string of 1 to 256 characters"),
    ("class", lambda value: value is None or _is_name(value), "a lower-case name"),
    ("grade", lambda value: type(value) is int and 1 <= value <= 3, "1, 2 or 3"),
    ("actor", lambda value: type(value) is dict and value.keys() == _ACTOR, "{type, id, role}"),
    ("body", lambda value: value is None or type(value) is dict, "an object"),
    ("payload", lambda value: value is None or type(value) is list, "a list"),
)


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
