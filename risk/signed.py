"""What does a customer sign, and how does anybody check it again?

The *statement* is the canonical JSON (sorted keys, UTF-8, no spaces) of the question with the
decision and its reason in it. A passkey signs its digest as the WebAuthn challenge; a device key
signs the statement itself as a JWS (RFC 7515). Change a byte of amount, payee, decision or reason,
and nothing fits.

Checking again needs no secret: `check_assertion` takes what the record holds, and does what
WebAuthn Level 2, section 7.2 asks for, with the public key of the ``credential.enrolled`` record.
"""

import base64
import contextlib
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from risk.privacy import canonical

_CHALLENGE = b"ringback-challenge-v1\0"
_BIND = b"ringback-bind-v1\0"
JWS_TYPE = "ringback-answer+jws"
JWS_ALGORITHMS = ("ES256", "Ed25519")  # RFC 7518; RFC 9864, which says it more exactly than EdDSA
DECISIONS = (
    ("confirm", None),
    ("deny", None),
    ("deny", "not_me"),
    ("deny", "cancel"),
)
_ANSWERS = (*DECISIONS, ("confirm", "duress"))
_LONGEST_JWS = 8_192
_USER_PRESENT, _USER_VERIFIED = 0x01, 0x04


class Unsigned(ValueError):
    """A signature that is not one over this statement; ``why`` is one word for the record."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(f"signed answer: {detail}")
        self.why = why


def question(ask: Mapping[str, Any], payee: Mapping[str, Any]) -> dict[str, Any]:
    """The question's facts of an ``ask``, with the payee in clear ``{name, account}``."""
    return {
        "id": ask["id"],
        "amount": ask["amount"],
        "currency": ask["currency"],
        "payee": payee.get("name") or "",
        "payee_account": payee.get("account") or "",
        "customer": ask["customer"],
        "nonce": ask["nonce"],
        "expires": ask["expires"],
    }


def bind(asked: bytes) -> str:
    """The digest of the canonical question that an own client sends back, base64url."""
    return b64(hashlib.sha256(_BIND + asked).digest())


def statement(asked: Mapping[str, Any], decision: str, reason: str | None) -> bytes:
    """The bytes that are signed: the question, the decision, and the reason (null for none)."""
    return canonical({**asked, "decision": decision, "reason": reason})


def challenge(said: bytes) -> bytes:
    """The 32 bytes of the WebAuthn challenge of a statement."""
    return hashlib.sha256(_CHALLENGE + said).digest()


def differs(said: Mapping[str, Any], asked: Mapping[str, Any], decision: str) -> str | None:
    """In one word, how a signed statement is not of this question; None where it is.

    Another id comes first: all else differs then, too.
    """
    if said.get("id") != asked["id"]:
        return "other_challenge"
    for field in ("amount", "currency", "payee", "payee_account", "customer", "nonce", "expires"):
        if said.get(field) != asked[field]:
            return field.removesuffix("_account")
    return None if said.get("decision") == decision else "decision"


# -- JWS -----------------------------------------------------------------------------------------


def read_device_key(jwk: Any) -> tuple[str, bytes]:
    """Algorithm and public key (SubjectPublicKeyInfo, DER) of a public JWK; else ValueError."""
    if not isinstance(jwk, Mapping) or "d" in jwk:
        raise ValueError("device key: needed a public JWK (RFC 7517) without its private part")
    kind = (jwk.get("kty"), jwk.get("crv"))
    if kind not in (("EC", "P-256"), ("OKP", "Ed25519")):
        raise ValueError("device key: needed EC on P-256 or OKP on Ed25519")
    try:
        if kind[0] == "EC":
            found: Any = ECKey.import_key(_public(jwk, "kty", "crv", "x", "y"))
            algorithm = "ES256"
        else:
            found = OKPKey.import_key(_public(jwk, "kty", "crv", "x"))
            algorithm = "Ed25519"
        key = found.public_key
    except (JoseError, ValueError, TypeError, KeyError) as wrong:
        raise ValueError("device key: needed a valid public JWK") from wrong
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return algorithm, der


def _public(jwk: Mapping[str, Any], *names: str) -> Any:
    return {name: str(jwk[name]) for name in names}


def sign_jws(key: Any, kid: str, said: bytes) -> str:
    """A compact JWS over a statement; ``key`` is a private `ECKey` or `OKPKey` of joserfc."""
    algorithm = "ES256" if isinstance(key, ECKey) else "Ed25519"
    header = {"alg": algorithm, "kid": kid, "typ": JWS_TYPE}
    return jws.serialize_compact(header, said, key, algorithms=list(JWS_ALGORITHMS))


