"""Which events does a declared feature look at? ``amount <= 10000 and channel is app``.

A condition compares a field of the event, or a feature that it was described by, with a value. One
whose field is missing does not hold. Without any condition it is payments that are looked at; one
on ``result`` makes it sign-ins, one on ``change`` account changes, ``type is any`` all of them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from math import isfinite
from operator import attrgetter
from typing import Any, Final, get_args

from features.moment import ACTS, Event, Value
from risk import events

Told = Mapping[str, Value]

#: Fields that name something, by the word of the catalogue.
NAMED: Final[Mapping[str, Callable[[Event], str | None]]] = {
    name: attrgetter(name)
    for name in (
        "customer",
        "payee",
        "device",
        "ip",
        "card",
        "terminal",
        "session",
        "country",
        "payee_country",
        "kind",
        "channel",
        "mcc",
    )
}

#: Fields that a client may set as it likes: the bank does not vouch for them.
CLAIMS: Final = frozenset({"device", "session", "country"})

_AMOUNT: Final[Callable[[Event], int | None]] = attrgetter("amount_base")
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_OF_TYPE: Final[Mapping[str, str]] = {
    "result": "login",
    "change": "account_change",
    **dict.fromkeys(
        ("amount", "payee", "payee_country", "kind", "card", "terminal", "mcc"), "transaction"
    ),
}


class BadDeclaration(ValueError):
    """A line of the catalogue that can't be used: what was needed, what was got."""


def _words(model: type[Any], name: str) -> tuple[str, ...]:
    """The words that a field of an event knows."""
    found = model.model_fields[name].annotation
    return tuple(
        word
        for part in (found, *get_args(found))
        for word in get_args(part)
        if isinstance(word, str)
    )


_KNOWN_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "type": (*sorted(ACTS), "any"),
    "kind": _words(events.Transaction, "kind"),
    "channel": _words(events.Transaction, "channel"),
    "result": _words(events.Login, "result"),
    "change": _words(events.AccountChange, "change"),
}
FIELDS: Final = ("type", "result", "change", "amount", *NAMED)

_IS_MISSING: Final = re.compile(r"(\S+) is (not )?missing")
_IS_WORD: Final = re.compile(r"(\S+) is (not )?(\S+)")
_COMPARED: Final = re.compile(r"(\S+?)\s*(>=|<=|==|!=|>|<)\s*(\S+)")


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """Which events: of these types, for which all tests hold."""

    name: str
    text: str  # canonical: the same text is the same filter
    types: frozenset[str]
    tests: tuple[Callable[[Event, Told], bool], ...] = ()
    needs: frozenset[str] = field(default_factory=frozenset)  # names of features
    fields: frozenset[str] = field(default_factory=frozenset)  # and of fields that it looks at

    def __call__(self, event: Event, told: Told) -> bool:
        """Whether this event is one of them; ``told``: the features that it was described by."""
        if event.type not in self.types:
            return False
        for test in self.tests:  # noqa: SIM110  for every event: a generator costs more than it
            if not test(event, told):
                return False
        return True


PAYMENTS: Final = Filter("", "payments", frozenset({"transaction"}))


def near(got: str, known: Collection[str]) -> str:
    """The hint that names the nearest known name, or nothing."""
    found = get_close_matches(got, known, n=1)
    return f"; the nearest known name is {found[0]}" if found else ""


def _missing(get: Callable[[Event], object], wanted: bool, event: Event, _: Told) -> bool:
    return (get(event) is None) is wanted


def _is(get: Callable[[Event], object], word: str, wanted: bool, event: Event, _: Told) -> bool:
    got = get(event)
    return got is not None and (got == word) is wanted


def _holds(
    get: Callable[[Event], int | None],
    holds: Callable[[Any, Any], bool],
    number: float,
    event: Event,
    _: Told,
) -> bool:
    got = get(event)
    return got is not None and holds(got, number)


def _told(
    name: str, holds: Callable[[Any, Any], bool], number: float, _: Event, told: Told
) -> bool:
    got = told.get(name)
    return got is not None and holds(got, number)


