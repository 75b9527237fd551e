"""How does a file become facts? Payments and labels in the order in which they were, or became,
known; one source, so that a replay has one order.

Known without a map: the columns of the Fraud Detection Handbook (``tx_id, seconds, customer,
terminal, amount_cents, fraud, scenario``) as parquet, and the event JSON of the API as NDJSON
(``label`` events included).
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.inlets import LATENESS_US
from flows.scored import Row
from flows.walk import Described, Values
from gateway.edge import Edge
from risk import events, money
from risk.events import Moment
from risk.labels import Known

HANDBOOK_START = datetime.fromisoformat("2018-04-01T00:00:00+00:00")
HANDBOOK_COLUMNS = ("tx_id", "seconds", "customer", "terminal", "amount_cents", "fraud", "scenario")


class BadFile(ValueError):
    """A file that can't be replayed: where, what was needed, what was got."""


class Fact(NamedTuple):
    """Something a file says: an event's moment, or a label that becomes known at a time."""

    at_us: int
    moment: Moment | None
    label: tuple[str, bool, str] | None


@dataclass(frozen=True)
class Truth:
    """What a replay is measured against: for each event its label and its scenario."""

    fraud: bool
    scenario: str


def handbook(
    path: Path, base: str, delay_us: int, truth: Callable[[str, Truth], None]
) -> Iterator[Fact]:
    """The Handbook's payments, each with its label ``delay_us`` after it.

    The terminal is the payee; amounts are taken as cents of the base currency.
    """
    import polars

    frame = polars.read_parquet(path)
    missing = [name for name in HANDBOOK_COLUMNS if name not in frame.columns]
    if missing:
        raise BadFile(f"{path.name}: needed the columns {HANDBOOK_COLUMNS}, missing {missing}")
    start_us = events.micros(HANDBOOK_START)
    waiting: list[tuple[int, int, str, bool]] = []
    ordered = frame.sort("seconds", "tx_id").select(HANDBOOK_COLUMNS)
    for order, row in enumerate(ordered.iter_rows()):
        tx_id, seconds, customer, terminal, cents, fraud, scenario = row
        time_us = start_us + seconds * 1_000_000
        while waiting and waiting[0][0] <= time_us:
            known_us, _, name, known = heapq.heappop(waiting)
            yield Fact(known_us, None, (name, known, "chargeback"))
        name = f"tx{tx_id}"
        truth(name, Truth(bool(fraud), str(scenario)))
        yield Fact(
            time_us,
            Moment(
                id=name,
                type="transaction",
                time_us=time_us,
                customer=f"cus_{customer}",
                accepted_us=time_us,
                partition=0,
                position=0,
                amount=cents,
                currency=base,
                amount_base=cents,
                payee=f"acc_{terminal}",
                channel="card",
            ),
            None,
        )
        heapq.heappush(waiting, (time_us + delay_us, order, name, bool(fraud)))


def ndjson(
    path: Path, edge: Edge, rates: money.Rates, truth: Callable[[str, Truth], None]
) -> Iterator[Fact]:
    """Events as the API takes them, a line each, through the same edge as the API's."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                raw = orjson.loads(line)
                arrived = datetime.fromisoformat(raw["time"])
                event, _ = events.parse(raw, arrived)
            except (ValueError, KeyError, TypeError) as wrong:
                raise BadFile(f"{path.name}, line {number}: {wrong}") from wrong
            if isinstance(event, events.LabelEvent):
                told = edge.id_of(event.event)
                truth(told, Truth(event.fraud, str(raw.get("scenario", ""))))
                yield Fact(events.micros(event.time), None, (told, event.fraud, event.source))
                continue
            prepared = edge.prepare(
                event, accepted_us=events.micros(event.time), role="ingest", reply=None, trace=""
            )
            moment = events.moment(
                orjson.loads(prepared.envelope),
                partition=0,
                position=0,
                watermark_us=0,
                lateness_us=LATENESS_US,
                rates=rates,
            )
            yield Fact(moment.time_us, moment, None)


FilePlace = tuple[int, int, int]


class _FilePart(StatefulSourcePartition[Any, FilePlace]):
    def __init__(self, inlet: "FileInlet", resume: FilePlace | None) -> None:
        self._inlet = inlet
        self._read, self._position, self._watermark_us = resume or (0, 0, 0)
        self._facts = itertools.islice(inlet.facts, self._read, None)
        self._held: Fact | None = None
        self._under_way: set[str] = set()

    def next_batch(self) -> list[Described | Known]:
        batch: list[Described | Known] = []
        while len(batch) < self._inlet.batch:
            fact = self._held or next(self._facts, None)
            if fact is None:
                if not batch:
                    raise StopIteration
                break
            self._held = None
            if fact.moment is None and self._too_early(fact):
                self._held = fact
                break
            self._read += 1
            told = self._told(fact)
            if told is not None:
                batch.append(told)
                self._position += 1
        return batch

    def _too_early(self, fact: Fact) -> bool:
        """A label whose event is still on its way through the flow waits at the inlet."""
        name = fact.label[0] if fact.label else ""
        if name in self._under_way and self._inlet.scoreds.has(name):
            self._under_way.discard(name)
        return name in self._under_way

    def _told(self, fact: Fact) -> Described | Known | None:
        if fact.moment is not None:
            moment = fact.moment._replace(
                position=self._position,
                late=fact.moment.time_us < self._watermark_us - LATENESS_US,
            )
            self._watermark_us = max(self._watermark_us, moment.time_us)
            self._under_way.add(moment.id)
            return Described(moment, self._inlet.surface(moment), {})
        name, fraud, source = fact.label or ("", False, "")
        row = self._inlet.scoreds.get(name)
        if row is None:
            self._inlet.unknown_labels += 1
            return None
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
        )

    def snapshot(self) -> FilePlace:
        return self._read, self._position, self._watermark_us


class Joinable(Protocol):
    """As-scored rows that can also be asked whether they are there."""

    def get(self, event: str) -> Row | None: ...
    def has(self, event: str) -> bool: ...


class FileInlet(FixedPartitionedSource[Any, FilePlace]):
    """One file as one partition; labels are joined as they come, like the live inlet does.

    The partition's name is the file's own, so that a cut resumes in the same file.
    """

    def __init__(
        self,
        facts: Iterator[Fact],
        surface: Callable[[Moment], Values],
        scoreds: Joinable,
        batch: int,
        name: str = "file",
    ) -> None:
        self._name = name
        self.facts, self.surface, self.scoreds, self.batch = facts, surface, scoreds, batch
        self.unknown_labels = 0

    def list_parts(self) -> list[str]:
        return [self._name]

    def build_part(self, step_id: str, for_part: str, resume_state: FilePlace | None) -> _FilePart:
        return _FilePart(self, resume_state)
