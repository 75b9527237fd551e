"""Can this expression ever act? Names, types, ranges, before it ever runs.

A rule that never matches and never errs is a defect, so that what can't be true is refused when the
file is read: unknown names, a text compared with a number, money compared with a bare number,
``customer.count.1h < 0``, ``event.amount`` of a sign-in.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, NamedTuple

from risk import money
from risk.rule_language import (
    LIST,
    BadExpression,
    Call,
    Constant,
    Either,
    Items,
    Listed,
    Minus,
    Name,
    Node,
    Not,
    Pair,
    Place,
    words,
)
from risk.rule_truth import HOLDS, INFINITE, conjuncts

_MIRRORED = {">=": "<=", "<=": ">=", ">": "<", "<": ">", "==": "==", "!=": "!="}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
HIT = "hit."


@dataclass(frozen=True, slots=True)
class Known:
    """A name that expressions may use: ``number``, ``text`` or ``yes`` (true or false).

    ``low`` and ``high`` bound a number, ``choices`` a text where they are known; ``of`` are the
    event types that have it, empty for all. ``flag``: a number that is 0 or 1. ``claimed``: made of
    what a client says of itself, so that it may raise a risk and never lower one.
    """

    kind: str
    unit: str = ""
    low: float = -INFINITE
    high: float = INFINITE
    choices: tuple[str, ...] = ()
    of: frozenset[str] = frozenset()
    claimed: bool = False

    @property
    def flag(self) -> bool:
        return self.unit == "flag"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which names there are, which lists, and the base currency of ``money()``.

    ``lists`` None: any list may be named. ``keys`` are the names whose value may stand on a list.
    ``wordings`` say of what an analyst has declared what it counts: part of what a set means.
    """

    names: Mapping[str, Known]
    base: str = "CNY"
    lists: Collection[str] | None = None
    keys: Collection[str] = ()
    wordings: Mapping[str, str] = field(default_factory=dict)


class _Typed(NamedTuple):
    node: Node
    kind: str
    unit: str
    low: float = -INFINITE
    high: float = INFINITE


