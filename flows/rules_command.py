"""`ringback rules`: is it right, does it do what its tests say, what would it have done?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from flows.errors import BadSettings

rules_app = typer.Typer(no_args_is_help=True, help="The bank's own rules: docs/rules.md.")
File = Annotated[Path | None, typer.Argument(help="A rule file or folder; none: those that count.")]
Data = Annotated[
    Path | None, typer.Option(help="The data directory; else ./var where a house was started.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


VAR = Path("var")


def here(data: Path | None) -> Path | None:
    """The data directory that was named, else ./var where a house was started; None: what ships."""
    from flows.judgement import pointed

    return VAR if data is None and pointed(VAR) is not None else data


def settings_of(data: Path | None) -> Any:
    """The settings of a data directory, or the shipped ones."""
    from config.settings import HERE, read_settings

    return read_settings(HERE / "ringback.yaml", *([data / "ringback.yaml"] if data else ()))


def combined(file: Path | None, data: Path | None) -> tuple[list[Any], list[str], list[str]]:
    """The rules that count with those of ``file`` in place of theirs: rules, new ids, refusals."""
    from config.rule_files import read_rule_file, rule_files
    from config.settings import BadConfig
    from flows.assemble import known_names, read_rule_set, rule_places
    from flows.changes import rows_of
    from flows.judgement import pointed
    from risk.rules import BadRules, Rule, read_rules

    if file is not None and not file.exists():
        raise BadSettings(f"rules: needed a file or a folder, got {file}, which is none")
    settings = settings_of(data)
    known = known_names(settings, data)
    refused: list[str] = []
    mine: list[dict[str, Any]] = []
    for path in rule_files(file) if file is not None else ():
        try:
            mine += _rows(read_rule_file(path))
        except BadConfig as wrong:
            refused.append(str(wrong))
    fresh = [str(row.get("id")) for row in mine]
    if data is not None and pointed(data) is not None:
        counting = list(rows_of(orjson.loads(read_rule_set(settings, data).document)).values())
        for row in counting:
            del row["version"]
    else:
        counting = [row for path in rule_places(data) for row in _rows(read_rule_file(path))]
    rows = [row for row in counting if str(row.get("id")) not in fresh]
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


def file_rows(file: Path) -> dict[str, Any]:
    """The rules of a file or a folder by id, each in its words and with its format."""
    from config.rule_files import read_rule_file, rule_files

    rows = {}
    for path in rule_files(file):
        document = read_rule_file(path)
        version = document.get("version")
        for row in _rows(document):
            rows[str(row.get("id"))] = {"version": version, **row}
    return rows


@rules_app.command()
def check(file: File = None, data: Data = None, as_json: Json = False) -> None:
    """Read rules and say what is wrong where; status 1 where something is."""
    data = here(data)
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
    from flows.catalogue import read_catalogue
    from flows.rule_tests import run_tests

    data = here(data)
    read, fresh, refused = combined(file, data)
    if refused:
        raise BadSettings(refused[0])
    base = settings_of(data).base_currency
    tested = run_tests(read, base, read_catalogue(data))
    told = [one for one in tested if not fresh or one.rule in fresh]
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

    read, _, refused = combined(None, here(data))
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
    from rich.table import Column, Table

    whole = max((len(rule.id) for rule in rules), default=0)  # an id is typed again: never cut
    table = Table(
        Column("rule", min_width=whole, no_wrap=True),
        "state", "action", "severity", "owner", "title",
    )  # fmt: skip
    for rule in rules:
        table.add_row(rule.id, rule.state, rule.action, rule.severity, rule.owner, rule.title)
    Console().print(table)


# --- changes --------------------------------------------------------------------------------

House = Annotated[Path, typer.Option(help="The data directory.")]
As = Annotated[str, typer.Option("--as", help="Your name, as `ringback staff list` has it.")]
Key = Annotated[Path | None, typer.Option("--key", help="Your key; else $RINGBACK_KEY, or ours.")]
Why = Annotated[str, typer.Option("--why", help="For those who read it in years.")]


def changes_of(data: Path) -> Any:
    """The changes of a running house."""
    from flows.assemble import known_names
    from flows.changes import Changes
    from flows.clock import wall_us
    from flows.parts import open_house
    from flows.records import Recorder
    from flows.redis_server import wait

    house = open_house(data)
    client = wait(house.redis_url, 5.0)
    known = known_names(house.settings, house.data)
    return Changes(house.data, client, known, Recorder(house.settings.tenant).configured, wall_us)


def tell(change: Any) -> None:
    """Say where a change stands."""
    last = change.steps[-1]
    what = "the policy" if change.features is None else ", ".join(change.features["words"])
    rules = ", ".join(change.rules) or what
    if change.state == "waiting":
        typer.echo(
            f"{change.id}: {rules}: waits for a second person: ringback rules approve {change.id}"
        )
    else:
        typer.echo(f"{change.id}: {rules}: {last['step']} by {last['by']}")


@rules_app.command()
def propose(
    file: Annotated[Path, typer.Argument(help="A rule file or folder.")],
    by: As,
    why: Why,
    data: House = VAR,
    key: Key = None,
) -> None:
    """Propose rules as a file has them; what touches nothing live counts at once."""
    from flows.staff import person

    refused = combined(file, data)[2]
    if refused:
        raise BadSettings(refused[0])
    rows = file_rows(file)
    tell(changes_of(data).propose(person(data, by, key), rows, why))


@rules_app.command()
def policy(
    file: Annotated[Path, typer.Argument(help="A policy file, whole.")],
    by: As,
    why: Why,
    data: House = VAR,
    key: Key = None,
) -> None:
    """Propose another policy; it always waits for a second person."""
    from config.settings import read_yaml
    from flows.staff import person

    if not file.is_file():
        raise BadSettings(f"rules policy: needed a file, got {file}, which is none")
    said = read_yaml(file)
    tell(changes_of(data).propose(person(data, by, key), {}, why, said))


@rules_app.command()
def promote(
    rule: str,
    to: Annotated[str, typer.Option(help="shadow or live.")],
    by: As,
    why: Why,
    data: House = VAR,
    key: Key = None,
) -> None:
    """Propose another state for a rule: draft, shadow, live."""
    _to_state(data, rule, to, by, why, key)


@rules_app.command()
def retire(
    rule: str,
    by: As,
    why: Why,
    delete: Annotated[bool, typer.Option("--delete", help="Take its words out, too.")] = False,
    data: House = VAR,
    key: Key = None,
) -> None:
    """Propose that a rule acts no more; a live one needs a second person for it."""
    _to_state(data, rule, None if delete else "retired", by, why, key)


def _to_state(
    data: Path, rule: str, state: str | None, by: str, why: str, key: Path | None
) -> None:
    from flows.changes import rows_of
    from flows.staff import person

    changes = changes_of(data)
    rows = rows_of(orjson.loads(changes.current().document))
    row = rows.get(rule)
    if row is None:
        raise BadSettings(f"rule {rule}: needed one of {', '.join(rows)}")
    if row["version"] == 1 and state is not None:
        raise BadSettings(f"rule {rule}: needed format 2, which has states: docs/rules.md")
    wished = None if state is None else {**row, "state": state}
    tell(changes.propose(person(data, by, key), {rule: wished}, why))


@rules_app.command()
def approve(change: str, by: As, data: House = VAR, key: Key = None) -> None:
    """Let a waiting change count; by somebody other than who proposed it."""
    from flows.staff import person

    tell(changes_of(data).approve(person(data, by, key), change))


@rules_app.command()
def reject(change: str, by: As, data: House = VAR, key: Key = None) -> None:
    """End a waiting change."""
    from flows.staff import person

    tell(changes_of(data).reject(person(data, by, key), change))


@rules_app.command()
def history(data: House = VAR, as_json: Json = False) -> None:
    """Every change there was, and who made each step of it."""
    rows = [change.as_json() for change in changes_of(data).all()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(f"{row['id']}  {row['state']:>8}  {', '.join(row['rules'])}  {row['why']}")
        for step in row["steps"]:
            typer.echo(f"    {step['at']}  {step['step']} by {step['by']}")


staff_app = typer.Typer(no_args_is_help=True, help="People who may change the judgement.")


@staff_app.command("add")
def staff_add(
    name: str,
    data: House = VAR,
    right: Annotated[
        list[str] | None, typer.Option(help="propose, approve, lists, force; else the first three.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the private key goes, mode 0600.")] = None,
) -> None:
    """Make somebody with a signing key of their own, or give them other rights; on record."""
    from flows import staff
    from flows.clock import wall_us
    from flows.parts import open_house
    from flows.records import Recorder
    from flows.redis_server import wait
    from risk import names

    house = open_house(data)
    client = wait(house.redis_url, 5.0)
    rights = tuple(right or staff.USUAL)
    path, public = staff.add(house.data, name, rights, out)
    at_us = wall_us()
    body = {"name": name, "rights": sorted(set(rights)), "public": public}
    made = Recorder(house.settings.tenant).configured(f"staff/{name}/{at_us}", body, None, at_us)
    made["kind"] = "staff.created"
    client.xadd(names.AUDIT, {"records": orjson.dumps([made])})
    typer.echo(f"{name} may {', '.join(rights)}; the key is in {path}: give it to nobody else.")


@staff_app.command("list")
def staff_list(data: House = VAR) -> None:
    """Who there is, and what they may do."""
    from flows import staff

    for row in staff.listed(data):
        rights: Any = row["rights"]
        typer.echo(f"{row['name']}: {', '.join(rights)}")


@rules_app.command()
def backtest(
    file: Annotated[Path, typer.Argument(help="The proposed rules; they act, whatever state.")],
    events: Annotated[
        Path | None, typer.Option("--events", help="Payments: parquet, CSV, NDJSON.")
    ] = None,
    past: Annotated[bool, typer.Option("--past", help="The ledger's own events.")] = False,
    data: Data = None,
    columns: Annotated[Path | None, typer.Option("--map", help="Which column is what.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Truths, where the file has none.")] = None,
    label_delay: Annotated[str, typer.Option(help="When labels become known.")] = "7d",
    limit: Annotated[int | None, typer.Option(help="Only the first N facts.")] = None,
    minutes: Annotated[float, typer.Option(help="An officer's minutes a review.")] = 6.0,
    html: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    as_json: Json = False,
) -> None:
    """What would these rules have done, beside today's? Writes nothing but --html."""
    from flows.backtest_command import backtest_file

    told = backtest_file(
        file,
        events=events,
        past=past,
        data=here(data),
        columns=columns,
        truth=truth,
        label_delay=label_delay,
        limit=limit,
        minutes=minutes,
        quiet=as_json,
    )
    if html is not None:
        from flows.backtest_page import page

        html.write_text(page(told, f"Backtest of {file.name}"), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(told))
        return
    from flows.backtest_command import show

    show(told)
