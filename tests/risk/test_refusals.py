"""Is every refusal of rules, policy, lists and amounts provoked, and does each say this, whole?"""

import ast
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from config.rule_files import parsed
from config.settings import HERE, read_yaml
from risk import lists, money, policy, rule_check, rule_language, rules
from tests.risk.test_rule_language import KNOWN, PAYMENT

ASSET = Path(__file__).parent.parent / "assets" / "rules" / "refusals.yaml"
TOLD: dict[str, Any] = yaml.safe_load(ASSET.read_text(encoding="utf-8"))
POLICY = read_yaml(HERE / "policy.yaml")
CHANGE = {
    "op": "add",
    "list": "mules",
    "kind": "payee",
    "value": "acc-1",
    "reason": "seen",
    "by": "ann",
}


def _expression(row: dict[str, Any]) -> object:
    tree = rule_language.read(row["when"] * row.get("times", 1))
    return rule_check.checked(tree, KNOWN, PAYMENT, "mine", ("a", "b"))


def _rules(row: dict[str, Any]) -> object:
    file = row["file"]
    return rules.read_rules(parsed(file, "own.yaml") if isinstance(file, str) else file, KNOWN)


def _policy(row: dict[str, Any]) -> object:
    document = copy.deepcopy(POLICY)
    for path, value in row["set"].items():
        *way, name = path.split(".")
        at = document
        for one in way:
            at = at[one]
        at[name] = value
    return policy.read_policy(document, "CNY")


def _list(row: dict[str, Any]) -> object:
    return lists.checked_change({**CHANGE, **row["change"]}, ["mine"])


def _amount(row: dict[str, Any]) -> object:
    return money.minor_units(row["amount"], row["currency"])


PROVOKED: dict[str, Callable[[dict[str, Any]], object]] = {
    "expressions": _expression,
    "rules": _rules,
    "policy": _policy,
    "lists": _list,
    "amounts": _amount,
}
ROWS = [(kind, row) for kind in PROVOKED for row in TOLD[kind]]


@pytest.mark.parametrize(
    ("kind", "row"), ROWS, ids=[f"{kind}-{row['told'][:60]}" for kind, row in ROWS]
)
def test_what_is_refused_is_said_in_these_words(kind: str, row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needed") as refused:
        PROVOKED[kind](row)
    assert str(refused.value) == row["told"]


def _refusals(module: ModuleType) -> dict[tuple[str, int], str]:
    """Every place of a module's text that refuses; a TypeError is a slip of ours.

    A bare ``raise`` says nothing of its own.
    """
    file = str(module.__file__)
    found = {}
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc and "TypeError" not in ast.unparse(node):
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                found[file, line] = f"{Path(file).name}:{node.lineno} {ast.unparse(node)}"
    return found


def _raised(wrong: BaseException | None) -> Iterator[tuple[str, int]]:
    """Where an error, and each that caused it, came from."""
    seen: set[int] = set()
    while wrong is not None and id(wrong) not in seen:  # one may name itself as its cause
        seen.add(id(wrong))
        at = wrong.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        if at is not None:
            yield at.tb_frame.f_code.co_filename, at.tb_lineno
        wrong = wrong.__cause__


def test_no_refusal_goes_without_its_words() -> None:
    """By the code itself: a refusal that is added needs a line in the asset."""
    places: dict[tuple[str, int], str] = {}
    for module in (rules, rule_check, rule_language, policy, lists, money):
        places |= _refusals(module)
    assert len(set(places.values())) > 80
    reached = set()
    for kind, row in ROWS:
        try:
            PROVOKED[kind](row)
        except ValueError as wrong:
            reached |= {places[at] for at in _raised(wrong) if at in places}
    assert sorted(set(places.values()) - reached) == []
