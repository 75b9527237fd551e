"""What is under way is bounded, and an outage is followed by no storm."""

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from notifiers.facts import Ask
from notifiers.ladder import Rung
from notifiers.memory import MemoryChannel
from notifiers.outbox import Outbox
from notifiers.rows import NewChallenge, coming, new_challenge
from notifiers.sending import IN_FLIGHT
from tests.notifiers import stage
from tests.patience import PATIENCE

MORE = 40


def test_no_more_is_under_way_than_the_bound_and_what_was_proved_never_goes_again(
    redis_url: str, tmp_path: Path
) -> None:
    made: list[tuple[MemoryChannel, Any]] = []

    def channel(listener: Any) -> MemoryChannel:
        one = MemoryChannel(listener)
        one.proves = False
        made.append((one, listener))
        return one

    settings = stage.settings_for(redis_url, tmp_path, more_channels=(channel,))

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            memory, listener = made[0]
            for number in range(IN_FLIGHT + MORE):
                await flow.ask(await flow.bind(f"c{number}", kind="memory"), life=600.0)

            async def sent(number: int) -> bool:
                return len(memory.sent) >= number

            await flow.until(lambda: sent(IN_FLIGHT))
            # Nothing was proved: whatever else is due waits, however often it is looked at.
            for _ in range(10):
                await flow.redis.hget("rb:channels", "memory")
                await asyncio.sleep(0.05)
            assert len(memory.sent) == IN_FLIGHT
            proved = [one.key for one in memory.sent]
            listener.taken(proved)
            await flow.until(lambda: sent(IN_FLIGHT + MORE))

            # The session ends and comes back: only what lacks its proof goes again, once each.
            before = len(memory.sent)
            await listener.opened("memory")
            await flow.until(lambda: sent(before + MORE))
            again = Counter(one.key for one in memory.sent[before:])
            assert set(again.values()) == {1}
            assert not set(again) & set(proved)
            assert len(again) == MORE <= IN_FLIGHT

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))


def test_a_channel_that_is_ready_again_is_given_what_waited_though_nobody_says_so(
    redis_url: str, tmp_path: Path
) -> None:
    made: list[MemoryChannel] = []

    def channel(listener: Any) -> MemoryChannel:
        made.append(MemoryChannel(listener))
        return made[0]

    settings = stage.settings_for(redis_url, tmp_path, more_channels=(channel,))

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            (memory,) = made
            memory.up = False
            await flow.ask(await flow.bind("ann", kind="memory"))

            async def due() -> bool:
                raw = await flow.redis.hget("rb:channels", "memory")
                return raw is not None and orjson.loads(raw)["due"] == 1

            await flow.until(due)
            assert not memory.sent
            memory.up = True

            async def sent() -> bool:
                return len(memory.sent) == 1

            await flow.until(sent)

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))


def test_a_channel_that_takes_nothing_holds_up_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        outbox = Outbox(tmp_path / "outbox.db")
        for number, kind in enumerate(("slow", "swift")):
            ask = Ask.from_stream(f"{number}-0", stage.make_ask(f"c{number}"))
            rung = (Rung(kind, 2.0, 30.0), "address")
            new = NewChallenge(ask, "en", "UTC", 0, f"mark-{number}", (rung,), 1000.0)
            await outbox.change(partial(new_challenge, new=new))
        both = await outbox.look(partial(coming, free={"slow", "swift"}))
        one = await outbox.look(partial(coming, free={"swift"}))
        none = await outbox.look(partial(coming, free=()))
        outbox.close()
        assert (both.gate, one.gate, none.gate) == ("mark-0", "mark-1", None)
        assert both.at("mark-0") == 0.0
        later = one.at("mark-0")  # then it is too old for its channel, whatever that takes
        assert later == none.at("mark-9") == both.given_up
        assert later is not None
        assert later > 1000.0

    asyncio.run(story())
