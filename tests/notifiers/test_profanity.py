"""A chat client that people use shows a question, answers it, and shows how it closed."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from notifiers.prosody import Prosody
from tests.notifiers import stage

QUIET = "[ui]\nsplash=false\n[notifications]\nmessage=false\n"


class Terminal:
    """Profanity in a terminal of its own (tmux), with a home of its own."""

    def __init__(self, directory: Path) -> None:
        self._socket = str(directory / "tmux.sock")
        home = directory / "home"
        (home / ".config" / "profanity").mkdir(parents=True)
        (home / ".config" / "profanity" / "profrc").write_text(QUIET)
        line = f"env HOME={home} XDG_CONFIG_HOME={home}/.config XDG_DATA_HOME={home}/.local/share"
        line += " LANG=C.UTF-8 TERM=screen-256color profanity"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "48", line)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words], capture_output=True, text=True, check=False
        )
        return done.stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    async def type(self, text: str) -> None:
        await asyncio.to_thread(self._tmux, "send-keys", "-l", text)
        await asyncio.to_thread(self._tmux, "send-keys", "Enter")

    async def until(self, shows: Callable[[str], bool], seconds: float = 15.0) -> str:
        for _ in range(int(seconds / 0.1)):
            screen = await asyncio.to_thread(self.screen)
            if shows(screen):
                return screen
            await asyncio.sleep(0.1)
        raise TimeoutError(f"the screen never showed it:\n{await asyncio.to_thread(self.screen)}")

    def close(self) -> None:
        self._tmux("kill-server")


def test_profanity_shows_a_question_answers_it_and_sees_it_closed(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    for program in ("profanity", "tmux"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: as root, apt-get install {program}")

    async def story(terminal: Terminal) -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        await terminal.until(lambda screen: "Welcome to Profanity" in screen)
        port = prosody.settings.client_port
        await terminal.type(f"/connect ann@{stage.DOMAIN} server 127.0.0.1 port {port} tls disable")
        await asyncio.sleep(1.0)
        await terminal.type("pw-ann")
        await terminal.until(lambda screen: "[online]" in screen)
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            customer = await flow.bind("ann")
            await flow.ask(customer)
            await asyncio.sleep(1.0)
            await terminal.type("/win 2")
            screen = await terminal.until(lambda screen: "Reply YES" in screen)
            assert "“ACME Trading”" in screen
            assert "9,800.00 CNY" in screen
            assert screen.count("Reply YES") == 1, "one line for one question"
            found = re.search(r"YES (\d{6})", screen)
            assert found is not None
            await terminal.type(f"yse {found.group(1)}")
            (answer,) = await flow.until(flow.answers)
            assert answer["decision"] == "confirm"
            ask = {"id": answer["challenge"], "event": answer["event"], "customer": customer}
            await flow.close(ask, "confirmed")
            screen = await terminal.until(lambda screen: "you answered: CONFIRM" in screen)
            assert "Reply YES" not in screen, "the closing stands in the question's place"
            second = await flow.ask(customer, amount="12.50")
            await terminal.until(lambda screen: "12.50 CNY" in screen)
            await terminal.type(f"/cmd exec deny#{second['id']}")

            async def denied() -> bool:
                return len(await flow.answers()) == 2

            await flow.until(denied)
            assert (await flow.answers())[1]["layer"] == "C"

    terminal = Terminal(tmp_path)
    try:
        asyncio.run(asyncio.wait_for(story(terminal), 90))
    finally:
        terminal.close()
