"""What lies in the entries of a log? Read, hashed, and looked at, part by part, on all cores.

Hashing and the tree come first and need nothing else. A part then is either one or more `Run`s,
whose records hang together among themselves, with the few special records between them; or, where
anything in it is odd, just a range, to be looked at record by record (`seen`).
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from audit.errors import EvidenceMalformed
from audit.leaf import (
    FORMAT,
    NO_PREVIOUS,
    OPTIONAL,
    REQUIRED,
    decode,
    decode_but_floats,
    decode_slowly,
    is_plain,
    is_utc,
)
from audit.tiles import (
    HASH_BYTES,
    payload_file,
    read_tile,
    stated_width,
    tile_index,
    unpack_entries,
)
from audit.tree import TILE_WIDTH, leaf_hash, root_of

PARALLEL_FROM = 20_000
TILES_A_PART = 32
SPECIAL = frozenset(["case.heads", "case.moved", "retention.destroyed"])
_BODY_KINDS = SPECIAL | frozenset(
    ["case.opened", "case.closed", "log.gap", "log.start", "log.stop", "key.created"]
)
_EITHER_END = frozenset(["case.opened", "case.closed"])
_FIELDS = len(REQUIRED)
_ACTOR = frozenset(["type", "id", "role"])
_SPOKEN = {str: "a string", dict: "an object", list: "a list"}
_NEEDED = frozenset(REQUIRED)
_KNOWN = _NEEDED | frozenset(OPTIONAL)

Key = tuple[str, int]


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
    sealed: tuple[Key, ...] = ()
    payloads: tuple[str, ...] = ()
    subject: str | None = None
    elsewhere: bool = False


class Ends(NamedTuple):
    """How a case enters a run and how it leaves it."""

    first_seq: int
    first_prev: str
    seq: int
    hash: bytes
    at: int
    closed: bool


class Run(NamedTuple):
    """Records in a row, without a special one, in which every case is chained and nothing twice.

    `needed` are data keys that were committed to before it; `follows` has (case, followed, last)
    of each follow-up that begins in it, `followed` empty where that one has closed in it.
    """

    start: int
    length: int
    first_ts: str
    last_ts: str
    rids: frozenset[bytes]
    decided: dict[str, int]
    cases: dict[str, Ends]
    created: frozenset[Key]
    needed: frozenset[Key]
    follows: tuple[tuple[str, str, str], ...]


class Special(NamedTuple):
    """A record that looks at the state of the whole log so far."""

    at: int
    seen: Seen


class Part(NamedTuple):
    """So many tiles of entries: their hashes and roots, and what is in them.

    `rests` has, for each size that was asked for, the root of the records of its last tile. `steps`
    is None where the records have to be looked at one by one. `missing` says why the part ends
    early; tile faults are (index, why).
    """

    start: int
    length: int
    roots: list[bytes]
    rests: dict[int, bytes]
    before: bytes
    steps: list[Run | Special] | None
    missing: str | None
    tile_faults: list[tuple[int, str]]


class Whole(NamedTuple):
    """A log as its checkpoint has it; the first `below` records were verified before."""

    path: str
    origin: str
    size: int
    below: int = 0


class Job(NamedTuple):
    """Which tiles of which log."""

    log: Whole
    tiles: range
    wanted: tuple[int, ...]


def parts(log: Whole, wanted: Sequence[int] = (), *, workers: int = 1) -> Iterator[Part]:
    """The parts of a log in order; `wanted` are sizes whose roots are asked for, besides `size`."""
    size = log.size
    tiles = (size + TILE_WIDTH - 1) // TILE_WIDTH
    jobs = []
    for first in range(0, tiles, TILES_A_PART):
        last = min(first + TILES_A_PART, tiles)
        low, high = first * TILE_WIDTH, last * TILE_WIDTH
        here = tuple(one for one in {*wanted, size} if low < one <= high)
        jobs.append(Job(log, range(first, last), here))
    if workers > 1 and size >= PARALLEL_FROM:
        with multiprocessing.get_context("fork").Pool(workers, gc.disable) as pool:
            yield from pool.imap(read_part, jobs)
    else:
        yield from map(read_part, jobs)


def home_of(origin: str) -> tuple[str, str, str]:
    """`<bank>/ringback/<tenant>/<class>/<year>` -> tenant, class, year."""
    parts = origin.split("/")[-3:]
    return (parts[0], parts[1], parts[2]) if origin.count("/") >= 3 else ("", "", "")


def is_at_home(record: dict[str, Any], home: tuple[str, str, str]) -> bool:
    """Whether a case that this record opens belongs into that log: its class, and its year."""
    return (record["body"].get("class", home[1]), record["ts"][:4]) == home[1:]


def read_part(job: Job) -> Part:
    """Read, hash and look at some tiles."""
    log, path, start = job.log, Path(job.log.path), job.tiles.start * TILE_WIDTH
    at = start
    before: list[bytes] = []
    roots: list[bytes] = []
    rests: dict[int, bytes] = {}
    missing, faults = None, []
    gathering = _Gathering(path, log.origin, max(start, log.below))
    for n in job.tiles:
        width = min(TILE_WIDTH, log.size - n * TILE_WIDTH)
        entries, missing = _read_entries(path, n, width)
        these = [sha256(b"\x00" + leaf).digest() for leaf in entries]
        if fault := _tile_fault(path, n, width, these):
            faults.append((n * TILE_WIDTH + fault[0], fault[1]))
        for size in job.wanted:
            within = size - n * TILE_WIDTH
            if 0 < within <= len(these):
                rests[size] = root_of(these[:within])
        if len(these) == TILE_WIDTH:
            roots.append(root_of(these))
        skip = min(max(0, log.below - at), len(these))
        before += these[:skip]
        gathering.look(at, entries, these, skip)
        at += len(these)
        if missing is not None:
            break
    steps = gathering.steps()
    return Part(start, at - start, roots, rests, b"".join(before), steps, missing, faults)


def seen(log: Whole, part: Part, below: int) -> Iterator[tuple[int, Seen]]:
    """(index, what there is to see) of each record of a part, one by one."""
    first = part.start // TILE_WIDTH
    for n in range(first, first + (part.length + TILE_WIDTH - 1) // TILE_WIDTH):
        leaves, _ = _read_entries(Path(log.path), n, min(TILE_WIDTH, log.size - n * TILE_WIDTH))
        for index, leaf in enumerate(leaves, n * TILE_WIDTH):
            if index >= below:
                yield index, see(leaf, log.origin)


def _read_entries(path: Path, n: int, width: int) -> tuple[list[bytes], str | None]:
    try:
        file, data = read_tile(path, "entries", n, width)
        leaves = unpack_entries(data)
    except FileNotFoundError:
        return [], f"the bundle tile/entries/{tile_index(n)} is not there"
    except EvidenceMalformed as error:
        return [], str(error)
    except OSError as error:
        return [], f"{error.filename} can't be read: {error.strerror}"
    if len(leaves) < width:
        return leaves, f"{file.relative_to(path)} ends here, {width - len(leaves)} entries short"
    if len(leaves) > stated_width(file):
        return leaves[:width], f"{file.relative_to(path)} holds {len(leaves)} entries"
    return leaves[:width], None


def _tile_fault(path: Path, n: int, width: int, hashes: list[bytes]) -> tuple[int, str] | None:
    try:
        file, data = read_tile(path, "0", n, width)
    except OSError:
        return 0, f"the hash tile tile/0/{tile_index(n)} is not there"
    if not data.startswith(b"".join(hashes)):
        for offset, hashed in enumerate(hashes):
            if data[offset * 32 : offset * 32 + 32] != hashed:
                return offset, "its bytes do not have the hash that was published for it"
    if len(data) != stated_width(file) * HASH_BYTES:
        why = f"the hash tile {file.relative_to(path)} has {len(data)} bytes"
        return min(len(data) // HASH_BYTES, max(width - 1, 0)), why
    return None


def see(leaf: bytes, origin: str) -> Seen:
    """One record of a log, with what is wrong with its leaf (rule 5)."""
    hashed = leaf_hash(leaf)
    try:
        record = decode(leaf)
    except (ValueError, RecursionError) as error:
        return Seen(hashed, f"the leaf can't be read: {error}")
    try:
        return _look(hashed, record, home_of(origin))
    except (KeyError, TypeError, AttributeError) as error:
        return Seen(hashed, f"the leaf has not the fields of a record: {error!r}")


def _look(hashed: bytes, record: dict[str, Any], home: tuple[str, str, str]) -> Seen:
    if fault := _shape_fault(record, home[0]):
        return Seen(hashed, fault)
    kind, ts, body = record["kind"], record["ts"], record["body"]
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
        _sealed(body) if "sealed" in body else (),
        payloads,
        record["subject"] if kind == "key.created" else None,
        kind == "case.opened" and not is_at_home(record, home),
    )


def _shape_fault(record: dict[str, Any], tenant: str) -> str | None:
    """Which field of a leaf can't be; None where all can."""
    names = record.keys()
    if not (_NEEDED <= names <= _KNOWN):
        found = ", ".join(sorted(_NEEDED - names) or sorted(names - _KNOWN))
        return f"fields missing or unknown: {found}"
    if record["v"] != FORMAT:
        return f"v is {FORMAT}, got {record['v']!r}"
    if not (is_utc(record["ts"]) and is_utc(record["at"])):
        return "ts and at are UTC times"
    if record["tenant"] != tenant:
        return f"this log is of tenant {tenant}, the leaf of {record['tenant']!r}"
    for name, kind in (("kind", str), ("rid", str), ("body", dict), ("payload", list)):
        if type(record[name]) is not kind:
            return f"{name} is {_SPOKEN[kind]}, got {record[name]!r:.80}"
    for name in ("case", "event", "subject"):
        if record[name] is not None and type(record[name]) is not str:
            return f"{name} is a string or null, got {record[name]!r:.80}"
    actor, grade = record["actor"], record["grade"]
    if type(actor) is not dict or actor.keys() != _ACTOR:
        return f"actor is {{type, id, role}}, got {actor!r:.80}"
    if type(grade) is not int or not 1 <= grade <= 3:
        return f"grade is 1, 2 or 3, got {grade!r:.80}"
    return None


