"""What leaves the edge in place of a name? Tokens that match, and seals that few can open.

A *token* is a keyed hash (HMAC-SHA256, RFC 2104), one key per tenant and field: the same person
gives the same token, and nobody without the key can tell whose it is. A *seal* is AES-256-GCM
(NIST SP 800-38D); its associated data is the name of the field, so that a sealed payee can't be
passed off as a memo. Nonces come from the caller: this module draws nothing by chance.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
_SEAL_VERSION = "s1."
_BLOCK = 64
_PREFIX = {
    "customer": "cus",
    "payee.account": "acc",
    "card": "card",
    "device.id": "dev",
    "ip": "ip",
    "jid": "jid",
    "duress": "drs",
    "id": "id",
}


class SealBroken(ValueError):
    """A seal that does not open: wrong key, wrong field, or changed bytes."""


def field_key(root: bytes, tenant: str, field: str) -> bytes:
    """The 32-byte key of one tenant and field, derived from the tenant's root secret."""
    return hmac.digest(root, f"ringback/{tenant}/{field}".encode(), hashlib.sha256)


class KeyedHash:
    """HMAC-SHA256 (RFC 2104) under one key, whose two blocks are hashed once and not each time."""

    def __init__(self, key: bytes) -> None:
        """Take a key of at most 64 bytes, SHA-256's block."""
        if len(key) > _BLOCK:
            raise ValueError(f"keyed hash: needed a key of at most {_BLOCK} bytes, got {len(key)}")
        block = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, message: bytes) -> bytes:
        """Give the 32 bytes that ``hmac.digest`` gives."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class Tokens:
    """Turns the personal values of one tenant into tokens, with a key for each field."""

    def __init__(self, root: bytes, tenant: str) -> None:
        """Take the tenant's root secret (at least 32 bytes)."""
        if len(root) < 32:
            raise ValueError(f"token root: needed at least 32 bytes, got {len(root)}")
        self._hashes = {field: KeyedHash(field_key(root, tenant, field)) for field in _PREFIX}

    def token(self, field: str, value: str) -> str:
        """Give the token of a value: a prefix for its kind, then 32 hexadecimal digits."""
        digest = self._hashes[field].digest(value.encode())
        return f"{_PREFIX[field]}_{digest[:16].hex()}"


@lru_cache(maxsize=64)
def _cipher(key: bytes) -> AESGCM:
    """The cipher of a key; a house has a few keys, and making one costs more than sealing."""
    return AESGCM(key)


def seal(key: bytes, plaintext: bytes, aad: bytes, nonce: bytes) -> str:
    """Seal bytes under a 32-byte key; ``nonce`` is 12 bytes and never used twice."""
    boxed = nonce + _cipher(key).encrypt(nonce, plaintext, aad)
    return _SEAL_VERSION + base64.urlsafe_b64encode(boxed).decode().rstrip("=")


def open_sealed(key: bytes, sealed: str, aad: bytes) -> bytes:
    """Open a seal, or raise `SealBroken`."""
    if not sealed.startswith(_SEAL_VERSION):
        raise SealBroken(f"seal: needed the version {_SEAL_VERSION!r}, got {sealed[:3]!r}")
    text = sealed[len(_SEAL_VERSION) :]
    try:
        boxed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if base64.urlsafe_b64encode(boxed).decode().rstrip("=") != text:
            raise SealBroken("seal: the bytes are spelt otherwise than a seal spells them")
        return _cipher(key).decrypt(boxed[:NONCE_BYTES], boxed[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError) as broken:
        raise SealBroken(
            "seal: the key, the field or the bytes are not the sealed ones"
        ) from broken


def canonical(value: Mapping[str, Any]) -> bytes:
    """One JSON object as bytes: sorted keys, UTF-8, no spaces."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def web_token(key: bytes, challenge: str) -> str:
    """The token in a challenge page's address fragment; it dies with its challenge."""
    digest = hmac.digest(key, b"web\0" + challenge.encode(), hashlib.sha256)
    return base64.b32encode(digest).decode().lower()[:32]


_PHONE = re.compile(r"\+?\d[\d\s().-]{6,18}\d")
_IDENTITY = re.compile(r"\d{17}[\dXx]|\d{15}")


def luhn(digits: str) -> bool:
    """True where a run of digits passes the Luhn check (ISO/IEC 7812-1 annex B)."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        number = int(char) * (2 if place % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def looks_personal(text: str) -> bool:
    """True for an id that looks like a card, a phone or an identity number."""
    if _IDENTITY.fullmatch(text):
        return True
    digits = re.sub(r"[ -]", "", text)
    if digits.isascii() and digits.isdigit() and 13 <= len(digits) <= 19 and luhn(digits):
        return True
    return bool(_PHONE.fullmatch(text)) and 8 <= sum(c.isdigit() for c in text) <= 15
