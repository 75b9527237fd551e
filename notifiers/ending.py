"""How are tasks ended for certain? By asking until they have ended.

Up to Python 3.11 `asyncio.wait_for` may swallow a cancellation that comes just as its inner work is
done, and redis-py waits so on every command it sends: one `cancel()` is then lost, and a task that
runs a loop runs on.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

ASKED_EVERY = 0.1


async def end(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel tasks until each has ended; their results and errors are not looked at.

    Being cancelled itself only comes through once all have ended: nothing is left running.
    """
    left = {task for task in tasks if not task.done()}
    asked: asyncio.CancelledError | None = None
    while left:
        for task in left:
            task.cancel()
        try:
            _, left = await asyncio.wait(left, timeout=ASKED_EVERY)
        except asyncio.CancelledError as cancelled:
            asked = cancelled
            left = {task for task in left if not task.done()}
    if asked is not None:
        raise asked


async def first(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Wait for the first that ends, end the others, and raise what the first raised."""
    whole = list(tasks)
    try:
        done, _ = await asyncio.wait(whole, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(whole)
    for task in whole:
        if not task.cancelled():
            task.exception()  # looked at, or it would be logged as one that nobody saw
    for task in done:
        task.result()


async def end_sender(stream: Any) -> None:
    """End the task that a stream of slixmpp leaves behind when it is thrown away."""
    sender: asyncio.Task[Any] | None = getattr(stream, "_run_out_filters", None)
    if sender is not None:
        await end([sender])
