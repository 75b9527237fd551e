"""Can this be a record? What a producer hands in, checked and spelt as a leaf is.

What can't be one is refused with its reason; the ledger keeps the refusal instead of the record.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson

from audit.errors import RecordRefused
from audit.leaf import FORMAT, plain, settled, utc_time
from audit.tiles import MAX_LEAF

Record = dict[str, Any]

OWN_RID = "ledger/"
_FIELDS = frozenset(
    ["v", "kind", "rid", "tenant", "case", "class", "event", "subject", "actor", "at", "body"]
) | frozenset(["payload", "grade", "strength", "sig", "personal"])
_ACTOR = frozenset(["type", "id", "role"])
_PLAIN_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def admit(record: Any, tenant: str) -> Record:
    """The producer's fields as a leaf without the writer's; RecordRefused names the fault.

    What is nested in the body is shared with the record, not copied.
    """
    check_fields(record)
    if record["tenant"] != tenant:
        raise RecordRefused(f"tenant is {tenant}, got {record['tenant']!r}")
    get = record.get
    body, payload = get("body"), get("payload")
    leaf: Record = {
        "actor": settled(record["actor"]),
        "at": utc_time(get("at")),
        "body": dict(settled(body)) if body else {},
        "case": get("case"),
        "event": get("event"),
        "grade": record["grade"],
        "kind": record["kind"],
        "payload": plain(payload) if payload else [],
        "rid": record["rid"],
        "subject": get("subject"),
        "tenant": tenant,
        "v": FORMAT,
    }
    for key in ("strength", "sig"):
        if get(key) is not None:
            leaf[key] = plain(record[key])
    if "sealed" in leaf["body"]:
        raise RecordRefused("body.sealed is the ledger's own; hand values in by `personal`")
    return leaf


def refusal(record: Any, rid: str | None, why: str) -> tuple[str, Record]:
    """(rid, body) of the `record.refused` that is kept in place of a record."""
    try:
        kept = plain(record)
        data = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except (RecordRefused, orjson.JSONEncodeError):
        kept, data = None, repr(record).encode(errors="replace")
    digest = sha256(data).hexdigest()
    body: Record = {"rid": rid and rid[:512], "sha256": digest, "size": len(data), "why": why}
    if kept is not None and len(data) < MAX_LEAF // 2:
        body["record"] = kept
    return f"{OWN_RID}refused/{rid[:512] if rid else digest}", body


def encode_leaf(leaf: Record) -> bytes:
    """A leaf in the one spelling; RecordRefused where JSON has no word for something in it."""
    try:
        return orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise RecordRefused(f"the record is no JSON: {error}") from error


def check_fields(record: Any) -> None:
    """RecordRefused names the first field of a producer's record that can't be."""
    if type(record) is not dict:
        raise RecordRefused("a record is a JSON object")
    if _is_sound(record):
        return
    if not _FIELDS.issuperset(record):
        strange = sorted(str(key) for key in set(record) - _FIELDS)
        raise RecordRefused(f"unknown fields {', '.join(strange)}")
    for key, holds, needed in _CHECKS:
        if not holds(record.get(key)):
            raise RecordRefused(f"{key} is {needed}, got {str(record.get(key))[:80]!r}")


def _is_sound(record: Record) -> bool:
    """The same checks at once, for the common record; what fails here is asked in detail."""
    get = record.get
    rid, case, event, subject = get("rid"), get("case"), get("event"), get("subject")
    kind, tenant, retention = get("kind"), get("tenant"), get("class")
    if not (type(kind) is str and type(tenant) is str and type(rid) is str):
        return False
    if not (retention is None or type(retention) is str):
        return False
    if (kind, tenant, retention) not in _sound_names:
        if not (_is_name(kind) and _is_name(tenant) and (retention is None or _is_name(retention))):
            return False
        if len(_sound_names) < 10_000:
            _sound_names.add((kind, tenant, retention))
    actor, grade = get("actor"), get("grade")
    return (
        _FIELDS.issuperset(record)
        and type(get("v")) is int
        and get("v") == FORMAT
        and 0 < len(rid) <= 512
        and not rid.startswith(OWN_RID)
        and (case is None or (type(case) is str and 0 < len(case) <= 256))
        and (event is None or (type(event) is str and 0 < len(event) <= 256))
        and (subject is None or (type(subject) is str and 0 < len(subject) <= 256))
        and type(grade) is int
        and 1 <= grade <= 3
        and type(actor) is dict
        and actor.keys() == _ACTOR
        and type(get("body")) is dict
        and type(get("payload")) is list
    )


_sound_names: set[tuple[str, str, str | None]] = set()


def _is_name(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 64 and _PLAIN_NAME.issuperset(value)


def _is_rid(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 512 and not value.startswith(OWN_RID)


def _is_reference(value: object) -> bool:
    return value is None or (type(value) is str and 0 < len(value) <= 256)


_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("v", lambda value: type(value) is int and value == FORMAT, f"{FORMAT}"),
    ("kind", _is_name, "a lower-case name"),
    ("rid", _is_rid, f"a string of 1 to 512 characters that does not begin with {OWN_RID}"),
    ("tenant", _is_name, "a lower-case name"),
    ("case", _is_reference, "null or a string of 1 to 256 characters"),
    ("event", _is_reference, "null or a string of 1 to 256 characters"),
    ("subject", _is_reference, "null or a string of 1 to 256 characters"),
    ("class", lambda value: value is None or _is_name(value), "a lower-case name"),
    ("grade", lambda value: type(value) is int and 1 <= value <= 3, "1, 2 or 3"),
    ("actor", lambda value: type(value) is dict and value.keys() == _ACTOR, "{type, id, role}"),
    ("body", lambda value: value is None or type(value) is dict, "an object"),
    ("payload", lambda value: value is None or type(value) is list, "a list"),
)
