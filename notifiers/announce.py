"""Who is told that a binding was made or taken away? Every older channel, each by itself.

::

    rb:tellings --> one message a channel --> taken? --> outreach.sent, on record either way
                         ^                       | no, after a while
                         +-----------------------+ (a few times, then it is on record as not told)

The place in the stream moves once all of one telling is settled: a crash tells it again, and
nobody is left untold for a crash.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from notifiers import records, rows
from notifiers.errors import NotReady
from notifiers.facts import Outgoing, parse_time, write_time
from notifiers.records import Effect
from notifiers.term import Term, patience, read_object, text_of
from notifiers.wording import DEFAULT_LANGUAGE, Said
from risk import names
from risk.privacy import SealBroken, canonical, open_sealed

log = logging.getLogger(__name__)

PLACE = "tellings"
TRIES = 3
PROVED_WITHIN = 10.0
WAITS = 1.0


class Announcing:
    """Tells for one term."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._proved: dict[str, asyncio.Future[bool]] = {}

    def taken(self, keys: Sequence[str]) -> None:
        """The other side has proved that it took these."""
        for key in keys:
            self._settle(key, told=True)

    def failed(self, key: str) -> None:
        """This one will not arrive."""
        self._settle(key, told=False)

    def _settle(self, key: str, *, told: bool) -> None:
        proof = self._proved.get(key)
        if proof is not None and not proof.done():
            proof.set_result(told)

    async def run(self) -> None:
        """Tell on until cancelled."""
        term = self._term
        await term.write(_begin)
        position = await term.outbox.look(lambda c: rows.position(c, PLACE))
        while True:
            async with patience("reading what channels are told"):
                got: Any = await term.redis.xread({names.TELLINGS: position}, count=16, block=1000)
                for entry, fields in got[0][1] if got else []:
                    telling = read_object(fields.get(b"telling"))
                    if telling is not None:
                        await self._tell(entry.decode(), telling)
                    position = entry.decode()
                    await term.write(_moved(position))

    async def _tell(self, entry: str, telling: Mapping[str, Any]) -> None:
        customer = text_of(telling, "customer")
        raw: Any = await self._term.redis.get(names.customer(customer))
        stored = read_object(raw) or {}
        language = text_of(stored, "language") or DEFAULT_LANGUAGE
        zone = text_of(stored, "zone") or "UTC"
        lines = self._lines(telling, language, zone)
        told = [
            self._one(f"telling/{entry}/{number}", customer, to, lines, language)
            for number, to in enumerate(telling.get("to") or ())
        ]
        effects = [effect for effect in await asyncio.gather(*told) if effect is not None]
        await self._term.write(lambda c: rows.add_effects(c, effects))
        self._term.tell.set()

    async def _one(
        self, key: str, customer: str, to: Mapping[str, Any], lines: Sequence[Said], language: str
    ) -> Effect | None:
        """Tell one channel; gives the record of how that went. A page alone shows nothing."""
        term, kind = self._term, text_of(to, "kind")
        channel = term.channels.get(kind)
        if kind == "web":
            return None
        try:
            address = open_sealed(term.seal_key, text_of(to, "address"), b"address").decode()
        except SealBroken:
            return None
        text, texts = "\n".join(one.text for one in lines), term.wording.texts(language)
        delivery, why = "failed", "no_channel"
        if channel is not None:
            outgoing = Outgoing(
                key=key,
                challenge=key.replace("/", "."),
                kind="notice",
                address=address,
                body=text,
                notice=text,
                language=language,
                institution=term.wording.house.name(language),
            )
            delivery, why = "failed", "not_taken"
            for _ in range(TRIES):
                if await self._write(channel, outgoing):
                    delivery, why = "taken", ""
                    break
                await asyncio.sleep(WAITS)
        body = {
            "message": "notice",
            "channel": kind,
            "delivery": delivery,
            "template": {
                "id": texts.id,
                "version": texts.version,
                "sha256": texts.sha256,
                "parts": [part for one in lines for part in one.parts],
            },
        }
        made = term.records.record(
            "outreach.sent",
            key,
            write_time(term.clock()),
            body | ({"why": why} if why else {}),
            ask=None,
            subject=customer,
            actor=records.SERVICE,
            personal={
                "text": text,
                "address": address,
                "variables": canonical({"lines": [dict(one.values) for one in lines]}).decode(),
            },
        )
        return Effect(key, (records.audit(made),))

    async def _write(self, channel: Any, outgoing: Outgoing) -> bool:
        proof: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._proved[outgoing.key] = proof
        try:
            if not self._term.lease.holds():
                return False
            channel.write(outgoing)
            async with asyncio.timeout(PROVED_WITHIN):
                return await proof
        except (NotReady, TimeoutError):
            return False
        finally:
            del self._proved[outgoing.key]

    def _lines(self, telling: Mapping[str, Any], language: str, zone: str) -> list[Said]:
        wording = self._term.wording
        at = wording.time(language, zone, parse_time(text_of(telling, "at")))
        lines = []
        for what, kinds in (("bound", telling.get("added")), ("unbound", telling.get("removed"))):
            for kind in kinds or ():
                named = wording.say(language, f"what_{kind}")
                lines.append(wording.saying(language, what, at=at, channel=named))
        return lines


def _begin(connection: Any) -> None:
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?, '0-0')", (PLACE,))


def _moved(position: str) -> rows.Change:
    def change(connection: Any) -> None:
        rows.move(connection, position, PLACE)

    return change
