"""What may a page do? Load from here alone, be framed by nobody, and tell nobody where it was."""

import re
from collections.abc import Mapping
from importlib import resources
from urllib.parse import urlsplit

from aiohttp import web

from gateway.problems import Problem

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000; includeSubDomains"
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_HEAD = "head.html"
_WANTS_HEAD = re.compile(rb"\A<!-- head: ([a-z.js ]+) -->\n")
_FILES = (
    "challenge.html",
    "challenge.js",
    "challenge.css",
    "live.html",
    "live.js",
    "live.css",
    "detail.js",
    "charts.js",
    "bind.html",
    "bind.js",
    "unbind.html",
    "unbind.js",
    "enrol.html",
    "enrol.js",
    "keys.js",
    "signing.js",
    "you.html",
    "you.js",
    "icon.svg",
    "push.js",
    "sw.js",
)


def _with_head(file: bytes, head: bytes) -> bytes:
    """A customer's page names its scripts in its first line; all else of its head is one file."""
    wants = _WANTS_HEAD.match(file)
    if wants is None:
        return file
    line = b'<script src="/static/%s" defer></script>'
    scripts = b"\n".join(line % name for name in wants[1].split())
    return head.replace(b"<!-- scripts -->", scripts) + file[wants.end() :]


class Pages:
    """The files of the pages, read once, and the rules for whoever asks for them."""

    def __init__(self, public_url: str | None) -> None:
        folder = resources.files("gateway").joinpath("static")
        read = {name: folder.joinpath(name).read_bytes() for name in (_HEAD, *_FILES)}
        self._files = {name: _with_head(read[name], read[_HEAD]) for name in _FILES}
        self._public = urlsplit(public_url) if public_url else None
        self.https = self._public is not None and self._public.scheme == "https"

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/static/{name}", self.get_static)]

    def headers(self) -> dict[str, str]:
        """The headers of every page and of everything that a page reads."""
        return {**HEADERS, "Strict-Transport-Security": HSTS} if self.https else dict(HEADERS)

    async def get_static(self, request: web.Request) -> web.Response:
        return self.page(request.match_info["name"])

    def page(self, name: str) -> web.Response:
        """One of the files; 404 for any other name."""
        body = self._files.get(name)
        if body is None:
            raise Problem("not_found", "No such file")
        kind = _TYPES[name.rpartition(".")[2]]
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=self.headers())

    def own_origin(self, request: web.Request) -> str:
        """Where this page lives, by the request's own words; raises for a foreign host's name.

        A page of another host that was made to resolve to this one (DNS rebinding) still says its
        own name: only this host's public name and loopback names are served.
        """
        host = request.host
        name = urlsplit(f"//{host}").hostname or ""
        if self._public is not None and host == self._public.netloc:
            return f"{self._public.scheme}://{host}"
        if name in ("localhost", "127.0.0.1", "::1"):
            return f"{request.scheme}://{host}"
        raise Problem("forbidden", "This host does not serve pages under that name")

    def need_own(self, request: web.Request) -> None:
        """Refuse a POST that does not come from a page of this host."""
        if request.headers.get("Origin") != self.own_origin(request):
            raise Problem("forbidden", "Needed a request from this host's own page (Origin)")
        if request.headers.get("Sec-Fetch-Site") != "same-origin":
            raise Problem(
                "forbidden", "Needed a request from this host's own page (Sec-Fetch-Site)"
            )
