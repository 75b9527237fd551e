"""`ringback rules`: is it right, does it do what its tests say, what would it have done?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.errors import BadSettings

rules_app = typer.Typer(no_args_is_help=True, help="The bank's own rules: docs/rules.md.")
File = Annotated[Path | None, typer.Argument(help="A rule file or folder; none: those that count.")]
Data = Annotated[Path | None, typer.Option(help="The data directory.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def settings_of(data: Path | None) -> Any:
    """The settings of a data directory, or the shipped ones."""
    from config.settings import HERE, read_settings

    return read_settings(HERE / "ringback.yaml", *([data / "ringback.yaml"] if data else ()))


def combined(file: Path | None, data: Path | None) -> tuple[list[Any], list[str], list[str]]:
    """The rules that count with those of ``file`` in place of theirs: rules, new ids, refusals."""
    from config.rule_files import read_rule_file, rule_files
    from config.settings import BadConfig
    from flows.assemble import rule_places
    from flows.catalogue import read_catalogue
    from risk.rules import BadRules, Rule, read_rules, vocabulary

    if file is not None and not file.exists():
        raise BadSettings(f"rules: needed a file or a folder, got {file}, which is none")
    known = vocabulary(read_catalogue(data).by_name, settings_of(data).base_currency)
    refused: list[str] = []
    mine: list[dict[str, Any]] = []
    places = rule_places(data)
    for path in rule_files(file) if file is not None else ():
        try:
            mine += _rows(read_rule_file(path))
        except BadConfig as wrong:
            refused.append(str(wrong))
    fresh = [str(row.get("id")) for row in mine]
    rows: list[dict[str, Any]] = []
    for path in places:
        rows += [row for row in _rows(read_rule_file(path)) if str(row.get("id")) not in fresh]
    read: list[Rule] = []
    for row in rows + mine:
        version = 1 if isinstance(row.get("when"), list) else 2
        try:
            read += read_rules({"version": version, "rules": [row]}, known, read)
        except BadRules as wrong:
            refused.append(str(wrong))
    return read, fresh, refused


def _rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    if "rules" in document:
        return list(document["rules"] or ())
    document.pop("version", None)
    return [document]


@rules_app.command()
def check(file: File = None, data: Data = None, as_json: Json = False) -> None:
    """Read rules and say what is wrong where; status 1 where something is."""
    read, fresh, refused = combined(file, data)
    if as_json:
        typer.echo(json.dumps({"rules": [rule.id for rule in read], "refused": refused}))
    else:
        for one in refused:
            typer.echo(f"REFUSED {one}")
        count = len([rule for rule in read if not fresh or rule.id in fresh])
        typer.echo(f"{count} rules are right, {len(refused)} are refused.")
    raise typer.Exit(1 if refused else 0)


@rules_app.command("test")
def run_rule_tests(file: File = None, data: Data = None, as_json: Json = False) -> None:
    """Run the tests that stand beside the rules; status 1 where one fails."""
    from flows.rule_tests import run_tests

    read, fresh, refused = combined(file, data)
    if refused:
        raise BadSettings(refused[0])
    base = settings_of(data).base_currency
    told = [one for one in run_tests(read, base) if not fresh or one.rule in fresh]
    failed = [one for one in told if not one.passed]
    without = [rule.id for rule in read if not rule.tests and (not fresh or rule.id in fresh)]
    if as_json:
        rows = [{"rule": one.rule, "test": one.name, "passed": one.passed} for one in told]
        typer.echo(json.dumps({"tests": rows, "without": without}))
    else:
        for one in failed:
            wished, got = ("hit" if side else "no hit" for side in (one.wished, one.got))
            typer.echo(f"FAILED {one.rule}: {one.name}: needed {wished}, got {got}: {one.why}")
        for name in without:
            typer.echo(f"{name} has no tests.")
        typer.echo(f"{len(told) - len(failed)} of {len(told)} tests passed.")
    raise typer.Exit(1 if failed else 0)


@rules_app.command("list")
def listed(data: Data = None, as_json: Json = False) -> None:
    """Show the rules that count, in their order."""
    from risk.rules import expression

    read, _, refused = combined(None, data)
    if refused:
        raise BadSettings(refused[0])
    if as_json:
        typer.echo(json.dumps([_row(rule, expression(rule)) for rule in read]))
        return
    _table(read)


def _row(rule: Any, when: str) -> dict[str, Any]:
    return {
        "id": rule.id,
        "state": rule.state,
        "action": rule.action,
        "severity": rule.severity,
        "owner": rule.owner,
        "applies_to": sorted(rule.applies_to),
        "title": rule.title,
        "when": when,
    }


def _table(rules: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("rule", "state", "action", "severity", "owner", "title")
    for rule in rules:
        table.add_row(rule.id, rule.state, rule.action, rule.severity, rule.owner, rule.title)
    Console().print(table)
