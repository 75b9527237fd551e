"""What is done with what was heard? It is checked for who said it, understood, and passed on.

::

    heard --bound address?--> layer A | B | C | E --> which question? --> rb:answers + rb:audit
              | no                                   | none, late, unclear
              +-> refused, on record                 +-> on record, and said so

Nothing is decided here: the customer's shard says what an answer is worth. A confirm needs its
question named (code, id or digest); a deny without a code denies all that is open. Each answer
goes with its binding, since when it holds; a duress word in it goes with it too, and shows nowhere.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers import bind, records, rows
from notifiers.book import Asked, Book
from notifiers.bound import binding, duress_word
from notifiers.catalogue import SPOKEN
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
from notifiers.records import Effect, Records
from notifiers.scrub import Cut, scrub
from notifiers.understand import Meaning, numbers, one_off, understand
from notifiers.wording import DEFAULT_LANGUAGE, Wording
from risk import names
from risk.privacy import Tokens
from risk.signed import Unsigned

WRONG_CODES = 5
LATE_DENY_SECONDS = 1800.0
NOT_TAKEN_A_MINUTE = 30
REPLIES_ON_RECORD = 20  # a minute to one address; a chat is not sent more than twelve
OFFERED = ("confirm", "deny", "not_me", "cancel")
_SECRETS = {"otp", "pan", "password"}


class Write(Protocol):
    """Runs a change in the outbox; a patient one waits for company."""

    async def __call__(self, change: rows.Change, *, patient: bool = False) -> Any: ...


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
        self._write = write
        self._told = told
        # Weak: a turn lives as long as someone holds it or waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._refused: dict[str, list[float]] = {}

    async def hear(self, heard: Heard) -> str | None:
        """Take one thing that came in; gives the reply. One person's messages keep their order."""
        turn = self._turns.setdefault(heard.bare, asyncio.Lock())
        async with turn:
            said = await self._hear(heard)
            if said:
                await self._put_reply(heard, said)
            return said

    async def offers(self, bare: str) -> Sequence[Offer]:
        """List the commands that this person may run now."""
        customer = await self._customer(bare)
        if customer is None:
            return ()
        offered = []
        for asked in self._book.held_of(customer):
            about = self._about(asked)
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
            await self._note(heard, customer, asked, "E", {"why": "reaction"})
            return None
        if isinstance(heard, HeardAnswer):
            return await self._hear_answer(customer, heard)
        if isinstance(heard, HeardCommand):
            return await self._hear_command(customer, heard)
        if isinstance(heard, HeardText):
            return await self._hear_text(customer, heard)
        return None

    # -- who -------------------------------------------------------------------------------

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
        if isinstance(heard, HeardReaction) or not self._may_refuse(heard):
            return None
        named = heard.challenge if isinstance(heard, HeardAnswer | HeardCommand) else ""
        text, cuts = scrub(heard.text) if isinstance(heard, HeardText) else ("", ())
        asked = self._book.get(named) if named else None
        subject = self._tokens.token("jid", heard.bare)
        body = {"taken": False, "why": "not_bound", "cuts": [cut.as_record() for cut in cuts]}
        await self._put_record(heard, subject, asked, body, text, "claimed")
        return self._wording.say(DEFAULT_LANGUAGE, "not_bound")

    # -- receipts --------------------------------------------------------------------------

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
        await self._put(Effect(made["rid"], (records.audit(made),)), patient=True)
        return None

    # -- layer B: the own client -----------------------------------------------------------

    async def _hear_answer(self, customer: str, heard: HeardAnswer) -> str | None:
        asked = self._own(customer, heard.challenge)
        if asked is not None and heard.jws:
            return await self._hear_signed(customer, asked, heard)
        if asked is None or heard.decision not in {"confirm", "deny"}:
            await self._note(heard, customer, asked, "B", {"why": "unknown"})
            return self._say(customer, "nothing_open")
        right = asked.bind
        if _is_sealed(asked, heard):  # the digest itself never travels, so nobody can flip this
            right = bind.tied(right, asked.ask.id, heard.decision, heard.reason)
        bound = bind.same(heard.bind, right)
        if heard.decision == "confirm" and not bound:
            await self._note(heard, customer, asked, "B", {"why": "bind"})
            return self._say(customer, "changed")
        decision: Decision = "confirm" if heard.decision == "confirm" else "deny"
        reason = _reason(heard.reason, decision)
        return await self._answer(
            [asked], heard, decision, reason, "B", {"bind": heard.bind if bound else "other"}
        )

    # -- layer A: a device key's signature ---------------------------------------------------

    async def _hear_signed(self, customer: str, asked: Asked, heard: HeardAnswer) -> str | None:
        try:
            facts = bind.facts(asked.ask, asked.payee)
            found = await check_signed(self._redis, heard.jws, facts)
        except Unsigned as refused:
            body = {"why": refused.why, "signed": False}
            await self._note(heard, customer, asked, "A", {**body, "jws": heard.jws})
            return self._say(customer, "changed")
        evidence = {
            "credential": found.credential,
            "digest": found.mark,
            "jws": found.compact,
            "binding": found.binding,
        }
        said = await self._answer([asked], heard, found.decision, found.reason, "A", evidence)
        await spend(self._redis, found.mark)
        return said

    # -- layer C: commands -----------------------------------------------------------------

    async def _hear_command(self, customer: str, heard: HeardCommand) -> str | None:
        if heard.challenge:
            asked = self._own(customer, heard.challenge)
        else:
            open_now = self._book.held_of(customer)
            asked = open_now[0] if len(open_now) == 1 else None
            if asked is None and open_now:
                await self._note(heard, customer, None, "C", {"why": "several"})
                return self._list(customer, "unclear_several")
        if asked is None:
            await self._note(heard, customer, None, "C", {"why": "unknown"})
            return self._say(customer, "nothing_open")
        decision: Decision = "confirm" if heard.decision == "confirm" else "deny"
        reason = _reason(heard.reason, decision)
        said = await self._answer([asked], heard, decision, reason, "C", {"named": "command"})
        if said is not None:
            return said
        label = self._wording.label(asked.language, reason or decision)
        return self._wording.say(asked.language, "received", answer=label)

    # -- layer E: text ---------------------------------------------------------------------

    async def _hear_text(self, customer: str, heard: HeardText) -> str | None:
        of_customer = self._book.of(customer)
        clear, forced = await duress_word(self._redis, self._tokens, customer, heard.text)
        text, cuts = scrub(clear, {asked.code for asked in of_customer})
        meaning = understand(clear)
        said = await self._act(customer, heard, meaning, text, cuts, forced, numbers(clear))
        answered = meaning.code is not None and meaning.kind in {"confirm", "deny"}
        secret = [cut for cut in cuts if cut.type in _SECRETS]
        slips = [_slipped(clear, cut, of_customer) for cut in secret]
        if not all(slips) and not answered:
            warning = self._say(customer, "secrets")
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
            await self._note(heard, customer, named, "E", {"why": "human", **evidence})
            event = self._event(customer, named)
            await self._put(
                Effect(
                    f"human/{self._mark(heard)}",
                    (records.alert(event, "human", "the customer asks for a person"),),
                )
            )
            return self._say(customer, "human")
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
            await self._note(heard, customer, None, "E", {"why": "no_code", **evidence})
            return (
                self._list(customer, "needs_code")
                if open_now
                else self._say(customer, "nothing_open")
            )
        if named is None:
            for asked in open_now:
                asked.wrong += 1
            ids = [asked.ask.id for asked in open_now]
            await self._write(lambda connection: rows.note_wrong(connection, ids))
            await self._note(heard, customer, None, "E", {"why": "wrong_code", **evidence})
            return self._say(customer, "wrong_code" if open_now else "nothing_open")
        if named.is_open and named.wrong >= WRONG_CODES:
            await self._note(heard, customer, named, "E", {"why": "locked", **evidence})
            return self._say(customer, "locked")
        reason: Reason | None = "duress" if evidence.get("duress") else None
        return await self._answer([named], heard, "confirm", reason, "E", evidence)

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
            said = await self._answer(chosen, heard, "deny", reason, "E", evidence)
        elif meaning.kind == "deny":
            await self._note(heard, customer, None, "E", {"why": "nothing_open", **evidence})
            return self._say(customer, "nothing_open")
        if meaning.kind == "freeze":
            if not chosen:
                await self._note(heard, customer, None, "E", {"why": "freeze", **evidence})
            by = await self._binding(customer, heard, None)
            entry = records.freeze(customer, heard, by)
            await self._put(Effect(f"freeze/{self._mark(heard)}", (entry,)))
            return self._say(customer, "freeze")
        return said

    async def _ask_again(
        self, customer: str, heard: HeardText, evidence: dict[str, Any]
    ) -> str | None:
        """Not clear: asked again once for each question, never guessed."""
        open_now = self._book.open_of(customer)
        await self._note(
            heard, customer, open_now[0] if len(open_now) == 1 else None, "E",
            {"why": "unclear", **evidence},
        )  # fmt: skip
        if not open_now:
            return self._say(customer, "nothing_open") if self._may_refuse(heard, 2) else None
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
            return self._list(customer, "unclear_several")
        if _is_sealed(open_now[0], heard):
            return self._wording.say(open_now[0].language, "sealed")
        if open_now[0].ask.about:
            return self._wording.which(open_now[0].language, open_now[0].code)
        about = self._about(open_now[0])
        return self._wording.say(
            open_now[0].language,
            "unclear",
            amount=about["amount"],
            payee=about["payee"],
            code=open_now[0].code,
        )

    # -- one answer ------------------------------------------------------------------------

    async def _answer(
        self,
        chosen: Sequence[Asked],
        heard: Heard,
        decision: Decision,
        reason: Reason | None,
        layer: str,
        evidence: dict[str, Any],
    ) -> str | None:
        """Pass an answer on for each chosen question, or say why it is not taken."""
        entries: list[tuple[str, str, bytes]] = []
        made: list[dict[str, Any]] = []
        said: str | None = None
        by = evidence.get("binding") or await self._binding(
            customer=chosen[0].ask.customer, heard=heard, asked=chosen[0]
        )
        for number, asked in enumerate(chosen):
            why = self._why_not(asked, heard, decision, layer)
            if asked.ask.about and decision == "deny":
                why = "which" if len(asked.ask.about) > 1 and not evidence.get("items") else None
            body = _body(heard, layer, evidence) | {
                "challenge": asked.ask.id,
                "decision": decision,
                "taken": why is None,
            }
            if reason is not None:
                body["reason"] = reason
            if why is None:
                entries.append(
                    records.answer(
                        asked.ask,
                        heard,
                        decision,
                        reason,
                        layer,
                        self._evidence(heard, evidence),
                        by,
                    )
                )
            else:
                body["why"] = why
                said = self._refusal(asked, why)
            made.append(self._made(heard, asked, body, evidence, layer, number))
        if evidence.get("duress") and not entries:  # the flow hears nothing of it, so officers do
            entries.append(self._duress(chosen[0].ask.event))
        entries.append(records.audit(*made))
        await self._put(Effect(f"answer/{self._mark(heard)}", tuple(entries)))
        return said

    def _why_not(self, asked: Asked, heard: Heard, decision: Decision, layer: str) -> str | None:
        late = heard.received >= asked.ask.expires_at
        if decision == "confirm":
            if asked.closed is not None:
                return "closed"
            if late:
                return "late"
            if heard.delayed:
                return "delayed"
            # Who answers by text or command has not seen what lay under the seal.
            return "sealed" if _is_sealed(asked, heard) and layer not in {"A", "B"} else None
        if asked.closed is not None and asked.closed.state != "confirmed":
            return "closed"
        return None

    def _refusal(self, asked: Asked, why: str) -> str:
        if why == "which":
            return self._wording.which(asked.language, asked.code)
        about = self._about(asked)
        saying = "late" if why == "closed" else why
        return self._wording.say(asked.language, saying, reference=about["reference"])

    def _evidence(self, heard: Heard, evidence: dict[str, Any]) -> dict[str, Any]:
        names_ = {"bind", "named", "credential", "digest", "items"}
        kept = {name: value for name, value in evidence.items() if name in names_}
        return kept | {
            "from": self._tokens.token("jid", heard.bare),
            "rid": f"{heard.channel}/{self._mark(heard)}/answer",
        }

    # -- records ---------------------------------------------------------------------------

    async def _note(
        self, heard: Heard, customer: str, asked: Asked | None, layer: str, body: dict[str, Any]
    ) -> None:
        """Put on record what was heard and not taken (so many a minute from one address)."""
        if not self._may_refuse(heard):
            return
        text, compact = body.pop("text", ""), body.pop("jws", "")
        whole = _body(heard, layer, body) | {"taken": False}
        if asked is not None:
            whole["challenge"] = asked.ask.id
        strength = "app" if layer == "B" else "claimed"
        await self._put_record(heard, customer, asked, whole, text, strength, compact)

    async def _put_record(
        self,
        heard: Heard,
        subject: str,
        asked: Asked | None,
        body: dict[str, Any],
        text: str,
        strength: str,
        compact: str = "",
    ) -> None:
        rid = f"{heard.channel}/{self._mark(heard)}/answer"
        made = self._records.record(
            "answer",
            rid,
            write_time(heard.received),
            body,
            ask=asked.ask if asked else None,
            subject=subject,
            actor=records.customer_actor(subject),
            personal=_personal(heard, text, compact),
            strength=strength,
        )
        entries = [records.audit(made)]
        if body.get("duress"):
            entries.append(self._duress(self._event(subject, asked)))
        await self._put(Effect(rid, tuple(entries)))

    def _duress(self, event: str) -> tuple[str, str, bytes]:
        text = "A duress word in an answer that was not taken: act as if it was a confirm."
        return records.alert(event, "duress", text)

    async def _put_reply(self, heard: Heard, said: str) -> None:
        """Put on record what the bank replied; of a case only while its question is open."""
        if not self._may_refuse(heard, REPLIES_ON_RECORD):
            return
        customer = await self._customer(heard.bare)
        subject = customer or self._tokens.token("jid", heard.bare)
        open_now = self._book.open_of(customer) if customer else []
        language = self._language(customer) if customer else DEFAULT_LANGUAGE
        texts = self._wording.texts(language)
        rid = f"{heard.channel}/{self._mark(heard)}/reply"
        made = self._records.record(
            "outreach.replied",
            rid,
            write_time(heard.received),
            {
                "channel": heard.channel,
                "template": {"id": texts.id, "version": texts.version, "sha256": texts.sha256},
                "to": rid.removesuffix("reply") + "answer",
            },
            ask=open_now[-1].ask if open_now else None,
            subject=subject,
            actor=records.SERVICE,
            personal={"text": said, "address": heard.address},
        )
        await self._put(Effect(rid, (records.audit(made),)))

    def _made(
        self,
        heard: Heard,
        asked: Asked,
        body: dict[str, Any],
        evidence: dict[str, Any],
        layer: str,
        number: int,
    ) -> dict[str, Any]:
        rid = f"{heard.channel}/{self._mark(heard)}/answer" + (f"/{number}" if number else "")
        return self._records.record(
            "answer",
            rid,
            write_time(heard.received),
            body,
            ask=asked.ask,
            subject=asked.ask.customer,
            actor=records.customer_actor(asked.ask.customer),
            personal=_personal(heard, evidence.get("text", ""), evidence.get("jws", "")),
            strength=records.STRENGTH.get(layer, "claimed"),
        )

    def _mark(self, heard: Heard) -> str:
        """Name one stanza: by who, its id and when, with the address as its token."""
        token = self._tokens.token("jid", heard.address.lower())
        text = f"{token}\0{heard.stanza}\0{write_time(heard.received)}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    async def _put(self, effect: Effect, *, patient: bool = False) -> None:
        await self._write(
            lambda connection: rows.add_effects(connection, [effect]), patient=patient
        )
        self._told(effect)

    # -- small things ----------------------------------------------------------------------

    async def _binding(self, customer: str, heard: Heard, asked: Asked | None) -> dict[str, Any]:
        token = self._tokens.token("jid", heard.bare)
        return await binding(self._redis, customer, token, asked)

    def _own(self, customer: str, challenge: str) -> Asked | None:
        asked = self._book.get(challenge)
        return asked if asked is not None and asked.ask.customer == customer else None

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

    def _event(self, customer: str, named: Asked | None) -> str:
        if named is not None:
            return named.ask.event
        return next((asked.ask.event for asked in reversed(self._book.of(customer))), "")

    def _about(self, asked: Asked) -> dict[str, str]:
        return self._wording.about(asked.language, asked.zone, asked.ask, asked.payee)

    def _language(self, customer: str) -> str:
        of_customer = self._book.of(customer)
        return of_customer[-1].language if of_customer else DEFAULT_LANGUAGE

    def _say(self, customer: str, what: str) -> str:
        return self._wording.say(self._language(customer), what)

    def _list(self, customer: str, what: str) -> str:
        lines = []
        for asked in self._book.open_of(customer):
            about = self._about(asked)
            if asked.ask.seal_to:
                lines.append(about["reference"])
                continue
            lines.append(
                self._wording.say(
                    asked.language,
                    "listed",
                    code=asked.code,
                    amount=about["amount"],
                    payee=about["payee"],
                )
            )
        return self._wording.say(self._language(customer), what, list="\n".join(lines))

    def _may_refuse(self, heard: Heard, limit: int = NOT_TAKEN_A_MINUTE) -> bool:
        """Bound what one address can put on record without ever answering anything."""
        now = heard.received.timestamp()
        if len(self._refused) > 10_000:
            self._refused.clear()
        key = f"{limit}/{heard.bare}"
        recent = [at for at in self._refused.get(key, ()) if now - at < 60.0]
        if len(recent) < limit:
            recent.append(now)
            self._refused[key] = recent
            return True
        self._refused[key] = recent
        return False


