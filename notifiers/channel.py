"""What must a channel be able to do? One technology is one file that fits these protocols.

A channel's class has a `kind`, and `of`, which makes it of what the house supplies, or gives None
where it isn't set up. The desk is its `Listener`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, Self

from redis.asyncio import Redis

from notifiers.facts import Heard, Offer, Outgoing


class Listener(Protocol):
    """What a channel tells the desk."""

    async def opened(self, kind: str) -> None:
        """A session begins: what was written in an earlier one without proof goes again."""

    def taken(self, keys: Sequence[str]) -> None:
        """The other side has proved that it took these messages."""

    def bounced(self, kind: str, challenge: str, condition: str, bare: str) -> None:
        """A message came back with this condition, from the person it was sent to."""

    def failed(self, key: str, condition: str) -> None:
        """This message will not arrive by this channel: the next one is tried at once."""

    def gone(self, kind: str, challenge: str, address: str) -> None:
        """An address exists no more: it is unbound from the customer of this question."""

    async def heard(self, heard: Heard) -> str | None:
        """Something came in; gives the text to reply with, if any."""

    async def offers(self, bare: str) -> Sequence[Offer]:
        """What this person may answer right now, as commands."""


class Channel(Protocol):
    """One way to a customer. It keeps its own session, and never decides."""

    kind: str

    @property
    def ready(self) -> bool:
        """Whether a message may be written now (a session, and room in its buffers)."""

    def write(self, outgoing: Outgoing) -> None:
        """Hand one message to the transport, or raise `NotReady`; proof comes by `taken`."""

    async def run(self) -> None:
        """Keep the session until cancelled; never ends by itself on a network error."""


@dataclass(frozen=True, slots=True)
class Supplies:
    """What a channel is made of: its settings stand in `settings` under its kind.

    ``may_write`` is asked right before each write (the leader's lock); ``secret`` gives a 32-byte
    key of the data directory by its name; ``seal_key`` opens what the gateway sealed.
    """

    listener: Listener
    redis: "Redis"
    may_write: Callable[[], bool]
    clock: Callable[[], datetime]
    settings: Mapping[str, Any] = field(default_factory=dict)
    secret: Callable[[str], bytes] | None = None
    seal_key: bytes = field(default=b"", repr=False)


class Adapter(Channel, Protocol):
    """A channel's class, as the catalogue needs it."""

    @classmethod
    def of(cls, supplies: Supplies) -> Self | None:
        """Make it, or give None where it isn't set up; BadSettingssays what is wrong."""
