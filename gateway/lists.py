"""Which lists may other systems of the bank keep? Any of their own names, block and watch.

What overrides judgement (``final``, ``force.…``, ``suppress.…``) is a person's to say, with a key:
`ringback lists`. ``allow`` takes an officer.
"""

from collections.abc import Mapping
from importlib import resources
from typing import Any

import orjson
from aiohttp import web

from gateway.callers import Callers, json_of
from gateway.edge import Edge
from gateway.ports import GatewayPorts
from gateway.problems import Problem
from gateway.records import caller, record
from gateway.turns import Turns
from risk import events, names
from risk.lists import ALLOW, FINAL, BadList, Lists, checked_change, rank

SCRIPT = resources.files("gateway").joinpath("lists.lua").read_text()
_TOKENS = {
    "customer": "customer",
    "payee": "payee.account",
    "card": "card",
    "device": "device.id",
    "ip": "ip",
}
_FIELDS = ("op", "kind", "value", "reason", "until")
_WRITERS = ("bank", "officer")


class ListCalls:
    """Takes changes of lists, and shows a list."""

    def __init__(self, turns: Turns, edge: Edge, callers: Callers, ports: GatewayPorts) -> None:
        self._turns, self._edge, self._callers = turns, edge, callers
        self._clock = ports.clock
        self._lists = Lists()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/lists/{list}", self.show),
            web.post("/v1/lists/{list}", self.change),
        ]

    async def change(self, request: web.Request) -> web.Response:
        """``POST /v1/lists/{list}``: add or remove one value; it counts from the next batch on."""
        role = self._callers.need(request, *_WRITERS)
        name = request.match_info["list"]
        if name == FINAL or "." in name:
            raise Problem(
                "forbidden",
                f"{name} overrides judgement: needed a person with a key: ringback lists add",
            )
        if name == ALLOW and role != "officer":
            raise Problem("forbidden", f"Needed an officer for the list {ALLOW}, got {role}")
        change = self._read(name, await json_of(request), role)
        at_us = self._clock()
        body = {**change, "version": "@version@"}
        made = record(
            "config.change",
            f"lists/{name}/{change['value']}/{at_us}",
            tenant=self._edge.tenant,
            actor=caller(role),
            at_us=at_us,
            body=body,
            grade=1,
        )
        version = await self._turns.run("lists", orjson.dumps(change), orjson.dumps([made]))
        return _json({"list": name, "version": version.decode()}, 201)

    def _read(self, name: str, said: Any, role: str) -> dict[str, Any]:
        if not isinstance(said, dict):
            raise events.Refused([events.Problem("body", "a JSON object", type(said).__name__)])
        for field in said:
            if field not in _FIELDS:
                needed = f"one of {', '.join(_FIELDS)}"
                raise events.Refused([events.Problem(str(field)[:64], needed, "another")])
        change: dict[str, Any] = {
            **{field: said.get(field) for field in ("op", "kind", "value", "reason")},
            "list": name,
            "by": f"caller.{role}",
        }
        kind, value = change["kind"], change["value"]
        if isinstance(value, str) and kind in _TOKENS:
            change["value"] = self._edge.tokens.token(_TOKENS[kind], value)
        if said.get("until") is not None:
            change["until_us"] = _until_us(said["until"])
        try:
            return checked_change(change, ())
        except BadList as wrong:
            raise Problem("malformed", str(wrong)) from None

    async def show(self, request: web.Request) -> web.Response:
        """``GET /v1/lists/{list}``: who stands on it now, as tokens, with reason and end."""
        self._callers.need(request, *_WRITERS)
        name = request.match_info["list"]
        known = self._lists
        since = f"({known.version}" if known.version else "-"
        rows = await self._turns.ask("XRANGE", names.LISTS, since, "+")
        if rows:
            known = self._lists = known.changed(
                (ident.decode(), orjson.loads(fields[b"change"])) for ident, fields in rows
            )
        now_us = self._clock()
        held: Mapping[tuple[str, str], Any] = known.entries.get(name, {})
        entries = [
            {
                "kind": kind,
                "value": value,
                "reason": entry.reason,
                "by": entry.by,
                "until": None if entry.until_us is None else events.rfc3339(entry.until_us),
            }
            for (kind, value), entry in held.items()
            if entry.until_us is None or entry.until_us > now_us
        ]
        acts = rank(name) is not None
        told = {"list": name, "version": known.version, "acts": acts, "entries": entries}
        return _json(told, 200)


def _until_us(text: Any) -> int:
    try:
        return events.parse_us(text)
    except (TypeError, ValueError):
        needed = "RFC 3339 with an offset, such as 2026-12-31T00:00:00+08:00"
        raise events.Refused([events.Problem("until", needed, type(text).__name__)]) from None


def _json(body: Mapping[str, Any], status: int) -> web.Response:
    return web.json_response(body=orjson.dumps(body), status=status)
