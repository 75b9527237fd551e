"""How is a customer reached? Language, zone and channels, as the bank vouches for them.

An address is sealed; who it belongs to is found by its token. Since when a channel is bound is
kept with it, because a fresh binding may deny at once but confirm nothing for a while.
"""

import asyncio
import re
import unicodedata
import zoneinfo
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gateway.callers import Callers, json_of
from gateway.edge import Edge
from gateway.ports import GatewayPorts
from gateway.problems import Problem
from gateway.records import caller, record
from gateway.turns import Turns
from risk import events, names

SCRIPT = resources.files("gateway").joinpath("customer.lua").read_text()
_JID = re.compile(r"^[^\s@/<>\"&':]{1,256}@[a-z0-9](?:[a-z0-9.-]{0,253}[a-z0-9])?$")
_TRIES = 5


def _zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError("needed a time zone such as Asia/Shanghai") from None
    return value


class Channel(BaseModel):
    """One way to a customer; ``address`` is a bare JID for xmpp, and not needed for web."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Literal["xmpp", "web", "push"]
    address: Annotated[str, StringConstraints(max_length=512)] = ""
    verified: bool = False

    @model_validator(mode="after")
    def _address_fits(self) -> "Channel":
        if self.kind == "xmpp" and not _JID.match(bare(self.address)):
            raise ValueError("needed a bare JID such as anna@bank.example, without a resource")
        if self.kind == "push" and not self.address.startswith("https://"):
            raise ValueError("needed the https address of a push service")
        return self


class Customer(BaseModel):
    """What the bank says of a customer."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
    zone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]
    channels: Annotated[tuple[Channel, ...], Field(max_length=16, strict=False)]


def bare(address: str) -> str:
    """A chat address in the form in which it is compared."""
    return unicodedata.normalize("NFKC", address).strip().lower()


class Customers:
    """Takes from the bank how its customers are reached."""

    def __init__(self, turns: Turns, edge: Edge, callers: Callers, ports: GatewayPorts) -> None:
        self._turns = turns
        self._edge = edge
        self._callers = callers
        self._clock = ports.clock

    def routes(self) -> list[web.RouteDef]:
        return [web.put("/v1/customers/{id}", self.put)]

    async def put(self, request: web.Request) -> web.Response:
        """``PUT /v1/customers/{id}``: what is said stands; a channel that is not named goes."""
        role = self._callers.need(request, "bank")
        own_id = request.match_info["id"]
        if len(own_id) > 128:
            got = [events.Problem("id", "at most 128 characters", f"{len(own_id)} characters")]
            raise events.Refused(got)
        said = _read(await json_of(request))
        customer = self._edge.customer_of(own_id)
        for _ in range(_TRIES):
            channels = await self._write(customer, said, role)
            if channels is not None:
                shown = [{key: c[key] for key in ("kind", "verified", "bound")} for c in channels]
                body = {
                    "id": own_id,
                    "language": said.language,
                    "zone": said.zone,
                    "channels": shown,
                }
                return web.Response(body=orjson.dumps(body), content_type="application/json")
            await asyncio.sleep(0.01)
        raise Problem("away", "The customer is being changed by others at once; try again.")

    async def _write(self, customer: str, said: Customer, role: str) -> list[dict[str, Any]] | None:
        """Write once; None where someone else wrote between reading and writing."""
        now_us = self._clock()
        key = names.customer(customer)
        was = await self._turns.ask("GET", key) or b""
        before = {_mark(channel): channel for channel in _channels(was)}
        channels, records = [], []
        for channel in said.channels:
            made = self._channel(channel, now_us)
            known = before.pop(_mark(made), None)
            if known is not None and known["verified"] == made["verified"]:
                made = known
            else:
                records.append(self._record("binding.added", customer, made, role, now_us, channel))
            channels.append(made)
        records += [
            self._record("binding.removed", customer, gone, role, now_us)
            for gone in before.values()
        ]
        gone = [names.jid(c["token"]) for c in before.values() if c["kind"] == "xmpp"]
        come = [names.jid(c["token"]) for c in channels if c["kind"] == "xmpp"]
        stands = {"language": said.language, "zone": said.zone, "channels": channels}
        answer = await self._turns.run(
            "customer",
            key,
            was,
            orjson.dumps(stands),
            customer,
            names.AUDIT,
            orjson.dumps(records) if records else "",
            len(gone),
            *gone,
            *come,
        )
        if answer == b"taken":
            raise Problem(
                "bound_elsewhere",
                "An address of these is bound to another customer; unbind it there first",
            )
        return channels if answer == b"ok" else None

    def _channel(self, channel: Channel, now_us: int) -> dict[str, Any]:
        address = bare(channel.address) if channel.kind == "xmpp" else channel.address
        return {
            "kind": channel.kind,
            "address": self._edge.seal_address(address),
            "token": self._edge.tokens.token("jid", address),
            "verified": channel.verified,
            "bound": events.rfc3339(now_us),
        }

    def _record(
        self,
        kind: str,
        customer: str,
        made: Mapping[str, Any],
        role: str,
        now_us: int,
        channel: Channel | None = None,
    ) -> dict[str, Any]:
        personal = {}
        if channel is not None and channel.address:
            personal["address"] = self._edge.personal("address", channel.address, customer)
        return record(
            kind,
            f"customers/{customer}/{kind}/{made['kind']}.{made['token']}.{now_us}",
            tenant=self._edge.tenant,
            case=None,
            event=None,
            subject=customer,
            actor=caller(role),
            at_us=now_us,
            body={
                "channel": made["kind"],
                "token": made["token"],
                "verified": made["verified"],
                "bound": made["bound"],
            },
            personal=personal,
        )


def _read(raw: Any) -> Customer:
    if not isinstance(raw, dict):
        raise events.Refused([events.Problem("body", "a JSON object", type(raw).__name__)])
    events.screen(raw)
    try:
        return Customer.model_validate(raw)
    except ValidationError as wrong:
        raise events.Refused(
            [
                events.Problem(
                    ".".join(map(str, error["loc"])) or "body",
                    error["msg"].removeprefix("Value error, needed "),
                    "nothing" if error["type"] == "missing" else _shape(error["input"]),
                )
                for error in wrong.errors(include_url=False)
            ]
        ) from None


def _shape(value: object) -> str:
    return f"{len(value)} characters" if isinstance(value, str) else type(value).__name__


def _channels(stored: bytes) -> list[dict[str, Any]]:
    if not stored:
        return []
    channels: list[dict[str, Any]] = orjson.loads(stored)["channels"]
    return [channel for channel in channels if "token" in channel]


def _mark(channel: Mapping[str, Any]) -> tuple[str, str]:
    return channel["kind"], channel["token"]
