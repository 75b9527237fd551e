"""What is true of an expression, and why? The plain meaning, and the same as the engine reads it.

Null: a comparison in which any value is null is false, never an error; so ``!(x > 5)`` holds where
x is null. Only ``x == null`` and ``x != null`` ask for it. Money is in minor units of the base
currency and is written as ``money("5000.00")``; arithmetic is in doubles (exact below 2^53).
"""

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from risk.rule_language import (
    LIST,
    Constant,
    Either,
    Items,
    Listed,
    Minus,
    Name,
    Node,
    Not,
    Pair,
    names_in,
    words,
)

Value = int | float | str | None
INFINITE = math.inf
HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
OPPOSITE = {">=": "<", "<": ">=", ">": "<=", "<=": ">", "==": "!=", "!=": "==", "in": "not in"}


class Cause(NamedTuple):
    """One comparison that made an expression hold, or kept it from holding.

    ``of`` says in words what the threshold was worked out from, where it was.
    """

    feature: str
    value: Value
    operator: str
    threshold: Value
    of: str = ""


# --- its parts ------------------------------------------------------------------------------


def conjuncts(node: Node) -> Iterator[Node]:
    """What must all hold, for the whole to hold."""
    if isinstance(node, Pair) and node.sign == "&&":
        yield from conjuncts(node.left)
        yield from conjuncts(node.right)
    else:
        yield node


def needs(node: Node) -> frozenset[str] | None:
    """The names that must not be null for a plain chain of ``&&`` to hold; None for another."""
    found: set[str] = set()
    for one in conjuncts(node):
        if isinstance(one, Listed | Name):
            continue
        if not isinstance(one, Pair) or one.sign == "||" or asks_for_null(one):
            return None
        found.update(name.name for name in names_in(one))
    return frozenset(found)


def asks_for_null(node: Pair) -> bool:
    """Whether this is ``x == null`` or ``x != null``."""
    return isinstance(node.right, Constant) and node.right.value is None


def lists_in(node: Node) -> Iterator[Listed]:
    """Each look at a list."""
    if isinstance(node, Listed):
        yield node
    if isinstance(node, Pair):
        yield from lists_in(node.left)
        yield from lists_in(node.right)
    elif isinstance(node, Not | Minus):
        yield from lists_in(node.of)
    elif isinstance(node, Either):
        for part in (node.test, node.yes, node.no):
            yield from lists_in(part)


# --- the truth of it ------------------------------------------------------------------------


def worth(node: Node, values: Mapping[str, Any]) -> Any:
    """The value of a part that is no condition; None where any value in it is null."""
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Name):
        return values.get(node.name)
    if isinstance(node, Minus):
        of = worth(node.of, values)
        return None if of is None else -float(of)
    if isinstance(node, Either):
        return worth(node.yes if holds(node.test, values) else node.no, values)
    if not isinstance(node, Pair):
        raise TypeError(f"rule: needed a value, got {type(node).__name__}")
    left, right = worth(node.left, values), worth(node.right, values)
    if left is None or right is None:
        return None
    return _calculated(node.sign, float(left), float(right))


def _calculated(sign: str, left: float, right: float) -> float:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(INFINITE, left) * math.copysign(1.0, right)


def _null(node: Node, values: Mapping[str, Any]) -> bool:
    return any(values.get(name.name) is None for name in names_in(node))


def holds(node: Node, values: Mapping[str, Any]) -> bool:
    """Whether a checked condition holds; the plain meaning that the compiled one must have."""
    if isinstance(node, Name | Listed):
        return values.get(node.name) is True
    if isinstance(node, Not):
        return not holds(node.of, values)
    if isinstance(node, Either):
        return holds(node.yes if holds(node.test, values) else node.no, values)
    if not isinstance(node, Pair):
        raise TypeError(f"rule: needed a condition, got {type(node).__name__}")
    if node.sign == "&&":
        return holds(node.left, values) and holds(node.right, values)
    if node.sign == "||":
        return holds(node.left, values) or holds(node.right, values)
    if asks_for_null(node):
        return (worth(node.left, values) is None) == (node.sign == "==")
    if _null(node, values):
        return False
    left = worth(node.left, values)
    if isinstance(node.right, Items):
        return any(left == item.value for item in node.right.items)
    return HOLDS[node.sign](left, worth(node.right, values))


