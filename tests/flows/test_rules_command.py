"""What does an analyst hear of a rule: it is right, it is wrong there, its tests say so?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from config.settings import Settings
from flows.assemble import known_names, read_rule_set
from flows.catalogue import read_catalogue
from flows.cli import app
from flows.errors import BadSettings
from flows.judgement import fresh, keep, point
from flows.rule_tests import run_tests
from risk.rules import BadRules, read_rules, vocabulary

GOOD = """\
version: 2
id: night_cash
title: Cash at night
reason: {en: A large sum in cash at night.}
severity: low
when: event.kind == "cash" && event.is_night && event.amount >= money("3000.00")
action: score +100
state: draft
owner: me
tests:
  - name: three thousand at three o'clock
    events: [{at: 18h, kind: cash, amount: "3000.00"}]
    hit: true
  - name: at noon
    events: [{at: 3h, kind: cash, amount: "3000.00"}]
    hit: false
"""


def _ringback(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def _file(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_shipped_rule_does_what_its_tests_say() -> None:
    told = list(run_tests(read_rule_set(Settings()).rules, "CNY", read_catalogue()))
    assert len(told) > 30
    assert [one for one in told if not one.passed] == []
    shown = _ringback("rules", "test", "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["without"] == []


def test_a_right_rule_is_said_to_be_right(tmp_path: Path) -> None:
    told = _ringback("rules", "check", _file(tmp_path, GOOD))
    assert told.exit_code == 0
    assert "1 rules are right, 0 are refused." in told.stdout
    told = _ringback("rules", "test", _file(tmp_path, GOOD))
    assert "2 of 2 tests passed." in told.stdout


_IN = "mine.yaml: line"
WRONG = [
    ("is_night &&", "is_nihgt &&", f"{_IN} 6, column 31: needed a known name, got event.is_nihgt"),
    ("is_night &&", "is_nihgt &&", "the nearest is event.is_night"),
    ("score +100", "score 100", f"{_IN} 7, column 9: needed one of approve, challenge, review,"),
    ("score +100", "score 100", "'score +50', 'tag name' in 'action', got 'score 100'"),
    ("score +100", "score +1001", "needed points from 1 to 1000 in 'action', got 'score +1001'"),
    ("state: draft", "state: lvie", f"{_IN} 8, column 8: needed one of draft, shadow, live"),
    ("state: draft", "state: lvie", "in 'state', got 'lvie'; the nearest is live"),
    ("severity: low", "severity: lo", "needed one of low, medium, high, critical in 'severity'"),
    ("title: Cash at night", "title: ''", "needed a text in 'title', got ''"),
    ("{en: A", "{de: A", "needed a sentence in each language, 'en' among them, in 'reason'"),
    ("owner: me", "onwer: me", "needed a known name, got 'onwer'; the nearest known name is owner"),
    ("id: night_cash", "id: night cash", "needed an id of letters, digits and _, at most 64"),
    ("owner: me", "valid: {from: 2026-02-30}", "not YAML: day is out of range for month"),
    ("owner: me", "valid: {from: soon}", "needed a day such as 2026-12-31 in 'valid.from'"),
    ("owner: me", "valid: {from: 2026-02-02, until: 2026-02-01}", "'valid.from' before 'valid.un"),
    ("owner: me", "valid: {since: 2026-02-02}", "needed 'from' and 'until' in 'valid'"),
    ("owner: me", "applies_to: [payment]", "needed a list of transaction, login"),
]


@pytest.mark.parametrize(("right", "wrong", "told"), WRONG)
def test_a_wrong_rule_is_refused_with_its_place(
    tmp_path: Path, right: str, wrong: str, told: str
) -> None:
    assert right in GOOD
    said = _ringback("rules", "check", _file(tmp_path, GOOD.replace(right, wrong)))
    assert said.exit_code == 1
    assert told in said.stdout
    assert "1 are refused." in said.stdout


def test_a_failing_test_says_what_was_needed_and_why_not(tmp_path: Path) -> None:
    said = _ringback(
        "rules", "test", _file(tmp_path, GOOD.replace('"3000.00"}]', '"2999.99"}]', 1))
    )
    assert said.exit_code == 1
    assert (
        "FAILED night_cash: three thousand at three o'clock: needed hit, got no hit: "
        "event.amount is 299999" in said.stdout
    )
    assert "1 of 2 tests passed." in said.stdout


def test_a_rule_without_tests_is_named(tmp_path: Path) -> None:
    said = _ringback("rules", "test", _file(tmp_path, GOOD[: GOOD.index("tests:")]))
    assert said.exit_code == 0
    assert "night_cash has no tests." in said.stdout


def test_a_changed_rule_stands_in_place_of_the_one_that_counts(tmp_path: Path) -> None:
    text = GOOD.replace("night_cash", "new_payee_large")
    said = _ringback("rules", "check", _file(tmp_path, text), "--json")
    told = json.loads(said.stdout)
    assert told["refused"] == []
    assert told["rules"].count("new_payee_large") == 1


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    said = _ringback("rules", "check", tmp_path / "gone.yaml")
    assert isinstance(said.exception, BadSettings)
    assert "needed a file or a folder" in str(said.exception)
    assert "gone.yaml" in str(said.exception)


def test_the_list_shows_states_and_actions() -> None:
    rows = json.loads(_ringback("rules", "list", "--json").stdout)
    states = {row["id"]: row["state"] for row in rows}
    assert states["new_payee_large"] == "live"
    assert states["structuring"] == "shadow"
    shown = _ringback("rules", "list").stdout
    assert "card_testing" in shown


BAD_TESTS = [
    ({"hit": 1, "values": {}}, "needed true or false in 'hit', got 1"),
    ({"hit": True}, "needed either 'events' or 'values'"),
    ({"hit": True, "values": {"scroe": 1}}, "needed a known name in 'values', got 'scroe'"),
    ({"hit": True, "values": {"factor.x": 1}}, "needed a known name in 'values', got 'factor.x'"),
    ({"hit": True, "events": [{"at": "soon"}]}, "needed a span such as 5m, 2h or 1d, got 'soon'"),
    ({"hit": True, "events": [{"when": "1h"}]}, "needed one of type, .*, got 'when'"),
    ({"hit": True, "events": [{"times": 0}]}, "needed 'times' from 1 to 1000, got 0"),
    ({"hit": True, "events": [{"amount": "-1"}]}, "needed a decimal string"),
    ({"hit": True, "events": []}, "needed at least one event in 'events', got none"),
    ({"hit": True, "wish": 1, "values": {}}, "needed one of name, .*, got 'wish'"),
]


@pytest.mark.parametrize(("test", "told"), BAD_TESTS)
def test_a_test_that_cannot_be_read_is_refused_by_name(test: object, told: str) -> None:
    row = {"id": "mine", "title": "Mine", "reason": "Since.", "when": "score > 3", "tests": [test]}
    rules = read_rules({"version": 2, "rules": [{**row, "action": "tag odd"}]}, vocabulary(()))
    with pytest.raises(BadRules, match=f"rule mine: test 1: {told}"):
        list(run_tests(rules, "CNY", read_catalogue()))


def test_a_test_may_give_the_models_factors(tmp_path: Path) -> None:
    when = GOOD.replace("event.is_night", "factor.customer.new_payee >= 0.5")
    tests = """\
  - {name: for fraud, values: {event.kind: cash, event.amount: "3000.00",
     factor.customer.new_payee: 0.5}, hit: true}
  - {name: none of the greatest, values: {event.kind: cash, event.amount: "3000.00"}, hit: false}
"""
    file = _file(tmp_path, when[: when.index("  - name")] + tests)
    said = _ringback("rules", "test", file)
    assert "2 of 2 tests passed." in said.stdout, said.stdout


def test_the_house_in_var_is_meant_where_one_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = json.loads(_ringback("rules", "list", "--json").stdout)
    rules = read_rule_set(Settings())
    document = {**json.loads(rules.document), "rules": []}
    made = fresh(document, known_names(Settings()))
    keep(Path("var"), made)
    point(Path("var"), made.sha256)
    assert json.loads(_ringback("rules", "list", "--json").stdout) == []
    assert shipped
