"""Does this log hold? Recomputed from the entry bytes, trusting nothing that is published.

The rules, by the numbers that a fault is reported under:

 1. The checkpoint is a signed note of this log; the log's key signed it. The key comes from the
    policy; without one from the log's own `keys` file, which anyone could have put there.
 2. Every entry that the checkpoint counts is there, and no bundle holds more than its width.
 3. The root recomputed from the entry bytes is the root in the checkpoint.
 4. Every published hash tile is what the entries give.
 5. Every leaf is one JSON object in the one spelling, has the fields, and is of this log's tenant.
 6. `ts` never goes back.
 7. A `rid` is taken once, and an event has one decision.
 8. A case begins with `case.opened` and its `case_seq` runs 1, 2, 3, … without a hole.
 9. `case_prev` is the hash of the case's record before.
10. `case.closed` counts the case's records, nothing follows it, and a follow-up case names the
    last record of the case it follows.
11. The log begins with `log.start`; nothing follows `log.stop` but a new start; `log.gap` names
    the record before it as the last durable one.
12. Every saved checkpoint, here and elsewhere (--old-checkpoint), is a beginning of this log.
13. The witnesses that the policy asks for have cosigned the checkpoint.
14. `case.heads` lists exactly the cases that changed since the last one, and where they stand.
15. Every payload that a record names is there, and its bytes have the hash that names it.
16. No value is sealed under a data key that the log has not committed to before.
17. A case lies in one log. One that has moved says so on both sides (`case.moved`), the longer
    log carries every leaf of it, and neither half is missing where a whole ledger is verified.

What this can't show: that what was never logged happened, that what was logged is true, and,
without witnesses or a checkpoint saved elsewhere, that the operator did not write the whole log
anew yesterday.

Exit statuses: 0 verified, with the policy's witnesses; 1 a rule is broken; 2 it could not be
read; 3 consistent with itself, but the keys are the operator's own (no policy, or no witness).
"""

from __future__ import annotations

import gc
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from audit.errors import EvidenceMalformed
from audit.leaf import FORMAT, NO_PREVIOUS, OPTIONAL, REQUIRED, decode, is_utc
from audit.note import LOG_KEY, Checkpoint, Verifier, parse_checkpoint, parse_vkey
from audit.policy import NONE, Policy
from audit.tiles import (
    HASH_BYTES,
    checkpoint_file,
    find_tile,
    payload_file,
    stated_width,
    tile_index,
    unpack_entries,
)
from audit.tree import EMPTY_ROOT, TILE_WIDTH, Tree, leaf_hash, node_hash, root_of

VERIFIED, BROKEN, UNREADABLE, SELF_CONSISTENT = 0, 1, 2, 3
MOST_FAULTS = 100
PARALLEL_FROM = 20_000
SELF_CONSISTENT_TEXT = "consistent with itself; the keys are the operator's own"

RULES = {
    1: "the checkpoint is signed by the log's key",
    2: "every entry is there",
    3: "the root is that of the entries",
    4: "every hash tile is what the entries give",
    5: "every leaf is well formed",
    6: "time never goes back",
    7: "a record is taken once, an event decided once",
    8: "a case has no hole",
    9: "a case's records are chained",
    10: "a closed case is whole and closed",
    11: "starts, stops and gaps are on record",
    12: "saved checkpoints are beginnings of the log",
    13: "the witnesses have cosigned",
    14: "the heads of the cases are as listed",
    15: "payloads are there and unchanged",
    16: "data keys are committed to before use",
    17: "a case that has moved is whole",
}

_BODY_KINDS = frozenset(
    ["case.opened", "case.closed", "case.heads", "case.moved", "log.gap", "log.start", "log.stop"]
) | frozenset(["key.created", "retention.destroyed"])


_NEEDED = frozenset(REQUIRED)
_KNOWN = _NEEDED | frozenset(OPTIONAL)


@dataclass(frozen=True)
class Fault:
    """A broken rule. `index` is the first record that breaks it, None when it is the whole log.

    A `vague` fault lies somewhere from `index` on; its reason says up to where.
    """

    rule: int
    index: int | None
    why: str
    vague: bool = False

    def __str__(self) -> str:
        where = "the log" if self.index is None else f"record {self.index}"
        where += " or a later one" if self.vague else ""
        return f"{where} breaks rule {self.rule} ({RULES[self.rule]}): {self.why}"


