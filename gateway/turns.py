"""What is written together? The commands of one turn of the event loop, as one pipeline.

One connection carries them all: while one pipeline is under way the next one gathers, so Redis
syncs its log once for many requests, and no pool runs out of connections.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from gateway.wire import Wire

TIMEOUT_SECONDS = 3.0
LARGEST_PIPELINE = 512


class StoreAway(Exception):
    """Redis can't be reached, or refuses to write: nothing was promised."""


def connect(url: str, *, retries: int = 1) -> "Redis":
    """A client with one connection, which is tried again once: a restarted Redis drops the old."""
    return Redis.from_url(
        url,
        protocol=2,  # without messages out of turn: a reply is its command's
        max_connections=4,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), retries, supported_errors=(RedisConnectionError,)),
    )


class Turns:
    """Sends commands and scripts; every script must give the same answer when sent twice."""

    def __init__(self, client: "Redis", scripts: Mapping[str, str]) -> None:
        self._client = client
        self._wire = Wire(client, TIMEOUT_SECONDS, retries=1)
        self._texts = dict(scripts)
        self._shas = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in scripts.items()
        }
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    def ask(self, *command: Any) -> "asyncio.Future[Any]":
        """Send one command with this turn's pipeline; the future gives its reply."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, reply))
        if self._sender is None:
            self._sender = loop.create_task(self._send())
        return reply

    def run(self, script: str, *values: Any) -> "asyncio.Future[Any]":
        """Run one of the scripts by its name."""
        return self.ask("EVALSHA", self._shas[script], 0, *values)

    async def load(self) -> None:
        """Make Redis know the scripts; raises `StoreAway` where it can't."""
        try:
            for text in self._texts.values():
                await self._client.script_load(text)
        except RedisError as away:
            raise StoreAway(str(away)) from away

    async def close(self) -> None:
        """Send what is still waiting, then hang up."""
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=TIMEOUT_SECONDS)
        await self._wire.close()
        await self._client.aclose()

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:LARGEST_PIPELINE]
                del self._waiting[:LARGEST_PIPELINE]
                await self._exchange(batch)
        finally:
            self._sender = None
            if self._waiting:  # only when cancelled
                for _, reply in self._waiting:
                    _settle(reply, StoreAway("the gateway is stopping"))
                self._waiting.clear()

    async def _exchange(
        self, batch: list[tuple[tuple[Any, ...], "asyncio.Future[Any]"]], *, again: bool = False
    ) -> None:
        try:
            results = await self._wire.exchange([command for command, _ in batch])
        except (RedisError, OSError) as away:
            for _, reply in batch:
                _settle(reply, StoreAway(f"{type(away).__name__}: {away}"))
            return
        unknown = []
        for pair, result in zip(batch, results, strict=True):
            if isinstance(result, NoScriptError) and not again:
                unknown.append(pair)
            elif isinstance(result, RedisError):
                _settle(pair[1], StoreAway(f"{type(result).__name__}: {result}"))
            else:
                shape = self._client.response_callbacks.get(pair[0][0])
                _settle(pair[1], result if shape is None else shape(result))
        if unknown:
            try:
                await self.load()
            except StoreAway as away:
                for _, reply in unknown:
                    _settle(reply, away)
                return
            await self._exchange(unknown, again=True)


def _settle(reply: "asyncio.Future[Any]", result: Any) -> None:
    if reply.done():  # its caller's time ran out
        return
    if isinstance(result, StoreAway):
        reply.set_exception(result)
    else:
        reply.set_result(result)
