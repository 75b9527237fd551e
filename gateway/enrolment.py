"""How does a customer come to a key? By a link that works once, or with what the bank was given.

::

    /e/<binding>#<token>   static page; the token stays in the browser
         |  POST …/options {token}              --> what the authenticator is asked for
         |  POST …/credential {token, credential} --> credential.enrolled, told to older channels
"""

import hashlib
import hmac
import os
import secrets
from importlib import resources
from typing import Any

import orjson
from aiohttp import web

from gateway.callers import json_of
from gateway.customers import Customers, telling_of
from gateway.devices import Credential, Credentials
from gateway.pages import Pages
from gateway.passkeys import Passkeys
from gateway.pending import KEPT_SECONDS, OPEN_SECONDS, Pending, json_answer, key
from gateway.problems import Problem
from gateway.turns import Turns
from risk import events, names, signed
from risk.signed import Unsigned

SCRIPT = resources.files("gateway").joinpath("bind.lua").read_text()


class Enrolment:
    """Makes passkeys and device keys a customer's."""

    def __init__(
        self,
        turns: Turns,
        pages: Pages,
        pending: Pending,
        customers: Customers,
        credentials: Credentials,
        passkeys: Passkeys,
    ) -> None:
        self._turns, self._pages, self._pending = turns, pages, pending
        self._customers, self._credentials, self._passkeys = customers, credentials, passkeys

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/e/{binding}", self.get_page),
            web.post("/v1/bindings/{binding}/options", self.post_options),
            web.post("/v1/bindings/{binding}/credential", self.post_credential),
        ]

    async def open(self, binding: dict[str, Any], now_us: int) -> dict[str, str]:
        """Open the page for one passkey; gives its link, and until when it works."""
        token = secrets.token_urlsafe(24)
        opened = {**binding, "state": "open", "token": _digest(token)}
        await self._pending.put(opened, OPEN_SECONDS)
        await self._pending.note(opened, "step", "open", now_us)
        expires = events.rfc3339(now_us + OPEN_SECONDS * 1_000_000)
        return {"link": f"/e/{binding['id']}#{token}", "expires": expires}

    async def get_page(self, request: web.Request) -> web.Response:
        """``GET /e/{id}``: the same page for every enrolment; it knows nothing yet."""
        self._pages.own_origin(request)
        return self._pages.page("enrol.html")

    async def post_options(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/options``: what the authenticator is asked for."""
        self._pages.need_own(request)
        _, binding, _ = await self._opened_link(request)
        challenge = os.urandom(32)
        await self._turns.ask("SET", key(binding["id"]) + ":asked", challenge.hex(), "EX", 600)
        known = [
            one for one in await self._credentials.of(binding["customer"]) if one.kind == "passkey"
        ]
        origin = self._pages.own_origin(request)
        options = self._passkeys.new(origin, binding["customer"], challenge, known)
        return json_answer({"options": options}, 200, self._pages)

    async def post_credential(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/credential``: the new passkey; its link is spent with it."""
        self._pages.need_own(request)
        raw, binding, body = await self._opened_link(request)
        asked = await self._turns.ask("GETDEL", key(binding["id"]) + ":asked")
        now_us, origin = self._pending.clock(), self._pages.own_origin(request)
        try:
            if asked is None:
                raise Unsigned("replayed", "needed the options of this link first")
            made, count = self._passkeys.registered(
                body.get("credential"), origin, binding["customer"], bytes.fromhex(asked.decode())
            )
        except Unsigned as refused:
            await self._pending.note(binding, "access.denied", refused.why, now_us)
            raise Problem("not_signed", f"Not taken: {refused}.", why=refused.why) from refused
        credential = await self.enrol({**binding, "state": "bound"}, raw, made, now_us, count)
        return json_answer({"state": "bound", "waits": credential.waits}, 201, self._pages)

    async def _opened_link(
        self, request: web.Request
    ) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
        body = await json_of(request)
        token = body.get("token") if isinstance(body, dict) else None
        if not isinstance(token, str):
            raise events.Refused([events.Problem("token", "a string", type(token).__name__)])
        raw, binding = await self._pending.get(request.match_info["binding"])
        right = str(binding.get("token") or "")
        if not right or not hmac.compare_digest(right.encode(), _digest(token).encode()):
            raise Problem("unauthorized", "The link is not complete, or not of this binding")
        if binding["state"] != "open":
            raise Problem("used", "This link has done its work")
        return raw, binding, body

    async def enrol(
        self, binding: dict[str, Any], was: bytes, made: Credential, now_us: int, count: int = 0
    ) -> Credential:
        """Write a key with its record; older channels are told in the same step."""
        customer = binding["customer"]
        credential = made.of_binding(
            bound=events.rfc3339(now_us),
            waits=await self._customers.bound_before(customer),
            name=binding["name"],
            own=binding["own"],
        )
        stored = await self._customers.stored(customer)
        older = [one for one in stored.get("channels", ()) if "token" in one]
        telling = telling_of(customer, older, [{"kind": credential.kind}], [], now_us)
        body = {
            "credential": credential.id,
            "kind": credential.kind,
            "public_key": signed.b64(credential.der),
            "algorithm": credential.algorithm or "webauthn",
            "rp_id": credential.rp_id,
            "cose": signed.b64(credential.cose),
            "count": count,
            "bound": credential.bound,
            "waits": credential.waits,
            "by": binding["by"],
        }
        answer = await self._turns.run(
            "bind",
            key(binding["id"]),
            was,
            orjson.dumps(binding),
            KEPT_SECONDS,
            names.credential(credential.id),
            credential.dump(),
            count,
            names.credentials(customer),
            credential.id,
            names.AUDIT,
            orjson.dumps([self._record(binding, body, now_us)]),
            names.TELLINGS,
            orjson.dumps(telling) if telling else "",
        )
        if answer == b"taken":
            raise Problem("bound_elsewhere", "This key is bound already")
        if answer != b"ok":
            raise Problem("used", "This link has done its work")
        await self._pending.changed(
            self._pending.opened(binding["own"]), "credential", "bound", now_us
        )
        return credential

    def _record(self, binding: dict[str, Any], body: dict[str, Any], now_us: int) -> dict[str, Any]:
        personal = {
            path: self._pending.personal(path, value, binding["customer"])
            for path, value in (
                ("name", binding["name"]),
                ("own", self._pending.opened(binding["own"])),
            )
            if value
        }
        kind = "credential.enrolled"
        return self._pending.record(binding, kind, body, now_us, personal=personal)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
