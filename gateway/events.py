"""What does the bank's system call? Events in, decisions out."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web

from gateway import fetched
from gateway.accept import Acceptance
from gateway.callers import Callers, body_of, json_of, read_json
from gateway.deadline import Deadline
from gateway.edge import Accepting, Edge
from gateway.evidence import Evidence
from gateway.labels import Labels
from gateway.metrics import Metrics
from gateway.ports import GatewayPorts
from gateway.problems import Problem, refused
from gateway.reading import Readings
from gateway.records import caller
from gateway.replies import Replies
from gateway.turns import StoreAway, Turns
from risk import events, names

IN_FLIGHT = 256
_WAIT = re.compile(r"^\s*wait\s*=\s*\"?(\d{1,6}(?:\.\d{1,6})?)\"?\s*$", re.IGNORECASE)
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@dataclass(frozen=True, slots=True)
class Prefer:
    """What the caller prefers (RFC 7240): how long to wait, and whether 202 is welcome."""

    seconds: float
    respond_async: bool


def prefer(request: web.Request, default: timedelta, longest: timedelta) -> Prefer:
    """Read ``Prefer``; what can't be read is ignored, as the RFC has it."""
    seconds: float | None = None
    respond_async = False
    for header in request.headers.getall("Prefer", ()):
        for part in header.split(","):
            if part.strip().lower() == "respond-async":
                respond_async = True
            elif found := _WAIT.match(part):
                seconds = min(float(found[1]), longest.total_seconds())
    if seconds is None:
        seconds = 0.0 if respond_async else default.total_seconds()
    return Prefer(seconds, respond_async)


def trace_of(request: web.Request) -> str:
    """The caller's trace id (W3C Trace Context), or a new one."""
    found = _TRACEPARENT.match(request.headers.get("traceparent", ""))
    return found[1] if found else os.urandom(16).hex()


class Intake:
    """Takes events in, from HTTP and from the inbox alike, and waits for their decisions."""

    def __init__(
        self,
        *,
        edge: Edge,
        acceptance: Acceptance,
        labels: Labels,
        replies: Replies,
        deadline: Deadline,
        ports: GatewayPorts,
        metrics: Metrics,
        gateway: str,
    ) -> None:
        self.edge = edge
        self.acceptance = acceptance
        self.labels = labels
        self._replies = replies
        self._deadline = deadline
        self._clock = ports.clock
        self._metrics = metrics
        self._gateway = gateway

    def now(self) -> int:
        """Microseconds since 1970."""
        return self._clock()

    def read(self, raw: Any, role: str, trace: str, *, replying: bool) -> Accepting | None:
        """Screen, parse, tokenise; None for a label, which goes another way. Raises `Refused`."""
        now_us = self._clock()
        if isinstance(raw, dict) and raw.get("type") == "label":
            return None
        try:
            event, unknown = events.parse(raw, events.instant(now_us))
        except events.Refused:
            self._metrics.refused.inc()
            raise
        if unknown:
            self._metrics.unknown_fields.inc(unknown)
        if isinstance(event, events.LabelEvent):
            raise AssertionError("a label is told by its type before")
        reply = self._gateway if replying else None
        return self.edge.prepare(event, accepted_us=now_us, role=role, reply=reply, trace=trace)

    async def decided(self, event: Accepting, wanted: Prefer) -> tuple[int, bytes]:
        """Accept an event and give its decision within the deadline: status and JSON."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        # Even who won't wait for a decision waits until the event is durable.
        give_up = started + max(wanted.seconds, 0.001)
        durable_by = started + wanted.seconds if not wanted.respond_async else started + 5.0
        found = None
        with self._replies.waiting(event.id) as news:
            try:
                async with asyncio.timeout_at(max(durable_by, started + 0.05)) as limit:
                    found = await self.acceptance.accept(event)
                    if found.decision is not None:
                        return 200, own(event, found.decision, found.outcome)
                    if found.new:
                        self._metrics.accepted.labels(event.type).inc()
                    if limit.when() != give_up:  # seldom: setting a limit is dear
                        limit.reschedule(give_up)
                    decision = (await news).raw
            except (StoreAway, TimeoutError) as away:
                if found is None:
                    raise Problem(
                        "away",
                        "The event was not made durable: it is not accepted. Send it again.",
                        event=event.own_id,
                        hint=self._deadline.hint(event),
                    ) from away
                if wanted.respond_async:
                    return 202, orjson.dumps({"event": event.own_id, "status": "accepted"})
                decision = await self._overdue(event)
        self._metrics.decision_seconds.observe(loop.time() - started)
        return 200, own(event, decision, None)

    async def _overdue(self, event: Accepting) -> bytes:
        try:
            async with asyncio.timeout(2.0):
                decision, ours = await self._deadline.decide(event, self._clock())
        except (StoreAway, TimeoutError) as away:
            raise Problem(
                "away",
                "The event is accepted, but no decision could be written in time. Ask for it, or"
                " send the event again.",
                event=event.own_id,
                accepted=True,
                hint=self._deadline.hint(event),
            ) from away
        if ours:
            self._metrics.overdue.inc()
        return decision


def own(event: Accepting, decision: bytes, outcome: bytes | None) -> bytes:
    """A decision as its caller sees it: under the caller's own id, with its outcome."""
    if event.id == event.own_id and outcome is None:
        return lean(decision)
    value = orjson.loads(lean(decision))
    value["event"] = event.own_id
    if outcome is not None:
        value["outcome"] = orjson.loads(outcome)
    return orjson.dumps(value)


