"""The customer's page as a channel: nothing is pushed, the page shows what is open.

A customer with this channel alone is reached as soon as they look; the question then stands on
the page that the gateway serves. So each message counts as taken, and nothing leaves the house.
"""

import asyncio
from typing import Self

from notifiers.channel import Listener, Supplies
from notifiers.facts import Outgoing


class WebChannel:
    """Takes every message at once: the page reads the challenge itself."""

    kind = "web"

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    @classmethod
    def of(cls, supplies: Supplies) -> Self:
        """Make it: the page is always there."""
        return cls(supplies.listener)

    @property
    def ready(self) -> bool:
        return True

    def write(self, outgoing: Outgoing) -> None:
        self._listener.taken([outgoing.key])

    async def run(self) -> None:
        await self._listener.opened(self.kind)
        await asyncio.Event().wait()
