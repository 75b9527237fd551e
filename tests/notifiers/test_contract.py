"""What every channel in the catalogue does alike, each against the real thing on its other side."""

import asyncio
import contextlib
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from notifiers import catalogue, ending
from notifiers.catalogue import CHANNELS, KINDS
from notifiers.channel import Adapter, Channel, Supplies
from notifiers.errors import BadSettings, NotReady
from notifiers.facts import Button, Heard, HeardText, Offer, Outgoing, write_time
from notifiers.memory import MemoryChannel
from notifiers.xmpp import XmppChannel
from tests.notifiers import peers, stage
from tests.notifiers.peers import PEERS, Peer
from tests.patience import PATIENCE, until

HERE = Path(catalogue.__file__).parent
CALLING = tuple(kind for kind in KINDS if kind not in {"web", "memory"})
_numbers = itertools.count(1)


@dataclass
class Listening:
    """Notes what a channel tells, in order."""

    told: list[tuple[str, ...]] = field(default_factory=list)
    said: list[Heard] = field(default_factory=list)
    may_write: bool = True

    async def opened(self, kind: str) -> None:
        self.told.append(("opened", kind))

    def taken(self, keys: Sequence[str]) -> None:
        self.told += [("taken", key) for key in keys]

    def bounced(self, kind: str, challenge: str, condition: str, bare: str) -> None:
        self.told.append(("lost", f"{challenge}/{kind}/ask", condition))

    def failed(self, key: str, condition: str) -> None:
        self.told.append(("lost", key, condition))

    def gone(self, kind: str, challenge: str, address: str) -> None:
        self.told.append(("gone", kind, address))

    async def heard(self, heard: Heard) -> str | None:
        self.said.append(heard)
        return None

    async def offers(self, bare: str) -> Sequence[Offer]:
        return ()

    def taken_keys(self) -> list[str]:
        return [one[1] for one in self.told if one[0] == "taken"]

    def lost_keys(self) -> list[str]:
        return [one[1] for one in self.told if one[0] == "lost"]


@dataclass
class Scene:
    """One channel, running, with its other side."""

    channel: Channel
    listening: Listening
    peer: Peer

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return self.channel.ready and bool(self.listening.told)

        await until(is_ready)

    async def proved(self, key: str) -> None:
        async def taken() -> bool:
            return key in self.listening.taken_keys()

        await until(taken)


def adapter_of(kind: str) -> type[Adapter]:
    return next(one for one in CHANNELS if one.kind == kind)


def question(kind: str, address: str) -> Outgoing:
    challenge = f"ch_contract{next(_numbers):08d}"
    now = stage.now()
    return Outgoing(
        key=f"{challenge}/{kind}/ask",
        challenge=challenge,
        kind="ask",
        address=address,
        body="Example Bank asks. Reply YES 384920 to confirm or NO 384920 to deny.",
        notice="Example Bank asks: please open the app yourself.",
        language="en",
        institution="Example Bank",
        amount="9800.00",
        currency="CNY",
        payee="ACME Trading",
        expires=write_time(now + timedelta(seconds=60)),
        stale=write_time(now + timedelta(seconds=30)),
        bind="b",
        buttons=(Button("YES 384920", "Confirm"), Button("NO 384920", "Deny")),
    )


def closing(asked: Outgoing) -> Outgoing:
    key = asked.key.removesuffix("/ask") + "/close"
    return replace(asked, key=key, kind="close", body="[you answered: DENY]", buttons=())


def supplies_for(kind: str, peer: Peer, listening: Listening, redis: Redis) -> Supplies:
    return Supplies(
        listener=listening,
        redis=redis,
        may_write=lambda: listening.may_write,
        clock=stage.now,
        settings={kind: peer.settings},
        secret=peers.SECRETS.__getitem__,
        seal_key=peers.EDGE_KEY,
    )


