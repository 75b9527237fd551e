"""May a person read it on this machine? Once that is durably on record, and not before.

`ringback case show`, `case find` and `ringback audit export` come through here; the gateway has its
own door (`gateway/reading.py`). Who reads is the account that runs the command, as far as the
machine knows.
"""

import argparse
import getpass
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import redis

from audit import read
from audit.errors import NotInLedger
from audit.redis_inlet import parse_id
from flows.clock import wall_us
from flows.errors import FlowError
from flows.parts import House, open_house
from risk import names
from risk.events import rfc3339

WITHIN_SECONDS = 5.0
MOST_FOUND = 1_000
_TIME = re.compile(r"(\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,6}Z?)?)?)?)?)?)?)?")


class NotOnRecord(FlowError):
    """The reading could not be put on record, so nothing was read."""


def put_first(house: House, kind: str, body: dict[str, Any]) -> None:
    """Put a reading on record and return once it is durable; `NotOnRecord` where it can't be."""
    now_us = wall_us()
    record = {
        "v": 1,
        "kind": kind,
        "rid": f"cli/{os.urandom(9).hex()}/{kind}",
        "tenant": house.settings.tenant,
        "case": None,
        "event": None,
        "subject": None,
        "actor": {"type": "person", "id": f"account.{getpass.getuser()}", "role": "operator"},
        "at": rfc3339(now_us),
        "body": body,
        "payload": [],
        "grade": 1,
    }
    try:
        with redis.Redis.from_url(house.redis_url, socket_timeout=WITHIN_SECONDS) as client:
            entry: Any = client.xadd(names.AUDIT, {"records": orjson.dumps([record])})
            wanted, end = parse_id(entry), time.monotonic() + WITHIN_SECONDS
            while time.monotonic() < end:
                mark: Any = client.get(names.AUDIT_DURABLE)
                if mark is not None and parse_id(mark) >= wanted:
                    return
                time.sleep(0.005)
    except redis.RedisError as away:
        raise NotOnRecord(
            f"{kind}: Redis is away ({away}), so the reading can't be put on record and nothing "
            "is read; start `ringback run`, or Redis and `ringback ledger`"
        ) from away
    raise NotOnRecord(
        f"{kind}: the reading was not durable within {WITHIN_SECONDS} s, so nothing is read; "
        "is the ledger's writer running? see log/ledger.log"
    )


def show_case(args: Sequence[str], data: Path) -> int:
    """`ringback case show ID`: the records of a case and its follow-ups, in order."""
    parser = argparse.ArgumentParser(prog="ringback case show", description=show_case.__doc__)
    parser.add_argument("case", help="The case, or the id of its event.")
    parser.add_argument("--data", type=Path, default=data, help="The data directory.")
    parser.add_argument("--disclose", action="append", default=[], metavar="PATH")
    parser.add_argument("--purpose", default="", help="Why it is read; goes on record.")
    parser.add_argument("--json", action="store_true", help="One JSON object.")
    chosen = parser.parse_args(args)
    house = open_house(chosen.data)
    case = chosen.case if chosen.case.startswith("case-") else names.case(chosen.case)
    body = {"what": "case", "which": case, "fields": chosen.disclose, "purpose": chosen.purpose}
    put_first(house, "access.read", body)
    leaves = read.case_family(house.data, case)
    if not leaves:
        raise NotInLedger(f"there is no case {case}")
    opened = _opened(house, leaves, chosen.disclose)
    if chosen.json:
        sys.stdout.write(json.dumps({"case": case, "opened": opened, "records": leaves}) + "\n")
        return 0
    for leaf in leaves:
        who = f"{leaf['actor']['role']} {leaf['actor']['id']}"
        place = f"{leaf['case']} {leaf['case_seq']}"
        sys.stdout.write(f"{leaf['ts']}  {place}  {leaf['kind']}  {who}\n")
        facts = {key: value for key, value in leaf["body"].items() if key != "sealed"}
        facts |= opened.get(leaf["rid"], {})
        for key, value in sorted(facts.items()):
            sys.stdout.write(f"    {key}: {value if isinstance(value, str) else _json(value)}\n")
    return 0


