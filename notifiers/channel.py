"""What must a channel be able to do? One technology is one file that fits these two protocols."""

from collections.abc import Sequence
from typing import Protocol

from notifiers.facts import Heard, Offer, Outgoing


class Listener(Protocol):
    """What a channel tells the desk."""

    async def opened(self, kind: str) -> None:
        """A session begins: what was written in an earlier one without proof goes again."""

    def taken(self, keys: Sequence[str]) -> None:
        """The other side has proved that it took these messages."""

    def bounced(self, kind: str, challenge: str, condition: str, bare: str) -> None:
        """A message came back with this condition, from the person it was sent to."""

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
