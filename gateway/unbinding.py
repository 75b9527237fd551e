"""What is bound to a customer, and how does it go again? At once, on record, and told to it too."""

from typing import Any

import orjson
from aiohttp import web

from gateway.callers import Callers
from gateway.customers import Customers, telling_of
from gateway.devices import Credential, Credentials
from gateway.edge import Edge
from gateway.pending import Pending, json_answer
from gateway.problems import Problem
from gateway.reading import Readings
from gateway.records import caller, record
from gateway.turns import Turns
from gateway.wanted import staff_number
from risk import names

_CHANNELS = ("xmpp", "web", "push", "sms", "voice")


class Unbinding:
    """Shows what is bound, and takes it away."""

    def __init__(
        self,
        turns: Turns,
        edge: Edge,
        callers: Callers,
        pending: Pending,
        customers: Customers,
        credentials: Credentials,
        readings: Readings,
    ) -> None:
        self._turns, self._edge, self._callers, self._pending = turns, edge, callers, pending
        self._customers, self._credentials, self._readings = customers, credentials, readings

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
        stored = await self._customers.stored(customer)
        rows = [
            {key: one.get(key) for key in ("kind", "token", "bound", "waits", "verified")}
            for one in stored.get("channels", ())
            if "token" in one
        ]
        rows += [
            {"kind": one.kind, "token": one.id, "bound": one.bound, "waits": one.waits,
             "verified": True, "name": one.name}
            for one in await self._credentials.of(customer)
        ]  # fmt: skip
        return json_answer({"bindings": rows}, 200)

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE …/bindings/{kind}/{token}``: unbind at once; all channels are told, it too."""
        role = self._callers.need(request, "bank", "officer")
        own_id, customer = self._pending.customer(request)
        kind, token = request.match_info["kind"], request.match_info["token"]
        actor = caller(role)
        if role == "officer":
            number = staff_number(request.query.get("staff"))
            actor = {"type": "person", "id": number, "role": "officer"}
        now_us = self._pending.clock()
        if kind in _CHANNELS:
            await self._customers.unbind(customer, kind, token, actor, now_us)
            await self._pending.changed(own_id, "jid", "unbound", now_us)
            return json_answer({"state": "unbound"}, 200)
        credential = await self._credentials.one(token)
        if credential is None or credential.customer != customer or credential.kind != kind:
            raise Problem("not_found", "No such binding of this customer is known")
        await self._take_away(credential, actor, now_us)
        await self._pending.changed(own_id, "credential", "unbound", now_us)
        return json_answer({"state": "unbound"}, 200)

    async def _take_away(self, credential: Credential, actor: Any, now_us: int) -> None:
        customer, kind, token = credential.customer, credential.kind, credential.id
        stored = await self._customers.stored(customer)
        older = [one for one in stored.get("channels", ()) if "token" in one]
        telling = telling_of(customer, older, [], [{"kind": kind}], now_us)
        made = record(
            "binding.removed",
            f"customers/{customer}/binding.removed/{kind}.{token}.{now_us}",
            tenant=self._edge.tenant,
            subject=customer,
            actor=actor,
            at_us=now_us,
            body={"channel": kind, "token": token},
        )
        await self._turns.ask("DEL", names.credential(token))
        await self._turns.ask("SREM", names.credentials(customer), token)
        await self._turns.ask("XADD", names.AUDIT, "*", "records", orjson.dumps([made]))
        if telling:
            await self._turns.ask("XADD", names.TELLINGS, "*", "telling", orjson.dumps(telling))