def _sealed(body: dict[str, Any]) -> tuple[Key, ...]:
    return tuple((item["subject"], item.get("key", 1)) for item in body["sealed"].values())


class _Odd(Exception):
    """Something in the part is not plainly right: look at it record by record."""


#: What odd records make Python raise.
_STRANGE = (ValueError, RecursionError, LookupError, TypeError, AttributeError, OSError)


class _Gathering:
    """The runs and special records of a part, tile by tile, while its bytes are at hand."""

    def __init__(self, path: Path, origin: str, start: int) -> None:
        self._path, self._origin = path, origin
        self._steps: list[Run | Special] | None = []
        self._run = _Gathered(path, origin, start)

    def look(self, start: int, leaves: list[bytes], hashes: list[bytes], skip: int) -> None:
        """The records of one tile, without the first `skip`."""
        if self._steps is None:
            return
        run = self._run
        try:
            for offset in range(skip, len(leaves)):
                record = decode_but_floats(leaves[offset]) or decode_slowly(leaves[offset])
                kind = record["kind"]
                if kind in SPECIAL or kind.startswith("log."):
                    run.close(self._steps)
                    found = see(leaves[offset], self._origin)
                    self._steps.append(Special(start + offset, found))
                    self._run = run = _Gathered(self._path, self._origin, start + offset + 1)
                else:
                    run.take(start + offset, record, hashes[offset])
        except (_Odd, *_STRANGE):
            self._steps = None

    def steps(self) -> list[Run | Special] | None:
        """All of them; None where the records have to be looked at one by one."""
        if self._steps is not None:
            try:
                self._run.close(self._steps)
            except _Odd:
                self._steps = None
        return self._steps


