"""Who says that, by which layer, and of which question? What was heard is read and passed on.

::

    heard --bound address?--> A | B | C (here) | E: text --> which question? --> `answering`
              | no
              +-> refused, on record

A confirm needs its question named (code, id or digest), and comes from the address bound to its
customer. What it is worth, the customer's shard says.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers import bind, records
from notifiers.answering import Answering, Write
from notifiers.book import Asked, Book
from notifiers.devices import check_signed, spend
from notifiers.facts import (
    Decision,
    Heard,
    HeardAnswer,
    HeardCommand,
    HeardReaction,
    HeardReceipt,
    HeardText,
    Offer,
    Reason,
    write_time,
)
from notifiers.hearing_text import TextHearing
from notifiers.records import Effect, Records
from notifiers.saying import Saying, is_sealed
from notifiers.scrub import scrub
from notifiers.wording import DEFAULT_LANGUAGE, Wording
from risk import names
from risk.privacy import Tokens
from risk.signed import Unsigned

OFFERED = ("confirm", "deny", "not_me", "cancel")


class Hearing:
    """Hears for one leader. `write` runs a change in the outbox; `told` hears of it after it."""

    def __init__(
        self,
        book: Book,
        redis: "Redis",
        tokens: Tokens,
        made: Records,
        wording: Wording,
        write: Write,
        told: Callable[[Effect], None],
    ) -> None:
        self._book = book
        self._redis = redis
        self._tokens = tokens
        self._records = made
        self._wording = wording
        self._saying = Saying(book, wording)
        self._answering = Answering(book, redis, tokens, made, wording, self._saying, write, told)
        self._texts = TextHearing(
            book, redis, tokens, wording, self._saying, self._answering, write
        )
        # Weak: a turn lives as long as someone holds it or waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def hear(self, heard: Heard) -> str | None:
        """Take one thing that came in; gives the reply. One person's messages keep their order."""
        turn = self._turns.setdefault(heard.bare, asyncio.Lock())
        async with turn:
            said = await self._hear(heard)
            if said:
                await self._answering.reply(heard, said, await self._customer(heard.bare))
            return said

    async def offers(self, bare: str) -> Sequence[Offer]:
        """List the commands that this person may run now."""
        customer = await self._customer(bare)
        if customer is None:
            return ()
        offered = []
        for asked in self._book.held_of(customer):
            about = self._saying.about(asked)
            sealed = bool(asked.ask.seal_to)  # then the server may not read what it is about
            shown = about["reference"] if sealed else f"{about['amount']}, {about['payee']}"
            for name in OFFERED[1:] if sealed else OFFERED:
                label = self._wording.label(asked.language, name)
                offered.append(Offer(f"{name}#{asked.ask.id}", f"{label}: {shown}"))
        return offered

    async def _hear(self, heard: Heard) -> str | None:
        if isinstance(heard, HeardReceipt):
            return await self._hear_receipt(heard)
        customer = await self._customer(heard.bare)
        if customer is None:
            return await self._hear_stranger(heard)
        if isinstance(heard, HeardReaction):
            asked = self._own(customer, heard.challenge)
            await self._answering.note(heard, customer, asked, "E", {"why": "reaction"})
            return None
        if isinstance(heard, HeardAnswer):
            return await self._hear_answer(customer, heard)
        if isinstance(heard, HeardCommand):
            return await self._hear_command(customer, heard)
        if isinstance(heard, HeardText):
            return await self._texts.hear(customer, heard)
        return None

    async def _customer(self, bare: str) -> str | None:
        """Say whose address it is; while Redis is away, who was asked there."""
        try:
            found: Any = await self._redis.get(names.jid(self._tokens.token("jid", bare)))
        except (RedisError, OSError, TimeoutError):
            return next(
                (a.ask.customer for a in self._book.all_open() if bare in a.addresses.values()),
                None,
            )
        return None if found is None else found.decode()

    async def _hear_stranger(self, heard: Heard) -> str | None:
        """An address that is not bound: nothing of it is taken, whatever it names."""
        if isinstance(heard, HeardReaction) or not self._answering.may_record(heard):
            return None
        named = heard.challenge if isinstance(heard, HeardAnswer | HeardCommand) else ""
        text, cuts = scrub(heard.text) if isinstance(heard, HeardText) else ("", ())
        asked = self._book.get(named) if named else None
        subject = self._tokens.token("jid", heard.bare)
        body = {"taken": False, "why": "not_bound", "cuts": [cut.as_record() for cut in cuts]}
        await self._answering.record(heard, subject, asked, body, text, "claimed")
        return self._wording.say(DEFAULT_LANGUAGE, "not_bound")

    async def _hear_receipt(self, heard: HeardReceipt) -> str | None:
        """A claim of the address that was asked; who else names the question is not heard."""
        asked = self._book.get(heard.challenge)
        if asked is None or heard.kind in asked.receipts:
            return None
        if asked.addresses.get(heard.channel, "").partition("/")[0].lower() != heard.bare:
            return None
        asked.receipts.add(heard.kind)
        kind = f"receipt.{heard.kind}"
        made = self._records.record(
            kind,
            f"{names.CHALLENGES}/{asked.ask.id}/{kind}",
            write_time(heard.received),
            {"challenge": asked.ask.id, "channel": heard.channel, "delayed": heard.delayed},
            ask=asked.ask,
            subject=asked.ask.customer,
            actor=records.customer_actor(asked.ask.customer),
            personal={"jid": heard.address},
            strength="claimed",
        )
        await self._answering.put(Effect(made["rid"], (records.audit(made),)), patient=True)
        return None

    async def _hear_answer(self, customer: str, heard: HeardAnswer) -> str | None:
        asked = self._own(customer, heard.challenge)
        if asked is not None and heard.jws:
            return await self._hear_signed(customer, asked, heard)
        if asked is None or heard.decision not in {"confirm", "deny"}:
            await self._answering.note(heard, customer, asked, "B", {"why": "unknown"})
            return self._saying.say(customer, "nothing_open")
        right = asked.bind
        if is_sealed(asked, heard):  # the digest itself never travels, so nobody can flip this
            right = bind.tied(right, asked.ask.id, heard.decision, heard.reason)
        bound = bind.same(heard.bind, right)
        if heard.decision == "confirm" and not bound:
            await self._answering.note(heard, customer, asked, "B", {"why": "bind"})
            return self._saying.say(customer, "changed")
        decision: Decision = "confirm" if heard.decision == "confirm" else "deny"
        reason = _reason(heard.reason, decision)
        return await self._answering.answer(
            [asked], heard, decision, reason, "B", {"bind": heard.bind if bound else "other"}
        )

    async def _hear_signed(self, customer: str, asked: Asked, heard: HeardAnswer) -> str | None:
        try:
            facts = bind.facts(asked.ask, asked.payee)
            found = await check_signed(self._redis, heard.jws, facts)
        except Unsigned as refused:
            body = {"why": refused.why, "signed": False}
            await self._answering.note(heard, customer, asked, "A", {**body, "jws": heard.jws})
            return self._saying.say(customer, "changed")
        evidence = {
            "credential": found.credential,
            "digest": found.mark,
            "jws": found.compact,
            "binding": found.binding,
        }
        said = await self._answering.answer(
            [asked], heard, found.decision, found.reason, "A", evidence
        )
        await spend(self._redis, found.mark)
        return said

    async def _hear_command(self, customer: str, heard: HeardCommand) -> str | None:
        if heard.challenge:
            asked = self._own(customer, heard.challenge)
        else:
            open_now = self._book.held_of(customer)
            asked = open_now[0] if len(open_now) == 1 else None
            if asked is None and open_now:
                await self._answering.note(heard, customer, None, "C", {"why": "several"})
                return self._saying.list_open(customer, "unclear_several")
        if asked is None:
            await self._answering.note(heard, customer, None, "C", {"why": "unknown"})
            return self._saying.say(customer, "nothing_open")
        decision: Decision = "confirm" if heard.decision == "confirm" else "deny"
        reason = _reason(heard.reason, decision)
        said = await self._answering.answer(
            [asked], heard, decision, reason, "C", {"named": "command"}
        )
        if said is not None:
            return said
        label = self._wording.label(asked.language, reason or decision)
        return self._wording.say(asked.language, "received", answer=label)

    def _own(self, customer: str, challenge: str) -> Asked | None:
        asked = self._book.get(challenge)
        return asked if asked is not None and asked.ask.customer == customer else None


def _reason(text: str, decision: Decision) -> Reason | None:
    if decision == "confirm":
        return "duress" if text == "duress" else None
    if text == "not_me":
        return "not_me"
    return "cancel" if text == "cancel" else None
