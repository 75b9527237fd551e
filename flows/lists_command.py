"""`ringback lists`: who stands on which list, and who put them there.

Values are turned into tokens before they are written, as an event's are: the list of a payee holds
no account number.
"""

import csv
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from flows.errors import BadSettings, FlowError
from flows.rules_command import VAR, As, House, Json, Key
from risk.lists import FORCE, BadList, checked_change

lists_app = typer.Typer(no_args_is_help=True, help="Lists and overrides: docs/rules.md.")
_FIELDS = {
    "customer": "customer",
    "payee": "payee.account",
    "card": "card",
    "device": "device.id",
    "ip": "ip",
}
_UNITS = {"m": 60, "h": 3_600, "d": 86_400}
Until = Annotated[str | None, typer.Option(help="How long: 12h, 30d; none: for good.")]
Why = Annotated[str, typer.Option("--why", help="The reason, as decisions show it.")]
Name = Annotated[str, typer.Argument(help="allow, watch, block, final, force.…, suppress.…, any.")]
Kind = Annotated[
    str, typer.Option("--key-kind", help="customer, payee, card, device, ip, country…")
]


class BadListChange(FlowError):
    """A change of a list that was refused."""


def span_us(text: str) -> int:
    """A span such as ``12h`` or ``30d`` in microseconds."""
    found = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if found is None or not int(found[1]):
        raise BadSettings(f"lists: needed a span such as 12h or 30d in --until, got {text!r}")
    return int(found[1]) * _UNITS[found[2]] * 1_000_000


def token_of(house: Any, kind: str, value: str) -> str:
    """A value as events carry it: a token where the field is personal."""
    field = _FIELDS.get(kind)
    if field is None:
        return value
    if kind == "ip":
        import ipaddress

        try:
            value = str(ipaddress.ip_address(value))
        except ValueError as wrong:
            raise BadSettings(f"lists: needed an IP address, got {value!r}") from wrong
    from flows.parts import edge_of

    return edge_of(house).tokens.token(field, value)


def write(house: Any, person: Any, changes: Iterable[Mapping[str, Any]]) -> int:
    """Check and write changes, each on record with its effect; gives how many."""
    from flows.assemble import read_rule_set
    from flows.clock import wall_us
    from flows.records import Recorder
    from flows.redis_server import wait
    from gateway.lists import SCRIPT

    person.need("lists")
    rules = [rule.id for rule in read_rule_set(house.settings, house.data).rules]
    recorder, at_us = Recorder(house.settings.tenant), wall_us()
    args: list[Any] = []
    count = 0
    for place, change in enumerate(changes):
        try:
            told = checked_change({**change, "by": person.name}, rules)
        except BadList as wrong:
            raise BadListChange(str(wrong)) from wrong
        if told["list"].startswith(FORCE):
            person.need("force")
        body = {**told, "version": "@version@", "signature": person.sign(_signed(told))}
        rid = f"lists/{told['list']}/{told['value']}/{at_us}/{place}"
        record = recorder.configured(rid, body, person, at_us)
        args += [orjson.dumps(told), orjson.dumps([record])]
        count += 1
    if args:
        client = wait(house.redis_url, 5.0)
        client.register_script(SCRIPT)(keys=[], args=args)
    return count


def _signed(change: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(change), option=orjson.OPT_SORT_KEYS).decode()


def _one(data: Path, by: str, key: Path | None, change: dict[str, Any], until: str | None) -> None:
    from flows.clock import wall_us
    from flows.parts import open_house
    from flows.staff import person

    house = open_house(data)
    change["value"] = token_of(house, change["kind"], change["value"])
    if until is not None:
        change["until_us"] = wall_us() + span_us(until)
    write(house, person(house.data, by, key), [change])
    typer.echo(f"{change['list']}: {change['op']} {change['kind']} {change['value']}")


@lists_app.command()
def add(
    name: Name,
    kind: Kind,
    value: Annotated[str, typer.Argument(help="The value as the bank writes it.")],
    by: As,
    why: Why,
    until: Until = None,
    data: House = VAR,
    key: Key = None,
) -> None:
    """Put a value on a list; it counts from the next batch of events on."""
    change = {"op": "add", "list": name, "kind": kind, "value": value, "reason": why}
    _one(data, by, key, change, until)


@lists_app.command()
def remove(
    name: Name,
    kind: Kind,
    value: Annotated[str, typer.Argument(help="The value as the bank writes it.")],
    by: As,
    why: Why,
    data: House = VAR,
    key: Key = None,
) -> None:
    """Take a value off a list."""
    change = {"op": "remove", "list": name, "kind": kind, "value": value, "reason": why}
    _one(data, by, key, change, None)


@lists_app.command("import")
def import_file(
    name: Name,
    file: Annotated[Path, typer.Argument(help="CSV: kind,value,reason[,until].")],
    by: As,
    data: House = VAR,
    key: Key = None,
) -> None:
    """Put every row of a CSV file on a list: all of them, or none."""
    from flows.clock import wall_us
    from flows.parts import open_house
    from flows.staff import person

    house = open_house(data)
    if not file.is_file():
        raise BadSettings(f"lists: needed a file, got {file}, which is none")
    changes = []
    with file.open(encoding="utf-8", newline="") as rows:
        reader = csv.DictReader(rows)
        if not {"kind", "value", "reason"} <= set(reader.fieldnames or ()):
            got = ", ".join(reader.fieldnames or ()) or "none"
            raise BadSettings(f"{file.name}: needed the columns kind, value, reason, got {got}")
        for row in reader:
            change: dict[str, Any] = {"op": "add", "list": name, "kind": row["kind"]}
            change["value"] = token_of(house, row["kind"], row["value"] or "")
            change["reason"] = row["reason"]
            if row.get("until"):
                change["until_us"] = wall_us() + span_us(row["until"])
            changes.append(change)
    count = write(house, person(house.data, by, key), changes)
    typer.echo(f"{name}: {count} entries.")


@lists_app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="One list; none: all of them.")] = None,
    data: House = VAR,
    as_json: Json = False,
) -> None:
    """Who stands on a list, with reason, end and whose word it is."""
    from flows.clock import wall_us
    from flows.judgement import read_lists
    from flows.parts import open_house
    from flows.redis_server import wait
    from risk.events import rfc3339

    house = open_house(data)
    lists = read_lists(wait(house.redis_url, 5.0))
    rows = [
        {
            "list": one,
            "kind": kind,
            "value": value,
            "reason": entry.reason,
            "by": entry.by,
            "until": None if entry.until_us is None else rfc3339(entry.until_us),
        }
        for one, held in sorted(lists.entries.items())
        if name in (None, one)
        for (kind, value), entry in held.items()
        if entry.until_us is None or entry.until_us > wall_us()
    ]
    if as_json:
        typer.echo(json.dumps({"version": lists.version, "entries": rows}))
        return
    for row in rows:
        end = row["until"] or "for good"
        typer.echo(
            f"{row['list']}  {row['kind']} {row['value']}  {row['reason']}  {row['by']}, {end}"
        )
    if not rows:
        typer.echo("Nobody stands on it.")
