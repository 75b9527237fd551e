"""What happened? The events that a bank sends, what is refused in them, and how they walk on.

::

    raw JSON --screen--> --parse--> Event (clear, at the edge only) --accept--> tokenised dict
                                                                                  |
                                                           Moment (walks the flow) <--

Clear values end at the edge: a `Moment` holds tokens, and the payee's name only under a seal.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from risk import money
from risk.privacy import luhn

FORBIDDEN_NAMES = frozenset({"pan", "cvv", "cvc", "pin", "password", "otp"})
SCANNED_FOR_CARDS = ("card", "memo", "detail", "user_agent", "payee.name")
FUTURE_TOLERANCE = timedelta(minutes=5)
LARGEST_BODY = 64 * 1024
LONGEST_TEXT = 512


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a body: which field, what was needed, what was got (masked)."""

    field: str
    needed: str
    got: str


class Refused(ValueError):
    """An event that is not taken; nothing of it is written."""

    def __init__(self, problems: list[Problem]) -> None:
        """Carry every problem found, in the order of the body."""
        self.problems = problems
        super().__init__("; ".join(f"{p.field}: needed {p.needed}, got {p.got}" for p in problems))


_BEGINS_AS_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d")
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("needed RFC 3339 with an offset, got a time without one")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("needed a time of the years 1 to 9999 in UTC, got another") from None


def _rfc3339(value: object) -> object:
    if isinstance(value, str) and _BEGINS_AS_TIME.match(value):
        return value
    if isinstance(value, datetime):
        return value
    raise ValueError("needed RFC 3339 with an offset, such as 2026-01-31T12:00:00+08:00")


def _address(value: str) -> str:
    if _IPV4.fullmatch(value):  # as `ipaddress` would spell it, at a tenth of the cost
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"needed an IPv4 or IPv6 address, got {len(value)} characters") from None


