"""What does the leader do, from the question on the stream to the proof that it was taken?

::

    questions --> outbox, ladder --> sending --> channels --> customer
                     ^    |                         |
                     |    +--> telling --> Redis    | taken, failed, heard
                     +---------- hearing <----------+

One `Desk` is one term of leadership. Whatever ends it (lock lost, fenced, asked to stop) ends all
of it; the next term begins from the outbox.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence

from notifiers import ending, rows
from notifiers import outbox as box
from notifiers.announce import Announcing
from notifiers.channel import Channel
from notifiers.errors import Fenced
from notifiers.facts import Heard, HeardReceipt, Offer
from notifiers.gone import unbind
from notifiers.hearing import Hearing
from notifiers.leader import end_frozen
from notifiers.questions import Questions
from notifiers.room import Room
from notifiers.sending import Sending
from notifiers.telling import Telling
from notifiers.term import Term

log = logging.getLogger(__name__)


class Desk:
    """The leader's work. It is the `Listener` of its channels."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._sending = Sending(term)
        self._questions = Questions(term, self._sending.send_after)
        self._announcing = Announcing(term)
        self._telling = Telling(term, lambda: self._sending.in_flight)
        self._room: Room | None = None
        self._unbinding: set[asyncio.Task[None]] = set()
        self._hearing = Hearing(
            term.book,
            term.redis,
            term.tokens,
            term.records,
            term.wording,
            term.write,
            term.told,
        )

    async def lead(
        self, channels: Sequence[Channel], ready: Callable[[], None], room: Room | None = None
    ) -> None:
        """Work until the lock is lost, another leader is met, or this is cancelled."""
        term = self._term
        self._room = room
        keeping = asyncio.create_task(term.lease.keep())
        try:
            await self._take_over()
            term.channels.update({channel.kind: channel for channel in channels})
            await self._questions.load()
            work = [
                self._questions.read(),
                self._sending.send(),
                self._telling.tell(),
                self._announcing.run(),
                self._telling.tidy(),
                self._fail(),
                *(channel.run() for channel in channels),
                *([room.run()] if room is not None else []),
            ]
            ready()
            await ending.first([keeping, *(asyncio.create_task(one) for one in work)])
        finally:
            await ending.end([keeping])
            await self._sending.end()
            await self._telling.end()
            await ending.end(self._unbinding)

    async def _take_over(self) -> None:
        """Begin the term; a former leader that froze inside a transaction is ended for it."""
        term = self._term
        begin = box.take_over(term.lease.fence, term.lease.holder, term.now())
        try:
            await term.outbox.change(begin)
        except sqlite3.OperationalError:
            former = await term.outbox.look(rows.holder)
            if not await asyncio.to_thread(end_frozen, former, term.lease.holder):
                raise
            log.warning("leading: %s froze with the outbox locked and was ended", former)
            await term.outbox.change(begin)

    async def _fail(self) -> None:
        """Raise here what went wrong in a task that nobody awaits."""
        await self._sending.failed

    # -- what the channels tell ------------------------------------------------------------

    async def opened(self, kind: str) -> None:
        await self._sending.opened(kind)

    def taken(self, keys: Sequence[str]) -> None:
        if self._room is not None:
            self._room.taken(keys)
        self._announcing.taken(keys)
        self._sending.taken(keys)

    def bounced(self, kind: str, challenge: str, condition: str, bare: str) -> None:
        self._sending.bounced(kind, challenge, condition, bare)

    def failed(self, key: str, condition: str) -> None:
        self._announcing.failed(key)
        self._sending.failed_for_good(key, condition)

    def gone(self, kind: str, challenge: str, address: str) -> None:
        asked = self._term.book.get(challenge)
        if asked is None:
            return
        task = asyncio.create_task(unbind(self._term, asked.ask, kind, address))
        self._unbinding.add(task)
        task.add_done_callback(self._unbound)

    def _unbound(self, task: "asyncio.Task[None]") -> None:
        self._unbinding.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("an address that is gone stays bound for now: %s", task.exception())

    async def heard(self, heard: Heard) -> str | None:
        if isinstance(heard, HeardReceipt):
            self._sending.seen(heard.channel, heard.challenge, heard.bare)
        try:
            return await self._hearing.hear(heard)
        except Fenced as fenced:
            self._sending.fail(fenced)
            return None

    async def offers(self, bare: str) -> Sequence[Offer]:
        return await self._hearing.offers(bare)