def because(node: Node, values: Mapping[str, Any], held: bool = True) -> list[Cause]:
    """All comparisons that made a condition hold; with ``held`` False, that kept it from it."""
    if isinstance(node, Not):
        return because(node.of, values, not held)
    if isinstance(node, Either):
        test = holds(node.test, values)
        return because(node.test, values, test) + because(
            node.yes if test else node.no, values, held
        )
    if isinstance(node, Name):
        return [Cause(node.name, int(held), "==", int(held))]
    if isinstance(node, Listed):
        return [_cause(node.key, values.get(node.key), "in", f"{LIST}{node.list}", held)]
    if not isinstance(node, Pair):
        raise TypeError(f"rule: needed a condition, got {type(node).__name__}")
    if node.sign in ("&&", "||"):
        sides = (node.left, node.right)
        return [
            cause
            for side in sides
            if holds(side, values) == held
            for cause in because(side, values, held)
        ]
    return [_compared(node, values, held)]


def _compared(node: Pair, values: Mapping[str, Any], held: bool) -> Cause:
    value = worth(node.left, values)
    if isinstance(node.right, Items):
        return _cause(words(node.left), value, "in", words(node.right), held)
    threshold = worth(node.right, values)
    of = "" if isinstance(node.right, Constant) else words(node.right)
    if _null(node, values) and not asks_for_null(node):
        return Cause(words(node.left), value, node.sign, threshold, of)
    return _cause(words(node.left), value, node.sign, threshold, held, of)


def _cause(
    feature: str, value: Value, sign: str, threshold: Value, held: bool, of: str = ""
) -> Cause:
    return Cause(feature, value, sign if held else OPPOSITE[sign], threshold, of)


# --- as the engine reads it -----------------------------------------------------------------


def as_cel(node: Node, variable: Callable[[str], str], guarded: bool) -> str:
    """A checked condition as CEL over plain variables.

    ``guarded``: each comparison first asks whether its values are null; a plain chain of ``&&``
    needs no guards where the caller asks once for all of them (`needs`).
    """
    if isinstance(node, Name | Listed):
        return variable(node.name)
    if isinstance(node, Not):
        return f"!({as_cel(node.of, variable, guarded)})"
    if isinstance(node, Either):
        parts = (as_cel(part, variable, guarded) for part in (node.test, node.yes, node.no))
        return "(({}) ? ({}) : ({}))".format(*parts)
    if not isinstance(node, Pair):
        raise TypeError(f"rule: needed a condition, got {type(node).__name__}")
    if node.sign in ("&&", "||"):
        left, right = (as_cel(side, variable, guarded) for side in (node.left, node.right))
        return f"({left} {node.sign} {right})"
    if asks_for_null(node):
        return f"({_value(node.left, variable, guarded)} {node.sign} null)"
    left = _value(node.left, variable, guarded)
    if isinstance(node.right, Items):
        right = "[" + ", ".join(_literal(item.value) for item in node.right.items) + "]"
    else:
        right = _value(node.right, variable, guarded)
    told = f"{left} {node.sign} {right}"
    if guarded:
        for name in sorted({name.name for name in names_in(node)}, reverse=True):
            told = f"{variable(name)} != null && {told}"
    return f"({told})"


def _value(node: Node, variable: Callable[[str], str], guarded: bool) -> str:
    if isinstance(node, Constant):
        return _literal(node.value)
    if isinstance(node, Name):
        return variable(node.name)
    return _double(node, variable, guarded)


def _double(node: Node, variable: Callable[[str], str], guarded: bool) -> str:
    if isinstance(node, Constant):
        return _literal(float(node.value or 0))
    if isinstance(node, Name):
        return f"double({variable(node.name)})"
    if isinstance(node, Minus):
        return f"(-({_double(node.of, variable, guarded)}))"
    if isinstance(node, Either):
        test = as_cel(node.test, variable, guarded)
        yes, no = (_double(part, variable, guarded) for part in (node.yes, node.no))
        return f"(({test}) ? {yes} : {no})"
    if isinstance(node, Pair):
        left, right = (_double(side, variable, guarded) for side in (node.left, node.right))
        return f"({left} {node.sign} {right})"
    raise TypeError(f"rule: needed a value, got {type(node).__name__}")


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return (
            '"'
            + "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 32 else c for c in value)
            + '"'
        )
    return repr(value)
