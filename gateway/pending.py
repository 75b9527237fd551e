"""Which bindings are under way? Each is kept for a while, and each step of it is on record."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from gateway.edge import Edge
from gateway.pages import Pages
from gateway.ports import GatewayPorts
from gateway.problems import Problem
from gateway.records import GATEWAY, caller, record
from gateway.turns import Turns
from risk import events, names
from risk.privacy import SealBroken, open_sealed

OPEN_SECONDS = 1_800
KEPT_SECONDS = 86_400

Accept = Callable[[dict[str, Any]], Awaitable[None]]


class Pending:
    """What is under way, on record; ``accept`` takes in the event that says what came of it."""

    def __init__(
        self, turns: Turns, edge: Edge, edge_key: bytes, accept: Accept, ports: GatewayPorts
    ) -> None:
        self._turns, self._edge, self._edge_key = turns, edge, edge_key
        self._accept, self.clock = accept, ports.clock

    def customer(self, request: web.Request) -> tuple[str, str]:
        """The customer of a request's path: the bank's own id, and the token."""
        own_id = request.match_info["id"]
        if len(own_id) > 128:
            got = [events.Problem("id", "at most 128 characters", f"{len(own_id)} characters")]
            raise events.Refused(got)
        return own_id, self._edge.customer_of(own_id)

    async def get(self, ident: str, begins: str = "bn_") -> tuple[bytes, dict[str, Any]]:
        """What is under way, as it is kept; 404 where there is none.

        What comes and what goes begin with other letters: a word for one is none for the other.
        """
        known = ident.startswith(begins)
        raw = await self._turns.ask("GET", key(ident[:64])) if known else None
        if raw is None:
            raise Problem("not_found", "No binding of that id is under way")
        return bytes(raw), orjson.loads(raw)

    async def put(self, binding: dict[str, Any], seconds: int = KEPT_SECONDS) -> bytes:
        """Keep a binding as it stands; gives what is kept."""
        raw = orjson.dumps(binding)
        await self._turns.ask("SET", key(binding["id"]), raw, "EX", seconds)
        return raw

    def sealed(self, text: str) -> str:
        """A text as it is kept."""
        return self._edge.seal_address(text)

    def opened(self, sealed: str) -> str:
        """A text that was kept; 404 where its key is another by now."""
        try:
            return open_sealed(self._edge_key, sealed, b"address").decode()
        except SealBroken as broken:
            raise Problem("not_found", "What was asked for can't be read any more") from broken

    def personal(self, path: str, value: str, customer: str) -> dict[str, str]:
        """A personal value of a record, under its seal."""
        return self._edge.personal(path, value, customer)

    async def changed(self, own_id: str, change: str, how: str, now_us: int) -> None:
        """A change to how a customer is reached or signs is an event like any other."""
        mark = hashlib.sha256(f"{own_id}\0{change}\0{how}\0{now_us}".encode()).hexdigest()[:24]
        await self._accept(
            {
                "id": f"binding-{mark}",
                "type": "account_change",
                "time": events.rfc3339(now_us),
                "customer": own_id,
                "change": change,
                "detail": how,
            }
        )

    async def note(
        self, binding: dict[str, Any], kind: str, what: str, now_us: int, **more: Any
    ) -> None:
        """Put a step on record; ``more`` are further members of the record."""
        body = {
            "binding": binding["id"],
            "kind": binding["kind"],
            "what": what,
            "by": binding["by"],
            **more.pop("body", {}),
        }
        made = self.record(binding, kind, body, now_us, **{"grade": 1, **more})
        await self._turns.ask("XADD", names.AUDIT, "*", "records", orjson.dumps([made]))

    def record(
        self, binding: dict[str, Any], kind: str, body: dict[str, Any], now_us: int, **more: Any
    ) -> dict[str, Any]:
        """A record about a binding, by the last who spoke for it."""
        return record(
            kind,
            f"bindings/{binding['id']}/{kind}.{now_us}",
            tenant=self._edge.tenant,
            subject=binding["customer"] or None,
            actor=actor_of(binding["by"]),
            at_us=now_us,
            body=body,
            **more,
        )


def actor_of(by: list[list[str]]) -> dict[str, str]:
    """Who bound it: of several words the last one, that made it enough."""
    if not by:
        return dict(GATEWAY)
    kind, who = by[-1]
    if kind == "person":
        return {"type": "person", "id": who, "role": "officer"}
    if kind == "factor":
        return {"type": "customer", "id": who, "role": "customer"}
    return caller("bank")


def key(ident: str) -> str:
    """Where a binding is kept while it is under way."""
    return f"rb:binding:{ident}"


def json_answer(value: Any, status: int, pages: Pages | None = None) -> web.Response:
    """An answer in JSON; with ``pages`` under the headers of a page's own calls."""
    headers = pages.headers() if pages is not None else None
    return web.Response(
        status=status, body=orjson.dumps(value), content_type="application/json", headers=headers
    )
