"""Who else says when? RFC 3161 tokens of a time-stamp authority on the heads of a log.

    <log>/timestamps/<size>.tsr     the authority's answer over the text of the head of that size

An option: it needs `rfc3161-client` (the extra `timestamp`), to ask and to check. A token says that
the head, and with it every record below, was there at that time; it rests on the authority's key
and clock, not on the bank's.
"""

from __future__ import annotations

import http.client
import urllib.parse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from audit.errors import EvidenceMalformed, TimestampRefused
from audit.tiles import write_atomically

QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
MOST_BYTES = 1 << 20
TIMEOUT = 5.0


def timestamp_file(log: Path, size: int) -> Path:
    """The file of the token on the head of that size."""
    return log / "timestamps" / f"{size}.tsr"


def tokens(log: Path) -> dict[int, bytes]:
    """Every kept token of a log by the size of its head."""
    folder = log / "timestamps"
    files = folder.iterdir() if folder.is_dir() else ()
    found = {int(f.stem): f.read_bytes() for f in files if f.suffix == ".tsr" and f.stem.isdigit()}
    return dict(sorted(found.items()))


def ask(url: str, text: str) -> bytes:
    """The authority's token on a head's text. TimestampRefused says why there is none."""
    client = _client()
    query = client.TimestampRequestBuilder().data(text.encode()).nonce(nonce=True).build()
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise TimestampRefused(f"a time-stamp authority has an http(s) URL, got {url!r}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    link = kind(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        link.request("POST", path, query.as_bytes(), {"Content-Type": QUERY, "Accept": REPLY})
        answer = link.getresponse()
        data = answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise TimestampRefused(f"{url} is not there: {error}") from error
    finally:
        link.close()
    if answer.status != 200:
        raise TimestampRefused(f"{url} answered with status {answer.status}")
    token = _parsed(client, data)
    if token.tst_info.nonce != query.nonce:
        raise TimestampRefused(f"{url} answered another question")
    return data


def ask_and_keep(url: str, log: Path, size: int, text: str) -> None:
    """Ask for a token on a head and put it beside the log."""
    write_atomically(timestamp_file(log, size), ask(url, text))


def check(token: bytes, text: str, authorities: Sequence[bytes]) -> datetime:
    """When the authority saw that head. EvidenceMalformed when its token is of something else.

    `authorities` are PEM certificates: roots, and the authority's own.
    """
    client = _client()
    known = [one for pem in authorities for one in x509.load_pem_x509_certificates(pem)]
    roots = [one for one in known if one.subject == one.issuer] or known
    builder = client.VerifierBuilder(roots=roots)
    for one in known:
        if one not in roots:
            builder = builder.tsa_certificate(one) if _stamps(one) else builder
    answer = _parsed(client, token)
    try:
        builder.build().verify_message(answer, text.encode())
    except client.VerificationError as error:
        raise EvidenceMalformed(f"the time stamp does not hold: {error}") from error
    when: datetime = answer.tst_info.gen_time
    return when


def _stamps(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.TIME_STAMPING in usage


def _parsed(client: Any, data: bytes) -> Any:
    try:
        return client.decode_timestamp_response(data)
    except ValueError as error:
        raise EvidenceMalformed(f"a time stamp can't be read: {error}") from error


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise TimestampRefused(
            "time stamps need the package rfc3161-client: pip install 'ringback[timestamp]'"
        ) from error
    return rfc3161_client
