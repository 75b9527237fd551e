"""How outcomes are told to a receiver that is down, slow to trust, or not to be called at all."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from gateway.ports import Webhook
from gateway.webhook import DUE, POSITION, AddressRefused, CheckedResolver
from risk import names
from risk.calls import check_url, may_be_called
from tests.gateway.asking import ask, end
from tests.gateway.bank import running
from tests.patience import PATIENCE, until
from tests.servers import free_port

SECRET = b"s" * 32


class Receiver:
    """The bank's end: keeps what was told, and answers as a test says."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.enough = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        self.told.append((dict(request.headers), await request.read()))
        if status == 200:
            self.enough.set()
        where = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, headers=where)


@contextlib.asynccontextmanager
async def receiving(port: int, receiver: Receiver) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    app.router.add_route("*", "/elsewhere", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _hook(port: int) -> Webhook:
    allow = frozenset({f"127.0.0.1:{port}"})
    return Webhook(f"http://127.0.0.1:{port}/hook", SECRET, allow)


def test_an_outcome_is_told_once_signed_and_again_until_it_is_taken(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        port = free_port()
        receiver = Receiver()
        receiver.statuses = [500, 302]
        async with running(redis_url, tmp_path, webhook=_hook(port)) as bank:
            await until(lambda: bank.redis.get(POSITION), "from where on it tells")
            await end(bank, await ask(bank), "denied", "decline")
            await asyncio.sleep(0.5)  # nobody is there yet
            async with receiving(port, receiver):
                await asyncio.wait_for(receiver.enough.wait(), PATIENCE)
            assert len(receiver.told) == 3
            ids = {headers["webhook-id"] for headers, _ in receiver.told}
            assert len(ids) == 1
            headers, body = receiver.told[-1]
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            right = base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
            assert headers["webhook-signature"] == f"v1,{right}"
            said: dict[str, Any] = orjson.loads(body)
            assert said["type"] == "outcome"
            assert said["data"]["outcome"]["state"] == "denied"

    asyncio.run(story())


def test_a_restart_forgets_no_outcome_and_tells_none_twice(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        receiver = Receiver()
        hook = _hook(port)
        async with running(redis_url, tmp_path, webhook=hook) as bank:
            await until(lambda: bank.redis.get(POSITION), "from where on it tells")
            await end(bank, await ask(bank), "denied", "decline")
            await asyncio.sleep(0.6)
        async with receiving(port, receiver):
            async with running(redis_url, tmp_path, webhook=hook) as bank:
                await asyncio.wait_for(receiver.enough.wait(), PATIENCE)

                async def done() -> bool:
                    return not await bank.redis.zcard(DUE)

                await until(done, "nothing left to tell")
                await asyncio.sleep(0.5)
                assert not await bank.redis.xlen(names.DEAD)
            assert len(receiver.told) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_no_inner_address_is_called(address: str) -> None:
    assert not may_be_called(address)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ValueError, match=r"webhook\.url"):
        check_url(f"https://{host}/hook", frozenset())


def test_a_name_that_leads_inside_is_refused_unless_allowed_by_name_and_port() -> None:
    async def story() -> None:
        with pytest.raises(AddressRefused):
            await CheckedResolver(frozenset()).resolve("localhost", 443)
        allowed = CheckedResolver(frozenset({"localhost:8443"}))
        assert await allowed.resolve("localhost", 8443)
        with pytest.raises(AddressRefused):
            await allowed.resolve("localhost", 8444)

    asyncio.run(story())
    assert may_be_called("93.184.216.34")
    check_url("https://bank.example/hook", frozenset())
    for url in ("http://bank.example/hook", "https://a:b@bank.example/", "file:///etc/passwd"):
        with pytest.raises(ValueError, match=r"webhook\.url"):
            check_url(url, frozenset())
