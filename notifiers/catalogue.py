"""Which channels are there? Each kind that a customer's `channels` may name, and nothing else."""

from notifiers.channel import Adapter, Channel, Supplies
from notifiers.memory import MemoryChannel
from notifiers.web import WebChannel
from notifiers.xmpp import XmppChannel

CHANNELS: tuple[type[Adapter], ...] = (XmppChannel, WebChannel, MemoryChannel)
KINDS = tuple(channel.kind for channel in CHANNELS)


def made(supplies: Supplies) -> list[Channel]:
    """Make every channel that is set up."""
    channels = [adapter.of(supplies) for adapter in CHANNELS]
    return [channel for channel in channels if channel is not None]
