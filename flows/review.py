"""Does the ledger still hold, today? `ringback audit review`, by itself every quarter of an hour.

::

    ledger/*/checkpoint --verify--> <log>/verified.json      what was found, for pages and people
                            |  \\--> rb:audit                 a `review` record, of each round
                            |   \\-> rb:alerts                where something does not hold
                            +-----> review/*.checkpoint      up to where it held

The first round and one a day look at every record by every rule; the others at what has come since,
and compare the root of what was before. It runs beside everything else: nice'd, one process, a
fifth of a core at most. What held before must come again: a log that is gone is found by that. Who
read how often since the last round is counted from the access records, and whoever read far more
than is usual is told of.
"""

import argparse
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import redis

from audit import read
from audit.errors import AuditError
from audit.find import bring_up
from audit.tiles import write_atomically
from audit.verify import BROKEN, Report, find_logs, verify_ledger
from flows.clock import wall_us
from flows.errors import FlowError
from flows.parts import House, open_house
from risk import names
from risk.events import rfc3339

VERSION = 1
FIRST_AFTER_SECONDS = 30.0
FULL_EVERY_SECONDS = 86_400.0
SHARE_OF_A_CORE = 0.2
HOLDS, DOES_NOT_HOLD, NOT_READ = "ok", "broken", "unreadable"
_NICE = 15
_ACCESS = ("access.read", "access.denied", "export", "officer.view")
_ACTOR = {"type": "service", "id": "ledger.review", "role": "reviewer"}
log = logging.getLogger("ringback.review")


class ToldToStop(FlowError):
    """The review was ended before it was through."""


