"""How does a file become facts? Payments and labels in the order in which they were, or became,
known, so that a replay has one order. They go into the flow by flows/file_inlet.py.

Known without a map: the columns of the Fraud Detection Handbook, its own and those of
flows/columns.py, as parquet or CSV; and the event JSON of the API as NDJSON (``label`` events
included). Any other table needs a map of its columns. A table is taken in its own order; a row that
stands later than the lateness allows is a late event, like everywhere.
"""

import csv
import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from flows.columns import BadCell, BadFile, Columns, Payment, known_table
from flows.inlets import LATENESS_US
from gateway.edge import Edge
from risk import events, money
from risk.events import Moment

_ALWAYS = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
_LONGEST_CELL = 1 << 20


class Fact(NamedTuple):
    """Something a file says: an event's moment, or a label that becomes known at a time.

    Neither of them is a mark: all answers up to its time were heard.
    """

    at_us: int
    moment: Moment | None
    label: tuple[str, bool, str] | None


@dataclass(frozen=True)
class Truth:
    """What a replay is measured against: for each event its label and its scenario."""

    fraud: bool
    scenario: str


Tell = Callable[[str, Truth], None]


class Later:
    """Labels that are true already and not known yet, by the time at which they become known."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, str, bool]] = []
        self._order = 0

    def keep(self, known_us: int, event: str, fraud: bool) -> None:
        """Hold a label back until ``known_us``."""
        heapq.heappush(self._waiting, (known_us, self._order, event, fraud))
        self._order += 1

    def known(self, time_us: int) -> Iterator[Fact]:
        """The labels known by a time; each is told once."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= time_us:
            known_us, _, event, fraud = heapq.heappop(waiting)
            yield Fact(known_us, None, (event, fraud, "chargeback"))


# -------------------------------------------------------------------------------------- tables


def rows_of(path: Path, delimiter: str = ",") -> tuple[list[str], Iterator[tuple[str, Any]]]:
    """A table's header, and its rows as (where, column -> text); parquet or CSV by the ending."""
    return _parquet(path) if path.suffix == ".parquet" else _csv(path, delimiter)


def _polars() -> Any:
    try:
        import polars
    except ImportError:
        raise BadFile(
            "replay: parquet needs polars, which is not installed: pip install 'ringback[replay]', "
            "or give the file as CSV or NDJSON"
        ) from None
    return polars


def _parquet(path: Path) -> tuple[list[str], Iterator[tuple[str, Any]]]:
    polars = _polars()
    try:
        frame = polars.read_parquet(path)
    except (polars.exceptions.PolarsError, OSError) as wrong:
        raise BadFile(f"{path.name}: needed parquet, got {str(wrong).splitlines()[0]}") from wrong
    header = list(frame.columns)
    order = [name for name in ("seconds", "tx_id") if name in header]
    if known_table(header) is not None and order:
        frame = frame.sort(order)

    def told() -> Iterator[tuple[str, Any]]:
        for number, row in enumerate(frame.iter_rows(), 1):
            yield (
                f"row {number}",
                {name: _text(value) for name, value in zip(header, row, strict=True)},
            )

    return header, told()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _csv(path: Path, delimiter: str) -> tuple[list[str], Iterator[tuple[str, Any]]]:
    csv.field_size_limit(_LONGEST_CELL)
    told = _csv_rows(path, delimiter)
    return next(told)[1], told


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[str, Any]]:
    """The header first, then a row at a time; the file is never held whole."""
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        where = "line 1"
        try:
            header = next(reader, None)
            if not header:
                raise BadFile(f"{path.name}, line 1: needed a header of columns, got nothing")
            yield where, header
            for cells in reader:
                where = f"line {reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    needed = f"{len(header)} columns as in the header"
                    raise BadFile(f"{path.name}, {where}: needed {needed}, got {len(cells)}")
                yield where, dict(zip(header, cells, strict=True))
        except csv.Error as wrong:
            raise BadFile(f"{path.name}, line {reader.line_num}: {wrong}") from wrong
        except UnicodeDecodeError as wrong:
            got = f"bytes that are none after {where}"
            raise BadFile(f"{path.name}: needed UTF-8, got {got}") from wrong


def handbook(path: Path, base: str, delay_us: int, truth: Tell) -> Iterator[Fact]:
    """The Handbook's payments, each with its label ``delay_us`` after it.

    The terminal is the payee; amounts are taken as cents of the base currency. They are the
    simulated bank's own, so they don't go through the edge: nobody is in them.
    """
    header, rows = rows_of(path)
    read = known_table(header)
    if read is None:
        raise BadFile(
            f"{path.name}, line 1: needed the handbook's columns, or --map FILE that says which "
            f"column is what; got {', '.join(header)}"
        )
    later = Later()
    for where, row in rows:
        try:
            one = read(row)
        except BadCell as wrong:
            raise BadFile(f"{path.name}, {where}, {wrong}") from wrong
        yield from later.known(one.time_us)
        moment = _payment(one, base)
        truth(moment.id, Truth(one.fraud, one.scenario))
        yield Fact(one.time_us, moment, None)
        later.keep(one.time_us + delay_us, moment.id, one.fraud)


