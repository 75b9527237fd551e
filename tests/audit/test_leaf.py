"""One record, one spelling."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.admit import admit, encode_leaf
from audit.errors import RecordRefused
from audit.leaf import MAX_INTEGER, decode, decode_slowly, encode, plain, utc_text, utc_time
from tests.audit.records import record

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_the_fast_writer_and_the_standard_library_spell_alike(record: dict[str, Any]) -> None:
    assert orjson.dumps(record, option=orjson.OPT_SORT_KEYS) == encode(record)
    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    "leaf",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1.5}',
        b'{"a":1e3}',
        b'{"a":-0}',
        b'{"a":NaN}',
        b'{"a":9007199254740992}',
        b'{"a":1,"a":2}',
        b'{"a":"\\u0041"}',
        b'["a"]',
        b'{"a":"\xff"}',
        b'{"a":1}\n',
        b"",
    ],
)
def test_any_other_spelling_is_refused(leaf: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(leaf)


def test_a_float_becomes_the_string_of_the_same_bits() -> None:
    made = plain({"a": 0.1 + 0.2, "b": [1e300, 2**60, True]})
    assert made == {"a": "0.30000000000000004", "b": ["1e+300", str(2**60), True]}
    assert float(made["a"]) == 0.1 + 0.2


def test_a_key_outside_ascii_is_refused() -> None:
    with pytest.raises(RecordRefused, match="ASCII"):
        plain({"a": {"naïve": 1}})


def test_times_are_utc_with_microseconds_whatever_offset_they_came_with() -> None:
    assert utc_time("2026-05-28T22:26:40+02:00") == "2026-05-28T20:26:40.000000Z"
    assert utc_text(1_780_000_000_000_001) == "2026-05-28T20:26:40.000001Z"
    with pytest.raises(RecordRefused, match="offset"):
        utc_time("2026-05-28T22:26:40")


def test_tuples_and_names_from_a_catalogue_are_what_json_makes_of_them() -> None:
    class State(StrEnum):
        DENIED = "denied"

    made = plain({"state": State.DENIED, "codes": ("a", State.DENIED)})
    assert made == {"state": "denied", "codes": ["a", "denied"]}
    assert type(made["state"]) is str


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    ),
    st.data(),
)
def test_the_fast_reader_and_the_standard_library_read_alike(
    value: Any, data: st.DataObject
) -> None:
    spelt = json.dumps({"a": value}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    leaf = bytearray(spelt.encode(errors="surrogatepass"))
    if data.draw(st.booleans()):
        leaf[data.draw(st.integers(0, len(leaf) - 1))] ^= data.draw(st.integers(1, 255))

    def told(read: Callable[[bytes], dict[str, Any]]) -> Any:
        try:
            return read(bytes(leaf))
        except ValueError:
            return "refused"

    assert told(decode) == told(decode_slowly)


@given(
    st.dictionaries(
        KEYS,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
            max_leaves=12,
        ),
        max_size=6,
    )
)
def test_a_record_is_spelt_as_its_plain_body_is_and_read_again(body: dict[str, Any]) -> None:
    body.pop("sealed", None)
    leaf = encode_leaf(admit(record("label", "e1", body=body), "main"))
    assert leaf == encode(decode(leaf))
    assert decode(leaf)["body"] == plain(body)
