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
from gateway.devices import Credential, Credentials, Signed, ready
from gateway.enrolment import Enrolment
from gateway.pages import Pages
from gateway.passkeys import TIMEOUT_MS, Passkeys, rp_of
from gateway.pending import Pending, actor_of, json_answer
from gateway.problems import Problem
from gateway.turns import Turns
from gateway.wanted import OwnWanted, Wanted, Word, channel_kept, channel_of, device_of, read
from risk import events, signed
from risk.binding import Approval, Binding, lacks, may_confirm
from risk.privacy import canonical
from risk.signed import Unsigned

ASKED_SECONDS = 600
ASKED_A_MINUTE = 240  # by anybody: what is asked for binds nothing, and is forgotten
REFUSED_ON_RECORD = 5  # of one binding


class Bindings:
    """Makes bindings, once there are words enough for them."""

    def __init__(
        self,
        *,
        turns: Turns,
        callers: Callers,
        pages: Pages,
        pending: Pending,
        enrolment: Enrolment,
        customers: Customers,
        credentials: Credentials,
        passkeys: Passkeys,
        wait_us: int,
        institution: str,
    ) -> None:
        self._turns, self._callers, self._pages = turns, callers, pages
        self._pending, self._enrolment = pending, enrolment
        self._customers, self._credentials, self._passkeys = customers, credentials, passkeys
        self._wait_us, self._institution = wait_us, institution
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
        minute = f"rb:bindings:asked:{self._pending.clock() // 60_000_000}"
        number = await self._turns.ask("INCR", minute)
        await self._turns.ask("EXPIRE", minute, 120)
        if number > ASKED_A_MINUTE:
            raise Problem("away", "Too many ask at once; try again in a minute.")
        binding = self._made(wanted, "", "")
        await self._pending.put(binding, ASKED_SECONDS)
        told = {"id": binding["id"], "kind": binding["kind"], "state": "asked"}
        return json_answer(told, 201, self._pages)

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
        """``POST /v1/bindings/{id}/signing``: what a passkey signs; the page shows this very text.

        An empty list of credentials asks for any passkey of this page: it says who signs.
        """
        self._pages.need_own(request)
        await json_of(request)
        _, binding = await self._pending.get(request.match_info["binding"])
        _refuse_settled(binding)
        rp_id, keys = rp_of(self._pages.own_origin(request)), list[Credential]()
        if binding["customer"]:
            keys = ready(await self._credentials.of(binding["customer"]), "passkey", rp_id)
            if not keys:
                raise Problem("no_passkey", "No passkey of this customer is enrolled for this page")
        told = {
            "institution": self._institution,
            "statement": self._statement(binding).decode(),
            "rp_id": rp_id,
            "timeout": TIMEOUT_MS,
            "credentials": [one.id for one in keys],
        }
        return json_answer(told, 200, self._pages)

    async def approve(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/approve``: another person's word, or a key's of the customer."""
        word = read(Word, await json_of(request))
        if word.assertion is not None:
            self._pages.need_own(request)
        raw, binding = await self._pending.get(request.match_info["binding"])
        _refuse_settled(binding)
        now_us = self._pending.clock()
        if word.assertion is not None:
            origin = self._pages.own_origin(request)
            binding, approval = await self._passkey(word.assertion, binding, origin, now_us)
        elif word.jws is not None and binding["customer"]:
            approval = await self._device(word.jws, binding, now_us)
        else:
            self._callers.need(request, "officer")
            if word.staff is None or not binding["customer"]:
                raise events.Refused([events.Problem("staff", "a staff number", "nothing")])
            approval = Approval("person", word.staff)
        given = [*binding["by"], [approval.kind, approval.id]]
        return await self._go_on({**binding, "by": given}, now_us, was=raw)

    async def _passkey(
        self, given: dict[str, Any], binding: dict[str, Any], origin: str, now_us: int
    ) -> tuple[dict[str, Any], Approval]:
        """The customer's own older passkey; of a wish without a name it says whose it is."""
        said = self._statement(binding)
        try:
            found = await self._passkeys.check_statement(given, said, binding["customer"], origin)
        except Unsigned as refused:
            raise await self._refuse(binding, refused, given, now_us) from refused
        key = found.credential
        if not binding["customer"]:
            if not key.own:
                raise Problem("forbidden", "A passkey as old as this binds nothing; ask the bank")
            binding = {**binding, "customer": key.customer, "own": key.own}
        if not self._old_enough(key, now_us):
            await self._pending.note(binding, "access.denied", "fresh", now_us)
            raise Problem("fresh_binding", "A passkey this young approves nothing yet.")
        try:
            await self._credentials.spend(found, binding["id"])
        except Unsigned as refused:
            raise await self._refuse(binding, refused, given, now_us) from refused
        approval = Approval("factor", f"passkey/{key.id}")
        await self._on_record(binding, approval, found, now_us)
        return binding, approval

    async def _on_record(
        self, binding: dict[str, Any], approval: Approval, found: Signed, now_us: int
    ) -> None:
        """All that anybody needs to check the signature again, as with an answer."""
        spoken = {**binding, "by": [*binding["by"], [approval.kind, approval.id]]}
        personal = {
            path: self._pending.personal(path, value, binding["customer"])
            for path, value in found.personal.items()
        }
        await self._pending.note(
            spoken, "step", "signed", now_us,
            body=found.evidence, personal=personal, strength="signed", grade=2,
        )  # fmt: skip

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
            raise await self._refuse(binding, refused, {}, now_us) from refused
        if not self._old_enough(credential, now_us):
            await self._pending.note(binding, "access.denied", "fresh", now_us)
            raise Problem("fresh_binding", "A key this young approves nothing yet.")
        return Approval("factor", f"device/{credential.id}")

    def _old_enough(self, credential: Credential, now_us: int) -> bool:
        bound_us = events.parse_us(credential.bound)
        return may_confirm(
            Binding(credential.kind, bound_us, credential.waits), now_us, self._wait_us
        )

    async def _refuse(
        self, binding: dict[str, Any], refused: Unsigned, given: dict[str, Any], now_us: int
    ) -> Problem:
        """Put a refused signature on record where it is somebody's; gives the problem."""
        customer = binding["customer"]
        if not customer:
            known = await self._credentials.one(str(given.get("id"))[:512])
            customer = known.customer if known is not None else ""
        counted = f"rb:bindings:refused:{binding['id']}"
        number = await self._turns.ask("INCR", counted)
        await self._turns.ask("EXPIRE", counted, ASKED_SECONDS)
        if customer and number <= REFUSED_ON_RECORD:
            about = {**binding, "customer": customer}
            await self._pending.note(about, "access.denied", refused.why, now_us)
        return Problem("not_signed", f"Not taken: {refused}.", why=refused.why)

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
