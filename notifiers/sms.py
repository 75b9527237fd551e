"""SMS and voice: a signed call to the bank's own gateway, and what it hears comes back signed.

::

    write --POST {type: challenge.ask}--> the bank's gateway --> telephone
    heard <--rb:heard:sms, sealed-- our HTTP gateway <--POST /v1/replies-- the bank's gateway

Both ways are Standard Webhooks, each with a key of its own. `webhook-id` is the message's key and
stays the same over all attempts: a receiver sends each id once. What customers type passes through
Redis by publication alone, which keeps nothing, and under a seal; it is scrubbed before the outbox
sees it. The sender of a reply is answered once the outbox has it.
"""

import asyncio
import logging
import os
from typing import Any, Self

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from redis.exceptions import RedisError

from notifiers import ending
from notifiers.calls import Calls, Verdict, verdict_of
from notifiers.channel import Supplies
from notifiers.errors import BadSettings
from notifiers.facts import Heard, HeardReceipt, HeardText, Outgoing, parse_time, write_time
from risk import names
from risk.calls import check_url, signature
from risk.privacy import NONCE_BYTES, SealBroken, open_sealed, seal

log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400


class SmsSettings(BaseModel):
    """Where the bank's own gateway takes messages; ``host:port`` of one inside the network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    allow: tuple[str, ...] = ()


class SmsChannel:
    """Short messages: the whole question with its code, and answers as text (layer E)."""

    kind = "sms"
    spoken = True

    def __init__(self, settings: SmsSettings, supplies: Supplies, key: bytes) -> None:
        self._settings = settings
        self._supplies = supplies
        self._key = key
        self._calls = Calls(self.kind, supplies, frozenset(settings.allow))
        self._hearing: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, supplies: Supplies) -> Self | None:
        """Make it where the settings name a URL."""
        told = supplies.settings.get(cls.kind)
        if told is None:
            return None
        if supplies.secret is None:
            raise BadSettings(f"channels.{cls.kind}: needed the data directory's secrets, got none")
        try:
            settings = SmsSettings.model_validate(told)
            check_url(settings.url, settings.allow, f"channels.{cls.kind}")
        except ValidationError as wrong:
            first = wrong.errors(include_url=False)[0]
            raise BadSettings(f"channels.{cls.kind}: {first['loc']}: {first['msg']}") from wrong
        except ValueError as wrong:
            raise BadSettings(str(wrong)) from wrong
        return cls(settings, supplies, supplies.secret("sms-out"))

    @property
    def ready(self) -> bool:
        return self._calls.ready

    def write(self, outgoing: Outgoing) -> None:
        body = self._body(outgoing)

        async def attempt(http: aiohttp.ClientSession) -> Verdict:
            headers = self._signed(outgoing.key, body)
            async with http.post(
                self._settings.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return verdict_of(answer)

        self._calls.begin(outgoing, attempt)

    async def run(self) -> None:
        await ending.first(
            [asyncio.create_task(self._calls.run()), asyncio.create_task(self._listen())]
        )

    def _body(self, outgoing: Outgoing) -> bytes:
        return orjson.dumps(
            {
                "v": 1,
                "type": f"challenge.{outgoing.kind}",
                "channel": self.kind,
                "challenge": outgoing.challenge,
                "to": outgoing.address,
                "language": outgoing.language,
                "text": outgoing.body,
                "answers": [{"say": one.value, "label": one.label} for one in outgoing.buttons],
                "expires": outgoing.expires,
            }
        )

    def _signed(self, name: str, body: bytes) -> dict[str, str]:
        seconds = int(self._supplies.clock().timestamp())
        return {
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(seconds),
            "webhook-signature": signature(self._key, name, seconds, body),
        }

    # -- what comes back -------------------------------------------------------------------

    async def _listen(self) -> None:
        """Hear what the HTTP gateway publishes, until cancelled."""
        try:
            while True:
                try:
                    async with self._supplies.redis.pubsub() as heard:
                        await heard.subscribe(names.heard(self.kind))
                        while True:
                            got = await heard.get_message(
                                ignore_subscribe_messages=True, timeout=5.0
                            )
                            if got is not None:
                                self._begin(got["data"])
                except (RedisError, OSError, TimeoutError) as away:
                    log.warning("%s: Redis: %s; listening again", self.kind, type(away).__name__)
                    await asyncio.sleep(0.2)
        finally:
            await ending.end(self._hearing)

    def _begin(self, sealed: bytes) -> None:
        try:
            told = orjson.loads(
                open_sealed(self._supplies.seal_key, sealed.decode(), names.HEARD.encode())
            )
        except (SealBroken, ValueError):
            log.warning("%s: something that isn't ours was published", self.kind)
            return
        if self._supplies.may_write():  # else the next leader hears it: nobody has said that we did
            task = asyncio.create_task(self._hear(told))
            self._hearing.add(task)
            task.add_done_callback(self._heard)

    async def _hear(self, told: dict[str, Any]) -> None:
        reply = await self._supplies.listener.heard(self._read(told))
        done = orjson.dumps({"reply": reply or "", "at": write_time(self._supplies.clock())})
        sealed = seal(self._supplies.seal_key, done, names.HEARD.encode(), os.urandom(NONCE_BYTES))
        await self._supplies.redis.set(names.heard_done(told["id"]), sealed, ex=_DAY_SECONDS)

    def _read(self, told: dict[str, Any]) -> Heard:
        common: dict[str, Any] = {
            "channel": self.kind,
            "address": told["from"],
            "bare": told["from"],
            "stanza": told["id"],
            "received": parse_time(told["received"]),
        }
        if told.get("delivered"):
            return HeardReceipt(**common, challenge=told["delivered"])
        return HeardText(**common, text=told["text"])

    def _heard(self, task: "asyncio.Task[None]") -> None:
        self._hearing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: a reply was not taken: %s", self.kind, type(task.exception()).__name__)


class VoiceChannel(SmsChannel):
    """A call: the same words read out; the bank's voice system posts what was said or keyed in."""

    kind = "voice"
