"""By what were customers reached, and with what did they sign? Brought back from the ledger.

Each change of a binding left its record in the script that made it; in their order they say what
stands. What Redis still holds of a binding that stands is kept as it is: it may know more. What
the ledger says is gone, goes. Not on record, and so not brought back: duress words, and of old
records what was not written down yet (the keys of a push, a passkey's COSE form).
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis

from audit import read
from audit.errors import KeyMissing
from flows.parts import House
from gateway.devices import Credential
from risk import names, signed
from risk.privacy import NONCE_BYTES, seal

_KINDS = (
    "binding.added",
    "binding.removed",
    "consent.changed",
    "customer.changed",
    "credential.enrolled",
    "duress.changed",
)
_FOUND_BY_ADDRESS = ("xmpp", "sms", "voice")
Mark = tuple[str, str]


@dataclass(slots=True)
class Known:
    """What the ledger knows of one customer; ``gone`` is what it says was unbound."""

    spoken: dict[str, Any] = field(default_factory=dict)
    channels: dict[Mark, dict[str, Any]] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)
    gone: set[Mark] = field(default_factory=set)
    duress: str | None = None  # the keyed hash; "" where it was forgotten, None where none is known


def bindings_back(client: "redis.Redis", house: House) -> int:
    """Put back channels and keys of all customers; how many were missing. Safe to run again."""
    put = 0
    for customer, known in _read(house).items():
        put += _channels_back(client, customer, known)
        put += _credentials_back(client, customer, known)
        put += _duress_back(client, customer, known)
    return put


def _read(house: House) -> dict[str, Known]:
    """All that stands by the records, customer by customer."""
    found: dict[str, Known] = {}
    for leaf in sorted(read.of_kinds(house.data, _KINDS), key=lambda leaf: str(leaf["ts"])):
        _take(house, leaf, found.setdefault(str(leaf["subject"]), Known()))
    return found


def _take(house: House, leaf: dict[str, Any], known: Known) -> None:
    body, kind = leaf["body"], leaf["kind"]
    if kind == "customer.changed":
        known.spoken = dict(_spoken(body))
    elif kind == "duress.changed":
        known.duress = _disclosed(house.data, leaf, "word") or ""
    elif kind == "credential.enrolled":
        known.gone.discard((body["kind"], body["credential"]))
        credential = _credential(house, leaf)
        if credential is not None:
            known.credentials[credential.id] = credential
    else:
        mark = (str(body["channel"]), str(body["token"]))
        if kind == "binding.removed":
            known.channels.pop(mark, None)
            known.credentials.pop(mark[1], None)
            known.gone.add(mark)
        elif kind == "consent.changed" and mark in known.channels:
            known.channels[mark]["consent"] = body["consent"]
        elif kind == "binding.added":
            known.gone.discard(mark)
            known.spoken |= dict(_spoken(body))
            channel = _channel(house, leaf)
            if channel is not None:
                known.channels[mark] = channel


def _spoken(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, body[key]) for key in ("language", "zone", "ladder") if key in body)


def _channel(house: House, leaf: dict[str, Any]) -> dict[str, Any] | None:
    """A channel as the gateway keeps it; None where its address is forgotten or not whole."""
    body = leaf["body"]
    address = _disclosed(house.data, leaf, "address")
    if address is None and body["channel"] != "web":
        return None
    if body["channel"] == "push" and not (address or "").startswith("{"):
        return None
    kept = ("verified", "bound", "waits", "consent", "seal_to", "own")
    return {
        "kind": body["channel"],
        "address": _sealed(house, address or ""),
        "token": body["token"],
    } | {name: body[name] for name in kept if name in body}


def _credential(house: House, leaf: dict[str, Any]) -> Credential | None:
    body = leaf["body"]
    if body["kind"] == "passkey" and not body.get("cose"):
        return None
    own = _disclosed(house.data, leaf, "own")
    return Credential(
        id=body["credential"],
        kind=body["kind"],
        customer=str(leaf["subject"]),
        der=signed.unb64(body["public_key"]),
        bound=body.get("bound") or leaf["at"],
        waits=body["waits"],
        name=_disclosed(house.data, leaf, "name") or "",
        algorithm="" if body["kind"] == "passkey" else body["algorithm"],
        cose=signed.unb64(body.get("cose") or ""),
        rp_id=body["rp_id"],
        own=_sealed(house, own) if own else "",
    )


def _disclosed(data: Path, leaf: dict[str, Any], path: str) -> str | None:
    """A sealed value of a record; None where there is none, or it was forgotten on purpose."""
    if path not in leaf["body"].get("sealed", {}):
        return None
    try:
        return read.disclose(data, leaf, path).value
    except KeyMissing:
        return None


def _sealed(house: House, text: str) -> str:
    return seal(house.secrets.edge_key, text.encode(), b"address", os.urandom(NONCE_BYTES))


def _channels_back(client: "redis.Redis", customer: str, known: Known) -> int:
    """Lay what the ledger knows over what Redis still has."""
    raw: Any = client.get(names.customer(customer))
    stored = orjson.loads(raw) if raw else {}
    here = {_mark(one): one for one in stored.get("channels", ()) if "token" in one}
    stands = [one for mark, one in here.items() if mark not in known.gone]
    for mark, channel in known.channels.items():
        if mark not in here:
            stands.append(channel)
        elif here[mark].get("bound") != channel["bound"]:  # bound anew since
            stands[stands.index(here[mark])] = channel
        else:
            here[mark]["consent"] = channel.get("consent")
    whole = {"language": "en", "zone": "UTC", **stored, **known.spoken, "channels": stands}
    pipe = client.pipeline(transaction=True)
    for kind, token in known.gone:
        if kind in _FOUND_BY_ADDRESS and client.get(names.jid(token)) == customer.encode():
            pipe.delete(names.jid(token))  # unless it is another customer's by now
    for channel in stands:
        if channel["kind"] in _FOUND_BY_ADDRESS:
            pipe.set(names.jid(channel["token"]), customer)
    if stands or stored:
        pipe.set(names.customer(customer), orjson.dumps(whole))
    pipe.execute()
    return len([one for one in stands if _mark(one) not in here])


def _credentials_back(client: "redis.Redis", customer: str, known: Known) -> int:
    put = 0
    for credential in known.credentials.values():
        if client.hsetnx(names.credential(credential.id), "data", credential.dump()):
            client.hsetnx(names.credential(credential.id), "count", 0)
            put += 1
        client.sadd(names.credentials(customer), credential.id)
    for kind, token in known.gone:
        if kind in ("passkey", "device"):
            client.delete(names.credential(token))
            client.srem(names.credentials(customer), token)
    return put


def _duress_back(client: "redis.Redis", customer: str, known: Known) -> int:
    """The last word on record stands: it was written in one step with Redis' own."""
    if known.duress is None:
        return 0
    key = names.duress(customer)
    was: Any = client.get(key)
    if known.duress:
        client.set(key, known.duress)
    else:
        client.delete(key)
    return int(was is None and bool(known.duress))


def _mark(channel: Mapping[str, Any]) -> Mark:
    return str(channel["kind"]), str(channel["token"])
