"""`ringback case show`, `case find` and `audit export`: on record first, or not at all."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from audit import read
from audit.export import verify_bundle
from audit.writer import Ledger, run_writer
from flows import reading
from flows.lists_command import token_of
from flows.parts import House, open_house
from risk import names
from tests.audit.records import TRANSPORT_KEY, record, story
from tests.patience import PATIENCE


@pytest.fixture
def house(tmp_path: Path, redis_url: str) -> Iterator[House]:
    """A ledger with one closed case, its writer at work on a real Redis."""
    (tmp_path / "ringback.yaml").write_text(f"redis_url: {redis_url}\n")
    made = Ledger(tmp_path, origin_bank="bank.example", tenant="main", transport_key=TRANSPORT_KEY)
    made.append_many(story("e1", personal=True))
    made.close()
    stop, ready = threading.Event(), threading.Event()
    writer = threading.Thread(
        target=run_writer,
        kwargs={
            "redis_url": redis_url, "data_dir": tmp_path, "origin_bank": "bank.example",
            "tenant": "main", "transport_key": TRANSPORT_KEY, "stop": stop,
            "on_ready": ready.set, "publish_every": 0.05,
        },
    )  # fmt: skip
    writer.start()
    assert ready.wait(PATIENCE)
    yield open_house(tmp_path)
    stop.set()
    writer.join(PATIENCE)


def on_record(house: House, kind: str) -> list[dict[str, Any]]:
    return [json.loads(leaf)["body"] for _, _, _, leaf in read.steps(house.data, [kind])]


def test_a_case_is_shown_once_the_reading_is_on_record(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["e1", "--disclose", "payee.name", "--purpose", "a complaint"]
    assert reading.show_case([*asked, "--json"], house.data) == 0
    told = json.loads(capsys.readouterr().out)
    assert [leaf["kind"] for leaf in told["records"]] == [one["kind"] for one in story("e1")]
    assert [list(opened.values()) for opened in told["opened"].values()] == [["ACME 株式会社"]]
    [body] = on_record(house, "access.read")
    assert (body["which"], body["fields"]) == ("case-e1", ["payee.name"])
    assert body["purpose"] == "a complaint"
    assert reading.show_case(["case-e1"], house.data) == 0
    assert "case.closed" in capsys.readouterr().out
    assert len(on_record(house, "access.read")) == 2


def test_a_case_is_handed_out_once_that_is_on_record(house: House, tmp_path: Path) -> None:
    out = tmp_path / "case.zip"
    assert reading.export(["--case", "case-e1", "--out", str(out)], house.data) == 0
    assert verify_bundle(out).faults == []
    assert [body["case"] for body in on_record(house, "export")] == ["case-e1"]


def test_a_customer_s_records_are_found_once_that_is_on_record(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    token = token_of(house, "customer", "Anna")
    with redis.Redis.from_url(house.redis_url) as client:
        told = record("officer.action", "e9", subject=token) | {"case": None}
        told["actor"] = {"type": "person", "id": "ann", "role": "officer"}
        client.xadd(names.AUDIT, {"records": orjson.dumps([told])})
    asked = ["--customer", "Anna", "--since", "2026-01-01", "--purpose", "she asks"]
    assert reading.find_records([*asked, "--json"], house.data) == 0
    [found] = json.loads(capsys.readouterr().out)["records"]
    assert (found["rid"], found["subject"]) == (told["rid"], token)
    [body] = on_record(house, "access.read")
    assert body["which"] == {"customer": token, "since": "2026-01-01"}
    assert body["purpose"] == "she asks"
    for more, hits in (([], 1), (["--officer", "ann"], 1), (["--officer", "bob"], 0)):
        assert reading.find_records(["--customer", "Anna", *more], house.data) == 0
        assert capsys.readouterr().out.count("officer.action") == hits
    assert reading.find_records(["--since", "2026", "--most", "2"], house.data) == 0
    assert capsys.readouterr().out.count("\n") == 2


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([], "needed --customer, --officer, --since or --until, got none"),
        (["--since", "yesterday"], "--since: needed a time such as 2026-05-28 or 2026-05-28T"),
        (["--until", "28.5.2026"], "--until: needed a time such as 2026-05-28 or 2026-05-28T"),
        (["--officer", "ann", "--most", "0"], "--most: needed 1 to 1000, got 0"),
    ],
)
def test_a_search_that_can_t_be_meant_is_refused_and_not_on_record(
    house: House, capsys: pytest.CaptureFixture[str], asked: list[str], why: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        reading.find_records(asked, house.data)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
    assert on_record(house, "access.read") == []


def test_without_a_ledger_nothing_is_read(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(reading, "WITHIN_SECONDS", 0.2)
    (tmp_path / "ringback.yaml").write_text(f"redis_url: {redis_url}\n")
    made = Ledger(tmp_path, origin_bank="bank.example", tenant="main", transport_key=TRANSPORT_KEY)
    made.append_many(story("e1"))
    made.close()
    with pytest.raises(reading.NotOnRecord, match="not durable within"):
        reading.show_case(["e1"], tmp_path)
    out = tmp_path / "case.zip"
    with pytest.raises(reading.NotOnRecord):
        reading.export(["--case", "case-e1", "--out", str(out)], tmp_path)
    assert not out.exists()
    assert capsys.readouterr().out == ""
    with redis.Redis.from_url(redis_url) as client:
        assert client.xlen(names.AUDIT) == 2  # what was tried stays to be taken down
