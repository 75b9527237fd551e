"""Is it taken? Each event once: the same again gives the stored decision, another body a conflict.

From here on the event is durable (Redis syncs each write): whoever was told so may forget it.
"""

from dataclasses import dataclass
from importlib import resources

from gateway.edge import Accepting
from gateway.evidence import Evidence
from gateway.problems import Problem
from gateway.turns import Turns
from risk import names

SCRIPT = resources.files("gateway").joinpath("accept.lua").read_text()
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """What acceptance found: ``new``, or known before with what is known of it by now."""

    new: bool
    decision: bytes | None = None
    outcome: bytes | None = None


class Acceptance:
    """Puts events on their partition's stream, each id once within the idempotency window."""

    def __init__(self, turns: Turns, *, idempotency_us: int, evidence: Evidence) -> None:
        self._turns = turns
        self._idempotency_us = idempotency_us
        self._evidence = evidence

    async def accept(self, event: Accepting) -> Accepted:
        """Accept one event; raises a conflict `Problem`, or `StoreAway` where it isn't durable."""
        if event.time_us < event.accepted_us - self._idempotency_us + _HOUR_US:
            await self._refuse_expired(event)
        answer = await self._turns.run(
            "accept",
            names.accepted(event.id),
            event.mac,
            names.events(event.partition),
            event.envelope,
            names.AUDIT,
            event.records,
            self._idempotency_us // 1_000_000,
            names.decision(event.id),
            names.outcome(event.id),
            names.fetched(event.id),
        )
        if answer[0] == b"other":
            raise Problem(
                "conflict",
                "An event of this id was accepted with another body; nothing was changed",
                event=event.own_id,
            )
        if answer[0] == b"new":
            return Accepted(new=True)
        return Accepted(new=False, decision=answer[1], outcome=answer[2])

    async def _refuse_expired(self, event: Accepting) -> None:
        """An old event may be a repeat from before the window: only the ledger remembers."""
        if await self._turns.ask("EXISTS", names.accepted(event.id)):
            return
        if await self._evidence.event_records(event.id):
            raise Problem(
                "expired_id",
                "An event of this id was decided before the idempotency window; ask for its"
                " decision",
                event=event.own_id,
            )
