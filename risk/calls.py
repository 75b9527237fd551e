"""Who may be called, and was it they who called? Addresses, and signatures of webhooks.

Standard Webhooks (standardwebhooks.com): the signature is an HMAC-SHA256 over id, timestamp and
body; the id stays the same over all attempts. Private, loopback, link-local and metadata addresses
are not called, unless ``host:port`` is allowed by name.
"""

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

TOLERANCE_SECONDS = 300
_TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")))


def may_be_called(address: str) -> bool:
    """True for an address of the open internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif any(ip in net for net in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast


def check_url(url: str, allow: Collection[str], where: str = "webhook") -> None:
    """Refuse a URL that is not https, or names a bare address that may not be called."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    if not host or parts.username or parts.password:
        raise ValueError(f"{where}.url: needed https://host/path without a user")
    allowed = f"{host}:{port}" in allow
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise ValueError(f"{where}.url: needed https (http only for a host:port in {where}.allow)")
    try:
        public = may_be_called(host)
    except ValueError:
        return  # a name: looked at when it is resolved
    if not (public or allowed):
        raise ValueError(f"{where}.url: needed a public address, or host:port in {where}.allow")


def signature(secret: bytes, name: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` of a call."""
    signed = b"%s.%d.%s" % (name.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def is_signed(
    secret: bytes, name: str, timestamp: str, signatures: str, body: bytes, now_seconds: int
) -> bool:
    """True where one of the signatures is right, and the call is not older than 5 minutes."""
    if not name or not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    if abs(int(timestamp) - now_seconds) > TOLERANCE_SECONDS:
        return False
    right = signature(secret, name, int(timestamp), body).encode()
    return any(hmac.compare_digest(right, one.encode()) for one in signatures.split())
