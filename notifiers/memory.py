"""A channel within this process, for tests and for trying things: it fails when it is told to."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Self

from notifiers.channel import Listener, Supplies
from notifiers.errors import NotReady
from notifiers.facts import HeardText, Outgoing


class MemoryChannel:
    """Keeps what was sent in `sent`; takes everything at once, unless `up` is False."""

    kind = "memory"

    def __init__(self, listener: Listener, clock: Callable[[], datetime] | None = None) -> None:
        self._listener = listener
        self._clock = clock or (lambda: datetime.now(UTC))
        self._numbers = itertools.count(1)
        self.sent: list[Outgoing] = []
        self.up = True
        self.proves = True

    @classmethod
    def of(cls, supplies: Supplies) -> Self | None:
        """Make it where the settings name it: in tests."""
        if cls.kind not in supplies.settings:
            return None
        return cls(supplies.listener, supplies.clock)

    @property
    def ready(self) -> bool:
        return self.up

    def write(self, outgoing: Outgoing) -> None:
        if not self.up:
            raise NotReady("memory: it was told to be down")
        self.sent.append(outgoing)
        if self.proves:
            self._listener.taken([outgoing.key])

    async def run(self) -> None:
        await self._listener.opened(self.kind)
        await asyncio.Event().wait()

    async def say(self, bare: str, text: str, *, delayed: bool = False) -> str | None:
        """Speak as the customer; gives the reply."""
        number = next(self._numbers)
        heard = HeardText(
            channel=self.kind,
            address=f"{bare}/memory",
            bare=bare,
            stanza=f"m{number}",
            received=self._clock(),
            delayed=delayed,
            text=text,
        )
        return await self._listener.heard(heard)

    def bodies(self, kind: str = "ask") -> Sequence[str]:
        """Give the texts that were sent, of one kind."""
        return [outgoing.body for outgoing in self.sent if outgoing.kind == kind]
