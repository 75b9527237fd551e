"""Dora answers in Converse.js, a chat client in a browser, over the chat server's websocket."""

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from risk import names
from tests.gateway.chromium import Page, chromium
from tests.journeys.house import BOT, House, bank_of, tell
from tests.servers import HOST, missing

CONVERSE = Path(__file__).parents[1] / "converse"
PICTURES = os.environ.get("RINGBACK_PICTURES")  # a folder, to look at what it looks like
_START_SECONDS = 40.0
_BANK = f'a.open-chat[data-jid="{BOT}"]'
_BOX = "textarea.chat-textarea"
_MESSAGES = "document.querySelector('converse-chat-content').innerText"


class Converse:
    """The client in one page, looked at and typed into as a person does."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def log_in(self, jid: str, password: str, websocket: str) -> None:
        """Start it, as it is shipped but for the server's place and who logs in."""
        settings = {
            "assets_path": "/dist/",
            "auto_login": True,
            "discover_connection_methods": False,  # the server's place is given
            "i18n": "en",
            "jid": jid,
            "password": password,
            "view_mode": "fullscreen",
            "websocket_url": websocket,
        }
        await self._page.until("window.converse", _START_SECONDS)
        await self._page.run(f"void converse.initialize({json.dumps(settings)})")
        await self._page.until(f"document.querySelector('{_BANK}')", _START_SECONDS)

    async def unread(self) -> None:
        """Wait until the list of contacts says that the bank has written."""
        await self._page.until(f"document.querySelector('{_BANK}.unread-msgs')")

    async def open_chat(self) -> None:
        """Click on the bank in the list of contacts."""
        await self._page.run(f"document.querySelector('{_BANK}').click()")

    async def see(self, words: str) -> str:
        """Wait until the messages on the screen hold these words; gives all that they say."""
        await self._page.until(f"{_MESSAGES}.includes({json.dumps(words)})")
        shown: str = await self._page.run(_MESSAGES)
        return shown

    async def say(self, text: str) -> None:
        """Type into the box under the messages, and send it by Enter."""
        await self._page.until(f"document.querySelector('{_BOX}')")
        await self._page.run(f"document.querySelector('{_BOX}').focus()")
        await self._page.send("Input.insertText", text=text)
        await self._page.press("Enter")

    async def picture(self) -> bytes:
        """What it looks like once the letters are there and nothing moves any more."""
        await self._page.run("document.fonts.ready.then(() => true)")
        await asyncio.sleep(0.5)
        return await self._page.picture()


@contextlib.asynccontextmanager
async def client_pages() -> AsyncIterator[str]:
    """The page and the client's own files, on a loopback port; gives the address."""
    dist = CONVERSE / "node_modules" / "converse.js" / "dist"
    if not dist.is_dir():
        if shutil.which("npm") is None:
            missing("npm is not installed: as root, apt-get install npm, then make setup-dev")
        missing("Converse.js is not installed: make setup-dev")

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(CONVERSE / "index.html")

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/dist", dist)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        yield f"http://{HOST}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def test_converse_shows_a_question_answers_it_and_sees_it_closed(
    shared_house: House, tmp_path: Path
) -> None:
    async def story() -> None:
        async with client_pages() as address, chromium(tmp_path) as page:
            await asyncio.to_thread(shared_house.register, "dora")
            async with bank_of(shared_house) as bank:
                await bank.introduce("dora")
                await page.shape(1000, 560)
                await page.open(address)
                converse = Converse(page)
                await converse.log_in(
                    "dora@localhost", "pw-dora", shared_house.run["xmpp"]["websocket"]
                )

                # The bank asks: its contact is marked, and its chat shows the question, once.
                payee = {"account": "ACME-20049382", "name": "ACME Trading", "country": "CN"}
                decision = await bank.asked("dora", payee=payee)
                await converse.unread()
                await converse.open_chat()
                shown = await converse.see("Reply YES")
                assert shown.count("Reply YES") == 1, "one message for one question"
                assert "9,800.00 CNY" in shown
                assert "“ACME Trading”" in shown
                if PICTURES:
                    _keep(Path(PICTURES) / "converse.png", await converse.picture())

                # She types what it says, and the bank is told.
                found = re.search(r"YES (\d{6})", shown)
                assert found is not None
                await converse.say(f"YES {found.group(1)}")
                outcome = await bank.outcome(decision["event"])
                assert (outcome["state"], outcome["decision"]) == ("confirmed", "approve")
                answers = await bank.stream(names.ANSWERS, "answer")
                (answer,) = [one for one in answers if one["event"] == decision["event"]]
                assert (answer["decision"], answer["layer"]) == ("confirm", "E")

                # The closing stands in the question's place; her own words stay.
                shown = await converse.see("you answered: CONFIRM at")
                assert "9,800.00 CNY" in shown
                assert "Reply YES" not in shown
                assert shown.count(found.group(1)) == 1, "the code stands in her answer alone"
                if PICTURES:
                    _keep(Path(PICTURES) / "converse-closed.png", await converse.picture())

                # She takes it back: the payment is on its way to be stopped, and she is told.
                await converse.say("no, that was not me")
                shown = await converse.see("you had confirmed, and now deny")
                assert "you answered: CONFIRM at" in shown, "what she said before stands there"
                assert "answer.contradicted" in await bank.recorded(
                    decision["event"], "answer.contradicted"
                )
                if PICTURES:
                    _keep(Path(PICTURES) / "converse-contradicted.png", await converse.picture())

    tell(story())


def _keep(file: Path, picture: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture)
