"""May it be shown? Only once it is on record, durably, that somebody reads it.

    who reads what  --XADD-->  rb:audit  --the ledger's writer-->  rb:audit:durable passes it
                                                                        |
                               nothing is shown before that      <------+   503 where it stays out

Without a ledger nothing of another's is read, while decisions go on.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.problems import Problem
from gateway.records import record
from gateway.turns import StoreAway, Turns
from risk import names

WITHIN_SECONDS = 3.0
_FIRST_LOOK, _LONGEST_PAUSE = 0.004, 0.05
UNSIGNED = {"type": "person", "id": "page.unsigned", "role": "viewer"}


class Readings:
    """Puts each reading on record before it happens."""

    def __init__(
        self,
        turns: Turns,
        tenant: str,
        clock: Callable[[], int],
        *,
        within: float = WITHIN_SECONDS,
    ) -> None:
        self._turns, self._tenant, self._clock, self._within = turns, tenant, clock, within

    async def first(
        self,
        actor: Mapping[str, str],
        what: str,
        which: str,
        *,
        event: str | None = None,
        subject: str | None = None,
        **more: Any,
    ) -> None:
        """Return once the reading is durably on record; `Problem` 503 where it can't be.

        ``more`` goes into the body as it is: fields, purpose, count, query.
        """
        now_us = self._clock()
        made = record(
            "access.read",
            f"gateway/{os.urandom(9).hex()}/access.read",
            tenant=self._tenant,
            case=names.case(event) if event else None,
            event=event,
            subject=subject,
            actor=actor,
            at_us=now_us,
            body={"what": what, "which": which[:200], **more},
            grade=1,
        )
        try:
            async with asyncio.timeout(self._within):
                entry = await self._turns.ask(
                    "XADD", names.AUDIT, "*", "records", orjson.dumps([made])
                )
                await self._until_durable(_place(entry))
        except (StoreAway, TimeoutError) as away:
            raise Problem(
                "away",
                "The reading could not be put on record in time, so nothing is shown: is the"
                " ledger's writer running? Decisions go on without it",
            ) from away

    async def _until_durable(self, entry: tuple[int, int]) -> None:
        pause = _FIRST_LOOK
        while True:
            mark = await self._turns.ask("GET", names.AUDIT_DURABLE)
            if mark is not None and _place(mark) >= entry:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)


def _place(entry: bytes) -> tuple[int, int]:
    ms, _, number = entry.decode().partition("-")
    return int(ms), int(number or 0)
