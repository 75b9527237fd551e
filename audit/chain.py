"""Do the records of a log hang together? Rules 5 to 11 and 14 to 17 of audit/verify.py.

Two ways lead through a log. `take` looks at one record and names what is wrong with it. `absorb`
takes a `Run`, whose records a reader has found to hang together among themselves, and compares its
ends with what came before; where anything is odd it takes nothing and says so, and the caller goes
record by record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from audit.entries import Ends, Run, Seen, home_of
from audit.errors import EvidenceMalformed
from audit.findings import MOST_FAULTS, Fault, Report
from audit.leaf import NO_PREVIOUS, decode, is_longer
from audit.tiles import payload_file, read_tile, unpack_entries
from audit.tree import TILE_WIDTH, leaf_hash, root_of


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
    decided: dict[str, str] = field(default_factory=dict)
    gone: dict[str, list[Half]] = field(default_factory=dict)
    come: dict[str, list[Half]] = field(default_factory=dict)
    destroyed: set[str] = field(default_factory=set)
    reports: dict[str, Report] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)


class Chain:
    """Rules 5 to 11 and 14 to 17, record by record."""

    def __init__(self, path: Path, origin: str, report: Report, across: Across, below: int) -> None:
        self._path, self._origin, self._report = path, origin, report
        self._across, self._closed = across, across.closed
        self._gone: dict[str, int] = {}
        self._follows: dict[str, str] = {}
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

    def remember(self, hashes: bytes) -> None:
        """Records that were verified before, by their hashes alone."""
        self._before.update(hashes[at : at + 32] for at in range(0, len(hashes), 32))

    def absorb(self, run: Run) -> bool:
        """Take a run of records whole; False, and nothing taken, where it does not simply fit."""
        if run.first_ts < self._ts or self._state not in ("running", "not looked at"):
            return False
        if not (self._rids.isdisjoint(run.rids) and self._decided.keys().isdisjoint(run.decided)):
            return False
        if not self._below and any(key not in self._keys for key in run.needed):
            return False
        if any(
            followed and self._closed.get(followed) != last for _, followed, last in run.follows
        ):
            return False
        if not all(self._goes_on(case, ends) for case, ends in run.cases.items()):
            return False
        self._ts = run.last_ts
        if self._report.first_ts is None:
            self._report.first_ts = run.first_ts
        self._rids.update(run.rids)
        self._decided.update(run.decided)
        self._keys.update(run.created)
        self._changed.update(run.cases)
        for case, ends in run.cases.items():
            self._stand[case] = ends.seq, ends.hash, ends.at
            if ends.closed:
                self._over.add(case)
                self._closed[case] = ends.hash.hex()
        for case, _, last in run.follows:
            self._follows[case] = last
        return True

    def _goes_on(self, case: str, ends: Ends) -> bool:
        stand = self._stand.get(case)
        if stand is None or ends.first_seq == 1:
            return stand is None and ends.first_seq == 1
        linked = stand[0] + 1 == ends.first_seq and stand[1].hex() == ends.first_prev
        return linked and case not in self._over and case not in self._gone

    def take(self, index: int, record: Seen) -> None:
        """Take one record, by every rule."""
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
        elif record.elsewhere:
            self._fault(8, index, f"case {case} is of another class or year than this log")
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
            self._take_departure(index, case, record, str(body["to"]))

    def _take_departure(self, index: int, case: str, record: Seen, to: str) -> None:
        self._gone[case] = index
        if not _is_longer(to, self._origin):
            self._fault(17, index, f"case {case} left for {to}, which is not kept longer")
        self._changed.discard(case)
        half = Half(index, case, record.ts, record.hash.hex(), to=to)
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
            named = [(str(place["origin"]), len(place["indices"])) for place in places]
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
        if not all(_is_longer(self._origin, origin) for origin, _ in named):
            self._fault(17, index, f"it came from {named}, and is not kept longer here")
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
        for event, index in self._decided.items():
            owner = self._across.decided.setdefault(event, self._origin)
            if owner != self._origin and len(self._report.faults) <= MOST_FAULTS:
                self._fault(7, index, f"event {event} was decided in {owner} already")
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


def _is_longer(origin: str, than: str) -> bool:
    return is_longer(home_of(origin)[1], home_of(than)[1])


def _split(hashes: list[bytes], named: list[tuple[str, int]]) -> Iterator[list[bytes]]:
    start = 0
    for _, count in named:
        yield hashes[start : start + count]
        start += count


def check_halves(across: Across) -> None:
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
    try:
        _, data = read_tile(path, "0", n, min(TILE_WIDTH, size - n * TILE_WIDTH))
    except OSError:
        return b""
    return data[offset * 32 : offset * 32 + 32]


def _say_missing(across: Across, origin: str, half: Half, other: str, why: str) -> None:
    report, there = across.reports[origin], across.reports.get(other)
    unpublished = there is not None and other in across.running and half.ts > (there.last_ts or "")
    if across.alone or other in across.destroyed or unpublished:
        report.open_questions.append(f"record {half.index}: {why}")
    else:
        report.faults.append(Fault(17, half.index, why))
