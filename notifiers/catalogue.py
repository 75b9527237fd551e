"""Which channels are there? Each kind that a customer's `channels` may name, and nothing else."""

from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, cast

from redis.asyncio import Redis

from notifiers.channel import Adapter, Channel, Listener, Supplies
from notifiers.errors import BadSettings
from notifiers.memory import MemoryChannel
from notifiers.push import PushChannel
from notifiers.sms import SmsChannel, VoiceChannel
from notifiers.web import WebChannel
from notifiers.xmpp import XmppChannel

CHANNELS: tuple[type[Adapter], ...] = (
    XmppChannel,
    WebChannel,
    PushChannel,
    SmsChannel,
    VoiceChannel,
    MemoryChannel,
)
KINDS = tuple(channel.kind for channel in CHANNELS)
# Where customers answer in words, and so are told in words; who carries those can read them.
SPOKEN = tuple(channel.kind for channel in CHANNELS if getattr(channel, "spoken", False))


def made(supplies: Supplies) -> list[Channel]:
    """Make every channel that is set up."""
    channels = [adapter.of(supplies) for adapter in CHANNELS]
    return [channel for channel in channels if channel is not None]


def check(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse the settings of a channel that nobody knows, or that it can't be made of."""
    known = {adapter.kind: adapter for adapter in CHANNELS}
    nobody = cast("Listener", None)
    for kind, told in settings.items():
        if kind not in known:
            near = get_close_matches(kind, KINDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BadSettings(f"channels: needed one of {KINDS}, got {kind!r}{hint}")
        known[kind].of(
            Supplies(
                listener=nobody,
                redis=Redis(),
                may_write=lambda: False,
                clock=lambda: datetime.now(UTC),
                settings={kind: told},
                secret=lambda _: bytes(32),
            )
        )
