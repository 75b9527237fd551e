"""Which keys does a customer sign with? How they are kept, and the check of a device key's JWS.

A credential is kept with its public key alone, since when it is bound, and whether it waits like
any younger binding. ``rb:credential:<id>`` is a hash: ``data`` (JSON) and ``count``, the greatest
signature counter that its authenticator has told.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import orjson

from gateway.turns import Turns
from risk import names, signed
from risk.signed import Unsigned

SCRIPT = resources.files("gateway").joinpath("spend_key.lua").read_text()
_MOST = 20
_KEPT_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Credential:
    """One key of a customer; ``der`` is its public key (SubjectPublicKeyInfo).

    ``cose`` and ``rp_id`` are a passkey's; ``algorithm`` (`signed.JWS_ALGORITHMS`) a device key's.
    ``own`` is the bank's own id of the customer, sealed; empty where it was not kept yet.
    """

    id: str
    kind: str
    customer: str
    der: bytes
    bound: str
    waits: bool
    name: str = ""
    algorithm: str = ""
    cose: bytes = b""
    rp_id: str = ""
    count: int = 0
    own: str = ""

    def of_binding(self, *, bound: str, waits: bool, name: str, own: str) -> "Credential":
        """The key as it is bound: since when, whether it waits, its name, and whose it is."""
        return replace(self, bound=bound, waits=waits, name=name, own=own)

    def binding(self) -> dict[str, Any]:
        """The binding as an answer names it."""
        ident = f"{self.kind}/{self.id}"
        return {"id": ident, "bound": self.bound, "waits": self.waits, "verified": True}

    def dump(self) -> bytes:
        """The durable form, with its version."""
        return orjson.dumps(
            {
                "v": 1,
                "id": self.id,
                "kind": self.kind,
                "customer": self.customer,
                "der": signed.b64(self.der),
                "bound": self.bound,
                "waits": self.waits,
                "name": self.name,
                "algorithm": self.algorithm,
                "cose": signed.b64(self.cose),
                "rp_id": self.rp_id,
                "own": self.own,
            }
        )

    @classmethod
    def load(cls, raw: bytes, count: int = 0) -> "Credential":
        """Read the durable form."""
        kept = orjson.loads(raw)
        if kept["v"] > 1:
            raise ValueError(f"credential: needed format 1, got {kept['v']}")
        del kept["v"]
        kept["der"], kept["cose"] = signed.unb64(kept["der"]), signed.unb64(kept["cose"])
        return cls(**kept, count=count)


@dataclass(frozen=True, slots=True)
class Signed:
    """A checked signature: by which key, over which statement, and what the record keeps of it."""

    credential: Credential
    statement: bytes
    mark: str
    count: int
    evidence: dict[str, Any]
    personal: dict[str, str]


class Credentials:
    """The keys of all customers, and the check of what a device key signed."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    async def one(self, ident: str) -> Credential | None:
        """A credential by its id."""
        data, count = await self._turns.ask("HMGET", names.credential(ident), "data", "count")
        return None if data is None else Credential.load(data, int(count or 0))

    async def of(self, customer: str) -> list[Credential]:
        """A customer's credentials, oldest first."""
        idents = await self._turns.ask("SMEMBERS", names.credentials(customer))
        found = [await self.one(ident.decode()) for ident in list(idents)[:_MOST]]
        return sorted((one for one in found if one is not None), key=lambda one: one.bound)

    async def used(self, mark: str) -> bool:
        """Whether these very bytes were an answer before."""
        return bool(await self._turns.ask("EXISTS", names.signed(mark)))

    async def spend(self, found: Signed, what: str) -> None:
        """Use a signature up for ``what``; `Unsigned` where another use of it was first."""
        verdict = await self._turns.run(
            "spend_key",
            names.signed(found.mark),
            names.credential(found.credential.id),
            found.count,
            what,
            _KEPT_SECONDS,
        )
        if verdict != b"ok":
            why = "credential" if verdict == b"gone" else verdict.decode()
            raise Unsigned(why, "another use of it was first")

    async def check_jws(
        self, compact: str, asked: dict[str, Any]
    ) -> tuple[str, str | None, Signed]:
        """Decision, reason and signature of a JWS about the question ``asked``; else `Unsigned`.

        Its key is a device key of the customer that is asked, it holds (`signed.check_answer`),
        and it was not an answer before.
        """
        credential = await self.one(signed.kid_of(compact))
        if (
            credential is None
            or credential.kind != "device"
            or credential.customer != asked["customer"]
        ):
            raise Unsigned("credential", "needed a device key of the customer that is asked")
        found = signed.check_answer(compact, credential.algorithm, credential.der, asked)
        mark = hashlib.sha256(found.compact.encode()).hexdigest()
        if await self.used(mark):
            raise Unsigned("replayed", "this signature was an answer before")
        evidence = {"credential": credential.id, "digest": mark}
        personal = {"jws": found.compact}
        made = Signed(credential, found.statement, mark, 0, evidence, personal)
        return found.decision, found.reason, made


def ready(credentials: Sequence[Credential], kind: str, rp_id: str = "") -> list[Credential]:
    """Those of a kind that can sign here."""
    return [one for one in credentials if one.kind == kind and one.rp_id == rp_id]
