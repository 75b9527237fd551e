"""Who may bind a channel or a key to a customer, and who is told of it?

::

    POST /v1/customers/{id}/bindings
        the bank's system, naming the factor that it checked ------------------> enough
        a person at the bank --> waiting --another person, or the customer's --> enough
                                            own older device key
    enough --> a channel or a device key is bound at once; for a passkey there is a link, used once
           --> binding.added or credential.enrolled, account_change, and all older channels are told

What is bound while nothing else is waits for nothing; anything later denies at once, and confirms
once the policy's hours have passed. Unbinding is told too, also to the channel that goes.
"""

import hashlib
import hmac
import os
import secrets
import unicodedata
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Annotated, Any, Literal, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from gateway.callers import Callers, json_of
from gateway.customers import Channel, Customers, telling_of
from gateway.devices import Credential, Credentials
from gateway.edge import Edge
from gateway.pages import Pages
from gateway.passkeys import Passkeys
from gateway.ports import GatewayPorts
from gateway.problems import Problem
from gateway.reading import Readings
from gateway.records import caller, record
from gateway.turns import Turns
from risk import events, names, signed
from risk.binding import Approval, Binding, lacks, may_confirm
from risk.privacy import SealBroken, open_sealed
from risk.signed import Unsigned

SCRIPT = resources.files("gateway").joinpath("bind.lua").read_text()
OPEN_SECONDS = 1_800
KEPT_SECONDS = 86_400
_STAFF = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"
_CHANNELS = ("xmpp", "web", "push", "sms", "voice")

Staff = Annotated[str, StringConstraints(pattern=_STAFF)]
Body = TypeVar("Body", bound=BaseModel)
Accept = Callable[[dict[str, Any]], Awaitable[None]]


class Wanted(BaseModel):
    """What is to be bound, and on whose word.

    ``factor`` names what the bank's system checked, ``staff`` is the number of a person there.
    ``address`` is a channel's (and ``keys`` a push subscription's), ``key`` the public JWK of a
    device key.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Literal["xmpp", "web", "push", "sms", "voice", "passkey", "device"]
    address: Annotated[str, StringConstraints(max_length=2048)] = ""
    keys: dict[str, str] | None = None
    key: dict[str, Any] | None = None
    name: Annotated[str, StringConstraints(max_length=40)] = ""
    factor: Annotated[str, StringConstraints(max_length=40)] = ""
    staff: Staff | None = None


class Word(BaseModel):
    """A second word: a person's number, or a JWS of the customer's older device key."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    staff: Staff | None = None
    jws: str | None = None


