"""What may the bank say of a customer? Language, zone and channels, each checked as it is read."""

import re
import unicodedata
import zoneinfo
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from risk import events

_JID = re.compile(r"^[^\s@/<>\"&':]{1,256}@[a-z0-9](?:[a-z0-9.-]{0,253}[a-z0-9])?$")
_TELEPHONE = re.compile(r"^\+[1-9]\d{6,14}$")
MOST_CHANNELS = 16


def _zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError("needed a time zone such as Asia/Shanghai") from None
    return value


class PushKeys(BaseModel):
    """The keys of a subscription, as `PushSubscription.toJSON()` gives them (RFC 8291)."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    p256dh: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{87}=?$")]
    auth: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}(==)?$")]


class Consent(BaseModel):
    """What the customer agreed to: the bank's own record of it, and whether it still holds."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    state: Literal["given", "withdrawn"] = "given"


class Channel(BaseModel):
    """One way to a customer; ``address`` is a bare JID for xmpp, and not needed for web.

    For sms and voice it is a telephone number (E.164), for push the endpoint of a subscription,
    which needs its ``keys`` too.
    ``since`` is the bank's own word for how long it has known the channel to be the customer's.
    ``seal_to`` is the public key (X25519, base64url) of an own client on xmpp: with it, what is
    asked is readable there alone. A channel whose ``consent`` is withdrawn is not used.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Literal["xmpp", "web", "push", "sms", "voice"]
    address: Annotated[str, StringConstraints(max_length=2048)] = ""
    keys: PushKeys | None = None
    verified: bool = False
    since: Annotated[datetime | None, Field(strict=False)] = None
    seal_to: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_-]{43})?$")] = ""
    consent: Consent | None = None

    @model_validator(mode="after")
    def _address_fits(self) -> "Channel":
        if self.kind == "xmpp" and not _JID.match(bare(self.address)):
            raise ValueError("needed a bare JID such as anna@bank.example, without a resource")
        if self.kind in {"sms", "voice"} and not _TELEPHONE.match(self.address):
            raise ValueError("needed a telephone number such as +8613800138000")
        if self.kind == "push" and self.keys is None:
            raise ValueError("needed keys.p256dh and keys.auth of the browser's subscription")
        if self.seal_to and self.kind != "xmpp":
            raise ValueError("needed no seal_to but for xmpp, where an own client may have a key")
        if self.since is not None and self.since.tzinfo is None:
            raise ValueError("needed a time with an offset in since")
        return self

    @property
    def reached_at(self) -> str:
        """What is sealed for the notifier: for push the whole subscription."""
        if self.kind == "xmpp":
            return bare(self.address)
        if self.keys is None:
            return self.address
        whole = {"endpoint": self.address, "keys": self.keys.model_dump()}
        return orjson.dumps(whole).decode()


class Customer(BaseModel):
    """What the bank says of a customer."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
    zone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]
    channels: Annotated[tuple[Channel, ...], Field(max_length=MOST_CHANNELS, strict=False)]
    ladder: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")] | None = None


def bare(address: str) -> str:
    """A chat address in the form in which it is compared."""
    return unicodedata.normalize("NFKC", address).strip().lower()


def read_customer(raw: Any) -> Customer:
    """Read what the bank says of a customer; raises `Refused` with each field that can't be."""
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
