"""The other side of each channel, for the contract test: where a message is to arrive.

A new channel needs one class here, and one line in `PEERS`.
"""

import asyncio
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self

import aiohttp
import orjson

from notifiers.client import CustomerClient
from notifiers.memory import MemoryChannel
from notifiers.prosody import Prosody
from risk.push import public_text, vapid_key
from tests import servers
from tests.gateway import bank
from tests.notifiers import stage
from tests.notifiers.sms_receiver import Receiver, pass_on
from tests.patience import until

PUSH = Path(__file__).resolve().parents[1] / "push"
SECRETS: Mapping[str, bytes] = {"vapid": b"v" * 32, "sms-out": b"o" * 32, "sms-in": b"i" * 32}
EDGE_KEY = stage.SEAL_KEY
TELEPHONE = "+8613800138000"


class Peer(Protocol):
    """Starts with `__aenter__`; `arrives` and `speaks` say what this technology is able to do."""

    arrives: bool
    speaks: bool
    settings: Any
    address: str
    nowhere: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def arrived(self) -> list[str]:
        """Which messages arrived, as `ask CHALLENGE` and `close CHALLENGE`, in order."""

    async def say(self, text: str) -> None:
        """Speak as the customer."""


class Web:
    """The page: nothing is sent, so nothing arrives."""

    arrives, speaks, address, nowhere = False, False, "", ""
    settings: Any = None

    def __init__(self, tmp: Path, redis_url: str) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def arrived(self) -> list[str]:
        return []

    async def say(self, text: str) -> None:
        raise NotImplementedError


class Memory(Web):
    """Within this process."""

    arrives, speaks, address, nowhere = True, True, "anna", ""
    settings: Any = MappingProxyType({})
    channel: MemoryChannel

    async def arrived(self) -> list[str]:
        return [f"{one.kind} {one.challenge}" for one in self.channel.sent]

    async def say(self, text: str) -> None:
        await self.channel.say(self.address, text)


