"""How do a file's facts go into the flow? As one source of one partition, in their order.

Payments as they were, labels as they became known, and between them the answers of customers who
are simulated. A label waits here until its event is through.
"""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.files import Fact
from flows.inlets import LATENESS_US
from flows.scored import Row
from flows.walk import Described, HeardUntil, Values
from risk.events import Moment
from risk.labels import Known

FilePlace = tuple[int, int, int]


class Answers(Protocol):
    """Customers who answer while a file is replayed; their words come in between its facts."""

    def sent(self, moment: Moment) -> None:
        """An event went into the flow."""

    def settled(self, at_us: int) -> bool:
        """Whether whatever could be answered by then was decided."""

    def due(self, at_us: int) -> Fact | None:
        """The next answer that was given by then, or a mark of a day's end."""

    def outranked(self) -> None:
        """An answer came after a label that counts for more."""


class _FilePart(StatefulSourcePartition[Any, FilePlace]):
    def __init__(self, inlet: "FileInlet", resume: FilePlace | None) -> None:
        self._inlet = inlet
        self._read, self._position, self._watermark_us = resume or (0, 0, 0)
        self._facts = itertools.islice(inlet.facts, self._read, None)
        self._held: Fact | None = None
        self._under_way: set[str] = set()
        self._awake: datetime | None = None

    def next_batch(self) -> list[Described | Known | HeardUntil]:
        batch: list[Described | Known | HeardUntil] = []
        self._awake = None
        while len(batch) < self._inlet.batch:
            fact = self._held or next(self._facts, None)
            if fact is None:
                if not batch:
                    raise StopIteration
                break
            self._held = fact
            if self._not_yet(fact):
                break
            answer = self._inlet.answers.due(fact.at_us) if self._inlet.answers else None
            if answer is None:
                self._held = None
                self._read += 1
            told = self._told(answer or fact)
            if told is not None:
                batch.append(told)
                self._position += not isinstance(told, HeardUntil)
        return batch

    def next_awake(self) -> datetime | None:
        return self._awake

    def _not_yet(self, fact: Fact) -> bool:
        """Whether a fact must wait at the inlet: for its hour, or for what is still on its way."""
        inlet = self._inlet
        if inlet.pace is not None and (seconds := inlet.pace(fact.at_us)) > 0:
            self._awake = datetime.now(UTC) + timedelta(seconds=seconds)
            return True
        if inlet.answers is not None and not inlet.answers.settled(fact.at_us):
            return True
        return fact.moment is None and self._too_early(fact)

    def _too_early(self, fact: Fact) -> bool:
        """A label whose event is still on its way through the flow waits at the inlet."""
        name = fact.label[0] if fact.label else ""
        if name in self._under_way and self._inlet.scoreds.has(name):
            self._under_way.discard(name)
        return name in self._under_way

    def _told(self, fact: Fact) -> Described | Known | HeardUntil | None:
        if fact.moment is None and fact.label is None:
            return HeardUntil(0, fact.at_us, self._position)
        if fact.moment is not None:
            moment = fact.moment._replace(
                position=self._position,
                late=fact.moment.time_us < self._watermark_us - LATENESS_US,
            )
            self._watermark_us = max(self._watermark_us, moment.time_us)
            self._under_way.add(moment.id)
            if self._inlet.answers is not None:
                self._inlet.answers.sent(moment)
            return Described(moment, self._inlet.surface(moment), {})
        name, fraud, source = fact.label or ("", False, "")
        row = self._inlet.scoreds.get(name)
        answers = self._inlet.answers if source == "customer" else None
        if row is None:
            if answers is not None:
                answers.outranked()
            else:
                self._inlet.unknown_labels += 1
            return None
        if answers is not None:
            self._inlet.scoreds.put(row)  # the chargeback is still to come, and counts for more
        return Known(
            id=f"{name}/{source}",
            event=name,
            fraud=fraud,
            source=source,
            known_us=fact.at_us,
            event_time_us=row.time_us,
            customer=row.customer,
            payee=row.payee,
            device=row.device,
            ip=row.ip,
            partition=0,
            position=self._position,
            teaches=True,
            features=row.features,
            card=row.card,
            terminal=row.terminal,
            scores=row.scores,
        )

    def snapshot(self) -> FilePlace:
        return self._read, self._position, self._watermark_us


class Joinable(Protocol):
    """As-scored rows that can also be asked whether they are there."""

    def put(self, row: Row) -> None: ...
    def get(self, event: str) -> Row | None: ...
    def has(self, event: str) -> bool: ...


class FileInlet(FixedPartitionedSource[Any, FilePlace]):
    """One file as one partition; labels are joined as they come, like the live inlet does.

    The partition's name is the file's own, so that a cut resumes in the same file. ``pace`` says
    how many seconds a fact has still to wait, ``answers`` who answers meanwhile: for a replay.
    """

    def __init__(
        self,
        facts: Iterator[Fact],
        surface: Callable[[Moment], Values],
        scoreds: Joinable,
        batch: int,
        name: str = "file",
        *,
        pace: Callable[[int], float] | None = None,
        answers: Answers | None = None,
    ) -> None:
        self._name, self.pace, self.answers = name, pace, answers
        self.facts, self.surface, self.scoreds, self.batch = facts, surface, scoreds, batch
        self.unknown_labels = 0

    def list_parts(self) -> list[str]:
        return [self._name]

    def build_part(self, step_id: str, for_part: str, resume_state: FilePlace | None) -> _FilePart:
        return _FilePart(self, resume_state)
