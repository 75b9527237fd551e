"""Who calls, and what did they send? Bearer tokens by role; bodies within their bounds."""

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from gateway.problems import Problem
from risk.events import LARGEST_BODY

_CHUNK = 64 * 1024


class Callers:
    """Knows the machines that may call. The officer's token works on loopback alone."""

    def __init__(self, bearers: Mapping[str, str]) -> None:
        self._roles = {_digest(bearer): role for role, bearer in bearers.items()}

    def role(self, request: web.Request) -> str | None:
        """The caller's role, or None without a known token."""
        said = request.headers.get("Authorization", "")
        if said[:7].lower() != "bearer ":
            return None
        # Looked up by digest: how long that takes tells nothing of the token.
        role = self._roles.get(_digest(said[7:].strip()))
        if role == "officer" and not _loopback(request):
            raise Problem("forbidden", "The officer's token works on loopback alone")
        return role

    def need(self, request: web.Request, *roles: str) -> str:
        """The caller's role where it is one of these; else 401 or 403."""
        role = self.role(request)
        if role is None:
            raise Problem("unauthorized", "Needed 'Authorization: Bearer …' with a token in use")
        if role not in roles:
            raise Problem("forbidden", f"Needed a caller of {', '.join(roles)}, got {role}")
        return role


def _digest(bearer: str) -> bytes:
    return hashlib.sha256(bearer.encode("utf-8", "surrogateescape")).digest()


def _loopback(request: web.Request) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    try:
        return ipaddress.ip_address(peer[0]).is_loopback if peer else False
    except ValueError:
        return False


async def body_of(request: web.Request, *media: str, limit: int = LARGEST_BODY) -> bytes:
    """The bytes of a body; 415 for another media type, 413 above the limit."""
    said = request.headers.get("Content-Type")
    if said not in media and request.content_type not in media:
        got = (said or "none")[:80]
        raise Problem("media_type", f"Needed {' or '.join(media)}, got {got}")
    length = request.content_length
    if length is not None and length > limit:
        raise Problem("too_large", f"Needed at most {limit} bytes, got {length}")
    if length is not None:
        return await request.read()
    parts: list[bytes] = []
    size = 0
    while chunk := await request.content.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise Problem("too_large", f"Needed at most {limit} bytes, got more")
        parts.append(chunk)
    return b"".join(parts)


def read_json(body: bytes) -> Any:
    """The JSON value in a body, or 400 with the place where it ends to be JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        at = f"line {wrong.lineno}, column {wrong.colno}"
        raise Problem("malformed", f"Needed UTF-8 JSON, got something else at {at}") from None


async def json_of(request: web.Request) -> Any:
    """The JSON body of a request."""
    return read_json(await body_of(request, "application/json"))
