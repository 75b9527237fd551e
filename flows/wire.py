"""How does the flow ask Redis at the least cost? Over a connection written and read by hiredis.

The client of `redis` takes about 60 us of the processor for a call, whatever is asked; this takes
a third of it. It is the twin, without a loop, of `gateway.wire`. What goes wrong is asked again of
the client, which knows how to connect, to load a script and to try again.
"""

import threading
from collections.abc import Sequence
from typing import Any

import hiredis
import redis
from redis.exceptions import BusyLoadingError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

#: After these a caller asks the client: either nothing was done, or nobody knows. (A Redis that
#: still loads is among the first.)
AGAIN = (RedisConnectionError, redis.TimeoutError, OSError, NoScriptError)

_CHUNK = 256 * 1024
_MORE = object()


class Wire:
    """One connection a thread, like those of the client; opened when it is first wanted."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._own = threading.local()

    def ask(self, *command: Any) -> Any:
        """Send one command and give its reply; raises what Redis refuses, and `AGAIN`."""
        return self.exchange([command])[0]

    def exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands at once and give their replies, as Redis gives them in RESP2, of bytes.

        Raises the first that Redis refuses, once all are read, and `AGAIN`.
        """
        packed = b"".join([hiredis.pack_command(tuple(command)) for command in commands])
        connection, replies = self._connected()
        found: list[Any] = []
        try:
            connection.sendall(packed)
            while len(found) < len(commands):
                data = connection.recv(_CHUNK)
                if not data:
                    raise RedisConnectionError("Redis hung up")
                replies.feed(data)
                while (reply := replies.gets()) is not _MORE:
                    found.append(reply)
        except BaseException:
            self.close()  # the replies that are still to come are nobody's
            raise
        for one in found:
            if isinstance(one, RedisError):
                raise one
        return found

    def close(self) -> None:
        """Hang up this thread's connection."""
        made = self._own.__dict__.pop("made", None)
        if made is not None:
            made.disconnect()

    def _connected(self) -> tuple[Any, hiredis.Reader]:
        own = self._own.__dict__
        if "made" not in own:
            pool: Any = self._client.connection_pool
            made = pool.connection_class(**{**pool.connection_kwargs, "protocol": 2})
            made.connect()
            own["made"] = made
            own["replies"] = hiredis.Reader(
                protocolError=RedisConnectionError, replyError=_error, notEnoughData=_MORE
            )
        return own["made"]._sock, own["replies"]  # noqa: SLF001  its only door to the bytes


def _error(text: str) -> RedisError:
    word, _, _ = text.partition(" ")
    return {"NOSCRIPT": NoScriptError, "LOADING": BusyLoadingError}.get(word, ResponseError)(text)
