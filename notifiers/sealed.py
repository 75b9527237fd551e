"""How is a question kept from the chat server? It is sealed to the customer's own device.

HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The `info` names
the protocol and the challenge, so that a seal of one question opens as no other. What is sealed is
JSON, filled up with spaces to a multiple of 256 bytes, so that its length tells nothing of a name.

The key is the device's, and comes with the channel by the bank (`PUT /v1/customers`), never by
chat: a key that the chat server could put in its place would keep nothing from it.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifiers.errors import NotSealed

SUITE = "hpke-x25519-sha256-aes256gcm"
_INFO = b"ringback-challenge-1\0"
_BLOCK = 256
_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal(public: str, challenge: str, content: Mapping[str, Any]) -> str:
    """Seal a content to a device; base64 without line breaks. NotSealed where the key is none."""
    plain = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    plain += b" " * (-len(plain) % _BLOCK)
    try:
        key = X25519PublicKey.from_public_bytes(_bytes(public))
        sealed = _HPKE.encrypt(plain, key, _INFO + challenge.encode())
    except ValueError as broken:
        raise NotSealed(f"device key: needed 32 bytes of X25519 in base64url: {broken}") from broken
    return base64.b64encode(sealed).decode()


def unseal(private: X25519PrivateKey, challenge: str, sealed: str) -> dict[str, Any]:
    """Open a seal on the device; NotSealed where key, challenge or bytes are others."""
    try:
        plain = _HPKE.decrypt(
            base64.b64decode(sealed, validate=True), private, _INFO + challenge.encode()
        )
        content: dict[str, Any] = orjson.loads(plain)
    except (InvalidTag, ValueError, binascii.Error) as broken:
        raise NotSealed("seal: key, challenge or bytes are not the sealed ones") from broken
    return content


def public_of(private: X25519PrivateKey) -> str:
    """Give the public half as the bank is told it: base64url of 32 bytes, without padding."""
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def fingerprint(public: str) -> str:
    """Name a key: the first 16 hex digits of the SHA-256 of its bytes."""
    return hashlib.sha256(_bytes(public)).hexdigest()[:16]


def _bytes(public: str) -> bytes:
    return base64.urlsafe_b64decode(public + "=" * (-len(public) % 4))