@dataclass(frozen=True)
class Reviewed:
    """What was found of one log; the fields of its `verified.json`."""

    origin: str
    size: int
    root: str
    at: str
    status: str
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields; `problem` only where there is one."""
        told = {"version": VERSION, "origin": self.origin, "size": self.size, "root": self.root}
        told |= {"at": self.at, "status": self.status}
        return told if self.problem is None else told | {"problem": self.problem}


class Reviewer:
    """The rounds over one data directory. `share` of a core is used, 1 or more for all of one."""

    def __init__(
        self, house: House, *, stop: threading.Event | None = None, share: float = SHARE_OF_A_CORE
    ) -> None:
        self._house, self._share = house, share
        self._stop = stop or threading.Event()
        self._kept = house.data / "review"
        self._told: dict[str, str | None] = {}
        self._counted: dict[str, int] = {}

    def round(self, *, full: bool) -> list[Reviewed]:
        """Look at all logs, write what was found, tell who has to know. `ToldToStop`."""
        ledger = self._house.data / "ledger"
        held = [file.read_bytes() for file in sorted(self._kept.glob("*.checkpoint"))]
        if not held and not find_logs(ledger):
            return []
        found, reports = self._look(ledger, held, full)
        if any(one.status != HOLDS for one in found):
            # It is being written and published meanwhile: what is really wrong is so twice.
            found, reports = self._look(ledger, held, full)
        for one, report in zip(found, reports, strict=False):
            self._keep(one, Path(report.path), report.checkpoint)
        self._tell(found, full, self._readers(found))
        self._bring_up()
        return found

    def _bring_up(self) -> None:
        """So that who looks for a customer's records does not wait for a day's to be taken in."""
        try:
            bring_up(self._house.data, stopped=self._stop.is_set)
        except (AuditError, sqlite3.Error) as wrong:
            log.warning("what has come can't be taken in for looking up: %s", wrong)

    def _look(
        self, ledger: Path, held: Sequence[bytes], full: bool
    ) -> tuple[list[Reviewed], list[Report]]:
        try:
            reports = verify_ledger(
                ledger,
                old_checkpoints=held if full else (),
                since=() if full else held,
                progress=self._go_slowly(),
            )
        except (AuditError, OSError) as wrong:
            at = rfc3339(wall_us())
            return [Reviewed("", 0, "", at, NOT_READ, f"{ledger}: {wrong}")], []
        return [_found(report) for report in reports], reports

    def _readers(self, found: Sequence[Reviewed]) -> Counter[str]:
        """How often each actor read, or was denied, in what the logs have got since last time."""
        readers: Counter[str] = Counter()
        for one in found:
            start = self._counted.get(one.origin)
            self._counted[one.origin] = one.size
            if start is None:  # the first round only marks from where it is counted
                continue
            try:
                for leaf in read.since(self._house.data, one.origin, start, _ACCESS):
                    if leaf["kind"] == "access.denied":
                        readers["denied"] += 1
                    else:
                        readers[str(leaf["actor"]["id"])] += 1
            except (AuditError, sqlite3.Error) as wrong:
                log.warning("the readers of %s can't be counted: %s", one.origin, wrong)
        return readers

    def _keep(self, one: Reviewed, path: Path, checkpoint: bytes) -> None:
        write_atomically(path / "verified.json", json.dumps(one.as_json(), indent=1).encode())
        if one.status != HOLDS:
            return
        name = "-".join(one.origin.split("/")[-3:])
        write_atomically(self._kept / f"{name}.checkpoint", checkpoint, durable=True)

    def _tell(self, found: Sequence[Reviewed], full: bool, readers: Counter[str]) -> None:
        at = rfc3339(wall_us())
        bad = [one for one in found if one.status != HOLDS]
        fresh = [one for one in bad if full or self._told.get(one.origin) != one.problem]
        self._told = {one.origin: one.problem for one in found}
        logs = [{k: v for k, v in one.as_json().items() if k != "version"} for one in found]
        record = {
            "v": 1,
            "kind": "review",
            "rid": f"review/{at}",
            "tenant": self._house.settings.tenant,
            "case": None,
            "event": None,
            "subject": None,
            "actor": _ACTOR,
            "at": at,
            "body": {"full": full, "logs": logs, "problems": len(bad), "readers": dict(readers)},
            "payload": [],
            "grade": 1,
        }
        alerts = [
            ("ledger", f"The ledger {one.origin} does not hold: {one.problem}") for one in fresh
        ]
        alerts += [
            ("access", f"{who} read {count} times since the last review")
            for who, count in sorted(readers.items())
            if count > self._house.settings.review_readings
        ]
        for one in bad:
            log.error("%s: %s", one.origin, one.problem)
        try:
            client = redis.Redis.from_url(self._house.redis_url, socket_timeout=5.0)
            with client.pipeline(transaction=True) as pipe:
                pipe.xadd(names.AUDIT, {"records": orjson.dumps([record])})
                for kind, text in alerts:
                    alert = {"event": None, "kind": kind, "text": text}
                    pipe.xadd(
                        names.ALERTS, {"alert": orjson.dumps(alert)}, maxlen=100_000,
                        approximate=True,
                    )  # fmt: skip
                pipe.execute()
            client.close()
        except redis.RedisError as away:
            self._told = {}
            log.warning("Redis is away, this round is not on record: %s", away)

    def _go_slowly(self) -> Any:
        wall, cpu = time.monotonic(), time.process_time()

        def progress(done: int, size: int) -> None:
            owed = (time.process_time() - cpu) / self._share - (time.monotonic() - wall)
            if self._stop.wait(owed) if owed > 0.01 else self._stop.is_set():
                raise ToldToStop(f"review: ended after record {done} of {size}")

        return progress


def _found(report: Report) -> Reviewed:
    status = DOES_NOT_HOLD if report.status == BROKEN else HOLDS
    problem = None if report.first is None else str(report.first)
    return Reviewed(report.origin, report.size, report.root, rfc3339(wall_us()), status, problem)


def run_reviews(house: House, stop: threading.Event, *, every: float, after: float) -> None:
    """Rounds every so many seconds until told to stop, the first one `after` seconds."""
    os.nice(_NICE)
    reviewer = Reviewer(house, stop=stop)
    full_due = time.monotonic()
    wait = after
    while not stop.wait(wait):
        full = time.monotonic() >= full_due
        if full:
            full_due = time.monotonic() + FULL_EVERY_SECONDS
        try:
            found = reviewer.round(full=full)
        except ToldToStop:
            return
        log.info("%d logs, %d do not hold", len(found), sum(one.status != HOLDS for one in found))
        wait = every


def command(args: Sequence[str], data: Path) -> int:
    """`ringback audit review`: rounds until SIGTERM, or one; status 1 where something fails."""
    parser = argparse.ArgumentParser(prog="ringback audit review", description=__doc__)
    parser.add_argument("--data", type=Path, default=data, help="The data directory.")
    parser.add_argument("--every", type=float, metavar="MINUTES", help="Rounds until SIGTERM.")
    parser.add_argument("--json", action="store_true", help="One JSON object.")
    chosen = parser.parse_args(args)
    house = open_house(chosen.data)
    if chosen.every is not None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        run_reviews(house, stop, every=chosen.every * 60, after=FIRST_AFTER_SECONDS)
        return 0
    found = Reviewer(house, share=1.0).round(full=True)
    if chosen.json:
        sys.stdout.write(json.dumps({"logs": [one.as_json() for one in found]}) + "\n")
    for one in () if chosen.json else found:
        sys.stdout.write(f"{one.origin}: {one.size} records, {one.problem or 'it holds'}\n")
    return 1 if any(one.status != HOLDS for one in found) else 0
