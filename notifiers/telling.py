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
from notifiers.wire import Wire

STATUS = "rb:channels"

GATHERS = 0.02  # seconds; records alone may come so much later, many at once
REMEMBERED = 24 * 3600  # seconds that Redis knows what it was told
# KEYS: a name each; ARGV: how long it is remembered, then each one's number of entries and the
# entries. Records that follow each other travel as one entry, up to a size.
_TELL = """
local stream, field, held, told, at = nil, nil, nil, 0, 2
local function put()
  if held then redis.call('XADD', stream, '*', field, held) end
  held = nil
end
for each = 1, #KEYS do
  local fresh = redis.call('SET', KEYS[each], '1', 'NX', 'EX', ARGV[1])
  local last = at + 3 * tonumber(ARGV[at])
  if fresh then
    told = told + 1
    for i = at + 1, last, 3 do
      local value = ARGV[i + 2]
      local joins = field == 'records' and ARGV[i + 1] == field and ARGV[i] == stream
      if held and joins and #held + #value < 65536 and #value > 2 and #held > 2 then
        held = string.sub(held, 1, -2) .. ',' .. string.sub(value, 2)
      else
        put()
        stream, field, held = ARGV[i], ARGV[i + 1], value
      end
    end
  end
  at = last + 1
end
put()
return told
"""


class Telling:
    """Tells for one term; `in_flight` counts what is written and not settled."""

    def __init__(self, term: Term, in_flight: Callable[[], int]) -> None:
        self._term = term
        self._wire = Wire(term.redis)
        self._in_flight = in_flight
        self._script = ""
        self._told = self._removed = 0

    async def tell(self) -> None:
        """Carry effects to Redis, in order, each in one transaction and once."""
        try:
            await self._tell()
        finally:
            await self._wire.close()

    async def _tell(self) -> None:
        term = self._term
        while True:
            term.tell.clear()
            term.hurry.clear()
            effects = await term.outbox.look(lambda c: rows.some_effects(c, self._told))
            while effects:
                async with patience("telling the flow"):
                    await self._carry([effect for _, effect in effects])
                    self._told, more = effects[-1][0], len(effects) == rows.EFFECTS_AT_ONCE
                    effects = []
                    if more:
                        effects = await term.outbox.look(lambda c: rows.some_effects(c, self._told))
            await term.tell.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHERS):
                    await term.hurry.wait()

    async def _carry(self, effects: Sequence[Effect]) -> None:
        if not self._script:
            self._script = (await self._wire.ask("SCRIPT", "LOAD", _TELL)).decode()
        uids = [f"rb:told:{effect.uid}" for effect in effects]
        parts: list[Any] = []
        for effect in effects:
            parts.append(len(effect.entries))
            parts += [part for entry in effect.entries for part in entry]
        try:
            await self._wire.ask("EVALSHA", self._script, len(uids), *uids, REMEMBERED, *parts)
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
            await self._term.write(lambda c: rows.remove_effects(c, upto), lazily=True)
            self._removed = upto

    async def tidy(self) -> None:
        """Say how the channels are, each second; forget closed questions after a day."""
        term = self._term
        forgotten = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            async with patience("saying how the channels are"):
                await self._remove()
                with suppress(sqlite3.OperationalError):  # locked just now: no term ends for that
                    await term.redis.hset(STATUS, mapping=await self._status())
            if time.monotonic() - forgotten > 60.0:
                forgotten = time.monotonic()
                gone = term.book.forget(term.clock())
                if gone:
                    await term.write(_forgotten(gone))

    async def _status(self) -> dict[Any, Any]:
        term = self._term
        counts = await term.outbox.browse(rows.counts)
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