@contextlib.asynccontextmanager
async def scene(kind: str, tmp_path: Path, redis_url: str) -> AsyncIterator[Scene]:
    listening = Listening()
    redis: Redis = Redis.from_url(redis_url, protocol=2)
    async with PEERS[kind](tmp_path, redis_url) as peer:
        channel = adapter_of(kind).of(supplies_for(kind, peer, listening, redis))
        assert channel is not None
        if isinstance(channel, MemoryChannel):
            peer.channel = channel  # type: ignore[attr-defined]  # only this peer has one
        running = asyncio.create_task(channel.run())
        try:
            made = Scene(channel, listening, peer)
            await made.ready()
            yield made
        finally:
            await ending.end([running])
            await redis.aclose()


def play(story: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(story, 5 * PATIENCE)

    asyncio.run(bounded())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_proved_taken_and_arrives_once(
    kind: str, tmp_path: Path, redis_url: str
) -> None:
    async def story() -> None:
        async with scene(kind, tmp_path, redis_url) as on:
            asked = question(kind, on.peer.address)
            on.channel.write(asked)
            await on.proved(asked.key)
            assert on.listening.told[0] == ("opened", kind)
            if on.peer.arrives:
                await until(lambda: _is_there(on, f"ask {asked.challenge}"))
            assert on.listening.taken_keys() == [asked.key]
            assert on.listening.lost_keys() == []

    play(story())


@pytest.mark.parametrize("kind", KINDS)
def test_a_closing_comes_after_its_question(kind: str, tmp_path: Path, redis_url: str) -> None:
    async def story() -> None:
        async with scene(kind, tmp_path, redis_url) as on:
            asked = question(kind, on.peer.address)
            on.channel.write(asked)
            await on.proved(asked.key)
            on.channel.write(closing(asked))
            await on.proved(closing(asked).key)
            if on.peer.arrives:
                await until(lambda: _is_there(on, f"close {asked.challenge}"))
                there = await on.peer.arrived()
                assert there == [f"ask {asked.challenge}", f"close {asked.challenge}"]

    play(story())


@pytest.mark.parametrize("kind", CALLING)
def test_an_address_that_nobody_has_is_told_as_lost(
    kind: str, tmp_path: Path, redis_url: str
) -> None:
    async def story() -> None:
        async with scene(kind, tmp_path, redis_url) as on:
            asked = question(kind, on.peer.nowhere)
            on.channel.write(asked)

            async def lost() -> bool:
                return asked.key in on.listening.lost_keys()

            await until(lost)
            assert await on.peer.arrived() == []

    play(story())


@pytest.mark.parametrize("kind", CALLING)
def test_without_the_leaders_lock_nothing_goes_out(
    kind: str, tmp_path: Path, redis_url: str
) -> None:
    async def story() -> None:
        async with scene(kind, tmp_path, redis_url) as on:
            on.listening.may_write = False
            late = question(kind, on.peer.address)
            with contextlib.suppress(NotReady):
                on.channel.write(late)
            await asyncio.sleep(0.2)
            on.listening.may_write = True
            await on.ready()
            asked = question(kind, on.peer.address)
            on.channel.write(asked)
            await on.proved(asked.key)
            await until(lambda: _is_there(on, f"ask {asked.challenge}"))
            assert f"ask {late.challenge}" not in await on.peer.arrived()

    play(story())


@pytest.mark.parametrize("kind", KINDS)
def test_before_it_runs_it_takes_nothing_or_says_that_it_is_not_ready(
    kind: str, tmp_path: Path, redis_url: str
) -> None:
    async def story() -> None:
        redis: Redis = Redis.from_url(redis_url, protocol=2)
        listening = Listening()
        async with PEERS[kind](tmp_path, redis_url) as peer:
            channel = adapter_of(kind).of(supplies_for(kind, peer, listening, redis))
            assert channel is not None
            if kind in CALLING:
                assert not channel.ready
                with pytest.raises(NotReady):
                    channel.write(question(kind, peer.address))
                assert listening.told == []
        await redis.aclose()

    play(story())


@pytest.mark.parametrize("kind", KINDS)
def test_once_it_is_ended_nothing_of_it_runs_on(kind: str, tmp_path: Path, redis_url: str) -> None:
    async def story() -> None:
        redis: Redis = Redis.from_url(redis_url, protocol=2)
        listening = Listening()
        async with PEERS[kind](tmp_path, redis_url) as peer:
            await asyncio.sleep(0.1)  # the peer's own start is over
            before = asyncio.all_tasks()
            channel = adapter_of(kind).of(supplies_for(kind, peer, listening, redis))
            assert channel is not None
            running = asyncio.create_task(channel.run())
            on = Scene(channel, listening, peer)
            await on.ready()
            lost = question(kind, peer.nowhere)
            channel.write(lost)
            await ending.end([running])

            def left() -> list[str]:
                tasks = (str(task.get_coro()) for task in asyncio.all_tasks() - before)
                return [one for one in tasks if "RequestHandler" not in one]

            with contextlib.suppress(TimeoutError):  # what ends by itself may take a turn or two
                async with asyncio.timeout(5.0):
                    while left():  # noqa: ASYNC110 - whatever it is, it tells nobody
                        await asyncio.sleep(0.02)
            assert left() == []
        await redis.aclose()

    play(story())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"web", "push"}])
