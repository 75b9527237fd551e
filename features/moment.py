"""What do the features need to know of an event and of a label, and what is time here?

Time is event time in whole microseconds since 1970-01-01T00:00:00Z; money is whole minor units of
the base currency. Any object with these attributes will do: none of the features needs to know
who made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

#: How much later than the newest event a payment may come and still be history (docs/semantics.md).
LATENESS: Final = HOUR

#: After this long a payment that nobody called a fraud counts as honest.
SETTLED: Final = 7 * DAY

_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}

Value = int | float | None


class Event(Protocol):
    """One event as it walks past: tokenised, its time and amount already made plain."""

    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def time_us(self) -> int: ...
    @property
    def amount_base(self) -> int | None: ...
    @property
    def customer(self) -> str: ...
    @property
    def payee(self) -> str | None: ...
    @property
    def device(self) -> str | None: ...
    @property
    def ip(self) -> str | None: ...
    @property
    def country(self) -> str | None: ...
    @property
    def lat(self) -> float | None: ...
    @property
    def lon(self) -> float | None: ...
    @property
    def result(self) -> str | None:
        """Of a login: success or failure."""
        ...

    @property
    def change(self) -> str | None:
        """Of an account change: which."""
        ...

    @property
    def card(self) -> str | None: ...
    @property
    def terminal(self) -> str | None: ...
    @property
    def kind(self) -> str | None:
        """Of a payment: transfer, card, cash or bill."""
        ...

    @property
    def channel(self) -> str | None: ...
    @property
    def session(self) -> str | None: ...
    @property
    def payee_country(self) -> str | None: ...
    @property
    def mcc(self) -> str | None:
        """Of a payment: the shop's category, four digits (ISO 18245)."""
        ...


class Label(Protocol):
    """What somebody came to know about an earlier event, and when.

    ``features`` are the event's own, as it was scored.
    """

    @property
    def event(self) -> str: ...
    @property
    def fraud(self) -> bool: ...
    @property
    def source(self) -> str: ...
    @property
    def known_us(self) -> int: ...
    @property
    def event_time_us(self) -> int: ...
    @property
    def customer(self) -> str: ...
    @property
    def payee(self) -> str | None: ...
    @property
    def device(self) -> str | None: ...
    @property
    def ip(self) -> str | None: ...
    @property
    def card(self) -> str | None: ...
    @property
    def terminal(self) -> str | None: ...
    @property
    def features(self) -> Mapping[str, Value]: ...


def span(window: str) -> int:
    """The length of a window in microseconds.

    >>> span("24h") == span("1d") == 86_400_000_000
    True
    """
    number, unit = window[:-1], window[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or int(number) == 0:
        raise ValueError(
            "a window is a whole number above 0 and one of s, m, h, d (as in '24h'), "
            f"got {window!r}"
        )
    return int(number) * _UNITS[unit]


#: What somebody does or tries; a ``status`` is the bank's own word and nobody's act.
ACTS: Final = frozenset({"transaction", "login", "account_change"})


def failed(event: Event) -> bool:
    """Whether this is a sign-in that did not succeed."""
    return event.type == "login" and event.result == "failure"


@lru_cache(maxsize=16_384)
def fingerprint(name: str) -> int:
    """64 bits that stand for a name in a profile. Not a secret: names here are tokens already."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)
