"""The chat: an external component (XEP-0114) that asks, hears, and proves what the server took.

::

    down --connect, handshake--> up --pong missing for 2 s, or stream ended--> down (0.3-2 s)

slixmpp does the stream and its parser; stanzas are read here as plain XML, since its plug-ins cost
half of the speed. It has no back-pressure and its own reconnect backs off to minutes, so both are
kept here. Errors are recognised by name, whatever their namespace.
"""

import asyncio
import contextlib
import logging
import random
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from slixmpp import ComponentXMPP
from slixmpp.xmlstream import StanzaBase

from notifiers import ending, stanzas
from notifiers.channel import Listener, Supplies
from notifiers.errors import NotReady
from notifiers.facts import Outgoing

log = logging.getLogger(__name__)

SESSION_WITHIN = 2.0
PING_EVERY = 2.0
PONG_WITHIN = 2.0
LOOKS_EVERY = 0.25
LONGEST_BUFFER = 256 * 1024
REPLIES_A_MINUTE = 12
GREETED_FOR = 3.0  # seconds
AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class XmppAddress:
    """Where the component connects, and who it is there."""

    host: str
    port: int
    secret: str
    component: str
    server: str
    name: str = "Bank"
    localpart: str = "check"
    resource: str = "bank"

    @property
    def bot(self) -> str:
        """The bank's address, without the resource."""
        return f"{self.localpart}@{self.component}"

    @property
    def alerts(self) -> str:
        """The address that speaks in the officers' room, without the resource."""
        return f"alerts@{self.component}"

    @property
    def full(self) -> str:
        """The address that asks: with a localpart and a resource, or clients misfile it."""
        return f"{self.bot}/{self.resource}"


