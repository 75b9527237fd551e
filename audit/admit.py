"""Can this be a record? What a producer hands in, checked and spelt as a leaf is.

What can't be one is refused with its reason; the ledger keeps the refusal instead of the record.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
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
_EVERY = (
    *("v", "kind", "rid", "tenant", "case", "event", "subject", "actor", "at", "body"),
    *("payload", "grade"),
)
_every = itemgetter(*_EVERY)
_PLAIN_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def admit(record: Any, tenant: str) -> Record:
    """The producer's fields as a leaf without the writer's; RecordRefused names the fault.

    What is nested in the body is shared with the record, not copied.
    """
    _, kind, rid, named, case, event, subject, actor, at, body, payload, grade = _checked(record)
    if named != tenant:
        raise RecordRefused(f"tenant is {tenant}, got {named!r}")
    leaf: Record = {
        "actor": _known_actor(actor),
        "at": _known_time(at) if type(at) is str else utc_time(at),
        "body": dict(settled(body)) if body else {},
        "case": case,
        "event": event,
        "grade": grade,
        "kind": kind,
        "payload": plain(payload) if payload else [],
        "rid": rid,
        "subject": subject,
        "tenant": tenant,
        "v": FORMAT,
    }
    for key in ("strength", "sig"):
        if record.get(key) is not None:
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
        return orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        pass
    try:  # an integer is out of range: as its string
        settled_leaf = {key: plain(value) for key, value in leaf.items()}
        return orjson.dumps(settled_leaf, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise RecordRefused(f"the record is no JSON: {error}") from error


def check_fields(record: Any) -> None:
    """RecordRefused names the first field of a producer's record that can't be."""
    if type(record) is not dict:
        raise RecordRefused("a record is a JSON object")
    if not _FIELDS.issuperset(record):
        strange = sorted(str(key) for key in set(record) - _FIELDS)
        raise RecordRefused(f"unknown fields {', '.join(strange)}")
    for key, holds, needed in _CHECKS:
        if not holds(record.get(key)):
            raise RecordRefused(f"{key} is {needed}, got {str(record.get(key))[:80]!r}")


def _checked(record: Any) -> tuple[Any, ...]:
    """The fields that every leaf has: checked at once in the common record, else in detail."""
    try:
        fields: tuple[Any, ...] = _every(record)
        if _are_sound(record, *fields):
            return fields
    except (KeyError, TypeError):
        pass
    check_fields(record)
    return tuple(record.get(key) for key in _EVERY)


def _are_sound(
    record: Record,
    v: Any,
    kind: Any,
    rid: Any,
    tenant: Any,
    case: Any,
    event: Any,
    subject: Any,
    _actor: Any,
    _at: Any,
    body: Any,
    payload: Any,
    grade: Any,
) -> bool:
    names = (kind, tenant, record.get("class"))
    if names not in _sound_names:
        if not all(_is_name(name) for name in names[:2]) or not _is_class(names[2]):
            return False
        if len(_sound_names) < 10_000:
            _sound_names.add(names)
    return (
        type(v) is int
        and v == FORMAT
        and _is_rid(rid)
        and _is_reference(case)
        and _is_reference(event)
        and _is_reference(subject)
        and type(body) is dict
        and type(payload) is list
        and type(grade) is int
        and 1 <= grade <= 3
        and (len(record) == len(_EVERY) or _FIELDS.issuperset(record))
    )


def _known_actor(actor: Record) -> Record:
    """The actor as it was checked and spelt before; there are few, and they come often."""
    try:
        key = tuple(actor.items())
        found = _actors.get(key)
    except TypeError:  # something in it can't be hashed
        return settled(actor)
    if found is None:
        if actor.keys() != _ACTOR:
            raise RecordRefused(f"actor is {{type, id, role}}, got {str(actor)[:80]!r}")
        found = dict(settled(actor))
        if len(_actors) < 10_000:
            _actors[key] = found
    return found


_actors: dict[tuple[Any, ...], Record] = {}
_known_time = lru_cache(4_096)(utc_time)
_sound_names: set[tuple[Any, ...]] = set()


def _is_name(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 64 and _PLAIN_NAME.issuperset(value)


def _is_class(value: object) -> bool:
    return value is None or _is_name(value)


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
    ("class", _is_class, "a lower-case name"),
    ("grade", lambda value: type(value) is int and 1 <= value <= 3, "1, 2 or 3"),
    ("actor", lambda value: type(value) is dict and value.keys() == _ACTOR, "{type, id, role}"),
    ("body", lambda value: value is None or type(value) is dict, "an object"),
    ("payload", lambda value: value is None or type(value) is list, "a list"),
)
