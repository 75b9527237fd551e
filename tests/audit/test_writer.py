"""What the one writer guarantees, record by record."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audit.errors import KeyMissing, LedgerDamaged, LedgerFailed, LedgerLocked, NotInLedger
from audit.keys import read_secret
from audit.leaf import utc_text
from audit.prove import proof_holds
from audit.read import (
    case_records,
    disclose,
    event_records,
    head,
    inclusion_proof,
    of_kinds,
    record_position,
)
from audit.seal import Disclosure, disclosure_matches
from audit.verify import SELF_CONSISTENT, Report, verify_log
from tests.audit.conftest import OpenLedger
from tests.audit.records import TRANSPORT_KEY, Clock, log_path, record, story


def verified(data: Path) -> Report:
    report = verify_log(log_path(data))
    assert report.faults == []
    assert report.status == SELF_CONSISTENT
    return report


def _deep(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


def kinds(data: Path) -> list[str]:
    db = sqlite3.connect(data / "ledger" / "ledger.db")
    try:
        return [row[0] for row in db.execute("SELECT kind FROM records ORDER BY position")]
    finally:
        db.close()


def test_a_story_is_one_chain_from_opening_to_close(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))
    ledger.close()
    leaves = case_records(tmp_path, "case-e1")
    assert [leaf["case_seq"] for leaf in leaves] == [1, 2, 3, 4, 5, 6]
    assert leaves[0]["case_prev"] == "0" * 64
    assert [leaf["case_prev"] for leaf in leaves[1:]] == [leaf["hash"] for leaf in leaves[:-1]]
    assert leaves[-1]["body"]["n"] == 6
    assert event_records(tmp_path, "e1") == leaves
    report = verified(tmp_path)
    assert (report.cases, report.closed, report.uncovered, report.gaps) == (1, 1, 0, [])


def test_a_record_that_comes_again_is_dropped(tmp_path: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1", closed=False))
    ledger.append_many(story("e1"))
    ledger.append_many([*story("e2"), *story("e2")])
    assert ledger.dropped == 5 + 6
    ledger.close()
    assert len(case_records(tmp_path, "case-e1")) == 6
    verified(tmp_path)


def test_a_second_decision_is_refused_and_kept(tmp_path: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1", closed=False))
    second = record("decision", "e1", 99, body={"decision": "approve"})
    ledger.append_many([second])
    ledger.append_many([second])
    assert (ledger.refused, ledger.dropped) == (1, 1)
    ledger.close()
    assert kinds(tmp_path).count("decision") == 1
    index = record_position(tmp_path, second["rid"])[1]
    leaf = json.loads(inclusion_proof(tmp_path, head(tmp_path)["origin"], index)[1])
    assert leaf["kind"] == "record.refused"
    assert "has its decision at record" in leaf["body"]["why"]
    assert leaf["body"]["record"]["body"] == {"decision": "approve"}
    verified(tmp_path)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "Event In"}, "kind"),
        ({"rid": ""}, "rid"),
        ({"rid": "ledger/mine"}, "rid"),
        ({"tenant": "other"}, "tenant"),
        ({"actor": {"id": "x"}}, "actor"),
        ({"grade": 4}, "grade"),
        ({"at": "yesterday"}, "time"),
        ({"body": [1]}, "body"),
        ({"case": ""}, "case"),
        ({"case": "case-e9~2"}, "follow-ups"),
        ({"surprise": 1}, "surprise"),
        ({"class": {"a": 1}}, "class"),
        ({"personal": [1]}, "personal"),
        ({"body": {"deep": _deep(100)}}, "deep"),
        ({"body": {"ключ": 1}}, "ASCII"),
        ({"body": {"sealed": {}}}, "personal"),
        ({"personal": {"memo": {"subject": "cus_a", "sealed": "s1.AAAA"}}}, "does not open"),
    ],
)
def test_a_record_that_can_be_no_leaf_is_kept_with_its_reason(
    tmp_path: Path, open_ledger: OpenLedger, fields: dict[str, Any], why: str
) -> None:
    ledger = open_ledger()
    ledger.append_many([record("event.in") | fields, *story("e2")])
    assert ledger.refused == 1
    ledger.close()
    db = sqlite3.connect(tmp_path / "ledger" / "ledger.db")
    (leaf,) = db.execute("SELECT leaf FROM records WHERE kind = 'record.refused'").fetchone()
    db.close()
    assert why in json.loads(leaf)["body"]["why"]
    verified(tmp_path)


def test_what_is_no_record_at_all_stops_nobody(tmp_path: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    odd: list[Any] = [None, 7, "text", {}, {}, [], *story("e1")]
    ledger.append_many(odd)
    ledger.append_many(odd)
    ledger.close()
    assert len(case_records(tmp_path, "case-e1")) == 6
    verified(tmp_path)


def test_a_record_after_the_close_goes_to_a_follow_up_case(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))
    ledger.append_many([record("label", "e1"), record("case.closed", "e1", 2)])
    ledger.append_many([record("label", "e1", 3)])
    ledger.close()
    first, second = case_records(tmp_path, "case-e1"), case_records(tmp_path, "case-e1~2")
    assert [leaf["kind"] for leaf in second] == ["case.opened", "label", "case.closed"]
    assert second[0]["body"]["follows"] == "case-e1"
    assert second[0]["body"]["last"] == first[-1]["hash"]
    assert second[-1]["body"]["n"] == 3
    third = case_records(tmp_path, "case-e1~3")
    assert third[0]["body"]["last"] == second[-1]["hash"]
    assert len(event_records(tmp_path, "e1")) == 6 + 3 + 2
    verified(tmp_path)


def test_a_case_that_nobody_opened_is_opened_by_the_writer(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many([record("event.in", "e1"), record("case.opened", "e1")])
    assert ledger.refused == 1
    ledger.close()
    leaves = case_records(tmp_path, "case-e1")
    assert [leaf["kind"] for leaf in leaves] == ["case.opened", "event.in"]
    assert leaves[0]["body"]["unannounced"] is True
    verified(tmp_path)


def test_a_case_goes_on_where_it_stood_after_a_restart(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    first = open_ledger()
    first.append_many(story("e1", closed=False))
    first.close()
    clock.advance()
    second = open_ledger()
    second.append_many([record("outcome"), record("case.closed")])
    second.close()
    assert [leaf["case_seq"] for leaf in case_records(tmp_path, "case-e1")] == [1, 2, 3, 4, 5, 6, 7]
    assert verified(tmp_path).gaps == []


def test_a_case_stays_in_the_log_it_was_opened_in(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1", closed=False))
    clock.advance(250 * 86_400_000_000)
    ledger.append_many([record("case.closed"), *story("e2")])
    ledger.close()
    assert {leaf["origin"][-4:] for leaf in case_records(tmp_path, "case-e1")} == {"2026"}
    assert {leaf["origin"][-4:] for leaf in case_records(tmp_path, "case-e2")} == {"2027"}
    assert verify_log(log_path(tmp_path)).faults == []
    assert verify_log(log_path(tmp_path).with_name("2027")).faults == []


def test_a_longer_retention_class_has_its_own_log(tmp_path: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    ledger.append_many([record("case.opened", "e1") | {"class": "rc20y"}, record("event.in", "e1")])
    ledger.close()
    leaves = case_records(tmp_path, "case-e1")
    assert {leaf["origin"] for leaf in leaves} == {"bank.example/ringback/main/rc20y/2026"}
    assert leaves[0]["body"]["class"] == "rc20y"
    keys = [log_path(tmp_path).parents[1] / name / "2026" / "keys" for name in ("rc10y", "rc20y")]
    assert keys[0].read_text().split("+")[2] != keys[1].read_text().split("+")[2]


def test_time_never_goes_back_and_a_step_is_on_record(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))
    clock.advance()
    clock.step(-3_600_000_000)
    ledger.append_many(story("e2"))
    ledger.close()
    assert kinds(tmp_path).count("clock.step") == 1
    verified(tmp_path)


def test_both_clocks_are_on_record_each_hour_and_how_far_they_went_apart(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.tick()
    clock.advance(3_600_000_001)
    clock.step(-400_000)  # too little for a clock.step
    ledger.tick()
    ledger.tick()
    clock.advance(3_600_000_001)
    ledger.tick()
    ledger.close()
    assert kinds(tmp_path) == ["log.start", "clock.sync", "clock.sync", "log.stop"]
    first, second = (leaf["body"] for leaf in of_kinds(tmp_path, ["clock.sync"]))
    assert (first["drift_us"], second["drift_us"]) == (-400_000, -400_000)
    assert second["steady_us"] - first["steady_us"] == 3_600_000_001
    assert first["clock"] == utc_text(clock.wall - 3_600_000_001)
    verified(tmp_path)


def test_a_clock_that_is_behind_at_the_start_is_on_record(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    open_ledger().close()
    clock.step(-60_000_000)
    open_ledger().close()
    assert kinds(tmp_path) == ["log.start", "log.stop", "log.start", "clock.step", "log.stop"]
    verified(tmp_path)


def test_a_writer_that_vanished_leaves_a_gap_that_names_the_last_record(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1", closed=False), stream_id="17-4")
    ledger.abandon()
    ledger = open_ledger()
    assert ledger.stream_id == "17-4"
    ledger.close()
    assert kinds(tmp_path)[6:] == ["log.gap", "log.start", "case.heads", "log.stop"]
    assert verified(tmp_path).gaps == [6]


def test_the_heads_of_changed_cases_are_listed_every_hour_and_at_the_end(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.append_many([*story("e1", closed=False), *story("e2")])
    ledger.tick()
    clock.advance(3_600_000_001)
    ledger.tick()
    ledger.tick()
    ledger.append_many([record("label", "e1")])
    ledger.close()
    assert kinds(tmp_path).count("case.heads") == 2
    assert verified(tmp_path).uncovered == 0


def test_a_ledger_at_rest_is_one_file_that_readers_need_not_recover(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))
    ledger.publish()
    ledger.close()
    assert [file.name for file in (tmp_path / "ledger").glob("ledger.db*")] == ["ledger.db"]
    assert len(case_records(tmp_path, "case-e1")) == 6


def test_two_writers_are_refused_by_name(tmp_path: Path, open_ledger: OpenLedger) -> None:
    open_ledger()
    with pytest.raises(LedgerLocked, match="one writer owns the head"):
        open_ledger()


def test_a_commit_that_fails_stops_the_writer_and_a_new_one_goes_on(
    tmp_path: Path, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ledger._store, "commit", full)
        with pytest.raises(sqlite3.OperationalError):
            ledger.append_many(story("e2"))
    with pytest.raises(LedgerFailed, match="disk is full"):
        ledger.append_many(story("e3"))
    ledger.close()
    ledger = open_ledger()
    ledger.append_many(story("e2"))
    ledger.close()
    assert len(case_records(tmp_path, "case-e2")) == 6
    verified(tmp_path)


def test_a_store_whose_records_were_changed_is_not_written_to(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))
    ledger.close()
    db = sqlite3.connect(tmp_path / "ledger" / "ledger.db")
    db.execute("UPDATE records SET hash = zeroblob(32) WHERE kind = 'score'")
    db.commit()
    db.close()
    with pytest.raises(LedgerDamaged, match="do not give its signed head"):
        open_ledger()


@pytest.mark.parametrize("back_to", ["an older copy", "another history", "nothing"])
def test_a_store_behind_its_own_published_tiles_does_not_fork_them(
    tmp_path: Path, open_ledger: OpenLedger, back_to: str
) -> None:
    stores: dict[str, Path | None] = {"nothing": None}
    for name, events in (("an older copy", ["e1"]), ("another history", ["e3", "e4", "e5"])):
        made = open_ledger(data_dir=tmp_path / name)
        for event in events:
            made.append_many(story(event))
        made.close()
        stores[name] = tmp_path / name / "ledger" / "ledger.db"
    data = tmp_path / "data"
    shutil.copytree(tmp_path / "an older copy", data)
    ledger = open_ledger(data_dir=data)
    ledger.append_many(story("e2"))
    ledger.close()
    open_ledger(data_dir=data).close()
    published = sorted(path for path in data.rglob("*") if path.is_file() and "tile" in str(path))
    before = [path.read_bytes() for path in published]
    for file in (data / "ledger").glob("ledger.db*"):
        file.unlink()
    if (store := stores[back_to]) is not None:
        shutil.copy(store, data / "ledger" / "ledger.db")
    with pytest.raises(LedgerDamaged, match="it would fork"):
        open_ledger(data_dir=data)
    assert [path.read_bytes() for path in published] == before
    verified(data)


def test_secrets_are_made_once_and_for_the_owner_alone(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    open_ledger().close()
    files = [tmp_path / "secrets" / name for name in ("ledger.key", "ledger.kek")]
    before = [read_secret(file) for file in files]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    open_ledger().close()
    assert [read_secret(file) for file in files] == before


def test_a_personal_value_is_sealed_disclosed_singly_and_forgotten(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.append_many([*story("e1", personal=True), *story("e2", personal=True)])
    ledger.close()
    leaf = case_records(tmp_path, "case-e1")[1]
    entry = leaf["body"]["sealed"]["payee.name"]
    assert set(entry) == {"subject", "ct", "com"}
    assert "株式会社".encode() not in (tmp_path / "ledger" / "ledger.db").read_bytes()
    disclosure = disclose(tmp_path, leaf, "payee.name")
    assert disclosure.value == "ACME 株式会社"
    assert disclosure_matches(disclosure, entry["com"])
    false = Disclosure(disclosure.path, "ACME Ltd", disclosure.salt)
    assert not disclosure_matches(false, entry["com"])
    with pytest.raises(KeyMissing, match="does not open"):
        disclose(tmp_path, leaf | {"rid": "another"}, "payee.name")
    # Forgetting is a record; the key goes after it is durable.
    ledger = open_ledger()
    ledger.append_many([record("key.destroyed", None, 1, subject="acc_e1")])
    again = story("e1", personal=True)[1] | {"rid": "rb:events:0/e1/again"}
    ledger.append_many([again])
    ledger.close()
    with pytest.raises(KeyMissing, match="destroyed"):
        disclose(tmp_path, leaf, "payee.name")
    later = case_records(tmp_path, "case-e1~2")[-1]
    new = later["body"]["sealed"]["payee.name"]
    assert new["key"] == 2
    assert disclose(tmp_path, later, "payee.name").value == "ACME 株式会社"
    verified(tmp_path)


def test_a_key_destroyed_and_used_in_one_commit_is_two_keys(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    forget = record("key.destroyed", None, 1, subject="acc_e1")
    again = story("e1", personal=True)[1] | {"rid": "rb:events:0/e1/again"}
    ledger.append_many([*story("e1", personal=True), forget, again])
    ledger.close()
    later = case_records(tmp_path, "case-e1~2")[-1]
    first = case_records(tmp_path, "case-e1")[1]
    with pytest.raises(KeyMissing, match="destroyed"):
        disclose(tmp_path, first, "payee.name")
    assert disclose(tmp_path, later, "payee.name").value == "ACME 株式会社"
    verified(tmp_path)


def test_a_body_too_large_for_a_leaf_lies_sealed_beside_the_log(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many([record("case.opened"), record("event.in", body={"text": "x" * 70_000})])
    ledger.close()
    leaf = case_records(tmp_path, "case-e1")[1]
    file = log_path(tmp_path) / "cas" / leaf["body"]["cas"][:2] / leaf["body"]["cas"]
    assert b"xxxx" not in file.read_bytes()
    verified(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    first = verify_log(log_path(tmp_path)).first
    assert first is not None
    assert (first.index, first.rule) == (leaf["index"], 15)


def test_a_proof_is_handed_out_for_each_record_and_holds(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    for n in range(100):
        ledger.append_many(story(f"e{n}"))
    ledger.publish()
    ledger.append_many(story("unpublished"))
    origin, size = head(tmp_path)["origin"], head(tmp_path)["size"]
    assert size == 1 + 101 * 6
    for index in (0, 1, 255, 256, 511, 512, 600, size - 1):
        proof, leaf = inclusion_proof(tmp_path, origin, index)
        assert proof_holds(proof, leaf)
        assert not proof_holds(proof, leaf + b" ")
    with pytest.raises(NotInLedger):
        inclusion_proof(tmp_path, origin, size)
    ledger.close()
    verified(tmp_path)


def test_verify_runs_with_cryptography_alone(
    tmp_path: Path, open_ledger: OpenLedger, repository: Path
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1", personal=True))
    ledger.close()
    program = (
        "import sys\n"
        "for name in ('orjson', 'redis', 'pydantic', 'typer', 'rich', 'yaml', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "from audit.cli import main\n"
        "sys.exit(main(['verify', sys.argv[1]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "ledger")],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "consistent with itself; the keys are the operator's own" in done.stdout


def test_the_transport_key_is_not_what_lies_on_disk(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1", personal=True))
    ledger.close()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert TRANSPORT_KEY not in file.read_bytes()
            assert TRANSPORT_KEY.hex().encode() not in file.read_bytes()
