"""Which bytes are on record? One JSON object a record, in one spelling.

Sorted ASCII keys, UTF-8 unescaped, no spaces, no numbers but integers within ±(2**53 - 1). A
decimal or a float is its string. What is hashed is the stored bytes; nobody re-serialises them
to check a hash. The one spelling exists so that two readers can't see two records in one leaf
(repeated keys).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from typing import Any, NoReturn

from audit.errors import RecordRefused

try:
    import orjson

    _SPELLING = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
except ImportError:  # `verify` runs with `cryptography` alone
    orjson = None  # type: ignore[assignment]

FORMAT = 1
MAX_INTEGER = (1 << 53) - 1
NO_PREVIOUS = "0" * 64
DEFAULT_CLASS = "rc10y"
FOLLOW_UP = "~"
DEEPEST = 64

REQUIRED = (
    "actor",
    "at",
    "body",
    "case",
    "case_prev",
    "case_seq",
    "event",
    "grade",
    "kind",
    "payload",
    "rid",
    "subject",
    "tenant",
    "ts",
    "v",
)
OPTIONAL = ("sig", "strength")

#: What stands in a leaf as it is, except that an integer may be too large.
_SCALARS = frozenset([str, int, bool, type(None)])
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
_YEARS = re.compile(r"(\d{1,4})y\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_in_c = c_make_encoder and c_make_encoder(
    None, None, encode_basestring, None, ":", ",", True, False, False
)
_encoder = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
)


def _encode(record: dict[str, Any]) -> str:
    # The C encoder made once; `JSONEncoder.encode` makes it for every record.
    return "".join(_in_c(record, 0)) if _in_c is not None else _encoder.encode(record)


def encode(record: dict[str, Any]) -> bytes:
    """The one spelling, by the standard library. The caller has made the record `plain`."""
    return _encode(record).encode()


def decode(leaf: bytes) -> dict[str, Any]:
    """Read a leaf strictly: ValueError names what is not in the one spelling.

    With `orjson` the common leaf is read several times as fast; whatever is not plainly in the one
    spelling is asked again of the standard library, whose word it is.
    """
    found = decode_but_floats(leaf)
    if type(found) is dict and is_plain(found.values()):
        return found
    return decode_slowly(leaf)


def decode_but_floats(leaf: bytes) -> Any:
    """What `decode` reads, quickly, except that floats may be in it: ask `is_plain`.

    None where it is not plainly in the one spelling, or `orjson` is not there.
    """
    if orjson is not None:
        try:
            found = orjson.loads(leaf)
            if orjson.dumps(found, option=_SPELLING) == leaf:
                return found
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            pass
    return None


def is_plain(values: Collection[Any]) -> bool:
    """Whether there is no float in it; how large the integers are, `orjson` looks itself."""
    if _SCALARS.issuperset(map(type, values)):
        return True
    for item in values:
        kind = type(item)
        if kind in _SCALARS:
            continue
        if kind is dict:
            if not is_plain(item.values()):
                return False
        elif kind is not list or not is_plain(item):
            return False
    return True


def decode_slowly(leaf: bytes) -> dict[str, Any]:
    """The same by the standard library alone."""
    text = leaf.decode()
    record = _decode(text)
    if not isinstance(record, dict):
        raise ValueError("a leaf is one JSON object")
    if _encode(record) != text:
        raise ValueError("not in canonical form (key order, spacing, escapes or a repeated key)")
    return record


def settled(value: dict[str, Any]) -> dict[str, Any]:
    """`plain_object`, but the same object where nothing has to be changed.

    Integers beyond the range are left to who encodes the leaf: there they are found for nothing.
    """
    return value if _is_settled(value, 0) else plain_object(value)


def _is_settled(value: dict[str, Any], depth: int) -> bool:
    try:
        if depth > DEEPEST or not "".join(value).isascii():
            return False
    except TypeError:  # a key that is no string: told of by `plain_object`
        return False
    return _are_settled(value.values(), depth)


def _are_settled(values: Collection[Any], depth: int) -> bool:
    if _SCALARS.issuperset(map(type, values)):
        return True
    for item in values:
        kind = type(item)
        if kind in _SCALARS:
            continue
        if kind is dict:
            if not _is_settled(item, depth + 1):
                return False
        elif kind is not list or depth >= DEEPEST or not _are_settled(item, depth + 1):
            return False
    return True


def plain_object(value: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """`plain` of an object; its own loop, since every record passes here."""
    if depth > DEEPEST:
        raise RecordRefused(f"objects and lists nest at most {DEEPEST} deep")
    made = {}
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            raise RecordRefused(f"a key is an ASCII string, got {key!r}")
        kind = type(item)
        if kind is str or item is None:
            made[key] = item
        elif kind is dict:
            made[key] = plain_object(item, depth + 1)
        else:
            made[key] = plain(item, depth + 1)
    return made


def plain(value: Any, depth: int = 0) -> Any:
    """The same value with floats and great integers as strings; RecordRefused on odd keys."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        return value if -MAX_INTEGER <= value <= MAX_INTEGER else str(value)
    if kind is float:
        return repr(value)
    if kind is dict:
        return plain_object(value, depth)
    if kind is list:
        if depth > DEEPEST:
            raise RecordRefused(f"objects and lists nest at most {DEEPEST} deep")
        return [plain(item, depth + 1) for item in value]
    if kind is tuple:
        return plain(list(value), depth)
    if isinstance(value, str):
        return str.__str__(value)  # a name from a catalogue: its text
    raise RecordRefused(f"a value is JSON, got {kind.__name__}")


def follow_up_of(case: str) -> str:
    """The name of the case that goes on after a closed one: case-1, case-1~2, case-1~3."""
    base, mark, number = case.rpartition(FOLLOW_UP)
    if mark and number.isdigit():
        return f"{base}{FOLLOW_UP}{int(number) + 1}"
    return f"{case}{FOLLOW_UP}2"


def is_longer(retention: str, than: str) -> bool:
    """Whether one class keeps for more years than another: rc20y than rc10y.

    False where one of the names does not say its years.
    """
    years, others = _YEARS.search(retention), _YEARS.search(than)
    return years is not None and others is not None and int(years[1]) > int(others[1])


def utc_text(micros: int) -> str:
    """Microseconds since 1970 -> 2026-01-02T03:04:05.678901Z."""
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_time(text: object) -> str:
    """The same instant in the one spelling of times; RecordRefused without an offset."""
    if isinstance(text, str):
        if _TIME.match(text):
            return text
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            when = None
        if when is not None and when.tzinfo is not None:
            return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    raise RecordRefused(f"a time is RFC 3339 with an offset, got {text!r}")


def is_utc(text: object) -> bool:
    """True for a time in the one spelling of times."""
    return isinstance(text, str) and _TIME.match(text) is not None


def _integer(text: str) -> int:
    number = int(text)
    if -MAX_INTEGER <= number <= MAX_INTEGER and text != "-0":
        return number
    raise ValueError(f"an integer lies within ±(2**53 - 1), got {text}")


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"a number is an integer, got {text}")


_decode = json.JSONDecoder(
    parse_float=_no_float, parse_constant=_no_float, parse_int=_integer
).decode