@dataclass
class Report:
    """What was found in one log, and what could not be established."""

    path: str
    checkpoint: bytes = b""
    origin: str = ""
    size: int = 0
    root: str = ""
    faults: list[Fault] = field(default_factory=list)
    cases: int = 0
    closed: int = 0
    uncovered: int = 0
    gaps: list[int] = field(default_factory=list)
    first_ts: str | None = None
    last_ts: str | None = None
    witnesses: list[dict[str, str]] = field(default_factory=list)
    open_questions: list[str] = field(default_factory=list)
    pinned: bool = False
    witnessed: bool = False

    @property
    def first(self) -> Fault | None:
        """The first bad record and the rule it breaks.

        A checkpoint that nobody known signed comes before all records, what names no single
        record comes after them.
        """
        return min(self.faults, key=_order, default=None)

    @property
    def status(self) -> int:
        if self.faults:
            return BROKEN
        return VERIFIED if self.pinned and self.witnessed else SELF_CONSISTENT

    def as_json(self) -> dict[str, Any]:
        first = self.first
        return {
            "path": self.path,
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "status": self.status,
            "first_bad": first and {"index": first.index, "rule": first.rule, "why": first.why},
            "faults": [{"index": f.index, "rule": f.rule, "why": f.why} for f in self.faults],
            "cases": {"all": self.cases, "closed": self.closed, "uncovered": self.uncovered},
            "gaps": self.gaps,
            "from": self.first_ts,
            "to": self.last_ts,
            "witnesses": self.witnesses,
            "not_established": self.open_questions,
        }


def _order(fault: Fault) -> tuple[bool, bool, bool, int, int]:
    return (fault.rule != 1, fault.index is None, fault.vague, fault.index or 0, fault.rule)


class Seen(NamedTuple):
    """What the rules over many records need of one."""

    hash: bytes
    fault: str | None
    kind: str = ""
    rid: bytes = b""
    case: str | None = None
    seq: Any = None
    prev: Any = None
    ts: str = ""
    decided: str | None = None
    body: Any = None
    sealed: tuple[tuple[str, int], ...] = ()
    payloads: tuple[str, ...] = ()
    subject: str | None = None


class Bundle(NamedTuple):
    """One tile of entries as read: what is in it, its subtree's hash, and what is wrong."""

    n: int
    records: list[Seen]
    root: bytes
    missing: str | None
    tile_fault: tuple[int, str] | None


Progress = Callable[[int, int], None]


@dataclass
class Half:
    """One side of a case that lies in two logs: the end of the old half, or what the new names."""

    index: int
    case: str
    ts: str
    hash: str
    to: str = ""
    departed: str = ""
    places: list[dict[str, Any]] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)


@dataclass
class Across:
    """What the rules over several logs of one ledger need of each."""

    alone: bool = False
    closed: dict[str, str] = field(default_factory=dict)
    owner: dict[str, str] = field(default_factory=dict)
    gone: dict[str, list[Half]] = field(default_factory=dict)
    come: dict[str, list[Half]] = field(default_factory=dict)
    destroyed: set[str] = field(default_factory=set)
    reports: dict[str, Report] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)


def verify_ledger(
    path: Path,
    *,
    policy: Policy | None = None,
    old_checkpoints: Sequence[bytes] = (),
    since: Sequence[bytes] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Report]:
    """Verify a log directory, or every log below a directory, oldest year first.

    `since` are checkpoints up to which these logs were verified before: what lies below is only
    hashed, and must give their roots.
    """
    logs = [path] if checkpoint_file(path).is_file() else find_logs(path)
    if not logs:
        raise EvidenceMalformed(f"there is no checkpoint in {path} or below it")
    across = Across(alone=logs == [path])
    reports = [
        verify_log(
            log,
            policy=policy,
            old_checkpoints=[*old_checkpoints, *since],
            since=since,
            workers=workers,
            progress=progress,
            across=across,
        )
        for log in logs
    ]
    # 17. A case lies in one log, or has moved and says so on both sides.
    _check_halves(across)
    for data in (*old_checkpoints, *since):
        saved = parse_checkpoint(data)
        if saved.origin not in [report.origin for report in reports]:
            why = f"the saved checkpoint is of {saved.origin}, and that log is not here"
            reports[0].faults.append(Fault(12, None, why))
    return reports


def find_logs(path: Path) -> list[Path]:
    """The log directories below a ledger."""
    found = (file.parent for file in path.rglob("checkpoint") if file.is_file())
    return sorted(found, key=lambda log: (log.name, str(log)))


