"""How is a customer reached? Language, zone and channels, as the bank vouches for them.

An address is sealed; who it belongs to is found by its token. Since when a channel is bound is
kept with it, because a fresh binding may deny at once but confirm nothing for a while. What the
bank says at first, when nothing was bound before, waits for nothing: there is no older channel
that could be told. Every later change is told to all older channels.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import orjson
from aiohttp import web

from gateway.callers import Callers, json_of
from gateway.channels import MOST_CHANNELS, Channel, bare, read_customer
from gateway.edge import Edge
from gateway.ports import GatewayPorts
from gateway.problems import Problem
from gateway.records import caller, record
from gateway.turns import Turns
from risk import events, names
from risk.calls import check_url

SCRIPT = resources.files("gateway").joinpath("customer.lua").read_text()
_FOUND_BY_ADDRESS = frozenset({"xmpp", "sms", "voice"})  # who answers there is known by it
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change left: the channels now and before, and whether any came or went."""

    channels: list[dict[str, Any]]
    before: list[dict[str, Any]]
    changed: bool


@dataclass(slots=True)
class _Draft:
    """A customer as it is to stand, with the addresses that came in clear, by their mark."""

    stands: dict[str, Any]
    clear: dict[tuple[str, str], str] = field(default_factory=dict)


Tell = Callable[[str, str, str, int], Any]