class XmppChannel:
    """The component's session. `may_write` is asked right before each write (the leader's lock)."""

    kind = "xmpp"
    spoken = True

    def __init__(
        self,
        address: XmppAddress,
        listener: Listener,
        may_write: Callable[[], bool] = lambda: True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._address = address
        self._listener = listener
        self._may_write = may_write
        self._clock = clock
        self._stream: _Stream | None = None
        self._session = 0
        self._numbers = 0
        self._unproved: list[str] = []
        self._asked: tuple[str, float, list[str]] | None = None
        self._last_ping = 0.0
        self._pinging = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._replied: dict[str, list[float]] = {}
        self._came: dict[str, float] = {}
        self.room: Callable[[ET.Element], None] | None = None
        self.on_session: Callable[[], None] | None = None

    @classmethod
    def of(cls, supplies: Supplies) -> Self | None:
        """Make it where the settings hold an `XmppAddress`."""
        address = supplies.settings.get(cls.kind)
        if address is None:
            return None
        return cls(address, supplies.listener, supplies.may_write, supplies.clock)

    @property
    def ready(self) -> bool:
        stream = self._stream
        return stream is not None and stream.buffered() < LONGEST_BUFFER

    def write(self, outgoing: Outgoing) -> None:
        who = stanzas.bare(outgoing.address)
        if outgoing.kind == "ask" and who not in self._came:  # else it says: the bank is offline
            self._comes(who)
            self.send(self._presence(who))
        self.send(stanzas.message(outgoing, self._address.full, self._address.full))
        self.prove(outgoing.key)

    def prove(self, key: str) -> None:
        """Ask for the proof that everything written so far was taken; it comes by `taken`."""
        self._unproved.append(key)
        if self._asked is None and not self._pinging:  # one ping proves all of this turn
            self._pinging = True
            asyncio.get_running_loop().call_soon(self._ping_soon)

    def send(self, element: ET.Element) -> None:
        """Write one stanza now, or raise `NotReady`."""
        stream = self._stream
        if stream is None or not self._may_write():
            raise NotReady("xmpp: no session with the chat server")
        stream.put(stanzas.write(element))

    async def run(self) -> None:
        while True:
            stream = _Stream(self._address, self._take)
            try:
                await stream.open()
                await self._listener.opened(self.kind)
                self._begin(stream)
                await self._watch(stream)
            except (OSError, TimeoutError, NotReady) as failed:
                log.info("chat server: %s; trying again", failed)
            finally:
                self._stream = None
                await stream.end()
            await asyncio.sleep(random.uniform(0.3, 2.0) if self._session else 0.3)

    def _begin(self, stream: "_Stream") -> None:
        self._session += 1
        self._unproved, self._asked = [], None
        self._came = {}
        self._last_ping = time.monotonic()
        self._stream = stream
        log.info("chat server: session %d as %s", self._session, self._address.full)
        if self.on_session is not None:
            self.on_session()

    async def _watch(self, stream: "_Stream") -> None:
        """Ping when idle; end when a pong is missing or the stream is gone."""
        while not stream.gone.is_set():
            now = time.monotonic()
            if self._asked is not None and now - self._asked[1] > PONG_WITHIN:
                raise TimeoutError(f"no pong within {PONG_WITHIN} s")
            if not self._may_write():
                raise NotReady("xmpp: the leader's lock is not held")
            idle = now - self._last_ping >= PING_EVERY
            if self._asked is None and (self._unproved or idle):
                self._ping(stream)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOKS_EVERY):
                    await stream.gone.wait()
        raise NotReady("xmpp: the stream ended")

    def _ping_soon(self) -> None:
        self._pinging = False
        if self._stream is not None and self._asked is None and self._unproved:
            with contextlib.suppress(NotReady):  # the session is gone, and `_watch` ends with it
                self._ping(self._stream)

    def _ping(self, stream: "_Stream") -> None:
        now = time.monotonic()
        self._numbers += 1
        asked = f"ping-{self._session}-{self._numbers}"
        self._asked = (asked, now, self._unproved)
        self._unproved, self._last_ping = [], now
        stream.put(stanzas.ping(self._address.full, self._address.server, asked))

    def _take(self, stanza: ET.Element) -> None:
        """Take one stanza from the stream; runs inside the reader, so it never waits."""
        name = stanzas.local_name(stanza)
        addressed = stanzas.bare(stanza.get("to", ""))
        if self.room is not None and addressed not in {self._address.bot, self._address.component}:
            self.room(stanza)
        elif name == "iq":
            self._take_iq(stanza)
        elif name == "presence":
            self._take_presence(stanza)
        elif name == "message":
            self._take_message(stanza)

    def _take_iq(self, stanza: ET.Element) -> None:
        if stanza.get("type") in {"result", "error"}:
            asked = self._asked
            if asked is not None and stanza.get("id") == asked[0]:
                self._asked = None
                if asked[2]:
                    self._listener.taken(asked[2])
                self._ping_soon()
            return
        self._spawn(self._serve(stanza))

    def _take_presence(self, stanza: ET.Element) -> None:
        kind = stanza.get("type")
        sender = stanza.get("from", "")
        if stanzas.bare(stanza.get("to", "")) != self._address.bot or not sender:
            return
        if kind == "subscribe":
            agreed = {"from": self._address.bot, "to": sender, "type": "subscribed"}
            self._try(ET.Element("presence", agreed))
        if kind == "unavailable":
            self._came.pop(stanzas.bare(sender), None)
        elif kind == "subscribe" or (kind in {None, "probe"} and self._comes(stanzas.bare(sender))):
            self._try(self._presence(stanzas.bare(sender)))

    def _comes(self, who: str) -> bool:
        """Say whether someone has just come: server and client announce it several times over."""
        now = time.monotonic()
        if len(self._came) > 100_000:
            self._came.clear()
        if now - self._came.get(who, -GREETED_FOR) < GREETED_FOR:
            return False
        self._came[who] = now
        return True

    def _presence(self, to: str) -> ET.Element:
        return ET.Element("presence", {"from": self._address.full, "to": to})

    def _take_message(self, stanza: ET.Element) -> None:
        heard = stanzas.hear(stanza, self._clock(), self.kind)
        if isinstance(heard, stanzas.Bounce):
            self._listener.bounced(self.kind, heard.stanza, heard.condition, heard.bare)
        elif heard is not None:
            self._spawn(self._answer(stanza, heard))

    async def _answer(self, stanza: ET.Element, heard: Any) -> None:
        text = await self._listener.heard(heard)
        if stanzas.wants_receipt(stanza):
            self._try(stanzas.received(self._address.full, heard.address, stanza.get("id", "")))
        if text:
            self.say(heard.address, heard.bare, text)

    def say(self, address: str, bare: str, text: str) -> None:
        """Reply with a text, unless this person was told enough within the minute."""
        now = time.monotonic()
        recent = [at for at in self._replied.get(bare, ()) if now - at < 60.0]
        if len(self._replied) > 10_000:
            self._replied.clear()
        if len(recent) < REPLIES_A_MINUTE:
            self._numbers += 1
            number = f"say-{int(self._clock().timestamp())}-{self._numbers}"
            self._try(stanzas.reply(self._address.full, address, text, number))
            recent.append(now)
        self._replied[bare] = recent

    async def _serve(self, stanza: ET.Element) -> None:
        query = next(iter(stanza), None)
        tag = query.tag if query is not None else ""
        node = query.get("node", "") if query is not None else ""
        if tag == f"{{{stanzas.DISCO_INFO}}}query":
            self._try(stanzas.info(stanza, self._address.name, stanzas.legal(node)))
        elif tag == f"{{{stanzas.DISCO_ITEMS}}}query":
            offers = await self._listener.offers(stanzas.bare(stanza.get("from", "")))
            offered = offers if node in {"", stanzas.COMMANDS} else ()
            self._try(stanzas.items(stanza, offered, self._address.full))
        elif tag == f"{{{stanzas.PING}}}ping":
            self._try(stanzas.answer_iq(stanza, "result"))
        elif (command := stanzas.command(stanza, self._clock(), self.kind)) is not None:
            text = await self._listener.heard(command)
            self._try(stanzas.command_done(stanza, text or ""))
        else:
            self._try(stanzas.refuse_iq(stanza))

    def _try(self, element: ET.Element) -> None:
        try:
            self.send(element)
        except NotReady:
            log.info("chat server: a reply was not sent, the session is gone")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._spawned)
        if len(self._tasks) >= AT_ONCE and self._stream is not None:
            self._stream.pause()  # the server holds what comes next; nothing is dropped

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if len(self._tasks) <= AT_ONCE // 2 and self._stream is not None:
            self._stream.resume()


