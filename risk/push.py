"""What does the bank show a push service? Its VAPID key (RFC 8292), made of one secret."""

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


def vapid_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """Make the key of a 32-byte secret: the same one again from the same secret."""
    if len(secret) != 32:
        raise ValueError(f"vapid secret: needed 32 bytes, got {len(secret)}")
    wide = hmac.digest(secret, b"ringback/vapid", hashlib.sha512)
    return ec.derive_private_key(1 + int.from_bytes(wide, "big") % (_ORDER - 1), ec.SECP256R1())


def public_text(key: ec.EllipticCurvePrivateKey) -> str:
    """Write the public half as browsers take it: an uncompressed point in base64url."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).decode().rstrip("=")
