"""What may be asked for around a binding? The bodies of its calls, each refused by field."""

import hashlib
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from gateway.channels import Channel
from risk import events, signed

_STAFF = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"

Staff = Annotated[str, StringConstraints(pattern=_STAFF)]
Name = Annotated[str, StringConstraints(max_length=40)]
Body = TypeVar("Body", bound=BaseModel)


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
    name: Name = ""
    factor: Annotated[str, StringConstraints(max_length=40)] = ""
    staff: Staff | None = None


class OwnWanted(BaseModel):
    """What a customer asks for on the bank's page, to be signed with a passkey they have.

    A telephone is none of it: its number is the bank's to check.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Literal["xmpp", "web", "push", "passkey"]
    address: Annotated[str, StringConstraints(max_length=2048)] = ""
    keys: dict[str, str] | None = None
    name: Name = ""


class Word(BaseModel):
    """A second word: a person's number, or the customer's older key by a JWS or an assertion."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    staff: Staff | None = None
    jws: str | None = None
    assertion: dict[str, Any] | None = None


class Going(BaseModel):
    """Which of what is bound is to go."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Annotated[str, StringConstraints(max_length=16)]
    token: Annotated[str, StringConstraints(max_length=512)]


class Secret(BaseModel):
    """A duress word: a word or a number, without spaces."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    word: Annotated[str, StringConstraints(pattern=r"^\S{4,32}$")]


def read(model: type[Body], raw: Any) -> Body:
    """Read a body; `events.Refused` names each field that does not fit."""
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


def staff_number(told: str | None) -> str:
    """The number of a person at the bank; `events.Refused` where it is none."""
    try:
        number = Word(staff=told).staff
    except ValidationError:
        number = None
    if number is None:
        raise events.Refused([events.Problem("staff", "a staff number", "nothing")])
    return number


def device_of(jwk: Any) -> dict[str, str]:
    """A device key as it is kept while it waits: id, public key, algorithm."""
    try:
        algorithm, der = signed.read_device_key(jwk)
    except ValueError as wrong:
        raise events.Refused([events.Problem("key", str(wrong), "something else")]) from wrong
    ident = "dk_" + signed.b64(hashlib.sha256(der).digest()[:18])
    return {"id": ident, "der": signed.b64(der), "algorithm": algorithm}


def channel_of(told: dict[str, Any]) -> Channel:
    """A channel of what was told; `events.Refused` where its address does not fit its kind."""
    try:
        return Channel.model_validate(told)
    except ValidationError as wrong:
        said = wrong.errors(include_url=False)[0]["msg"].removeprefix("Value error, needed ")
        raise events.Refused([events.Problem("address", said, "something else")]) from None


def channel_kept(raw: str, **more: Any) -> Channel:
    """A channel as it was kept while its binding was under way."""
    return channel_of(orjson.loads(raw) | more)
