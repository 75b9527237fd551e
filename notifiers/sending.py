"""What goes out, by which channel, and what became of it?

::

    due --decision durable?--> claim --> write --> taken            each on record, and the
                                           |-----> bounced, failed  ladder is told what follows
                 past half its life: dropped

Nothing is written once the term is over. How much is under way is bounded for each channel alone,
so that a slow one holds up no other.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from notifiers import ending, records, rows
from notifiers.book import Asked
from notifiers.compose import Composed, Composer
from notifiers.errors import Fenced, NotReady
from notifiers.facts import MessageKind, write_time
from notifiers.records import Effect
from notifiers.term import Term, patience
from risk import names

log = logging.getLogger(__name__)

IN_FLIGHT = 64  # of one channel; a lost session may repeat so many, so no more than it needs
WRITTEN_AT_ONCE = 8
LONGEST_ATTEMPTS = 5
LOOKS_EVERY = 0.25
LOOKS_AGAIN = 0.004  # what was due was not to be sent: soon more is
UNREACHABLE_AT_ONCE = frozenset(
    {"service-unavailable", "not-allowed", "item-not-found", "recipient-unavailable", "forbidden",
     "remote-server-not-found", "gone", "not-acceptable", "jid-malformed", "not-authorized"}
)  # fmt: skip


class Sending:
    """Sends for one term. `failed` is done when something went wrong that ends the term."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._in_flight: dict[str, str] = {}
        self._composed: dict[str, Composed] = {}
        self._crowded = False  # some channel could be given nothing when last looked at
        self._one_at_a_time = asyncio.Lock()
        self._sleeps_until = 0.0
        self._settling: set[asyncio.Task[None]] = set()
        self._composer = Composer(term.wording, term.answer_key, term.web_key, term.links)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def in_flight(self) -> int:
        """How many messages are written and not settled."""
        return len(self._in_flight)

    async def send(self) -> None:
        """Send what is due until cancelled, once all that was asked has been read."""
        term = self._term
        await term.caught_up.wait()
        while True:
            term.wake.clear()
            async with patience("sending"):
                look = partial(rows.coming, free=self._free())
                await self._send(await term.outbox.look(look))

    async def send_after(self, change: rows.Change) -> None:
        """Make a change, and send what may go after it: in one transaction, once all is read."""
        term = self._term
        if not term.caught_up.is_set():
            await term.write(change)
            return
        _, coming = await self._send_some(term.now(), change)
        at = coming.at(term.durable)
        if at is not None and at < self._sleeps_until:
            term.wake.set()

    async def _send(self, coming: rows.Coming) -> None:
        """Send what is to come, until something else may be: woken, or after a while."""
        term, loop = self._term, asyncio.get_running_loop()
        until = loop.time() + LOOKS_EVERY  # a channel may be ready again, and nobody says so
        while not term.wake.is_set() and loop.time() < until:
            term.gate = coming.gate
            at, now = coming.at(term.durable), term.now()
            if at is not None and at <= now:
                claimed, coming = await self._send_some(now)
                if not claimed:
                    await self._sleep(LOOKS_AGAIN)
                    return
            else:
                await self._sleep(LOOKS_EVERY if at is None else min(LOOKS_EVERY, at - now))

    async def end(self) -> None:
        """Let nothing run on after the term."""
        await ending.end(self._settling)

    async def _sleep(self, seconds: float) -> None:
        self._sleeps_until = self._term.now() + seconds
        try:
            async with asyncio.timeout(seconds):
                await self._term.wake.wait()
        except TimeoutError:
            pass
        self._sleeps_until = 0.0  # it looks by itself

    async def _send_some(
        self, now: float, before: rows.Change | None = None
    ) -> tuple[bool, rows.Coming]:
        async with self._one_at_a_time:  # each must know how much the other has under way
            claimed, coming = await self._claim(now, before)
            await self._read_leaves(claimed)
            for number, row in enumerate(claimed):
                if number % WRITTEN_AT_ONCE == 0:
                    await asyncio.sleep(0)  # the lock is renewed, and answers heard, meanwhile
                self._write_out(row)
            return bool(claimed), coming

    async def _claim(
        self, now: float, before: rows.Change | None
    ) -> tuple[list[rows.Row], rows.Coming]:
        term = self._term
        free = self._free()
        fence, at, durable = term.lease.fence, write_time(term.clock()), term.durable

        def change(connection: Any) -> tuple[list[rows.Row], bool, rows.Coming]:
            if before is not None:
                before(connection)
            late, lost = rows.overdue(connection, now), rows.tick(connection, now)
            for row, last in late:
                self._drop(connection, row, at, lost=last)
            for one in lost:
                self._give_up(connection, one, at, "half_life")
            claimed = rows.claim(connection, fence, durable, free, at, now)
            return claimed, bool(late or lost), rows.coming(connection, free)

        claimed, told, coming = await term.write(change)
        term.gate = coming.gate
        if told:
            term.tell.set()
            term.hurry.set()
        return claimed, coming

    async def _read_leaves(self, claimed: Sequence[rows.Row]) -> None:
        """A closing carries the hash of its record, where the ledger has told it in time."""
        closing = [row.challenge for row in claimed if row.kind == "close"]
        asked = [found for one in closing if (found := self._term.book.get(one)) is not None]
        if not asked:
            return
        try:
            leaves: Any = await self._term.redis.mget([names.leaf(one.ask.event) for one in asked])
        except (RedisError, OSError, TimeoutError) as away:
            log.warning("closing without a leaf's hash: Redis: %s", away)  # what is claimed goes
            return
        for one, leaf in zip(asked, leaves, strict=True):
            one.leaf = leaf.decode() if leaf else ""

    def _free(self) -> dict[str, int]:
        """How many messages each channel may be given now, where it may be given any."""
        busy = dict.fromkeys(self._term.channels, 0)
        for kind in self._in_flight.values():
            busy[kind] = busy.get(kind, 0) + 1
        free = {
            kind: IN_FLIGHT - busy[kind]
            for kind, channel in self._term.channels.items()
            if channel.ready and busy[kind] < IN_FLIGHT
        }
        self._crowded = len(free) < len(self._term.channels)
        return free

    def _write_out(self, row: rows.Row) -> None:
        """Write one claimed message, unless the term is over: then nothing more goes out."""
        term = self._term
        asked = term.book.get(row.challenge)
        channel = term.channels[row.channel]
        if asked is None:
            log.warning("outbox: %s belongs to no known question", row.key)
            return
        if not term.lease.holds():
            raise Fenced(f"term {term.lease.fence} is over: {row.key} was not sent")
        try:
            self._in_flight[row.key] = row.channel
            composed = self._composed[row.key] = self._compose(row, asked)
            channel.write(composed.outgoing)
            asked.written.add(row.channel)
        except NotReady:
            log.info("outbox: %s waits for the channel", row.key)

    def _compose(self, row: rows.Row, asked: Asked) -> Composed:
        known = self._composed.get(row.key)
        if known is not None:
            return known
        kind: MessageKind = "close" if row.kind == "close" else "ask"
        address = asked.addresses.get(row.channel) or self._term.address(row.address)
        return self._composer.compose(row.key, kind, row.channel, asked, address)

    # -- what the channels tell ------------------------------------------------------------

    async def opened(self, kind: str) -> None:
        """A session of this channel begins: what lacks proof goes again."""
        term = self._term
        self._in_flight = {k: c for k, c in self._in_flight.items() if c != kind}
        self._composed = {k: c for k, c in self._composed.items() if k in self._in_flight}
        again = await term.write(lambda c: rows.unproved(c, kind, term.now()))
        if again:
            log.info("%s: %d messages were not proved taken and go again", kind, again)
        term.wake.set()

    def taken(self, keys: Sequence[str]) -> None:
        """These were proved taken."""
        self._settle(self._taken(list(keys)))

    def failed_for_good(self, key: str, condition: str) -> None:
        """This one will not arrive by its channel."""
        self._settle(self._failed(key, condition))

    def bounced(self, kind: str, challenge: str, condition: str, bare: str) -> None:
        """A stanza of ours came back; only the person it went to can send it back."""
        one, closing = challenge.removesuffix(".closed"), challenge.endswith(".closed")
        asked = self._term.book.get(one)
        address = asked.addresses.get(kind, "") if asked is not None else ""
        if asked is None or closing or address.partition("/")[0].lower() != bare:
            return  # of a short reply or a closing, or one that a stranger made up
        key = f"{one}/{kind}/ask"
        if condition in UNREACHABLE_AT_ONCE:
            self._settle(self._failed(key, condition))
        else:
            self._settle(self._try_again(key, condition))

    def seen(self, kind: str, challenge: str, bare: str) -> None:
        """A sign of life came from the address that was asked."""
        asked = self._term.book.get(challenge)
        if asked is not None and asked.addresses.get(kind, "").lower() == bare:
            self._settle(self._seen(kind, challenge))

    async def _taken(self, keys: list[str]) -> None:
        term = self._term
        now, at = term.now(), write_time(term.clock())

        def change(connection: Any) -> None:
            for row, _ in rows.settle(connection, keys, "taken", now):
                self._put_on_record(connection, row, "taken", at)

        await term.write(change, patient=True)
        self._settled(keys, moved=False)

    async def _failed(self, key: str, condition: str) -> None:
        term = self._term
        now, at = term.now(), write_time(term.clock())

        def change(connection: Any) -> None:
            for row, lost in rows.settle(connection, [key], "bounced", now):
                self._put_on_record(connection, row, "bounced", at, condition)
                if lost:
                    self._give_up(connection, row.challenge, at, condition)

        await term.write(change)
        term.hurry.set()
        self._settled([key])

    async def _try_again(self, key: str, condition: str) -> None:
        """An error that may pass: some more attempts, a little apart."""
        await asyncio.sleep(0.5)
        attempts = await self._term.outbox.look(_attempts(key))
        if attempts >= LONGEST_ATTEMPTS:
            await self._failed(key, condition)
            return
        await self._term.write(lambda connection: rows.again(connection, key))
        self._settled([key])

    async def _seen(self, kind: str, challenge: str) -> None:
        now, at = self._term.now(), write_time(self._term.clock())

        def change(connection: Any) -> None:
            row = rows.see(connection, challenge, kind, now)
            if row is not None:
                self._put_on_record(connection, row, "taken", at)

        await self._term.write(change, patient=True)
        self._settled([f"{challenge}/{kind}/ask"], moved=False)

    def _settled(self, keys: Sequence[str], *, moved: bool = True) -> None:
        """These are no more under way; ``moved`` where something else may be due by that."""
        for key in keys:
            self._in_flight.pop(key, None)
            self._composed.pop(key, None)
        if self._crowded or moved:
            self._term.wake.set()
        self._term.tell.set()

    def _settle(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._or_end(work))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _or_end(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as failed:  # noqa: BLE001 - the term ends with it
            self.fail(failed)

    def fail(self, failed: Exception) -> None:
        """End the term by what went wrong."""
        if not self.failed.done():
            self.failed.set_exception(failed)

    # -- on record -------------------------------------------------------------------------

    def _drop(self, connection: Any, row: rows.Row, at: str, *, lost: bool) -> None:
        """What is too old is not sent any more."""
        self._in_flight.pop(row.key, None)
        self._composed.pop(row.key, None)
        why = "half_life" if row.attempt == 0 else "not_taken"
        self._put_on_record(connection, row, "dropped", at, why)
        if lost:
            self._give_up(connection, row.challenge, at, why)

    def _give_up(self, connection: Any, challenge: str, at: str, why: str) -> None:
        """Tell the flow, in the transaction in which the last rung failed."""
        asked = self._term.book.get(challenge)
        if asked is not None:
            rows.add_effects(connection, [records.gave_up(asked.ask, at, why)])

    def _put_on_record(
        self, connection: Any, row: rows.Row, delivery: str, at: str, why: str = ""
    ) -> None:
        """Write what went out and what became of it; the text lies under a seal."""
        asked = self._term.book.get(row.challenge)
        if asked is None:
            return
        composed = self._compose(row, asked)
        said, personal = self._composer.record(composed, asked)
        came = f"{names.CHALLENGES}/{asked.ask.entry}"
        rid = f"{came}/outreach.sent/{row.channel}/{row.kind}/{delivery}"
        body: dict[str, Any] = {
            "challenge": asked.ask.id,
            "channel": row.channel,
            "message": row.kind,
            "delivery": delivery,
            "attempt": row.attempt,
            **said,
        }
        written = rows.written_at(connection, row)
        if written:
            body["written"] = written
        if why:
            body["why"] = why
        if composed.outgoing.address:
            personal["address"] = composed.outgoing.address
        made = self._term.records.record(
            "outreach.sent",
            rid,
            at,
            body,
            ask=asked.ask,
            subject=asked.ask.customer,
            actor=records.SERVICE,
            personal=personal,
        )
        rows.add_effects(connection, [Effect(rid, (records.audit(made),))])


def _attempts(key: str) -> rows.Change:
    def change(connection: Any) -> int:
        row = connection.execute("SELECT attempt FROM messages WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row is not None else 0

    return change