class _Gathered:
    """A run while it is gathered. Raises `_Odd`, or what odd records make Python raise."""

    def __init__(self, path: Path, origin: str, start: int) -> None:
        self._path, self._start, self._count = path, start, 0
        self._home = home_of(origin)
        self._tenant = self._home[0]
        self._names: tuple[str, ...] = ()
        self._actor: Any = None
        self._first_ts = self._ts = ""
        self._rids: set[bytes] = set()
        self._decided: dict[str, int] = {}
        self._cases: dict[str, list[Any]] = {}
        self._created: set[Key] = set()
        self._needed: set[Key] = set()
        self._follows: list[tuple[str, str, str]] = []

    def take(  # noqa: C901, PLR0912  a million times: one function
        self, index: int, record: dict[str, Any], hashed: bytes
    ) -> None:
        kind, ts, body, case = record["kind"], record["ts"], record["body"], record["case"]
        event, subject, actor = record["event"], record["subject"], record["actor"]
        names = tuple(record)
        usual = names == self._names and actor == self._actor
        if not usual or len(names) != _FIELDS:  # as a rule they are those of before
            rest = (record[name] for name in names if name not in ("body", "payload"))
            if _shape_fault(record, self._tenant) is not None or not is_plain(list(rest)):
                raise _Odd
            # Only strings equal nothing but themselves: 1.0 is 1.
            self._actor = actor if all(type(name) is str for name in actor.values()) else None
            self._names = names
        if (
            record["tenant"] != self._tenant
            or type(record["v"]) is not int
            or type(record["grade"]) is not int
            or not 1 <= record["grade"] <= 3
            or not is_plain(body.values())
            or (event is not None and type(event) is not str)
            or (subject is not None and type(subject) is not str)
            or type(record["payload"]) is not list
            or not is_plain(record["payload"])
        ):
            raise _Odd
        if ts != self._ts:
            if not is_utc(ts) or ts < self._ts:
                raise _Odd
            self._first_ts = self._first_ts or ts
            self._ts = ts
        if record["v"] != FORMAT or not is_utc(record["at"]):
            raise _Odd
        self._rids.add(sha256(record["rid"].encode()).digest()[:16])
        self._count += 1
        if case is not None:
            seq, prev = record["case_seq"], record["case_prev"]
            stand = self._cases.get(case)
            if (
                stand is None
                or kind in _EITHER_END
                or type(seq) is not int
                or seq != stand[2] + 1
                or prev != stand[3].hex()
                or stand[5]
            ):
                self._take_end(index, kind, case, record, hashed)
            else:
                stand[2], stand[3], stand[4] = seq, hashed, index
        elif record["case_seq"] is not None or record["case_prev"] is not None:
            raise _Odd
        if "sealed" in body:
            self._needed.update(key for key in _sealed(body) if key not in self._created)
        if kind == "key.created":
            if subject is not None:
                self._created.add((subject, body.get("version", 1)))
        elif kind == "decision" and event is not None:
            self._decided.setdefault(event, index)
            if self._decided[event] != index:
                raise _Odd
        if record["payload"]:
            self._look_at_payloads(record)

    def _look_at_payloads(self, record: dict[str, Any]) -> None:
        for entry in record["payload"]:
            digest = entry["sha256"]
            if sha256(payload_file(self._path, digest).read_bytes()).hexdigest() != digest:
                raise _Odd

    def _take_end(
        self, index: int, kind: str, case: str, record: dict[str, Any], hashed: bytes
    ) -> None:
        """A record with which a case begins, enters this run, or closes; any other is odd."""
        seq, prev = record["case_seq"], record["case_prev"]
        stand = self._cases.get(case)
        opens = kind == "case.opened"
        if type(case) is not str or type(seq) is not int or opens != (seq == 1):
            raise _Odd
        if stand is None:
            if type(prev) is not str or (opens and prev != NO_PREVIOUS) or seq < 1:
                raise _Odd
            stand = self._cases[case] = [seq, prev, seq, hashed, index, False]
        else:
            if stand[5] or seq != stand[2] + 1 or prev != stand[3].hex():
                raise _Odd
            stand[2], stand[3], stand[4] = seq, hashed, index
        if opens and not is_at_home(record, self._home):
            raise _Odd
        if kind == "case.closed":
            if record["body"].get("n") != seq:
                raise _Odd
            stand[5] = True
        elif opens and "follows" in record["body"]:
            followed, last = str(record["body"]["follows"]), str(record["body"].get("last"))
            before = self._cases.get(followed)
            if before is not None:
                if not before[5] or before[3].hex() != last:
                    raise _Odd
                followed = ""
            self._follows.append((case, followed, last))

    def close(self, steps: list[Run | Special]) -> None:
        """The run ends here; nothing is added where it is empty."""
        if len(self._rids) != self._count:
            raise _Odd
        if self._count:
            steps.append(
                Run(
                    self._start,
                    self._count,
                    self._first_ts,
                    self._ts,
                    frozenset(self._rids),
                    self._decided,
                    {case: Ends(*ends) for case, ends in self._cases.items()},
                    frozenset(self._created),
                    frozenset(self._needed),
                    tuple(self._follows),
                )
            )
