"""Who may bind a channel or a key to a customer, and who is told of it?

::

    POST /v1/customers/{id}/bindings
        the bank's system, naming the factor that it checked ------------------> enough
        a person at the bank --> waiting --another person, or the customer's --> enough
                                            own older key
    POST /v1/bindings (the page /bind)
        a customer --> asked --signed with a passkey that is old enough -------> enough
    enough --> a channel or a device key is bound at once; for a passkey there is a link, used once
           --> binding.added or credential.enrolled, account_change, and all older channels are told

What is bound while nothing else is waits for nothing; anything later denies at once, and confirms
once the policy's hours have passed. Unbinding (`gateway/unbinding.py`) is told too.
"""

import secrets
from typing import Any

from aiohttp import web

from gateway.callers import Callers, json_of
from gateway.customers import Customers
from gateway.devices import Credential, Credentials
from gateway.enrolment import Enrolment
from gateway.own_word import OwnWord
from gateway.pages import Pages
from gateway.pending import Pending, actor_of, json_answer
from gateway.problems import Problem
from gateway.wanted import OwnWanted, Wanted, Word, channel_kept, channel_of, device_of, read
from risk import events, signed
from risk.binding import Approval, lacks
from risk.privacy import canonical
from risk.signed import Unsigned


class Bindings:
    """Makes bindings, once there are words enough for them."""

    def __init__(
        self,
        *,
        callers: Callers,
        pages: Pages,
        pending: Pending,
        enrolment: Enrolment,
        customers: Customers,
        credentials: Credentials,
        own: OwnWord,
    ) -> None:
        self._callers, self._pages, self._own = callers, pages, own
        self._pending, self._enrolment = pending, enrolment
        self._customers, self._credentials = customers, credentials
        customers.changed = pending.changed

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/bind", self.get_page),
            web.get("/bind/{binding}", self.get_page),
            web.post("/v1/bindings", self.post_own),
            web.post("/v1/customers/{id}/bindings", self.post),
            web.post("/v1/bindings/{binding}/signing", self.post_signing),
            web.post("/v1/bindings/{binding}/approve", self.approve),
        ]

    # -- asking for a binding --------------------------------------------------------------

    async def post(self, request: web.Request) -> web.Response:
        """``POST /v1/customers/{id}/bindings``: 201 bound or open, 202 where a word is missing."""
        role = self._callers.need(request, "bank", "officer")
        wanted = read(Wanted, await json_of(request))
        own_id, customer = self._pending.customer(request)
        approval = _approval(role, wanted)
        binding = self._made(wanted, customer, self._pending.sealed(own_id))
        if wanted.kind == "device":
            binding["device"] = device_of(wanted.key)
        given = {**binding, "state": "waiting", "by": [[approval.kind, approval.id]]}
        return await self._go_on(given, self._pending.clock(), was=None)

    async def post_own(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings``: a customer asks, on the bank's page; who it is, they sign next."""
        self._pages.need_own(request)
        wanted = read(OwnWanted, await json_of(request))
        return await self._own.asked(self._made(wanted, "", ""))

    def _made(self, wanted: Wanted | OwnWanted, customer: str, own: str) -> dict[str, Any]:
        """What is to be kept of a wish; an address that can't be is refused right here."""
        now_us, channel = self._pending.clock(), ""
        if wanted.kind not in ("passkey", "device"):
            made = channel_of(wanted.model_dump(include={"kind", "address", "keys"}))
            self._customers.channel(made, now_us, waits=True)
            channel = made.model_dump_json(include={"kind", "address", "keys"})
        return {
            "v": 1,
            "id": "bn_" + secrets.token_hex(12),
            "customer": customer,
            "own": own,
            "kind": wanted.kind,
            "name": wanted.name,
            "channel": self._pending.sealed(channel),
            "device": None,
            "by": [],
            "state": "asked",
            "created": events.rfc3339(now_us),
        }

    # -- the words for it ------------------------------------------------------------------

    async def get_page(self, request: web.Request) -> web.Response:
        """``GET /bind``, ``GET /bind/{id}``: the page on which a customer signs for a binding."""
        self._pages.own_origin(request)
        return self._pages.page("bind.html")

    async def post_signing(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/signing``: what a passkey signs, as the page shows it."""
        self._pages.need_own(request)
        await json_of(request)
        _, binding = await self._pending.get(request.match_info["binding"])
        _refuse_settled(binding)
        return await self._own.shown(request, binding, self._statement(binding))

    async def approve(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/approve``: another person's word, or a key's of the customer."""
        word = read(Word, await json_of(request))
        if word.assertion is not None:
            self._pages.need_own(request)
        raw, binding = await self._pending.get(request.match_info["binding"])
        _refuse_settled(binding)
        now_us = self._pending.clock()
        if word.assertion is not None:
            binding, approval = await self._own.given(
                request, word.assertion, binding, self._statement(binding), now_us
            )
        elif word.jws is not None and binding["customer"]:
            approval = await self._device(word.jws, binding, now_us)
        else:
            self._callers.need(request, "officer")
            if word.staff is None or not binding["customer"]:
                raise events.Refused([events.Problem("staff", "a staff number", "nothing")])
            approval = Approval("person", word.staff)
        given = [*binding["by"], [approval.kind, approval.id]]
        return await self._go_on({**binding, "by": given}, now_us, was=raw)

    async def _device(self, compact: str, binding: dict[str, Any], now_us: int) -> Approval:
        """The customer's own older device key; it must be old enough to confirm."""
        try:
            credential = await self._credentials.one(signed.kid_of(compact))
            if credential is None or credential.customer != binding["customer"]:
                raise Unsigned("credential", "needed a device key of this customer")
            _, facts = signed.check_jws(compact, credential.algorithm, credential.der)
            if facts != {"approve": binding["id"], "kind": binding["kind"]}:
                raise Unsigned("edited", "needed a statement about this binding")
        except Unsigned as refused:
            raise await self._own.refuse(binding, refused, {}, now_us) from refused
        if not self._own.old_enough(credential.binding(), now_us):
            await self._pending.note(binding, "access.denied", "fresh", now_us)
            raise Problem("fresh_binding", "A key this young approves nothing yet.")
        return Approval("factor", f"device/{credential.id}")

    def _statement(self, binding: dict[str, Any]) -> bytes:
        """The bytes that a passkey signs: what is bound, in the words that the page shows."""
        channel = self._pending.opened(binding["channel"])
        address = channel_kept(channel).address if channel else ""
        device = binding["device"] or {}
        return canonical(
            {
                "approve": binding["id"],
                "kind": binding["kind"],
                "address": address or device.get("id") or "",
                "name": binding["name"],
                "created": binding["created"],
            }
        )

    # -- enough ----------------------------------------------------------------------------

    async def _go_on(self, binding: dict[str, Any], now_us: int, was: bytes | None) -> web.Response:
        """Bind where the words are enough; else wait for another, on record either way."""
        missing = lacks(Approval(kind, who) for kind, who in binding["by"])
        told: dict[str, Any] = {"id": binding["id"], "kind": binding["kind"]}
        if missing is not None:
            if was is not None:  # the same person again: refused, and on record
                await self._pending.note(binding, "access.denied", "same_person", now_us)
                raise Problem("not_enough", f"Needed {missing}.", needs=missing)
            await self._pending.put(binding)
            await self._pending.note(binding, "step", "waiting", now_us)
            return json_answer({**told, "state": "waiting", "needs": missing}, 202)
        if binding["kind"] == "passkey":
            opened = await self._enrolment.open(binding, now_us)
            return json_answer({**told, "state": "open", **opened}, 201)
        bound = {**binding, "state": "bound"}
        if binding["kind"] == "device":
            was = was or await self._pending.put(binding)
            device = binding["device"]
            made = Credential(
                id=device["id"],
                kind="device",
                customer=binding["customer"],
                der=signed.unb64(device["der"]),
                bound="",
                waits=True,
                algorithm=device["algorithm"],
            )
            credential = await self._enrolment.enrol(bound, was, made, now_us)
            return json_answer(
                {**told, "state": "bound", "token": credential.id, "waits": credential.waits}, 201
            )
        channel = channel_kept(self._pending.opened(binding["channel"]), verified=True)
        done = await self._customers.bind(
            binding["customer"], channel, actor_of(binding["by"]), now_us
        )
        await self._pending.put(bound)
        if done.changed and done.before:
            own_id = self._pending.opened(binding["own"])
            await self._pending.changed(own_id, "jid", "bound", now_us)
        last = done.channels[-1]
        return json_answer(
            {**told, "state": "bound", "token": str(last["token"]), "waits": bool(last["waits"])},
            201,
        )


def _approval(role: str, wanted: Wanted) -> Approval:
    if role == "bank":
        if not wanted.factor:
            raise events.Refused(
                [events.Problem("factor", "the factor that the bank has checked", "nothing")]
            )
        return Approval("system", wanted.factor)
    if wanted.staff is None:
        raise events.Refused([events.Problem("staff", "a staff number", "nothing")])
    return Approval("person", wanted.staff)


def _refuse_settled(binding: dict[str, Any]) -> None:
    if binding["state"] not in ("waiting", "asked"):
        raise Problem("used", "This binding waits for no other word")
