"""Where do clear values end? Here: an event goes in as it was sent, and out as tokens and seals.

The keyed hash of the whole parsed body goes with it, so that the same id can be told from the
same id with another body; keyed, because a plain hash of a phone number is no secret.
"""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.ports import Locate
from gateway.records import caller, record
from risk import events, money, names
from risk.privacy import (
    NONCE_BYTES,
    KeyedHash,
    Tokens,
    canonical,
    field_key,
    looks_personal,
    seal,
)

CLASS = "rc10y"
Sent = events.Transaction | events.Login | events.AccountChange | events.Status
_SEALED_TEXT = ("memo", "detail")
_SEALED = frozenset([*_SEALED_TEXT, "sealed"])


@dataclass(frozen=True, slots=True)
class Accepting:
    """An event ready to be accepted: tokenised, sealed, with its hash and its first records."""

    id: str
    own_id: str
    type: str
    customer: str
    payee: str | None
    amount: tuple[int, str] | None
    time_us: int
    accepted_us: int
    partition: int
    mac: str
    envelope: bytes
    records: bytes
    trace: str


class Edge:
    """Makes tokens and seals for one tenant."""

    def __init__(
        self,
        *,
        token_root: bytes,
        edge_key: bytes,
        transport_key: bytes,
        tenant: str,
        partitions: int,
        locate: Locate | None = None,
    ) -> None:
        self.tokens = Tokens(token_root, tenant)
        self.tenant = tenant
        self._edge_key = edge_key
        self._transport_key = transport_key
        self._body_hash = KeyedHash(field_key(token_root, tenant, "body"))
        self._partitions = partitions
        self._locate = locate

    def id_of(self, own: str) -> str:
        """The name of an event inside: the caller's own, or a token where that looks personal."""
        return self.tokens.token("id", own) if looks_personal(own) else own

    def customer_of(self, own: str) -> str:
        """A customer's token."""
        return self.tokens.token("customer", own)

    def partition_of(self, customer: str) -> int:
        """The partition of a customer's events."""
        return zlib.crc32(customer.encode()) % self._partitions

    def seal_address(self, address: str) -> str:
        """A channel's address under its seal."""
        return seal(self._edge_key, address.encode(), b"address", os.urandom(NONCE_BYTES))

    def personal(self, path: str, value: str, subject: str) -> dict[str, str]:
        """A personal value for the ledger's writer, sealed for its transport."""
        sealed = seal(self._transport_key, value.encode(), path.encode(), os.urandom(NONCE_BYTES))
        return {"subject": subject, "sealed": sealed}

    def mac(self, clear: Mapping[str, Any]) -> str:
        """The keyed hash of a canonical parsed body."""
        return self._body_hash.digest(canonical(clear)).hex()

    def prepare(
        self, event: Sent, *, accepted_us: int, role: str, reply: str | None, trace: str
    ) -> Accepting:
        """Make of a clear event what may walk on."""
        clear = event.model_dump(mode="json", exclude_none=True)
        time_us = events.micros(event.time)
        clear["time"] = events.rfc3339(time_us)
        amount = None
        if isinstance(event, events.Transaction):
            amount = (money.minor_units(event.amount, event.currency), event.currency)
            clear["amount"] = money.plain(*amount)
        mac = self.mac(clear)
        tokenised, personal = self._tokenised(clear)
        name = tokenised["id"]
        case = tokenised["case"] = names.case(name)
        customer = tokenised["customer"]
        common: dict[str, Any] = {
            "tenant": self.tenant,
            "case": case,
            "event": name,
            "subject": customer,
            "actor": caller(role),
            "at_us": accepted_us,
        }
        opening: dict[str, Any] = {**common, "class": CLASS}
        records = [
            record(
                "case.opened",
                f"events/{name}/case.opened",
                body={"class": CLASS},
                **opening,
            ),
            record(
                "event.in",
                f"events/{name}/event.in",
                body=_without_floats(tokenised),
                personal=personal,
                **common,
            ),
        ]
        envelope = {
            "event": tokenised,
            "accepted": events.rfc3339(accepted_us),
            "reply": reply,
            "trace": trace,
        }
        return Accepting(
            id=name,
            own_id=event.id,
            type=event.type,
            customer=customer,
            payee=tokenised.get("payee", {}).get("account"),
            amount=amount,
            time_us=time_us,
            accepted_us=accepted_us,
            partition=self.partition_of(customer),
            mac=mac,
            envelope=orjson.dumps(envelope),
            records=orjson.dumps(records),
            trace=trace,
        )

    def _tokenised(self, clear: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The event with tokens and seals, and its personal values for the ledger."""
        token = self.tokens.token
        event = dict(clear)
        personal: dict[str, Any] = {}
        customer = event["customer"] = token("customer", clear["customer"])
        event["id"] = self.id_of(clear["id"])
        if "event" in clear:  # of a status: the payment that it speaks of
            event["event"] = self.id_of(clear["event"])
        if "session" in clear and looks_personal(clear["session"]):
            event["session"] = token("id", "session\0" + clear["session"])
        if "card" in clear:
            event["card"] = token("card", clear["card"])
        if "device" in clear:
            event["device"] = {**clear["device"], "id": token("device.id", clear["device"]["id"])}
        if "ip" in clear:
            event.update(self._place(clear))
            event["ip"] = token("ip", clear["ip"])
        if "payee" in clear:
            event["payee"], of_payee = self._payee(clear["payee"])
            personal.update(of_payee)
        for field in _SEALED_TEXT:
            if field in clear:
                nonce = os.urandom(NONCE_BYTES)
                event[field] = seal(self._edge_key, clear[field].encode(), field.encode(), nonce)
                personal[field] = self.personal(field, clear[field], customer)
        return event, personal

    def _place(self, clear: dict[str, Any]) -> dict[str, Any]:
        """Where the event came from, ``{"geo": …}``, as far as its address tells; else nothing.

        A client's own word for another country than its address's is not believed: it would be
        the easiest way to seem at home. Within the country it is the better of the two.
        """
        where = self._locate(clear["ip"]) if self._locate is not None else None
        claimed = clear.get("geo")
        if not where or (claimed and claimed["country"] == where["country"]):
            return {}
        said = {"claimed": claimed["country"]} if claimed else {}
        return {"geo": {**where, **said}}

    def _payee(self, clear: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        account = self.tokens.token("payee.account", clear["account"])
        who = {"name": clear.get("name"), "account": clear["account"]}
        payee = {key: value for key, value in clear.items() if key != "name"}
        payee["account"] = account
        payee["sealed"] = seal(self._edge_key, orjson.dumps(who), b"payee", os.urandom(NONCE_BYTES))
        personal = {"payee.account": self.personal("payee.account", clear["account"], account)}
        if who["name"] is not None:
            personal["payee.name"] = self.personal("payee.name", who["name"], account)
        return payee, personal


def _without_floats(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as a ledger's body: no seals (they go as `personal`), floats as strings."""
    body: dict[str, Any] = {}
    for key, value in event.items():
        kind = value.__class__
        if kind is dict:
            body[key] = _without_floats(value)
        elif kind is float:
            body[key] = repr(value)
        elif key not in _SEALED:
            body[key] = value
    return body
