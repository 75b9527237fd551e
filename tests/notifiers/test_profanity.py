"""A chat client that people use shows a question, answers it, and shows how it closed."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson

from notifiers.prosody import Prosody
from risk import names
from tests.notifiers import stage
from tests.notifiers.picture import draw
from tests.patience import PATIENCE
from tests.servers import missing

PICTURES = os.environ.get("RINGBACK_PICTURES")  # a folder, to look at what it looks like
QUIET = "[ui]\nsplash=false\n[notifications]\nmessage=false\n"


class Terminal:
    """Profanity in a terminal of its own (tmux), with a home of its own."""

    def __init__(self, directory: Path, rows: int) -> None:
        self._socket = str(directory / "tmux.sock")
        home = directory / "home"
        (home / ".config" / "profanity").mkdir(parents=True)
        (home / ".config" / "profanity" / "profrc").write_text(QUIET)
        line = f"env HOME={home} XDG_CONFIG_HOME={home}/.config XDG_DATA_HOME={home}/.local/share"
        line += " LANG=C.UTF-8 TERM=screen-256color profanity"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", str(rows), line)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words], capture_output=True, text=True, check=False
        )
        return done.stdout

    def screen(self) -> str:
        """What stands on the screen, as one line: how it is broken depends on the width."""
        return " ".join(self._tmux("capture-pane", "-p").split())

    def coloured(self) -> str:
        """The screen with its colours, as escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    async def log_in(self, user: str, port: int) -> None:
        """Connect as one of the chat server's people, and again within a second if need be."""
        await self.until(lambda screen: "Type /help" in screen)
        await self.type("/reconnect 1")
        await self.type(f"/connect {user}@{stage.DOMAIN} server 127.0.0.1 port {port} tls disable")
        await self.until(lambda screen: "Enter password" in screen)
        await self.type(f"pw-{user}")
        await self.until(lambda screen: "[online]" in screen)

    async def see_bank(self, words: str, seconds: float = PATIENCE) -> str:
        """Look at the bank's chat until it shows these words; gives the screen."""
        for _ in range(int(seconds / 0.5)):
            await self.type("/win 2")
            with contextlib.suppress(TimeoutError):
                return await self.until(lambda screen: words in screen, 0.5)
        return await self.until(lambda screen: words in screen, 0.5)

    async def type(self, text: str) -> None:
        await asyncio.to_thread(self._tmux, "send-keys", "-l", text)
        await asyncio.to_thread(self._tmux, "send-keys", "Enter")

    async def until(self, shows: Callable[[str], bool], seconds: float = PATIENCE) -> str:
        for _ in range(int(seconds / 0.1)):
            screen = await asyncio.to_thread(self.screen)
            if shows(screen):
                return screen
            await asyncio.sleep(0.1)
        raise TimeoutError(f"the screen never showed it:\n{await asyncio.to_thread(self.screen)}")

    async def picture(self, name: str) -> None:
        if PICTURES:
            await asyncio.to_thread(draw, self.coloured(), Path(PICTURES) / name)

    def close(self) -> None:
        self._tmux("kill-server")