class Secret(BaseModel):
    """A duress word: a word or a number, without spaces."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    word: Annotated[str, StringConstraints(pattern=r"^\S{4,32}$")]


class Bindings:
    """Makes and takes away bindings; ``accept`` takes in the event that says so."""

    def __init__(
        self,
        *,
        turns: Turns,
        edge: Edge,
        edge_key: bytes,
        callers: Callers,
        pages: Pages,
        customers: Customers,
        credentials: Credentials,
        passkeys: Passkeys,
        accept: Accept,
        wait_us: int,
        readings: Readings,
        ports: GatewayPorts,
    ) -> None:
        self._readings = readings
        self._turns, self._edge, self._edge_key = turns, edge, edge_key
        self._callers, self._pages = callers, pages
        self._customers, self._credentials, self._passkeys = customers, credentials, passkeys
        self._accept, self._wait_us, self._clock = accept, wait_us, ports.clock
        customers.changed = self._changed

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/customers/{id}/bindings", self.post),
            web.get("/v1/customers/{id}/bindings", self.get),
            web.delete("/v1/customers/{id}/bindings/{kind}/{token}", self.delete),
            web.post("/v1/customers/{id}/freeze", self.post_freeze),
            web.post("/v1/customers/{id}/unfreeze", self.post_unfreeze),
            web.put("/v1/customers/{id}/duress", self.put_duress),
            web.delete("/v1/customers/{id}/duress", self.delete_duress),
            web.post("/v1/bindings/{binding}/approve", self.approve),
            web.get("/e/{binding}", self.get_page),
            web.post("/v1/bindings/{binding}/options", self.post_options),
            web.post("/v1/bindings/{binding}/credential", self.post_credential),
        ]

    # -- asking for a binding --------------------------------------------------------------

    async def post(self, request: web.Request) -> web.Response:
        """``POST /v1/customers/{id}/bindings``: 201 bound or open, 202 where a word is missing."""
        role = self._callers.need(request, "bank", "officer")
        wanted = _read(Wanted, await json_of(request))
        own_id, customer = self._customer(request)
        approval = self._approval(role, wanted)
        now_us, device, channel = self._clock(), None, ""
        if wanted.kind == "device":
            device = _device(wanted.key)
        elif wanted.kind != "passkey":  # refused now rather than after the second word
            made = _channel(wanted.model_dump(include={"kind", "address", "keys"}))
            self._customers.channel(made, now_us, waits=True)
            channel = made.model_dump_json(include={"kind", "address", "keys"})
        binding: dict[str, Any] = {
            "v": 1,
            "id": "bn_" + secrets.token_hex(12),
            "customer": customer,
            "own": self._edge.seal_address(own_id),
            "kind": wanted.kind,
            "name": wanted.name,
            "channel": self._edge.seal_address(channel),
            "device": device,
            "by": [[approval.kind, approval.id]],
            "state": "waiting",
            "created": events.rfc3339(now_us),
        }
        return await self._go_on(request, binding, now_us, was=None)

    async def approve(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/approve``: another person's word, or the customer's key's."""
        word = _read(Word, await json_of(request))
        raw, binding = await self._binding(request.match_info["binding"])
        if binding["state"] != "waiting":
            raise Problem("used", "This binding waits for no other word")
        now_us = self._clock()
        if word.jws is not None:
            approval = await self._factor(word.jws, binding, now_us)
        else:
            self._callers.need(request, "officer")
            if word.staff is None:
                raise events.Refused([events.Problem("staff", "a staff number", "nothing")])
            approval = Approval("person", word.staff)
        given = [*binding["by"], [approval.kind, approval.id]]
        return await self._go_on(request, {**binding, "by": given}, now_us, was=raw)

    async def _go_on(
        self, request: web.Request, binding: dict[str, Any], now_us: int, was: bytes | None
    ) -> web.Response:
        """Bind where the words are enough; else wait for another, on record either way."""
        key = _key(binding["id"])
        missing = lacks(Approval(kind, who) for kind, who in binding["by"])
        told: dict[str, Any] = {"id": binding["id"], "kind": binding["kind"]}
        if missing is not None:
            if was is not None:  # the same person again: refused, and on record
                await self._note(binding, "access.denied", "same_person", now_us)
                raise Problem("not_enough", f"Needed {missing}.", needs=missing)
            await self._turns.ask("SET", key, orjson.dumps(binding), "EX", KEPT_SECONDS)
            await self._note(binding, "step", "waiting", now_us)
            return _json({**told, "state": "waiting", "needs": missing}, 202)
        if binding["kind"] == "passkey":
            token = secrets.token_urlsafe(24)
            opened = {**binding, "state": "open", "token": _digest(token)}
            await self._turns.ask("SET", key, orjson.dumps(opened), "EX", OPEN_SECONDS)
            await self._note(opened, "step", "open", now_us)
            expires = events.rfc3339(now_us + OPEN_SECONDS * 1_000_000)
            link = f"/e/{binding['id']}#{token}"
            return _json({**told, "state": "open", "link": link, "expires": expires}, 201)
        bound = {**binding, "state": "bound"}
        if binding["kind"] == "device":
            if was is None:
                was = orjson.dumps(binding)
                await self._turns.ask("SET", key, was, "EX", KEPT_SECONDS)
            waits = await self._customers.bound_before(binding["customer"])
            device = binding["device"]
            credential = Credential(
                id=device["id"],
                kind="device",
                customer=binding["customer"],
                der=signed.unb64(device["der"]),
                bound=events.rfc3339(now_us),
                waits=waits,
                name=binding["name"],
                algorithm=device["algorithm"],
            )
            await self._enrol(bound, was, credential, 0, now_us)
            token = credential.id
        else:
            channel = _channel(orjson.loads(self._opened(binding["channel"])) | {"verified": True})
            actor = _actor(binding["by"])
            done = await self._customers.bind(binding["customer"], channel, actor, now_us)
            await self._turns.ask("SET", key, orjson.dumps(bound), "EX", KEPT_SECONDS)
            waits = bool(done.channels[-1]["waits"])
            token = str(done.channels[-1]["token"])
            if done.changed and done.before:
                await self._changed(self._opened(binding["own"]), "jid", "bound", now_us)
        return _json({**told, "state": "bound", "token": token, "waits": waits}, 201)

    def _approval(self, role: str, wanted: Wanted) -> Approval:
        if role == "bank":
            if not wanted.factor:
                raise events.Refused(
                    [events.Problem("factor", "the factor that the bank has checked", "nothing")]
                )
            return Approval("system", wanted.factor)
        if wanted.staff is None:
            raise events.Refused([events.Problem("staff", "a staff number", "nothing")])
        return Approval("person", wanted.staff)

    async def _factor(self, compact: str, binding: dict[str, Any], now_us: int) -> Approval:
        """The customer's own older device key; it must be old enough to confirm."""
        try:
            credential = await self._credentials.one(signed.kid_of(compact))
            if credential is None or credential.customer != binding["customer"]:
                raise Unsigned("credential", "needed a device key of this customer")
            _, facts = signed.check_jws(compact, credential.algorithm, credential.der)
            if facts != {"approve": binding["id"], "kind": binding["kind"]}:
                raise Unsigned("edited", "needed a statement about this binding")
        except Unsigned as refused:
            await self._note(binding, "access.denied", refused.why, now_us)
            raise Problem("not_signed", f"Not taken: {refused}.", why=refused.why) from refused
        told = Binding("device", events.parse_us(credential.bound), credential.waits)
        if not may_confirm(told, now_us, self._wait_us):
            await self._note(binding, "access.denied", "fresh", now_us)
            raise Problem("fresh_binding", "A key this young approves nothing yet.")
        return Approval("factor", f"device/{credential.id}")

    # -- a passkey's page ------------------------------------------------------------------

    async def get_page(self, request: web.Request) -> web.Response:
        """``GET /e/{id}``: the same page for every enrolment; it knows nothing yet."""
        self._pages.own_origin(request)
        return self._pages.page("enrol.html")

    async def post_options(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/options``: what the authenticator is asked for."""
        self._pages.need_own(request)
        _, binding, _ = await self._opened_link(request)
        challenge = os.urandom(32)
        await self._turns.ask("SET", _key(binding["id"]) + ":asked", challenge.hex(), "EX", 600)
        known = [
            one for one in await self._credentials.of(binding["customer"]) if one.kind == "passkey"
        ]
        origin = self._pages.own_origin(request)
        options = self._passkeys.new(origin, binding["customer"], challenge, known)
        return _json({"options": options}, 200, self._pages)

    async def post_credential(self, request: web.Request) -> web.Response:
        """``POST /v1/bindings/{id}/credential``: the new passkey; its link is spent with it."""
        self._pages.need_own(request)
        raw, binding, body = await self._opened_link(request)
        asked = await self._turns.ask("GETDEL", _key(binding["id"]) + ":asked")
        now_us, origin = self._clock(), self._pages.own_origin(request)
        try:
            if asked is None:
                raise Unsigned("replayed", "needed the options of this link first")
            made, count = self._passkeys.registered(
                body.get("credential"), origin, binding["customer"], bytes.fromhex(asked.decode())
            )
        except Unsigned as refused:
            await self._note(binding, "access.denied", refused.why, now_us)
            raise Problem("not_signed", f"Not taken: {refused}.", why=refused.why) from refused
        waits = await self._customers.bound_before(binding["customer"])
        credential = Credential.load(
            orjson.dumps(
                orjson.loads(made.dump())
                | {"bound": events.rfc3339(now_us), "waits": waits, "name": binding["name"]}
            )
        )
        await self._enrol({**binding, "state": "bound"}, raw, credential, count, now_us)
        return _json({"state": "bound", "waits": waits}, 201, self._pages)

    async def _opened_link(
        self, request: web.Request
    ) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
        body = await json_of(request)
        token = body.get("token") if isinstance(body, dict) else None
        if not isinstance(token, str):
            raise events.Refused([events.Problem("token", "a string", type(token).__name__)])
        raw, binding = await self._binding(request.match_info["binding"])
        right = str(binding.get("token") or "")
        if not right or not hmac.compare_digest(right.encode(), _digest(token).encode()):
            raise Problem("unauthorized", "The link is not complete, or not of this binding")
        if binding["state"] != "open":
            raise Problem("used", "This link has done its work")
        return raw, binding, body

    async def _enrol(
        self, binding: dict[str, Any], was: bytes, credential: Credential, count: int, now_us: int
    ) -> None:
        """Write a key with its record; older channels are told in the same step."""
        customer = binding["customer"]
        stored = await self._customers.stored(customer)
        older = [one for one in stored.get("channels", ()) if "token" in one]
        telling = telling_of(customer, older, [{"kind": credential.kind}], [], now_us)
        made = self._record(
            binding,
            "credential.enrolled",
            {
                "credential": credential.id,
                "kind": credential.kind,
                "public_key": signed.b64(credential.der),
                "algorithm": credential.algorithm or "webauthn",
                "rp_id": credential.rp_id,
                "waits": credential.waits,
                "by": binding["by"],
            },
            now_us,
        )
        answer = await self._turns.run(
            "bind",
            _key(binding["id"]),
            was,
            orjson.dumps(binding),
            KEPT_SECONDS,
            names.credential(credential.id),
            credential.dump(),
            count,
            names.credentials(customer),
            credential.id,
            names.AUDIT,
            orjson.dumps([made]),
            names.TELLINGS,
            orjson.dumps(telling) if telling else "",
        )
        if answer == b"taken":
            raise Problem("bound_elsewhere", "This key is bound already")
        if answer != b"ok":
            raise Problem("used", "This link has done its work")
        await self._changed(self._opened(binding["own"]), "credential", "bound", now_us)

    # -- what is bound ---------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.Response:
        """``GET /v1/customers/{id}/bindings``: what is bound, and since when."""
        role = self._callers.need(request, "bank", "officer")
        _, customer = self._customer(request)
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
        return _json({"bindings": rows}, 200)

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE …/bindings/{kind}/{token}``: unbind at once; all channels are told, it too."""
        role = self._callers.need(request, "bank", "officer")
        own_id, customer = self._customer(request)
        kind, token = request.match_info["kind"], request.match_info["token"]
        actor = self._actor_of(role, request.query.get("staff"))
        now_us = self._clock()
        if kind in _CHANNELS:
            await self._customers.unbind(customer, kind, token, actor, now_us)
            await self._changed(own_id, "jid", "unbound", now_us)
            return _json({"state": "unbound"}, 200)
        credential = await self._credentials.one(token)
        if credential is None or credential.customer != customer or credential.kind != kind:
            raise Problem("not_found", "No such binding of this customer is known")
        stored = await self._customers.stored(customer)
        older = [one for one in stored.get("channels", ()) if "token" in one]
        telling = telling_of(customer, older, [], [{"kind": kind}], now_us)
        made = record(
            "binding.removed",
            f"customers/{customer}/binding.removed/{kind}.{token}.{now_us}",
            tenant=self._edge.tenant, case=None, event=None, subject=customer, actor=actor,
            at_us=now_us, body={"channel": kind, "token": token},
        )  # fmt: skip
        await self._turns.ask("DEL", names.credential(token))
        await self._turns.ask("SREM", names.credentials(customer), token)
        await self._turns.ask("XADD", names.AUDIT, "*", "records", orjson.dumps([made]))
        if telling:
            await self._turns.ask("XADD", names.TELLINGS, "*", "telling", orjson.dumps(telling))
        await self._changed(own_id, "credential", "unbound", now_us)
        return _json({"state": "unbound"}, 200)

    # -- block and duress ------------------------------------------------------------------

    async def post_freeze(self, request: web.Request) -> web.Response:
        """``POST …/freeze``: block all payments at once; anybody at the bank may."""
        return await self._freeze(request, "freeze", "bank", "officer")

    async def post_unfreeze(self, request: web.Request) -> web.Response:
        """``POST …/unfreeze``: the bank has spoken with the customer; its system alone may."""
        return await self._freeze(request, "unfreeze", "bank")

    async def _freeze(self, request: web.Request, kind: str, *roles: str) -> web.Response:
        role = self._callers.need(request, *roles)
        _, customer = self._customer(request)
        said = {
            "v": 1,
            "kind": kind,
            "customer": customer,
            "channel": role,
            "received": events.rfc3339(self._clock()),
        }
        await self._turns.ask("XADD", names.ANSWERS, "*", "answer", orjson.dumps(said))
        return _json({"state": kind}, 202)

    async def put_duress(self, request: web.Request) -> web.Response:
        """``PUT …/duress``: the word is kept as a keyed hash, and nowhere in clear."""
        self._callers.need(request, "bank")
        _, customer = self._customer(request)
        word = _read(Secret, await json_of(request)).word
        token = duress_token(self._edge, customer, word)
        await self._turns.ask("SET", names.duress(customer), token)
        return _json({"state": "set"}, 200)

    async def delete_duress(self, request: web.Request) -> web.Response:
        """``DELETE …/duress``: there is no duress word any more."""
        self._callers.need(request, "bank")
        _, customer = self._customer(request)
        await self._turns.ask("DEL", names.duress(customer))
        return _json({"state": "unset"}, 200)

    # -- small things ----------------------------------------------------------------------

    def _customer(self, request: web.Request) -> tuple[str, str]:
        own_id = request.match_info["id"]
        if len(own_id) > 128:
            got = [events.Problem("id", "at most 128 characters", f"{len(own_id)} characters")]
            raise events.Refused(got)
        return own_id, self._edge.customer_of(own_id)

    async def _binding(self, ident: str) -> tuple[bytes, dict[str, Any]]:
        raw = await self._turns.ask("GET", _key(ident[:64]))
        if raw is None:
            raise Problem("not_found", "No binding of that id is under way")
        return bytes(raw), orjson.loads(raw)

    def _opened(self, sealed: str) -> str:
        try:
            return open_sealed(self._edge_key, sealed, b"address").decode()
        except SealBroken as broken:
            raise Problem("not_found", "What was asked for can't be read any more") from broken

    def _actor_of(self, role: str, staff: str | None) -> dict[str, str]:
        if role == "bank":
            return caller(role)
        try:
            number = Word(staff=staff).staff
        except ValidationError:
            number = None
        if number is None:
            raise events.Refused([events.Problem("staff", "a staff number", "nothing")])
        return {"type": "person", "id": number, "role": "officer"}

    async def _changed(self, own_id: str, change: str, how: str, now_us: int) -> None:
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

    async def _note(self, binding: dict[str, Any], kind: str, what: str, now_us: int) -> None:
        body = {"binding": binding["id"], "kind": binding["kind"], "what": what,
                "by": binding["by"]}  # fmt: skip
        made = self._record(binding, kind, body, now_us, grade=1)
        await self._turns.ask("XADD", names.AUDIT, "*", "records", orjson.dumps([made]))

    def _record(
        self,
        binding: dict[str, Any],
        kind: str,
        body: dict[str, Any],
        now_us: int,
        grade: int = 2,
    ) -> dict[str, Any]:
        return record(
            kind,
            f"bindings/{binding['id']}/{kind}.{now_us}",
            tenant=self._edge.tenant,
            case=None,
            event=None,
            subject=binding["customer"],
            actor=_actor(binding["by"]),
            at_us=now_us,
            body=body,
            grade=grade,
        )


def duress_token(edge: Edge, customer: str, word: str) -> str:
    """A duress word as it is kept: a keyed hash, of the customer's own."""
    flat = unicodedata.normalize("NFKC", word).casefold()
    return edge.tokens.token("duress", f"{customer}\0{flat}")


def _device(jwk: Any) -> dict[str, str]:
    try:
        algorithm, der = signed.read_device_key(jwk)
    except ValueError as wrong:
        raise events.Refused([events.Problem("key", str(wrong), "something else")]) from wrong
    ident = "dk_" + signed.b64(hashlib.sha256(der).digest()[:18])
    return {"id": ident, "der": signed.b64(der), "algorithm": algorithm}


def _channel(told: dict[str, Any]) -> Channel:
    try:
        return Channel.model_validate(told)
    except ValidationError as wrong:
        said = wrong.errors(include_url=False)[0]["msg"].removeprefix("Value error, needed ")
        raise events.Refused([events.Problem("address", said, "something else")]) from None


def _actor(by: list[list[str]]) -> dict[str, str]:
    """Who bound it: of several words the last one, that made it enough."""
    kind, who = by[-1]
    if kind == "person":
        return {"type": "person", "id": who, "role": "officer"}
    if kind == "factor":
        return {"type": "customer", "id": who, "role": "customer"}
    return caller("bank")


def _read(model: type[Body], raw: Any) -> Body:
    if isinstance(raw, dict):
        events.screen(raw)
    try:
        return model.model_validate(raw)
    except ValidationError as wrong:
        raise events.Refused(
            [
                events.Problem(
                    ".".join(map(str, one["loc"])) or "body", one["msg"], "another value"
                )
                for one in wrong.errors(include_url=False)
            ]
        ) from None


def _key(ident: str) -> str:
    return f"rb:binding:{ident}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _json(value: Any, status: int, pages: Pages | None = None) -> web.Response:
    headers = pages.headers() if pages is not None else None
    return web.Response(
        status=status, body=orjson.dumps(value), content_type="application/json", headers=headers
    )
