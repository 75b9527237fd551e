"""Who else should be asked, about payments that were made already? Beside the way, one key.

::

    scored payments --remember--+
    answers as labels --heard---+--> risk/seek.py --> wishes --> the customer's shard, which asks
    marks of time ----a new day-+                                (flows/inquire.py)

The stage chooses; whether the customer can bear to be asked is for their own shard to say. What it
holds of payments is memory alone: a new process reads them again from the as-scored store. What was
asked and heard lies in the cut.
"""

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from bytewax.operators import StatefulBatchLogic

from flows.scored import Row
from flows.walk import HeardUntil, Scored, Wished
from risk.events import Moment
from risk.labels import Known
from risk.seek import Paid, Seeker, Seeking

Fact = Scored | Known | HeardUntil


def is_first_mark(fact: object) -> bool:
    """Whether a fact tells the time: of the marks for each shard of customers the first."""
    return isinstance(fact, HeardUntil) and fact.shard == 0


def nobody(fact: Known | HeardUntil, wishes: int) -> None:
    """Nobody waits for what a fact made the stage wish."""


def paid(moment: Moment) -> Paid:
    """A payment, as it is chosen by."""
    return _paid(
        moment.id, moment.time_us, moment.customer, moment.payee, moment.terminal, moment.device
    )


def paid_row(row: Row) -> Paid:
    """The same of an event as it was scored."""
    return _paid(row.event, row.time_us, row.customer, row.payee, row.terminal, row.device)


def _paid(
    event: str,
    time_us: int,
    customer: str,
    payee: str | None,
    terminal: str | None,
    device: str | None,
) -> Paid:
    places = (("terminal", terminal), ("device", device))
    named = tuple(f"{kind}/{token}" for kind, token in places if token is not None)
    return Paid(event, time_us, customer, f"payee/{payee}", named)


class SeekStage:
    """The seeking stage of one process.

    ``past`` gives payments as scored since a time, for a process that resumes. ``sequenced`` is for
    a replay over one file, like the model's; ``told`` hears how many wishes a fact led to.
    """

    def __init__(
        self,
        seeking: Seeking,
        past: Callable[[int], Iterable[Row]] = lambda since_us: (),
        sequenced: bool = False,
        told: Callable[[Known | HeardUntil, int], None] = nobody,
    ) -> None:
        self.seeking, self.past, self.sequenced, self.told = seeking, past, sequenced, told

    def logic(self, kept: dict[str, Any] | None) -> "SeekLogic":
        """Begin, or go on from the cut."""
        return SeekLogic(self, kept)


class SeekLogic(StatefulBatchLogic[Fact, Wished, dict[str, Any]]):
    """The one seeker of the flow."""

    def __init__(self, stage: SeekStage, kept: dict[str, Any] | None) -> None:
        self._stage, self._seeker = stage, Seeker(stage.seeking)
        self._waiting: list[tuple[int, int, int, Fact]] = []
        self._count, self._next = 0, 0
        self._newest_us: int | None = None
        if kept is not None:
            self._seeker.restore(kept["seeker"])
            self._next, self._newest_us = kept["next"], kept["newest"]
            if self._newest_us is not None:
                since_us = self._newest_us - stage.seeking.look_back_us
                for row in stage.past(since_us):
                    if row.payee is not None:
                        self._seeker.remember(paid_row(row))

    def on_batch(self, values: list[Fact]) -> tuple[list[Wished], bool]:
        facts = self._sequence(values) if self._stage.sequenced else values
        wishes: list[Wished] = []
        for fact in facts:
            if isinstance(fact, Scored):
                self._remember(fact.moment)
                continue
            found = self._hear(fact) if isinstance(fact, Known) else self._look(fact.until_us)
            wishes += found
            self._stage.told(fact, len(found))
        return wishes, StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        return {"seeker": self._seeker.state(), "next": self._next, "newest": self._newest_us}

    def _sequence(self, values: list[Fact]) -> list[Fact]:
        """The order of the file, however the engine batched it; a mark stands before its fact."""
        ready: list[Fact] = []
        for fact in values:
            mark = isinstance(fact, HeardUntil)
            position = fact.moment.position if isinstance(fact, Scored) else fact.position
            heapq.heappush(self._waiting, (position, not mark, self._count, fact))
            self._count += 1
        while self._waiting and self._waiting[0][0] <= self._next:
            fact = heapq.heappop(self._waiting)[3]
            ready.append(fact)
            self._next += not isinstance(fact, HeardUntil)
        return ready

    def _remember(self, moment: Moment) -> None:
        if moment.type == "transaction" and moment.payee is not None and not moment.late:
            self._newest_us = max(moment.time_us, self._newest_us or 0)
            self._seeker.remember(paid(moment))

    def _hear(self, label: Known) -> list[Wished]:
        if label.payee is None:
            return []
        if label.source != "customer":
            self._seeker.mark(label.event, label.known_us)
            return []
        about = _paid(
            label.event,
            label.event_time_us,
            label.customer,
            label.payee,
            label.terminal,
            label.device,
        )
        return [
            Wished(other.customer, (other,), "after_denial", label.event, label.known_us)
            for other in self._seeker.heard(about, label.fraud, label.known_us)
        ]

    def _look(self, until_us: int) -> list[Wished]:
        if not self._seeker.may_ask(until_us) or not self._seeker.due(until_us):
            return []
        return [
            Wished(payments[0].customer, tuple(payments), "review", None, until_us)
            for payments in self._seeker.reviews(until_us)
        ]
