"""The floor for rules: the plain meaning of the same comparisons, as Python functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from risk.rule_language import Constant, Name, Node, Pair
from risk.rule_truth import HOLDS, conjuncts, holds
from risk.rules import Rule

Test = Callable[[Mapping[str, Any]], bool]


def prepared(rules: Sequence[Rule]) -> list[tuple[str, tuple[Test, ...]]]:
    """Each rule as its id and the tests that must all pass."""
    return [(rule.id, tuple(_test(one) for one in conjuncts(rule.when))) for rule in rules]


def _test(node: Node) -> Test:
    if not isinstance(node, Pair) or node.sign not in HOLDS:
        return lambda values: holds(node, values)
    if not isinstance(node.left, Name) or not isinstance(node.right, Constant):
        return lambda values: holds(node, values)
    name, compare, threshold = node.left.name, HOLDS[node.sign], node.right.value

    def test(values: Mapping[str, Any]) -> bool:
        value = values.get(name)
        return value is not None and compare(value, threshold)

    return test


def hits(rules: list[tuple[str, tuple[Test, ...]]], values: Mapping[str, Any]) -> list[str]:
    """The ids of the rules that hold."""
    found = []
    for name, tests in rules:
        for test in tests:
            if not test(values):
                break
        else:
            found.append(name)
    return found