Instant = Annotated[datetime, BeforeValidator(_rfc3339), AfterValidator(_aware)]
Text = Annotated[str, Strict()]
Id = Annotated[Text, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
Short = Annotated[Text, StringConstraints(min_length=1, max_length=140)]
Long = Annotated[Text, StringConstraints(max_length=LONGEST_TEXT)]
Country = Annotated[Text, StringConstraints(pattern=r"^[A-Z]{2}$")]
Ip = Annotated[Text, AfterValidator(_address)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Device(_Part):
    """The device as the channel names it; ``trusted`` never lowers a risk."""

    id: Id
    os: Short | None = None
    trusted: bool | None = None


class Geo(_Part):
    """Where a client says that it is: country ISO 3166-1 alpha-2, degrees WGS 84."""

    country: Country
    lat: Annotated[float, Field(ge=-90, le=90)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180)] | None = None


class Payee(_Part):
    """Who is to get the money."""

    account: Id
    name: Short | None = None
    country: Country | None = None
    bank: Short | None = None


class _Common(_Part):
    id: Id
    time: Instant
    customer: Id
    channel: Literal["app", "web", "card", "atm", "branch", "api"] | None = None
    device: Device | None = None
    ip: Ip | None = None
    geo: Geo | None = None
    session: Id | None = None


class Transaction(_Common):
    """A payment that waits for a decision."""

    type: Literal["transaction"]
    amount: Annotated[Text, StringConstraints(max_length=32)]
    currency: Annotated[Text, StringConstraints(pattern=r"^[A-Z]{3}$")]
    payee: Payee
    kind: Literal["transfer", "card", "cash", "bill"] | None = None
    card: Id | None = None
    terminal: Id | None = None
    mcc: Annotated[Text, StringConstraints(pattern=r"^[0-9]{4}$")] | None = None
    memo: Long | None = None

    @model_validator(mode="after")
    def _amount_is_money(self) -> "Transaction":
        money.minor_units(self.amount, self.currency)
        return self


class Login(_Common):
    """An attempt to sign in."""

    type: Literal["login"]
    result: Literal["success", "failure"]
    method: Short | None = None
    user_agent: Long | None = None


class AccountChange(_Common):
    """A change to the customer's account."""

    type: Literal["account_change"]
    change: Literal[
        "phone", "password", "email", "device", "payee_added", "limit", "jid", "credential"
    ]
    detail: Long | None = None


class Status(_Common):
    """What the bank did with an earlier payment."""

    type: Literal["status"]
    event: Id
    state: Literal["executed", "cancelled", "reversed"]


class LabelEvent(_Part):
    """A fraud label, sent as an event."""

    type: Literal["label"]
    id: Id | None = None
    event: Id
    fraud: bool
    source: Literal["chargeback", "officer", "customer"]
    time: Instant
    customer: Id | None = None


Event = Annotated[
    Transaction | Login | AccountChange | Status | LabelEvent, Field(discriminator="type")
]
_EVENT: TypeAdapter[Transaction | Login | AccountChange | Status | LabelEvent] = TypeAdapter(Event)


_DIGIT_GROUPS = re.compile(r"\d+(?:[ -]\d+)*")


def _runs(text: str) -> Iterator[str]:
    """Each run of 13-19 digits that begins and ends with a group: a card's expiry may follow it."""
    for found in _DIGIT_GROUPS.findall(text):
        groups = re.split(r"[ -]", found)
        for first in range(len(groups)):
            run = ""
            for group in groups[first:]:
                run += group
                if len(run) > 19:
                    break
                if len(run) >= 13:
                    yield run


def holds_card_number(text: str) -> bool:
    """True where a text holds a run of 13-19 digits that passes the Luhn check.

    Single spaces and hyphens may stand between groups of the run, and other digits beside it:
    ``4111 1111 1111 1111 12/27`` holds one.
    """
    return len(text) >= 13 and any(luhn(run) for run in _runs(text))


def screen(raw: object) -> None:
    """Refuse what must never be stored: secret fields by name, card numbers in free text."""
    secrets: list[Problem] = []
    cards: list[Problem] = []
    stack: list[tuple[str, object]] = [("", raw)]  # no recursion: the depth is the sender's choice
    while stack:
        path, here = stack.pop()
        if isinstance(here, list):
            stack.extend((f"{path}[{place}]", inner) for place, inner in enumerate(here))
        if not isinstance(here, dict):
            continue
        for key, value in here.items():
            below = f"{path}.{key}" if path else str(key)
            if str(key).lower() in FORBIDDEN_NAMES:
                needed = "no field of that name (secrets are never taken)"
                secrets.append(Problem(below, needed, "a value, not shown"))
            if isinstance(value, dict | list):
                stack.append((below, value))
            elif (
                below in SCANNED_FOR_CARDS
                and isinstance(value, str)
                and holds_card_number(value[:LONGEST_TEXT])  # a longer one: refused for its length
            ):
                got = "a run of digits like a card's"
                cards.append(Problem(below, "no card number in it", got))
    if secrets or cards:
        raise Refused(secrets + cards)


def _count_unknown(raw: Mapping[str, Any], kind: str) -> int:
    known = _FIELDS[kind]
    unknown = len(raw.keys() - known)
    for part, fields in _PART_FIELDS.items():
        inner = raw.get(part)
        if part in known and isinstance(inner, dict):
            unknown += len(inner.keys() - fields)
    return unknown


_TYPES: Mapping[str, type[BaseModel]] = {
    "transaction": Transaction,
    "login": Login,
    "account_change": AccountChange,
    "status": Status,
    "label": LabelEvent,
}
_FIELDS = {name: frozenset(model.model_fields) for name, model in _TYPES.items()}
_PART_FIELDS = {
    name: frozenset(model.model_fields)
    for name, model in (("device", Device), ("geo", Geo), ("payee", Payee))
}
_NEEDED = {
    "missing": "a value",
    "string_type": "a string",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} character",
    "too_short": "at least {min_length} character",
    "too_long": "at most {max_length} characters",
    "literal_error": "one of {expected}",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
}


def _problem(error: Mapping[str, Any]) -> Problem:
    place = [str(step) for step in error["loc"] if str(step) not in _TYPES]
    text = str(error.get("ctx", {}).get("error", ""))
    needed = _NEEDED.get(error["type"], "").format(**error.get("ctx", {}))
    if not needed:
        needed = text.removeprefix("needed ").split(", got ")[0] or str(error["msg"])
    value = error.get("input")
    if error["type"] == "missing":
        got = "nothing"
    elif ", got " in text:
        got = text.split(", got ", 1)[1]
    else:
        got = type(value).__name__ if not isinstance(value, str) else f"{len(value)} characters"
    # What a whole payment is refused for (no place) is its amount, or its currency's code.
    field = ".".join(place) or ("currency" if "ISO 4217" in text else "amount")
    return Problem(field, needed, got)