def play(directory: Path, story: Callable[[Terminal], Awaitable[None]], rows: int = 24) -> None:
    for program in ("profanity", "tmux"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed: as root, apt-get install {program}")
    terminal = Terminal(directory, rows)

    async def bounded() -> None:
        await asyncio.wait_for(story(terminal), 5 * PATIENCE)

    try:
        asyncio.run(bounded())
    finally:
        terminal.close()


def test_profanity_shows_a_question_answers_it_and_sees_it_closed(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story(terminal: Terminal) -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        await terminal.log_in("ann", prosody.settings.client_port)
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            customer = await flow.bind("ann")
            await flow.ask(customer)
            screen = await terminal.see_bank("Reply YES")
            assert "“ACME Trading”" in screen
            assert "9,800.00 CNY" in screen
            assert screen.count("Reply YES") == 1, "one line for one question"
            await terminal.picture("profanity.png")
            found = re.search(r"YES (\d{6})", screen)
            assert found is not None
            await terminal.type(f"yse {found.group(1)}")
            (answer,) = await flow.until(flow.answers)
            assert answer["decision"] == "confirm"
            ask = {"id": answer["challenge"], "event": answer["event"], "customer": customer}
            await flow.close(ask, "confirmed")
            # The closing stands in the question's place.
            await terminal.until(lambda s: "you answered: CONFIRM" in s and "Reply YES" not in s)

            # She takes it back: the flow weighs it, and says so in the same chat.
            await terminal.type("no, that was not me")

            async def denied() -> bool:
                return len(await flow.answers()) == 2

            await flow.until(denied)
            assert (await flow.answers())[1]["decision"] == "deny"
            notice = {"op": "notice", "id": ask["id"], "say": "contradicted"}
            await flow.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(notice)})
            screen = await terminal.until(lambda s: "you had confirmed, and now deny" in s)
            assert "you answered: CONFIRM" in screen, "what she said before still stands there"
            await terminal.picture("profanity-contradicted.png")

            async def noted() -> list[str]:
                records = await flow.records("outreach.replied")
                return [one["kind"] for one in records if one["body"].get("said") == "contradicted"]

            assert len(await flow.until(noted)) == 1

    play(tmp_path, story)


def test_profanity_answers_by_commands_and_says_why(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story(terminal: Terminal) -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        await terminal.log_in("ann", prosody.settings.client_port)
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            customer = await flow.bind("ann")
            for number, node in enumerate(("deny", "not_me", "cancel"), start=1):
                ask = await flow.ask(customer, amount=f"{number}2.50")
                await terminal.see_bank(f"{number}2.50 CNY")
                await terminal.type(f"/cmd exec {node}#{ask['id']}")

                async def answered(enough: int = number) -> bool:
                    return len(await flow.answers()) == enough

                await flow.until(answered)
                await flow.close(ask, "denied", "decline")
            answers = await flow.answers()
            assert [one["layer"] for one in answers] == ["C"] * 3
            assert [one["decision"] for one in answers] == ["deny"] * 3
            assert [one["reason"] for one in answers] == [None, "not_me", "cancel"]

    play(tmp_path, story)


def test_after_an_outage_profanity_shows_each_question_once(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    """The chat server is killed with questions on the screen; a new notifier takes over, too."""

    async def story(terminal: Terminal) -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        await terminal.log_in("ann", prosody.settings.client_port)
        async with stage.Flow(redis_url) as flow:
            customer = await flow.bind("ann")
            async with stage.notifier(settings):
                for number in range(1, 4):
                    await flow.ask(customer, amount=f"{number}00.00")
                screen = await terminal.see_bank("300.00 CNY")

                async def taken(enough: int) -> bool:
                    sent = await flow.records("outreach.sent")
                    return len(sent) >= enough

                await flow.until(lambda: taken(3))  # each has its pong: the server took it
                prosody.kill()
                await terminal.until(lambda screen: "[online]" not in screen)
                prosody.start()
                await terminal.until(lambda screen: "[online]" in screen)
                await flow.ask(customer, amount="400.00")
                await terminal.see_bank("400.00 CNY")
            async with stage.notifier(settings):
                await flow.ask(customer, amount="500.00")
                screen = await terminal.see_bank("500.00 CNY")
                await flow.until(lambda: taken(5))
                for number in range(1, 6):
                    assert screen.count(f"{number}00.00 CNY") == 1, screen
                assert screen.count("Reply YES") == 5

    play(tmp_path, story, rows=90)


def test_profanity_hears_once_that_the_bank_is_there(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story(terminal: Terminal) -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            await flow.until(lambda: ready(flow))
            await terminal.log_in("ann", prosody.settings.client_port)
            screen = await terminal.until(lambda screen: "(bank) is online" in screen)
            await flow.ask(await flow.bind("ann"))
            await terminal.see_bank("Reply YES")
            await terminal.type("/win 1")
            screen = await terminal.until(lambda screen: "logged in successfully" in screen)
            assert screen.count("(bank) is online") == 1, screen

    async def ready(flow: stage.Flow) -> bool:
        raw = await flow.redis.hget("rb:channels", "xmpp")
        return raw is not None and bool(orjson.loads(raw)["ready"])

    play(tmp_path, story)
