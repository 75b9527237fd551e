"""Does this log hold? Recomputed from the entry bytes, trusting nothing that is published.

The rules, by the numbers that a fault is reported under:

 1. The checkpoint is a signed note of this log; the log's key signed it. The key comes from the
    policy; without one from the log's own `keys` file, which anyone could have put there. There
    is one log of an origin.
 2. Every entry that the checkpoint counts is there, and no bundle holds more than its width.
 3. The root recomputed from the entry bytes is the root in the checkpoint.
 4. Every published hash tile is what the entries give.
 5. Every leaf is one JSON object in the one spelling, has the fields, and is of this log's tenant.
 6. `ts` never goes back.
 7. A `rid` is taken once in a log, and an event has one decision in the whole ledger.
 8. A case begins with `case.opened`, in the log of its class and its year, and its `case_seq` runs
    1, 2, 3, … without a hole.
 9. `case_prev` is the hash of the case's record before.
10. `case.closed` counts the case's records, nothing follows it, and a follow-up case names the
    last record of the case it follows.
11. The log begins with `log.start`; nothing follows `log.stop` but a new start; `log.gap` names
    the record before it as the last durable one.
12. Every saved checkpoint, here and elsewhere (--old-checkpoint), is a beginning of this log, and
    every time stamp kept beside them is of one (--tsa names whose stamps count).
13. The witnesses that the policy asks for have cosigned the checkpoint.
14. `case.heads` lists exactly the cases that changed since the last one, and where they stand.
15. Every payload that a record names is there, and its bytes have the hash that names it.
16. No value is sealed under a data key that the log has not committed to before.
17. A case lies in one log. One that has moved went to a log that is kept longer, never to one
    that is destroyed sooner, and says so on both sides (`case.moved`);
    the longer log carries every leaf of it, and neither half is missing where a whole ledger is
    verified.

What this can't show: that what was never logged happened, that what was logged is true, and,
without witnesses or a checkpoint saved elsewhere, that the operator did not write the whole log
anew yesterday.

Exit statuses: 0 verified, with the policy's witnesses; 1 a rule is broken; 2 it could not be
read; 3 consistent with itself, but the keys are the operator's own (no policy, or no witness).
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from audit.chain import Across, Chain, check_halves
from audit.entries import Part, Special, Whole, parts, seen
from audit.errors import EvidenceMalformed
from audit.findings import (
    BROKEN,
    MOST_FAULTS,
    RULES,
    SELF_CONSISTENT,
    SELF_CONSISTENT_TEXT,
    UNREADABLE,
    VERIFIED,
    Fault,
    Report,
)
from audit.note import LOG_KEY, Checkpoint, Verifier, parse_checkpoint, parse_vkey
from audit.policy import NONE, Policy
from audit.tiles import (
    HASH_BYTES,
    checkpoint_file,
    read_tile,
    stated_width,
    tile_index,
)
from audit.timestamp import check, tokens
from audit.tree import EMPTY_ROOT, TILE_WIDTH, Tree, node_hash, root_of

__all__ = [
    "BROKEN",
    "RULES",
    "SELF_CONSISTENT",
    "SELF_CONSISTENT_TEXT",
    "UNREADABLE",
    "VERIFIED",
    "Fault",
    "Report",
    "find_logs",
    "to_json",
    "verify_ledger",
    "verify_log",
    "worst",
]

Progress = Callable[[int, int], None]


def verify_ledger(
    path: Path,
    *,
    policy: Policy | None = None,
    old_checkpoints: Sequence[bytes] = (),
    since: Sequence[bytes] = (),
    authorities: Sequence[bytes] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Report]:
    """Verify a log directory, or every log below a directory, oldest year first.

    `since` are checkpoints up to which these logs were verified before: what lies below is only
    hashed, and must give their roots. `authorities` are PEM certificates of time-stamp authorities.
    """
    logs = [path] if checkpoint_file(path).is_file() else find_logs(path)
    if not logs:
        raise EvidenceMalformed(f"there is no checkpoint in {path} or below it")
    across = Across(alone=logs == [path])
    with _uncollected():
        reports = [
            verify_log(
                log,
                policy=policy,
                old_checkpoints=[*old_checkpoints, *since],
                since=since,
                authorities=authorities,
                workers=workers,
                progress=progress,
                across=across,
            )
            for log in logs
        ]
    # 1. There is one log of an origin.
    for earlier, report in _of_one_origin(reports):
        why = f"{report.path} is of {report.origin} as well: see {earlier.path}"
        report.faults.append(Fault(1, None, why))
    # 17. A case lies in one log, or has moved and says so on both sides.
    check_halves(across)
    if policy is not None and not across.alone:
        here = {report.origin for report in reports}
        for origin in sorted({key.name for key in policy.logs} - here):
            reports[0].open_questions.append(f"the policy names the log {origin}, not here")
    for data in (*old_checkpoints, *since):
        saved = parse_checkpoint(data)
        if saved.origin not in [report.origin for report in reports]:
            why = f"the saved checkpoint is of {saved.origin}, and that log is not here"
            reports[0].faults.append(Fault(12, None, why))
    return reports


def _of_one_origin(reports: Sequence[Report]) -> Iterator[tuple[Report, Report]]:
    first: dict[str, Report] = {}
    for report in reports:
        if report.origin and first.setdefault(report.origin, report) is not report:
            yield first[report.origin], report


@contextmanager
def _uncollected() -> Iterator[None]:
    """Millions of small facts are made and no cycle among them: collecting finds nothing."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def find_logs(path: Path) -> list[Path]:
    """The log directories below a ledger; tiles, which a writer replaces, are not looked into."""
    found = []
    for folder, below, files in os.walk(path):
        if "checkpoint" in files:
            found.append(Path(folder))
        below[:] = [name for name in below if name != "tile"]
    return sorted(found, key=lambda log: (log.name, str(log)))


