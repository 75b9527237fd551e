"""The bank's own gateway for short messages, as a reference: what docs/channels.md asks of it.

    python -m tests.notifiers.sms_receiver KEY_HEX PORT

It checks each signature, sends each `webhook-id` once, refuses numbers that it doesn't know, and
passes replies on, signed with a key of its own.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from risk.calls import is_signed, signature


@dataclass
class Receiver:
    """What was sent to telephones. `unknown` numbers are refused; `busy` answers that many 503."""

    key: bytes
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    calls: int = 0
    busy: int = 0
    unknown: set[str] = field(default_factory=set)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1."""
        app = web.Application()
        app.router.add_post("/messages", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port or self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/messages"

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.calls += 1
        name = request.headers.get("webhook-id", "")
        stamp = request.headers.get("webhook-timestamp", "")
        signatures = request.headers.get("webhook-signature", "")
        if not is_signed(self.key, name, stamp, signatures, body, int(time.time())):
            return self._refuse(401)
        if self.busy > 0:
            self.busy -= 1
            return self._refuse(503)
        told = orjson.loads(body)
        if told["to"] in self.unknown:
            return self._refuse(404)
        self.sent.setdefault(name, told)
        return web.Response(status=204)

    def _refuse(self, status: int) -> web.Response:
        self.refused.append(status)
        return web.Response(status=status)


def sign(key: bytes, name: str, body: bytes) -> dict[str, str]:
    """The headers of a signed call."""
    now = int(time.time())
    return {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(key, name, now, body),
    }


async def pass_on(gateway: str, key: bytes, name: str, said: dict[str, Any]) -> tuple[int, Any]:
    """Pass a reply on, as the bank's gateway does; gives status and what is to be sent back."""
    body = orjson.dumps(said)
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{gateway}/v1/replies", data=body, headers=sign(key, name, body)) as answer,
    ):
        return answer.status, orjson.loads(await answer.read())


async def main() -> None:
    receiver = Receiver(bytes.fromhex(sys.argv[1]))
    await receiver.start(int(sys.argv[2]))
    while True:
        await asyncio.sleep(1.0)
        for name in list(receiver.sent):
            sys.stdout.write(orjson.dumps({name: receiver.sent.pop(name)}).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
