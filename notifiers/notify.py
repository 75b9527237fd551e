"""The notifier as one process: stand by, lead, and stand by again.

::

    stand by --lock free--> lead --lock lost, fenced--> stand by
        ^                     |
        +---------------------+-- stop --> give the lock back, end

Only the leader connects to the chat server. Notifiers that can take over from each other share
one data directory, since what was sent is known by the outbox in it.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers import catalogue, ending, leader, rows
from notifiers.channel import Channel, Listener, Supplies
from notifiers.desk import Desk
from notifiers.errors import Fenced, LeaseLost
from notifiers.outbox import Outbox
from notifiers.plan import Plans
from notifiers.records import Records
from notifiers.room import Room
from notifiers.term import Term
from notifiers.wording import House, Wording, keep_sources
from notifiers.xmpp import XmppAddress, XmppChannel
from risk.privacy import Tokens

log = logging.getLogger(__name__)

STANDBY_LOOKS_EVERY = 0.2
# slixmpp writes whole stanzas into its debug log, and unparsable bytes into its error log. What a
# customer typed belongs into neither.
TALKATIVE = ("slixmpp.xmlstream", "slixmpp.componentxmpp", "slixmpp.basexmpp")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class NotifierSettings:
    """All that a notifier is told. Keys are 32 bytes each; nothing is read from the environment.

    ``institutions`` are the bank's names by language; ``hosts`` may stand in texts as links, which
    are read from ``templates`` and then from ``<data>/templates``.
    ``seal_key`` opens payees and addresses, ``answer_key`` makes the codes; ``transport_key`` seals
    what goes to the ledger's writer and ``web_key`` makes the tokens of page links (without them,
    the first two are used). ``links`` puts the page's link into a question; ``room`` is the
    officers' room and ``officers`` their addresses. ``channels`` holds the settings of each kind in
    the catalogue that is set up, ``secret`` gives keys that they ask for by name; ``more_channels``
    are made for each term. ``plans`` say in which order channels are tried.
    """

    redis: str
    data: Path
    tenant: str
    token_root: bytes = field(repr=False)
    seal_key: bytes = field(repr=False)
    answer_key: bytes = field(repr=False)
    transport_key: bytes = field(default=b"", repr=False)
    web_key: bytes = field(default=b"", repr=False)
    institution: str = "Bank"
    institutions: Mapping[str, str] = field(default_factory=dict)
    callback: str = ""
    hosts: frozenset[str] = frozenset()
    templates: Path = Path("config/templates")
    page: str = ""
    links: bool = False
    xmpp: XmppAddress | None = field(default=None, repr=False)
    room: str = ""
    officers: tuple[str, ...] = ()
    holder: str = field(default_factory=leader.this_process)
    clock: Callable[[], datetime] = _now
    chance: Callable[[int], bytes] = os.urandom
    channels: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secret: Callable[[str], bytes] | None = field(default=None, repr=False)
    plans: Plans = field(default_factory=Plans)
    more_channels: Sequence[Callable[[Listener], Channel]] = ()

    @property
    def outbox(self) -> Path:
        return self.data / "notifier" / "outbox.db"


async def run_notifier(
    settings: NotifierSettings, stop: asyncio.Event, leading: asyncio.Event | None = None
) -> None:
    """Run until `stop` is set. `leading` is set while this notifier leads."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    wording = _wording(settings)
    outbox = Outbox(settings.outbox)
    redis = Redis.from_url(
        settings.redis, protocol=2, socket_timeout=5.0, socket_connect_timeout=2.0
    )
    try:
        while not stop.is_set():
            lease = await _stand_by(settings, redis, outbox, stop)
            if lease is not None:
                await _lead(settings, wording, outbox, redis, lease, stop, leading)
    finally:
        await redis.aclose()
        outbox.close()


def _wording(settings: NotifierSettings) -> Wording:
    """Load the texts; one that may not be sent is told and left out, while another is there."""
    house = House(settings.institution, settings.callback, settings.page, settings.institutions)
    folders = [settings.templates, settings.data / "templates"]
    wording, refused = Wording.load_good(folders, house, settings.hosts)
    for one in refused:
        log.error("texts: refused, and others are used in their place: %s", one)
    keep_sources(wording, settings.data / "notifier" / "templates")
    return wording


async def _stand_by(
    settings: NotifierSettings, redis: "Redis", outbox: Outbox, stop: asyncio.Event
) -> leader.Lease | None:
    while not stop.is_set():
        try:
            above = await outbox.look(rows.newest_fence)
            lease = await leader.take(redis, settings.holder, above)
        except (RedisError, OSError, TimeoutError) as failed:
            log.warning("standing by: Redis: %s", failed)
            lease = None
        if lease is not None:
            return lease
        try:
            async with asyncio.timeout(STANDBY_LOOKS_EVERY):
                await stop.wait()
        except TimeoutError:
            continue
    return None


async def _lead(
    settings: NotifierSettings,
    wording: Wording,
    outbox: Outbox,
    redis: "Redis",
    lease: leader.Lease,
    stop: asyncio.Event,
    leading: asyncio.Event | None,
) -> None:
    log.info("leading: term %d", lease.fence)
    term = Term(
        redis=redis,
        outbox=outbox,
        lease=lease,
        tokens=Tokens(settings.token_root, settings.tenant),
        seal_key=settings.seal_key,
        answer_key=settings.answer_key,
        web_key=settings.web_key or settings.answer_key,
        records=Records(
            settings.tenant, settings.transport_key or settings.seal_key, settings.chance
        ),
        wording=wording,
        clock=settings.clock,
        links=settings.links,
        plans=settings.plans,
    )
    desk = Desk(term)

    def ready() -> None:
        if leading is not None:
            leading.set()

    channels = _channels(settings, desk, redis, lease)
    room = _room(settings, channels, redis, outbox, lease)
    work = asyncio.create_task(desk.lead(channels, ready, room))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    except (Fenced, LeaseLost, sqlite3.OperationalError) as ended:
        log.warning("leading: term %d is over: %s", lease.fence, ended)
    finally:
        if leading is not None:
            leading.clear()
        await ending.end((work, stopped))
        await lease.leave()


def _channels(
    settings: NotifierSettings, desk: Desk, redis: "Redis", lease: leader.Lease
) -> list[Channel]:
    told = dict(settings.channels)
    if settings.xmpp is not None:
        told[XmppChannel.kind] = settings.xmpp
    supplies = Supplies(
        listener=desk,
        redis=redis,
        may_write=lease.holds,
        clock=settings.clock,
        settings=told,
        secret=settings.secret,
        seal_key=settings.seal_key,
    )
    channels = catalogue.made(supplies)
    channels.extend(make(desk) for make in settings.more_channels)
    return channels


def _room(
    settings: NotifierSettings,
    channels: Sequence[Channel],
    redis: "Redis",
    outbox: Outbox,
    lease: leader.Lease,
) -> Room | None:
    chats = [channel for channel in channels if isinstance(channel, XmppChannel)]
    if settings.xmpp is None or not settings.room or not chats:
        return None
    room = Room(
        settings.xmpp, settings.room, settings.officers, chats[0], redis, outbox, lease.fence
    )
    chats[0].room = room.take
    chats[0].on_session = room.session_began
    return room