def lean(decision: bytes) -> bytes:
    """A decision without its factors, which are told to who asks for them.

    They stand last as the flow writes it, and are cut off unread; else it is read and written anew.
    """
    head, found, tail = decision.partition(b',"factors":[')
    if not found:
        return decision
    if tail.endswith(b"]}") and b'],"' not in tail:
        return head + b"}"
    value = orjson.loads(decision)
    del value["factors"]
    return orjson.dumps(value)


class Events:
    """The calls of the bank's transaction system."""

    def __init__(
        self,
        *,
        intake: Intake,
        turns: Turns,
        replies: Replies,
        callers: Callers,
        evidence: Evidence,
        readings: Readings,
        wait: timedelta,
        longest_wait: timedelta,
        batch_bytes: int,
        batch_lines: int,
        words: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> None:
        self._intake = intake
        self._turns = turns
        self._replies = replies
        self._callers = callers
        self._evidence = evidence
        self._readings = readings
        self._wait = wait
        self._longest = longest_wait
        self._batch_bytes = batch_bytes
        self._batch_lines = batch_lines
        self._words = words

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/events", self.post),
            web.post("/v1/events:batch", self.batch),
            web.get("/v1/decisions/{id}", self.get_decision),
        ]

    async def post(self, request: web.Request) -> web.Response:
        """``POST /v1/events``: 200 and the decision, or 202 where that is preferred."""
        role = self._callers.need(request, "ingest", "bank")
        raw = await json_of(request)
        event = self._intake.read(raw, role, trace_of(request), replying=True)
        if event is None:
            taken = await self._intake.labels.take(raw, role, self._intake.now())
            return web.Response(
                status=202, body=orjson.dumps(taken), content_type="application/json"
            )
        wanted = prefer(request, self._wait, self._longest)
        status, body = await self._intake.decided(event, wanted)
        headers = {}
        if status == 202:
            headers = {
                "Location": f"/v1/decisions/{event.own_id}",
                "Preference-Applied": "respond-async",
            }
        return web.Response(
            status=status, body=body, content_type="application/json", headers=headers
        )

    async def batch(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/events:batch``: NDJSON in, one line out for each, in order."""
        role = self._callers.need(request, "ingest", "bank")
        body = await body_of(request, *_NDJSON, limit=self._batch_bytes)
        lines = [line for line in body.split(b"\n") if line.strip()]
        if len(lines) > self._batch_lines:
            raise Problem(
                "too_large", f"Needed at most {self._batch_lines} lines, got {len(lines)}"
            )
        wanted = prefer(request, self._wait, self._longest)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async for line in self._answers(lines, role, trace_of(request), wanted):
            await response.write(line)
        await response.write_eof()
        return response

    async def _answers(
        self, lines: list[bytes], role: str, trace: str, wanted: Prefer
    ) -> AsyncIterator[bytes]:
        """The answers in order; so many lines are under way at once, and no more."""
        under_way: asyncio.Queue[asyncio.Task[bytes]] = asyncio.Queue(IN_FLIGHT)

        async def send() -> None:
            for line in lines:
                await under_way.put(asyncio.create_task(self._answer(line, role, trace, wanted)))

        sender = asyncio.create_task(send())
        try:
            for _ in lines:
                yield await (await under_way.get())
        finally:
            sender.cancel()
            while not under_way.empty():
                under_way.get_nowait().cancel()

    async def _answer(self, line: bytes, role: str, trace: str, wanted: Prefer) -> bytes:
        try:
            if len(line) > events.LARGEST_BODY:
                raise Problem(
                    "too_large",
                    f"Needed at most {events.LARGEST_BODY} bytes a line, got {len(line)}",
                )
            raw = read_json(line)
            event = self._intake.read(raw, role, trace, replying=True)
            if event is None:
                taken = await self._intake.labels.take(raw, role, self._intake.now())
                return b'{"status":202,"accepted":' + orjson.dumps(taken) + b"}\n"
            status, body = await self._intake.decided(event, wanted)
        except events.Refused as refusal:
            problem = refused(refusal)
        except StoreAway:
            problem = Problem("away", "Redis can't be reached; try again.")
        except Problem as raised:
            problem = raised
        else:
            name = b"decision" if status == 200 else b"accepted"
            return b'{"status":%d,"%s":%s}\n' % (status, name, body)
        said = {"status": problem.status, "problem": problem.body()}
        return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)

    async def get_decision(self, request: web.Request) -> web.Response:
        """``GET /v1/decisions/{id}``: 404 unknown, 202 undecided, 200 with what there is."""
        role = self._callers.need(request, "ingest", "bank", "officer")
        own_id = request.match_info["id"]
        event = self._intake.edge.id_of(own_id)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds(request)
        while True:
            with self._replies.waiting(event) as news:
                known, decision, outcome = await self._turns.ask(
                    "MGET", names.accepted(event), names.decision(event), names.outcome(event)
                )
                if known is None and decision is None:
                    return await self._from_ledger(event, own_id, role)
                if decision is not None and (outcome is not None or not _open(decision)):
                    break
                try:
                    async with asyncio.timeout_at(until):
                        await news
                except TimeoutError:
                    break
        if decision is None:
            return web.Response(
                status=202,
                body=orjson.dumps({"event": own_id, "status": "accepted"}),
                content_type="application/json",
            )
        if role == "officer":
            await self._readings.first(caller(role), "decision", event, event=event)
        value = orjson.loads(decision)
        value["event"] = own_id
        receipt = await self._evidence.receipt(event)
        if receipt is not None:
            value["receipt"] = receipt
        if outcome is not None and role in fetched.CALLERS:
            outcome = await fetched.outcome_for_caller(self._turns, event)
        if outcome is not None:
            value["outcome"] = orjson.loads(outcome)
        wanted = request.query.get("include", "").split(",")
        factors = value.pop("factors", None)
        if "factors" in wanted:
            value["factors"] = self._in_words(factors)
        if "features" in wanted:
            features = await self._turns.ask("GET", names.features(event))
            value["features"] = orjson.loads(features) if features else None
        return web.Response(body=orjson.dumps(value), content_type="application/json")

    def _in_words(self, factors: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        if factors is None or self._words is None:
            return factors
        return [{**factor, "text": self._words(factor)} for factor in factors]

    def _seconds(self, request: web.Request) -> float:
        text = request.query.get("wait")
        if text is None:
            return 0.0
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 3600:
            got = [events.Problem("wait", "seconds, 0 or more", f"{len(text)} characters")]
            raise events.Refused(got)
        return min(seconds, self._longest.total_seconds())

    async def _from_ledger(self, event: str, own_id: str, role: str) -> web.Response:
        """What is only on record: decided before the idempotency window."""
        found: dict[str, Any] = {}
        for row in await self._evidence.event_records(event):
            if row.get("kind") in ("decision", "outcome"):
                found[row["kind"]] = row.get("body")
        if "decision" in found:
            if role == "officer":
                await self._readings.first(caller(role), "decision", event, event=event)
            value = {**found["decision"], "event": own_id, "from_ledger": True}
            value["receipt"] = await self._evidence.receipt(event)
            if "outcome" in found:
                value["outcome"] = found["outcome"]
            return web.Response(body=orjson.dumps(value), content_type="application/json")
        raise Problem("not_found", "No event of that id was accepted", event=own_id)


def _open(decision: bytes) -> bool:
    """True where a decision still waits for its outcome."""
    return orjson.loads(decision).get("decision") in ("challenge", "review")