def verify_log(
    path: Path,
    *,
    policy: Policy | None = None,
    old_checkpoints: Sequence[bytes] = (),
    since: Sequence[bytes] = (),
    workers: int = 1,
    progress: Progress | None = None,
    across: Across | None = None,
) -> Report:
    """Verify one log by the rules above. Faults are collected, not raised."""
    report = Report(str(path))
    saved = _saved_checkpoints(path, report)
    # 1. The checkpoint is a signed note of this log; the log's key signed it.
    try:
        report.checkpoint = checkpoint_file(path).read_bytes()
        head = parse_checkpoint(report.checkpoint)
    except (EvidenceMalformed, OSError) as error:
        report.faults.append(Fault(1, None, f"the checkpoint can't be read: {error}"))
        return report
    report.origin, report.size, report.root = head.origin, head.size, head.root.hex()
    keys = _log_keys(path, head.origin, policy, report)
    if not any(head.signed_by(key) for key in keys):
        report.faults.append(Fault(1, None, f"no key known for {head.origin} signed it"))
    alone = Across(alone=True) if across is None else across
    alone.reports[head.origin] = report
    verified = [parse_checkpoint(data) for data in since]
    below = max((one.size for one in verified if one.origin == head.origin), default=0)
    _check_entries(
        path, head, keys, saved, old_checkpoints, below, workers, progress, alone, report
    )
    if across is None:
        _check_halves(alone)
    # 13. The witnesses that the policy asks for have cosigned the checkpoint.
    _check_witnesses(head, policy, report)
    return report


def _check_entries(
    path: Path,
    head: Checkpoint,
    keys: list[Verifier],
    saved: list[Checkpoint],
    old_checkpoints: Sequence[bytes],
    below: int,
    workers: int,
    progress: Progress | None,
    across: Across,
    report: Report,
) -> None:
    chain = _Chain(path, head.origin, report, across, below)
    elsewhere = [parse_checkpoint(data) for data in old_checkpoints]
    elsewhere = [other for other in elsewhere if other.origin == head.origin]
    wanted = sorted({other.size for other in (*saved, *elsewhere) if other.size <= head.size})
    roots, tile_roots = {0: EMPTY_ROOT}, Tree()
    node_rows: list[bytes] = []
    complete, count = True, 0
    for bundle in _bundles(path, head.size, below, workers):
        start = bundle.n * TILE_WIDTH
        # 2. Every entry that the checkpoint counts is there.
        if bundle.missing is not None:
            report.faults.append(Fault(2, start + len(bundle.records), bundle.missing))
            complete = False
        # 4. Every published hash tile is what the entries give (level 0).
        if bundle.tile_fault is not None:
            report.faults.append(Fault(4, start + bundle.tile_fault[0], bundle.tile_fault[1]))
        for offset, record in enumerate(bundle.records):
            chain.give(start + offset, record)
        while wanted and complete and wanted[0] <= start + len(bundle.records):
            part = [record.hash for record in bundle.records[: wanted[0] - start]]
            roots[wanted[0]] = _root(tile_roots.edge, part)
            wanted.pop(0)
        count = start + len(bundle.records)
        if len(bundle.records) == TILE_WIDTH:
            tile_roots.append(bundle.root)
            node_rows.append(bundle.root)
        elif complete:
            roots[count] = _root(tile_roots.edge, [record.hash for record in bundle.records])
        if progress is not None:
            progress(count, head.size)
        if not complete or len(report.faults) > MOST_FAULTS:
            report.open_questions.append(f"nothing after record {count} was looked at")
            break
    else:
        roots.setdefault(head.size, _root(tile_roots.edge, []))
        # 3. The root recomputed from the entry bytes is the root in the checkpoint.
        if roots[head.size] != head.root:
            why = f"the entries give {roots[head.size].hex()}, the checkpoint {head.root.hex()}"
            report.faults.append(Fault(3, None, why))
        # 4. Every published hash tile is what the entries give (higher levels).
        _check_higher_tiles(path, node_rows, report)
    chain.finish(complete and len(report.faults) <= MOST_FAULTS)
    # 12. Every saved checkpoint, here and elsewhere, is a beginning of this log.
    _check_saved(head, keys, [*saved, *elsewhere], roots, report)


def _root(edge: list[bytes], rest: list[bytes]) -> bytes:
    parts = [*edge, root_of(rest)] if rest else list(edge)
    if not parts:
        return EMPTY_ROOT
    hashed = parts.pop()
    while parts:
        hashed = node_hash(parts.pop(), hashed)
    return hashed


