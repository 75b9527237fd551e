"""A customer's chat client, as small as can be: the reference for docs/protocol.md.

The demo's simulated customers and the tests use it. It reads every layer of a question, opens what
is sealed to its device key, and can answer by text, by the own client's `<answer>` and by command.
"""

import asyncio
import contextlib
import logging
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from slixmpp import ClientXMPP
from slixmpp.xmlstream import StanzaBase

from notifiers import bind, ending, stanzas
from notifiers.errors import NotSealed
from notifiers.sealed import unseal

log = logging.getLogger(__name__)

CLIENT = "jabber:client"
MUC = "http://jabber.org/protocol/muc"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the client got it: its text, and its XML with all layers."""

    body: str
    id: str
    sender: str
    replaces: str
    xml: ET.Element
    content: Mapping[str, Any] | None = None  # what was sealed to this device, opened

    @property
    def challenge(self) -> str:
        """The challenge that the message asks, or nothing."""
        own = stanzas.child(self.xml, "challenge", stanzas.CHALLENGE)
        return own.get("id", "") if own is not None else ""

    @property
    def bind(self) -> str:
        if self.content is not None:
            return str(self.content.get("bind", ""))
        own = stanzas.child(self.xml, "challenge", stanzas.CHALLENGE)
        return own.get("bind", "") if own is not None else ""

    def tied(self, decision: str, reason: str = "") -> str:
        """What an answer of the own client carries as `bind`."""
        if self.content is None:
            return self.bind
        return bind.tied(self.bind, self.challenge, decision, reason)

    @property
    def buttons(self) -> dict[str, str]:
        """What each quick response types, by its label."""
        return {
            found.get("label", ""): found.get("value", "")
            for found in self.xml
            if found.tag == f"{{{stanzas.RESPONSES}}}response"
        }


class CustomerClient:
    """One account's session. `on_message` sees each message with a body."""

    def __init__(
        self,
        jid: str,
        password: str,
        host: str,
        port: int,
        on_message: Callable[[Message], None] | None = None,
        *,
        receipts: bool = True,
        device_key: X25519PrivateKey | None = None,
    ) -> None:
        self.messages: list[Message] = []
        self.errors: list[ET.Element] = []
        self._arrived = asyncio.Event()
        self._started = asyncio.Event()
        self._host, self._port = host, port
        self._on_message = on_message
        self._receipts = receipts
        self._device_key = device_key
        unencrypted = {"feature_mechanisms": {"unencrypted_scram": True}}
        self._xmpp = ClientXMPP(jid, password, plugin_config=unencrypted)
        self._xmpp.enable_direct_tls = False
        # A loopback server without certificates: plain SASL SCRAM is all that is asked for.
        self._xmpp.enable_plaintext = True
        self._xmpp.enable_starttls = False
        self._xmpp.add_event_handler("session_start", self._start)
        self._xmpp.add_filter("in", self._filter)
        self._wanted: dict[str, asyncio.Future[ET.Element]] = {}
        self._numbers = 0

    @property
    def jid(self) -> str:
        return str(self._xmpp.boundjid.full)

    @property
    def connected(self) -> bool:
        """Whether the server is still there, as far as TCP knows."""
        return bool(self._xmpp.is_connected())

    async def connect(self, seconds: float = 10.0) -> None:
        """Log in and become available."""
        self._xmpp.connect(self._host, self._port)
        async with asyncio.timeout(seconds):
            await self._started.wait()

    async def disconnect(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await self._xmpp.disconnect(wait=1.0)
        self._xmpp.cancel_connection_attempt()
        await ending.end_sender(self._xmpp)

    async def wait_for(self, matches: Callable[[Message], bool], seconds: float = 60.0) -> Message:
        """Give the first message that matches, now or soon; TimeoutError when none comes."""
        async with asyncio.timeout(seconds):
            while True:
                for message in self.messages:
                    if matches(message):
                        return message
                self._arrived.clear()
                await self._arrived.wait()

    def say(self, to: str, text: str, *, delayed: str = "", kind: str = "chat") -> None:
        """Send a text, as a person types it."""
        root = self._message(to, kind)
        ET.SubElement(root, f"{{{CLIENT}}}body").text = text
        if delayed:
            ET.SubElement(root, f"{{{stanzas.DELAY}}}delay", {"stamp": delayed})
        self.send(root)

    def answer(self, to: str, challenge: str, decision: str, bind: str, reason: str = "") -> None:
        """Answer as an own client does: layer B."""
        root = self._message(to, "chat")
        about = {"id": challenge, "decision": decision, "bind": bind}
        if reason:
            about["reason"] = reason
        ET.SubElement(root, f"{{{stanzas.CHALLENGE}}}answer", about)
        self.send(root)

    def answer_signed(self, to: str, challenge: str, compact: str) -> None:
        """Answer with a statement signed by a device key (`risk.signed.sign_jws`): layer A."""
        root = self._message(to, "chat")
        own = ET.SubElement(root, f"{{{stanzas.CHALLENGE}}}answer", {"id": challenge})
        ET.SubElement(own, f"{{{stanzas.CHALLENGE}}}jws").text = compact
        self.send(root)

    async def run_command(self, to: str, node: str, seconds: float = 5.0) -> str:
        """Run an ad-hoc command: layer C; gives its note."""
        command = ET.Element(f"{{{stanzas.COMMANDS}}}command", {"node": node, "action": "execute"})
        result = await self._ask(to, "set", command, seconds)
        done = stanzas.child(result, "command")
        note = stanzas.child(done, "note") if done is not None else None
        return (note.text or "") if note is not None else ""

    async def commands(self, to: str, seconds: float = 5.0) -> list[str]:
        """List the commands on offer."""
        query = ET.Element(f"{{{stanzas.DISCO_ITEMS}}}query", {"node": stanzas.COMMANDS})
        result = await self._ask(to, "get", query, seconds)
        found = stanzas.child(result, "query")
        return [item.get("node", "") for item in found] if found is not None else []

    def join(self, room: str, nick: str) -> None:
        """Enter a room (XEP-0045), without its history."""
        root = ET.Element(f"{{{CLIENT}}}presence", {"to": f"{room}/{nick}"})
        asked = ET.SubElement(root, f"{{{MUC}}}x")
        ET.SubElement(asked, f"{{{MUC}}}history", {"maxstanzas": "0"})
        self.send(root)

    def displayed(self, message: Message) -> None:
        """Say that a message was read (XEP-0333)."""
        root = self._message(message.sender, "chat")
        ET.SubElement(root, f"{{{stanzas.MARKERS}}}displayed", {"id": message.id})
        self.send(root)

    def send(self, element: ET.Element) -> None:
        """Send any stanza."""
        self._xmpp.send_raw(stanzas.write(element, CLIENT))

    def _message(self, to: str, kind: str) -> ET.Element:
        self._numbers += 1
        return ET.Element(
            f"{{{CLIENT}}}message", {"to": to, "type": kind, "id": f"c{self._numbers}"}
        )

    async def _ask(self, to: str, kind: str, payload: ET.Element, seconds: float) -> ET.Element:
        self._numbers += 1
        number = f"q{self._numbers}"
        root = ET.Element(f"{{{CLIENT}}}iq", {"to": to, "type": kind, "id": number})
        root.append(payload)
        self._wanted[number] = asyncio.get_running_loop().create_future()
        self.send(root)
        async with asyncio.timeout(seconds):
            return await self._wanted[number]

    async def _start(self, _: Any) -> None:
        self._xmpp.send_presence()
        self._started.set()

    def _filter(self, stanza: StanzaBase) -> StanzaBase | None:
        xml = stanza.xml
        name = stanzas.local_name(xml)
        if name == "iq" and xml.get("id", "") in self._wanted:
            future = self._wanted.pop(xml.get("id", ""))
            if not future.done():
                future.set_result(xml)
            return None
        if name != "message":
            return stanza
        if xml.get("type") == "error":
            self.errors.append(xml)
            self._arrived.set()
            return None
        body = stanzas.child(xml, "body")
        if body is not None and body.text:
            self._got(xml, body.text)
        return None

    def _opened(self, xml: ET.Element) -> dict[str, Any] | None:
        """Open what is sealed to this device; None where nothing is, or it does not open."""
        for name in ("challenge", "closed"):
            own = stanzas.child(xml, name, stanzas.CHALLENGE)
            found = stanzas.child(own, "sealed") if own is not None else None
            if own is None or found is None or self._device_key is None:
                continue
            try:
                return unseal(self._device_key, own.get("id", ""), found.text or "")
            except NotSealed as broken:
                log.warning("%s: %s", own.get("id", ""), broken)
        return None

    def _got(self, xml: ET.Element, body: str) -> None:
        replaces = stanzas.child(xml, "replace", stanzas.CORRECTION)
        message = Message(
            body=body,
            id=xml.get("id", ""),
            sender=xml.get("from", ""),
            replaces=replaces.get("id", "") if replaces is not None else "",
            xml=xml,
            content=self._opened(xml),
        )
        self.messages.append(message)
        self._arrived.set()
        if self._receipts and stanzas.child(xml, "request", stanzas.RECEIPTS) is not None:
            root = self._message(message.sender, "chat")
            ET.SubElement(root, f"{{{stanzas.RECEIPTS}}}received", {"id": message.id})
            self.send(root)
        if self._on_message is not None:
            self._on_message(message)
