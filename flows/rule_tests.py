"""Does each rule do what the tests beside it say? Their events walk through the real description.

A test is a few events in short and whether the last of them is hit; or values, where no event can
bring them about. Nobody is asked, nothing is kept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from features import surface
from features.catalogue import Catalogue
from features.describer import Profile
from flows.catalogue import read_catalogue
from risk import money
from risk.docket import Docket
from risk.events import Moment
from risk.policy import event_values
from risk.rule_truth import because
from risk.rules import EVENT, FACTOR, BadRules, Rule

_MONDAY_US = 1_772_442_000_000_000  # 2026-03-02 09:00 UTC
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAMES = ("name", "events", "values", "lists", "hit")
_TEXTS = (
    "payee_country", "kind", "device", "ip", "country", "channel", "session", "result", "change",
    "state", "terminal", "card", "mcc",
)  # fmt: skip
_EVENT_NAMES = ("type", "at", "times", "every", "customer", "amount", "payee", "lat", "lon")


@dataclass(frozen=True, slots=True)
class Tested:
    """One test of one rule: what was wished for, what was, and why."""

    rule: str
    name: str
    wished: bool
    got: bool
    why: str

    @property
    def passed(self) -> bool:
        return self.wished == self.got


def run_tests(rules: Sequence[Rule], base: str, known: Catalogue | None = None) -> Iterator[Tested]:
    """Run the tests of all rules; `BadRules` where one can't be read.

    ``known``: the features that a rule may name; without it the shipped ones.
    """
    known = known or read_catalogue()
    for place, rule in enumerate(rules):
        # Whatever their states are; the rules before it only where it looks at their hits.
        sees = any(name.startswith("hit.") for name in rule.names)
        acting = rules[0 if sees else place : place + 1]
        counted = known.needed({name for one in acting for name in one.names})
        docket = Docket([replace(one, state="live") for one in acting])
        for number, test in enumerate(rule.tests, 1):
            where = f"rule {rule.id}: test {test.get('name', number)}"
            _known(where, test, _NAMES)
            wished = test.get("hit")
            if not isinstance(wished, bool):
                raise BadRules(f"{where}: needed true or false in 'hit', got {wished!r}")
            values, kind, at_us = _values(where, rule, test, base, counted)
            lists = test.get("lists") or {}

            def on_list(name: str, key: str, value: str, _: int, lists: Any = lists) -> bool:
                return value in map(str, lists.get(name, {}).get(key, ()))

            found, _ = docket.hits(kind, values, at_us, on_list)
            held = [hit for hit in found if hit.rule.id == rule.id]
            told = held[0].because if held else because(rule.when, values, held=False)
            why = ", ".join(f"{one.feature} is {one.value}" for one in told)
            yield Tested(rule.id, str(test.get("name", number)), wished, bool(held), why)


def _known(where: str, row: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in row:
        if name not in names:
            raise BadRules(f"{where}: needed one of {', '.join(names)}, got {name!r}")


def _values(
    where: str, rule: Rule, test: Mapping[str, Any], base: str, known: Catalogue
) -> tuple[dict[str, Any], str, int]:
    kind = "transaction" if "transaction" in rule.applies_to else min(rule.applies_to)
    if ("events" in test) == ("values" in test):
        raise BadRules(f"{where}: needed either 'events' or 'values'")
    if "values" in test:
        return _given(where, test["values"], base, known), kind, _MONDAY_US
    moments = [one for row in test["events"] for one in _moments(where, row, kind, base)]
    if not moments:
        raise BadRules(f"{where}: needed at least one event in 'events', got none")
    moments = [one._replace(id=f"e{place}") for place, one in enumerate(moments)]
    last = moments[-1]
    return {**_described(moments, known), **event_values(last)}, last.type, last.time_us


def _given(where: str, values: Mapping[str, Any], base: str, known: Catalogue) -> dict[str, Any]:
    given: dict[str, Any] = {}
    features = known.by_name
    for name, value in values.items():
        feature = name.removeprefix(FACTOR)
        if feature not in features and name not in EVENT and name not in ("score", "anomaly"):
            raise BadRules(f"{where}: needed a known name in 'values', got {name!r}")
        amount = name in features and features[name].unit == "money"
        given[name] = money.minor_units(value, base) if amount and isinstance(value, str) else value
    return given


def _span_us(where: str, text: Any) -> int:
    found = re.fullmatch(r"(\d+)([smhd])", str(text))
    if found is None:
        raise BadRules(f"{where}: needed a span such as 5m, 2h or 1d, got {text!r}")
    return int(found[1]) * _UNITS[found[2]] * 1_000_000


def _moments(where: str, row: Mapping[str, Any], kind: str, base: str) -> Iterator[Moment]:
    _known(where, row, (*_EVENT_NAMES, *_TEXTS))
    at_us = _MONDAY_US + _span_us(where, row.get("at", "0s"))
    every_us = _span_us(where, row.get("every", "1m"))
    times = row.get("times", 1)
    if not isinstance(times, int) or not 1 <= times <= 1000:
        raise BadRules(f"{where}: needed 'times' from 1 to 1000, got {times!r}")
    type_ = row.get("type", kind)
    payment = type_ == "transaction"
    try:
        amount = money.minor_units(str(row.get("amount", "98.00")), base) if payment else None
    except money.BadAmount as wrong:
        raise BadRules(f"{where}: {wrong}") from wrong
    for number in range(1, times + 1):
        texts: Any = {
            name: str(row[name]).replace("{n}", str(number)) for name in _TEXTS if name in row
        }
        time_us = at_us + (number - 1) * every_us
        payee = str(row.get("payee", "payee")).replace("{n}", str(number))
        yield Moment(
            id="",
            type=type_,
            time_us=time_us,
            customer=str(row.get("customer", "customer")).replace("{n}", str(number)),
            accepted_us=time_us,
            partition=0,
            position=0,
            amount=amount,
            amount_base=amount,
            currency=base if payment else None,
            payee=payee if payment else None,
            lat=row.get("lat"),
            lon=row.get("lon"),
        )._replace(**texts)


def _described(moments: Sequence[Moment], counted: Catalogue) -> dict[str, Any]:
    """The last event as the flow would describe it, those before it being past."""
    held: dict[tuple[str, str], Profile] = {}
    values: dict[str, Any] = {}
    for moment in moments:
        values = dict(surface.describe(moment))
        for describer in counted.describers:
            owner = describer.entity(moment)
            if owner is not None:
                profile = held.setdefault((describer.key, owner), describer.new())
                values.update(profile.describe(moment, values))
                profile.observe(moment, values)
    return values
