"""What went wrong, in the caller's words? RFC 9457 problems; nothing personal, no stack traces."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from gateway.turns import StoreAway
from risk.events import Refused

log = logging.getLogger("ringback.gateway")
_BASE = "urn:ringback:problem:"

TITLES: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "The body is not JSON"),
    "unauthorized": (401, "A bearer token is needed"),
    "forbidden": (403, "This caller may not do that"),
    "not_found": (404, "Nothing is known under that name"),
    "method": (405, "That method is not for this address"),
    "conflict": (409, "The id was used for another body"),
    "expired_id": (409, "The id was used long ago"),
    "bound_elsewhere": (409, "The address is another customer's"),
    "already_opened": (409, "The link was opened before"),
    "no_passkey": (409, "No passkey is enrolled for this page"),
    "not_signed": (403, "The signature is not one over this question"),
    "signature_needed": (403, "A confirm of this amount must be signed"),
    "fresh_binding": (403, "This binding is too young to confirm"),
    "frozen": (403, "Confirms from this binding are frozen"),
    "last_factor": (403, "This is the last one"),
    "not_enough": (403, "More approvals are needed"),
    "used": (409, "This was used before"),
    "closed": (410, "The challenge is closed"),
    "too_large": (413, "The body is too large"),
    "media_type": (415, "Another media type is needed"),
    "refused": (422, "The body is refused"),
    "away": (503, "It can't be made durable now"),
    "internal": (500, "Something is wrong here"),
}


class Problem(Exception):
    """An answer that is not the one asked for; ``extra`` are members of the problem object."""

    def __init__(self, kind: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.extra = extra

    @property
    def status(self) -> int:
        return TITLES[self.kind][0]

    def body(self) -> dict[str, Any]:
        """The problem object."""
        status, title = TITLES[self.kind]
        return {
            "type": _BASE + self.kind,
            "title": title,
            "status": status,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> web.Response:
        headers = {}
        if self.kind == "unauthorized":
            headers["WWW-Authenticate"] = 'Bearer realm="ringback"'
        elif self.kind == "away":
            headers["Retry-After"] = "1"
        return web.Response(
            status=self.status,
            body=orjson.dumps(self.body()),
            content_type="application/problem+json",
            headers=headers,
        )


def refused(refusal: Refused) -> Problem:
    """The 422 that names each field, what was needed and what was got."""
    fields = [{"field": p.field, "needed": p.needed, "got": p.got} for p in refusal.problems]
    named = ", ".join(dict.fromkeys(p.field for p in refusal.problems))
    return Problem("refused", f"Not taken, and nothing was written: {named}", errors=fields)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except Refused as refusal:
        return refused(refusal).response()
    except StoreAway as away:
        log.warning("store away: %s", away)
        return Problem("away", "Redis can't be reached; try again.").response()
    except web.HTTPException as other:
        return _of_http(other)
    except Exception as fault:
        log.exception("%s %s", request.method, request.match_info.route.name)
        return Problem(
            "internal", f"A fault of kind {type(fault).__name__}; it is logged."
        ).response()


def _of_http(other: web.HTTPException) -> web.StreamResponse:
    if isinstance(other, web.HTTPMethodNotAllowed):
        allowed = sorted(other.allowed_methods)
        problem = Problem("method", f"Needed one of {', '.join(allowed)}", allowed=allowed)
        response = problem.response()
        response.headers["Allow"] = ", ".join(allowed)
        return response
    if other.status == 404:
        return Problem("not_found", "No such address; see /openapi.json.").response()
    if other.status == 413:
        return Problem("too_large", "Needed a smaller body").response()
    if other.status < 400:
        raise other
    return Problem("malformed", other.reason).response()