@dataclass(slots=True)
class _Check:
    vocabulary: Vocabulary
    types: frozenset[str]
    rule: str
    earlier: Collection[str]
    bounds: dict[str, tuple[float, float, str]] = field(default_factory=dict)

    # --- what is a condition ----------------------------------------------------------------

    def condition(self, node: Node) -> Node:
        if isinstance(node, Pair) and node.sign in ("&&", "||"):
            left = self.condition(node.left)
            return Pair(node.place, node.sign, left, self.condition(node.right))
        if isinstance(node, Not):
            return Not(node.place, self.condition(node.of))
        if isinstance(node, Either):
            test, yes = self.condition(node.test), self.condition(node.yes)
            return Either(node.place, test, yes, self.condition(node.no))
        if isinstance(node, Pair) and node.sign == "in":
            return self._within(node)
        if isinstance(node, Pair) and node.sign in HOLDS:
            return self._compared(node)
        if isinstance(node, Name):
            known = self._known(node)
            if known.flag:
                return Pair(node.place, "==", node, Constant(node.place, 1, "", "1"))
            if known.kind == "yes":
                return node
            what = "a number" if known.kind == "number" else "a text"
            raise BadExpression(
                node.place, f"needed a condition, got {node.name}, which is {what}: compare it"
            )
        raise BadExpression(
            node.place, f"needed a condition such as customer.count.1h >= 8, got {words(node)}"
        )

    def _known(self, node: Name) -> Known:
        name = node.name
        if name.startswith(HIT):
            return self._hit(node)
        known = self.vocabulary.names.get(name)
        if known is None:
            if name.startswith(LIST):
                raise BadExpression(
                    node.place, f"needed a key before it, as in event.payee in {name}, got {name}"
                )
            raise BadExpression(node.place, _unknown("a known name", name, self.vocabulary.names))
        if known.of and not known.of & self.types:
            kinds = ", ".join(sorted(known.of))
            raise BadExpression(
                node.place,
                f"needed a value that {', '.join(sorted(self.types))} has, got {name}, which only "
                f"{kinds} has: this can never be true",
            )
        return known

    def _hit(self, node: Name) -> Known:
        rule = node.name.removeprefix(HIT)
        if rule not in self.earlier:
            if rule == self.rule:
                raise BadExpression(node.place, f"needed an earlier rule, got {rule} itself")
            raise BadExpression(node.place, _unknown("an earlier rule", rule, self.earlier))
        return Known("yes")

    # --- comparisons ------------------------------------------------------------------------

    def _compared(self, node: Pair) -> Node:
        left, right, sign = node.left, node.right, node.sign
        if isinstance(left, Constant) and not isinstance(right, Constant):
            left, right, sign = right, left, _MIRRORED[sign]
        if isinstance(right, Constant) and right.value is None:
            if sign not in ("==", "!=") or not isinstance(left, Name):
                raise BadExpression(
                    node.place, f"needed a name and == null or != null, got {words(node)}"
                )
            self._known(left)
            return Pair(node.place, sign, left, right)
        one, other = self._value(left), self._value(right)
        if one.kind != other.kind:
            raise BadExpression(
                right.place,
                f"needed a {one.kind} beside {words(left)}, got {words(right)}, a {other.kind}",
            )
        made = Pair(node.place, sign, one.node, other.node)
        if one.kind == "text":
            self._texts(made)
        elif one.kind == "number":
            self._units(one, other, right.place)
            self._possible(made, one, other)
        else:
            raise BadExpression(
                node.place, f"needed {words(left)} or !{words(left)} alone, got {words(node)}"
            )
        return made

    def _units(self, one: _Typed, other: _Typed, place: Place) -> None:
        if (one.unit == "money") == (other.unit == "money"):
            return
        amount, bare = (one, other) if one.unit == "money" else (other, one)
        remedy = ""
        if isinstance(bare.node, Constant) and isinstance(bare.node.value, int):
            remedy = f': write money("{bare.node.value}.00")'
        raise BadExpression(
            place,
            f"needed an amount of {self.vocabulary.base} beside {words(amount.node)}, got "
            f"{words(bare.node)}, a bare number{remedy}",
        )

    def _texts(self, node: Pair) -> None:
        if node.sign not in ("==", "!="):
            raise BadExpression(node.place, f"needed == or != between texts, got {node.sign}")
        if isinstance(node.right, Constant):
            self._choice(node.left, node.right)

    def _choice(self, left: Node, right: Constant) -> None:
        known = self.vocabulary.names[left.name] if isinstance(left, Name) else None
        if known is None or not known.choices or right.value in known.choices:
            return
        hint = _unknown(f"one of {', '.join(known.choices)}", str(right.value), known.choices)
        raise BadExpression(right.place, f"{hint}: this can never be true")

    def _possible(self, node: Pair, one: _Typed, other: _Typed) -> None:
        low, high = other.low, other.high
        never = {
            ">=": one.high < low,
            ">": one.high <= low,
            "<=": one.low > high,
            "<": one.low >= high,
            "==": one.high < low or one.low > high,
            "!=": one.low == one.high == low == high,
        }[node.sign]
        if never:
            span = f"{_bound(one.low)} to {_bound(one.high)}"
            raise BadExpression(
                node.place,
                f"needed a comparison that can be true, got {words(node)}: {words(node.left)} is "
                f"from {span}",
            )

    def _within(self, node: Pair) -> Node:
        if isinstance(node.right, Name) and node.right.name.startswith(LIST):
            return self._listed(node, node.right)
        if not isinstance(node.right, Items):
            got = words(node.right)
            needed = f"needed [a, b, ...] or {LIST}<name> after 'in', got {got}"
            raise BadExpression(node.right.place, needed)
        one = self._value(node.left)
        items: list[Constant] = []
        for item in node.right.items:
            call = Call(item.place, item.unit, str(item.value)) if item.unit else item
            typed = self._value(call)
            if typed.kind != one.kind:
                raise BadExpression(
                    item.place,
                    f"needed a {one.kind} beside {words(node.left)}, got {words(item)}, a "
                    f"{typed.kind}",
                )
            if one.kind == "number":
                self._units(one, typed, item.place)
            else:
                self._choice(node.left, item)
            items.append(typed.node)  # type: ignore[arg-type]  # a constant gives a constant
        return Pair(node.place, "in", one.node, Items(node.right.place, tuple(items)))

    def _listed(self, node: Pair, right: Name) -> Listed:
        name = right.name.removeprefix(LIST)
        if not isinstance(node.left, Name) or node.left.name not in self.vocabulary.keys:
            keys = ", ".join(sorted(self.vocabulary.keys))
            raise BadExpression(
                node.left.place, f"needed one of {keys} before 'in', got {words(node.left)}"
            )
        self._known(node.left)
        if self.vocabulary.lists is not None and name not in self.vocabulary.lists:
            raise BadExpression(right.place, _unknown("a known list", name, self.vocabulary.lists))
        return Listed(node.place, node.left.name, name)

    # --- values -----------------------------------------------------------------------------

    def _value(self, node: Node) -> _Typed:
        if isinstance(node, Constant):
            return _constant(node)
        if isinstance(node, Call):
            return _constant(_worked_out(node, self.vocabulary.base))
        if isinstance(node, Name):
            known = self._known(node)
            return _Typed(node, known.kind, known.unit, known.low, known.high)
        if isinstance(node, Minus):
            of = self._number(node.of)
            return _Typed(Minus(node.place, of.node), "number", of.unit, -of.high, -of.low)
        if isinstance(node, Either):
            test = self.condition(node.test)
            yes, no = self._number(node.yes), self._number(node.no)
            self._units(yes, no, node.no.place)
            made = Either(node.place, test, yes.node, no.node)
            return _Typed(made, "number", yes.unit, min(yes.low, no.low), max(yes.high, no.high))
        if isinstance(node, Pair) and node.sign in ("+", "-", "*", "/"):
            return self._arithmetic(node)
        raise BadExpression(node.place, f"needed a value, got {words(node)}, a condition")

    def _number(self, node: Node) -> _Typed:
        typed = self._value(node)
        if typed.kind != "number":
            raise BadExpression(node.place, f"needed a number, got {words(node)}, a {typed.kind}")
        return typed

    def _arithmetic(self, node: Pair) -> _Typed:
        left, right = self._number(node.left), self._number(node.right)
        amounts = (left.unit == "money", right.unit == "money")
        if node.sign in ("+", "-"):
            self._units(left, right, node.right.place)
            unit = "money" if any(amounts) else ""
        elif node.sign == "*":
            if all(amounts):
                raise BadExpression(node.place, f"needed a number in it, got {words(node)}")
            unit = "money" if any(amounts) else ""
        else:
            if right.low == right.high == 0:
                raise BadExpression(node.right.place, "needed something other than 0 below /")
            if amounts == (False, True):
                raise BadExpression(node.place, f"needed an amount above /, got {words(node)}")
            unit = "money" if amounts == (True, False) else ""
        low, high = _reach(node.sign, left, right)
        made = Pair(node.place, node.sign, left.node, right.node)
        return _Typed(made, "number", unit, low, high)


