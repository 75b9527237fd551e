"""A customer on the bank's page in Chromium, with a passkey, and the bank behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from risk import names, signed
from risk.privacy import open_sealed
from risk.push import public_text, vapid_key
from tests.gateway.bank import running, wall_clock
from tests.gateway.chromium import chromium
from tests.gateway.test_pages_in_a_browser import _text
from tests.gateway.test_signing_in_a_browser import ANNA, Signer
from tests.patience import PATIENCE

HOME = "/v1/customers/C-1"
DAY_US = 24 * 3_600_000_000
PUSH_KEY = public_text(vapid_key(b"v" * 32))


class Customer(Signer):
    """A customer on the page, with a passkey; the bank's clock is theirs to move."""

    ahead_us = 0

    async def introduced(self) -> None:
        """Reached by chat, and with a passkey that was there first but one."""
        first = {
            "language": "en",
            "zone": "Asia/Shanghai",
            "channels": [{"kind": "xmpp", "address": "anna@bank.example", "verified": True}],
        }
        status, _, _ = await self.bank.call("PUT", HOME, first, role="bank")
        assert status == 200
        await self.enrol()

    async def press(self, name: str) -> None:
        await self.page.run(f"document.getElementById('{name}').click()")

    async def titled(self, title: str) -> None:
        await self.page.until(f"{_text('title')} === {orjson.dumps(title).decode()}")

    async def hinted(self, words: str) -> None:
        await self.page.until(f"{_text('hint')}.includes({orjson.dumps(words).decode()})")

    async def open(self, path: str = "/bind") -> None:
        await self.page.open("about:blank")
        await self.page.open(self.origin + path)
        await self.page.until("document.readyState === 'complete' && document.title")

    async def bound(self) -> list[dict[str, Any]]:
        status, told, _ = await self.bank.call("GET", HOME + "/bindings", role="bank")
        assert status == 200
        found: list[dict[str, Any]] = told["bindings"]
        return found

    async def kept(self) -> list[dict[str, Any]]:
        channels = orjson.loads(await self.bank.redis.get(names.customer(ANNA)))["channels"]
        return [one | {"address": opened(one["address"])} for one in channels]

    async def signed_in(self, record: dict[str, Any]) -> dict[str, Any]:
        """What a signature on record says, checked with nothing but the records."""
        enrolled = (await self.said("credential.enrolled"))[0]["body"]
        sealed = record["personal"]["statement"]["sealed"]
        return signed.check_assertion(
            record["body"],
            open_sealed(b"t" * 32, sealed, b"statement"),
            signed.unb64(enrolled["public_key"]),
            origin=self.origin,
            rp_id="localhost",
        )

    async def said(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in await self.bank.records() if one["kind"] == kind]


def opened(sealed: str) -> str:
    """An address as the bank has sealed it."""
    return open_sealed(b"e" * 32, sealed, b"address").decode()


@contextlib.asynccontextmanager
async def customer(redis_url: str, folder: Path, **settings: Any) -> AsyncIterator[Customer]:
    here: list[Customer] = []

    def clock() -> int:
        return wall_clock() + (here[0].ahead_us if here else 0)

    settings.setdefault("push_key", PUSH_KEY)
    async with (
        running(redis_url, folder, ports={"clock": clock}, **settings) as bank,
        chromium(folder) as page,
    ):
        one = Customer(bank, page)
        here.append(one)
        await page.open(one.origin + "/c/none")
        await one.authenticator()
        await one.introduced()
        yield one


def play(story: Any) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(story(), 5 * PATIENCE)

    asyncio.run(bounded())