class _Chain:
    """Rules 5 to 11 and 14 to 17, record by record."""

    def __init__(self, path: Path, origin: str, report: Report, across: Across, below: int) -> None:
        self._path, self._origin, self._report = path, origin, report
        self._across, self._closed = across, across.closed
        self._gone: dict[str, int] = {}
        self._follows: dict[str, str] = {}
        self._tenant = origin.split("/")[-3] if origin.count("/") >= 3 else ""
        self._ts = ""
        self._rids: set[bytes] = set()
        self._decided: dict[str, int] = {}
        self._stand: dict[str, tuple[int, bytes, int]] = {}
        self._over: set[str] = set()
        self._changed: set[str] = set()
        self._keys: set[tuple[str, int]] = set()
        self._below, self._heads_seen = below, False
        self._before: set[bytes] = set()
        self._state = "not looked at" if below else "new"
        if below:
            report.open_questions.append(
                f"of the first {below} records only the root was compared; that no rid or decision "
                "of theirs comes again, their keys, and the first case.heads after them were not "
                "looked at"
            )

    def give(self, index: int, record: Seen) -> None:
        """Take the next record; one that was verified before is only remembered by its hash."""
        if index < self._below:
            self._before.add(record.hash)
        else:
            self.take(index, record)

    def take(self, index: int, record: Seen) -> None:
        # 5. Every leaf is one JSON object in the one spelling.
        if record.fault is not None:
            self._fault(5, index, record.fault)
            return
        # 6. `ts` never goes back.
        if record.ts < self._ts:
            self._fault(
                6, index, f"its ts {record.ts} lies before {self._ts}, that of a record before"
            )
        else:
            self._ts = record.ts
        if self._report.first_ts is None:
            self._report.first_ts = record.ts
        self._take_once(index, record)
        if record.case is not None:
            self._take_case(index, record)
        elif record.seq is not None or record.prev is not None:
            self._fault(8, index, "it has a place in a case, but no case")
        if record.kind.startswith("log."):
            self._take_run(index, record)
        elif self._state not in ("running", "not looked at"):
            self._fault(11, index, f"a record where log.start is due (the log is {self._state})")
            self._state = "running"
        if record.kind == "case.heads":
            self._take_heads(index, record)
        # 15. Every payload that a record names is there.
        for digest in record.payloads:
            self._take_payload(index, digest)
        if record.sealed or record.subject is not None:
            self._take_keys(index, record)
        if record.kind == "retention.destroyed":
            self._across.destroyed.add(str(record.body.get("origin")))

    def _take_keys(self, index: int, record: Seen) -> None:
        # 16. No value is sealed under a data key that the log has not committed to before.
        if record.subject is not None:
            self._keys.add((record.subject, record.body.get("version", 1)))
        for sealed in record.sealed:
            if sealed not in self._keys and not self._below:
                self._fault(
                    16, index, f"no key.created for key {sealed[1]} of {sealed[0]} before it"
                )

    def _take_once(self, index: int, record: Seen) -> None:
        # 7. A `rid` is taken once, and an event has one decision.
        if record.rid in self._rids:
            self._fault(7, index, "its rid has been taken before")
        self._rids.add(record.rid)
        if record.decided is not None:
            before = self._decided.setdefault(record.decided, index)
            if before != index:
                why = f"event {record.decided} was decided by record {before} already"
                self._fault(7, index, why)

    def _take_case(self, index: int, record: Seen) -> None:
        case = str(record.case)
        seq, last, last_index = self._stand.get(case, (0, b"", -1))
        body = record.body if type(record.body) is dict else {}
        if not seq or record.kind == "case.moved":
            seq, last, last_index = self._stand_before(index, case, record, body)
        # 8. A case begins with `case.opened` and its `case_seq` runs 1, 2, 3, …
        if record.seq != seq + 1:
            self._fault(
                8, index, f"case {case} stands at {seq}, and this is its record {record.seq}"
            )
        elif (record.kind == "case.opened") != (seq == 0):  # one that moved here has a seq
            self._fault(8, index, f"record {record.seq} of case {case} is a {record.kind}")
        # 9. `case_prev` is the hash of the case's record before.
        elif record.prev != (last.hex() if seq else NO_PREVIOUS):
            why = (
                f"record {index}, the next of case {case}, holds another hash of it"
                if seq
                else "the first record of a case has 64 zeros as case_prev"
            )
            self._fault(9, last_index if seq else index, why)
        # 10. `case.closed` counts the case's records, and nothing follows it.
        if case in self._over:
            self._fault(10, index, f"case {case} was closed before it")
        if case in self._gone:
            why = f"case {case} has left this log by record {self._gone[case]}"
            self._fault(17, index, why)
        if record.kind == "case.closed":
            self._over.add(case)
            self._closed[case] = record.hash.hex()
            if body.get("n") != record.seq:
                self._fault(10, index, f"it closes {body.get('n')} records, there are {record.seq}")
        if record.kind == "case.opened" and "follows" in body:
            self._follows[case] = str(body.get("last"))
            self._take_follow_up(index, body)
        number = record.seq if type(record.seq) is int else seq + 1
        self._stand[case] = (number, record.hash, index)
        self._changed.add(case)
        if record.kind == "case.moved" and "to" in body:
            self._gone[case] = index
            self._changed.discard(case)
            half = Half(index, case, record.ts, record.hash.hex(), to=str(body["to"]))
            self._across.gone.setdefault(self._origin, []).append(half)

    def _stand_before(
        self, index: int, case: str, record: Seen, body: dict[str, Any]
    ) -> tuple[int, bytes, int]:
        """Where a case stood that this log does not begin: elsewhere, or in what is skipped."""
        stand = self._stand.get(case, (0, b"", -1))
        # 17. A case that has moved here brings every leaf of what it was.
        if record.kind == "case.moved" and "from" in body:
            carried = self._take_carried(index, case, record, body, not stand[0])
            if not stand[0] and carried:
                return len(carried), carried[-1], index
        goes_on = not stand[0] and self._below and self._is_before(record.prev)
        if goes_on and type(record.seq) is int:
            return record.seq - 1, bytes.fromhex(record.prev), index
        return stand

    def _take_carried(
        self, index: int, case: str, record: Seen, body: dict[str, Any], begins: bool
    ) -> list[bytes]:
        """The hashes of the case's own leaves that `case.moved` carries; [] when none hold."""
        try:
            packed = payload_file(self._path, record.payloads[0]).read_bytes()
            leaves = unpack_entries(packed)
            told = [decode(leaf) for leaf in leaves]
            places = body["from"]
            named = [(place["origin"], len(place["indices"])) for place in places]
            rows = [place["hashes"] for place in places]
        except (OSError, EvidenceMalformed, ValueError, LookupError, TypeError) as error:
            self._fault(17, index, f"the leaves that it carries can't be read: {error!r}")
            return []
        hashes = [leaf_hash(leaf) for leaf in leaves]
        if sum(count for _, count in named) != len(leaves) or any(
            row is not None and row != [one.hex() for one in part]
            for row, part in zip(rows, _split(hashes, named), strict=True)
        ):
            self._fault(17, index, "it does not name the leaves that it carries")
        own: list[bytes] = []
        before, last_case = NO_PREVIOUS, ""
        for leaf, hashed in zip(told, hashes, strict=True):
            if leaf["case"] != last_case:
                if last_case and leaf["body"].get("last") != before:
                    self._fault(17, index, f"case {leaf['case']} in it follows another end")
                own, before, last_case = [], NO_PREVIOUS, str(leaf["case"])
            if leaf["case_seq"] != len(own) + 1 or leaf["case_prev"] != before:
                self._fault(17, index, f"it carries no whole case {last_case}: see {len(own) + 1}")
                return []
            own.append(hashed)
            before = hashed.hex()
            for entry in leaf["payload"]:
                self._take_payload(index, str(entry["sha256"]))
        if (last_case == case) != begins:
            self._fault(17, index, f"it begins case {case} and carries {last_case or 'nothing'}")
        elif not begins and self._follows.get(case) != before:
            self._fault(17, index, "what it carries is not what its case follows")
        elif begins and told[-1]["body"].get("to") != self._origin:
            self._fault(17, index, "the old half that it carries does not end by moving here")
        half = Half(index, case, record.ts, record.hash.hex(), places=places, hashes=hashes)
        half.departed = before if begins else ""
        self._across.come.setdefault(self._origin, []).append(half)
        return own if begins else []

    def _is_before(self, hashed: object) -> bool:
        """Whether a hash is that of a record which was verified earlier and is now skipped."""
        try:
            return bytes.fromhex(str(hashed)) in self._before
        except ValueError:
            return False

    def _take_follow_up(self, index: int, body: dict[str, Any]) -> None:
        followed = str(body["follows"])
        if followed in self._closed:
            if body.get("last") != self._closed[followed]:
                self._fault(10, index, f"it names another last record of case {followed}")
        elif self._is_before(body.get("last")):
            pass
        elif followed in self._stand:
            self._fault(10, index, f"it follows case {followed}, which is not closed")
        else:
            self._report.open_questions.append(
                f"record {index} follows case {followed}, whose log is not here"
            )

    def _take_run(self, index: int, record: Seen) -> None:
        # 11. Starts, stops and gaps.
        body = record.body if type(record.body) is dict else {}
        if record.kind == "log.start":
            if self._state in ("running", "closed for good"):
                why = f"a start without the stop or the gap before it (the log is {self._state})"
                self._fault(11, index, why)
            self._state = "running"
        elif record.kind == "log.stop":
            if self._state not in ("running", "not looked at"):
                self._fault(11, index, f"a stop while the log is {self._state}")
            self._state = "stopped"
            if body.get("final"):
                self._state = "closed for good"
                still = set(self._stand) - self._over - set(self._gone)
                if still:
                    why = f"the last stop while {len(still)} cases are open, {min(still)} first"
                    self._fault(11, index, why)
        elif record.kind == "log.gap":
            expected = self._state in ("running", "not looked at")
            if not expected or body.get("last") != index - 1:
                why = f"a gap after record {body.get('last')} while the log is {self._state}"
                self._fault(11, index, why)
            self._report.gaps.append(index)
            self._state = "interrupted"

    def _take_heads(self, index: int, record: Seen) -> None:
        # 14. `case.heads` lists exactly the cases that changed since the last one.
        lines = sorted(
            f"{case} {self._stand[case][0]} {self._stand[case][1].hex()}" for case in self._changed
        )
        self._changed.clear()
        root = root_of(leaf_hash(line.encode()) for line in lines).hex()
        body = record.body if type(record.body) is dict else {}
        known = not self._below or self._heads_seen
        self._heads_seen = True
        if known and (body.get("root") != root or body.get("count") != len(lines)):
            self._fault(14, index, f"{len(lines)} cases have changed, with another root")
        listing = "".join(line + "\n" for line in lines).encode()
        if body.get("list") == sha256(listing).hexdigest():
            self._take_payload(index, str(body["list"]))

    def _take_payload(self, index: int, digest: str) -> None:
        try:
            found = sha256(payload_file(self._path, digest).read_bytes()).hexdigest()
        except OSError:
            self._fault(15, index, f"the payload {digest} is not there")
            return
        if found != digest:
            self._fault(15, index, f"the payload {digest} has the hash {found}")

    def finish(self, complete: bool) -> None:
        report = self._report
        report.last_ts = self._ts or None
        report.cases, report.closed = len(self._stand), len(self._over)
        report.uncovered = len(self._changed - self._over)
        for case in self._stand:
            owner = self._across.owner.setdefault(case, self._origin)
            if owner != self._origin and not self._has_moved(case, owner):
                why = f"case {case} lies here and in {owner}, and has not moved"
                self._fault(17, self._stand[case][2], why)
        if self._state == "running":
            self._across.running.add(self._origin)
        if not complete:
            return
        if report.uncovered:
            report.open_questions.append(
                f"{report.uncovered} open cases have changed since the last case.heads; "
                "that nothing is missing at their end rests on the checkpoint alone"
            )
        if self._state == "running":
            report.open_questions.append(
                "the log has no log.stop at its end: it is being written, or its end is missing"
            )

    def _has_moved(self, case: str, owner: str) -> bool:
        come = [*self._across.come.get(self._origin, ()), *self._across.come.get(owner, ())]
        return any(half.case == case for half in come)

    def _fault(self, rule: int, index: int, why: str) -> None:
        self._report.faults.append(Fault(rule, index, why))


