"""Tasks end, also those that lose a cancellation on the way."""

import asyncio

import pytest

from notifiers import ending
from notifiers.prosody import Prosody
from tests.notifiers import stage
from tests.patience import PATIENCE


async def stubborn(losses: int) -> None:
    """Lose so many cancellations before giving in, as a wait inside a library may."""
    while True:
        try:
            await asyncio.sleep(10 * PATIENCE)
        except asyncio.CancelledError:
            if losses == 0:
                raise
            losses -= 1


def test_a_task_that_loses_cancellations_is_ended_all_the_same() -> None:
    async def story() -> None:
        tasks = [asyncio.create_task(stubborn(losses)) for losses in range(4)]
        await asyncio.sleep(0)
        await asyncio.wait_for(ending.end(tasks), PATIENCE)
        assert all(task.done() for task in tasks)

    asyncio.run(story())


def test_being_cancelled_oneself_leaves_nothing_running() -> None:
    async def story() -> None:
        task = asyncio.create_task(stubborn(3))
        await asyncio.sleep(0)
        ends = asyncio.create_task(ending.end([task]))
        await asyncio.sleep(0.05)
        ends.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(ends, PATIENCE)
        assert task.done()

    asyncio.run(story())


def test_the_first_failure_is_raised_and_the_others_end() -> None:
    async def fail() -> None:
        raise ValueError("first")

    async def story() -> None:
        other = asyncio.create_task(stubborn(1))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="first"):
            await ending.first([other, asyncio.create_task(fail())])
        assert other.done()

    asyncio.run(story())


def test_who_leaves_the_chat_leaves_no_task_behind(prosody: Prosody) -> None:
    async def story() -> None:
        async with stage.chatting(prosody, "ann"):
            pass
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(story())
