"""What does one term of leadership work with? The shared things of its parts, and nothing done."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifiers import rows
from notifiers.book import Book
from notifiers.channel import Channel
from notifiers.facts import Ask, Payee
from notifiers.leader import Lease
from notifiers.outbox import Outbox
from notifiers.plan import Plans
from notifiers.records import Effect, Records
from notifiers.wording import Wording
from risk.privacy import SealBroken, Tokens, open_sealed

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Term:
    """One term: `durable` is the ledger's mark, `gate` the least one that a message waits for.

    `wake` says that something is to be sent, `tell` that something is to be told; `hurry` that
    somebody waits for it.
    """

    redis: "Redis"
    outbox: Outbox
    lease: Lease
    tokens: Tokens
    seal_key: bytes = field(repr=False)
    answer_key: bytes = field(repr=False)
    web_key: bytes = field(repr=False)
    records: Records
    wording: Wording
    clock: Callable[[], datetime]
    links: bool
    plans: Plans = field(default_factory=Plans)
    book: Book = field(default_factory=Book)
    channels: dict[str, Channel] = field(default_factory=dict)
    durable: str = ""
    gate: str | None = None
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    tell: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, change: rows.Change, *, patient: bool = False) -> Any:
        """Change the outbox under this term's number; a patient change waits for company."""
        return await self.outbox.change(change, fence=self.lease.fence, patient=patient)

    def reach(self, mark: str) -> None:
        """The ledger's mark stands here: what has waited for it may go."""
        if self.gate is not None and self.durable < self.gate <= mark:
            self.wake.set()
        self.durable = mark

    def told(self, *effects: Effect) -> None:
        """There is something to tell; at once where somebody waits for it."""
        self.tell.set()
        if any(effect.waited_for for effect in effects):
            self.hurry.set()

    def now(self) -> float:
        """Give the time in seconds since 1970."""
        return self.clock().timestamp()

    def payee(self, ask: Ask) -> Payee:
        """Open a question's payee; one that doesn't open has no name."""
        return self._payee(ask.payee, ask.id)

    def payees(self, ask: Ask) -> tuple[Payee, ...]:
        """Open the payees of an inquiry's payments."""
        return tuple(self._payee(paid["payee"], ask.id) for paid in ask.about)

    def _payee(self, sealed: str, challenge: str) -> Payee:
        try:
            opened = read_object(open_sealed(self.seal_key, sealed, b"payee")) or {}
        except SealBroken:
            log.warning("question %s: its payee does not open", challenge)
            opened = {}
        return Payee(str(opened.get("name") or ""), str(opened.get("account") or ""))

    def address(self, sealed: str) -> str:
        """Open an address, or several: a line each."""
        found = []
        for one in sealed.split():
            try:
                found.append(open_sealed(self.seal_key, one, b"address").decode())
            except SealBroken:
                log.warning("a customer's address does not open")
        return "\n".join(found)


def read_object(raw: bytes | None) -> dict[str, Any] | None:
    """Read one JSON object; None for anything else."""
    if raw is None:
        return None
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """Give a field as text, or nothing."""
    return str(fields.get(name) or "")


@asynccontextmanager
async def patience(doing: str) -> AsyncIterator[None]:
    """Redis may be away for a while: say so, wait a little, and let the caller go on."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as failed:
        log.warning("%s: Redis: %s; trying again", doing, failed)
        await asyncio.sleep(0.2)
