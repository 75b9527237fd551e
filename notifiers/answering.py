"""What becomes of one answer? It is passed on or refused, and on record either way.

::

    understood --in time, open, by a way that shows it?--> rb:answers + rb:audit, in one effect
                    | no: the reason                   --> rb:audit

Nothing is decided here: the customer's shard says what an answer is worth. Each goes with its
binding and since when that holds. What one address can put on record is bounded.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.asyncio import Redis

from notifiers import records, rows
from notifiers.book import Asked, Book
from notifiers.bound import binding
from notifiers.facts import Decision, Heard, Reason, write_time
from notifiers.records import Effect, Records
from notifiers.saying import Saying, is_sealed
from notifiers.wording import DEFAULT_LANGUAGE, Wording
from risk.privacy import Tokens

NOT_TAKEN_A_MINUTE = 30
REPLIES_ON_RECORD = 20  # a minute to one address; a chat is not sent more than twelve


class Write(Protocol):
    """Runs a change in the outbox; a patient one waits for company."""

    async def __call__(self, change: rows.Change, *, patient: bool = False) -> Any: ...


class Answering:
    """Passes answers on for one leader. `write` runs a change; `told` hears of it after it."""

    def __init__(
        self,
        book: Book,
        redis: "Redis",
        tokens: Tokens,
        made: Records,
        wording: Wording,
        saying: Saying,
        write: Write,
        told: Callable[[Effect], None],
    ) -> None:
        self._book = book
        self._redis = redis
        self._tokens = tokens
        self._records = made
        self._wording = wording
        self._saying = saying
        self._write = write
        self._told = told
        self._refused: dict[str, list[float]] = {}

    async def answer(
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
        by = evidence.get("binding") or await self.binding(
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
                said = self._saying.refusal(asked, why)
            made.append(self._made(heard, asked, body, evidence, layer, number))
        if evidence.get("duress") and not entries:  # the flow hears nothing of it, so officers do
            entries.append(self._duress(chosen[0].ask.event))
        entries.append(records.audit(*made))
        await self.put(Effect(f"answer/{self.mark(heard)}", tuple(entries)))
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
            return "sealed" if is_sealed(asked, heard) and layer not in {"A", "B"} else None
        if asked.closed is not None and asked.closed.state != "confirmed":
            return "closed"
        return None

    def _evidence(self, heard: Heard, evidence: dict[str, Any]) -> dict[str, Any]:
        names_ = {"bind", "named", "credential", "digest", "items"}
        kept = {name: value for name, value in evidence.items() if name in names_}
        return kept | {
            "from": self._tokens.token("jid", heard.bare),
            "rid": f"{heard.channel}/{self.mark(heard)}/answer",
        }

    async def note(
        self, heard: Heard, customer: str, asked: Asked | None, layer: str, body: dict[str, Any]
    ) -> None:
        """Put on record what was heard and not taken (so many a minute from one address)."""
        if not self.may_record(heard):
            return
        text, compact = body.pop("text", ""), body.pop("jws", "")
        whole = _body(heard, layer, body) | {"taken": False}
        if asked is not None:
            whole["challenge"] = asked.ask.id
        strength = "app" if layer == "B" else "claimed"
        await self.record(heard, customer, asked, whole, text, strength, compact)

    async def record(
        self,
        heard: Heard,
        subject: str,
        asked: Asked | None,
        body: dict[str, Any],
        text: str,
        strength: str,
        compact: str = "",
    ) -> None:
        """Put on record what came from an address, whoever that is."""
        rid = f"{heard.channel}/{self.mark(heard)}/answer"
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
            entries.append(self._duress(self.event(subject, asked)))
        await self.put(Effect(rid, tuple(entries)))

    def _duress(self, event: str) -> tuple[str, str, bytes]:
        text = "A duress word in an answer that was not taken: act as if it was a confirm."
        return records.alert(event, "duress", text)

    async def reply(self, heard: Heard, said: str, customer: str | None) -> None:
        """Put on record what the bank replied; of a case only while its question is open."""
        if not self.may_record(heard, REPLIES_ON_RECORD):
            return
        subject = customer or self._tokens.token("jid", heard.bare)
        open_now = self._book.open_of(customer) if customer else []
        language = self._saying.language(customer) if customer else DEFAULT_LANGUAGE
        texts = self._wording.texts(language)
        rid = f"{heard.channel}/{self.mark(heard)}/reply"
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
        await self.put(Effect(rid, (records.audit(made),)))

    def _made(
        self,
        heard: Heard,
        asked: Asked,
        body: dict[str, Any],
        evidence: dict[str, Any],
        layer: str,
        number: int,
    ) -> dict[str, Any]:
        rid = f"{heard.channel}/{self.mark(heard)}/answer" + (f"/{number}" if number else "")
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

    def mark(self, heard: Heard) -> str:
        """Name one stanza: by who, its id and when, with the address as its token."""
        token = self._tokens.token("jid", heard.address.lower())
        text = f"{token}\0{heard.stanza}\0{write_time(heard.received)}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    async def put(self, effect: Effect, *, patient: bool = False) -> None:
        """Keep an effect in the outbox, and say that it is there."""
        await self._write(
            lambda connection: rows.add_effects(connection, [effect]), patient=patient
        )
        self._told(effect)

    async def binding(self, customer: str, heard: Heard, asked: Asked | None) -> dict[str, Any]:
        """Give the binding of the address that speaks, and since when it holds."""
        token = self._tokens.token("jid", heard.bare)
        return await binding(self._redis, customer, token, asked)

    def event(self, customer: str, named: Asked | None) -> str:
        """Give the event that something is about: the named question's, or the latest one's."""
        if named is not None:
            return named.ask.event
        return next((asked.ask.event for asked in reversed(self._book.of(customer))), "")

    def may_record(self, heard: Heard, limit: int = NOT_TAKEN_A_MINUTE) -> bool:
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
