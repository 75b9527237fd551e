"""How does a channel call out over HTTP? Checked, bounded, and repeated until it is too late.

::

    write --> attempt --2xx--> taken
                 |------ 429, 5xx, no answer --> back-off --past half its life--> failed
                 +------ will never be taken --> failed

The address behind a name is looked at for each call and is the one that is called; redirects are
not followed. A call under way when the process dies goes again with the same id: its receiver
tells a repetition by that.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from notifiers import ending
from notifiers.channel import Supplies
from notifiers.errors import NotReady
from notifiers.facts import Outgoing, parse_time
from risk.calls import may_be_called

log = logging.getLogger(__name__)

AT_ONCE = 64
TIMEOUT_SECONDS = 5.0
BACK_OFF = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
CLOSING_TRIED_FOR = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt led to; ``after`` is how long the other side wants to be left alone."""

    state: Literal["taken", "again", "failed"]
    condition: str = ""
    after: float = 0.0


TAKEN = Verdict("taken")
Attempt = Callable[[aiohttp.ClientSession], Awaitable[Verdict]]


def verdict_of(answer: aiohttp.ClientResponse) -> Verdict:
    """Read what every HTTP receiver says alike."""
    if answer.status in {200, 201, 202, 204}:
        return TAKEN
    if answer.status in {408, 425, 429} or answer.status >= 500:
        said = answer.headers.get("Retry-After", "")
        after = float(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0.0
        return Verdict("again", f"http_{answer.status}", after)
    return Verdict("failed", f"http_{answer.status}")


class PublicResolver(AbstractResolver):
    """Resolves a name once for a call, and lets through only what may be called."""

    def __init__(self, allow: frozenset[str]) -> None:
        self._allow = allow

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        allowed = f"{host}:{port}" in self._allow
        if not allowed and not all(may_be_called(str(address[0])) for *_, address in found):
            raise OSError(f"{host} leads to an address that is not public")
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Calls:
    """The calls of one channel, so many at once."""

    def __init__(self, kind: str, supplies: Supplies, allow: frozenset[str]) -> None:
        self._kind = kind
        self._supplies = supplies
        self._allow = allow
        self._http: aiohttp.ClientSession | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}

    @property
    def ready(self) -> bool:
        return self._http is not None and len(self._under_way) < AT_ONCE

    def begin(self, outgoing: Outgoing, attempt: Attempt) -> None:
        """Call until it is taken, or fails for good, or is too old; tells the listener which."""
        if self._http is None:
            raise NotReady(f"{self._kind}: it does not run")
        if outgoing.kind == "close":  # a question that is still being tried must not come after it
            asked = self._under_way.get(f"{outgoing.challenge}/{self._kind}/ask")
            if asked is not None:
                asked.cancel()
        task = asyncio.create_task(self._call(self._http, outgoing, attempt))
        self._under_way[outgoing.key] = task
        task.add_done_callback(lambda _: self._ended(outgoing.key, task))

    async def run(self) -> None:
        """Hold the connections until cancelled."""
        # ssl, proxies and cookies are the library's own defaults; the environment is not asked.
        connector = aiohttp.TCPConnector(
            resolver=PublicResolver(self._allow), use_dns_cache=False, limit=AT_ONCE
        )
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as http:
            await self._supplies.listener.opened(self._kind)
            self._http = http
            try:
                await asyncio.Event().wait()
            finally:
                self._http = None
                await ending.end(self._under_way.values())

    async def _call(
        self, http: aiohttp.ClientSession, outgoing: Outgoing, attempt: Attempt
    ) -> None:
        now, listener = self._supplies.clock, self._supplies.listener
        closing = now() + CLOSING_TRIED_FOR
        until = parse_time(outgoing.stale) if outgoing.kind == "ask" else closing
        tried = 0
        while self._supplies.may_write():
            verdict = await self._attempt(http, outgoing, attempt)
            if verdict.state == "taken":
                listener.taken([outgoing.key])
                return
            pause = BACK_OFF[min(tried, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)
            pause, tried = max(pause, verdict.after), tried + 1
            if verdict.state == "failed" or now() + timedelta(seconds=pause) >= until:
                listener.failed(outgoing.key, verdict.condition)
                return
            await asyncio.sleep(pause)

    async def _attempt(
        self, http: aiohttp.ClientSession, outgoing: Outgoing, attempt: Attempt
    ) -> Verdict:
        try:
            return await attempt(http)
        except (aiohttp.ClientError, OSError, TimeoutError) as away:
            log.info("%s: %s: %s", self._kind, outgoing.key, type(away).__name__)
            return Verdict("again", "no_answer")

    def _ended(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: %s: %r", self._kind, key, task.exception())
            self._supplies.listener.failed(key, "fault")
