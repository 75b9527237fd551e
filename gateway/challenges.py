"""How is a question answered on a page? With a token that opens it once, and two equal buttons.

::

    /c/<id>#<token>   static page; the token stays in the browser (a fragment is never sent)
         |  POST …/session {token}    own origin, JSON          --> cookie, once
         |  GET  /v1/challenges/<id>  cookie                    --> amount, payee, deadline
         |  POST …/signing            cookie, own origin        --> statements to be signed
         |  POST …/answer {decision, assertion?}  cookie, own origin, JSON  --> rb:answers
    a device of the customer:
         |  POST …/signed {jws}       the signature says who     --> rb:answers

GET never answers: previews fetch. The page decides nothing; the customer's shard says what an
answer was worth, so even one that comes too late is passed on before its state is told.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.answers import Answers, Given
from gateway.callers import json_of
from gateway.devices import Credential, Credentials, ready
from gateway.foreign import masked, shown
from gateway.pages import Pages
from gateway.passkeys import Passkeys, rp_of
from gateway.ports import GatewayPorts, GatewaySettings
from gateway.problems import Problem
from gateway.replies import Replies
from gateway.turns import Turns
from risk import events, names, signed
from risk.challenge import FINAL_DECISION
from risk.privacy import SealBroken, open_sealed, web_token
from risk.signed import Unsigned

COOKIE = "rb_challenge"
SETTLE_SECONDS = 2.0
HELD_MS = 2_000
_IN_VAIN = {
    "unsigned": (
        "signature_needed",
        "A confirm of this amount must be signed with a passkey. The question is still open.",
    ),
    "fresh": (
        "fresh_binding",
        "This was bound a short while ago: it may deny, and not confirm yet. The question is open.",
    ),
    "frozen": (
        "frozen",
        "A confirm from here was denied later: confirms count no more until the bank has looked.",
    ),
}
_DAY_SECONDS = 86_400


class WebAnswer(BaseModel):
    """What the page sends: a confirm or a deny with its reason, and a passkey's word for it.

    A confirm may say ``duress``; what is signed is the confirm. ``held`` is for how many
    milliseconds its button was pressed: of whom has a duress word, a long press says the same.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    decision: Literal["confirm", "deny"]
    reason: Literal["not_me", "cancel", "duress"] | None = None
    assertion: dict[str, Any] | None = None
    held: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _a_reason_is_for_a_deny(self) -> "WebAnswer":
        if self.decision == "confirm" and self.reason not in (None, "duress"):
            raise ValueError("needed no reason with a confirm")
        if self.decision == "deny" and self.reason == "duress":
            raise ValueError("needed not_me or cancel, or no reason, with a deny")
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

    def end(self) -> dict[str, Any]:
        """How it ended, as its customer may see it: under duress the same as ever."""
        outcome = self.outcome or {}
        decision = FINAL_DECISION.get(self.state, outcome.get("decision"))
        return {"state": self.state, "decision": decision, "at": outcome.get("at")}