def _split(hashes: list[bytes], named: list[tuple[str, int]]) -> Iterator[list[bytes]]:
    start = 0
    for _, count in named:
        yield hashes[start : start + count]
        start += count


def _check_halves(across: Across) -> None:
    """17. Each half of a case that has moved has its other half."""
    arrived = {half.departed for halves in across.come.values() for half in halves}
    for origin, halves in across.gone.items():
        for half in halves:
            if half.hash not in arrived:
                why = f"case {half.case} went on in {half.to}, and that half is missing"
                _say_missing(across, origin, half, half.to, why)
    for origin, halves in across.come.items():
        for half in halves:
            start = 0
            for place in half.places:
                part = half.hashes[start : start + len(place["indices"])]
                start += len(part)
                _check_place(across, origin, half, place, part)


def _check_place(
    across: Across, origin: str, half: Half, place: dict[str, Any], part: list[bytes]
) -> None:
    other = across.reports.get(str(place["origin"]))
    if other is None:
        why = f"case {half.case} came from {place['origin']}, and that half is missing"
        _say_missing(across, origin, half, str(place["origin"]), why)
        return
    for index, hashed in zip(place["indices"], part, strict=True):
        if type(index) is not int or index >= other.size:
            why = f"case {half.case} came from record {index} of {other.origin}, not there"
            _say_missing(across, origin, half, other.origin, why)
            return
        if _published_hash(Path(other.path), index, other.size) != hashed:
            why = f"it carries another leaf than record {index} of {other.origin}"
            across.reports[origin].faults.append(Fault(17, half.index, why))
            return


