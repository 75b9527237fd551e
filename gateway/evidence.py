"""What does the ledger say? Read in a thread; a ledger that can't be read is said, not fatal."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.ports import Ledger

log = logging.getLogger("ringback.gateway")
T = TypeVar("T")


class Evidence:
    """The ledger as the gateway reads it: nothing where there is none, or none can be read."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger

    async def head(self) -> Mapping[str, Any] | None:
        """The newest head."""
        return await self._read(lambda ledger: ledger.head(), None)

    async def event_records(self, event: str) -> Sequence[Mapping[str, Any]]:
        """An event's records, in order."""
        nothing: Sequence[Mapping[str, Any]] = ()
        return await self._read(lambda ledger: ledger.event_records(event), nothing)

    async def proof(self, origin: str, index: int) -> str | None:
        """The proof of one record."""
        return await self._read(lambda ledger: ledger.proof(origin, index), None)

    async def leaf_and_proof(self, origin: str, index: int) -> tuple[bytes, str] | None:
        """The stored bytes of one record, and its proof."""
        return await self._read(lambda ledger: ledger.leaf_and_proof(origin, index), None)

    async def receipt(self, event: str) -> Mapping[str, Any] | None:
        """Where an event's decision lies, `{origin, index}`; None until it is durable."""
        return await self._read(lambda ledger: ledger.receipt(event), None)

    async def _read(self, read: Callable[[Ledger], T], without: T) -> T:
        if self._ledger is None:
            return without
        try:
            return await asyncio.to_thread(read, self._ledger)
        except Exception as fault:  # noqa: BLE001 - a port's faults are its own; decisions go on
            log.info("reading the ledger: %s: %s", type(fault).__name__, fault)
            return without
