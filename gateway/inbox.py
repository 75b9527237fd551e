"""Who writes to ``rb:inbox``? Any producer of the bank; what it wrote is accepted from there.

An entry is acknowledged and deleted once it is accepted (its clear values must not stay) or once
its refusal lies on ``rb:dead``. A gateway that dies in between leaves it pending: another one, or
the next, claims it, and acceptance finds out whether that event was already taken.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.events import Intake
from gateway.metrics import Metrics
from gateway.problems import Problem, refused
from gateway.turns import StoreAway, Turns
from risk import events, names

log = logging.getLogger("ringback.gateway")
GROUP = "gateways"
ROLE = "bank"
IDLE_MS = 3000
BLOCK_MS = 500
COUNT = 128
AT_ONCE = 16
_SECRET_NAME = re.compile(
    r"[\"']?\b(?:" + "|".join(sorted(events.FORBIDDEN_NAMES)) + r")\b[\"']?\s*[:=]", re.IGNORECASE
)


class Inbox:
    """Moves the inbox's entries through acceptance, each exactly once."""

    def __init__(
        self, client: "Redis", turns: Turns, intake: Intake, metrics: Metrics, gateway: str
    ) -> None:
        self._client = client
        self._turns = turns
        self._intake = intake
        self._metrics = metrics
        self._gateway = gateway

    async def run(self, stop: asyncio.Event) -> None:
        """Read until told to stop; a lost Redis is tried again."""
        loop = asyncio.get_running_loop()
        grouped = False
        claim_at = 0.0
        while not stop.is_set():
            try:
                if not grouped:
                    await self._join()
                    grouped = True
                if loop.time() >= claim_at:
                    await self._take(await self._claimed())
                    claim_at = loop.time() + 1.0
                await self._take(await self._new())
            except (RedisError, OSError, StoreAway) as away:
                if isinstance(away, ResponseError):
                    grouped = False  # the group went with its Redis
                log.warning("reading the inbox: %s: %s", type(away).__name__, away)
                await asyncio.sleep(0.2)

    async def _join(self) -> None:
        try:
            await self._client.xgroup_create(names.INBOX, GROUP, id="0", mkstream=True)
        except ResponseError as known:
            if "BUSYGROUP" not in str(known):
                raise

    async def _claimed(self) -> list[Any]:
        found = await self._client.xautoclaim(
            names.INBOX, GROUP, self._gateway, min_idle_time=IDLE_MS, count=COUNT
        )
        return list(found[1])

    async def _new(self) -> list[Any]:
        found: Any = await self._client.xreadgroup(
            GROUP, self._gateway, {names.INBOX: ">"}, count=COUNT, block=BLOCK_MS
        )
        pairs = found.values() if isinstance(found, dict) else [rows for _, rows in found or ()]
        entries: list[Any] = []
        for rows in pairs:
            entries += rows[0] if rows and isinstance(rows[0], list) else rows
        return entries

    async def _take(self, entries: list[Any]) -> None:
        """Accept some entries at a time, so that those who wait for an answer get their turn."""
        for start in range(0, len(entries), AT_ONCE):
            chunk = entries[start : start + AT_ONCE]
            taken = await asyncio.gather(*(self._one(fields) for _, fields in chunk))
            done = [entry for (entry, _), ok in zip(chunk, taken, strict=True) if ok is True]
            await self._finish(done)
            refusals = [
                (entry, fields, problem)
                for (entry, fields), problem in zip(chunk, taken, strict=True)
                if isinstance(problem, Problem)
            ]
            for entry, fields, problem in refusals:
                await self._bury(entry, fields, problem)

    async def _one(self, fields: Mapping[bytes, bytes] | None) -> "bool | Problem":
        """Accept one entry; True where that is done, else why it never will be."""
        raw = (fields or {}).get(b"event", b"")
        if not raw:
            return Problem("refused", "Needed a field `event` with one JSON event, got none")
        if len(raw) > events.LARGEST_BODY:
            return Problem(
                "too_large", f"Needed at most {events.LARGEST_BODY} bytes, got {len(raw)}"
            )
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return Problem("malformed", "Needed UTF-8 JSON")
        try:
            event = self._intake.read(value, ROLE, "", replying=False)
            if event is None:
                await self._intake.labels.take(value, ROLE, self._intake.now())
            else:
                found = await self._intake.acceptance.accept(event)
                if found.new:
                    self._metrics.accepted.labels(event.type).inc()
        except events.Refused as refusal:
            return refused(refusal)
        except Problem as problem:
            return problem
        return True

    async def _finish(self, entries: Sequence[bytes]) -> None:
        if entries:
            acknowledged = self._turns.ask("XACK", names.INBOX, GROUP, *entries)
            await asyncio.gather(acknowledged, self._turns.ask("XDEL", names.INBOX, *entries))

    async def _bury(
        self, entry: bytes, fields: Mapping[bytes, bytes] | None, problem: Problem
    ) -> None:
        raw = (fields or {}).get(b"event", b"")
        async with self._client.pipeline(transaction=True) as grave:
            grave.xadd(
                names.DEAD,
                {
                    "reason": problem.kind,
                    "problem": orjson.dumps(problem.body()),
                    "event": raw if may_be_kept(raw) else b"",
                },
            )
            grave.xack(names.INBOX, GROUP, entry)
            grave.xdel(names.INBOX, entry)
            await grave.execute()
        self._metrics.dead.inc()


def may_be_kept(raw: bytes) -> bool:
    """True for a refused event that holds no secret field and no card number, as far as seen."""
    if len(raw) > events.LARGEST_BODY:
        return False
    text = raw.decode("utf-8", "replace")
    try:
        events.screen(orjson.loads(raw))
    except orjson.JSONDecodeError:
        # Not JSON: nobody knows where a field ends, so any trace of one is enough.
        if _SECRET_NAME.search(text):
            return False
    except events.Refused:
        return False
    return not events.holds_card_number(text)