def test_what_the_customer_says_is_heard_once_with_who_and_where(
    kind: str, tmp_path: Path, redis_url: str
) -> None:
    async def story() -> None:
        async with scene(kind, tmp_path, redis_url) as on:
            on.channel.write(question(kind, on.peer.address))
            await on.peer.say("NO 384920")

            async def heard() -> bool:
                return any(isinstance(one, HeardText) for one in on.listening.said)

            await until(heard)
            (said,) = [one for one in on.listening.said if isinstance(one, HeardText)]
            assert (said.channel, said.text, said.bare) == (kind, "NO 384920", on.peer.address)
            assert not said.delayed

    play(story())


async def _is_there(on: Scene, what: str) -> bool:
    return what in await on.peer.arrived()


def test_every_class_that_is_a_channel_is_in_the_catalogue_once() -> None:
    found = set()
    for module in pkgutil.iter_modules([str(HERE)], "notifiers."):
        for _, made in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = made.__module__ == module.name and not getattr(made, "_is_protocol", False)
            if own and callable(getattr(made, "write", None)) and hasattr(made, "kind"):
                found.add(made)
    assert found == set(CHANNELS)
    assert len(set(KINDS)) == len(CHANNELS)
    assert XmppChannel in found


def test_every_channel_is_met_by_a_peer() -> None:
    assert set(PEERS) == set(KINDS)


def test_each_channel_fits_the_protocol() -> None:
    for channel in CHANNELS:
        assert isinstance(inspect.getattr_static(channel, "ready"), property)
        assert callable(channel.write)
        assert inspect.iscoroutinefunction(channel.run)


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({"pusch": {}}, "did you mean push"),
        ({"push": {}}, "contact"),
        ({"push": {"contact": "mailto:a@bank.example", "al1ow": []}}, "al1ow"),
        ({"sms": {"url": "http://10.0.0.7/messages"}}, "needed https"),
        ({"sms": {"url": "https://10.0.0.7/messages"}}, "needed a public address"),
        ({"voice": {"url": "https://a@gateway.bank.example/"}}, "without a user"),
    ],
)
def test_settings_that_a_channel_cannot_use_are_refused(
    settings: dict[str, dict[str, object]], needed: str
) -> None:
    with pytest.raises(BadSettings, match=needed):
        catalogue.check(settings)


def test_good_settings_are_taken() -> None:
    catalogue.check(
        {
            "push": {"contact": "mailto:security@bank.example"},
            "sms": {"url": "https://gateway.bank.example/messages"},
            "voice": {"url": "http://10.0.0.7:8080/calls", "allow": ["10.0.0.7:8080"]},
        }
    )
