"""Is what a customer signed bound to each fact, and can anybody check it again?"""

import hashlib
import hmac
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey

from risk import signed
from risk.signed import Unsigned

ASK = {
    "id": "ch_1",
    "amount": "9800.00",
    "currency": "CNY",
    "customer": "cus_1",
    "nonce": "ab" * 16,
    "expires": "2026-11-21T12:47:00.000000Z",
    "event": "p-1",
}
PAYEE = {"name": "ACME 贸易", "account": "6222020000000000001"}
ASKED = signed.question(ASK, PAYEE)
ORIGIN, RP = "https://pay.bank.example", "pay.bank.example"


def _assertion(said: bytes, key: Any, *, flags: int = 5, **client: Any) -> dict[str, str]:
    told = {"type": "webauthn.get", "challenge": signed.b64(signed.challenge(said)),
            "origin": ORIGIN, "crossOrigin": False} | client  # fmt: skip
    raw = orjson.dumps(told)
    auth = hashlib.sha256(RP.encode()).digest() + bytes([flags]) + (7).to_bytes(4, "big")
    covered = auth + hashlib.sha256(raw).digest()
    made = (
        key.sign(covered, ec.ECDSA(hashes.SHA256()))
        if isinstance(key, ec.EllipticCurvePrivateKey)
        else key.sign(covered)
    )
    return {
        "client_data": signed.b64(raw),
        "authenticator_data": signed.b64(auth),
        "signature": signed.b64(made),
    }


def _der(key: Any) -> bytes:
    public: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public


def _check(evidence: dict[str, str], said: bytes, key: Any) -> dict[str, Any]:
    return signed.check_assertion(evidence, said, _der(key), origin=ORIGIN, rp_id=RP)


def test_a_statement_is_canonical_and_its_digest_is_of_every_byte() -> None:
    said = signed.statement(ASKED, "deny", "not_me")
    assert list(orjson.loads(said)) == sorted(orjson.loads(said))
    assert "贸易".encode() in said
    made = hashlib.sha256(b"ringback-challenge-v1\0" + said).digest()
    assert signed.challenge(said) == made


@given(
    st.sampled_from(["amount", "currency", "payee", "payee_account", "customer", "nonce", "id"]),
    st.text(max_size=12),
    st.sampled_from(signed.DECISIONS),
)
def test_any_other_fact_decision_or_reason_makes_another_challenge(
    field: str, value: str, other: tuple[str, str | None]
) -> None:
    said = signed.statement(ASKED, "confirm", None)
    changed = {**ASKED, field: value}
    if changed != ASKED:
        assert signed.challenge(signed.statement(changed, "confirm", None)) != signed.challenge(
            said
        )
        assert signed.differs(changed | {"decision": "confirm"}, ASKED, "confirm") is not None
    if other != ("confirm", None):
        assert signed.challenge(signed.statement(ASKED, *other)) != signed.challenge(said)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"amount": "98000.00"}, "amount"),
        ({"payee": "ACME"}, "payee"),
        ({"payee_account": "1"}, "payee"),
        ({"id": "ch_2", "amount": "1.00"}, "other_challenge"),
        ({"decision": "deny"}, "decision"),
        ({}, None),
    ],
)
def test_what_differs_has_a_name(changed: dict[str, str], why: str | None) -> None:
    said = orjson.loads(signed.statement(ASKED, "confirm", None)) | changed
    assert signed.differs(said, ASKED, "confirm") == why


def test_the_statement_in_the_protocol_s_page_is_in_the_form_that_is_signed() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
    found = re.findall(r"```json\n(\{.*?)\n```", page.read_text(encoding="utf-8"), re.DOTALL)
    [text] = [one for one in found if '"decision"' in one]
    facts = orjson.loads(text)
    decision, reason = facts.pop("decision"), facts.pop("reason")
    assert signed.statement(facts, decision, reason).decode() == text
    about = {"name": facts["payee"], "account": facts["payee_account"]}
    assert signed.question(facts, about) == facts


# --- JWS -------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")])
def test_a_device_key_signs_and_anybody_with_its_public_half_checks(made: Any) -> None:
    algorithm, der = signed.read_device_key(made.as_dict(private=False))
    said = signed.statement(ASKED, "confirm", None)
    compact = signed.sign_jws(made, "device_1", said)
    assert signed.kid_of(compact) == "device_1"
    assert signed.check_jws(compact, algorithm, der) == (said, orjson.loads(said))


