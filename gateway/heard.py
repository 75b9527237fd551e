"""How does an answer by short message or telephone come in? Signed, from the bank's own gateway.

::

    POST /v1/replies --signature, time--> publish, sealed --> the notifier hears, scrubs, keeps
         <-- 200 {reply} -- what is said to it, once the outbox has it --+

Nothing of a text is kept here: it is published, and publications are stored nowhere. Without a
notifier that hears, the answer is 503, and the bank's gateway says it again under the same
``webhook-id``: it counts once.
"""

import asyncio
import os
from typing import Annotated, Literal

import orjson
from aiohttp import web
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gateway.callers import body_of, read_json
from gateway.ports import GatewayPorts, GatewaySettings
from gateway.problems import Problem
from gateway.turns import Turns
from risk import events, names
from risk.calls import is_signed
from risk.privacy import NONCE_BYTES, SealBroken, open_sealed, seal

LONGEST_BODY = 8 * 1024
HEARD_WITHIN_SECONDS = 3.0
_LOOKS_EVERY_SECONDS = 0.01
_DAY_SECONDS = 86_400
_LONGEST_ID = 128


class Reply(BaseModel):
    """What the bank's gateway passes on: a text, or that one of our messages was delivered."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    channel: Literal["sms", "voice"]
    sender: Annotated[str, StringConstraints(pattern=r"^\+[1-9]\d{6,14}$"), Field(alias="from")]
    text: Annotated[str, StringConstraints(max_length=2000)] | None = None
    delivered: Annotated[str, StringConstraints(max_length=64)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Reply":
        if (self.text is None) == (self.delivered is None):
            raise ValueError("needed either text or delivered (a challenge's id)")
        return self


class Heard:
    """Takes replies of the bank's own gateway; no such address where no key is set up."""

    def __init__(self, settings: GatewaySettings, turns: Turns, ports: GatewayPorts) -> None:
        self._key = settings.replies_key
        self._seal_key = settings.edge_key
        self._turns = turns
        self._clock = ports.clock

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/replies", self.post)] if self._key else []

    async def post(self, request: web.Request) -> web.Response:
        """``POST /v1/replies``: pass it to who hears; gives what is to be said to it."""
        body = await body_of(request, "application/json", limit=LONGEST_BODY)
        name = self._signed(request, body)
        reply = _read(body)
        received = events.rfc3339(self._clock())
        # The same id once more was received when it first came.
        first = await self._turns.ask(
            "SET", f"{names.HEARD}:at:{name}", received, "NX", "EX", _DAY_SECONDS
        )
        if not first:
            done = await self._done(name)
            if done is not None:
                return _told(done)
            received = (await self._turns.ask("GET", f"{names.HEARD}:at:{name}")).decode()
        told = orjson.dumps(
            {
                "id": name,
                "from": reply.sender,
                "text": reply.text,
                "delivered": reply.delivered,
                "received": received,
            }
        )
        sealed = seal(self._seal_key, told, names.HEARD.encode(), os.urandom(NONCE_BYTES))
        if not await self._turns.ask("PUBLISH", names.heard(reply.channel), sealed):
            raise Problem("away", "Nobody hears this channel now; say it again.")
        done = await self._until_done(name)
        if done is None:
            raise Problem("away", "It was not taken in time; say it again.")
        return _told(done)

    def _signed(self, request: web.Request, body: bytes) -> str:
        header = request.headers.get
        name = header("webhook-id", "")
        signed = len(name) <= _LONGEST_ID and is_signed(
            self._key,
            name,
            header("webhook-timestamp", ""),
            header("webhook-signature", ""),
            body,
            self._clock() // 1_000_000,
        )
        if not signed:
            raise Problem(
                "unauthorized",
                "Needed webhook-id, webhook-timestamp (within 5 minutes) and webhook-signature"
                " (Standard Webhooks) under the key sms-in",
            )
        return name

    async def _until_done(self, name: str) -> bytes | None:
        loop = asyncio.get_running_loop()
        end = loop.time() + HEARD_WITHIN_SECONDS
        while loop.time() < end:
            done = await self._done(name)
            if done is not None:
                return done
            await asyncio.sleep(_LOOKS_EVERY_SECONDS)
        return None

    async def _done(self, name: str) -> bytes | None:
        sealed = await self._turns.ask("GET", names.heard_done(name))
        if sealed is None:
            return None
        try:
            return open_sealed(self._seal_key, sealed.decode(), names.HEARD.encode())
        except SealBroken:
            return None


def _told(done: bytes) -> web.Response:
    return web.Response(body=done, content_type="application/json")


def _read(body: bytes) -> Reply:
    try:
        return Reply.model_validate(read_json(body))
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
