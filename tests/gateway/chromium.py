"""A real Chromium, driven by its own protocol: open a page, run a script in it, take a picture."""

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.patience import PATIENCE
from tests.servers import missing

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
# By boxes alone: does the page fit its window, and which texts are wider than what holds them?
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
SPILT = """
[...document.querySelectorAll('button, h1, p, dt, dd, bdi, b, span, a, label')].filter((node) =>
  node.getClientRects().length && node.scrollWidth > node.clientWidth + 1
  && getComputedStyle(node).display !== 'inline').map((node) => node.id || node.textContent)
"""


class Page:
    """One page of a Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        self.told: list[dict[str, Any]] = []

    async def send(self, method: str, **values: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        asked = orjson.dumps({"id": number, "method": method, "params": values})
        await self._socket.send_str(asked.decode())
        async with asyncio.timeout(PATIENCE):
            while True:
                told = orjson.loads(await self._socket.receive_str())
                if "method" in told:
                    self.told.append(told)
                if told.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                    self.complaints.append(str(told["params"]))
                if told.get("id") == number:
                    assert "error" not in told, told
                    result: dict[str, Any] = told["result"]
                    return result

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=url)

    async def shape(self, width: int, height: int, *, dark: bool = False) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def run(self, script: str) -> Any:
        told = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str, seconds: float = PATIENCE) -> None:
        """Wait until a script is true in the page."""
        tried = f"(() => {{ try {{ return !!({script}) }} catch {{ return false }} }})()"
        async with asyncio.timeout(seconds):
            while not await self.run(tried):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)

    async def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowDown": 40}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    async def picture(self) -> bytes:
        """What it looks like now, as PNG."""
        shot = await self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """A Chromium with a profile of its own, ended by its pid; skipped, in CI failed, if missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing("chromium is not installed: as root, apt-get install chromium")
    profile = folder / "profile"
    profile.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        program,
        *_OPTIONS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        async with asyncio.timeout(PATIENCE):
            while not (port_file.exists() and "\n" in port_file.read_text()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        port = port_file.read_text().split("\n")[0]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
                [page] = [one for one in await answer.json() if one["type"] == "page"]
            async with http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
