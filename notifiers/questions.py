"""What was asked and what was closed? From `rb:challenges` into the outbox, each entry once.

::

    the ledger's mark moves --> read what stands on the stream --> store it, send what may go

The place in the stream moves in the transaction that stores what stood there. A question begins
its ladder in the same one, and leaves by it where the ledger's mark has passed its decision; so
the stream is read whenever that mark moves, and after `LOOKS_MS` all the same. A customer without a
channel is told to the flow at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import RedisError

from notifiers import ladder, rows
from notifiers import outbox as box
from notifiers.book import Asked, tie
from notifiers.bound import bindings_of
from notifiers.catalogue import SPOKEN
from notifiers.errors import NotReady
from notifiers.facts import Ask, Closing, Outgoing, parse_time, write_time
from notifiers.ladder import Rung
from notifiers.plan import PATIENCE, WAIT
from notifiers.records import SERVICE, Effect, audit, gave_up
from notifiers.term import Term, patience, read_object, text_of
from notifiers.wording import DEFAULT_LANGUAGE, reference
from risk import names
from risk.privacy import web_token

log = logging.getLogger(__name__)

READ_AT_ONCE = 64
LOOKS_MS = 250
LOADED_AT_ONCE = 32
INQUIRES_BY = ("xmpp", "sms")
NOTICES = frozenset({"unsigned", "delayed", "late", "contradicted", "fresh", "frozen"})
Fresh = tuple[rows.NewChallenge, Asked]
Store = Callable[[rows.Change], Awaitable[None]]


class Questions:
    """Reads for one term; `store` makes a change, and sends what may go after it."""

    def __init__(self, term: Term, store: Store) -> None:
        self._term = term
        self._store = store

    async def load(self) -> None:
        """Make the book again of what the outbox keeps."""
        term = self._term
        for number, known in enumerate(await term.outbox.look(rows.known)):
            if number % LOADED_AT_ONCE == 0:
                await asyncio.sleep(0)  # the lock must be renewed meanwhile
            payee = term.payee(known.ask)
            draw, code, digest = tie(term.answer_key, known.ask, payee, set(), known.draw)
            asked = Asked(
                ask=known.ask,
                payee=payee,
                language=known.language,
                zone=known.zone,
                draw=draw,
                code=code,
                bind=digest,
                addresses={kind: term.address(sealed) for kind, sealed, _ in known.channels},
                closed=known.closed,
                repeated=known.repeated,
                wrong=known.wrong,
                written={kind for kind, _, written in known.channels if written},
                payees=term.payees(known.ask),
            )
            term.book.add(asked)

    async def read(self) -> None:
        """Read on until cancelled."""
        term = self._term
        position, mark = await term.outbox.look(rows.position), "0-0"
        while True:
            async with patience("reading questions"):
                # What was under way goes out once all is read: at first nothing is waited for.
                waits = LOOKS_MS if term.caught_up.is_set() else 1
                pipe = term.redis.pipeline(transaction=False)
                pipe.xread({names.AUDIT_MARKS: mark}, block=waits)  # wakes; the key is what counts
                pipe.get(names.AUDIT_DURABLE)
                pipe.xread({names.CHALLENGES: position}, count=READ_AT_ONCE)
                moved, durable, got = await pipe.execute()
                mark = moved[0][1][-1][0].decode() if moved else mark
                term.reach(box.order(durable.decode()) if durable else "")
                entries = got[0][1] if got else []
                if entries:
                    position = await self._take_in(entries)
                if len(entries) < READ_AT_ONCE:
                    term.caught_up.set()

    async def _take_in(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> str:
        """Store what was read and the place in the stream, in one transaction."""
        term = self._term
        read = [_Entry.of(entry, fields) for entry, fields in entries]
        asks = [(one, ask) for one in read if (ask := _ask(one.id, one.says)) is not None]
        closings = [(one, c) for one in read if (c := _closing(one.says)) is not None]
        customers, newest = await self._look_up([ask for _, ask in asks], read)
        fresh = self._fresh(asks, customers, newest)
        last, now, at = read[-1].id, term.now(), write_time(term.clock())

        skipped = {one: self._skipped(asked, at) for one, (_, asked) in fresh.items()}

        told = [effect for effects in skipped.values() for effect in effects]

        def change(connection: Any) -> None:
            rows.add_effects(connection, told)
            for new, _ in fresh.values():
                if ladder.GiveUp() in rows.new_challenge(connection, new):
                    told.append(gave_up(new.ask, at, "no_channel"))
                    rows.add_effects(connection, told[-1:])
            for one, closing in closings:
                rows.close_challenge(connection, closing, now, one.after or newest)
            rows.move(connection, last)

        # What leaves by this very change must be known; if it fails, the term ends and all this.
        for _, asked in fresh.values():
            term.book.add(asked)
        for _, closing in closings:
            known = term.book.get(closing.challenge)
            if known is not None and known.closed is None:
                known.closed = closing
        await self._store(change)
        if told:
            term.told(*told)
        said = [effect for one in read for effect in await self._notice(one.id, one.says)]
        if said:
            await term.write(lambda connection: rows.add_effects(connection, said))
            term.told(*said)
        return last

    def _fresh(
        self,
        asks: Sequence[tuple["_Entry", Ask]],
        customers: Mapping[str, Mapping[str, Any]],
        newest: str,
    ) -> dict[str, Fresh]:
        """Prepare the questions that aren't known yet; each customer's codes differ."""
        fresh: dict[str, Fresh] = {}
        codes: dict[str, set[str]] = {}
        for one, ask in asks:
            if self._term.book.get(ask.id) is not None or ask.id in fresh:
                continue
            if ask.customer not in codes:
                known = self._term.book.open_of(ask.customer)
                codes[ask.customer] = {other.code for other in known}
            taken = codes[ask.customer]
            customer = customers.get(ask.customer, {})
            fresh[ask.id] = self._prepare(ask, customer, one.after or newest, taken)
            taken.add(fresh[ask.id][1].code)
        return fresh

    async def _look_up(
        self, asks: Sequence[Ask], read: Sequence["_Entry"]
    ) -> tuple[dict[str, dict[str, Any]], str]:
        """Read the customers; where an entry doesn't say so, what must be durable before it leaves.

        That is then the end of the audit stream, *after* the entry was read.
        """
        wanted = sorted({ask.customer for ask in asks})
        unsaid = any(one.says is not None and not one.after for one in read)
        if not wanted and not unsaid:
            return {}, ""
        pipe = self._term.redis.pipeline(transaction=False)
        for one in wanted:
            pipe.get(names.customer(one))
        if unsaid:
            pipe.xrevrange(names.AUDIT, count=1)
        found = await pipe.execute()
        customers = {
            one: read_object(raw) or {}
            for one, raw in zip(wanted, found, strict=False)
            if raw is not None
        }
        return customers, box.order(found[-1][0][0].decode()) if unsaid and found[-1] else ""

    def _prepare(self, ask: Ask, customer: Mapping[str, Any], mark: str, taken: set[str]) -> Fresh:
        term = self._term
        payee = term.payee(ask)
        draw, code, digest = tie(term.answer_key, ask, payee, taken)
        language = text_of(customer, "language") or DEFAULT_LANGUAGE
        zone = text_of(customer, "zone") or "UTC"
        bound = self._bound(customer)
        ask = replace(ask, seal_to=_seal_to(customer))
        rungs = term.plans.rungs(ask, text_of(customer, "ladder"), tuple(bound))
        if ask.about:
            rungs = _inquiring(ask, tuple(bound))
        asked = Asked(
            ask=ask,
            payee=payee,
            language=language,
            zone=zone,
            draw=draw,
            code=code,
            bind=digest,
            addresses={rung.kind: term.address(bound[rung.kind]) for rung in rungs},
            withheld=tuple(kind for kind in _withheld(customer) if kind in term.channels),
            bindings=bindings_of(customer),
            payees=term.payees(ask),
        )
        laid = tuple[tuple[Rung, str], ...]((rung, bound[rung.kind]) for rung in rungs)
        return rows.NewChallenge(ask, language, zone, draw, mark, laid, term.now()), asked

    def _skipped(self, asked: Asked, at: str) -> list[Effect]:
        """Say on record which channels were passed over, and why."""
        effects = []
        for kind in asked.withheld:
            rid = f"{names.CHALLENGES}/{asked.ask.entry}/outreach.sent/{kind}/ask/skipped"
            body = {
                "challenge": asked.ask.id,
                "channel": kind,
                "message": "ask",
                "delivery": "skipped",
                "why": "consent_withdrawn",
            }
            made = self._term.records.record(
                "outreach.sent",
                rid,
                at,
                body,
                ask=asked.ask,
                subject=asked.ask.customer,
                actor=SERVICE,
            )
            effects.append(Effect(rid, (audit(made),)))
        return effects

    def _bound(self, customer: Mapping[str, Any]) -> dict[str, str]:
        """Give the sealed address of each kind; a kind with `many` gets all that are bound."""
        bound: dict[str, str] = {}
        for channel in customer.get("channels") or ():
            kind = text_of(channel, "kind")
            mine = self._term.channels.get(kind)
            if not channel.get("verified") or mine is None or not _agreed(channel):
                continue
            address = text_of(channel, "address")
            if kind not in bound:
                bound[kind] = address
            elif getattr(mine, "many", False):
                bound[kind] += " " + address
        return bound

    async def _notice(self, entry: str, fields: Mapping[str, Any] | None) -> list[Effect]:
        """`{"op": "notice", "id", "say"}`: the flow has something to say, such as `unsigned`.

        Gives what goes on record of it.
        """
        if fields is None or fields.get("op") != "notice" or fields.get("say") not in NOTICES:
            return []
        term, effects = self._term, list[Effect]()
        asked = term.book.get(text_of(fields, "id"))
        if asked is None:
            return []
        words, texts = self._words(asked, str(fields["say"])), term.wording.texts(asked.language)
        for number, (kind, address) in enumerate(await self._places(asked, fields)):
            self._say(kind, address, f"notice/{entry}/{number}", asked, words)
            rid = f"{names.CHALLENGES}/{entry}/outreach.replied" + (f"/{number}" if number else "")
            made = term.records.record(
                "outreach.replied",
                rid,
                write_time(term.clock()),
                {
                    "challenge": asked.ask.id,
                    "channel": kind,
                    "said": str(fields["say"]),
                    "template": {"id": texts.id, "version": texts.version, "sha256": texts.sha256},
                },
                ask=asked.ask if asked.is_open else None,
                subject=asked.ask.customer,
                actor=SERVICE,
                personal={"text": words, "address": address},
            )
            effects.append(Effect(rid, (audit(made),)))
        return effects

    async def _places(self, asked: Asked, fields: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Where something is said: to who answered, and where it was asked if that is elsewhere.

        A new address of a customer may be a stranger's: so the one that was asked hears of it too.
        """
        term, places = self._term, list[tuple[str, str]]()
        kind, _, token = text_of(fields, "binding").partition("/")
        if kind in SPOKEN and kind in term.channels:
            try:
                raw: Any = await term.redis.get(names.customer(asked.ask.customer))
            except (RedisError, OSError, TimeoutError):
                raw = None
            stored = read_object(raw) or {}
            for channel in stored.get("channels") or ():
                mark = (text_of(channel, "kind"), text_of(channel, "token"))
                if mark == (kind, token) and channel.get("verified"):
                    places.append((kind, term.address(text_of(channel, "address"))))
        shown = self._tells(asked, text_of(fields, "channel"))
        if shown:
            places.append((shown, asked.addresses[shown]))
        return [one for one in dict.fromkeys(places) if one[1]]

    def _tells(self, asked: Asked, answered_by: str) -> str:
        """Where something is said: by which way it was answered, else by chat, else by text.

        A page tells its own customer; a push would take the place of the question.
        """
        for kind in (answered_by, *SPOKEN):
            if kind in SPOKEN and kind in self._term.channels and asked.addresses.get(kind):
                return kind
        return ""

    def _say(self, kind: str, address: str, key: str, asked: Asked, words: str) -> None:
        channel = self._term.channels[kind]
        say = getattr(channel, "say", None)
        if say is not None:
            say(address, address, words)
            return
        outgoing = Outgoing(
            key=key,
            challenge=asked.ask.id,
            kind="notice",
            address=address,
            body=words,
            notice=words,
            language=self._term.wording.texts(asked.language).language,
            institution=self._term.wording.house.name(asked.language),
            reference=reference(asked.ask.id),
            expires=asked.ask.expires,
        )
        try:
            channel.write(outgoing)
        except NotReady:
            log.warning("%s: %s was not told what became of an answer", kind, asked.ask.id)

    def _words(self, asked: Asked, what: str) -> str:
        """What is said; where a page can sign, the way to it."""
        term, challenge = self._term, asked.ask.id
        page, link = term.wording.house.page, ""
        if what == "unsigned" and term.links and page and not asked.ask.seal_to:
            what = "unsigned_page"
            link = f"{page.rstrip('/')}/c/{challenge}#{web_token(term.web_key, challenge)}"
        return term.wording.say(asked.language, what, reference=reference(challenge), link=link)