def _slipped(text: str, cut: Cut, of_customer: Sequence[Asked]) -> bool:
    """Whether it is a question's own code with one slip of the finger: nobody's secret."""
    before, after = text[: cut.offset], text[cut.offset + cut.length :]
    start = len(before.rstrip("0123456789"))
    end = len(text) - len(after.lstrip("0123456789"))
    digits = "".join(char for char in text[start:end] if char.isdigit())
    return any(asked.is_open and one_off(digits, asked.code) for asked in of_customer)


def _is_sealed(asked: Asked, heard: Heard) -> bool:
    """Whether what was asked by this way was for the own client alone."""
    return bool(asked.ask.seal_to) and heard.channel in SPOKEN


def _reason(text: str, decision: Decision) -> Reason | None:
    if decision == "confirm":
        return "duress" if text == "duress" else None
    if text == "not_me":
        return "not_me"
    return "cancel" if text == "cancel" else None


def _body(heard: Heard, layer: str, evidence: dict[str, Any]) -> dict[str, Any]:
    left_out = {"text", "jws", "binding"}
    kept = {name: value for name, value in evidence.items() if name not in left_out}
    return {"layer": layer, "channel": heard.channel, "delayed": heard.delayed} | kept


def _personal(heard: Heard, text: str, compact: str = "") -> dict[str, str]:
    personal = {"jid": heard.address}
    if text:
        personal["text"] = text
    if compact:
        personal["jws"] = compact[:8192]
    return personal
