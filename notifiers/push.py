"""Web Push: the question, sealed to the customer's browser, by way of its push service.

RFC 8030 carries it, RFC 8291 seals it to the subscription, RFC 8292 says who sends it. What may be
read on a lock screen names neither amount nor payee; those lie beside it under the same seal. A
later message of a question takes the place of an earlier one (`Topic`). An endpoint that is gone
(404, 410) is unbound; a busy one is tried again within half the question's life.
"""

import base64
import hashlib
import re
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import http_ece
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from notifiers.calls import Calls, Verdict, verdict_of
from notifiers.channel import Supplies
from notifiers.errors import BadSettings
from notifiers.facts import Outgoing, parse_time
from risk.calls import check_url
from risk.push import vapid_key

PADDED_TO = 1024
CLOSING_LIVES = 3600
_TOKEN_LIVES = 12 * 3600
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")  # RFC 8030 section 5.4


class PushSettings(BaseModel):
    """Whom a push service may write to, and ``host:port`` of services inside the network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contact: str = Field(pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+)$")
    allow: tuple[str, ...] = ()


class PushChannel:
    """Pushes to all of a customer's subscriptions; one that takes it is enough."""

    kind = "push"
    many = True

    def __init__(self, settings: PushSettings, supplies: Supplies, key: bytes) -> None:
        self._settings = settings
        self._allow = frozenset(settings.allow)
        self._supplies = supplies
        self._vapid: Any = Vapid02(private_key=vapid_key(key))
        self._tokens: dict[str, tuple[float, str]] = {}
        self._calls = Calls(self.kind, supplies, self._allow)

    @classmethod
    def of(cls, supplies: Supplies) -> Self | None:
        """Make it where the settings name a contact."""
        told = supplies.settings.get(cls.kind)
        if told is None:
            return None
        if supplies.secret is None:
            raise BadSettings("channels.push: needed the data directory's secrets, got none")
        try:
            return cls(PushSettings.model_validate(told), supplies, supplies.secret("vapid"))
        except ValidationError as wrong:
            raise BadSettings(f"channels.push: {wrong.errors(include_url=False)[0]}") from wrong

    @property
    def ready(self) -> bool:
        return self._calls.ready

    def write(self, outgoing: Outgoing) -> None:
        left = outgoing.address.split("\n")
        payload = _payload(outgoing)

        async def attempt(http: aiohttp.ClientSession) -> Verdict:
            verdict = Verdict("failed", "no_subscription")
            for one in tuple(left):
                found = await self._push(http, outgoing, one, payload)
                if found.state == "failed":
                    left.remove(one)
                if verdict.state == "failed" or found.state == "taken":
                    verdict = found
            return verdict

        self._calls.begin(outgoing, attempt)

    async def run(self) -> None:
        await self._calls.run()

    async def _push(
        self, http: aiohttp.ClientSession, outgoing: Outgoing, subscription: str, payload: bytes
    ) -> Verdict:
        try:
            endpoint, body = seal_to(subscription, payload)
            check_url(endpoint, self._allow, "push")
        except ValueError:
            return Verdict("failed", "bad_subscription")
        async with http.post(
            endpoint,
            data=body,
            headers=self._headers(outgoing, endpoint),
            allow_redirects=False,
        ) as answer:
            if answer.status in {404, 410}:
                self._supplies.listener.gone(self.kind, outgoing.challenge, subscription)
                return Verdict("failed", "gone")
            return verdict_of(answer)

    def _headers(self, outgoing: Outgoing, endpoint: str) -> dict[str, str]:
        lives = CLOSING_LIVES
        if outgoing.kind == "ask":
            left = parse_time(outgoing.expires) - self._supplies.clock()
            lives = max(1, int(left.total_seconds()))
        return {
            "TTL": str(lives),
            "Urgency": "high" if outgoing.kind == "ask" else "normal",
            "Topic": _topic(outgoing.challenge),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "Authorization": self._who(endpoint),
        }

    def _who(self, endpoint: str) -> str:
        """Say who sends: a token for the origin of the endpoint, kept for some hours."""
        parts = urlsplit(endpoint)
        origin = f"{parts.scheme}://{parts.netloc}"
        now = self._supplies.clock().timestamp()
        until, token = self._tokens.get(origin, (0.0, ""))
        if now > until - _TOKEN_LIVES / 2:
            until = now + _TOKEN_LIVES
            claims = {"aud": origin, "sub": self._settings.contact, "exp": int(until)}
            token = str(self._vapid.sign(claims)["Authorization"])
            if len(self._tokens) > 1000:
                self._tokens.clear()
            self._tokens[origin] = (until, token)
        return token


def seal_to(subscription: str, payload: bytes) -> tuple[str, bytes]:
    """Seal to a subscription (JSON as browsers give it); ValueError where it is none."""
    told = orjson.loads(subscription)
    try:
        keys = told["keys"]
        point, auth = _bytes(keys["p256dh"]), _bytes(keys["auth"])
        endpoint = str(told["endpoint"])
    except (KeyError, TypeError, AttributeError) as wrong:
        raise ValueError("subscription: needed endpoint, keys.p256dh and keys.auth") from wrong
    try:
        sealed: bytes = http_ece.encrypt(
            payload,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=point,
            auth_secret=auth,
            version="aes128gcm",
        )
    except http_ece.ECEException as wrong:
        raise ValueError(f"subscription: its keys are no keys: {wrong}") from wrong
    return endpoint, sealed


def _payload(outgoing: Outgoing) -> bytes:
    """What the service worker gets; padded, so that its length tells nothing of the payee."""
    told: dict[str, Any] = {
        "v": 1,
        "op": outgoing.kind,
        "id": outgoing.challenge,
        "language": outgoing.language,
        "title": outgoing.institution,
        "body": outgoing.notice,
        "reference": outgoing.reference,
    }
    if outgoing.kind == "ask":
        told |= {
            "link": outgoing.link,
            "expires": outgoing.expires,
            "amount": outgoing.amount,
            "currency": outgoing.currency,
            "payee": outgoing.payee,
            "bind": outgoing.bind,
        }
    plain = orjson.dumps(told)
    return plain + b" " * (-len(plain) % PADDED_TO)


def _topic(challenge: str) -> str:
    if _TOPIC.fullmatch(challenge):
        return challenge
    return hashlib.sha256(challenge.encode()).hexdigest()[:32]


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
