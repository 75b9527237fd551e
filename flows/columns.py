"""Which column of a bank's own table is what? A map in YAML, read and checked before the first row.

Each key of the map is a field of an event; its value says where the field comes from: a column's
name, ``{column: ...}`` with what is needed to read it, or ``{constant: ...}``. docs/replay.md has
the table of fields. A row becomes the JSON of an event and walks through the edge like any other.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from config.settings import BadConfig, read_yaml
from flows.errors import FlowError
from risk import events, money

_PLAIN = (
    *("id", "type", "customer", "currency", "channel", "kind", "card", "terminal", "mcc", "memo"),
    *("ip", "session", "result", "method", "change", "detail"),
)
_INSIDE: Mapping[str, tuple[str, str]] = {
    "payee": ("payee", "account"),
    "payee_name": ("payee", "name"),
    "payee_country": ("payee", "country"),
    "payee_bank": ("payee", "bank"),
    "device": ("device", "id"),
    "country": ("geo", "country"),
    "lat": ("geo", "lat"),
    "lon": ("geo", "lon"),
}
_READ = ("time", "amount", "fraud", "scenario", "known")
FIELDS = (*_PLAIN, *_INSIDE, *_READ)
NEEDED = ("id", "time", "customer")
_BESIDE = ("version", "delimiter", "label_delay")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "time": ("column", "format", "since", "zone"),
    "known": ("column", "format", "since", "zone"),
    "amount": ("column", "unit"),
    "fraud": ("column", "when"),
}
_TIMES = ("rfc3339", "epoch_s", "epoch_ms", "seconds_since")
_UNITS = ("decimal", "minor")
_TRUE = ("1", "1.0", "true", "yes", "fraud")
_FALSE = ("0", "0.0", "false", "no")
_SPANS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


class BadFile(FlowError, ValueError):
    """A file that can't be replayed: where, what was needed, what was got."""


class BadCell(ValueError):
    """One cell that can't be read: which column, what was needed, what was got."""

    def __init__(self, column: str, needed: str, got: str) -> None:
        """Carry the three; whoever knows the file and the line adds them."""
        self.column = column
        super().__init__(f"column {column}: needed {needed}, got {got}")


def span_us(text: str) -> int | None:
    """A span such as ``7d`` or ``12h`` in microseconds; None where it is none."""
    found = re.fullmatch(r"(\d+)([dhms])", text)
    return None if found is None else int(found[1]) * _SPANS[found[2]] * 1_000_000


@dataclass(frozen=True)
class Cell:
    """Where one field comes from."""

    field: str
    column: str | None
    constant: str | None = None
    prefix: str = ""
    format: str = "rfc3339"
    since: datetime | None = None
    zone: timezone | None = None
    unit: str = "decimal"
    when: tuple[str, ...] = _TRUE

    def text(self, row: Mapping[str, str]) -> str:
        """The field's text in a row; empty where the row says nothing."""
        if self.column is None:
            return self.constant or ""
        found = row[self.column].strip()
        return self.prefix + found if found else ""


class Line(NamedTuple):
    """What one row says: an event's JSON, its truth if known, and since when it is known."""

    event: dict[str, Any]
    fraud: bool | None
    scenario: str
    known_us: int | None