class Customers:
    """Takes from the bank how its customers are reached."""

    def __init__(
        self,
        turns: Turns,
        edge: Edge,
        callers: Callers,
        ports: GatewayPorts,
        push_allow: Collection[str] = (),
    ) -> None:
        self._push_allow = push_allow
        self._turns = turns
        self._edge = edge
        self._callers = callers
        self._clock = ports.clock
        self.changed: Tell | None = None  # told (own id, `jid`, how, when) of each later change

    def routes(self) -> list[web.RouteDef]:
        return [web.put("/v1/customers/{id}", self.put)]

    async def put(self, request: web.Request) -> web.Response:
        """``PUT /v1/customers/{id}``: what is said stands; a channel that is not named goes.

        Only what a customer has bound with a key of their own stays: the bank may not know of it.
        """
        role = self._callers.need(request, "bank")
        own_id = request.match_info["id"]
        if len(own_id) > 128:
            got = [events.Problem("id", "at most 128 characters", f"{len(own_id)} characters")]
            raise events.Refused(got)
        said = read_customer(await json_of(request))
        customer = self._edge.customer_of(own_id)
        now_us = self._clock()

        def draft(stored: Mapping[str, Any], waits: bool) -> _Draft:
            known = {_mark(channel): channel for channel in stored.get("channels", ())}
            made = _Draft({"language": said.language, "zone": said.zone, "channels": []})
            if said.ladder is not None:
                made.stands["ladder"] = said.ladder
            for channel in said.channels:
                fresh = self.channel(channel, now_us, waits=waits)
                was = known.get(_mark(fresh))
                keys = ("verified", "seal_to")
                if was is not None and all(was.get(one) == fresh.get(one) for one in keys):
                    fresh = {**was, "consent": fresh["consent"]}
                made.stands["channels"].append(fresh)
                made.clear[_mark(fresh)] = channel.reached_at
            named = {_mark(one) for one in made.stands["channels"]}
            made.stands["channels"] += [
                one for mark, one in known.items() if one.get("own") and mark not in named
            ]
            return made

        done = await self.change(customer, draft, caller(role), now_us)
        if done.changed and done.before and self.changed is not None:
            await self.changed(own_id, "jid", "put", now_us)
        keys = ("kind", "verified", "bound", "waits")
        shown = [{key: one.get(key) for key in keys} for one in done.channels]
        body = {"id": own_id, "language": said.language, "zone": said.zone, "channels": shown}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    def _refuse_inside(self, channel: Channel) -> None:
        """A push endpoint is called by us: none that leads into the network."""
        if channel.kind == "push":
            try:
                check_url(channel.address, self._push_allow, "push")
            except ValueError as wrong:
                needed = "the https address of a public push service"
                raise events.Refused([events.Problem("address", needed, "another")]) from wrong

    async def bind(
        self, customer: str, channel: Channel, actor: Mapping[str, str], now_us: int
    ) -> Changed:
        """Add one channel to a customer; the others stay as they are."""

        def draft(stored: Mapping[str, Any], waits: bool) -> _Draft:
            fresh = self.channel(channel, now_us, waits=waits)
            if actor["type"] == "customer":
                fresh["own"] = True
            there = _with_language(stored)
            kept = [one for one in there["channels"] if _mark(one) != _mark(fresh)]
            if len(kept) >= MOST_CHANNELS:
                needed = f"at most {MOST_CHANNELS}; unbind one first"
                raise events.Refused([events.Problem("channels", needed, str(len(kept) + 1))])
            made = _Draft({**there, "channels": [*kept, fresh]})
            made.clear[_mark(fresh)] = channel.reached_at
            return made

        return await self.change(customer, draft, actor, now_us)

    async def unbind(
        self,
        customer: str,
        kind: str,
        token: str,
        actor: Mapping[str, str],
        now_us: int,
        keeps: Callable[[list[dict[str, Any]]], bool],
    ) -> Changed:
        """Take one channel away, where ``keeps`` is true of those that stay.

        404 where it is not bound.
        """

        def draft(stored: Mapping[str, Any], waits: bool) -> _Draft:
            there = _with_language(stored)
            kept = [one for one in there["channels"] if _mark(one) != (kind, token)]
            if len(kept) == len(there["channels"]):
                raise Problem("not_found", "No such binding of this customer is known")
            if not keeps(kept):
                needed = "Needed another channel that may confirm"
                raise Problem("last_factor", f"{needed}; the last goes by a person at the bank")
            return _Draft({**there, "channels": kept})

        return await self.change(customer, draft, actor, now_us)

    async def stored(self, customer: str) -> dict[str, Any]:
        """A customer as it stands; empty for one that nothing was said of."""
        raw = await self._turns.ask("GET", names.customer(customer))
        found: dict[str, Any] = orjson.loads(raw) if raw else {}
        return found

    async def bound_before(self, customer: str) -> bool:
        """Whether anything at all is bound to a customer."""
        if (await self.stored(customer)).get("channels"):
            return True
        return bool(await self._turns.ask("SCARD", names.credentials(customer)))

    async def change(
        self,
        customer: str,
        draft: Callable[[Mapping[str, Any], bool], _Draft],
        actor: Mapping[str, str],
        now_us: int,
    ) -> Changed:
        """Write what ``draft`` makes of what stands; put it on record, and tell older channels."""
        key = names.customer(customer)
        for _ in range(_TRIES):
            was = await self._turns.ask("GET", key) or b""
            stored = orjson.loads(was) if was else {}
            before = _channels(was)
            keyed = await self._turns.ask("SCARD", names.credentials(customer))
            made = draft({**stored, "channels": before}, bool(before or keyed))
            channels = made.stands["channels"]
            come, gone = _news(before, channels)
            spoken = _spoken(made.stands)
            records = [
                self._record(
                    "binding.added", customer, one, actor, now_us, made.clear[_mark(one)], spoken
                )
                for one in come
            ]
            if before and not come and spoken != _spoken(stored):
                records.append(self._changed(customer, spoken, actor, now_us))
            records += [
                self._record("binding.removed", customer, one, actor, now_us) for one in gone
            ]
            records += [
                self._record("consent.changed", customer, one, actor, now_us)
                for one in _agreed(before, channels)
            ]
            telling = telling_of(customer, before, come, gone, now_us) if come or gone else None
            away = {one["token"] for one in gone} - {one["token"] for one in come}
            answer = await self._turns.run(
                "customer",
                key,
                was,
                orjson.dumps(made.stands),
                customer,
                names.AUDIT,
                orjson.dumps(records) if records else "",
                names.TELLINGS,
                orjson.dumps(telling) if telling else "",
                sum(one["kind"] in _FOUND_BY_ADDRESS and one["token"] in away for one in gone),
                *[
                    names.jid(one["token"])
                    for one in gone
                    if one["kind"] in _FOUND_BY_ADDRESS and one["token"] in away
                ],
                *[names.jid(one["token"]) for one in channels if one["kind"] in _FOUND_BY_ADDRESS],
            )
            if answer == b"taken":
                raise Problem(
                    "bound_elsewhere",
                    "An address of these is bound to another customer; unbind it there first",
                )
            if answer == b"ok":
                return Changed(channels, before, bool(come or gone))
            await asyncio.sleep(0.01)
        raise Problem("away", "The customer is being changed by others at once; try again.")

    def channel(self, channel: Channel, now_us: int, *, waits: bool) -> dict[str, Any]:
        """A channel as it is kept: sealed, with its token, and since when it is bound."""
        self._refuse_inside(channel)
        address = bare(channel.address) if channel.kind == "xmpp" else channel.address
        since_us = now_us if channel.since is None else min(now_us, events.micros(channel.since))
        return {
            "kind": channel.kind,
            "address": self._edge.seal_address(channel.reached_at),
            "token": self._edge.tokens.token("jid", address),
            "verified": channel.verified,
            "bound": events.rfc3339(since_us),
            "waits": waits,
            "consent": channel.consent.model_dump() if channel.consent else None,
        } | ({"seal_to": channel.seal_to} if channel.seal_to else {})

    def _record(
        self,
        kind: str,
        customer: str,
        made: Mapping[str, Any],
        actor: Mapping[str, str],
        now_us: int,
        address: str = "",
        spoken: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        personal = {}
        if address:
            personal["address"] = self._edge.personal("address", address, customer)
        return record(
            kind,
            f"customers/{customer}/{kind}/{made['kind']}.{made['token']}.{now_us}",
            tenant=self._edge.tenant,
            subject=customer,
            actor=actor,
            at_us=now_us,
            body={
                "channel": made["kind"],
                "token": made["token"],
                "verified": made["verified"],
                "bound": made["bound"],
                "waits": bool(made.get("waits", True)),
                "consent": made.get("consent"),
            }
            | ({"seal_to": made["seal_to"]} if made.get("seal_to") else {})
            | ({"own": True} if made.get("own") else {})
            | dict(spoken or {}),
            personal=personal,
        )

    def _changed(
        self, customer: str, spoken: Mapping[str, Any], actor: Mapping[str, str], now_us: int
    ) -> dict[str, Any]:
        return record(
            "customer.changed",
            f"customers/{customer}/customer.changed/{now_us}",
            tenant=self._edge.tenant,
            subject=customer,
            actor=actor,
            at_us=now_us,
            body=spoken,
        )


def _spoken(customer: Mapping[str, Any]) -> dict[str, Any]:
    """How a customer is spoken to: it stands on record, so that it can be brought back."""
    return {key: customer[key] for key in ("language", "zone", "ladder") if customer.get(key)}


def telling_of(
    customer: str,
    older: Sequence[Mapping[str, Any]],
    come: Sequence[Mapping[str, Any]],
    gone: Sequence[Mapping[str, Any]],
    now_us: int,
) -> dict[str, Any] | None:
    """What all older channels are told of a change; None where there is no older one."""
    to = [{"kind": one["kind"], "address": one["address"]} for one in older if one["verified"]]
    if not to:
        return None
    return {
        "v": 1,
        "customer": customer,
        "added": [one["kind"] for one in come],
        "removed": [one["kind"] for one in gone],
        "at": events.rfc3339(now_us),
        "to": to,
    }


def _news(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What came and what went; one that was bound anew only came."""
    stayed = {_mark(one): _bound(one) for one in before}
    come = [one for one in after if stayed.get(_mark(one)) != _bound(one)]
    there = {_mark(one) for one in after}
    return come, [one for one in before if _mark(one) not in there]


def _bound(channel: Mapping[str, Any]) -> dict[str, Any]:
    """A channel without the consent, which comes and goes and binds nothing."""
    return {name: value for name, value in channel.items() if name != "consent"}


def _agreed(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The channels whose consent is another than before."""
    was = {_mark(one): one.get("consent") for one in before}
    return [one for one in after if one.get("consent") != was.get(_mark(one))]


def _with_language(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {"language": "en", "zone": "UTC", "channels": [], **stored}


def _channels(stored: bytes) -> list[dict[str, Any]]:
    if not stored:
        return []
    channels: list[dict[str, Any]] = orjson.loads(stored)["channels"]
    return [channel for channel in channels if "token" in channel]


def _mark(channel: Mapping[str, Any]) -> tuple[str, str]:
    return channel["kind"], channel["token"]
