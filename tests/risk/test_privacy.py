"""Do tokens match only what is the same, and do seals open only what was sealed?"""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.privacy import (
    KeyedHash,
    SealBroken,
    Tokens,
    canonical,
    field_key,
    looks_personal,
    luhn,
    open_sealed,
    seal,
    web_token,
)

ROOT, KEY, NONCE = b"r" * 32, b"k" * 32, b"n" * 12
FIELDS = ("customer", "payee.account", "card", "device.id", "ip", "jid", "id")


def test_a_token_is_the_same_tomorrow() -> None:
    # A promise: tokens lie in ledgers and profiles, and must match there for years.
    assert Tokens(ROOT, "main").token("customer", "alice") == "cus_faa658bb5418c43b0ef5725abd9de80f"


@given(st.text(min_size=1), st.sampled_from(FIELDS))
def test_a_value_has_one_token_of_32_digits_in_its_field(value: str, field: str) -> None:
    token = Tokens(ROOT, "main").token(field, value)
    assert token == Tokens(ROOT, "main").token(field, value)
    prefix, _, rest = token.partition("_")
    assert prefix.isalpha()
    assert len(rest) == 32
    assert set(rest) <= set("0123456789abcdef")


def test_a_value_has_another_token_in_each_field_and_for_each_tenant() -> None:
    told = {
        Tokens(root, tenant).token(field, "alice").partition("_")[2]
        for root in (ROOT, b"s" * 32)
        for tenant in ("main", "other")
        for field in FIELDS
    }
    assert len(told) == 2 * 2 * len(FIELDS)


@given(st.lists(st.text(min_size=1), unique=True, max_size=20))
def test_different_values_have_different_tokens(values: list[str]) -> None:
    tokens = Tokens(ROOT, "main")
    assert len({tokens.token("customer", value) for value in values}) == len(values)


@given(st.binary(max_size=64), st.lists(st.binary(max_size=200), max_size=4))
def test_a_keyed_hash_is_hmac_of_each_message_by_itself(key: bytes, messages: list[bytes]) -> None:
    hashed = KeyedHash(key)
    for message in messages:
        assert hashed.digest(message) == hmac.digest(key, message, hashlib.sha256)


def test_a_key_longer_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64 bytes, got 65"):
        KeyedHash(b"k" * 65)


def test_a_short_root_is_refused() -> None:
    with pytest.raises(ValueError, match="needed at least 32 bytes, got 31"):
        Tokens(b"r" * 31, "main")


def test_keys_of_fields_differ() -> None:
    assert field_key(ROOT, "main", "a") != field_key(ROOT, "main", "b")


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_seal_opens_to_what_was_sealed(plaintext: bytes, field: str) -> None:
    sealed = seal(KEY, plaintext, field.encode(), NONCE)
    assert open_sealed(KEY, sealed, field.encode()) == plaintext
    assert len(plaintext) < 5 or plaintext.hex() not in sealed


def test_a_seal_is_bound_to_its_field_and_its_key() -> None:
    sealed = seal(KEY, b"ACME", b"payee", NONCE)
    for key, field in ((KEY, b"memo"), (b"x" * 32, b"payee")):
        with pytest.raises(SealBroken):
            open_sealed(key, sealed, field)


@given(st.data())
def test_a_seal_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    sealed = seal(KEY, b"ACME Trading", b"payee", NONCE)
    place = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda char: char != sealed[place]))
    with pytest.raises(SealBroken):
        open_sealed(KEY, sealed[:place] + other + sealed[place + 1 :], b"payee")


@given(st.data())
def test_a_seal_with_a_character_more_or_less_is_refused(data: st.DataObject) -> None:
    sealed = seal(KEY, b"ACME Trading", b"payee", NONCE)
    place = data.draw(st.integers(0, len(sealed) - 1))
    more = data.draw(st.characters(codec="ascii"))
    for changed in (sealed[:place] + sealed[place + 1 :], sealed[:place] + more + sealed[place:]):
        with pytest.raises(SealBroken):
            open_sealed(KEY, changed, b"payee")


@given(st.text())
def test_what_is_no_seal_is_refused(text: str) -> None:
    for sealed in (text, "s1." + text):
        with pytest.raises(SealBroken):
            open_sealed(KEY, sealed, b"payee")


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53)))
def test_a_body_has_one_canonical_form_in_any_order(body: dict[str, int]) -> None:
    turned = dict(reversed(body.items()))
    assert canonical(body) == canonical(turned)


def test_a_page_s_token_belongs_to_one_challenge_and_one_key() -> None:
    told = {web_token(key, one) for key in (KEY, ROOT) for one in ("ch_a", "ch_b")}
    assert len(told) == 4
    assert all(len(token) == 32 for token in told)


@given(st.integers(0, 10**18))
def test_one_changed_digit_never_passes_the_check(stem: int) -> None:
    good = next(run for last in range(10) if luhn(run := f"{stem}{last}"))
    for place, digit in enumerate(good):
        other = str((int(digit) + 1) % 10)
        assert not luhn(good[:place] + other + good[place + 1 :])


@pytest.mark.parametrize(
    "text",
    ["4111111111111111", "4111 1111 1111 1111", "+8613800138000", "138-0013-8000",
     "11010519491231002X", "110105491231002"],
)  # fmt: skip
def test_a_card_a_phone_and_an_identity_number_look_personal(text: str) -> None:
    assert looks_personal(text)


@pytest.mark.parametrize(
    "text", ["p-1", "ord-2026-0001", "4111111111111112345678", "1234567", "", "x"]
)
def test_an_order_number_does_not_look_personal(text: str) -> None:
    assert not looks_personal(text)