def _number(where: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise BadDeclaration(f"needed a number in {where!r}, got {text!r}")
    return number


def read_filter(name: str, text: str, features: Collection[str]) -> Filter:
    """Make a filter of its line, or raise `BadDeclaration`.

    ``features`` are the names that it may compare beside the event's own fields.
    """
    types: set[str] = set()
    implied: dict[str, str] = {}  # type -> the field that says so
    tests: list[Callable[[Event, Told], bool]] = []
    needs: set[str] = set()
    fields: set[str] = set()
    conditions = [" ".join(part.split()) for part in re.split(r"\band\b", text)]
    for condition in conditions:
        subject = re.split(r"[\s<>=!]", condition, maxsplit=1)[0]
        fields.add(subject)
        if subject in _OF_TYPE and "missing" not in condition:
            implied[_OF_TYPE[subject]] = subject
        if found := _IS_MISSING.fullmatch(condition):
            tests.append(partial(_missing, _getter(found[1], condition), not found[2]))
        elif found := _IS_WORD.fullmatch(condition):
            if found[1] in features or found[1] == "amount":
                raise BadDeclaration(f"needed == and a number in {condition!r}, got a word")
            if found[1] == "type":
                types |= _types(found[3], negated=bool(found[2]))
                continue
            get = _getter(found[1], condition)
            words = _KNOWN_WORDS.get(found[1])
            if words is not None and found[3] not in words:
                known = ", ".join(words)
                raise BadDeclaration(
                    f"needed one of {known} in {condition!r}, got {found[3]!r}"
                    + near(found[3], words)
                )
            tests.append(partial(_is, get, found[3], not found[2]))
        elif found := _COMPARED.fullmatch(condition):
            number = _number(condition, found[3])
            if found[1] == "amount":
                tests.append(partial(_holds, _AMOUNT, _OPERATORS[found[2]], number))
            elif found[1] in features:
                needs.add(found[1])
                tests.append(partial(_told, found[1], _OPERATORS[found[2]], number))
            else:
                known_names = [*features, "amount"]
                raise BadDeclaration(
                    f"needed amount or a feature of this key in {condition!r}, got {found[1]!r}"
                    + near(found[1], known_names)
                )
        else:
            raise BadDeclaration(
                "needed conditions such as 'kind is card', 'session is missing', "
                f"'amount <= 10000', joined by 'and', got {condition!r}"
            )
    chosen = _chosen(types, implied)
    canonical = " and ".join([*sorted(conditions), *sorted(chosen)])
    seen = frozenset(fields - needs)
    return Filter(name, canonical, chosen, tuple(tests), frozenset(needs), seen)


def _getter(name: str, condition: str) -> Callable[[Event], object]:
    if name in ("result", "change"):
        return attrgetter(name)
    if name == "amount":
        return _AMOUNT
    if name not in NAMED:
        known = ", ".join(FIELDS)
        raise BadDeclaration(
            f"needed a field of {known} in {condition!r}, got {name!r}" + near(name, FIELDS)
        )
    return NAMED[name]


def _types(word: str, *, negated: bool) -> frozenset[str]:
    known = _KNOWN_WORDS["type"]
    if word not in known or negated:
        raise BadDeclaration(
            f"needed 'type is' and one of {', '.join(known)}, got {word!r}" + near(word, known)
        )
    return ACTS if word == "any" else frozenset({word})


def _chosen(types: set[str], implied: Mapping[str, str]) -> frozenset[str]:
    if not types:
        types = set(implied) or {"transaction"}
    wrong = [f"{field} (of a {kind})" for kind, field in implied.items() if kind not in types]
    if wrong or len(implied) > 1:
        told = " and ".join(wrong or [f"{field} (of a {kind})" for kind, field in implied.items()])
        raise BadDeclaration(
            f"no event has all of that: {told} beside type {', '.join(sorted(types))}"
        )
    return frozenset(types)
