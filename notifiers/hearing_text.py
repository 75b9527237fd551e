"""What does a customer mean who simply types? Layer E: plain words, a code, emoji, a slip.

::

    text --duress word out--> scrubbed --> understood --> confirm | deny, freeze | human | unclear
                                             |
                                      which question? the one whose code stands in it

A confirm needs its code; a deny without one denies all that waits. What isn't clear is asked again,
once for each question, and never guessed. A duress word goes with the answer and shows nowhere.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from notifiers import bind, records, rows
from notifiers.answering import Answering, Write
from notifiers.book import Asked, Book
from notifiers.bound import duress_word
from notifiers.facts import Heard, HeardText, Reason
from notifiers.records import Effect
from notifiers.saying import Saying, is_sealed
from notifiers.scrub import Cut, scrub
from notifiers.understand import Meaning, numbers, one_off, understand
from notifiers.wording import Wording
from risk.privacy import Tokens

WRONG_CODES = 5
LATE_DENY_SECONDS = 1800.0
_SECRETS = {"otp", "pan", "password"}


class TextHearing:
    """Hears texts for one leader."""

    def __init__(
        self,
        book: Book,
        redis: "Redis",
        tokens: Tokens,
        wording: Wording,
        saying: Saying,
        answering: Answering,
        write: Write,
    ) -> None:
        self._book = book
        self._redis = redis
        self._tokens = tokens
        self._wording = wording
        self._saying = saying
        self._answering = answering
        self._write = write

    async def hear(self, customer: str, heard: HeardText) -> str | None:
        """Take one text of a customer; gives the reply."""
        of_customer = self._book.of(customer)
        clear, forced = await duress_word(self._redis, self._tokens, customer, heard.text)
        text, cuts = scrub(clear, {asked.code for asked in of_customer})
        meaning = understand(clear)
        said = await self._act(customer, heard, meaning, text, cuts, forced, numbers(clear))
        answered = meaning.code is not None and meaning.kind in {"confirm", "deny"}
        secret = [cut for cut in cuts if cut.type in _SECRETS]
        slips = [_slipped(clear, cut, of_customer) for cut in secret]
        if not all(slips) and not answered:
            warning = self._saying.say(customer, "secrets")
            return warning if not said else f"{said}\n{warning}"
        return said

    async def _act(
        self,
        customer: str,
        heard: HeardText,
        meaning: Meaning,
        text: str,
        cuts: tuple[Cut, ...],
        forced: Cut | None,
        items: tuple[int, ...] = (),
    ) -> str | None:
        evidence: dict[str, Any] = {"cuts": [cut.as_record() for cut in cuts], "text": text}
        if (
            items
            and meaning.kind == "deny"
            and any(one.ask.about for one in self._book.of(customer))
        ):
            evidence["items"] = list(items)
        if forced is not None:
            evidence["cuts"].append(forced.as_record())
            evidence["duress"] = True
        named = self._named(customer, meaning)
        if meaning.kind == "confirm":
            return await self._act_confirm(customer, heard, meaning, named, evidence)
        if meaning.kind in {"deny", "freeze"}:
            return await self._act_deny(customer, heard, meaning, named, evidence)
        if meaning.kind == "human":
            await self._answering.note(heard, customer, named, "E", {"why": "human", **evidence})
            event = self._answering.event(customer, named)
            await self._answering.put(
                Effect(
                    f"human/{self._answering.mark(heard)}",
                    (records.alert(event, "human", "the customer asks for a person"),),
                )
            )
            return self._saying.say(customer, "human")
        return await self._ask_again(customer, heard, evidence)

    async def _act_confirm(
        self,
        customer: str,
        heard: HeardText,
        meaning: Meaning,
        named: Asked | None,
        evidence: dict[str, Any],
    ) -> str | None:
        open_now = self._book.open_of(customer)
        if named is None and meaning.code is None:
            await self._answering.note(heard, customer, None, "E", {"why": "no_code", **evidence})
            return (
                self._saying.list_open(customer, "needs_code")
                if open_now
                else self._saying.say(customer, "nothing_open")
            )
        if named is None:
            for asked in open_now:
                asked.wrong += 1
            ids = [asked.ask.id for asked in open_now]
            await self._write(lambda connection: rows.note_wrong(connection, ids))
            await self._answering.note(
                heard, customer, None, "E", {"why": "wrong_code", **evidence}
            )
            return self._saying.say(customer, "wrong_code" if open_now else "nothing_open")
        if named.is_open and named.wrong >= WRONG_CODES:
            await self._answering.note(heard, customer, named, "E", {"why": "locked", **evidence})
            return self._saying.say(customer, "locked")
        reason: Reason | None = "duress" if evidence.get("duress") else None
        return await self._answering.answer([named], heard, "confirm", reason, "E", evidence)

    async def _act_deny(
        self,
        customer: str,
        heard: HeardText,
        meaning: Meaning,
        named: Asked | None,
        evidence: dict[str, Any],
    ) -> str | None:
        open_now = self._book.held_of(customer)
        if meaning.kind == "deny":  # a bare NO is for the payments that wait; else for what is left
            open_now = open_now or self._book.open_of(customer)
        chosen = open_now
        if meaning.kind == "deny" and named is not None:
            chosen = [named]
        elif meaning.kind == "deny" and meaning.code is not None and len(open_now) > 1:
            return await self._ask_again(customer, heard, evidence)
        if not chosen:
            chosen = self._just_confirmed(customer, heard)
        said = None
        if chosen:
            # The question is "did you order this?": a plain NO says "I did not".
            reason = meaning.reason or "not_me"
            said = await self._answering.answer(chosen, heard, "deny", reason, "E", evidence)
        elif meaning.kind == "deny":
            await self._answering.note(
                heard, customer, None, "E", {"why": "nothing_open", **evidence}
            )
            return self._saying.say(customer, "nothing_open")
        if meaning.kind == "freeze":
            if not chosen:
                await self._answering.note(
                    heard, customer, None, "E", {"why": "freeze", **evidence}
                )
            by = await self._answering.binding(customer, heard, None)
            entry = records.freeze(customer, heard, by)
            await self._answering.put(Effect(f"freeze/{self._answering.mark(heard)}", (entry,)))
            return self._saying.say(customer, "freeze")
        return said

    async def _ask_again(
        self, customer: str, heard: HeardText, evidence: dict[str, Any]
    ) -> str | None:
        """Not clear: asked again once for each question, never guessed."""
        open_now = self._book.open_of(customer)
        await self._answering.note(
            heard, customer, open_now[0] if len(open_now) == 1 else None, "E",
            {"why": "unclear", **evidence},
        )  # fmt: skip
        if not open_now:
            return (
                self._saying.say(customer, "nothing_open")
                if self._answering.may_record(heard, 2)
                else None
            )
        fresh = [asked for asked in open_now if not asked.repeated]
        if not fresh:
            return None
        for asked in fresh:
            asked.repeated = True
        ids = [asked.ask.id for asked in fresh]

        def change(connection: Any) -> None:
            for one in ids:
                rows.note_repeated(connection, one)

        await self._write(change)
        if len(open_now) > 1:
            return self._saying.list_open(customer, "unclear_several")
        if is_sealed(open_now[0], heard):
            return self._wording.say(open_now[0].language, "sealed")
        if open_now[0].ask.about:
            return self._wording.which(open_now[0].language, open_now[0].code)
        about = self._saying.about(open_now[0])
        return self._wording.say(
            open_now[0].language,
            "unclear",
            amount=about["amount"],
            payee=about["payee"],
            code=open_now[0].code,
        )

    def _named(self, customer: str, meaning: Meaning) -> Asked | None:
        """Find the question whose code was named; every code is compared, in constant time."""
        found: Asked | None = None
        if meaning.code is not None:
            for asked in self._book.of(customer):
                if bind.same(meaning.code, asked.code) and (found is None or asked.is_open):
                    found = asked
        return found

    def _just_confirmed(self, customer: str, heard: Heard) -> list[Asked]:
        """A bare NO right after a confirm speaks of that confirm: the flow weighs it."""
        recent = [
            asked
            for asked in self._book.of(customer)
            if asked.closed is not None and asked.closed.state == "confirmed"
        ]
        if not recent:
            return []
        last = recent[-1]
        since = heard.received.timestamp() - last.ask.created_at.timestamp()
        return [last] if since <= LATE_DENY_SECONDS else []


def _slipped(text: str, cut: Cut, of_customer: Sequence[Asked]) -> bool:
    """Whether it is a question's own code with one slip of the finger: nobody's secret."""
    before, after = text[: cut.offset], text[cut.offset + cut.length :]
    start = len(before.rstrip("0123456789"))
    end = len(text) - len(after.lstrip("0123456789"))
    digits = "".join(char for char in text[start:end] if char.isdigit())
    return any(asked.is_open and one_off(digits, asked.code) for asked in of_customer)
