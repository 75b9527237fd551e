"""Which channels are there? Each kind that a customer's `channels` may name, and nothing else."""

from notifiers.memory import MemoryChannel
from notifiers.web import WebChannel
from notifiers.xmpp import XmppChannel

CHANNELS = (XmppChannel, WebChannel, MemoryChannel)
KINDS = tuple(channel.kind for channel in CHANNELS)