class Xmpp:
    """A real chat server, and the reference client."""

    arrives, speaks = True, True
    address, nowhere = f"ann@{stage.DOMAIN}", f"nobody@{stage.DOMAIN}"

    def __init__(self, tmp: Path, redis_url: str) -> None:
        self._tmp = tmp
        self._stack = AsyncExitStack()
        self._prosody: Prosody
        self._ann: CustomerClient
        self.settings: Any = None

    async def __aenter__(self) -> Self:
        self._prosody = await asyncio.to_thread(stage.make_prosody, self._tmp / "chat", ("ann",))
        self._stack.callback(self._prosody.stop)
        self.settings = self._prosody.settings.address()
        self._ann = await self._stack.enter_async_context(stage.chatting(self._prosody, "ann"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def arrived(self) -> list[str]:
        return [
            f"close {message.replaces}" if message.replaces else f"ask {message.challenge}"
            for message in self._ann.messages
            if message.replaces or message.challenge
        ]

    async def say(self, text: str) -> None:
        self._ann.say(stage.BOT_FULL, text)


class Push:
    """The push service of npm's web-push-testing, which opens what it gets as a browser does."""

    arrives, speaks = True, False

    def __init__(
        self, tmp: Path, redis_url: str, *, port: int = 0, secret: bytes = SECRETS["vapid"]
    ) -> None:
        self._tmp, self._secret = tmp, secret
        self._process: subprocess.Popen[bytes] | None = None
        self._http: aiohttp.ClientSession
        self._hash = ""
        self.port = port or servers.free_port()
        self.settings: Any = {
            "contact": "mailto:security@bank.example",
            "allow": [f"localhost:{self.port}"],
        }
        self.address = self.nowhere = ""

    async def __aenter__(self) -> Self:
        node = servers.need("node")
        if not (PUSH / "node_modules" / "web-push-testing").exists():
            servers.missing("tests/push is not installed: npm ci --prefix tests/push")
        self._start(node)
        await asyncio.to_thread(servers.wait_for_port, self.port)
        self._http = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")
        self._hash, self.address = await self.subscribe()
        gone, self.nowhere = await self.subscribe()
        await self.expire(gone)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=60)

    def _start(self, node: str) -> None:
        with (self._tmp / "push.log").open("ab") as log:
            self._process = subprocess.Popen(
                [node, str(PUSH / "serve.js"), str(self.port)], stdout=log, stderr=log
            )

    async def subscribe(self) -> tuple[str, str]:
        """A new subscription: its name at the service, and its JSON as a browser gives it."""
        key = public_text(vapid_key(self._secret))
        asked = {"userVisibleOnly": "true", "applicationServerKey": key}
        async with self._http.post("/subscribe", data=asked) as answer:
            given = (await answer.json())["data"]
        whole = {"endpoint": given["endpoint"], "keys": given["keys"]}
        return given["clientHash"], orjson.dumps(whole).decode()

    async def expire(self, name: str) -> None:
        """The browser has unsubscribed."""
        async with self._http.post(f"/expire-subscription/{name}"):
            pass

    async def payloads(self, name: str = "") -> list[dict[str, Any]]:
        """What was pushed, opened."""
        asked = {"clientHash": name or self._hash}
        async with self._http.post("/get-notifications", data=asked) as answer:
            told = await answer.json()
        return [orjson.loads(one) for one in told.get("data", {}).get("messages", [])]

    async def arrived(self) -> list[str]:
        return [f"{one['op']} {one['id']}" for one in await self.payloads()]

    async def say(self, text: str) -> None:
        raise NotImplementedError


class Sms:
    """The bank's own gateway for short messages, and our HTTP gateway for what comes back."""

    arrives, speaks = True, True
    kind = "sms"
    address, nowhere = TELEPHONE, "+8613900139000"

    def __init__(self, tmp: Path, redis_url: str) -> None:
        self._stack = AsyncExitStack()
        self._tmp, self._redis_url = tmp, redis_url
        self._bank: bank.Bank
        self._numbers = 0
        self.receiver = Receiver(SECRETS["sms-out"], unknown={self.nowhere})
        self.settings: Any = None

    async def __aenter__(self) -> Self:
        await self.receiver.start()
        self._stack.push_async_callback(self.receiver.stop)
        self.settings = {
            "url": self.receiver.url,
            "allow": [f"127.0.0.1:{self.receiver.port}"],
        }
        self._bank = await self._stack.enter_async_context(
            bank.running(
                self._redis_url, self._tmp, replies_key=SECRETS["sms-in"], edge_key=EDGE_KEY
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def arrived(self) -> list[str]:
        told = self.receiver.sent.values()
        return [f"{one['type'].removeprefix('challenge.')} {one['challenge']}" for one in told]

    async def say(self, text: str) -> None:
        await self.pass_on({"text": text})

    async def pass_on(self, said: dict[str, Any], name: str = "") -> tuple[int, Any]:
        """Pass on what a telephone sent, or that something was delivered.

        While nobody hears it is said again under the same name, as the bank's gateway does.
        """
        self._numbers += 1
        name = name or f"in-{self._numbers}"
        whole = {"channel": self.kind, "from": self.address, **said}

        async def heard() -> tuple[int, Any] | None:
            told = await pass_on(self._bank.url, SECRETS["sms-in"], name, whole)
            return told if told[0] != 503 else None

        found = await until(heard, "somebody who hears")
        assert found is not None
        return found

    async def post_raw(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Call our gateway with these very bytes; gives the status."""
        url = f"{self._bank.url}/v1/replies"
        async with self._bank.http.post(url, data=body, headers=headers) as answer:
            return answer.status


class Voice(Sms):
    """The same, with a voice system."""

    kind = "voice"


PEERS: Mapping[str, Callable[[Path, str], Peer]] = {
    "xmpp": Xmpp,
    "web": Web,
    "push": Push,
    "sms": Sms,
    "voice": Voice,
    "memory": Memory,
}