def kid_of(compact: str) -> str:
    """The key that a JWS names; raises `Unsigned` where it is none of ours."""
    if len(compact) > _LONGEST_JWS or compact.count(".") != 2:
        raise Unsigned("edited", "needed a compact JWS of at most 8 KB")
    try:
        header = orjson.loads(unb64(compact.partition(".")[0]))
    except ValueError as wrong:
        raise Unsigned("edited", "needed a JWS with a JSON header") from wrong
    if not isinstance(header, dict) or header.get("typ") != JWS_TYPE:
        raise Unsigned("edited", f"needed a JWS of type {JWS_TYPE}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid or len(kid) > 128:
        raise Unsigned("credential", "needed a JWS that names its key (kid)")
    return kid


def check_jws(compact: str, algorithm: str, der: bytes) -> tuple[bytes, dict[str, Any]]:
    """The statement in a JWS and its facts, once its signature holds; else `Unsigned`.

    The algorithm is the enrolled one: what the header says is compared, never chosen by.
    """
    kid_of(compact)
    if algorithm not in JWS_ALGORITHMS:
        raise Unsigned("credential", f"needed {' or '.join(JWS_ALGORITHMS)}, got {algorithm}")
    key: Any = (ECKey if algorithm == "ES256" else OKPKey).import_key(der)
    try:
        found = jws.deserialize_compact(compact.encode("ascii"), key, algorithms=[algorithm])
    except (JoseError, ValueError) as wrong:
        raise Unsigned("edited", "the signature does not fit the bytes and the key") from wrong
    try:
        facts = orjson.loads(found.payload)
    except ValueError as wrong:
        raise Unsigned("edited", "needed a JSON statement") from wrong
    if not isinstance(facts, dict) or canonical(facts) != found.payload:
        raise Unsigned("edited", "needed a statement in its canonical form")
    return found.payload, facts


class SignedAnswer(NamedTuple):
    """What a device key has signed about one question; ``compact`` holds its statement."""

    compact: str
    statement: bytes
    decision: str
    reason: str | None


def check_answer(
    compact: str, algorithm: str, der: bytes, asked: Mapping[str, Any]
) -> SignedAnswer:
    """The answer in a JWS about the question ``asked``; else `Unsigned` with the reason.

    1. the signature is the key's, over a canonical statement
    2. the statement is of this question, fact for fact, and says nothing else
    3. it is a confirm, or a deny with one of its reasons

    The statement may be left out (``header..signature``): it is put in from what was asked, so that
    the amount and payee of a sealed question don't travel in its answer either.
    """
    kid_of(compact)
    if ".." in compact:
        compact = _attached(compact, algorithm, der, asked)
    said, facts = check_jws(compact, algorithm, der)
    decision, reason = str(facts.get("decision")), facts.get("reason")
    why = differs(facts, asked, decision)
    if why is not None:
        raise Unsigned(why, f"what was signed differs in: {why}")
    if said != statement(asked, decision, reason):
        raise Unsigned("edited", "needed a statement without further facts")
    if (decision, reason) not in _ANSWERS:
        raise Unsigned("decision", "needed confirm, or deny with one of its reasons")
    return SignedAnswer(compact, said, decision, reason)


def _attached(compact: str, algorithm: str, der: bytes, asked: Mapping[str, Any]) -> str:
    """A JWS that came without its statement (RFC 7515, appendix F), with the one that fits."""
    header, _, signature = compact.partition("..")
    for decision, reason in _ANSWERS:
        whole = f"{header}.{b64(statement(asked, decision, reason))}.{signature}"
        with contextlib.suppress(Unsigned):
            check_jws(whole, algorithm, der)
            return whole
    raise Unsigned("edited", "needed the signature of an answer to this question")


# -- WebAuthn, again -----------------------------------------------------------------------------


def check_assertion(
    evidence: Mapping[str, Any], said: bytes, der: bytes, *, origin: str, rp_id: str
) -> dict[str, Any]:
    """Check a recorded assertion again, from the record alone; gives the statement's facts.

    ``evidence`` holds ``client_data``, ``authenticator_data`` and ``signature`` (base64url), as
    the record of the answer does; ``said`` is its statement, ``der`` the enrolled public key.

    1. the client data are of ``webauthn.get``, from this origin, not framed by another
    2. their challenge is the digest of the statement
    3. the authenticator's data are for this RP, with the user present and verified
    4. the signature is over authenticator data and the hash of the client data
    """
    client_raw, auth = unb64(evidence["client_data"]), unb64(evidence["authenticator_data"])
    signature = unb64(evidence["signature"])
    client = orjson.loads(client_raw)
    if client.get("type") != "webauthn.get" or client.get("crossOrigin"):
        raise Unsigned("edited", "needed client data of webauthn.get from the page itself")
    if client.get("origin") != origin:
        raise Unsigned("origin", f"needed the origin {origin}")
    if not hmac.compare_digest(unb64(str(client.get("challenge"))), challenge(said)):
        raise Unsigned("edited", "the challenge is not the digest of the statement")
    if len(auth) < 37 or auth[:32] != hashlib.sha256(rp_id.encode()).digest():
        raise Unsigned("origin", f"needed authenticator data for the RP {rp_id}")
    if auth[32] & (_USER_PRESENT | _USER_VERIFIED) != (_USER_PRESENT | _USER_VERIFIED):
        raise Unsigned("user", "needed a user who is present and verified")
    check_signature(der, signature, auth + hashlib.sha256(client_raw).digest())
    facts: dict[str, Any] = orjson.loads(said)
    return facts


def check_signature(der: bytes, signature: bytes, signed: bytes) -> None:
    """Check a signature as authenticators make them: ES256, EdDSA or RS256; else `Unsigned`."""
    key = load_der_public_key(der)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise Unsigned("credential", "needed an EC, Ed25519 or RSA key")
    except InvalidSignature as wrong:
        raise Unsigned("edited", "the signature does not fit the bytes and the key") from wrong


def b64(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64(text: str) -> bytes:
    """The bytes of base64url, padded or not; ValueError for anything else."""
    plain = text.rstrip("=")
    if not plain.isascii() or any(not (c.isalnum() or c in "-_") for c in plain):
        raise ValueError("base64url: needed letters, digits, - and _ alone")
    return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))


def names_of(decisions: Iterable[tuple[str, str | None]] = DECISIONS) -> list[str]:
    """The statements that a server prepares, by name: ``confirm``, ``deny``, ``deny.not_me``…"""
    return [
        decision if reason is None else f"{decision}.{reason}" for decision, reason in decisions
    ]