def _inquiring(ask: Ask, kinds: tuple[str, ...]) -> tuple[Rung, ...]:
    """The one channel of an inquiry: by text, and not where the way may not read what it says."""
    for kind in INQUIRES_BY:
        if kind in kinds and not (kind in SPOKEN and ask.seal_to):
            return (Rung(kind, WAIT, PATIENCE),)
    return ()


def _agreed(channel: Mapping[str, Any]) -> bool:
    """Whether the customer lets this channel be used; where nothing is said, the bank vouches."""
    consent = channel.get("consent")
    return not isinstance(consent, dict) or consent.get("state") != "withdrawn"


def _withheld(customer: Mapping[str, Any]) -> tuple[str, ...]:
    verified = [one for one in customer.get("channels") or () if one.get("verified")]
    used = {text_of(one, "kind") for one in verified if _agreed(one)}
    return tuple(sorted({text_of(one, "kind") for one in verified} - used))


def _seal_to(customer: Mapping[str, Any]) -> str:
    """The device key of the chat that is used: the first that is verified and agreed.

    Where none is agreed any more, the key still says that carriers shall not read what is asked.
    """
    chats = [
        channel
        for channel in customer.get("channels") or ()
        if text_of(channel, "kind") == "xmpp" and channel.get("verified")
    ]
    used = [channel for channel in chats if _agreed(channel)] or chats
    return text_of(used[0], "seal_to") if used else ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry: its id, what it says, and after which record it may leave the house."""

    id: str
    says: dict[str, Any] | None
    after: str

    @classmethod
    def of(cls, entry: bytes, fields: Mapping[bytes, bytes]) -> "_Entry":
        after = fields.get(b"after", b"").decode()
        return cls(
            entry.decode(), read_object(fields.get(b"challenge")), box.order(after) if after else ""
        )


def _ask(entry: str, fields: Mapping[str, Any] | None) -> Ask | None:
    if fields is None or fields.get("op") not in ("ask", "inquire"):
        return None
    try:
        read = Ask.from_stream if fields["op"] == "ask" else Ask.of_inquiry
        return read(entry, fields)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as broken:
        log.warning("%s %s: not a question: %r", names.CHALLENGES, entry, broken)
        return None


def _closing(fields: Mapping[str, Any] | None) -> Closing | None:
    if fields is None or fields.get("op") not in ("close", "inquired"):
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
