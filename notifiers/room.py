"""Where do the officers hear of it? In a room of their own (XEP-0045), members only.

::

    session --join--> in the room --set up (members, who is who)--> ready --rb:alerts--> groupchat
                                                                         pong: the place moves on

The bot makes the room and owns it. Nothing said in the room is acted on here. An alert that no pong
proved taken is said again after a reconnect; the place in `rb:alerts` moves only with the proof.
"""

import asyncio
import logging
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers import rows, stanzas
from notifiers.errors import NotReady
from notifiers.outbox import Outbox
from notifiers.xmpp import XmppAddress, XmppChannel
from risk import names

log = logging.getLogger(__name__)

MUC = "http://jabber.org/protocol/muc"
MUC_USER = "http://jabber.org/protocol/muc#user"
MUC_OWNER = "http://jabber.org/protocol/muc#owner"
MUC_ADMIN = "http://jabber.org/protocol/muc#admin"
MUC_CONFIG = "http://jabber.org/protocol/muc#roomconfig"
DATA = "jabber:x:data"
AT_ONCE = 50
PROVED_WITHIN = 5.0
LONGEST_ALERT = 600


class Room:
    """The officers' room of one session after another."""

    def __init__(
        self,
        address: XmppAddress,
        room: str,
        officers: Sequence[str],
        channel: XmppChannel,
        redis: "Redis",
        outbox: Outbox,
        fence: int,
    ) -> None:
        self._room = room
        self._officers = tuple(officers)
        self._channel = channel
        self._redis = redis
        self._outbox = outbox
        self._fence = fence
        self._self = f"{address.alerts}/{address.resource}"
        self._joined = asyncio.Event()
        self._proved: dict[str, asyncio.Event] = {}

    def session_began(self) -> None:
        """Join, without the room's history: a restart must not hear old words again."""
        self._joined.clear()
        root = ET.Element("presence", {"from": self._self, "to": f"{self._room}/Ringback"})
        asked = ET.SubElement(root, f"{{{MUC}}}x")
        ET.SubElement(asked, f"{{{MUC}}}history", {"maxstanzas": "0"})
        self._try(root)

    def take(self, stanza: ET.Element) -> None:
        """Take a stanza that is addressed to the room's bot."""
        if stanzas.bare(stanza.get("from", "")) != self._room:
            if stanzas.local_name(stanza) == "iq" and stanza.get("type") in {"get", "set"}:
                self._try(stanzas.refuse_iq(stanza))
            return
        if stanzas.local_name(stanza) != "presence":
            return
        if stanza.get("type") == "error":
            log.warning("officers' room: not joined: %s", stanzas.condition(stanza))
            return
        about = stanzas.child(stanza, "x", MUC_USER)
        codes = {one.get("code") for one in about or () if stanzas.local_name(one) == "status"}
        if "110" in codes and stanza.get("type") != "unavailable":
            self._set_up()
            self._joined.set()

    def taken(self, keys: Sequence[str]) -> None:
        """The server has taken these."""
        for key in keys:
            if key in self._proved:
                self._proved[key].set()

    async def run(self) -> None:
        """Say each alert in the room, in order."""
        position = await self._outbox.look(lambda c: rows.position(c, "alerts"))
        while True:
            await self._joined.wait()
            try:
                got: Any = await self._redis.xread(
                    {names.ALERTS: position}, count=AT_ONCE, block=1000
                )
                entries = got[0][1] if got else []
                if entries and await self._say_all(entries):
                    position = entries[-1][0].decode()
                    await self._outbox.change(_moved(position), fence=self._fence)
            except (RedisError, OSError, TimeoutError) as failed:
                log.warning("officers' room: Redis: %s; trying again", failed)
                await asyncio.sleep(0.2)

    async def _say_all(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> bool:
        last = f"alert/{entries[-1][0].decode()}"
        proof = self._proved[last] = asyncio.Event()
        try:
            for entry, fields in entries:
                self._say(entry.decode(), fields.get(b"alert", b""))
            self._channel.prove(last)
            async with asyncio.timeout(PROVED_WITHIN):
                await proof.wait()
        except (NotReady, TimeoutError):
            self._joined.clear()
            return False
        finally:
            del self._proved[last]
        return True

    def _say(self, entry: str, raw: bytes) -> None:
        try:
            alert = orjson.loads(raw)
            words = f"[{alert['kind']}] {alert.get('event') or '-'}: {alert.get('text') or ''}"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            log.warning("%s %s: not an alert", names.ALERTS, entry)
            return
        line = " ".join(stanzas.legal(words).split())[:LONGEST_ALERT]
        root = ET.Element(
            "message",
            {"type": "groupchat", "from": self._self, "to": self._room, "id": f"alert-{entry}"},
        )
        ET.SubElement(root, "body").text = line
        self._channel.send(root)

    def _set_up(self) -> None:
        """Members only, kept, everyone's address known to everyone, not listed."""
        fields = {
            "FORM_TYPE": MUC_CONFIG,
            "muc#roomconfig_roomname": "Officers",
            "muc#roomconfig_persistentroom": "1",
            "muc#roomconfig_membersonly": "1",
            "muc#roomconfig_publicroom": "0",
            "muc#roomconfig_whois": "anyone",
            "muc#roomconfig_changesubject": "0",
        }
        root, query = self._owner("ringback-room", MUC_OWNER)
        form = ET.SubElement(query, f"{{{DATA}}}x", {"type": "submit"})
        for name, value in fields.items():
            field = ET.SubElement(form, f"{{{DATA}}}field", {"var": name})
            ET.SubElement(field, f"{{{DATA}}}value").text = value
        self._try(root)
        for number, officer in enumerate(self._officers):
            root, query = self._owner(f"ringback-officer-{number}", MUC_ADMIN)
            ET.SubElement(query, f"{{{MUC_ADMIN}}}item", {"affiliation": "member", "jid": officer})
            self._try(root)

    def _owner(self, number: str, namespace: str) -> tuple[ET.Element, ET.Element]:
        about = {"type": "set", "from": self._self, "to": self._room, "id": number}
        root = ET.Element("iq", about)
        return root, ET.SubElement(root, f"{{{namespace}}}query")

    def _try(self, element: ET.Element) -> None:
        try:
            self._channel.send(element)
        except NotReady:
            log.info("officers' room: the session is gone")


def _moved(position: str) -> Callable[[Any], None]:
    def change(connection: Any) -> None:
        rows.move(connection, position, "alerts")

    return change
