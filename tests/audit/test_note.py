"""Signed notes, verifier keys and cosignatures as C2SP has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import EvidenceMalformed
from audit.note import WITNESS_KEY, Signer, head_text, parse_checkpoint, parse_line, parse_vkey
from audit.policy import parse_policy

ORIGIN = "bank.example/ringback/main/rc10y/2026"
LOG = Signer(ORIGIN, bytes(32))
WITNESSES = [Signer(f"witness{n}.example", bytes([n]) * 32, WITNESS_KEY) for n in (1, 2, 3)]
TEXT = head_text(ORIGIN, 7, bytes(range(32)))


def signed(*lines: str) -> bytes:
    return (TEXT + "\n" + "".join(lines)).encode()


def test_the_published_example_of_a_verifier_key_is_read() -> None:
    key = parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert (key.name, key.kind, key.key_id.hex()) == ("PeterNeumann", 1, "c74f20a3")


def test_the_published_example_of_a_note_verifies() -> None:
    key = parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    line = parse_line(
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
        "gotpRZb6KE6RyyBwJnAM="
    )
    assert line.is_of(key)
    assert key.accepts(text.encode(), line.signature)
    assert not key.accepts(text.encode() + b"\n", line.signature)


def test_a_key_with_another_id_is_refused() -> None:
    with pytest.raises(EvidenceMalformed, match="has id"):
        parse_vkey(LOG.verifier.vkey.replace(LOG.verifier.key_id.hex(), "00000000"))


def test_a_checkpoint_is_read_back_and_its_signatures_hold() -> None:
    head = parse_checkpoint(signed(LOG.sign(TEXT), WITNESSES[0].cosign(TEXT, 1_780_000_000)))
    assert (head.origin, head.size, head.root) == (ORIGIN, 7, bytes(range(32)))
    assert head.signed_by(LOG.verifier)
    assert head.witnessed_at(WITNESSES[0].verifier) == 1_780_000_000
    assert head.witnessed_at(WITNESSES[1].verifier) is None


def test_a_cosignature_does_not_hold_for_another_time() -> None:
    line = WITNESSES[0].cosign(TEXT, 1_780_000_000)
    packed = parse_line(line[:-1])
    later = (1_780_000_001).to_bytes(8, "big") + packed.signature[8:]
    head = parse_checkpoint(signed(LOG.sign(TEXT), line))
    assert not WITNESSES[0].verifier.accepts(head.text.encode(), later[8:])
    assert not head.signed_by(WITNESSES[0].verifier)


@given(st.data())
def test_any_changed_byte_of_a_checkpoint_is_refused_or_its_signature_fails(
    data: st.DataObject,
) -> None:
    note = bytearray(signed(LOG.sign(TEXT)))
    at = data.draw(st.integers(0, len(note) - 1))
    note[at] = data.draw(st.integers(0, 255).filter(lambda octet: octet != note[at]))
    try:
        head = parse_checkpoint(bytes(note))
    except EvidenceMalformed:
        return
    assert not head.signed_by(LOG.verifier)


def policy(*rows: str) -> bytes:
    keys = [f"witness w{n} {w.verifier.vkey}" for n, w in enumerate(WITNESSES)]
    return "\n".join([f"log {LOG.verifier.vkey}", *keys, *rows, ""]).encode()


@pytest.mark.parametrize(
    ("rows", "seen", "met"),
    [
        (["quorum none"], set(), True),
        (["quorum w0"], {"w0"}, True),
        (["quorum w0"], {"w1"}, False),
        (["group g 2 w0 w1 w2", "quorum g"], {"w0"}, False),
        (["group g 2 w0 w1 w2", "quorum g"], {"w0", "w2"}, True),
        (["group a any w0 w1", "group b all a w2", "quorum b"], {"w0", "w1"}, False),
        (["group a any w0 w1", "group b all a w2", "quorum b"], {"w1", "w2"}, True),
    ],
)
def test_a_quorum_is_met_by_enough_of_its_witnesses(
    rows: list[str], seen: set[str], met: bool
) -> None:
    assert parse_policy(policy(*rows)).is_met(lambda witness: witness.name in seen) is met


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["quorum w9"],
        ["quorum none", "quorum none"],
        ["group g 4 w0 w1 w2", "quorum g"],
        ["group g 0 w0", "quorum g"],
        ["group g any w0", "group h any w0", "quorum h"],
        ["group none any w0", "quorum w0"],
        ["group g all g", "quorum g"],
        ["frobnicate", "quorum none"],
        [f"witness again {WITNESSES[0].verifier.vkey}", "quorum none"],
        [f"log {WITNESSES[0].verifier.vkey}", "quorum none"],
    ],
)
def test_a_policy_that_can_mean_two_things_or_nothing_is_refused(rows: list[str]) -> None:
    with pytest.raises(EvidenceMalformed):
        parse_policy(policy(*rows))
