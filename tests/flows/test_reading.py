"""`ringback case show` and `ringback audit export`: on record first, or not at all."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from audit import read
from audit.export import verify_bundle
from audit.writer import Ledger, run_writer
from flows import reading
from flows.parts import House, open_house
from risk import names
from tests.audit.records import TRANSPORT_KEY, story
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
