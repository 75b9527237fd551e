"""What do the flow, the ledger and the watchers hear? Effects of the outbox, in order and once."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
from redis.exceptions import NoScriptError

from notifiers import rows
from notifiers.errors import Fenced, OutboxRefused
from notifiers.facts import write_time
from notifiers.records import Effect
from notifiers.term import Term, patience

STATUS = "rb:channels"

GATHERS = 0.02  # seconds; records alone may come so much later, many at once
REMEMBERED = 24 * 3600  # seconds that Redis knows what it was told
_TELL = """
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
  for i = 2, #ARGV, 3 do redis.call('XADD', ARGV[i], '*', ARGV[i + 1], ARGV[i + 2]) end
  return 1
end
return 0
"""


class Telling:
    """Tells for one term; `in_flight` counts what is written and not settled."""

    def __init__(self, term: Term, in_flight: Callable[[], int]) -> None:
        self._term = term
        self._in_flight = in_flight
        self._script = ""
        self._told = self._removed = 0

    async def tell(self) -> None:
        """Carry effects to Redis, in order, each in one transaction and once."""
        term = self._term
        while True:
            term.tell.clear()
            term.hurry.clear()
            effects = await term.outbox.look(lambda c: rows.some_effects(c, self._told))
            while effects:
                async with patience("telling the flow"):
                    await self._carry([effect for _, effect in effects])
                    self._told = effects[-1][0]
                    if len(effects) < rows.TOLD_AT_ONCE:
                        break
                    effects = await term.outbox.look(lambda c: rows.some_effects(c, self._told))
            await term.tell.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHERS):
                    await term.hurry.wait()

    async def _carry(self, effects: Sequence[Effect]) -> None:
        redis = self._term.redis
        if not self._script:
            self._script = str(await redis.script_load(_TELL))
        pipe = redis.pipeline(transaction=False)
        for effect in effects:
            parts = [part for entry in effect.entries for part in entry]
            pipe.evalsha(self._script, 1, f"rb:told:{effect.uid}", REMEMBERED, *parts)
        try:
            await pipe.execute()
        except NoScriptError:  # another Redis by now: what was told of them is not told twice
            self._script = ""
            raise

    async def end(self) -> None:
        """Leave nothing to be told again, unless another one leads by now."""
        with suppress(Fenced, OutboxRefused, sqlite3.Error):
            await self._remove()

    async def _remove(self) -> None:
        """Forget what was told; Redis knows it for a day, so that it is told once all the same."""
        upto = self._told
        if upto > self._removed:
            await self._term.write(lambda c: rows.remove_effects(c, upto))
            self._removed = upto

    async def tidy(self) -> None:
        """Say how the channels are, each second; forget closed questions after a day."""
        term = self._term
        forgotten = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            async with patience("saying how the channels are"):
                await self._remove()
                await term.redis.hset(STATUS, mapping=await self._status())
            if time.monotonic() - forgotten > 60.0:
                forgotten = time.monotonic()
                gone = term.book.forget(term.clock())
                if gone:
                    await term.write(_forgotten(gone))

    async def _status(self) -> dict[Any, Any]:
        term = self._term
        counts = await term.outbox.look(rows.counts)
        at = write_time(term.clock())
        return {
            kind: orjson.dumps(
                {
                    "ready": channel.ready,
                    "term": term.lease.fence,
                    "due": counts.get("due", 0),
                    "in_flight": self._in_flight(),
                    "taken": counts.get("taken", 0),
                    "bounced": counts.get("bounced", 0),
                    "dropped": counts.get("dropped", 0),
                    "untold": counts["effects"],
                    "at": at,
                }
            )
            for kind, channel in term.channels.items()
        }


def _forgotten(gone: Sequence[str]) -> rows.Change:
    def change(connection: Any) -> None:
        rows.forget(connection, gone)

    return change