def parse(
    raw: object, arrived: datetime
) -> tuple[Transaction | Login | AccountChange | Status | LabelEvent, int]:
    """Screen and parse one body; give the event and the count of unknown fields dropped.

    Raises `Refused` with each field, what was needed and what was got. ``arrived`` bounds the
    event's time: more than five minutes ahead of it is refused, so that a wrong clock of one
    sender can't move the watermark.
    """
    if not isinstance(raw, dict):
        raise Refused([Problem("body", "a JSON object", type(raw).__name__)])
    screen(raw)
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        got = kind if isinstance(kind, str) and len(kind) <= 32 else type(kind).__name__
        raise Refused([Problem("type", "one of " + ", ".join(_TYPES), str(got))])
    try:
        event = _EVENT.validate_python(raw)
    except ValidationError as wrong:
        raise Refused([_problem(error) for error in wrong.errors(include_url=False)]) from None
    if event.time > arrived + FUTURE_TOLERANCE:
        ahead = int((event.time - arrived).total_seconds())
        needed = "a time at most 5 minutes ahead of the arrival"
        raise Refused([Problem("time", needed, f"one {ahead} s ahead")])
    return event, _count_unknown(raw, kind)


def micros(time: datetime) -> int:
    """Microseconds since 1970 in UTC, exact."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def instant(time_us: int) -> datetime:
    """The aware UTC time of microseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    return instant(seconds * 1_000_000).isoformat(timespec="seconds")[:19]


def rfc3339(time_us: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC with six digits."""
    seconds, rest = divmod(time_us, 1_000_000)
    return f"{_to_the_second(seconds)}.{rest:06d}Z"


class Moment(NamedTuple):
    """An accepted event on its way through the flow; personal values are tokens.

    ``time_us`` and ``accepted_us`` are microseconds since 1970 (UTC), ``amount`` minor units of
    ``currency``, ``amount_base`` minor units of the base currency (None: no rate, or no amount),
    ``position`` the place in the source, ``late`` the judgement of the source's watermark.
    """

    id: str
    type: str
    time_us: int
    customer: str
    accepted_us: int
    partition: int
    position: int
    late: bool = False
    reply: str | None = None
    trace: str = ""
    amount: int | None = None
    currency: str | None = None
    amount_base: int | None = None
    payee: str | None = None
    payee_sealed: str | None = None
    payee_country: str | None = None
    kind: str | None = None
    device: str | None = None
    ip: str | None = None
    country: str | None = None
    lat: float | None = None
    lon: float | None = None
    channel: str | None = None
    session: str | None = None
    result: str | None = None
    change: str | None = None
    refers_to: str | None = None
    state: str | None = None
    terminal: str | None = None
    card: str | None = None
    mcc: str | None = None


def moment(
    envelope: Mapping[str, Any],
    *,
    partition: int,
    position: int,
    watermark_us: int,
    lateness_us: int,
    rates: money.Rates,
) -> Moment:
    """Make a walking event of an accepted one (the JSON of ``rb:events:<p>``)."""
    event = envelope["event"]
    time_us = micros(datetime.fromisoformat(event["time"]))
    payee = event.get("payee") or {}
    geo = event.get("geo") or {}
    device = event.get("device") or {}
    amount = currency = base = None
    if event["type"] == "transaction":
        currency = event["currency"]
        amount = money.minor_units(event["amount"], currency)
        base = rates.to_base(amount, currency, instant(time_us).date())
    return Moment(
        id=event["id"],
        type=event["type"],
        time_us=time_us,
        customer=event["customer"],
        accepted_us=micros(datetime.fromisoformat(envelope["accepted"])),
        partition=partition,
        position=position,
        late=time_us < watermark_us - lateness_us,
        reply=envelope.get("reply"),
        trace=envelope.get("trace", ""),
        amount=amount,
        currency=currency,
        amount_base=base,
        payee=payee.get("account"),
        payee_sealed=payee.get("sealed"),
        payee_country=payee.get("country"),
        kind=event.get("kind"),
        device=device.get("id"),
        ip=event.get("ip"),
        country=geo.get("country"),
        lat=geo.get("lat"),
        lon=geo.get("lon"),
        channel=event.get("channel"),
        session=event.get("session"),
        result=event.get("result"),
        change=event.get("change"),
        refers_to=event.get("event"),
        state=event.get("state"),
        terminal=event.get("terminal"),
        card=event.get("card"),
        mcc=event.get("mcc"),
    )


def amount_of(moment: Moment) -> Decimal:
    """The amount of a payment in its own currency."""
    if moment.amount is None or moment.currency is None:
        return Decimal(0)
    return Decimal(money.plain(moment.amount, moment.currency))


def parse_us(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time with an offset."""
    return micros(datetime.fromisoformat(text))
