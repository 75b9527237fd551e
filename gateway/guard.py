"""What protects a customer who is robbed or forced? A block of all payments, and a duress word."""

import unicodedata
from importlib import resources

import orjson
from aiohttp import web

from gateway.callers import Callers, json_of
from gateway.edge import Edge
from gateway.pending import Pending, json_answer
from gateway.records import caller, record
from gateway.turns import Turns
from gateway.wanted import Secret, read
from risk import events, names

SCRIPT = resources.files("gateway").joinpath("duress.lua").read_text()


class Guard:
    """Blocks and unblocks a customer's payments, and keeps their duress word."""

    def __init__(self, turns: Turns, edge: Edge, callers: Callers, pending: Pending) -> None:
        self._turns, self._edge, self._callers, self._pending = turns, edge, callers, pending

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/customers/{id}/freeze", self.post_freeze),
            web.post("/v1/customers/{id}/unfreeze", self.post_unfreeze),
            web.put("/v1/customers/{id}/duress", self.put_duress),
            web.delete("/v1/customers/{id}/duress", self.delete_duress),
        ]

    async def post_freeze(self, request: web.Request) -> web.Response:
        """``POST …/freeze``: block all payments at once; anybody at the bank may."""
        return await self._freeze(request, "freeze", "bank", "officer")

    async def post_unfreeze(self, request: web.Request) -> web.Response:
        """``POST …/unfreeze``: the bank has spoken with the customer; its system alone may."""
        return await self._freeze(request, "unfreeze", "bank")

    async def _freeze(self, request: web.Request, kind: str, *roles: str) -> web.Response:
        role = self._callers.need(request, *roles)
        _, customer = self._pending.customer(request)
        said = {
            "v": 1,
            "kind": kind,
            "customer": customer,
            "channel": role,
            "received": events.rfc3339(self._pending.clock()),
        }
        await self._turns.ask("XADD", names.ANSWERS, "*", "answer", orjson.dumps(said))
        return json_answer({"state": kind}, 202)

    async def put_duress(self, request: web.Request) -> web.Response:
        """``PUT …/duress``: the word is kept as a keyed hash, and nowhere in clear."""
        role = self._callers.need(request, "bank")
        _, customer = self._pending.customer(request)
        word = read(Secret, await json_of(request)).word
        return await self._duress(role, customer, duress_token(self._edge, customer, word))

    async def delete_duress(self, request: web.Request) -> web.Response:
        """``DELETE …/duress``: there is no duress word any more."""
        role = self._callers.need(request, "bank")
        _, customer = self._pending.customer(request)
        return await self._duress(role, customer, "")

    async def _duress(self, role: str, customer: str, token: str) -> web.Response:
        """Keep a word's keyed hash; the record holds it sealed, so that it can be brought back."""
        now_us, state = self._pending.clock(), "set" if token else "unset"
        sealed = {"word": self._pending.personal("word", token, customer)} if token else {}
        made = record(
            "duress.changed",
            f"customers/{customer}/duress.changed/{now_us}",
            tenant=self._edge.tenant,
            subject=customer,
            actor=caller(role),
            at_us=now_us,
            body={"state": state},
            personal=sealed,
        )
        key, records = names.duress(customer), orjson.dumps([made])
        await self._turns.run("duress", key, token, names.AUDIT, records)
        return json_answer({"state": state}, 200)


def duress_token(edge: Edge, customer: str, word: str) -> str:
    """A duress word as it is kept: a keyed hash, of the customer's own."""
    flat = unicodedata.normalize("NFKC", word).casefold()
    return edge.tokens.token("duress", f"{customer}\0{flat}")