def find_records(args: Sequence[str], data: Path) -> int:
    """`ringback case find`: which records there are of a customer, by an officer, at a time."""
    from audit.find import find
    from flows.lists_command import token_of

    parser = argparse.ArgumentParser(prog="ringback case find", description=find_records.__doc__)
    parser.add_argument("--customer", help="Records about this customer (the bank's id).")
    parser.add_argument("--officer", metavar="ID", help="Records of what this person did.")
    parser.add_argument("--since", default="", metavar="TIME", help="UTC, as 2026-05-28 or longer.")
    parser.add_argument("--until", default="", metavar="TIME", help="UTC, not included.")
    parser.add_argument("--most", type=int, default=100, help="The last so many (100).")
    parser.add_argument("--purpose", default="", help="Why it is read; goes on record.")
    parser.add_argument("--data", type=Path, default=data, help="The data directory.")
    parser.add_argument("--json", action="store_true", help="One JSON object.")
    chosen = parser.parse_args(args)
    for name in ("since", "until"):
        if not _TIME.fullmatch(getattr(chosen, name)):
            parser.error(
                f"--{name}: needed a time such as 2026-05-28 or 2026-05-28T20:26:40, in UTC, "
                f"got {getattr(chosen, name)!r}"
            )
    if not 1 <= chosen.most <= MOST_FOUND:
        parser.error(f"--most: needed 1 to {MOST_FOUND}, got {chosen.most}")
    if not (chosen.customer or chosen.officer or chosen.since or chosen.until):
        parser.error("needed --customer, --officer, --since or --until, got none")
    house = open_house(chosen.data)
    subject = chosen.customer and token_of(house, "customer", chosen.customer)
    which = {"customer": subject, "officer": chosen.officer}
    which |= {"since": chosen.since, "until": chosen.until}
    asked = {key: value for key, value in which.items() if value}
    body = {"what": "find", "which": asked, "fields": [], "purpose": chosen.purpose}
    put_first(house, "access.read", body)
    leaves = find(
        house.data,
        subject=subject,
        actor=chosen.officer,
        since=chosen.since,
        until=chosen.until,
        most=chosen.most,
    )
    if chosen.json:
        sys.stdout.write(json.dumps({"asked": asked, "records": leaves}) + "\n")
        return 0
    for leaf in leaves:
        who = f"{leaf['actor']['role']} {leaf['actor']['id']}"
        sys.stdout.write(f"{leaf['ts']}  {leaf['case'] or '-'}  {leaf['kind']}  {who}\n")
    return 0


def _opened(
    house: House, leaves: list[dict[str, Any]], paths: Sequence[str]
) -> dict[str, dict[str, str]]:
    opened: dict[str, dict[str, str]] = {}
    for leaf in leaves:
        for path in sorted(set(leaf["body"].get("sealed", {})) & set(paths)):
            value = read.disclose(house.data, leaf, path).value
            opened.setdefault(leaf["rid"], {})[path] = value
    return opened


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def export(args: Sequence[str], data: Path) -> int:
    """`ringback audit export --case ID --out FILE`: the bundle of one case."""
    from audit.export import export_case

    parser = argparse.ArgumentParser(prog="ringback audit export", description=export.__doc__)
    parser.add_argument("--data", type=Path, default=data, help="The data directory.")
    parser.add_argument("--case", required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--policy", type=Path, help="The policy to enclose.")
    parser.add_argument("--disclose", action="append", default=[], metavar="PATH")
    parser.add_argument("--purpose", default="", help="Why it is handed out; goes on record.")
    chosen = parser.parse_args(args)
    house = open_house(chosen.data)
    body = {"case": chosen.case, "fields": chosen.disclose, "purpose": chosen.purpose}
    put_first(house, "export", body)
    policy = None if chosen.policy is None else chosen.policy.read_bytes()
    export_case(house.data, chosen.case, chosen.out, disclose=chosen.disclose, policy=policy)
    sys.stdout.write(f"{chosen.out}\n")
    return 0
