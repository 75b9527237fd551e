"""Which of the bank's own rules does an event hit? Comparisons over named values, nothing more.

A rule is a list of comparisons that must all hold. A value that is null makes its comparison
false; a name that nobody computes is refused when the file is read, not ignored at night.
"""

import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

Value = int | float | str | None
OUTCOMES = ("approve", "challenge", "review", "decline")
MILD_TO_STRICT = {outcome: place for place, outcome in enumerate(OUTCOMES)}
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
EVENT_NAMES = frozenset(
    {"event.type", "event.amount", "event.channel", "event.kind", "event.country", "event.change"}
)
DECIDED = ("transaction", "login", "account_change", "status")
TEXT_NAMES = EVENT_NAMES - {"event.amount"}


class BadRules(ValueError):
    """A rule file that can't be used: which rule, what was needed, what was got."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``name operator threshold``, for instance ``payee.fraud_count.30d >= 1``."""

    name: str
    symbol: str
    holds: Callable[[Any, Any], bool]
    threshold: int | float | str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when all comparisons hold, its action is the least that happens."""

    id: str
    applies_to: frozenset[str]
    when: tuple[Comparison, ...]
    action: str
    text: str


class Hit(NamedTuple):
    """A rule that held, with the values that made it hold."""

    rule: Rule
    values: tuple[Value, ...]


def _comparison(rule: str, row: Mapping[str, Any], names: Collection[str]) -> Comparison:
    name = row.get("value")
    if not isinstance(name, str) or name not in names:
        near = get_close_matches(str(name), names, n=1)
        hint = f"; the nearest known name is {near[0]}" if near else ""
        raise BadRules(f"rule {rule}: needed a known name in 'value', got {name!r}{hint}")
    symbol = row.get("operator")
    if not isinstance(symbol, str) or symbol not in _OPERATORS:
        known = " ".join(_OPERATORS)
        raise BadRules(f"rule {rule}: needed an operator of {known}, got {symbol!r}")
    threshold = row.get("threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | str):
        raise BadRules(f"rule {rule}: needed a number or a text in 'threshold', got {threshold!r}")
    if isinstance(threshold, str) != (name in TEXT_NAMES):
        needed = "a text" if name in TEXT_NAMES else "a number"
        raise BadRules(f"rule {rule}: needed {needed} in 'threshold' of {name}, got {threshold!r}")
    if isinstance(threshold, float) and not math.isfinite(threshold):
        raise BadRules(f"rule {rule}: needed a finite number in 'threshold', got {threshold!r}")
    return Comparison(name, symbol, _OPERATORS[symbol], threshold)


def _applies(rule: str, kinds: Any) -> frozenset[str]:
    if not isinstance(kinds, list) or not kinds or not set(map(str, kinds)) <= set(DECIDED):
        needed = f"a list of {', '.join(DECIDED)}"
        raise BadRules(f"rule {rule}: needed {needed} in 'applies_to', got {kinds!r}")
    return frozenset(kinds)


def read_rules(document: Mapping[str, Any], feature_names: Collection[str]) -> tuple[Rule, ...]:
    """Make rules of a parsed file (format 1), or raise `BadRules`."""
    if document.get("version") != 1:
        raise BadRules(f"rules: needed 'version: 1', got {document.get('version')!r}")
    names = {*feature_names, *EVENT_NAMES, "score", "anomaly"}
    rules: list[Rule] = []
    rows = document.get("rules") or ()
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
        raise BadRules("rules: needed a list of rules, each with its 'id', 'when' and 'action'")
    for row in rows:
        ident = str(row.get("id"))
        if ident in {rule.id for rule in rules} or ident == "None":
            raise BadRules(f"rules: needed an id of its own for each rule, got {ident!r} again")
        if row.get("action") not in OUTCOMES:
            got = row.get("action")
            raise BadRules(f"rule {ident}: needed an action of {OUTCOMES}, got {got!r}")
        when = row.get("when")
        if not isinstance(when, list) or not all(isinstance(one, Mapping) for one in when):
            raise BadRules(f"rule {ident}: needed a list of comparisons in 'when', got {when!r}")
        if not when:
            raise BadRules(f"rule {ident}: needed at least one comparison in 'when', got none")
        comparisons = tuple(_comparison(ident, one, names) for one in when)
        applies = _applies(ident, row.get("applies_to", ["transaction"]))
        rules.append(Rule(ident, applies, comparisons, row["action"], str(row.get("text", ident))))
    return tuple(rules)


def hits(rules: tuple[Rule, ...], kind: str, values: Mapping[str, Value]) -> Iterator[Hit]:
    """Give each rule that holds, in the order of the file."""
    for rule in rules:
        if kind not in rule.applies_to:
            continue
        seen: list[Value] = []
        for comparison in rule.when:
            value = values.get(comparison.name)
            if value is None or not comparison.holds(value, comparison.threshold):
                break
            seen.append(value)
        else:
            yield Hit(rule, tuple(seen))


def written(value: Value) -> str | int | None:
    """A value as a record writes it: a float as its string, the same bits back."""
    if isinstance(value, float):
        return repr(value)
    return value
