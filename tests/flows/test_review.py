"""The daily look at the ledger, over a real ledger and a real Redis."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from audit.writer import Ledger
from flows.parts import House, LedgerReading, open_house
from flows.review import Reviewer, ToldToStop
from risk import names
from tests.audit.records import TRANSPORT_KEY, log_path, record, story


@pytest.fixture
def client(redis_url: str) -> "Iterator[redis.Redis]":
    with redis.Redis.from_url(redis_url) as one:
        yield one


@pytest.fixture
def house(tmp_path: Path, redis_url: str) -> House:
    return open_house(tmp_path, {"redis_url": redis_url})


def ledger(house: House, *stories: str, year: int = 2026) -> None:
    """Open the ledger, put these stories on record, publish, close."""
    at = 1_780_000_000_000_000 + (year - 2026) * 366 * 86_400_000_000
    ticks = iter(range(at, at + 1_000_000))
    made = Ledger(
        house.data, origin_bank="bank.example", tenant="main", transport_key=TRANSPORT_KEY,
        now=lambda: next(ticks), steady=lambda: next(ticks),
    )  # fmt: skip
    for event in stories:
        made.append_many(story(event))
    made.close()


def on_record(client: "redis.Redis") -> list[dict[str, Any]]:
    rows: Any = client.xrange(names.AUDIT)
    return [one for _, row in rows for one in orjson.loads(row[b"records"])]


def alerts(client: "redis.Redis") -> list[str]:
    rows: Any = client.xrange(names.ALERTS)
    return [orjson.loads(row[b"alert"])["text"] for _, row in rows]


def flip(house: House, old: bytes, new: bytes) -> None:
    """Change bytes of the published entries."""
    changed = 0
    for file in (log_path(house.data) / "tile" / "entries").rglob("*"):
        if file.is_file() and old in file.read_bytes():
            file.write_bytes(file.read_bytes().replace(old, new, 1))
            changed += 1
    assert changed


def verified(house: House) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((log_path(house.data) / "verified.json").read_text())
    return told


def test_a_round_is_told_beside_the_log_and_on_record(house: House, client: "redis.Redis") -> None:
    ledger(house, "e1", "e2")
    [found] = Reviewer(house, share=1.0).round(full=True)
    told = verified(house)
    head = LedgerReading(house.data).head()
    assert head is not None
    assert head["verified"] == told, "so the live page can show it"
    assert sorted(told) == ["at", "origin", "root", "size", "status", "version"]
    assert (told["version"], told["status"], told["size"]) == (1, "ok", found.size)
    assert told["origin"] == "bank.example/ringback/main/rc10y/2026"
    [kept] = on_record(client)
    assert (kept["kind"], kept["body"]["problems"], kept["body"]["full"]) == ("review", 0, True)
    assert kept["body"]["logs"][0]["root"] == told["root"]
    assert alerts(client) == []


def test_a_changed_record_is_alarmed_once_and_what_held_before_is_kept(
    house: House, client: "redis.Redis"
) -> None:
    ledger(house, "e1")
    reviewer = Reviewer(house, share=1.0)
    reviewer.round(full=True)
    held = sorted(file.read_bytes() for file in (house.data / "review").iterdir())
    ledger(house, "e2")
    flip(house, b'"event":"e2"', b'"event":"e3"')
    for _ in range(2):
        [found] = reviewer.round(full=False)
        assert found.status == "broken"
    assert "breaks rule 4" in str(verified(house)["problem"])
    assert [text for text in alerts(client) if "does not hold" in text] == alerts(client)
    assert len(alerts(client)) == 1
    assert [one["body"]["problems"] for one in on_record(client)] == [0, 1, 1]
    assert sorted(file.read_bytes() for file in (house.data / "review").iterdir()) == held


def test_what_was_verified_before_is_compared_by_its_root_in_a_short_round(
    house: House, client: "redis.Redis"
) -> None:
    ledger(house, "e1")
    reviewer = Reviewer(house, share=1.0)
    reviewer.round(full=True)
    ledger(house, "e2")
    assert [one.status for one in reviewer.round(full=False)] == ["ok"]
    flip(house, b'"event":"e1"', b'"event":"e9"')
    assert [one.status for one in reviewer.round(full=False)] == ["broken"]


def test_a_log_that_is_gone_and_a_head_that_was_rolled_back_are_alarmed(
    house: House, client: "redis.Redis"
) -> None:
    ledger(house, "e1")
    shutil.copytree(house.data / "ledger", house.data / "older")
    ledger(house, "e2", year=2027)
    Reviewer(house, share=1.0).round(full=True)
    shutil.rmtree(log_path(house.data))
    problems = [one.problem for one in Reviewer(house, share=1.0).round(full=True)]
    assert any("that log is not here" in str(one) for one in problems)
    shutil.copytree(house.data / "older" / "main" / "rc10y" / "2026", log_path(house.data))
    ledger(house, "e3")
    Reviewer(house, share=1.0).round(full=True)
    assert len(alerts(client)) == 1


def test_a_ledger_that_can_t_be_read_is_alarmed(house: House, client: "redis.Redis") -> None:
    ledger(house, "e1")
    Reviewer(house, share=1.0).round(full=True)
    shutil.rmtree(house.data / "ledger")
    [found] = Reviewer(house, share=1.0).round(full=False)
    assert found.status == "unreadable"
    assert len(alerts(client)) == 1


def test_a_house_without_a_ledger_has_nothing_to_review(
    house: House, client: "redis.Redis"
) -> None:
    assert Reviewer(house, share=1.0).round(full=True) == []
    assert on_record(client) == []


def test_a_round_ends_when_told_to(house: House) -> None:
    ledger(house, "e1")
    stop = threading.Event()
    stop.set()
    with pytest.raises(ToldToStop, match="ended after record"):
        Reviewer(house, stop=stop).round(full=True)


def test_the_review_is_a_record_that_the_ledger_takes(house: House, client: "redis.Redis") -> None:
    ledger(house, "e1")
    Reviewer(house, share=1.0).round(full=True)
    made = Ledger(house.data, origin_bank="bank.example", tenant="main", transport_key=bytes(32))
    made.append_many([*on_record(client), record("event.in", "e9")])
    assert made.refused == 0
    made.close()


def test_who_reads_far_more_than_usual_is_told_of(
    tmp_path: Path, redis_url: str, client: "redis.Redis"
) -> None:
    house = open_house(tmp_path, {"redis_url": redis_url, "review_readings": 3})
    ledger(house, "e1")
    reviewer = Reviewer(house, share=1.0)
    reviewer.round(full=True)
    made = Ledger(house.data, origin_bank="bank.example", tenant="main", transport_key=bytes(32))
    curious = {"type": "person", "id": "officer.7", "role": "officer"}
    for n in range(4):
        made.append_many([record("access.read", None, n, actor=curious)])
    made.append_many([record("access.read", None, 9), record("access.denied", None, 10)])
    made.close()
    reviewer.round(full=False)
    body = on_record(client)[-1]["body"]
    assert body["readers"] == {"officer.7": 4, "flow": 1, "denied": 1}
    assert alerts(client) == ["officer.7 read 4 times since the last review"]
    reviewer.round(full=False)
    assert on_record(client)[-1]["body"]["readers"] == {}