def _payment(one: Payment, base: str) -> Moment:
    return Moment(
        id=f"tx{one.id}",
        type="transaction",
        time_us=one.time_us,
        customer=f"cus_{one.customer}",
        accepted_us=one.time_us,
        partition=0,
        position=0,
        amount=one.cents,
        currency=base,
        amount_base=one.cents,
        payee=f"acc_{one.terminal}",
        channel="card",
    )


def mapped(
    path: Path, columns: Columns, edge: Edge, rates: money.Rates, delay_us: int, truth: Tell
) -> Iterator[Fact]:
    """A bank's own table by a map of its columns, through the same edge as the API's events.

    A label is known at the map's ``known``, else ``label_delay`` (the map's, else ``delay_us``)
    after its event.
    """
    header, rows = rows_of(path, columns.delimiter)
    columns.check(header, path.name)
    delay_us = delay_us if columns.delay_us is None else columns.delay_us
    later = Later()
    for where, row in rows:
        try:
            line = columns.read(row)
            event, _ = events.parse(line.event, _ALWAYS)
        except BadCell as wrong:
            raise BadFile(f"{path.name}, {where}, {wrong}") from wrong
        except events.Refused as wrong:
            one = wrong.problems[0]
            column = columns.column_of(one.field)
            raise BadFile(
                f"{path.name}, {where}, column {column}: needed {one.needed}, got {one.got}"
            ) from wrong
        if isinstance(event, events.LabelEvent):
            raise BadFile(f"{path.name}, {where}: needed an event, got a label; use `fraud`")
        moment = _through(edge, event, rates)
        yield from later.known(moment.time_us)
        if line.fraud is not None:
            truth(moment.id, Truth(line.fraud, line.scenario))
        yield Fact(moment.time_us, moment, None)
        if line.fraud is not None:
            known_us = moment.time_us + delay_us if line.known_us is None else line.known_us
            later.keep(known_us, moment.id, line.fraud)


# -------------------------------------------------------------------------------------- events


def _through(edge: Edge, event: Any, rates: money.Rates) -> Moment:
    prepared = edge.prepare(
        event, accepted_us=events.micros(event.time), role="ingest", reply=None, trace=""
    )
    return events.moment(
        orjson.loads(prepared.envelope),
        partition=0,
        position=0,
        watermark_us=0,
        lateness_us=LATENESS_US,
        rates=rates,
    )


def lines_of(path: Path) -> Iterator[tuple[str, Any]]:
    """The objects of an NDJSON file as (where, object)."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path.name}, line {number}"
            try:
                raw = orjson.loads(line)
            except orjson.JSONDecodeError as wrong:
                raise BadFile(f"{where}, column {wrong.colno}: needed JSON: {wrong.msg}") from wrong
            if not isinstance(raw, dict):
                raise BadFile(f"{where}: needed a JSON object, got {type(raw).__name__}")
            yield where, raw


def ndjson(path: Path, edge: Edge, rates: money.Rates, truth: Tell) -> Iterator[Fact]:
    """Events as the API takes them, a line each, through the same edge as the API's."""
    for where, raw in lines_of(path):
        try:
            event, _ = events.parse(raw, _ALWAYS)
        except events.Refused as wrong:
            one = wrong.problems[0]
            raise BadFile(f"{where}, {one.field}: needed {one.needed}, got {one.got}") from wrong
        if isinstance(event, events.LabelEvent):
            told = edge.id_of(event.event)
            truth(told, Truth(event.fraud, str(raw.get("scenario", ""))))
            yield Fact(events.micros(event.time), None, (told, event.fraud, event.source))
            continue
        moment = _through(edge, event, rates)
        yield Fact(moment.time_us, moment, None)


def read_truth(path: Path, edge: Edge) -> dict[str, Truth]:
    """What ``ringback simulate --truth`` wrote: event -> truth; who isn't in it is honest."""
    told: dict[str, Truth] = {}
    for where, raw in lines_of(path):
        event, fraud, scenario = raw.get("event"), raw.get("fraud"), raw.get("scenario", "")
        if not isinstance(event, str) or not isinstance(fraud, bool):
            needed = "{event: text, fraud: true or false, scenario: text}"
            raise BadFile(f"{where}: needed {needed}, got {sorted(raw)}")
        told[edge.id_of(event)] = Truth(fraud, str(scenario))
    return told


def labelled(
    facts: Iterator[Fact], told: Mapping[str, Truth], delay_us: int, truth: Tell
) -> Iterator[Fact]:
    """Give each payment of a file without labels its own, known ``delay_us`` after it."""
    later, honest = Later(), Truth(False, "")
    for fact in facts:
        if fact.moment is None:
            raise BadFile("replay --truth: needed a file without labels, got one that has them")
        yield from later.known(fact.at_us)
        moment = fact.moment
        if moment.type != "transaction":
            yield fact
            continue
        of_it = told.get(moment.id, honest)
        truth(moment.id, of_it)
        yield fact
        later.keep(moment.time_us + delay_us, moment.id, of_it.fraud)


def count_events(path: Path) -> int | None:
    """About how many events a file holds, for a progress bar; None where that isn't cheap."""
    if path.suffix == ".parquet":
        polars = _polars()
        return int(polars.scan_parquet(path).select(polars.len()).collect().item())
    if path.stat().st_size > 4 << 30:
        return None
    label, count = b'"type":"label"', 0
    with path.open("rb") as lines:
        for line in lines:
            count += label not in line
    return count - (path.suffix == ".csv")
