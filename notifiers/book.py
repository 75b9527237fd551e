"""Which questions are open with whom? The leader's view in memory, made again from the outbox."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from notifiers import bind
from notifiers.facts import Ask, Closing, Payee, parse_time

KEPT_CLOSED = timedelta(days=1)


@dataclass(slots=True)
class Asked:
    """One question with what ties an answer to it. Payee and code live in memory alone.

    ``leaf`` is the hash of the record of its end, ``sealed`` what was sealed to the device by kind
    of message, ``withheld`` the kinds of channels that the customer has not agreed to, ``words``
    amount, payee, times and the like in the customer's language, once they were asked for.
    """

    ask: Ask
    payee: Payee
    language: str
    zone: str
    draw: int
    code: str
    bind: str
    addresses: dict[str, str]
    closed: Closing | None = None
    repeated: bool = False
    wrong: int = 0
    written: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)
    bindings: dict[str, dict[str, Any]] = field(default_factory=dict)
    leaf: str = ""
    sealed: dict[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    words: Mapping[str, str] | None = None
    payees: tuple[Payee, ...] = ()  # of an inquiry's payments

    @property
    def is_open(self) -> bool:
        return self.closed is None


class Book:
    """All open questions, and those closed within the last day."""

    def __init__(self) -> None:
        self._by_id: dict[str, Asked] = {}
        self._by_customer: dict[str, list[str]] = {}
        self._open: dict[str, list[Asked]] = {}  # by customer; what closed leaves when looked at

    def add(self, asked: Asked) -> None:
        if asked.ask.id not in self._by_id:
            self._by_customer.setdefault(asked.ask.customer, []).append(asked.ask.id)
            self._open.setdefault(asked.ask.customer, []).append(asked)
        self._by_id[asked.ask.id] = asked

    def get(self, challenge: str) -> Asked | None:
        return self._by_id.get(challenge)

    def of(self, customer: str) -> list[Asked]:
        """Give a customer's questions, oldest first."""
        return [self._by_id[one] for one in self._by_customer.get(customer, ())]

    def open_of(self, customer: str) -> list[Asked]:
        """Give a customer's open questions, oldest first."""
        found = [asked for asked in self._open.get(customer, ()) if asked.is_open]
        if found:
            self._open[customer] = found
        else:
            self._open.pop(customer, None)
        return list(found)

    def held_of(self, customer: str) -> list[Asked]:
        """Give those of them on which a payment waits, oldest first: no inquiries."""
        return [asked for asked in self.open_of(customer) if not asked.ask.about]

    def all_open(self) -> Iterator[Asked]:
        return (asked for asked in self._by_id.values() if asked.is_open)

    def forget(self, now: datetime) -> list[str]:
        """Drop what closed more than a day ago; give the ids."""
        gone = [
            asked.ask.id
            for asked in self._by_id.values()
            if asked.closed is not None and now - parse_time(asked.closed.at) > KEPT_CLOSED
        ]
        for one in gone:
            customer = self._by_id.pop(one).ask.customer
            left = [other for other in self._by_customer[customer] if other != one]
            if left:
                self._by_customer[customer] = left
            else:
                del self._by_customer[customer]
        return gone


def tie(
    key: bytes, ask: Ask, payee: Payee, taken: set[str], draw: int | None = None
) -> tuple[int, str, str]:
    """Give draw, code and digest of a question; a known draw gives the same code again."""
    asked = bind.question(ask, payee)
    if draw is not None:
        return draw, bind.code(key, asked, draw), bind.digest(asked)
    drawn, code = bind.draw_code(key, asked, taken)
    return drawn, code, bind.digest(asked)