class _Stream:
    """One connection: opened once, ended once. slixmpp's own reconnecting never runs."""

    def __init__(self, address: XmppAddress, take: Callable[[ET.Element], None]) -> None:
        self.gone = asyncio.Event()
        self._started = asyncio.Event()
        self._take = take
        self._address = address
        self._paused = False
        # fix_error_ns would change slixmpp's stanza classes for the whole process; errors are
        # read as plain XML here, so it isn't needed.
        self._xmpp: Any = _component(address)
        self._xmpp.add_filter("in", self._filter)
        self._xmpp.add_event_handler("session_start", lambda _: self._started.set())
        for ended in ("disconnected", "connection_failed", "stream_error", "killed"):
            self._xmpp.add_event_handler(ended, lambda _: self.gone.set())

    async def open(self) -> None:
        """Connect and shake hands, or raise; a second component of the name is met by silence."""
        self._xmpp.connect(self._address.host, self._address.port)
        await _first(self._started.wait(), self.gone.wait(), timeout=SESSION_WITHIN)
        if not self._started.is_set() or self.gone.is_set():
            raise TimeoutError(f"no session at {self._address.host}:{self._address.port}")

    def put(self, text: str) -> None:
        if self._xmpp.transport is None or self.gone.is_set():
            self.gone.set()
            raise NotReady("xmpp: the connection is gone")
        self._xmpp.send_raw(text)

    def buffered(self) -> int:
        transport = self._xmpp.transport
        return LONGEST_BUFFER if transport is None else transport.get_write_buffer_size()

    def pause(self) -> None:
        """Read no more for now: back-pressure onto the server."""
        if not self._paused and self._xmpp.transport is not None:
            self._xmpp.transport.pause_reading()
            self._paused = True

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._xmpp.transport is not None:
            self._xmpp.transport.resume_reading()
        self._paused = False

    async def end(self) -> None:
        """Close for good; no task of slixmpp is left behind."""
        self.gone.set()
        self._xmpp.cancel_connection_attempt()
        if self._xmpp.transport is not None:
            self._xmpp.send_raw("</stream:stream>")
            self._xmpp.transport.close()
        await ending.end_sender(self._xmpp)

    def _filter(self, stanza: StanzaBase) -> StanzaBase | None:
        name = stanzas.local_name(stanza.xml)
        if name not in {"message", "iq", "presence"}:
            return stanza
        if not self.gone.is_set():
            try:
                self._take(stanza.xml)
            except Exception:
                log.exception("chat: a stanza could not be read")
        return None


def _component(address: XmppAddress) -> ComponentXMPP:
    make: Any = ComponentXMPP
    made: ComponentXMPP = make(address.component, address.secret, address.host, address.port)
    return made


async def _first(*waits: Coroutine[Any, Any, Any], timeout: float) -> None:  # noqa: ASYNC109 - both are ended
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("chat: an answer could not be taken")
