"""Who waits for what? Decisions and outcomes, as the flow writes them, to those who wait.

One connection of its own follows the gateway's reply stream and the streams that everyone reads;
a reader that lost Redis goes on where it stood.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.turns import TIMEOUT_SECONDS
from gateway.wire import Wire
from risk import names

log = logging.getLogger("ringback.gateway")
BLOCK_MS = 500
COUNT = 200
KEEP_SECONDS = 3600
_READ = ("XREAD", "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS")


class News(NamedTuple):
    """One entry of a followed stream: where it stood, its JSON, and the bytes of that."""

    stream: str
    entry: str
    value: dict[str, Any]
    raw: bytes


class Replies:
    """Follows the streams, and wakes those who wait for an event or a challenge by its name."""

    def __init__(self, client: "Redis", gateway: str) -> None:
        self._wire = Wire(client, TIMEOUT_SECONDS)
        self._own = names.reply(gateway)
        self._waiters: defaultdict[str, list[asyncio.Future[News]]] = defaultdict(list)
        self._positions: dict[str, str] = {self._own: "0"}
        self.listeners: list[Callable[[News], None]] = []
        self.following = False

    @contextlib.contextmanager
    def waiting(self, event: str) -> Iterator["asyncio.Future[News]"]:
        """A future that gives the next news of an event; it is forgotten when the block ends."""
        news: asyncio.Future[News] = asyncio.get_running_loop().create_future()
        self._waiters[event].append(news)
        try:
            yield news
        finally:
            here = self._waiters.get(event)
            if here is not None:
                with contextlib.suppress(ValueError):
                    here.remove(news)
                if not here:
                    del self._waiters[event]

    def start_at(self, positions: dict[str, str]) -> None:
        """Set from where the common streams are followed."""
        self._positions.update(positions)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until told to stop; a lost Redis is tried again, from the same positions."""
        loop = asyncio.get_running_loop()
        kept_until = 0.0
        while not stop.is_set():
            try:
                if loop.time() > kept_until:
                    kept = await self._ask("EXPIRE", self._own, KEEP_SECONDS)
                    kept_until = loop.time() + (60 if kept else 2)  # not there before a reply
                found = await self._ask(*_READ, *self._positions, *self._positions.values())
            except (RedisError, OSError) as away:
                if self.following:
                    log.warning("following the decisions: %s: %s", type(away).__name__, away)
                self.following = False
                await asyncio.sleep(0.1)
                continue
            self.following = True
            for stream, entries in found or ():
                for entry, fields in entries:
                    self._tell(stream.decode(), entry.decode(), fields[1])
        with contextlib.suppress(RedisError, OSError):
            await self._ask("DEL", self._own)
        await self._wire.close()

    async def _ask(self, *command: Any) -> Any:
        [reply] = await self._wire.exchange([command])
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def _tell(self, stream: str, entry: str, raw: bytes) -> None:
        self._positions[stream] = entry
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            log.warning("%s %s: needed JSON", stream, entry)
            return
        news = News(stream, entry, value, raw)
        # A question says "event" too, but only its decision is what the event's callers wait for.
        name = value.get("id" if stream == names.CHALLENGES else "event")
        for waiter in self._waiters.pop(name, ()):
            if not waiter.done():
                waiter.set_result(news)
        if stream != self._own:
            for listener in self.listeners:
                listener(news)
