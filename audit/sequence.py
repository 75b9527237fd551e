"""Which place does a record get? The logs and cases of a ledger, and the rows of one commit.

    record -> known rid? dropped        second decision, ill-formed? kept as record.refused
           -> its case, its log         opened, followed up or moved to a longer class
           -> ts, case_seq, case_prev   personal values sealed anew
           -> leaf, tree                rows of the batch

Knows no clock and no transaction: the writer says what time it is and commits the batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.admit import OWN_RID, Record, admit, encode_leaf, refusal
from audit.errors import RecordRefused
from audit.leaf import FOLLOW_UP, FORMAT, NO_PREVIOUS, follow_up_of, is_longer, utc_text
from audit.seal import DataKey, Seals, open_transport
from audit.store import INDEX_MASK, LOG_SHIFT, Batch, Case, Log, Store
from audit.tiles import MAX_LEAF, pack_entries, payload_file, write_atomically
from audit.tree import Tree, leaf_hash, root_of

ACTOR = {"id": "ledger", "role": "writer", "type": "service"}
CACHED_CASES = 100_000
MOST_NAMED_HASHES = 500


class Sequencer:
    """The places in all logs of a ledger, as they stand after the last commit and in this one.

    `at` sets the time of the commit before anything is given a place. After a commit that failed
    nothing here may be used again.
    """

    def __init__(
        self,
        path: Path,
        *,
        store: Store,
        seals: Seals,
        transport: AESGCM,
        bank: str,
        tenant: str,
        retention: str,
    ) -> None:
        self._path, self._store, self._seals, self._transport = path, store, seals, transport
        self._bank, self._tenant, self._class = bank, tenant, retention
        self.logs = {log.log: log for log in store.logs()}
        self._by_year = {(log.retention, log.year): log for log in self.logs.values()}
        self._cases: dict[str, Case] = {}
        self._absent: set[str] = set()
        self._next_case = store.last_case_no() + 1
        self.starts = int(store.meta("starts", 0)) + 1
        self.changed = {
            log.log: set() if log.stopped else store.changed_since(log.log, log.heads)
            for log in self.logs.values()
        }
        self.heads_ts: dict[int, int] = {}
        self._known_keys: dict[tuple[str, int], tuple[int, int]] = {}
        self._keys_asked: set[str] = set()
        self.dropped = self.refused = self._own_records = 0
        self.last_ts, self.ts = 0, ""
        self.stream = str(store.meta("stream", "0-0"))
        self.outcomes: dict[str, bytes] = {}

    def at(self, micros: int) -> None:
        """The time of the commit that is filled from now on."""
        self.last_ts, self.ts = micros, utc_text(micros)
        self._known_keys, self._keys_asked = {}, set()

    def forget_some(self) -> None:
        """Keep the cases in memory bounded; call it between commits."""
        if len(self._cases) > CACHED_CASES:
            self._cases.clear()
            self._absent.clear()

    def find(self, name: str) -> Case | None:
        """Where a case stands; None when there is none."""
        found = self._cases.get(name)
        if found is None and name not in self._absent:
            rows = self._store.cases([name])
            if rows:
                found = self._cases[name] = rows[0]
        return found

    def begin(self, batch: Batch, log: Log) -> None:
        """`log.start`, where the log is not running."""
        if log.stopped:
            log.stopped = False
            self.heads_ts[log.log] = self.last_ts
            body = {"format": FORMAT, "start": self.starts, "stream": self.stream}
            self.write(batch, log, "log.start", body)

    def take(self, records: Sequence[Record], batch: Batch) -> None:
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
        self._look_up_keys(records)
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
            except RecordRefused as refused:
                self._refuse(batch, record, rid, refused.why)

    def _take_one(self, batch: Batch, record: Record, decided: dict[str, int]) -> None:
        leaf = admit(record, self._tenant)
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
            log = self.log_for(retention)
        else:
            case = self._case_for(batch, name, retention, leaf, demanded)
            if demanded and is_longer(demanded, self.logs[case.log].retention):
                self._move(batch, case, demanded)
            log = self.logs[case.log]
        self.begin(batch, log)
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

    def _look_up_keys(self, records: Sequence[Record]) -> None:
        """Read the data keys that these records will want, at once."""
        wanted: set[str] = set()
        for record in records:
            personal = record.get("personal") if type(record) is dict else None
            if type(personal) is dict:
                for entry in personal.values():
                    if type(entry) is dict and type(entry.get("subject")) is str:
                        wanted.add(entry["subject"])
        unknown = [subject for subject in wanted if not self._seals.knows(subject)]
        self._known_keys = self._store.latest_keys(unknown)
        self._keys_asked = set(unknown)
        self._seals.read_ahead([number for _, number in self._known_keys.values()])

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
            self.write(batch, log, "key.created", body, rid=rid, subject=subject)
        return key

    def _latest_key(self, batch: Batch, log: int, subject: str) -> tuple[int, int] | None:
        if batch.erasures:  # only then may a key of this very commit have left the cache
            pending = [row[2:] for row in batch.keys if row[0] == subject and row[1] == log]
            if pending:
                return max(pending)
        if subject in self._keys_asked:
            return self._known_keys.get((subject, log))
        return self._store.latest_key(log, subject)

    def _case_for(
        self, batch: Batch, name: str, retention: str, leaf: Record, demanded: str | None
    ) -> Case:
        """The open case that takes this record; opened here when there is none."""
        case = self.find(name)
        if case is None or not case.seq:
            if FOLLOW_UP in name:
                raise RecordRefused(f"there is no case {name}; follow-ups are the ledger's to open")
            case = case or self._new_case(name, self.log_for(retention), leaf["event"])
            if leaf["kind"] == "case.opened":
                leaf["body"]["class"] = retention
            else:
                body = {"class": retention, "unannounced": True}
                self._open_case(batch, case, body, leaf)
            return case
        if leaf["kind"] == "case.opened":
            raise RecordRefused(f"case {name} is open since its record 1")
        while case.closed:
            following = follow_up_of(case.name)
            found = self.find(following)
            if found is None:
                before, kept = case, self.logs[case.log].retention
                longer = demanded is not None and is_longer(demanded, kept)
                kept = demanded if demanded is not None and longer else kept
                case = self._new_case(following, self.log_for(kept), before.event)
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
        log = self.logs[case.log]
        self.begin(batch, log)
        rid = f"ledger/{case.name}/case.opened"
        opened = self._own_leaf("case.opened", body, rid)
        opened |= {"case": case.name, "event": case.event, "subject": leaf["subject"]}
        self._place(batch, log, case, opened)

    # moving to a longer class

    def _move(self, batch: Batch, case: Case, retention: str) -> None:
        """Go on with an open case in a longer log: `case.moved` ends it here and begins it there.

        The one here says where to; the one there names where from, and carries every leaf.
        """
        old = self.logs[case.log]
        new = self.log_for(retention, old.year)
        self.begin(batch, old)
        self._write_moved(batch, case, old, {"to": new.origin})
        self.changed[old.log].discard(case.case_no)
        self.begin(batch, new)
        case.log = new.log
        self._carry(batch, case, [case])

    def _family(self, last: Case) -> list[Case]:
        """A closed case and those it follows, first one first."""
        family, name = [last], last.name
        while FOLLOW_UP in name:
            base, _, number = name.rpartition(FOLLOW_UP)
            name = base if number == "2" else f"{base}{FOLLOW_UP}{int(number) - 1}"
            before = self.find(name)
            if before is None:
                break
            family.insert(0, before)
        return family

    def _carry(self, batch: Batch, case: Case, sources: Sequence[Case]) -> None:
        """Write `case.moved` in the case's own log, with the leaves of the cases it comes from."""
        log = self.logs[case.log]
        places: dict[str, Record] = {}
        leaves: list[bytes] = []
        for source in sources:
            rows = dict(self._store.records_of(source.case_no))
            rows |= {row[0]: row[5] for row in batch.records if row[2] == source.case_no}
            read = [(json.loads(leaf), position, leaf) for position, leaf in rows.items()]
            for record, position, leaf in sorted(read, key=lambda row: int(row[0]["case_seq"])):
                held = self.logs[position >> LOG_SHIFT]
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
        leaf["ts"] = self.ts
        data = encode_leaf(leaf)
        if len(data) > MAX_LEAF:
            data = encode_leaf(self._outsource(batch, log, leaf))
        hashed = leaf_hash(data)
        position = log.log << LOG_SHIFT | log.tree.size
        for height, n, node in log.tree.append(hashed):
            batch.nodes.append((log.log, height >> 3, n, node))
        batch.logs[log.log] = log
        event = leaf["event"]
        if leaf["kind"] == "outcome" and event is not None:
            self.outcomes[event] = hashed
        if case is not None:
            case.seq += 1
            case.prev = hashed
            case.closed = leaf["kind"] == "case.closed"
            batch.cases[case.name] = case
            self.changed.setdefault(log.log, set()).add(case.case_no)
            if event == case.event:
                event = None
        number = None if case is None else case.case_no
        batch.records.append((position, leaf["kind"], number, event, hashed, data))
        batch.rids.append((leaf["rid"], position))
        return position

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
        if len(encode_leaf(moved)) > MAX_LEAF:
            raise RecordRefused("the record is larger than a leaf even without its body")
        return moved

    def _refuse(self, batch: Batch, record: Any, rid: str | None, why: str) -> None:
        self.refused += 1
        refused_rid, body = refusal(record, rid, why)
        if self._store.known_rids([refused_rid]) or refused_rid in dict(batch.rids):
            self.dropped += 1
            return
        log = self.log_for(self._class)
        self.begin(batch, log)
        self.write(batch, log, "record.refused", body, rid=refused_rid)
        if rid and len(rid) <= 512 and not rid.startswith(OWN_RID):
            batch.rids.append((rid, batch.records[-1][0]))

    # the writer's own records

    def write(
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
            rid = f"ledger/{log.origin}/{self.starts}/{self._own_records}/{kind}"
        leaf = self._own_leaf(kind, body, rid)
        leaf["subject"] = subject
        self._place(batch, log, None, leaf)

    def _own_leaf(self, kind: str, body: Record, rid: str) -> Record:
        return {
            "actor": ACTOR,
            "at": self.ts,
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
            self.write_heads(batch, log)

    def write_heads(self, batch: Batch, log: Log) -> None:
        """`case.heads`: where every case stands that changed since the last one."""
        numbers = self.changed.pop(log.log, set())
        stand = {case.case_no: case for case in self._store.cases_by_number(sorted(numbers))}
        stand |= {c.case_no: c for c in batch.cases.values() if c.case_no in numbers}
        lines = sorted(f"{case.name} {case.seq} {case.prev.hex()}" for case in stand.values())
        listing = "".join(line + "\n" for line in lines).encode()
        digest = sha256(listing).hexdigest()
        write_atomically(payload_file(self.directory(log), digest), listing, durable=True)
        body = {
            "count": len(lines),
            "from": utc_text(self.heads_ts[log.log]),
            "list": digest,
            "root": root_of(leaf_hash(line.encode()) for line in lines).hex(),
            "to": self.ts,
        }
        self.heads_ts[log.log] = self.last_ts
        log.heads = log.size
        self.write(batch, log, "case.heads", body)

    # logs

    def directory(self, log: Log) -> Path:
        return self._path / log.tenant / log.retention / str(log.year)

    def log_for(self, retention: str, opened: int | None = None) -> Log:
        """The log of a class and a year: this one, or the one that a case was opened in."""
        year = opened or int(self.ts[:4])
        found = self._by_year.get((retention, year))
        if found is not None and found.closed:
            year = int(self.ts[:4])
            found = self._by_year.get((retention, year))
        if found is None:
            number = max(self.logs, default=0) + 1
            origin = f"{self._bank}/ringback/{self._tenant}/{retention}/{year}"
            found = Log(number, origin, self._tenant, retention, year, Tree(), 0, "", True)
            self.logs[number] = found
            self._by_year[retention, year] = found
            self.changed[number] = set()
            self.heads_ts[number] = self.last_ts
        return found
