"""How does the leader ask Redis at little cost? A connection of its own, packed and read in C.

The client of `redis` says where Redis is, connects and signs in; what goes over the connection then
passes it by. For what is asked for each question that is most of what asking costs.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

Entry = tuple[bytes, Mapping[bytes, bytes]]
_AT_ONCE = 256 * 1024  # bytes
_MORE = object()


class Wire:
    """One task's connection to Redis: it sends when the replies to what it sent are there."""

    def __init__(self, redis: "Redis", patience: float = 5.0) -> None:
        """`patience` is how many seconds replies may take."""
        self._redis = redis
        self._patience = patience
        self._connection: Any = None
        self._replies = _reader()

    async def ask(self, *command: Any) -> Any:
        """Give the reply to one command."""
        (reply,) = await self.asks([command])
        return reply

    async def asks(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Give the replies to several commands, sent at once; they are of bytes, as Redis has them.

        Raises `RedisError`, for an error reply too, or ``OSError``. After one nobody knows which
        commands were carried out, and the next ones go over a new connection.
        """
        replies: list[Any] = []
        timer: asyncio.TimerHandle | None = None
        try:
            connection = self._connection or await self._connect()
            reader, writer = connection._reader, connection._writer  # noqa: SLF001 - no other door
            if reader is None or writer is None:
                raise RedisConnectionError("the connection to Redis was closed")
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._patience, writer.transport.abort)
            writer.write(b"".join([hiredis.pack_command(tuple(one)) for one in commands]))
            while len(replies) < len(commands):
                read = await reader.read(_AT_ONCE)
                if not read:
                    late = timer.when() <= loop.time()
                    raise (RedisTimeoutError if late else RedisConnectionError)("no reply")
                self._replies.feed(read)
                while (reply := self._replies.gets()) is not _MORE:
                    replies.append(reply)
        finally:
            if timer is not None:
                timer.cancel()
            if len(replies) < len(commands):  # what still comes is nobody's
                await self.close()
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    async def read(self, stream: str, after: str, count: int, block: int) -> Sequence[Entry]:
        """Give the next entries of a stream, waiting for the first one so many milliseconds."""
        got = await self.ask("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", stream, after)
        return [entry(one) for one in got[0][1]] if got else []

    async def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _connect(self) -> Any:
        pool: Any = self._redis.connection_pool  # these methods have no types
        connection = pool.make_connection()
        await connection.connect()
        self._connection, self._replies = connection, _reader()
        return connection


def entry(raw: Sequence[Any]) -> Entry:
    """Read an entry of a stream: its id, and its fields by name."""
    number, fields = raw
    return number, dict(zip(fields[::2], fields[1::2], strict=True))


def _reader() -> hiredis.Reader:
    return hiredis.Reader(
        protocolError=RedisConnectionError, replyError=_error, notEnoughData=_MORE
    )


def _error(text: str) -> RedisError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
