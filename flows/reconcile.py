"""Do Redis and the ledger agree? `ringback audit reconcile`, and what is missing where.

::

    Redis    rb:id:*   rb:decision:*  rb:challenge:*     rb:answers  rb:outcome:*
                |            |              |                |            |
    ledger   event.in     decision   challenge.created    answer      outcome    case.closed

Redis is read first, then the ledger, once everything that Redis held is durable; what is on record
and not in Redis is asked for once more, since the ledger was read later. The ledger keeps for
years what Redis keeps for days: what is older than that is looked for in the ledger alone.

Where the ledger itself is lost, bundles that were handed out (`--bundle`) still prove their cases:
what they hold, what Redis holds, and what Redis alone says are told apart.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis

from audit import read
from audit.errors import EvidenceMalformed
from audit.export import bundle_records, verify_bundle
from audit.redis_inlet import parse_id
from flows.clock import wall_us
from flows.parts import House
from flows.redis_server import wait
from risk import names
from risk.events import rfc3339

KINDS = (
    "event.in",
    "decision",
    "challenge.created",
    "answer",
    "outcome",
    "case.closed",
    "redis.recovered",
)
GRACE_US = 60_000_000
PATIENCE_SECONDS = 10.0
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


@dataclass
class Facts:
    """What one side knows. `answered` holds (challenge, decision)."""

    accepted: dict[str, str] = field(default_factory=dict)
    decided: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    asked: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    answered: set[tuple[str, str]] = field(default_factory=set)
    ended: dict[str, tuple[str, str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    recovered: str = ""


@dataclass(frozen=True)
class Missing:
    """One thing that is on one side and not on the other."""

    step: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.step} {self.name}: {self.why}"


@dataclass
class Reconciled:
    """How much was compared, and what is missing."""

    counted: dict[str, dict[str, int]]
    missing: list[Missing]
    apart: dict[str, list[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        rows = [{"step": one.step, "name": one.name, "why": one.why} for one in self.missing]
        return {"counted": self.counted, "missing": rows, "apart": self.apart}


def reconcile(
    house: House, *, patience: float = PATIENCE_SECONDS, bundles: Sequence[Path] = ()
) -> Reconciled:
    """Compare both sides of a data directory; `missing` is empty where they agree.

    With `bundles`, decisions are told apart by who says so: a bundle, Redis, or both.
    """
    client = wait(house.redis_url, 5.0)
    there = facts_of_redis(client)
    proven, unsound = facts_of_bundles(bundles)
    apart = told_apart(there, proven) if bundles else {}
    unsound += [
        Missing("decided", event, f"{there.decided[event][0]} in Redis, {known[0]} in its bundle")
        for event, known in sorted(proven.decided.items())
        if event in there.decided and there.decided[event][0] != known[0]
    ]
    if not (house.data / "ledger" / "ledger.db").is_file():
        lost = Missing("ledger", str(house.data), "there is no ledger: only bundles prove anything")
        sides = {"redis": _counted(there), "ledger": {}, "bundles": _counted(proven)}
        return Reconciled(sides, [lost, *unsound], apart)
    waiting = _wait_for_ledger(client, patience)
    on_record = facts_of_ledger(house.data)
    now_us = wall_us()
    kept_us = house.settings.idempotency_days * _DAY_US
    missing = [
        *unsound,
        *waiting,
        *not_on_record(there, on_record),
        *_not_in_redis(client, there, on_record, rfc3339(now_us - kept_us + _HOUR_US), now_us),
        *unfinished(on_record, rfc3339(now_us - GRACE_US)),
    ]
    return Reconciled({"redis": _counted(there), "ledger": _counted(on_record)}, missing, apart)


def facts_of_bundles(bundles: Sequence[Path]) -> tuple[Facts, list[Missing]]:
    """What bundles prove; one that does not hold proves nothing, and is named."""
    facts, unsound = Facts(), []
    for path in bundles:
        try:
            report = verify_bundle(path)
        except EvidenceMalformed as error:
            unsound.append(Missing("bundle", str(path), f"it can't be read: {error}"))
            continue
        if report.faults:
            unsound.append(Missing("bundle", str(path), f"it does not hold: {report.faults[0]}"))
            continue
        for leaf in bundle_records(path):
            kind, event = leaf["kind"], leaf["event"] or ""
            if kind == "event.in":
                facts.accepted[event] = leaf["at"]
            elif kind == "case.closed":
                facts.closed.add(event)
            elif kind in KINDS:
                _take(facts, kind, event, leaf["at"], leaf["body"])
    return facts, unsound


def told_apart(there: Facts, proven: Facts) -> dict[str, list[str]]:
    """Decided events by who says so."""
    redis_says, bundles_say = set(there.decided), set(proven.decided)
    return {
        "bundle_and_redis": sorted(redis_says & bundles_say),
        "redis_alone": sorted(redis_says - bundles_say),
        "bundle_alone": sorted(bundles_say - redis_says),
    }


def facts_of_redis(client: "redis.Redis") -> Facts:
    """What Redis still holds."""
    facts = Facts()
    for event in _names(client, names.accepted("")):
        facts.accepted[event] = ""
    for event, raw in _values(client, names.decision("")):
        told = orjson.loads(raw)
        facts.decided[event] = (told["decision"], told["decided"], bool(told.get("degraded")))
    for challenge, raw in _values(client, names.challenge("")):
        ask = orjson.loads(raw)
        facts.asked[challenge] = (ask["event"], ask["created"], ask["expires"])
    for event, raw in _values(client, names.outcome("")):
        told = orjson.loads(raw)
        facts.ended[event] = (told["state"], str(told.get("decision")))
    start = "-"
    while True:
        rows: Any = client.xrange(names.ANSWERS, min=start, count=1_000)
        for _, fields in rows:
            entry = orjson.loads(fields[b"answer"])
            if entry.get("kind", "answer") == "answer":
                facts.answered.add((entry["challenge"], entry["decision"]))
        if len(rows) < 1_000:
            return facts
        start = "(" + rows[-1][0].decode()


def facts_of_ledger(data: Path) -> Facts:
    """What is on record."""
    facts = Facts()
    for kind, event, at, leaf in read.steps(data, KINDS):
        if kind == "event.in":
            facts.accepted[event] = at
        elif kind == "case.closed":
            facts.closed.add(event)
        else:
            _take(facts, kind, event, at, orjson.loads(leaf)["body"])
    return facts


def _take(facts: Facts, kind: str, event: str, at: str, body: dict[str, Any]) -> None:
    if kind == "decision":
        facts.decided[event] = (str(body.get("decision")), at, "model" not in body)
    elif kind == "challenge.created":
        facts.asked[str(body.get("id"))] = (event, at, str(body.get("expires")))
    elif kind == "answer" and "decision" in body:
        facts.answered.add((str(body.get("challenge")), body["decision"]))
    elif kind == "outcome":
        facts.ended[event] = (str(body.get("state")), str(body.get("decision")))
    elif kind == "redis.recovered":
        facts.recovered = max(facts.recovered, at)


def not_on_record(there: Facts, on_record: Facts) -> Iterator[Missing]:
    """What Redis holds and the ledger does not, or tells otherwise."""
    for event in sorted(set(there.accepted) - set(on_record.accepted)):
        yield Missing("accepted", event, "no event.in is on record")
    for event, (decision, _, _) in sorted(there.decided.items()):
        known = on_record.decided.get(event)
        if known is None:
            yield Missing("decided", event, f"{decision} in Redis, no decision is on record")
        elif known[0] != decision:
            yield Missing("decided", event, f"{decision} in Redis, {known[0]} is on record")
    for challenge in sorted(set(there.asked) - set(on_record.asked)):
        yield Missing("asked", challenge, "no challenge.created is on record")
    for challenge, decision in sorted(there.answered - on_record.answered):
        yield Missing("answered", challenge, f"the answer {decision} is not on record")
    for event, (state, _) in sorted(there.ended.items()):
        ended = on_record.ended.get(event)
        if ended is None:
            yield Missing("ended", event, f"{state} in Redis, no outcome is on record")
        elif ended[0] != state:
            yield Missing("ended", event, f"{state} in Redis, {ended[0]} is on record")


def _not_in_redis(
    client: "redis.Redis", there: Facts, on_record: Facts, horizon: str, now_us: int
) -> Iterator[Missing]:
    since = max(horizon, on_record.recovered)  # acceptance can't be put back, decisions can
    accepted = (event for event, at in on_record.accepted.items() if at > since)
    decided = (event for event, row in on_record.decided.items() if row[1] > horizon)
    now = rfc3339(now_us)
    still_open = {
        challenge
        for challenge, (event, _, expires) in on_record.asked.items()
        if expires > now and event not in on_record.ended
    }
    yield from _gone(client, "accepted", accepted, there.accepted, names.accepted)
    yield from _gone(client, "decided", decided, there.decided, names.decision)
    yield from _gone(client, "asked", still_open, there.asked, names.challenge)


def _gone(
    client: "redis.Redis", step: str, known: Iterable[str], there: Iterable[str], key: Any
) -> Iterator[Missing]:
    for name in sorted(set(known) - set(there)):
        if not client.exists(key(name)):  # it may have come since Redis was read
            yield Missing(step, name, f"it is on record, and {key(name)} is not in Redis")


def unfinished(on_record: Facts, due: str) -> Iterator[Missing]:
    """What the ledger itself shows to have stopped half-way, and is old enough to be done."""
    for event, at in sorted(on_record.accepted.items()):
        if event not in on_record.decided and at < due:
            yield Missing("decided", event, f"accepted at {at}, and never decided")
    for challenge, (event, _, expires) in sorted(on_record.asked.items()):
        if event not in on_record.ended and expires < due:
            yield Missing("ended", event, f"{challenge} ran out at {expires}, and has no outcome")
    for event, (decision, at, by_policy) in sorted(on_record.decided.items()):
        final = decision in ("approve", "decline") and not by_policy
        ended = on_record.ended.get(event, ("", "review"))[1] != "review"
        if (final or ended) and at < due and event not in on_record.closed:
            yield Missing("closed", event, "it is settled, and its case is not closed")


def _wait_for_ledger(client: "redis.Redis", patience: float) -> list[Missing]:
    """Return once all that Redis held for the ledger is durable; else say what waits."""
    try:
        info: Any = client.xinfo_stream(names.AUDIT)
    except redis.ResponseError:
        return []
    tail, end = parse_id(info["last-generated-id"]), time.monotonic() + patience
    while True:
        mark: Any = client.get(names.AUDIT_DURABLE)
        if mark is not None and parse_id(mark) >= tail:
            return []
        if time.monotonic() > end:
            stands = "nowhere" if mark is None else f"at {mark.decode()}"
            why = f"it goes to {tail[0]}-{tail[1]}, the ledger stands {stands}: is it running?"
            return [Missing("durable", names.AUDIT, why)]
        time.sleep(0.02)


def _names(client: "redis.Redis", prefix: str) -> Iterator[str]:
    for key in client.scan_iter(match=f"{prefix}*", count=1_000):
        yield key.decode()[len(prefix) :]


def _values(client: "redis.Redis", prefix: str) -> Iterator[tuple[str, bytes]]:
    found = list(_names(client, prefix))
    for start in range(0, len(found), 1_000):
        part = found[start : start + 1_000]
        raws: Any = client.mget([prefix + name for name in part])
        yield from ((name, raw) for name, raw in zip(part, raws, strict=True) if raw is not None)


def _counted(facts: Facts) -> dict[str, int]:
    steps = ("accepted", "decided", "asked", "answered", "ended", "closed")
    return {step: len(getattr(facts, step)) for step in steps if step != "closed" or facts.closed}
