"""What is bound to a customer, and how does it go again? At once, on record, and told to it too.

::

    DELETE /v1/customers/{id}/bindings/{kind}/{token}    the bank, or a person there: anything
    the page /unbind
        POST /v1/unbindings            --signed with a passkey that is old enough--> the list
        POST /v1/unbindings/{id}/wish  --signed again, over what is to go---------> gone

A customer takes nothing away that is the last of its kind: one channel and one key must stay that
may themselves confirm. The last is for a person at the bank.
"""

import secrets
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from gateway.callers import Callers, json_of
from gateway.customers import Customers, telling_of
from gateway.devices import Credential, Credentials
from gateway.edge import Edge
from gateway.own_word import OwnWord
from gateway.pages import Pages
from gateway.pending import Pending, actor_of, json_answer
from gateway.problems import Problem
from gateway.reading import Readings
from gateway.records import caller, record
from gateway.turns import Turns
from gateway.wanted import Going, Word, read, staff_number
from risk import events, names
from risk.privacy import canonical

SCRIPT = resources.files("gateway").joinpath("unbind_key.lua").read_text()
_CHANNELS = ("xmpp", "web", "push", "sms", "voice")
_MARK_SECONDS = 600

MayConfirm = Callable[[Mapping[str, Any]], bool]


class Removal:
    """Shows all that is bound to a customer, and takes it away."""

    def __init__(
        self,
        turns: Turns,
        edge: Edge,
        pending: Pending,
        customers: Customers,
        credentials: Credentials,
    ) -> None:
        self._turns, self._edge, self._pending = turns, edge, pending
        self._customers, self._credentials = customers, credentials

    async def bound(self, customer: str) -> list[dict[str, Any]]:
        """All channels, then all keys; a channel with its sealed ``address``."""
        stored = await self._customers.stored(customer)
        keys = ("kind", "token", "bound", "waits", "verified", "address")
        rows = [
            {key: one.get(key) for key in keys}
            for one in stored.get("channels", ())
            if "token" in one
        ]
        return rows + [
            {"kind": one.kind, "token": one.id, "bound": one.bound, "waits": one.waits,
             "verified": True, "name": one.name}
            for one in await self._credentials.of(customer)
        ]  # fmt: skip

    async def take(
        self,
        customer: str,
        own_id: str,
        mark: tuple[str, str],
        actor: Mapping[str, str],
        now_us: int,
        stays: MayConfirm | None = None,
    ) -> None:
        """Take (kind, token) away; 404 where it is not bound.

        With ``stays`` another of its kind must be left of which that is true; else `Problem`.
        """
        kind, token = mark
        if kind in _CHANNELS:

            def keeps(kept: list[dict[str, Any]]) -> bool:
                return stays is None or any(one["verified"] and stays(one) for one in kept)

            await self._customers.unbind(customer, kind, token, actor, now_us, keeps)
            await self._pending.changed(own_id, "jid", "unbound", now_us)
            return
        credential = await self._credentials.one(token)
        if credential is None or credential.customer != customer or credential.kind != kind:
            raise Problem("not_found", "No such binding of this customer is known")
        left = None
        if stays is not None:
            others = [one for one in await self._credentials.of(customer) if one.id != token]
            left = [one.id for one in others if stays(one.binding())]
            if not left:
                raise _last()
        await self._take_key(credential, actor, now_us, left)
        await self._pending.changed(own_id, "credential", "unbound", now_us)

    async def _take_key(
        self, credential: Credential, actor: Any, now_us: int, left: list[str] | None
    ) -> None:
        customer, kind, token = credential.customer, credential.kind, credential.id
        stored = await self._customers.stored(customer)
        older = [one for one in stored.get("channels", ()) if "token" in one]
        telling = telling_of(customer, older, [], [{"kind": kind}], now_us)
        rid = f"customers/{customer}/binding.removed/{kind}.{token}.{now_us}"
        made = record(
            "binding.removed",
            rid,
            tenant=self._edge.tenant,
            subject=customer,
            actor=actor,
            at_us=now_us,
            body={"channel": kind, "token": token},
        )
        answer = await self._turns.run(
            "unbind_key",
            names.credential(token),
            names.credentials(customer),
            token,
            f"rb:unbound:{secrets.token_hex(12)}",
            _MARK_SECONDS,
            names.AUDIT,
            orjson.dumps([made]),
            names.TELLINGS,
            orjson.dumps(telling) if telling else "",
            *map(names.credential, left or ()),
        )
        if answer == b"gone":
            raise Problem("not_found", "No such binding of this customer is known")
        if answer == b"last":
            raise _last()


def _last() -> Problem:
    needed = "Needed another key that may confirm"
    return Problem("last_factor", f"{needed}; the last goes by a person at the bank")