@dataclass(frozen=True)
class Columns:
    """A whole map, checked."""

    name: str
    cells: Mapping[str, Cell]
    delimiter: str = ","
    delay_us: int | None = None

    def check(self, header: Iterable[str], file: str) -> None:
        """Refuse a file that lacks a column of the map."""
        there = list(header)
        for cell in self.cells.values():
            if cell.column is not None and cell.column not in there:
                near = get_close_matches(cell.column, there, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise BadFile(
                    f"{file}, line 1: needed the column {cell.column!r} ({cell.field} in "
                    f"{self.name}), got {', '.join(there)}{hint}"
                )

    def column_of(self, field: str) -> str:
        """The column that an event's field came from, for an error that names it."""
        for cell in self.cells.values():
            inside = ".".join(_INSIDE.get(cell.field, ()))
            if field in (cell.field, inside):
                return cell.column or f"{cell.field} (a constant of {self.name})"
        return f"for {field} (not in {self.name})"

    def read(self, row: Mapping[str, str]) -> Line:
        """Make an event's JSON of a row; raises `BadCell`."""
        cells = self.cells
        event: dict[str, Any] = {"type": "transaction"}
        for field, cell in cells.items():
            if field in _READ or not (text := cell.text(row)):
                continue
            if field in _INSIDE:
                part, key = _INSIDE[field]
                value = _degrees(cell, text) if field in ("lat", "lon") else text
                event.setdefault(part, {})[key] = value
            else:
                event[field] = text
        event["time"] = events.rfc3339(_time_us(cells["time"], row))
        if "amount" in cells and (amount := cells["amount"].text(row)):
            event["amount"] = _amount(cells["amount"], amount, str(event.get("currency", "")))
        fraud = _fraud(cells["fraud"], row) if "fraud" in cells else None
        scenario = cells["scenario"].text(row) if "scenario" in cells else ""
        known = cells.get("known")
        known_us = _time_us(known, row) if known is not None and known.text(row) else None
        return Line(event, fraud, scenario, known_us)


def _place(cell: Cell) -> str:
    return cell.column or cell.field


def _degrees(cell: Cell, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadCell(_place(cell), "degrees such as 31.23", repr(text)) from None


def _time_us(cell: Cell, row: Mapping[str, str]) -> int:
    text = cell.text(row)
    if cell.format == "rfc3339":
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            needed = "a time such as 2026-01-31T12:00:00+08:00"
            raise BadCell(_place(cell), needed, repr(text)) from None
        if time.tzinfo is None:
            if cell.zone is None:
                needed = "a time with an offset, or `zone` in the map"
                raise BadCell(_place(cell), needed, repr(text))
            time = time.replace(tzinfo=cell.zone)
        return events.micros(time)
    try:
        number = Decimal(text)
        if not number.is_finite() or abs(number) > 10**14:
            raise InvalidOperation
    except InvalidOperation:
        needed = f"a number ({cell.format})"
        raise BadCell(_place(cell), needed, repr(text)) from None
    start_us = events.micros(cell.since) if cell.since is not None else 0
    return start_us + int(number * (1_000 if cell.format == "epoch_ms" else 1_000_000))


def _amount(cell: Cell, text: str, currency: str) -> str:
    if cell.unit == "decimal":
        return text
    if not re.fullmatch(r"[0-9]{1,16}", text):
        raise BadCell(_place(cell), "an integer of minor units", repr(text))
    if currency not in money.EXPONENTS:
        raise BadCell(_place(cell), "an ISO 4217 currency to read it by", repr(currency))
    return money.plain(int(text), currency)


def _fraud(cell: Cell, row: Mapping[str, str]) -> bool | None:
    text = cell.text(row).lower()
    if not text:
        return None
    if text in cell.when:
        return True
    if cell.when is not _TRUE or text in _FALSE:
        return False
    raise BadCell(_place(cell), f"one of {', '.join((*_TRUE, *_FALSE))}", repr(text))


# ------------------------------------------------------------------------------ reading a map


def read_columns(path: Path) -> Columns:
    """Read a map, or raise `BadConfig`: which key, what was needed, what was got."""
    if not path.exists():
        raise BadConfig(f"{path}: needed a map of columns, got no such file")
    document = read_yaml(path)
    known = (*FIELDS, *_BESIDE)
    for key in document:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BadConfig(f"{path.name}: needed a field of an event, got {key!r}{hint}")
    missing = [field for field in NEEDED if field not in document]
    if missing:
        raise BadConfig(f"{path.name}: needed {', '.join(NEEDED)}, missing {', '.join(missing)}")
    delimiter = document.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise BadConfig(f"{path.name}: delimiter: needed one character, got {delimiter!r}")
    delay_us = None
    if "label_delay" in document:
        delay_us = span_us(str(document["label_delay"]))
        if delay_us is None:
            got = document["label_delay"]
            raise BadConfig(f"{path.name}: label_delay: needed a span such as 7d, got {got!r}")
    cells = {
        field: _cell(f"{path.name}: {field}", field, document[field])
        for field in FIELDS
        if field in document
    }
    return Columns(path.name, cells, delimiter, delay_us)


def _cell(where: str, field: str, told: Any) -> Cell:
    if isinstance(told, str):
        told = {"column": told}
    if not isinstance(told, dict):
        raise BadConfig(f"{where}: needed a column's name or an object, got {told!r}")
    allowed = _OPTIONS.get(field, ("column", "constant", "prefix"))
    for key in told:
        if key not in allowed:
            raise BadConfig(f"{where}: needed one of {', '.join(allowed)}, got {key!r}")
    if ("column" in told) == ("constant" in told):
        raise BadConfig(f"{where}: needed either a column or a constant, got {told!r}")
    column = told.get("column")
    if column is not None and not isinstance(column, str):
        raise BadConfig(f"{where}: needed a column's name, got {column!r}")
    constant = None if "constant" not in told else str(told["constant"])
    return Cell(
        field,
        column,
        constant,
        str(told.get("prefix", "")),
        _one_of(where, "format", told.get("format", "rfc3339"), _TIMES),
        _since(where, told),
        _zone(where, told.get("zone")),
        _one_of(where, "unit", told.get("unit", "decimal"), _UNITS),
        _texts(where, told["when"]) if "when" in told else _TRUE,
    )


def _texts(where: str, told: Any) -> tuple[str, ...]:
    listed = told if isinstance(told, list) else [told]
    if not listed or any(isinstance(one, bool | dict | list) or one is None for one in listed):
        raise BadConfig(
            f"{where}: when: needed texts, in quotes where YAML means more, got {told!r}"
        )
    return tuple(str(one).lower() for one in listed)


def _one_of(where: str, key: str, got: Any, known: tuple[str, ...]) -> str:
    if got not in known:
        raise BadConfig(f"{where}: {key}: needed one of {', '.join(known)}, got {got!r}")
    return str(got)


def _since(where: str, told: Mapping[str, Any]) -> datetime | None:
    if (told.get("format") == "seconds_since") != ("since" in told):
        raise BadConfig(f"{where}: needed `since` with format seconds_since, and only with it")
    if "since" not in told:
        return None
    try:
        since = datetime.fromisoformat(str(told["since"]))
    except ValueError:
        got = told["since"]
        raise BadConfig(f"{where}: since: needed a date such as 2018-04-01, got {got!r}") from None
    return since if since.tzinfo is not None else since.replace(tzinfo=UTC)


def _zone(where: str, told: Any) -> timezone | None:
    if told is None:
        return None
    if told in ("Z", "UTC"):
        return UTC
    found = re.fullmatch(r"([+-])(\d\d):(\d\d)", str(told))
    if found is None:
        raise BadConfig(f"{where}: zone: needed an offset such as '+08:00' or UTC, got {told!r}")
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-offset if found[1] == "-" else offset)


# ------------------------------------------------------------------- tables known without a map

HANDBOOK_START = datetime.fromisoformat("2018-04-01T00:00:00+00:00")
#: As measured with here: seconds since 2018-04-01, amounts in cents.
HANDBOOK_COLUMNS = ("tx_id", "seconds", "customer", "terminal", "amount_cents", "fraud", "scenario")
#: As the Fraud Detection Handbook itself writes them; TX_TIME_SECONDS is said by TX_DATETIME too.
HANDBOOK_OWN = (
    "TRANSACTION_ID",
    "TX_DATETIME",
    "CUSTOMER_ID",
    "TERMINAL_ID",
    "TX_AMOUNT",
    "TX_FRAUD",
    "TX_FRAUD_SCENARIO",
)


class Payment(NamedTuple):
    """One row of the handbook; ``cents`` of the base currency."""

    id: str
    time_us: int
    customer: str
    terminal: str
    cents: int
    fraud: bool
    scenario: str


_START_US = events.micros(HANDBOOK_START)


def _whole(row: Mapping[str, str], column: str) -> int:
    try:
        return int(row[column])
    except ValueError:
        raise BadCell(column, "an integer", repr(row[column])) from None


def _of_ours(row: Mapping[str, str]) -> Payment:
    tx_id, seconds, customer, terminal, cents, fraud, scenario = HANDBOOK_COLUMNS
    return Payment(
        row[tx_id],
        _START_US + _whole(row, seconds) * 1_000_000,
        row[customer],
        row[terminal],
        _whole(row, cents),
        _whole(row, fraud) != 0,
        row[scenario],
    )


def _of_the_handbook(row: Mapping[str, str]) -> Payment:
    tx_id, time, customer, terminal, amount, fraud, scenario = HANDBOOK_OWN
    try:
        at_us = events.micros(datetime.fromisoformat(row[time]).replace(tzinfo=UTC))
    except ValueError:
        raise BadCell(time, "a time such as 2018-04-01 00:00:31", repr(row[time])) from None
    try:
        cents = Decimal(row[amount]).scaleb(2)
        if cents != cents.to_integral_value() or cents < 0:
            raise InvalidOperation
    except InvalidOperation:
        raise BadCell(amount, "an amount such as 57.16", repr(row[amount])) from None
    return Payment(
        row[tx_id],
        at_us,
        row[customer],
        row[terminal],
        int(cents),
        _whole(row, fraud) != 0,
        row[scenario],
    )


def known_table(header: Iterable[str]) -> Callable[[Mapping[str, str]], Payment] | None:
    """How to read a table that is known by its columns; None for one that needs a map."""
    there = set(header)
    if there.issuperset(HANDBOOK_COLUMNS):
        return _of_ours
    if there.issuperset(HANDBOOK_OWN):
        return _of_the_handbook
    return None
