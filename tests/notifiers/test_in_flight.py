"""What is under way is bounded, and an outage is followed by no storm."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from notifiers.memory import MemoryChannel
from notifiers.sending import IN_FLIGHT
from tests.notifiers import stage

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

    asyncio.run(asyncio.wait_for(story(), 90))
