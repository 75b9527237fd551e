"""What is asked, what is sent, what is heard? Frozen facts, in the order they come about."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Decision = Literal["confirm", "deny"]
Reason = Literal["not_me", "cancel", "duress"]
MessageKind = Literal["ask", "close", "notice"]


PAID = ("amount", "currency", "payee", "kind", "time")


def parse_time(text: str) -> datetime:
    """Read RFC 3339 with an offset, as UTC; ValueError without one."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time: needed RFC 3339 with an offset, got {text!r}")
    return moment.astimezone(UTC)


def write_time(moment: datetime) -> str:
    """Write RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Ask:
    """A challenge as the flow put it on `rb:challenges`; the payee is still under its seal."""

    id: str
    entry: str
    event: str
    case: str
    customer: str
    amount: str
    currency: str
    payee: str
    kind: str
    nonce: str
    created: str
    expires: str
    reasons: tuple[str, ...] = ()
    severity: str = ""
    seal_to: str = ""  # the own client's public key when the question was read; else empty
    about: tuple[Mapping[str, str], ...] = ()  # the payments of an inquiry; else empty

    @classmethod
    def from_stream(cls, entry: str, fields: Mapping[str, Any]) -> "Ask":
        """Read one `ask` of the stream; KeyError or ValueError when it is none."""
        parse_time(fields["expires"])
        parse_time(fields["created"])
        return cls(
            id=str(fields["id"]),
            entry=entry,
            event=str(fields["event"]),
            case=str(fields["case"]),
            customer=str(fields["customer"]),
            amount=str(fields["amount"]),
            currency=str(fields["currency"]),
            payee=str(fields.get("payee") or ""),
            kind=str(fields.get("kind") or "transfer"),
            nonce=str(fields["nonce"]),
            created=str(fields["created"]),
            expires=str(fields["expires"]),
            reasons=tuple(str(code) for code in fields.get("reasons") or ()),
            severity=str(fields.get("severity") or ""),
        )

    @classmethod
    def of_inquiry(cls, entry: str, fields: Mapping[str, Any]) -> "Ask":
        """Read one `inquire` of the stream: about payments made already, nothing is held."""
        about = tuple(
            {name: str(paid.get(name) or "") for name in PAID} for paid in fields["payments"]
        )
        for paid in about:
            parse_time(paid["time"])
        first = {name: about[0][name] for name in ("amount", "currency", "payee", "kind")}
        return replace(cls.from_stream(entry, {**fields, **first}), about=about)

    @property
    def created_at(self) -> datetime:
        return parse_time(self.created)

    @property
    def expires_at(self) -> datetime:
        return parse_time(self.expires)

    @property
    def half_life(self) -> datetime:
        """When the question is too stale to be put: half of its life is over."""
        life = max(self.expires_at - self.created_at, timedelta(0))
        return self.created_at + life / 2


@dataclass(frozen=True, slots=True)
class Payee:
    """Whom the money would go to, in the clear: lives in memory alone."""

    name: str
    account: str


@dataclass(frozen=True, slots=True)
class Closing:
    """How a challenge ended, as the flow put it on `rb:challenges`."""

    challenge: str
    state: str
    decision: str
    at: str


@dataclass(frozen=True, slots=True)
class Button:
    """One of two equal choices: the answer it types, and what stands on it."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message, ready for a channel: complete as plain text, with what the layers need.

    ``address`` holds several, a line each, on a channel with `many`. ``notice`` names neither
    amount nor payee; ``link`` is the page's, with its token. After ``stale`` nothing is repeated.
    ``leaf`` is the hash of the record of the end. Where ``sealed`` stands (to the device key with
    the fingerprint ``sealed_to``), nothing else here names amount, payee, code or ``bind``.
    """

    key: str
    challenge: str
    kind: MessageKind
    address: str
    body: str
    language: str = ""
    institution: str = ""
    reference: str = ""
    notice: str = ""
    link: str = ""
    stale: str = ""
    amount: str = ""
    currency: str = ""
    payee: str = ""
    expires: str = ""
    bind: str = ""
    buttons: tuple[Button, ...] = ()
    leaf: str = ""
    sealed: str = ""
    sealed_to: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """Something came in. `address` is the full address, `bare` the one that is bound."""

    channel: str
    address: str
    bare: str
    stanza: str
    received: datetime
    delayed: bool = False


@dataclass(frozen=True, slots=True)
class HeardText(Heard):
    """Free text: layer E. Scrubbed before anything durable sees it."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class HeardAnswer(Heard):
    """The own client's answer: layer B. `bind` proves which amount and payee it had shown.

    With `jws`, a statement that a device key has signed, it is layer A.
    """

    challenge: str = ""
    decision: str = ""
    reason: str = ""
    bind: str = ""
    jws: str = ""


@dataclass(frozen=True, slots=True)
class HeardCommand(Heard):
    """An ad-hoc command: layer C. No challenge named means: the only open one."""

    challenge: str = ""
    decision: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HeardReceipt(Heard):
    """A client's claim that a message arrived or was read: weak evidence, never an answer."""

    challenge: str = ""
    kind: Literal["delivered", "displayed"] = "delivered"


@dataclass(frozen=True, slots=True)
class HeardReaction(Heard):
    """A reaction (XEP-0444): put on record, never an answer."""

    challenge: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A command that this customer may run now."""

    node: str
    label: str
