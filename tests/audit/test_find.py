"""A customer's records, an officer's, a day's: as a walk over all records would find them."""

import random
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from audit.errors import NotInLedger
from audit.find import bring_up, find
from audit.read import Leaf, leaves_of, reading
from audit.writer import Ledger
from tests.audit.records import START, TRANSPORT_KEY, Record, record

ANN = {"type": "person", "id": "ann", "role": "officer"}
BOB = {"type": "staff", "id": "bob", "role": "officer"}
FLOW = {"type": "service", "id": "flow", "role": "engine"}
HOUR_US = 3_600_000_000


def _records(count: int, seed: int, first: int = 0) -> list[Record]:
    chance = random.Random(seed)
    return [
        record(
            "officer.action",
            None,
            first + number,
            subject=chance.choice(["cus_a", "cus_b", "cus_c", None]),
            actor=chance.choice([ANN, BOB, FLOW, FLOW]),
        )
        for number in range(count)
    ]


def _write(data: Path, records: Sequence[Record], at_us: int = START) -> None:
    """Put them on record, one commit and one hour after the other."""
    hours = iter(range(at_us, at_us + HOUR_US * 10_000, HOUR_US))
    now = [next(hours)]
    ledger = Ledger(
        data, origin_bank="bank.example", tenant="main", transport_key=TRANSPORT_KEY,
        now=lambda: now[0], steady=lambda: now[0],
    )  # fmt: skip
    for one in records:
        ledger.append_many([one])
        now[0] = next(hours)
    ledger.close()


def _all(data: Path) -> list[Leaf]:
    with reading(data) as ledger:
        rows = ledger.execute("SELECT position, hash, leaf FROM records").fetchall()
        leaves = leaves_of(ledger, rows)
    return sorted(leaves, key=lambda leaf: (leaf["ts"], leaf["origin"], leaf["index"]))


def _rids(leaves: Sequence[Leaf]) -> list[str]:
    return [str(leaf["rid"]) for leaf in leaves]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    _write(tmp_path, _records(120, seed=1))
    return tmp_path


@pytest.mark.parametrize("subject", [None, "cus_a", "cus_b", "cus_unknown"])
@pytest.mark.parametrize("actor", [None, "ann", "bob"])
@pytest.mark.parametrize("hours", [(None, None), (10, None), (None, 40), (10, 40), (40, 10)])
def test_what_is_found_is_what_a_walk_over_all_records_finds(
    data: Path, subject: str | None, actor: str | None, hours: tuple[int | None, int | None]
) -> None:
    whole = _all(data)
    assert len(whole) > 120  # the writer's own records are among them
    times = [leaf["ts"] for leaf in whole]
    since, until = ("" if hour is None else times[hour] for hour in hours)
    wanted = [
        leaf
        for leaf in whole
        if subject in (None, leaf["subject"])
        and actor in (None, leaf["actor"]["id"])
        and leaf["ts"] >= since
        and (not until or leaf["ts"] < until)
    ]
    given = {"subject": subject, "actor": actor, "since": since, "until": until}
    assert _rids(find(data, **given, most=1_000)) == _rids(wanted)  # type: ignore[arg-type]
    assert _rids(find(data, **given, most=7)) == _rids(wanted[-7:])  # type: ignore[arg-type]


def test_what_has_come_since_is_found_and_what_was_taken_in_is_not_read_again(data: Path) -> None:
    before = len(find(data, subject="cus_a", most=1_000))
    assert bring_up(data) == 0
    more = _records(30, seed=2, first=500)
    _write(data, more, START + 200 * HOUR_US)
    assert bring_up(data) >= 30
    found = find(data, subject="cus_a", most=1_000)
    assert len(found) == before + sum(one["subject"] == "cus_a" for one in more)


def test_a_lost_or_broken_index_or_one_of_another_ledger_is_made_anew(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = _rids(find(data, actor="ann"))
    assert wanted
    index = data / "ledger" / "find.db"
    whole = index.read_bytes()
    for bad in (b"", b"no database" * 1_000, whole[: len(whole) // 2]):
        index.write_bytes(bad)
        assert _rids(find(data, actor="ann")) == wanted
    other = tmp_path_factory.mktemp("other")
    _write(other, _records(150, seed=9))
    find(other, actor="ann")
    index.write_bytes((other / "ledger" / "find.db").read_bytes())
    assert _rids(find(data, actor="ann")) == wanted
    with sqlite3.connect(index) as newer:
        newer.execute("PRAGMA user_version = 99")
    assert _rids(find(data, actor="ann")) == wanted


def test_several_who_ask_at_once_take_each_record_in_once(data: Path) -> None:
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(bring_up(data))) for _ in range(6)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(data) as ledger:
        (size,) = ledger.execute("SELECT SUM(size) FROM logs").fetchone()
    assert len(counts) == 6
    assert sum(counts) == size


def test_who_is_told_to_stop_leaves_the_rest_for_the_next(data: Path) -> None:
    assert bring_up(data, stopped=lambda: True) == 0
    assert find(data, actor="ann")


def test_without_a_ledger_there_is_nothing_to_look_in(tmp_path: Path) -> None:
    with pytest.raises(NotInLedger, match="there is no ledger in"):
        find(tmp_path, subject="cus_a")
    assert list(tmp_path.iterdir()) == []
