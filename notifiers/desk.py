"""What does the leader do, from the question on the stream to the proof that it was taken?

::

    read ---> outbox ---> wait until the decision is durable ---> claim ---> write ---> taken
      close --^                    (rb:audit:durable)               |          |-- bounced
                                                                    +-- past half its life: dropped

One `Desk` is one term of leadership. Whatever ends it (lock lost, fenced, asked to stop) ends all
of it; the next term begins from the outbox.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers import ending, records, rows
from notifiers import outbox as box
from notifiers.book import Asked, Book, tie
from notifiers.channel import Channel
from notifiers.errors import Fenced, NotReady
from notifiers.facts import Ask, Closing, Heard, Offer, Outgoing, Payee, parse_time, write_time
from notifiers.foreign import clean
from notifiers.hearing import Hearing
from notifiers.leader import Lease, end_frozen
from notifiers.outbox import Outbox
from notifiers.records import Effect, Records
from notifiers.room import Room
from notifiers.wording import DEFAULT_LANGUAGE, Wording
from risk import names
from risk.privacy import SealBroken, Tokens, open_sealed, web_token

log = logging.getLogger(__name__)

READ_AT_ONCE = 256
IN_FLIGHT = 256
CLOSING_TRIED_FOR = 3600.0
UNREACHABLE_AT_ONCE = frozenset(
    {"service-unavailable", "not-allowed", "item-not-found", "recipient-unavailable", "forbidden",
     "remote-server-not-found", "gone", "not-acceptable", "jid-malformed", "not-authorized"}
)  # fmt: skip
LONGEST_ATTEMPTS = 5
STATUS = "rb:channels"

_TELL = """
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', 86400) then
  for i = 1, #ARGV, 3 do redis.call('XADD', ARGV[i], '*', ARGV[i + 1], ARGV[i + 2]) end
  return 1
