"""The floor for latency: HTTP in, one durable write, another process, back. Nothing is decided.

    python -m benchmarks.floors.echo REDIS_URL PORT   POST / -> floor:in, floor:out -> answer
    python -m benchmarks.floors.back REDIS_URL        floor:in -> floor:out

Tuned like the product: uvloop, one connection that carries the writes of one loop turn together.
"""

import asyncio
import sys
from typing import Any

import orjson
import uvloop
from aiohttp import web
from redis.asyncio import Redis


async def serve(url: str, port: int) -> None:
    """Answer each request once its body has come back."""
    writer, reader = (Redis.from_url(url, protocol=2, max_connections=2) for _ in range(2))
    waiting: dict[bytes, asyncio.Future[bytes]] = {}
    turn: list[tuple[str, bytes]] = []
    sending: set[asyncio.Task[None]] = set()

    async def send() -> None:
        while turn:
            pipe = writer.pipeline(transaction=False)
            for name, body in turn:
                pipe.xadd("floor:in", {"id": name, "e": body}, maxlen=100_000)
            turn.clear()
            await pipe.execute()

    async def post(request: web.Request) -> web.Response:
        body = await request.read()
        name = orjson.loads(body)["id"]
        news = waiting[name.encode()] = asyncio.get_running_loop().create_future()
        turn.append((name, body))
        if not sending:
            sending.add(task := asyncio.create_task(send()))
            task.add_done_callback(sending.discard)
        return web.Response(body=await news, content_type="application/json")

    (app := web.Application()).add_routes([web.post("/", post)])
    await (runner := web.AppRunner(app, access_log=None)).setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    last = b"0"
    while True:
        found: Any = await reader.xread({"floor:out": last}, block=500, count=200)
        for _, entries in found:
            last = entries[-1][0]
            for _, fields in entries:
                waiting.pop(fields[b"id"]).set_result(fields[b"e"])


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
