"""Does a table say the same as the events it was made of, and is a bad one refused by place?"""

import builtins
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars
import pytest

from config.settings import BadConfig
from flows.columns import HANDBOOK_COLUMNS, BadFile, read_columns
from flows.files import Fact, Truth
from flows.parts import edge_of, open_house
from flows.replay import Tally, facts_of
from flows.replay_command import replay_file
from risk import events, money

DAY_US = 86_400_000_000
ROWS = [
    # id, seconds since 2018-04-01, customer, terminal, cents, fraud, scenario
    (1, 31, 596, 3156, 5716, 0, 0),
    (2, 130, 4961, 3412, 8151, 1, 1),
    (3, 130, 2, 1365, 14600, 0, 0),
    (4, 90_000, 596, 8737, 6449, 1, 3),
    (5, 200_000, 2, 9906, 5099, 0, 0),
]
MAP = """
version: 1
delimiter: ";"
label_delay: 1d
id: {column: Nr, prefix: p-}
time: {column: When, format: epoch_ms}
customer: Kunde
payee: To
country: Land
amount: {column: Cents, unit: minor}
currency: {constant: EUR}
device: Phone
lat: Lat
lon: Lon
fraud: {column: Bad, when: [J]}
scenario: Why
"""
HANDBOOK_HEADER = (
    "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_TIME_SECONDS,TX_TIME_DAYS,"
    "TX_FRAUD,TX_FRAUD_SCENARIO"
)
HEADER = "Nr;When;Kunde;To;Land;Cents;Phone;Lat;Lon;Bad;Why"
LINES = [
    "1;1522540831000;anna;DE01;DE;1250;phone-1;31.2;121.5;N;",
    '2;1522540931000;bob;"DE;02";FR;99;;;;J;card',
    "3;1522713600000;anna;DE01;DE;700;;;;;",
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_house(tmp_path_factory.mktemp("house"))


class Read:
    """Reads a file as a replay does."""

    def __init__(self, house: Any) -> None:
        self.house, self.edge, self.truth = house, edge_of(house), dict[str, Truth]()

    def __call__(self, path: Path, **more: Any) -> list[Fact]:
        rates = money.Rates("CNY", {})
        self.truth.clear()
        tally = Tally(truth=self.truth)
        return list(
            facts_of(path, self.house.settings, 7 * DAY_US, self.edge, rates, tally, **more)
        )


@pytest.fixture
def read(house: Any) -> Read:
    return Read(house)


def ours(path: Path) -> Path:
    frame = polars.DataFrame(ROWS, schema=list(HANDBOOK_COLUMNS), orient="row")
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


def the_handbooks(path: Path) -> Path:
    start = events.micros(datetime(2018, 4, 1, tzinfo=UTC))
    lines = [HANDBOOK_HEADER]
    for number, seconds, customer, terminal, cents, fraud, scenario in ROWS:
        time = events.instant(start + seconds * 1_000_000).strftime("%Y-%m-%d %H:%M:%S")
        amount = f"{cents // 100}.{cents % 100:02d}".removesuffix("0")
        lines.append(
            f"{number},{time},{customer},{terminal},{amount},{seconds},0,{fraud},{scenario}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_known_table_says_the_same_as_csv_as_parquet_and_in_the_handbooks_own_columns(
    tmp_path: Path, read: Read
) -> None:
    told = read(ours(tmp_path / "a.parquet"))
    truth = dict(read.truth)
    assert [fact.moment.id for fact in told if fact.moment] == ["tx1", "tx2", "tx3", "tx4", "tx5"]
    assert truth["tx4"] == Truth(True, "3")
    for path in (ours(tmp_path / "a.csv"), the_handbooks(tmp_path / "b.csv")):
        assert read(path) == told
        assert read.truth == truth


def test_a_label_comes_when_it_is_known_and_not_before(tmp_path: Path, read: Read) -> None:
    rows = [f"{n},{n * 86_400},1,1,100,0,0" for n in range(20)]
    path = tmp_path / "long.csv"
    path.write_text(",".join(HANDBOOK_COLUMNS) + "\n" + "\n".join(rows), encoding="utf-8")
    told = read(path)
    assert [fact.at_us for fact in told] == sorted(fact.at_us for fact in told)
    labels = {fact.label[0]: fact.at_us for fact in told if fact.label}
    moments = {fact.moment.id: fact.at_us for fact in told if fact.moment}
    assert labels == {f"tx{n}": moments[f"tx{n}"] + 7 * DAY_US for n in range(13)}


def mapped(tmp_path: Path, lines: list[str], text: str = MAP) -> tuple[Path, Path]:
    table, columns = tmp_path / "bank.csv", tmp_path / "map.yaml"
    table.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    columns.write_text(text, encoding="utf-8")
    return table, columns


def test_a_mapped_table_says_the_same_as_its_events_as_ndjson(tmp_path: Path, read: Read) -> None:
    table, columns = mapped(tmp_path, LINES)
    told = read(table, columns=read_columns(columns))
    base = {"type": "transaction", "currency": "EUR"}
    written: list[dict[str, Any]] = [
        {
            "id": "p-1",
            "time": "2018-04-01T08:00:31+08:00",
            "customer": "anna",
            "amount": "12.50",
            "payee": {"account": "DE01"},
            "device": {"id": "phone-1"},
            "geo": {"country": "DE", "lat": 31.2, "lon": 121.5},
        },
        {
            "id": "p-2",
            "time": "2018-04-01T00:02:11Z",
            "customer": "bob",
            "amount": "0.99",
            "payee": {"account": "DE;02"},
            "geo": {"country": "FR"},
        },
        {
            "id": "p-3",
            "time": "2018-04-03T00:00:00Z",
            "customer": "anna",
            "amount": "7.00",
            "geo": {"country": "DE"},
            "payee": {"account": "DE01"},
        },
    ]
    lines = tmp_path / "events.ndjson"
    lines.write_text("\n".join(json.dumps(base | one) for one in written), encoding="utf-8")
    by_lines = read(lines)

    def plain(facts: list[Fact]) -> list[dict[str, Any]]:
        rows = [fact.moment._asdict() for fact in facts if fact.moment]
        return [{k: v for k, v in row.items() if k != "payee_sealed"} for row in rows]

    assert plain(told) == plain(by_lines)


def test_a_map_tells_the_truth_and_since_when_it_is_known(tmp_path: Path, read: Read) -> None:
    table, columns = mapped(tmp_path, LINES)
    told = read(table, columns=read_columns(columns))
    assert read.truth == {"p-1": Truth(False, ""), "p-2": Truth(True, "card")}
    labels = [(fact.at_us, fact.label) for fact in told if fact.label]
    first = events.parse_us("2018-04-01T00:00:31Z")
    assert labels == [
        (first + DAY_US, ("p-1", False, "chargeback")),
        (first + 100_000_000 + DAY_US, ("p-2", True, "chargeback")),
    ]


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("4;soon;a;b;DE;1;;;;;", r"line 2, column When: needed a number \(epoch_ms\), got 'soon'"),
        ("4;1;a;b;DE;1.5;;;;;", r"line 2, column Cents: needed an integer of minor units"),
        ("4;1;a;b;Land;1;;;;;", r"line 2, column Land: needed text of the form"),
        ("4;1;a;b;DE;0;;;;;", r"line 2, column Cents: needed a positive amount"),
        (";1;a;b;DE;1;;;;;", r"line 2, column Nr: needed a value, got nothing"),
        ("4;1;a;b;DE;1;;north;;;", r"line 2, column Lat: needed degrees"),
        ("4;1;a;b", r"line 2: needed 11 columns as in the header, got 4"),
        ('4;1;a;"b;DE', r"line 2: unexpected end of data"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_column_and_what_was_needed(
    tmp_path: Path, read: Read, line: str, needed: str
) -> None:
    table, columns = mapped(tmp_path, [line])
    with pytest.raises(BadFile, match=re.escape("bank.csv, ") + needed):
        read(table, columns=read_columns(columns))


@pytest.mark.parametrize(
    ("old", "new", "needed"),
    [
        ("Kunde", "Kundin", "needed the column 'Kundin' (customer in map.yaml)"),
        ("id: {", "idd: {", "needed a field of an event, got 'idd'; did you mean id?"),
        ("customer: Kunde", "", "missing customer"),
        ("epoch_ms", "epoch_us", "format: needed one of rfc3339, epoch_s, epoch_ms"),
        ("constant: EUR", "constnt: EUR", "needed one of column, constant, prefix"),
        ("when: [J]", "when: yes", "fraud: when: needed texts, in quotes"),
        ("label_delay: 1d", "label_delay: soon", "label_delay: needed a span such as 7d"),
    ],
)
def test_a_bad_map_is_refused_by_key(
    tmp_path: Path, read: Read, old: str, new: str, needed: str
) -> None:
    table, columns = mapped(tmp_path, LINES, MAP.replace(old, new))
    with pytest.raises((BadFile, BadConfig), match=re.escape(needed)):
        read(table, columns=read_columns(columns))


@pytest.mark.parametrize(
    ("time", "cell"),
    [
        ("{column: When, format: rfc3339, zone: '+08:00'}", "2018-04-01 08:00:31"),
        ("When", "2018-04-01T00:00:31Z"),
        ("{column: When, format: epoch_s}", "1522540831.0"),
        ("{column: When, format: seconds_since, since: 2018-04-01}", "31"),
    ],
)
def test_every_format_of_time_gives_the_same_instant(
    tmp_path: Path, read: Read, time: str, cell: str
) -> None:
    text = MAP.replace("{column: When, format: epoch_ms}", time)
    table, columns = mapped(tmp_path, [LINES[0].replace("1522540831000", cell)], text)
    [fact] = [one for one in read(table, columns=read_columns(columns)) if one.moment]
    assert fact.at_us == events.parse_us("2018-04-01T00:00:31Z")


def test_an_unknown_table_asks_for_a_map(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(BadFile, match=r"mine.csv, line 1: needed .* or --map FILE .*; got a, b"):
        read(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(BadFile, match="needed a header of columns, got nothing"):
        read(path)


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ('{"a":}', "line 2, column 6: needed JSON"),
        ("[]", "line 2: needed a JSON object, got list"),
        ('{"type":"login"}', "line 2, id: needed a value, got nothing"),
    ],
)
def test_a_bad_event_is_refused_with_its_line(
    tmp_path: Path, read: Read, line: str, needed: str
) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_text("\n" + line + "\n", encoding="utf-8")
    with pytest.raises(BadFile, match=re.escape("bad.ndjson, " + needed)):
        read(path)


def test_a_replay_of_a_bad_file_ends_with_its_error_and_without_a_panic(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table, columns = mapped(tmp_path, [*LINES, "4;soon;a;b;DE;1;;;;;"])
    with pytest.raises(BadFile, match=r"bank.csv, line 5, column When: needed a number"):
        replay_file(
            table,
            data=None,
            over={},
            label_delay="7d",
            out=None,
            with_ledger=False,
            limit=None,
            quiet=True,
            columns=columns,
        )
    assert "panicked" not in capfd.readouterr().err


def test_parquet_without_polars_says_which_extra_to_install(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ours(tmp_path / "a.parquet")
    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name == "polars":
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadFile, match=re.escape("pip install 'ringback[replay]'")):
        read(path)


def test_a_truth_labels_payments_and_leaves_the_rest_honest(tmp_path: Path, read: Read) -> None:
    path, truth = tmp_path / "events.ndjson", tmp_path / "truth.ndjson"
    base: dict[str, Any] = {"customer": "anna", "currency": "EUR", "payee": {"account": "x"}}
    rows: list[dict[str, Any]] = [
        {"type": "transaction", "id": "a", "time": "2026-01-01T00:00:00Z", "amount": "1.00"},
        {"type": "login", "id": "b", "time": "2026-01-02T00:00:00Z", "result": "success"},
        {"type": "transaction", "id": "c", "time": "2026-01-03T00:00:00Z", "amount": "2.00"},
        {"type": "transaction", "id": "d", "time": "2026-01-10T00:00:00Z", "amount": "2.00"},
    ]
    path.write_text("\n".join(json.dumps(base | row) for row in rows), encoding="utf-8")
    told = {"event": "c", "customer": "anna", "time": "", "fraud": True, "scenario": "stolen_card"}
    truth.write_text(json.dumps(told) + "\n", encoding="utf-8")
    facts = read(path, truth=truth)
    assert read.truth == {
        "a": Truth(False, ""),
        "c": Truth(True, "stolen_card"),
        "d": Truth(False, ""),
    }
    walked = [fact.moment.id if fact.moment else fact.label for fact in facts]
    assert walked == [
        "a",
        "b",
        "c",
        ("a", False, "chargeback"),
        ("c", True, "chargeback"),
        "d",
    ]
