"""How is a question answered on a page? With a token that opens it once, and two equal buttons.

::

    /c/<id>#<token>   static page; the token stays in the browser (a fragment is never sent)
         |  POST …/session {token}    own origin, JSON          --> cookie, once
         |  GET  /v1/challenges/<id>  cookie                    --> amount, payee, deadline
         |  POST …/answer {decision}  cookie, own origin, JSON  --> rb:answers

GET never answers: previews fetch. The page decides nothing; the customer's shard says what an
answer was worth, so even one that comes too late is passed on before its state is told.
"""

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gateway.callers import json_of
from gateway.edge import Edge
from gateway.foreign import masked, shown
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.ports import GatewayPorts, GatewaySettings
from gateway.problems import Problem
from gateway.records import record
from gateway.replies import Replies
from gateway.turns import Turns
from risk import events, names
from risk.privacy import SealBroken, open_sealed, web_token

SCRIPT = resources.files("gateway").joinpath("answer.lua").read_text()
COOKIE = "rb_challenge"
SETTLE_SECONDS = 2.0
_DAY_SECONDS = 86_400


class WebAnswer(BaseModel):
    """What the page sends: a confirm, or a deny with its reason."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    decision: Literal["confirm", "deny"]
    reason: Literal["not_me", "cancel"] | None = None

    @model_validator(mode="after")
    def _a_reason_is_for_a_deny(self) -> "WebAnswer":
        if self.decision == "confirm" and self.reason is not None:
            raise ValueError("needed no reason with a confirm")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """A challenge as it stands: what was asked, and how it ended if it did."""

    ask: dict[str, Any]
    open: bool
    session: bytes | None
    outcome: dict[str, Any] | None

    @property
    def state(self) -> str:
        if self.outcome is not None:
            return str(self.outcome.get("state", "closed"))
        return "open" if self.open else "closing"


class Challenges:
    """The pages of open challenges, and the answers given there."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        turns: Turns,
        replies: Replies,
        edge: Edge,
        pages: Pages,
        ports: GatewayPorts,
        metrics: Metrics,
    ) -> None:
        self._turns = turns
        self._replies = replies
        self._edge = edge
        self._pages = pages
        self._clock = ports.clock
        self._metrics = metrics
        self._web_key = settings.web_key
        self._edge_key = settings.edge_key
        self._institution = settings.institution
        self._longest = settings.longest_wait.total_seconds()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/c/{id}", self.get_page),
            web.post("/v1/challenges/{id}/session", self.post_session),
            web.get("/v1/challenges/{id}", self.get_challenge),
            web.post("/v1/challenges/{id}/answer", self.post_answer),
        ]

    async def get_page(self, request: web.Request) -> web.Response:
        """``GET /c/{id}``: the same page for every challenge; it knows nothing yet."""
        self._pages.own_origin(request)
        return self._pages.page("challenge.html")

    async def post_session(self, request: web.Request) -> web.Response:
        """``POST …/session``: exchange the link's token, once, for a cookie of this browser."""
        self._pages.need_own(request)
        challenge = request.match_info["id"]
        raw = await json_of(request)
        token = raw.get("token") if isinstance(raw, dict) else None
        if not isinstance(token, str):
            raise events.Refused([events.Problem("token", "a string", type(token).__name__)])
        right = web_token(self._web_key, challenge)
        if not hmac.compare_digest(right.encode(), token.encode()):
            raise Problem("unauthorized", "The link is not complete, or not of this challenge")
        asked = await self._asked(challenge)
        self._refuse_closed(asked)
        secret = secrets.token_urlsafe(32)
        digest = _digest(secret)
        expires_us = events.micros(datetime.fromisoformat(asked.ask["expires"]))
        seconds = max(60, (expires_us - self._clock()) // 1_000_000) + _DAY_SECONDS
        key = _session_key(challenge)
        first = await self._turns.ask("SET", key, digest, "NX", "EX", seconds)
        if not first and await self._turns.ask("GET", key) != digest:
            raise Problem(
                "already_opened",
                "This link was opened before, in another browser: answer there, or in the chat.",
            )
        response = self._json({"state": asked.state}, status=201)
        response.set_cookie(
            COOKIE,
            secret,
            path=f"/v1/challenges/{challenge}",
            max_age=seconds,
            httponly=True,
            samesite="Strict",
            secure=self._pages.https,
        )
        return response

    async def get_challenge(self, request: web.Request) -> web.Response:
        """``GET /v1/challenges/{id}``: what is asked; 410 and the end once it is closed."""
        self._pages.own_origin(request)
        challenge = request.match_info["id"]
        asked = await self._session(request, challenge)
        self._refuse_closed(asked)
        return self._json(await self._shown(challenge, asked))

    async def post_answer(self, request: web.Request) -> web.Response:
        """``POST …/answer``: pass the answer on; give the state that it led to."""
        self._pages.need_own(request)
        challenge = request.match_info["id"]
        answer = _read(await json_of(request))
        asked = await self._session(request, challenge)
        now_us = self._clock()
        with self._replies.waiting(challenge) as closing:
            said = answer.decision if answer.reason is None else f"deny:{answer.reason}"
            verdict, is_open = await self._turns.run(
                "answer",
                f"rb:web:given:{challenge}",
                said,
                7 * _DAY_SECONDS,
                names.OPEN,
                challenge,
                names.ANSWERS,
                orjson.dumps(self._answer(challenge, asked, answer, now_us)),
                names.AUDIT,
                orjson.dumps([self._record(challenge, asked, answer, said, now_us)]),
            )
            if verdict == b"new":
                self._metrics.answers.labels(answer.decision).inc()
            if is_open:
                try:
                    async with asyncio.timeout(SETTLE_SECONDS):
                        await closing
                except TimeoutError:
                    return self._json({"state": "received"}, status=202)
        return self._ended(await self._asked(challenge), answer, was_open=bool(is_open))

    def _ended(self, asked: Asked, answer: WebAnswer, *, was_open: bool) -> web.Response:
        """What the answer led to; 410 where the challenge had ended otherwise before."""
        outcome = asked.outcome or {}
        body = {"state": asked.state, "decision": outcome.get("decision"), "at": outcome.get("at")}
        agrees = asked.state == {"confirm": "confirmed", "deny": "denied"}[answer.decision]
        if was_open or agrees:
            return self._json(body)
        if asked.state == "confirmed":  # and now a deny: the safe direction, never turned away
            return self._json({**body, "recorded": True}, status=202)
        raise Problem("closed", "The challenge had ended before; your answer is on record.", **body)

    async def _session(self, request: web.Request, challenge: str) -> Asked:
        secret = request.cookies.get(COOKIE)
        if secret is None:
            raise Problem("unauthorized", "Open the link from your message first")
        asked = await self._asked(challenge)
        if asked.session is None or not hmac.compare_digest(asked.session, _digest(secret)):
            raise Problem("unauthorized", "This browser did not open the link of this challenge")
        return asked

    async def _asked(self, challenge: str) -> Asked:
        raw, score, session = await asyncio.gather(
            self._turns.ask("GET", names.challenge(challenge)),
            self._turns.ask("ZSCORE", names.OPEN, challenge),
            self._turns.ask("GET", _session_key(challenge)),
        )
        if raw is None:
            raise Problem("not_found", "No challenge of that id is known")
        ask = orjson.loads(raw)
        outcome = await self._turns.ask("GET", names.outcome(ask["event"]))
        return Asked(ask, score is not None, session, orjson.loads(outcome) if outcome else None)

    def _refuse_closed(self, asked: Asked) -> None:
        if asked.open and asked.outcome is None:
            return
        outcome = asked.outcome or {}
        raise Problem(
            "closed",
            "The challenge is closed; nothing more can be answered here.",
            state=asked.state,
            decision=outcome.get("decision"),
            at=outcome.get("at"),
        )

    async def _shown(self, challenge: str, asked: Asked) -> dict[str, Any]:
        """What the customer sees, and nobody else."""
        ask = asked.ask
        stored = await self._turns.ask("GET", names.customer(ask["customer"]))
        customer = orjson.loads(stored) if stored else {}
        return {
            "id": challenge,
            "state": asked.state,
            "institution": self._institution,
            "language": customer.get("language"),
            "zone": customer.get("zone"),
            **question(self._edge_key, ask),
            "now": events.rfc3339(self._clock()),
        }

    def _answer(
        self, challenge: str, asked: Asked, answer: WebAnswer, now_us: int
    ) -> dict[str, Any]:
        return {
            "v": 1,
            "kind": "answer",
            "challenge": challenge,
            "event": asked.ask["event"],
            "customer": asked.ask["customer"],
            "decision": answer.decision,
            "reason": answer.reason,
            "layer": "web",
            "channel": "web",
            "received": events.rfc3339(now_us),
            "delayed": False,
            "strength": "app",
            "evidence": {"session": (asked.session or b"").decode()[:16]},
        }

    def _record(
        self, challenge: str, asked: Asked, answer: WebAnswer, said: str, now_us: int
    ) -> dict[str, Any]:
        customer, event = asked.ask["customer"], asked.ask["event"]
        return record(
            "answer",
            f"answers/{challenge}/answer/web.{said}",
            tenant=self._edge.tenant,
            case=asked.ask.get("case") or names.case(event),
            event=event,
            subject=customer,
            actor={"type": "customer", "id": customer, "role": "customer"},
            at_us=now_us,
            body={
                "challenge": challenge,
                "decision": answer.decision,
                "reason": answer.reason,
                "layer": "web",
                "channel": "web",
                "received": events.rfc3339(now_us),
            },
            strength="app",
        )

    def _json(self, value: Any, status: int = 200) -> web.Response:
        return web.Response(
            status=status,
            body=orjson.dumps(value),
            content_type="application/json",
            headers=self._pages.headers(),
        )


def question(edge_key: bytes, ask: dict[str, Any]) -> dict[str, Any]:
    """A question in clear, for the customer that it is put to: the payee is unsealed here."""
    try:
        payee = orjson.loads(open_sealed(edge_key, ask["payee"], b"payee"))
    except (SealBroken, KeyError, TypeError):
        payee = {}
    return {
        "amount": ask["amount"],
        "currency": ask["currency"],
        "payee": {
            "name": shown(payee.get("name") or ""),
            "account": masked(payee.get("account") or ""),
        },
        "kind": ask.get("kind"),
        "created": ask["created"],
        "expires": ask["expires"],
    }


def _read(raw: Any) -> WebAnswer:
    try:
        return WebAnswer.model_validate(raw)
    except ValidationError as wrong:
        raise events.Refused(
            [
                events.Problem(
                    ".".join(map(str, error["loc"])) or "body",
                    error["msg"].removeprefix("Value error, needed "),
                    "nothing" if error["type"] == "missing" else type(error["input"]).__name__,
                )
                for error in wrong.errors(include_url=False)
            ]
        ) from None


def _session_key(challenge: str) -> str:
    return f"rb:web:{challenge}"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).hexdigest().encode()