@pytest.mark.parametrize(("decision", "reason"), [*signed.DECISIONS, ("confirm", "duress")])
def test_an_answer_may_leave_its_statement_out_and_is_the_same(
    decision: str, reason: str | None
) -> None:
    made = ECKey.generate_key("P-256")
    algorithm, der = signed.read_device_key(made.as_dict(private=False))
    said = signed.statement(ASKED, decision, reason)
    compact = signed.sign_jws(made, "d", said)
    head, _, tail = compact.split(".")
    whole = signed.check_answer(compact, algorithm, der, ASKED)
    assert whole == (compact, said, decision, reason)
    assert signed.check_answer(f"{head}..{tail}", algorithm, der, ASKED) == whole
    with pytest.raises(Unsigned) as refused:
        signed.check_answer(f"{head}..{tail}", algorithm, der, {**ASKED, "amount": "1.00"})
    assert refused.value.why == "edited"


def test_an_edited_jws_an_other_key_and_an_other_algorithm_are_refused() -> None:
    made = ECKey.generate_key("P-256")
    algorithm, der = signed.read_device_key(made.as_dict(private=False))
    head, _, tail = signed.sign_jws(made, "d", signed.statement(ASKED, "deny", None)).split(".")
    turned = signed.b64(signed.statement(ASKED, "confirm", None))
    other = signed.read_device_key(ECKey.generate_key("P-256").as_dict(private=False))[1]
    okp = signed.read_device_key(OKPKey.generate_key("Ed25519").as_dict(private=False))
    good = signed.sign_jws(made, "d", signed.statement(ASKED, "deny", None))
    for compact, alg, key in (
        (f"{head}.{turned}.{tail}", algorithm, der),
        (good, algorithm, other),
        (good, *okp),
    ):
        with pytest.raises(Unsigned) as refused:
            signed.check_jws(compact, alg, key)
        assert refused.value.why == "edited"


def test_the_public_key_as_an_hmac_secret_and_no_algorithm_sign_nothing() -> None:
    made = ECKey.generate_key("P-256")
    algorithm, der = signed.read_device_key(made.as_dict(private=False))
    said = signed.statement(ASKED, "confirm", None)
    head = {"alg": "HS256", "kid": "d", "typ": signed.JWS_TYPE}
    covered = signed.b64(orjson.dumps(head)) + "." + signed.b64(said)
    mac = signed.b64(hmac.digest(der, covered.encode(), hashlib.sha256))
    forged = f"{covered}.{mac}"
    none = signed.b64(orjson.dumps({**head, "alg": "none"})) + f".{signed.b64(said)}."
    for compact in (forged, none):
        with pytest.raises(Unsigned):
            signed.check_jws(compact, algorithm, der)


@pytest.mark.parametrize("compact", ["", "a.b", "a.b.c", "e30.e30.AA", "é.b.c", "." * 9000])
def test_what_is_no_jws_of_ours_is_refused(compact: str) -> None:
    with pytest.raises(Unsigned):
        signed.kid_of(compact)


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256"},
        ECKey.generate_key("P-256").as_dict(private=True),
        ECKey.generate_key("P-384").as_dict(private=False),
    ],
)
def test_only_a_public_key_of_two_kinds_is_enrolled(jwk: Any) -> None:
    with pytest.raises(ValueError, match="device key: needed"):
        signed.read_device_key(jwk)


# --- WebAuthn, again -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_a_recorded_assertion_is_checked_again_from_the_record_alone(key: Any) -> None:
    said = signed.statement(ASKED, "confirm", None)
    facts = _check(_assertion(said, key), said, key)
    assert (facts["amount"], facts["decision"]) == ("9800.00", "confirm")


def test_each_way_in_which_a_record_can_lie_is_found() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    said = signed.statement(ASKED, "confirm", None)
    good = _assertion(said, key)
    other = signed.statement({**ASKED, "amount": "98000.00"}, "confirm", None)
    turned = signed.statement(ASKED, "deny", None)
    auth = bytearray(signed.unb64(good["authenticator_data"]))
    auth[36] ^= 1
    lies: list[tuple[dict[str, str], bytes]] = [
        (good, other),
        (good, turned),
        (good | {"authenticator_data": signed.b64(bytes(auth))}, said),
        (good | {"client_data": _assertion(other, key)["client_data"]}, said),
        (_assertion(said, ec.generate_private_key(ec.SECP256R1())), said),
        (_assertion(said, key, flags=1), said),
        (_assertion(said, key, origin="https://evil.example"), said),
        (_assertion(said, key, type="webauthn.create"), said),
        (_assertion(said, key, crossOrigin=True), said),
    ]
    for evidence, claimed in lies:
        with pytest.raises(Unsigned):
            _check(evidence, claimed, key)


def test_openssl_checks_a_recorded_assertion_too(tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    key = ec.generate_private_key(ec.SECP256R1())
    said = signed.statement(ASKED, "confirm", None)
    evidence = {name: signed.unb64(text) for name, text in _assertion(said, key).items()}
    (tmp_path / "key.pem").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    client = hashlib.sha256(evidence["client_data"]).digest()
    (tmp_path / "signed").write_bytes(evidence["authenticator_data"] + client)
    (tmp_path / "signature").write_bytes(evidence["signature"])
    line = [program, "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Verified OK"
