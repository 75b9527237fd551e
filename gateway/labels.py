"""Whose word is a label? The caller's role says; a body that claims another source is refused."""

from collections.abc import Mapping
from datetime import timedelta
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
from risk.labels import RANKS

SCRIPT = resources.files("gateway").joinpath("label.lua").read_text()
SOURCE_OF_ROLE: Mapping[str, str] = {"bank": "chargeback", "officer": "officer"}


class Labels:
    """Takes labels from callers whose role has a say."""

    def __init__(
        self, turns: Turns, edge: Edge, callers: Callers, ports: GatewayPorts, memory: timedelta
    ) -> None:
        self._turns = turns
        self._edge = edge
        self._callers = callers
        self._clock = ports.clock
        self._memory_seconds = int(memory.total_seconds())

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/labels", self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """``POST /v1/labels``: 202; the same one again changes nothing."""
        role = self._callers.need(request, *SOURCE_OF_ROLE)
        raw = await json_of(request)
        if isinstance(raw, dict):
            raw.setdefault("type", "label")
        taken = await self.take(raw, role, self._clock())
        return web.json_response(body=orjson.dumps(taken), status=202)

    async def take(self, raw: Any, role: str, now_us: int) -> dict[str, Any]:
        """Take one label; raises `Refused`, or a `Problem` where the role has no say."""
        source = SOURCE_OF_ROLE.get(role)
        if source is None:
            raise Problem(
                "forbidden", f"Needed a caller of bank or officer for a label, got {role}"
            )
        if isinstance(raw, dict) and raw.get("type") == "label":
            raw = {"source": source, **raw}
        label, _ = events.parse(raw, events.instant(now_us))
        if not isinstance(label, events.LabelEvent):
            got = [events.Problem("type", "label", label.type)]
            raise events.Refused(got)
        if label.source != source:
            raise Problem(
                "forbidden",
                f"A label's source is its caller's: needed {source} or none, got {label.source}",
            )
        return await self._write(label, role, now_us)

    async def _write(self, label: events.LabelEvent, role: str, now_us: int) -> dict[str, Any]:
        event = self._edge.id_of(label.event)
        time_us = events.micros(label.time)
        name = f"{event}/{label.source}/{time_us}"
        walking: dict[str, Any] = {
            "id": self._edge.id_of(label.id) if label.id else f"label/{name}",
            "event": event,
            "fraud": label.fraud,
            "source": label.source,
            "time": events.rfc3339(time_us),
            "known": events.rfc3339(now_us),
        }
        customer = None
        if label.customer is not None:
            customer = walking["customer"] = self._edge.customer_of(label.customer)
        marked = {**walking, "outranked": True}
        said = await self._turns.run(
            "label",
            f"rb:label:{event}:{label.source}:{time_us}",
            "fraud" if label.fraud else "honest",
            self._memory_seconds,
            f"rb:labelled:{event}",
            RANKS[label.source],
            names.LABELS,
            orjson.dumps(walking),
            orjson.dumps(marked),
            names.AUDIT,
            *(
                orjson.dumps([self._record(body, name, customer, role, now_us)])
                for body in (walking, marked)
            ),
        )
        if said == b"other":
            raise Problem(
                "conflict",
                "A label of this event, source and time said otherwise; a correction has a time"
                " of its own",
                event=label.event,
            )
        return {"event": label.event, "status": "accepted"}

    def _record(
        self, body: Mapping[str, Any], name: str, customer: str | None, role: str, now_us: int
    ) -> dict[str, Any]:
        return record(
            "label",
            f"labels/{name}/label",
            tenant=self._edge.tenant,
            case=names.case(body["event"]),
            event=body["event"],
            subject=customer,
            actor=caller(role),
            at_us=now_us,
            body=body,
        )
