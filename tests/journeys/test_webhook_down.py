"""The bank's receiver is down while a question is answered, and is told of it all the same."""

import asyncio
import base64
import hashlib
import hmac
import os
from typing import Any, Self

from aiohttp import web

from tests import servers
from tests.journeys.conftest import StartHouse
from tests.journeys.house import House, bank_of, code, question, tell

# A minute in a campaign, less in CI: what is shown is that it is told after being away.
_DOWN_SECONDS = float(os.environ.get("RINGBACK_WEBHOOK_DOWN", "12"))


class Receiver:
    """What a bank would run: takes outcomes, keeps them with their headers."""

    def __init__(self, port: int) -> None:
        self.port, self.told = port, list[tuple[dict[str, str], bytes]]()
        self.came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """Keep one call."""
        self.told.append((dict(request.headers), await request.read()))
        self.came.set()
        return web.Response(status=204)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/outcomes", self.take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def _verified(secret: bytes, headers: dict[str, str], body: bytes) -> bool:
    """Standard Webhooks: HMAC-SHA256 over ``id.timestamp.body``."""
    lower = {name.lower(): value for name, value in headers.items()}
    signed = f"{lower['webhook-id']}.{lower['webhook-timestamp']}.".encode() + body
    right = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return f"v1,{right}" in lower["webhook-signature"].split()


def test_an_outcome_reaches_a_receiver_that_was_down_once_and_signed(
    start_house: StartHouse, tmp_path: Any
) -> None:
    port = servers.free_port()
    data = tmp_path / "house"
    data.mkdir()
    (data / "ringback.yaml").write_text(
        f'webhook: {{url: "http://127.0.0.1:{port}/outcomes", allow: ["127.0.0.1:{port}"]}}\n'
    )
    house: House = start_house()

    async def story() -> None:
        async with bank_of(house) as bank, house.chat("ines") as ines:
            await bank.introduce("ines")
            decision = await bank.asked("ines", amount="12000.00")
            asked = await question(ines, decision)
            ines.say(asked.sender, f"YES {code(asked)}")
            outcome = await bank.outcome(decision["event"])
            assert outcome["state"] == "confirmed"
            await asyncio.sleep(_DOWN_SECONDS)
            async with Receiver(port) as receiver:
                await asyncio.wait_for(receiver.came.wait(), 90)
                await asyncio.sleep(2)
                mine = [call for call in receiver.told if decision["event"].encode() in call[1]]
                assert len(mine) == 1
                assert _verified(house.opened.secrets.webhook_key, *mine[0])
                assert b'"confirmed"' in mine[0][1]

    tell(story(), 240)