def _published_hash(path: Path, index: int, size: int) -> bytes:
    """The hash of a record from its tile, which rule 4 has compared with the entries."""
    n, offset = divmod(index, TILE_WIDTH)
    file = find_tile(path, "0", n, min(TILE_WIDTH, size - n * TILE_WIDTH))
    return b"" if file is None else file.read_bytes()[offset * 32 : offset * 32 + 32]


def _say_missing(across: Across, origin: str, half: Half, other: str, why: str) -> None:
    report, there = across.reports[origin], across.reports.get(other)
    unpublished = there is not None and other in across.running and half.ts > (there.last_ts or "")
    if across.alone or other in across.destroyed or unpublished:
        report.open_questions.append(f"record {half.index}: {why}")
    else:
        report.faults.append(Fault(17, half.index, why))


def _bundles(path: Path, size: int, below: int, workers: int) -> Iterator[Bundle]:
    origin_tiles = [
        (str(path), n, min(TILE_WIDTH, size - n * TILE_WIDTH), max(0, below - n * TILE_WIDTH))
        for n in range((size + TILE_WIDTH - 1) // TILE_WIDTH)
    ]
    if workers > 1 and size >= PARALLEL_FROM:
        with multiprocessing.get_context("fork").Pool(workers, gc.disable) as pool:
            yield from pool.imap(_read_bundle, origin_tiles, chunksize=8)
    else:
        yield from map(_read_bundle, origin_tiles)


def _read_bundle(job: tuple[str, int, int, int]) -> Bundle:
    path, n, width, skip = Path(job[0]), job[1], job[2], job[3]
    leaves, missing = _read_entries(path, n, width)
    records = [Seen(leaf_hash(leaf), None) for leaf in leaves[:skip]]
    records += [_see(leaf) for leaf in leaves[skip:]]
    hashes = [record.hash for record in records]
    return Bundle(n, records, root_of(hashes), missing, _tile_fault(path, n, width, hashes))


def _read_entries(path: Path, n: int, width: int) -> tuple[list[bytes], str | None]:
    file = find_tile(path, "entries", n, width)
    if file is None:
        return [], f"the bundle tile/entries/{tile_index(n)} is not there"
    try:
        leaves = unpack_entries(file.read_bytes())
    except EvidenceMalformed as error:
        return [], str(error)
    except OSError as error:
        return [], f"{file} can't be read: {error.strerror}"
    if len(leaves) < width:
        return leaves, f"{file.relative_to(path)} ends here, {width - len(leaves)} entries short"
    if len(leaves) > stated_width(file):
        return leaves[:width], f"{file.relative_to(path)} holds {len(leaves)} entries"
    return leaves[:width], None


def _tile_fault(path: Path, n: int, width: int, hashes: list[bytes]) -> tuple[int, str] | None:
    file = find_tile(path, "0", n, width)
    if file is None:
        return 0, f"the hash tile tile/0/{tile_index(n)} is not there"
    data = file.read_bytes()
    for offset, hashed in enumerate(hashes):
        if data[offset * 32 : offset * 32 + 32] != hashed:
            return offset, "its bytes do not have the hash that was published for it"
    if len(data) != stated_width(file) * HASH_BYTES:
        why = f"the hash tile {file.relative_to(path)} has {len(data)} bytes"
        return min(len(data) // HASH_BYTES, max(width - 1, 0)), why
    return None


def _see(leaf: bytes) -> Seen:
    hashed = leaf_hash(leaf)
    try:
        record = decode(leaf)
    except (ValueError, RecursionError) as error:
        return Seen(hashed, f"the leaf can't be read: {error}")
    try:
        return _look(hashed, record)
    except (KeyError, TypeError, AttributeError) as error:
        return Seen(hashed, f"the leaf has not the fields of a record: {error!r}")


def _look(hashed: bytes, record: dict[str, Any]) -> Seen:
    names = record.keys()
    if not (_NEEDED <= names <= _KNOWN):
        found = ", ".join(sorted(_NEEDED - names) or sorted(names - _KNOWN))
        return Seen(hashed, f"fields missing or unknown: {found}")
    kind, ts, body = record["kind"], record["ts"], record["body"]
    if not (type(kind) is str and is_utc(ts) and is_utc(record["at"]) and type(body) is dict):
        return Seen(hashed, "kind is a string, ts and at are UTC times, body is an object")
    if record["v"] != FORMAT:
        return Seen(hashed, f"v is {FORMAT}, got {record['v']!r}")
    sealed: tuple[tuple[str, int], ...] = ()
    if "sealed" in body:
        sealed = tuple((item["subject"], item.get("key", 1)) for item in body["sealed"].values())
    payloads: tuple[str, ...] = ()
    if record["payload"]:
        payloads = tuple(item["sha256"] for item in record["payload"])
    decided = record["event"] if kind == "decision" else None
    return Seen(
        hashed,
        None,
        kind,
        sha256(record["rid"].encode()).digest()[:16],
        record["case"],
        record["case_seq"],
        record["case_prev"],
        ts,
        decided,
        body if kind in _BODY_KINDS else None,
        sealed,
        payloads,
        record["subject"] if kind == "key.created" else None,
    )


def _check_higher_tiles(path: Path, row: list[bytes], report: Report) -> None:
    level, span = 1, TILE_WIDTH
    while row:
        above = []
        for n in range((len(row) + TILE_WIDTH - 1) // TILE_WIDTH):
            part = row[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
            file = find_tile(path, str(level), n, len(part))
            data = b"" if file is None else file.read_bytes()
            if file is not None and len(data) != stated_width(file) * HASH_BYTES:
                why = f"{file.relative_to(path)} has {len(data)} bytes"
                report.faults.append(Fault(4, n * TILE_WIDTH * span, why, vague=True))
            for offset, hashed in enumerate(part):
                if data[offset * 32 : offset * 32 + 32] != hashed:
                    first = (n * TILE_WIDTH + offset) * span
                    why = (
                        f"tile/{level}/{tile_index(n)} does not hold the hash of records "
                        f"{first} to {first + span - 1}"
                    )
                    report.faults.append(Fault(4, first, why, vague=True))
                    break
            if len(part) == TILE_WIDTH:
                above.append(root_of(part))
        row, level, span = above, level + 1, span * TILE_WIDTH


def _saved_checkpoints(path: Path, report: Report) -> list[Checkpoint]:
    saved, folder = [], path / "checkpoints"
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not file.name.isdigit():
            continue
        try:
            saved.append(parse_checkpoint(file.read_bytes()))
        except (EvidenceMalformed, OSError) as error:
            report.faults.append(Fault(12, None, f"{file.name} can't be read: {error}"))
    return saved


def _check_saved(
    head: Checkpoint,
    keys: list[Verifier],
    saved: Iterable[Checkpoint],
    roots: dict[int, bytes],
    report: Report,
) -> None:
    agreed = 0
    for other in sorted(saved, key=lambda checkpoint: checkpoint.size):
        if other.origin != head.origin or not any(other.signed_by(key) for key in keys):
            why = f"the saved checkpoint of size {other.size} is not signed by this log's key"
            report.faults.append(Fault(12, None, why))
        elif other.size > head.size:
            why = f"a checkpoint of size {other.size} was signed: the log has been rolled back"
            report.faults.append(Fault(12, head.size, why))
        elif other.size in roots and roots[other.size] != other.root:
            why = (
                f"a saved checkpoint of size {other.size} has another root: "
                f"history was rewritten between record {agreed} and record {other.size - 1}"
            )
            report.faults.append(Fault(12, agreed, why, vague=True))
            return
        elif other.size in roots:
            agreed = other.size


def _log_keys(path: Path, origin: str, policy: Policy | None, report: Report) -> list[Verifier]:
    if policy is not None and policy.logs:
        report.pinned = True
        return policy.log_keys(origin)
    keys = []
    try:
        for row in (path / "keys").read_text().splitlines():
            key = parse_vkey(row)
            if key.kind == LOG_KEY and key.name == origin:
                keys.append(key)
    except (OSError, ValueError, EvidenceMalformed) as error:
        report.faults.append(Fault(1, None, f"the keys file can't be read: {error}"))
    return keys


def _check_witnesses(head: Checkpoint, policy: Policy | None, report: Report) -> None:
    if policy is None:
        for name in head.witness_names():
            report.open_questions.append(f"a cosignature of {name} is there, its key is not known")
        report.open_questions.append(
            "no policy was given: nothing here binds the operator, who holds the keys"
        )
        return
    if not report.pinned:
        report.open_questions.append("the policy names no log: the log's key is taken on its word")
    times = {}
    for witness in policy.witnesses.values():
        time = head.witnessed_at(witness.verifier)
        if time is None and any(line.is_of(witness.verifier) for line in head.lines):
            why = f"the cosignature of {witness.name} is not one of this checkpoint"
            report.faults.append(Fault(13, None, why))
        if time is not None:
            times[witness.name] = time
            when = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            report.witnesses.append(
                {"name": witness.name, "key": witness.verifier.name, "time": when}
            )
    if policy.quorum == NONE:
        report.open_questions.append("the policy asks for no witness: the operator is not bound")
    elif policy.is_met(lambda witness: witness.name in times):
        report.witnessed = True
    else:
        lacking = sorted(set(policy.witnesses) - set(times))
        why = f"the quorum {policy.quorum} is not met; no cosignature of {', '.join(lacking)}"
        report.faults.append(Fault(13, None, why))


def to_json(reports: list[Report]) -> str:
    """One JSON object for all logs."""
    body = {"status": worst(reports), "logs": [report.as_json() for report in reports]}
    return json.dumps(body, ensure_ascii=False, indent=2)


def worst(reports: list[Report]) -> int:
    """The exit status of several logs: a fault before what is merely unproven."""
    statuses = {report.status for report in reports}
    for status in (BROKEN, UNREADABLE, SELF_CONSISTENT):
        if status in statuses:
            return status
    return VERIFIED
