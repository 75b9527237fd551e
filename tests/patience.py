"""How long does a test wait, and what may it blame the machine for?

A wait ends as soon as what it waits for is there, so its bound costs a good run nothing, and is
long: it only tells a run that hangs from one that is slow. Where a test holds the product to a
time of its own, what the machine kept its processes waiting for a core is taken off: on a quiet
machine that is nothing, and the bar is the bar.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0
_AGAIN_AFTER = 0.02


async def until(look: Callable[[], Awaitable[T]], what: str = "", seconds: float = PATIENCE) -> T:
    """Give what ``look`` gives as soon as it is true; TimeoutError says what was waited for."""
    end = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > end:
            name = what or getattr(look, "__qualname__", "what was waited for")
            raise TimeoutError(f"{name}: not within {seconds} s")
        await asyncio.sleep(_AGAIN_AFTER)


async def until_true(look: Callable[[], object], what: str = "") -> None:
    """Return as soon as what ``look`` gives at once is true, as `until` does."""

    async def seen() -> object:
        return look()

    await until(seen, what)


def _waited(pids: tuple[int, ...]) -> dict[tuple[int, str], float]:
    """Seconds in which each thread of these processes was ready to run and had no core, so far."""
    found = {}
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # on a core, waiting for one (ns), turns
                found[pid, file.parent.name] = int(file.read_text().split()[1]) / 1e9
    return found


class Watch:
    """Measures a time from now on, as far as it is not the machine's: this test's and ``pids``'."""

    def __init__(self, *pids: int) -> None:
        self._pids = (os.getpid(), *pids)
        self._before = _waited(self._pids)
        self._began = time.monotonic()

    def kept(self) -> float:
        """Seconds for which these processes were kept waiting for a core: each its worst thread."""
        longest = dict.fromkeys(self._pids, 0.0)
        for (pid, thread), seconds in _waited(self._pids).items():
            longest[pid] = max(longest[pid], seconds - self._before.get((pid, thread), 0.0))
        return sum(longest.values())

    def seconds(self) -> float:
        """How long it took, less what these processes were kept waiting for a core."""
        return max(0.0, time.monotonic() - self._began - self.kept())