class Challenges:
    """The pages of open challenges, and the answers given there."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        turns: Turns,
        replies: Replies,
        answers: Answers,
        credentials: Credentials,
        passkeys: Passkeys,
        pages: Pages,
        ports: GatewayPorts,
    ) -> None:
        self._turns = turns
        self._replies = replies
        self._answers = answers
        self._credentials = credentials
        self._passkeys = passkeys
        self._pages = pages
        self._clock = ports.clock
        self._web_key = settings.web_key
        self._edge_key = settings.edge_key
        self._institution = settings.institution
        self._longest = settings.longest_wait.total_seconds()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/c/{id}", self.get_page),
            web.post("/v1/challenges/{id}/session", self.post_session),
            web.get("/v1/challenges/{id}", self.get_challenge),
            web.post("/v1/challenges/{id}/signing", self.post_signing),
            web.post("/v1/challenges/{id}/answer", self.post_answer),
            web.post("/v1/challenges/{id}/signed", self.post_signed),
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
        origin = self._pages.own_origin(request)
        challenge = request.match_info["id"]
        asked = await self._session(request, challenge)
        self._refuse_closed(asked)
        return self._json(await self._shown(challenge, asked, origin))

    async def post_signing(self, request: web.Request) -> web.Response:
        """``POST …/signing``: what a passkey of this customer may sign, one statement an answer."""
        self._pages.need_own(request)
        await json_of(request)
        challenge = request.match_info["id"]
        asked = await self._session(request, challenge)
        self._refuse_closed(asked)
        rp_id = rp_of(self._pages.own_origin(request))
        keys = await self._passkeys_of(asked.ask["customer"], rp_id)
        if not keys:
            raise Problem("no_passkey", "No passkey of this customer is enrolled for this page.")
        expires_us = events.parse_us(asked.ask["expires"])
        seconds = max(60, (expires_us - self._clock()) // 1_000_000)
        told = await self._passkeys.prepare(self._facts(asked.ask), keys, seconds)
        return self._json({**told, "rp_id": rp_id})

    async def post_answer(self, request: web.Request) -> web.Response:
        """``POST …/answer``: pass the answer on; give the state that it led to."""
        self._pages.need_own(request)
        challenge = request.match_info["id"]
        raw = await json_of(request)
        answer = _read(raw)
        asked = await self._session(request, challenge)
        given = Given(
            ask=asked.ask,
            decision=answer.decision,
            reason=await self._reason(answer, asked.ask["customer"]),
            channel="web",
            binding=await self._page_binding(asked.ask["customer"]),
            session=(asked.session or b"").decode()[:16],
        )
        if answer.assertion is None:
            return await self._pass_on(given)
        origin = self._pages.own_origin(request)
        reason = answer.reason if answer.decision == "deny" else None
        try:
            facts = self._facts(asked.ask)
            found = await self._passkeys.check(
                answer.assertion, facts, answer.decision, reason, origin
            )
            given = replace(given, signature=found, binding=found.credential.binding())
            return await self._pass_on(given)
        except Unsigned as refused:
            raise await self._answers.refuse(
                asked.ask, refused, raw, "web", self._clock()
            ) from refused

    async def _reason(self, answer: WebAnswer, customer: str) -> str | None:
        """The reason of an answer; asked of Redis for all alike, so that it takes as long."""
        agreed = await self._turns.ask("EXISTS", names.duress(customer))
        if answer.decision == "confirm" and agreed and answer.held >= HELD_MS:
            return "duress"
        return answer.reason

    async def post_signed(self, request: web.Request) -> web.Response:
        """``POST …/signed {jws}``: an answer that a device key of the customer has signed."""
        raw = await json_of(request)
        compact = raw.get("jws") if isinstance(raw, dict) else None
        if not isinstance(compact, str):
            raise events.Refused([events.Problem("jws", "a string", type(compact).__name__)])
        asked = await self._asked(request.match_info["id"])
        try:
            facts = self._facts(asked.ask)
            decision, reason, found = await self._credentials.check_jws(compact, facts)
            given = Given(
                asked.ask, decision, reason, "app", found.credential.binding(), signature=found
            )
            return await self._pass_on(given)
        except Unsigned as refused:
            raise await self._answers.refuse(
                asked.ask, refused, raw, "app", self._clock()
            ) from refused

    async def _pass_on(self, given: Given) -> web.Response:
        """Pass an answer on, and wait a little for what comes of it."""
        challenge, is_open, told = given.ask["id"], False, None
        notice = names.notice(challenge, given.channel)
        before = await self._turns.ask("GET", notice)
        if before is not None and before.decode() in _IN_VAIN:  # told while nobody waited for it
            await self._turns.ask("DEL", notice)
            await self._answers.took_nothing(given)
        until = asyncio.get_running_loop().time() + SETTLE_SECONDS
        while told is None or told.get("op") == "notice":
            with self._replies.waiting(challenge) as news:
                if told is None:
                    is_open = await self._answers.pass_on(given, self._clock())
                    if not is_open:
                        break
                try:
                    async with asyncio.timeout_at(until):
                        told = (await news).value
                except TimeoutError:
                    return self._json({"state": "received"}, status=202)
            if told.get("op") == "notice" and told.get("channel") == given.channel:
                in_vain = _IN_VAIN.get(str(told.get("say")))
                if in_vain is not None:
                    await self._answers.took_nothing(given)
                    raise Problem(*in_vain)
        return self._ended(await self._asked(challenge), given, was_open=is_open)

    def _ended(self, asked: Asked, answer: Given, *, was_open: bool) -> web.Response:
        """What the answer led to; 410 where the challenge had ended otherwise before."""
        body = asked.end()
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
        raise Problem(
            "closed", "The challenge is closed; nothing more can be answered here.", **asked.end()
        )

    async def _customer(self, customer: str) -> dict[str, Any]:
        stored = await self._turns.ask("GET", names.customer(customer))
        found: dict[str, Any] = orjson.loads(stored) if stored else {}
        return found

    async def _page_binding(self, customer: str) -> dict[str, Any] | None:
        """By what the page's link was had: the web channel, else the youngest that may carry it."""
        channels = [c for c in (await self._customer(customer)).get("channels", ()) if "bound" in c]
        own = [channel for channel in channels if channel["kind"] == "web"] or channels
        if not own:
            return None
        return binding_of(max(own, key=lambda channel: str(channel["bound"])))

    async def _passkeys_of(self, customer: str, rp_id: str) -> list[Credential]:
        return ready(await self._credentials.of(customer), "passkey", rp_id)

    def _facts(self, ask: dict[str, Any]) -> dict[str, Any]:
        """The question's facts in clear, of which all that is shown and signed is made."""
        return signed.question(ask, _payee(self._edge_key, ask))

    async def _shown(self, challenge: str, asked: Asked, origin: str) -> dict[str, Any]:
        """What the customer sees, and nobody else."""
        ask = asked.ask
        customer = await self._customer(ask["customer"])
        keys = await self._passkeys_of(ask["customer"], rp_of(origin))
        told = await self._turns.ask("GET", names.notice(challenge, "web"))
        return {
            "id": challenge,
            "state": asked.state,
            "institution": self._institution,
            "language": customer.get("language"),
            "zone": customer.get("zone"),
            **question(self._edge_key, ask),
            "must_sign": bool(ask.get("must_sign")),
            "can_sign": bool(keys),
            "notice": told.decode() if told else None,
            "now": events.rfc3339(self._clock()),
        }

    def _json(self, value: Any, status: int = 200) -> web.Response:
        return web.Response(
            status=status,
            body=orjson.dumps(value),
            content_type="application/json",
            headers=self._pages.headers(),
        )


def question(edge_key: bytes, ask: dict[str, Any]) -> dict[str, Any]:
    """A question in clear, for the customer that it is put to, made of what would be signed."""
    facts = signed.question(ask, _payee(edge_key, ask))
    return {
        "amount": facts["amount"],
        "currency": facts["currency"],
        "payee": {"name": shown(facts["payee"]), "account": masked(facts["payee_account"])},
        "kind": ask.get("kind"),
        "created": ask["created"],
        "expires": ask["expires"],
    }


def _payee(edge_key: bytes, ask: dict[str, Any]) -> dict[str, Any]:
    try:
        found = orjson.loads(open_sealed(edge_key, ask["payee"], b"payee"))
    except (SealBroken, KeyError, TypeError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def binding_of(channel: Mapping[str, Any]) -> dict[str, Any]:
    """A customer's channel, as an answer names its binding."""
    return {
        "id": f"{channel['kind']}/{channel.get('token', '')}",
        "bound": channel["bound"],
        "waits": channel.get("waits", True),
        "verified": bool(channel.get("verified")),
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