end
return 0
"""


class Desk:
    """The leader's work. It is the `Listener` of its channels."""

    def __init__(
        self,
        *,
        redis: "Redis",
        outbox: Outbox,
        lease: Lease,
        tokens: Tokens,
        seal_key: bytes,
        answer_key: bytes,
        web_key: bytes,
        made: Records,
        wording: Wording,
        clock: Callable[[], datetime],
        links: bool,
    ) -> None:
        self._redis = redis
        self._outbox = outbox
        self._lease = lease
        self._seal_key = seal_key
        self._answer_key = answer_key
        self._web_key = web_key
        self._records = made
        self._wording = wording
        self._clock = clock
        self._links = links
        self._book = Book()
        self._channels: dict[str, Channel] = {}
        self._durable = ""
        self._wake = asyncio.Event()
        self._tell = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._in_flight: dict[str, str] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._room: Room | None = None
        self._hearing = Hearing(
            self._book, redis, tokens, made, wording, self._write, self._tell.set
        )

    # -- the term --------------------------------------------------------------------------

    async def lead(
        self, channels: Sequence[Channel], ready: Callable[[], None], room: Room | None = None
    ) -> None:
        """Work until the lock is lost, another leader is met, or this is cancelled."""
        self._room = room
        await self._take_over()
        await self._load()
        self._channels = {channel.kind: channel for channel in channels}
        self._failed = asyncio.get_running_loop().create_future()
        work = [
            self._lease.keep(),
            self._read(),
            self._send(),
            self._push(),
            self._tidy(),
            self._fail(),
            *(channel.run() for channel in channels),
            *([room.run()] if room is not None else []),
        ]
        ready()
        try:
            await ending.first([asyncio.create_task(one) for one in work])
        finally:
            await ending.end(self._settling)

    async def _take_over(self) -> None:
        """Begin the term; a former leader that froze inside a transaction is ended for it."""
        begin = box.take_over(self._lease.fence, self._lease.holder)
        try:
            await self._outbox.change(begin)
        except sqlite3.OperationalError:
            former = await self._outbox.look(rows.holder)
            if not await asyncio.to_thread(end_frozen, former, self._lease.holder):
                raise
            log.warning("leading: %s froze with the outbox locked and was ended", former)
            await self._outbox.change(begin)

    async def _fail(self) -> None:
        """Raise here what went wrong in a task that nobody awaits."""
        if self._failed is not None:
            await self._failed

    async def _write(self, change: rows.Change) -> Any:
        return await self._outbox.change(change, fence=self._lease.fence)

    async def _load(self) -> None:
        for known in await self._outbox.look(rows.known):
            payee = self._payee(known.ask)
            draw, code, digest = tie(self._answer_key, known.ask, payee, set(), known.draw)
            asked = Asked(
                ask=known.ask,
                payee=payee,
                language=known.language,
                zone=known.zone,
                draw=draw,
                code=code,
                bind=digest,
                addresses={kind: self._address(sealed) for kind, sealed, _ in known.channels},
                closed=known.closed,
                repeated=known.repeated,
                wrong=known.wrong,
                written={kind for kind, _, written in known.channels if written},
            )
            self._book.add(asked)

    # -- reading ---------------------------------------------------------------------------

    async def _read(self) -> None:
        position = await self._outbox.look(rows.position)
        while True:
            async with _patience("reading questions"):
                got: Any = await self._redis.xread(
                    {names.CHALLENGES: position}, count=READ_AT_ONCE, block=1000
                )
                entries = got[0][1] if got else []
                if entries:
                    position = await self._take_in(entries)
                if len(entries) < READ_AT_ONCE:
                    self._caught_up.set()
                self._wake.set()

    async def _take_in(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> str:
        """Store what was read and the place in the stream, in one transaction."""
        read = [(entry.decode(), _object(fields.get(b"challenge"))) for entry, fields in entries]
        asks = [ask for entry, fields in read if (ask := _ask(entry, fields)) is not None]
        customers, mark = await self._look_up(asks)
        fresh: dict[str, tuple[rows.NewChallenge, Asked]] = {}
        for ask in asks:
            if self._book.get(ask.id) is None and ask.id not in fresh:
                fresh[ask.id] = self._prepare(ask, customers.get(ask.customer, {}), mark, fresh)
        closings = [c for _, fields in read if (c := _closing(fields)) is not None]
        last = read[-1][0]
        drop_at = self._clock().timestamp() + CLOSING_TRIED_FOR

        def change(connection: Any) -> list[Closing]:
            for new, _ in fresh.values():
                rows.new_challenge(connection, new)
            closed = [c for c in closings if rows.close_challenge(connection, c, drop_at)]
            rows.move(connection, last)
            return closed

        closed = await self._write(change)
        for _, asked in fresh.values():
            self._book.add(asked)
        for closing in closed:
            known = self._book.get(closing.challenge)
            if known is not None:
                known.closed = closing
        await self._tell_unbound([asked for _, asked in fresh.values()])
        for _, fields in read:
            self._notice(fields)
        return last

    async def _look_up(self, asks: Sequence[Ask]) -> tuple[dict[str, dict[str, Any]], str]:
        """Read the customers, and the end of the audit stream *after* the questions were read."""
        if not asks:
            return {}, ""
        wanted = sorted({ask.customer for ask in asks})
        pipe = self._redis.pipeline(transaction=False)
        pipe.mget([names.customer(one) for one in wanted])
        pipe.xrevrange(names.AUDIT, count=1)
        found, newest = await pipe.execute()
        customers = {
            one: _object(raw) or {}
            for one, raw in zip(wanted, found, strict=True)
            if raw is not None
        }
        mark = box.order(newest[0][0].decode()) if newest else ""
        return customers, mark

    def _prepare(
        self,
        ask: Ask,
        customer: Mapping[str, Any],
        mark: str,
        fresh: Mapping[str, tuple[rows.NewChallenge, Asked]],
    ) -> tuple[rows.NewChallenge, Asked]:
        payee = self._payee(ask)
        open_now = self._book.open_of(ask.customer)
        open_now += [asked for _, asked in fresh.values() if asked.ask.customer == ask.customer]
        draw, code, digest = tie(self._answer_key, ask, payee, {one.code for one in open_now})
        language = str(customer.get("language") or DEFAULT_LANGUAGE)
        zone = str(customer.get("zone") or "UTC")
        bound: dict[str, str] = {}
        for channel in customer.get("channels") or ():
            kind = str(channel.get("kind"))
            if channel.get("verified") and kind in self._channels and kind not in bound:
                bound[kind] = str(channel.get("address") or "")
        asked = Asked(
            ask=ask,
            payee=payee,
            language=language,
            zone=zone,
            draw=draw,
            code=code,
            bind=digest,
            addresses={kind: self._address(sealed) for kind, sealed in bound.items()},
        )
        new = rows.NewChallenge(ask, language, zone, draw, mark, tuple(bound.items()))
        return new, asked

    async def _tell_unbound(self, fresh: Sequence[Asked]) -> None:
        for asked in fresh:
            if not asked.addresses:
                await self._unreachable(asked, "no_channel")

    def _notice(self, fields: Mapping[str, Any] | None) -> None:
        """`{"op": "notice", "id", "say"}`: the flow has something to say, such as `unsigned`."""
        if fields is None or fields.get("op") != "notice":
            return
        asked = self._book.get(str(fields.get("id")))
        channel = self._channels.get("xmpp")
        say = getattr(channel, "say", None)
        if asked is None or say is None or fields.get("say") not in {"unsigned", "delayed", "late"}:
            return
        address = asked.addresses.get("xmpp")
        if address:
            say(address, address, self._wording.say(asked.language, str(fields["say"])))

    # -- sending ---------------------------------------------------------------------------

    async def _send(self) -> None:
        await self._caught_up.wait()
        while True:
            sent = False
            async with _patience("sending"):
                sent = await self._send_some()
            if not sent:
                waits = 0.25
                if await self._outbox.look(_gated(self._durable)):
                    waits = 0.004  # a decision is about to become durable
                await self._sleep(waits)

    async def _send_some(self) -> bool:
        if not await self._outbox.look(rows.anything_due):
            return False
        now = self._clock()
        await self._refresh_mark()
        free = max(0, IN_FLIGHT - len(self._in_flight))
        up = [kind for kind, channel in self._channels.items() if channel.ready]
        fence, at, durable = self._lease.fence, write_time(now), self._durable

        def change(connection: Any) -> tuple[list[rows.Row], list[rows.Row]]:
            gone = rows.overdue(connection, now.timestamp())
            return gone, rows.claim(connection, fence, durable, up, free, at)

        given_up, claimed = await self._write(change)
        for row in given_up:
            await self._given_up(row, "half_life" if row.attempt == 0 else "not_taken")
        for row in claimed:
            self._write_out(row)
        return bool(claimed)

    def _write_out(self, row: rows.Row) -> None:
        """Write one claimed message, unless the term is over: then nothing more goes out."""
        asked = self._book.get(row.challenge)
        channel = self._channels[row.channel]
        if asked is None:
            log.warning("outbox: %s belongs to no known question", row.key)
            return
        if not self._lease.holds():
            raise Fenced(f"term {self._lease.fence} is over: {row.key} was not sent")
        try:
            self._in_flight[row.key] = row.channel
            channel.write(self._outgoing(row, asked))
            asked.written.add(row.channel)
        except NotReady:
            log.info("outbox: %s waits for the channel", row.key)

    def _outgoing(self, row: rows.Row, asked: Asked) -> Outgoing:
        if row.kind == "close" and asked.closed is not None:
            body = self._wording.close(
                asked.language, asked.zone, asked.ask, asked.payee, asked.closed
            )
            return Outgoing(row.key, row.challenge, "close", self._address(row.address), body)
        return Outgoing(
            key=row.key,
            challenge=row.challenge,
            kind="ask",
            address=self._address(row.address),
            body=self._question(asked),
            amount=asked.ask.amount,
            currency=asked.ask.currency,
            payee=clean(asked.payee.name),
            expires=asked.ask.expires,
            bind=asked.bind,
            buttons=self._wording.buttons(asked.language, asked.code),
        )

    def _question(self, asked: Asked) -> str:
        link = ""
        page = self._wording.house.page
        if self._links and page:
            one = asked.ask.id
            link = f"{page.rstrip('/')}/c/{one}#{web_token(self._web_key, one)}"
        return self._wording.ask(
            asked.language, asked.zone, asked.ask, asked.payee, asked.code, link
        )

    async def _refresh_mark(self) -> None:
        raw: Any = await self._redis.get(names.AUDIT_DURABLE)
        self._durable = box.order(raw.decode()) if raw else ""

    # -- what the channels tell ------------------------------------------------------------

    async def opened(self, kind: str) -> None:
        self._in_flight = {k: c for k, c in self._in_flight.items() if c != kind}
        again = await self._write(lambda c: rows.unproved(c, kind))
        if again:
            log.info("%s: %d messages were not proved taken and go again", kind, again)
        self._wake.set()

    def taken(self, keys: Sequence[str]) -> None:
        if self._room is not None:
            self._room.taken(keys)
        self._settle(self._taken(list(keys)))

    async def _taken(self, keys: list[str]) -> None:
        at = write_time(self._clock())

        def change(connection: Any) -> None:
            effects = [
                self._sent(row, "taken", at) for row in rows.settle(connection, keys, "taken")
            ]
            rows.add_effects(connection, [effect for effect in effects if effect is not None])

        await self._write(change)
        for key in keys:
            self._in_flight.pop(key, None)
        self._wake.set()
        self._tell.set()

    def bounced(self, kind: str, challenge: str, condition: str, bare: str) -> None:
        one, closing = challenge.removesuffix(".closed"), challenge.endswith(".closed")
        asked = self._book.get(one)
        address = asked.addresses.get(kind, "") if asked is not None else ""
        if asked is None or address.partition("/")[0].lower() != bare:
            return  # the bounce of a short reply, or one that a stranger made up
        if not closing:
            self._settle(self._bounced(asked, kind, condition))

    async def _bounced(self, asked: Asked, kind: str, condition: str) -> None:
        key = f"{asked.ask.id}/{kind}/ask"
        at = write_time(self._clock())
        final = condition in UNREACHABLE_AT_ONCE
        if not final:
            await asyncio.sleep(0.5)

        def change(connection: Any) -> bool:
            for row in rows.settle(connection, [key], "bounced"):
                if not final and row.attempt < LONGEST_ATTEMPTS:
                    connection.execute("UPDATE messages SET state = 'due' WHERE key = ?", (key,))
                    return False
                effect = self._sent(row, "bounced", at, condition)
                rows.add_effects(connection, [effect] if effect else [])
                return True
            return False

        if await self._write(change):
            await self._unreachable(asked, condition)
        self._in_flight.pop(key, None)
        self._wake.set()

    async def heard(self, heard: Heard) -> str | None:
        try:
            return await self._hearing.hear(heard)
        except Fenced as fenced:
            self._end(fenced)
            return None

    async def offers(self, bare: str) -> Sequence[Offer]:
        return await self._hearing.offers(bare)

    def _settle(self, work: Any) -> None:
        task = asyncio.create_task(self._settled(work))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settled(self, work: Any) -> None:
        try:
            await work
        except Exception as failed:  # noqa: BLE001 - the term ends with it
            self._end(failed)

    def _end(self, failed: Exception) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(failed)

    # -- records and answers ---------------------------------------------------------------

    def _sent(self, row: rows.Row, delivery: str, at: str, why: str = "") -> Effect | None:
        """Write what went out and what became of it; the text lies under a seal."""
        asked = self._book.get(row.challenge)
        if asked is None:
            return None
        texts = self._wording.texts(asked.language)
        outgoing = self._outgoing(row, asked)
        came = f"{names.CHALLENGES}/{asked.ask.entry}"
        rid = f"{came}/outreach.sent/{row.channel}/{row.kind}/{delivery}"
        body: dict[str, Any] = {
            "challenge": asked.ask.id,
            "channel": row.channel,
            "message": row.kind,
            "delivery": delivery,
            "attempt": row.attempt,
            "template": {"id": texts.id, "sha256": texts.sha256},
            "language": texts.language,
            "bind": asked.bind,
        }
        if why:
            body["why"] = why
        personal = {"text": outgoing.body}
        if outgoing.address:
            personal["address"] = outgoing.address
        made = self._records.record(
            "outreach.sent",
            rid,
            at,
            body,
            ask=asked.ask,
            subject=asked.ask.customer,
            actor=records.SERVICE,
            personal=personal,
        )
        return Effect(rid, (records.audit(made),))

    async def _given_up(self, row: rows.Row, why: str) -> None:
        asked = self._book.get(row.challenge)
        self._in_flight.pop(row.key, None)
        if asked is None:
            return
        effect = self._sent(row, "dropped", write_time(self._clock()), why)
        if effect is not None:
            await self._write(lambda c: rows.add_effects(c, [effect]))
            self._tell.set()
        if row.kind == "ask":
            await self._unreachable(asked, why)

    async def _unreachable(self, asked: Asked, why: str) -> None:
        """Tell the flow, once, when no channel is left."""
        at = write_time(self._clock())
        effect = Effect(f"unreachable/{asked.ask.id}", (records.unreachable(asked.ask, at, why),))

        def change(connection: Any) -> None:
            if rows.hopeless(connection, asked.ask.id) and rows.tell_once(connection, asked.ask.id):
                rows.add_effects(connection, [effect])

        await self._write(change)
        self._tell.set()

    async def _push(self) -> None:
        """Carry effects to Redis, in order, each in one transaction and once."""
        script = self._redis.register_script(_TELL)
        while True:
            self._tell.clear()
            effects = await self._outbox.look(lambda c: rows.some_effects(c, 0))
            while effects:
                async with _patience("telling the flow"):
                    pipe = self._redis.pipeline(transaction=False)
                    for _, effect in effects:
                        arguments: list[Any] = [part for entry in effect.entries for part in entry]
                        await script(keys=[f"rb:told:{effect.uid}"], args=arguments, client=pipe)
                    await pipe.execute()
                    last = effects[-1][0]
                    effects = await self._write(_pushed(last))
            await self._tell.wait()

    # -- housekeeping ----------------------------------------------------------------------

    async def _tidy(self) -> None:
        forgotten = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            async with _patience("saying how the channels are"):
                await self._redis.hset(STATUS, mapping=await self._status())
            if time.monotonic() - forgotten > 60.0:
                forgotten = time.monotonic()
                gone = self._book.forget(self._clock())
                if gone:
                    await self._write(_forgotten(gone))

    async def _status(self) -> dict[Any, Any]:
        counts = await self._outbox.look(rows.counts)
        at = write_time(self._clock())
        return {
            kind: orjson.dumps(
                {
                    "ready": channel.ready,
                    "term": self._lease.fence,
                    "due": counts.get("due", 0),
                    "in_flight": len(self._in_flight),
                    "taken": counts.get("taken", 0),
                    "bounced": counts.get("bounced", 0),
                    "dropped": counts.get("dropped", 0),
                    "untold": counts["effects"],
                    "at": at,
                }
            )
            for kind, channel in self._channels.items()
        }

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _payee(self, ask: Ask) -> Payee:
        try:
            opened = _object(open_sealed(self._seal_key, ask.payee, b"payee")) or {}
        except SealBroken:
            log.warning("question %s: its payee does not open", ask.id)
            opened = {}
        return Payee(str(opened.get("name") or ""), str(opened.get("account") or ""))

    def _address(self, sealed: str) -> str:
        if not sealed:
            return ""
        try:
            return open_sealed(self._seal_key, sealed, b"address").decode()
        except SealBroken:
            log.warning("a customer's address does not open")
            return ""


def _forgotten(gone: Sequence[str]) -> rows.Change:
    def change(connection: Any) -> None:
        rows.forget(connection, gone)

    return change


def _pushed(last: int) -> rows.Change:
    def change(connection: Any) -> list[tuple[int, Effect]]:
        rows.remove_effects(connection, last)
        return rows.some_effects(connection, last)

    return change


def _gated(durable: str) -> rows.Change:
    def change(connection: Any) -> bool:
        row = connection.execute(
            "SELECT 1 FROM messages WHERE state = 'due' AND due_after > ? LIMIT 1", (durable,)
        ).fetchone()
        return row is not None

    return change


def _object(raw: bytes | None) -> dict[str, Any] | None:
    if raw is None:
        return None
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _ask(entry: str, fields: Mapping[str, Any] | None) -> Ask | None:
    if fields is None or fields.get("op") != "ask":
        return None
    try:
        return Ask.from_stream(entry, fields)
    except (KeyError, ValueError) as broken:
        log.warning("%s %s: not a question: %r", names.CHALLENGES, entry, broken)
        return None


def _closing(fields: Mapping[str, Any] | None) -> Closing | None:
    if fields is None or fields.get("op") != "close":
        return None
    try:
        at = str(fields["at"])
        parse_time(at)
        return Closing(
            str(fields["id"]), str(fields["state"]), str(fields.get("decision") or ""), at
        )
    except (KeyError, ValueError) as broken:
        log.warning("%s: not a closing: %r", names.CHALLENGES, broken)
        return None


@asynccontextmanager
async def _patience(doing: str) -> AsyncIterator[None]:
    """Redis may be away for a while: say so, wait a little, and let the caller go on."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as failed:
        log.warning("%s: Redis: %s; trying again", doing, failed)
        await asyncio.sleep(0.2)