class Unbinding:
    """The bank's own calls."""

    def __init__(
        self,
        callers: Callers,
        pending: Pending,
        removal: Removal,
        readings: Readings,
    ) -> None:
        self._callers, self._pending = callers, pending
        self._removal, self._readings = removal, readings

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/customers/{id}/bindings", self.get),
            web.delete("/v1/customers/{id}/bindings/{kind}/{token}", self.delete),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """``GET /v1/customers/{id}/bindings``: what is bound, and since when."""
        role = self._callers.need(request, "bank", "officer")
        _, customer = self._pending.customer(request)
        if role == "officer":
            await self._readings.first(caller(role), "bindings", customer, subject=customer)
        rows = await self._removal.bound(customer)
        shown = [{key: one[key] for key in one if key != "address"} for one in rows]
        return json_answer({"bindings": shown}, 200)

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE …/bindings/{kind}/{token}``: unbind at once; all channels are told, it too."""
        role = self._callers.need(request, "bank", "officer")
        own_id, customer = self._pending.customer(request)
        actor = caller(role)
        if role == "officer":
            number = staff_number(request.query.get("staff"))
            actor = {"type": "person", "id": number, "role": "officer"}
        mark = (request.match_info["kind"], request.match_info["token"])
        await self._removal.take(customer, own_id, mark, actor, self._pending.clock())
        return json_answer({"state": "unbound"}, 200)


class OwnUnbinding:
    """A customer sees what is bound to them, and takes it away: on the bank's page, by passkey."""

    def __init__(self, pages: Pages, pending: Pending, removal: Removal, own: OwnWord) -> None:
        self._pages, self._pending = pages, pending
        self._removal, self._own = removal, own

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/unbind", self.get_page),
            web.post("/v1/unbindings", self.post),
            web.post("/v1/unbindings/{wish}/signing", self.post_signing),
            web.post("/v1/unbindings/{wish}/approve", self.approve),
            web.post("/v1/unbindings/{wish}/wish", self.post_wish),
        ]

    async def get_page(self, request: web.Request) -> web.Response:
        """``GET /unbind``: the page; it knows nothing yet."""
        self._pages.own_origin(request)
        return self._pages.page("unbind.html")

    async def post(self, request: web.Request) -> web.Response:
        """``POST /v1/unbindings``: somebody would see what is bound; who it is, they sign next."""
        self._pages.need_own(request)
        await json_of(request)
        return await self._own.asked(self._made("list"))

    async def post_signing(self, request: web.Request) -> web.Response:
        """``POST /v1/unbindings/{id}/signing``: what a passkey signs."""
        self._pages.need_own(request)
        await json_of(request)
        wish = await self._get(request, "asked")
        return await self._own.shown(request, wish, self._statement(wish))

    async def approve(self, request: web.Request) -> web.Response:
        """``POST /v1/unbindings/{id}/approve``: the passkey's word; gives the list, or unbinds."""
        self._pages.need_own(request)
        word = read(Word, await json_of(request))
        if word.assertion is None:
            raise events.Refused([events.Problem("assertion", "a passkey's", "nothing")])
        wish, now_us = await self._get(request, "asked"), self._pending.clock()
        wish, approval = await self._own.given(
            request, word.assertion, wish, self._statement(wish), now_us
        )
        wish = {**wish, "by": [[approval.kind, approval.id]]}
        told: dict[str, Any] = {"id": wish["id"], "kind": wish["kind"]}
        if wish["kind"] == "list":
            await self._pending.put({**wish, "state": "shown"}, _MARK_SECONDS)
            told |= {"state": "shown", "bindings": await self._rows(wish["customer"])}
        else:
            await self._take(wish, now_us)
            await self._pending.put({**wish, "state": "unbound"}, _MARK_SECONDS)
            told |= {"state": "unbound"}
        return json_answer(told, 200, self._pages)

    async def post_wish(self, request: web.Request) -> web.Response:
        """``POST /v1/unbindings/{id}/wish``: one of the list is to go; it is signed for next."""
        self._pages.need_own(request)
        going = read(Going, await json_of(request))
        seen = await self._get(request, "shown")
        for row in await self._rows(seen["customer"]):
            if (row["kind"], row["token"]) == (going.kind, going.token):
                made = self._made(going.kind, going.token, row["name"], row["where"])
                return await self._own.asked(
                    {**made, "customer": seen["customer"], "own": seen["own"]}
                )
        raise Problem("not_found", "No such binding of this customer is known")

    def _made(self, kind: str, token: str = "", name: str = "", where: str = "") -> dict[str, Any]:
        return {
            "v": 1,
            "id": "ub_" + secrets.token_hex(12),
            "customer": "",
            "own": "",
            "kind": kind,
            "token": token,
            "name": name,
            "where": self._pending.sealed(where),
            "by": [],
            "state": "asked",
            "created": events.rfc3339(self._pending.clock()),
        }

    async def _get(self, request: web.Request, state: str) -> dict[str, Any]:
        _, wish = await self._pending.get(request.match_info["wish"], "ub_")
        if wish["state"] != state:
            raise Problem("used", "This was decided before")
        return wish

    def _statement(self, wish: Mapping[str, Any]) -> bytes:
        """The bytes that a passkey signs: what goes, in the words that the page shows."""
        if wish["kind"] == "list":
            return canonical({"show": wish["id"], "kind": "list", "created": wish["created"]})
        return canonical(
            {
                "unbind": wish["id"],
                "kind": wish["kind"],
                "token": wish["token"],
                "address": self._pending.opened(wish["where"]),
                "name": wish["name"],
                "created": wish["created"],
            }
        )

    async def _rows(self, customer: str) -> list[dict[str, Any]]:
        """What is bound, as its customer knows it again."""
        return [
            {
                "kind": one["kind"],
                "token": one["token"],
                "bound": one["bound"],
                "name": one.get("name") or "",
                "where": _where(one["kind"], self._pending.opened(one["address"]))
                if one.get("address")
                else "",
            }
            for one in await self._removal.bound(customer)
        ]

    async def _take(self, wish: Mapping[str, Any], now_us: int) -> None:
        def stays(told: Mapping[str, Any]) -> bool:
            return self._own.old_enough(told, now_us)

        own_id = self._pending.opened(wish["own"])
        mark, actor = (wish["kind"], wish["token"]), actor_of(wish["by"])
        await self._removal.take(wish["customer"], own_id, mark, actor, now_us, stays)


def _where(kind: str, address: str) -> str:
    """An address as its owner knows it again: a number by its end, a push by its service."""
    if kind in ("sms", "voice"):
        return "…" + address[-4:]
    if kind == "push":
        return urlsplit(orjson.loads(address)["endpoint"]).hostname or ""
    return address
