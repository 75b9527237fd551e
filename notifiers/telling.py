"""What do the flow, the ledger and the watchers hear? Effects of the outbox, in order and once."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from notifiers import rows
from notifiers.facts import write_time
from notifiers.records import Effect
from notifiers.term import Term, patience

STATUS = "rb:channels"

_TELL = """
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', 86400) then
  for i = 1, #ARGV, 3 do redis.call('XADD', ARGV[i], '*', ARGV[i + 1], ARGV[i + 2]) end
  return 1
end
return 0
"""


class Telling:
    """Tells for one term; `in_flight` counts what is written and not settled."""

    def __init__(self, term: Term, in_flight: Callable[[], int]) -> None:
        self._term = term
        self._in_flight = in_flight

    async def tell(self) -> None:
        """Carry effects to Redis, in order, each in one transaction and once."""
        term = self._term
        script = term.redis.register_script(_TELL)
        while True:
            term.tell.clear()
            effects = await term.outbox.look(lambda c: rows.some_effects(c, 0))
            while effects:
                async with patience("telling the flow"):
                    pipe = term.redis.pipeline(transaction=False)
                    for _, effect in effects:
                        arguments: list[Any] = [part for entry in effect.entries for part in entry]
                        await script(keys=[f"rb:told:{effect.uid}"], args=arguments, client=pipe)
                    await pipe.execute()
                    last = effects[-1][0]
                    effects = await term.write(_told(last))
            await term.tell.wait()

    async def tidy(self) -> None:
        """Say how the channels are, each second; forget closed questions after a day."""
        term = self._term
        forgotten = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            async with patience("saying how the channels are"):
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


def _told(last: int) -> rows.Change:
    def change(connection: Any) -> list[tuple[int, Effect]]:
        rows.remove_effects(connection, last)
        return rows.some_effects(connection, last)

    return change