def _reach(sign: str, left: _Typed, right: _Typed) -> tuple[float, float]:
    if sign == "+":
        return left.low + right.low, left.high + right.high
    if sign == "-":
        return left.low - right.high, left.high - right.low
    if sign == "/" and right.low <= 0 <= right.high:
        return -INFINITE, INFINITE
    other = (right.low, right.high) if sign == "*" else (_over(right.high), _over(right.low))
    ends = [_times(one, two) for one in (left.low, left.high) for two in other]
    return min(ends), max(ends)


def _times(one: float, other: float) -> float:
    return 0.0 if 0 in (one, other) else one * other


def _over(value: float) -> float:
    return 1 / value


def _bound(value: float) -> str:
    if math.isinf(value):
        return "any" if value < 0 else "any height"
    return f"{value:g}"


def _constant(node: Constant) -> _Typed:
    if isinstance(node.value, bool) or node.value is None:
        raise BadExpression(node.place, f"needed a number or a text, got {node.written}")
    if isinstance(node.value, str):
        return _Typed(node, "text", "")
    return _Typed(node, "number", node.unit, node.value, node.value)


def _worked_out(node: Call, base: str) -> Constant:
    written = words(node)
    if node.function == "span":
        number, unit = node.argument[:-1], node.argument[-1:]
        if unit not in _SECONDS or not number.isdigit():
            raise BadExpression(
                node.place, f'needed a span such as span("24h") of s, m, h, d, got {written}'
            )
        return Constant(node.place, int(number) * _SECONDS[unit], "", written)
    try:
        if Decimal(node.argument) == 0:
            return Constant(node.place, 0, "money", written)
        return Constant(node.place, money.minor_units(node.argument, base), "money", written)
    except (InvalidOperation, money.BadAmount) as wrong:
        needed = f'needed an amount of {base} such as money("5000.00"), got {written}'
        raise BadExpression(node.place, needed) from wrong


def _unknown(needed: str, got: str, known: Iterable[str]) -> str:
    near = get_close_matches(got, list(known), n=1)
    hint = f"; the nearest is {near[0]}" if near else ""
    return f"needed {needed}, got {got}{hint}"


def checked(
    node: Node,
    vocabulary: Vocabulary,
    types: frozenset[str],
    rule: str = "",
    earlier: Collection[str] = (),
) -> Node:
    """Give the tree with amounts, spans, flags and lists worked out, or raise `BadExpression`.

    ``types`` are the event types that the rule is of; ``earlier`` the rules whose hits it may see.
    """
    made = _Check(vocabulary, types, rule, earlier).condition(node)
    _together(made)
    return made


def _together(node: Node) -> None:
    """Refuse comparisons of one value with constants that can't hold at once."""
    between: dict[str, tuple[float, bool, float, bool]] = {}
    same: dict[str, Any] = {}
    for one in conjuncts(node):
        if isinstance(one, Either | Not | Listed | Name):
            continue
        if not isinstance(one, Pair):
            continue
        if one.sign == "||":
            _together(one.left)
            _together(one.right)
            continue
        if not isinstance(one.left, Name) or not isinstance(one.right, Constant):
            continue
        name, value = one.left.name, one.right.value
        if isinstance(value, str):
            if one.sign == "==" and same.setdefault(name, value) != value:
                _never(one, f"{name} == {same[name]!r}")
            continue
        if value is None or one.sign == "!=":
            continue
        low, low_open, high, high_open = between.get(name, (-INFINITE, False, INFINITE, False))
        if one.sign in (">", ">=", "==") and (value > low or (value == low and one.sign == ">")):
            low, low_open = value, one.sign == ">"
        if one.sign in ("<", "<=", "==") and (value < high or (value == high and one.sign == "<")):
            high, high_open = value, one.sign == "<"
        if low > high or (low == high and (low_open or high_open)):
            _never(one, f"what is asked of {name} before it")
        between[name] = (low, low_open, high, high_open)


def _never(node: Pair, other: str) -> None:
    raise BadExpression(
        node.place, f"needed comparisons that can all be true, got {words(node)} beside {other}"
    )
