"""Who may watch, and what do they see? The live page, the stream, and one decision in full.

Until people sign in, the page is read-only, open where the settings say so, and shows masked
tokens. Each subscription and each opened decision is on record before anything is shown.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from gateway import fetched
from gateway.board import Board, instant
from gateway.callers import Callers
from gateway.challenges import question
from gateway.evidence import Evidence
from gateway.pages import Pages
from gateway.ports import GatewayPorts, GatewaySettings
from gateway.problems import Problem
from gateway.reading import UNSIGNED, Readings
from gateway.records import caller
from gateway.replies import News, Replies
from gateway.turns import StoreAway, Turns
from risk import names
from risk.privacy import web_token

TICK_SECONDS = 0.5
NEWEST = 60  # as many as the page shows
BACKLOG = 5_000


class Live:
    """The page of whoever watches, and the stream of whoever follows."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        board: Board,
        turns: Turns,
        replies: Replies,
        callers: Callers,
        pages: Pages,
        evidence: Evidence,
        readings: Readings,
        ports: GatewayPorts,
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._board = board
        self._turns = turns
        self._replies = replies
        self._callers = callers
        self._pages = pages
        self._evidence = evidence
        self._readings = readings
        self._clock: Callable[[], int] = ports.clock
        self._words = ports.words
        self._stopping = stopping

    def routes(self) -> list[web.RouteDef]:
        routes = [
            web.get("/", self.get_page),
            web.get("/v1/stream", self.get_stream),
            web.get("/v1/live/{id}", self.get_one),
            web.get("/v1/proof", self.get_proof),
        ]
        if self._settings.demo:
            routes += [
                web.get("/you", self.get_you),
                web.get("/demo/you", self.get_you),
                web.get("/demo/you/challenges", self.get_your_challenges),
            ]
        return routes

    async def get_page(self, request: web.Request) -> web.Response:
        """``GET /``: the live page."""
        if not self._settings.page:
            raise Problem(
                "forbidden",
                "The live page is open in the demo alone, until people can sign in; machines"
                " follow /v1/stream with their token",
            )
        self._pages.own_origin(request)
        return self._pages.page("live.html")

    async def get_stream(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/stream``: every decision and outcome; ``?view=page`` is the page's digest."""
        await self._admit(request, "live", "stream", None)
        response = web.StreamResponse(
            headers={**self._pages.headers(), "Content-Type": "text/event-stream"}
        )
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            if request.query.get("view") == "page":
                await self._digest(response)
            else:
                caller = self._callers.role(request) in fetched.CALLERS
                await self._all(response, request.headers.get("Last-Event-ID"), caller=caller)
        return response

    async def get_one(self, request: web.Request) -> web.Response:
        """``GET /v1/live/{id}``: a decision with its features, records and how it ended."""
        event = request.match_info["id"]
        await self._admit(request, "decision", event, event)
        decision, outcome, features, late = await self._turns.ask(
            "MGET",
            names.decision(event),
            names.outcome(event),
            names.features(event),
            names.late(event),
        )
        if decision is None:
            raise Problem("not_found", "No decision of that id stands")
        told = orjson.loads(decision)
        if self._words is not None:
            told["factors"] = [
                {**factor, "text": self._words(factor)} for factor in told.get("factors") or ()
            ]
        return self._json(
            {
                "decision": told,
                "outcome": orjson.loads(outcome) if outcome else None,
                "features": orjson.loads(features) if features else None,
                "late": orjson.loads(late) if late else None,
                "records": await self._records(event),
            }
        )

    async def get_proof(self, request: web.Request) -> web.Response:
        """``GET /v1/proof?origin=…&index=…``: that a record is in the ledger, as C2SP has it."""
        origin, index = request.query.get("origin", ""), request.query.get("index", "")
        if not origin or not index.isdecimal() or len(index) > 15:
            raise Problem("not_found", "Needed an origin and an index of the ledger")
        await self._admit(request, "proof", f"{origin}/{index}", None)
        proof = await self._evidence.proof(origin, int(index))
        if proof is None:
            raise Problem("not_found", "That record has no proof yet; heads are signed each second")
        return web.Response(text=proof, headers=self._pages.headers())

    async def get_you(self, request: web.Request) -> web.Response:
        """``GET /you``, in the demo alone: the page of the customer that is you."""
        self._pages.own_origin(request)
        return self._pages.page("you.html")

    async def get_your_challenges(self, request: web.Request) -> web.Response:
        """``GET /demo/you/challenges``: your open questions, with the links that open them."""
        self._pages.own_origin(request)
        you = await self._turns.ask("HGET", names.META, "demo_customer")
        if you is None:
            return self._json({"customer": None, "open": []})
        customer = you.decode()
        mine = [one for one in self._board.open.values() if one.get("customer") == customer]
        return self._json(
            {
                "customer": customer[:10] + "…",
                "institution": self._settings.institution,
                "now": instant(self._clock),
                "open": [
                    {
                        "id": one["id"],
                        "url": f"/c/{one['id']}#{web_token(self._settings.web_key, one['id'])}",
                        **question(self._settings.edge_key, one),
                    }
                    for one in sorted(mine, key=lambda one: str(one["created"]))
                ],
            }
        )

    async def _admit(self, request: web.Request, what: str, which: str, event: str | None) -> None:
        """Let a caller or the open page look, and put that on record first (evidence rule 8)."""
        role = self._callers.role(request)
        if role is None:
            if not self._settings.page:
                raise Problem(
                    "unauthorized", "Needed 'Authorization: Bearer …' with a token in use"
                )
            self._pages.own_origin(request)
        if event is not None and not await self._turns.ask("EXISTS", names.decision(event)):
            raise Problem("not_found", "No decision of that id stands")
        await self._readings.first(caller(role) if role else UNSIGNED, what, which, event=event)

    async def _records(self, event: str) -> list[dict[str, Any]]:
        rows = await self._evidence.event_records(event)
        fields = ("kind", "ts", "at", "case", "case_seq", "actor", "origin", "index", "hash")
        return [{field: row[field] for field in fields if field in row} for row in rows]

    async def _digest(self, response: web.StreamResponse) -> None:
        """Twice a second what is new, as much as a person can read, and the vital signs."""
        board = self._board
        told, told_outcomes = board.seen - len(board.decisions), board.seen_outcomes - 50
        while not self._stopping.is_set():
            fresh = min(board.seen - told, NEWEST if told else len(board.decisions))
            ended = min(max(0, board.seen_outcomes - told_outcomes), len(board.outcomes))
            value = {
                "now": instant(self._clock),
                "institution": self._settings.institution,
                "demo": self._settings.demo,
                "decisions": list(board.decisions)[len(board.decisions) - fresh :],
                "skipped": board.seen - told - fresh,
                "outcomes": list(board.outcomes)[len(board.outcomes) - ended :],
                "open": board.shown_open(),
                "rate": board.per_second(),
                "decided": board.decided,
                "ended": board.ended,
                "scores": board.scores,
                "vitals": board.vitals,
            }
            told, told_outcomes = board.seen, board.seen_outcomes
            await response.write(b"event: tick\ndata: " + orjson.dumps(value) + b"\n\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)

    async def _all(self, response: web.StreamResponse, after: str | None, *, caller: bool) -> None:
        """Each decision and outcome once; who comes back says what it had last (Last-Event-ID)."""
        coming: asyncio.Queue[News] = asyncio.Queue(BACKLOG)
        lost = asyncio.Event()

        def hear(news: News) -> None:
            if news.stream != names.DECISIONS:
                return
            try:
                coming.put_nowait(news)
            except asyncio.QueueFull:
                lost.set()

        self._replies.listeners.append(hear)
        try:
            last = await self._catch_up(response, after, caller=caller)
            while not (self._stopping.is_set() or lost.is_set()):
                try:
                    news = await asyncio.wait_for(coming.get(), TICK_SECONDS * 2)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                if last is None or _after(news.entry, last):
                    await response.write(await self._event(news.entry, news.raw, caller=caller))
        finally:
            self._replies.listeners.remove(hear)

    async def _catch_up(
        self, response: web.StreamResponse, after: str | None, *, caller: bool
    ) -> str | None:
        if after is None or not _is_entry(after):
            return None
        last = after
        while True:
            try:
                rows = await self._turns.ask(
                    "XRANGE", names.DECISIONS, f"({last}", "+", "COUNT", 500
                )
            except StoreAway:
                return last
            for entry, fields in rows:
                values = fields.values() if isinstance(fields, dict) else fields[1::2]
                last = entry.decode()
                raw = next(iter(values))
                await response.write(await self._event(last, raw, caller=caller))
            if not rows:
                return last

    async def _event(self, entry: str, raw: bytes, *, caller: bool) -> bytes:
        """An entry as it is sent; to a caller the outcome as it stands, marked as handed out."""
        value = orjson.loads(raw)
        if not value.get("outcome"):
            return _sent("decision", entry, raw)
        if caller:
            stands = await fetched.outcome_for_caller(self._turns, str(value["event"]))
            if stands is not None:
                raw = orjson.dumps({**value, "outcome": orjson.loads(stands)})
        return _sent("outcome", entry, raw)

    def _json(self, value: Any) -> web.Response:
        return web.Response(
            body=orjson.dumps(value),
            content_type="application/json",
            headers=self._pages.headers(),
        )


def _sent(kind: str, entry: str, raw: bytes) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (entry.encode(), kind.encode(), raw)


def _is_entry(text: str) -> bool:
    ms, _, seq = text.partition("-")
    return ms.isdecimal() and seq.isdecimal() and len(text) <= 40


def _after(entry: str, last: str) -> bool:
    def place(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split("-"))

    return place(entry) > place(last)
