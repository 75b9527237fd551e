"""Does a reply belong to its command, whatever happens to the connection?"""

import asyncio
import os
import signal

import pytest
from redis.exceptions import NoScriptError, RedisError, ResponseError

from gateway.turns import connect
from gateway.wire import Wire
from tests.servers import RedisServer


def test_replies_come_in_order_and_an_error_stands_in_its_place(redis_url: str) -> None:
    async def main() -> None:
        client = connect(redis_url)
        wire = Wire(client, 3.0)
        large = b"x" * 700_000
        told = await wire.exchange(
            [
                ("SET", "a", 1),
                ("INCR", "a"),
                ("EVALSHA", "0" * 40, 0),
                ("LPUSH", "a", "no list"),
                ("SET", "large", large),
                ("GET", "large"),
                ("GET", "none"),
                ("XADD", "s", "1-0", "field", "välue"),
                ("XREAD", "STREAMS", "s", "0"),
            ]
        )
        assert told[:2] == [b"OK", 2]
        assert isinstance(told[2], NoScriptError)
        assert isinstance(told[3], ResponseError)
        assert told[4:8] == [b"OK", large, None, b"1-0"]
        assert told[8] == [[b"s", [[b"1-0", [b"field", "välue".encode()]]]]]
        await wire.close()
        await client.aclose()

    asyncio.run(main())


def test_a_reply_that_came_too_late_is_nobody_elses(redis_server: RedisServer) -> None:
    async def main() -> None:
        client = connect(redis_server.url)
        wire = Wire(client, 0.3)
        assert await wire.exchange([("ECHO", "first")]) == [b"first"]
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(RedisError, match=r"within 0\.3 s"):
                await wire.exchange([("ECHO", "late")])
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)
        patient = Wire(client, 10.0)
        for number in range(20):
            told = await patient.exchange([("ECHO", number)])
            assert told == [str(number).encode()]
        assert await wire.exchange([("ECHO", "next")]) == [b"next"]
        for one in (wire, patient):
            await one.close()
        await client.aclose()

    asyncio.run(main())


def test_a_connection_that_was_lost_is_opened_again(redis_server: RedisServer) -> None:
    async def main() -> None:
        client = connect(redis_server.url)
        trying, once = Wire(client, 10.0, retries=1), Wire(client, 10.0)
        for wire in (trying, once):
            assert await wire.exchange([("PING",)]) == [b"PONG"]
        redis_server.kill()
        redis_server.start()
        assert await trying.exchange([("PING",)]) == [b"PONG"], "tried again by itself"
        with pytest.raises((RedisError, OSError)):
            await once.exchange([("PING",)])
        assert await once.exchange([("PING",)]) == [b"PONG"]
        redis_server.kill()
        with pytest.raises((RedisError, OSError)):
            await trying.exchange([("PING",)])
        for wire in (trying, once):
            await wire.close()
        await client.aclose()

    asyncio.run(main())