def verify_log(
    path: Path,
    *,
    policy: Policy | None = None,
    old_checkpoints: Sequence[bytes] = (),
    since: Sequence[bytes] = (),
    authorities: Sequence[bytes] = (),
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
        check_halves(alone)
    _check_timestamps(path, [*saved, head], authorities, report)
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
    chain = Chain(path, head.origin, report, across, below)
    elsewhere = [parse_checkpoint(data) for data in old_checkpoints]
    elsewhere = [other for other in elsewhere if other.origin == head.origin]
    wanted = {other.size for other in (*saved, *elsewhere) if other.size <= head.size}
    roots, tiles = {0: EMPTY_ROOT}, Tree()
    tile_roots: list[bytes] = []
    complete, count = True, 0
    whole = Whole(str(path), head.origin, head.size, below)
    for part in parts(whole, sorted(wanted), workers=workers):
        # 4. Every published hash tile is what the entries give (level 0).
        report.faults += [Fault(4, index, why) for index, why in part.tile_faults]
        chain.remember(part.before)
        count = _check_records(whole, part, chain, report)
        for size, rest in sorted(part.rests.items()):
            while tiles.size < (size - 1) // TILE_WIDTH:
                tiles.append(part.roots[tiles.size - part.start // TILE_WIDTH])
            roots[size] = _root(tiles.edge, rest)
        for root in part.roots[tiles.size - part.start // TILE_WIDTH :]:
            tiles.append(root)
        tile_roots += part.roots
        # 2. Every entry that the checkpoint counts is there.
        if part.missing is not None:
            report.faults.append(Fault(2, part.start + part.length, part.missing))
            complete = False
        if progress is not None:
            progress(count, head.size)
        if not complete or len(report.faults) > MOST_FAULTS:
            report.open_questions.append(f"nothing after record {count} was looked at")
            break
    else:
        # 3. The root recomputed from the entry bytes is the root in the checkpoint.
        if roots[head.size] != head.root:
            why = f"the entries give {roots[head.size].hex()}, the checkpoint {head.root.hex()}"
            report.faults.append(Fault(3, None, why))
        # 4. Every published hash tile is what the entries give (higher levels).
        _check_higher_tiles(path, tile_roots, report)
    chain.finish(complete and len(report.faults) <= MOST_FAULTS)
    # 12. Every saved checkpoint, here and elsewhere, is a beginning of this log.
    _check_saved(head, keys, [*saved, *elsewhere], roots, report)


def _check_records(log: Whole, part: Part, chain: Chain, report: Report) -> int:
    """5 to 11 and 14 to 17, run by run, or record by record where a run does not simply fit."""
    taken = part.start + len(part.before) // HASH_BYTES
    for step in part.steps or ():
        if isinstance(step, Special):
            chain.take(step.at, step.seen)
            taken = step.at + 1
        elif chain.absorb(step):
            taken = step.start + step.length
        else:
            break
    else:
        if part.steps is not None:
            return part.start + part.length
    for index, record in seen(log, part, max(log.below, taken)):
        chain.take(index, record)
        if len(report.faults) > MOST_FAULTS:
            return index + 1
    return part.start + part.length


def _root(edge: list[bytes], rest: bytes) -> bytes:
    """The root over whole tiles, by their edge, and the records of one more."""
    hashed = rest
    for left in reversed(edge):
        hashed = node_hash(left, hashed)
    return hashed


def _check_higher_tiles(path: Path, row: list[bytes], report: Report) -> None:
    level, span = 1, TILE_WIDTH
    while row:
        above = []
        for n in range((len(row) + TILE_WIDTH - 1) // TILE_WIDTH):
            part = row[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
            file, data = None, b""
            with suppress(OSError):
                file, data = read_tile(path, str(level), n, len(part))
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


def _check_timestamps(
    path: Path, heads: Sequence[Checkpoint], authorities: Sequence[bytes], report: Report
) -> None:
    """12. Every time stamp is of a head of this log. Needs `rfc3161-client` where any is there."""
    stamps, texts = tokens(path), {head.size: head.text for head in heads}
    if stamps and not authorities:
        report.open_questions.append(
            f"{len(stamps)} time stamps are there, and whose stamps count was not said (--tsa)"
        )
        return
    for size, token in stamps.items():
        try:
            if size not in texts:
                raise EvidenceMalformed("its checkpoint is not there")
            when = check(token, texts[size], authorities)
        except EvidenceMalformed as error:
            report.faults.append(Fault(12, None, f"the time stamp of size {size}: {error}"))
        else:
            report.timestamps.append(
                {"size": size, "time": when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            )


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
