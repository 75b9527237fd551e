"""Cases that outlive their log: a longer class, a year's end, a half that is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.export import export_case, verify_bundle
from audit.leaf import is_longer
from audit.read import case_family, case_records, disclose, event_records
from audit.tiles import unpack_entries
from audit.verify import Report, verify_ledger, verify_log
from tests.audit.conftest import OpenLedger
from tests.audit.records import Clock, log_path, record, story

YEAR = 366 * 86_400_000_000


def folder(data: Path, retention: str, year: int = 2026) -> Path:
    return data / "ledger" / "main" / retention / str(year)


def whole(data: Path) -> list[Report]:
    reports = verify_ledger(data / "ledger")
    assert [str(fault) for report in reports for fault in report.faults] == []
    return reports


def moved(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    ledger.append_many([*story("e1", closed=False, personal=True), *story("e2")])
    ledger.append_many([record("label", "e1") | {"class": "rc20y"}, record("case.closed", "e1")])
    ledger.close()


@pytest.mark.parametrize(
    ("one", "other", "longer"),
    [("rc20y", "rc10y", True), ("rc10y", "rc10y", False), ("rc5y", "rc10y", False),
     ("keep", "rc10y", False), ("rc10y", "keep", False), ("aml100y", "rc20y", True)],
)  # fmt: skip
def test_a_class_is_longer_by_its_years(one: str, other: str, longer: bool) -> None:
    assert is_longer(one, other) is longer


def test_an_open_case_goes_on_in_the_longer_log_and_takes_its_leaves_along(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    moved(open_ledger)
    leaves = case_records(tmp_path, "case-e1")
    assert [leaf["case_seq"] for leaf in leaves] == list(range(1, 10))
    kinds = [leaf["kind"] for leaf in leaves]
    assert kinds[5:] == ["case.moved", "case.moved", "label", "case.closed"]
    away, here = leaves[5], leaves[6]
    assert away["body"] == {"to": "bank.example/ringback/main/rc20y/2026"}
    [came] = here["body"]["from"]
    assert came["origin"] == "bank.example/ringback/main/rc10y/2026"
    assert came["hashes"] == [leaf["hash"] for leaf in leaves[:6]]
    assert came["indices"] == [leaf["index"] for leaf in leaves[:6]]
    whole(tmp_path)
    assert disclose(tmp_path, leaves[1], "payee.name").value == "ACME 株式会社"
    names = [leaf["kind"] for leaf in event_records(tmp_path, "e1")]
    assert names == kinds
    bundle = tmp_path / "case.zip"
    export_case(tmp_path, "case-e1", bundle)
    assert verify_bundle(bundle).faults == []


@pytest.mark.parametrize(("gone", "left", "index"), [("rc20y", "rc10y", 14), ("rc10y", "rc20y", 1)])
def test_a_missing_half_of_a_case_is_a_fault_by_name(
    tmp_path: Path, open_ledger: OpenLedger, gone: str, left: str, index: int
) -> None:
    moved(open_ledger)
    shutil.rmtree(folder(tmp_path, gone).parent)
    [report] = verify_ledger(tmp_path / "ledger")
    assert report.first is not None
    assert (report.first.rule, report.first.index) == (17, index)
    assert "half is missing" in report.first.why
    # Who is handed that one log alone is told what he can't see.
    alone = verify_log(folder(tmp_path, left))
    assert alone.faults == []
    assert any("half is missing" in question for question in alone.open_questions)


def test_an_old_half_whose_time_is_over_is_missed_but_no_fault(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    moved(open_ledger)
    ledger = open_ledger()
    gone = record(
        "retention.destroyed", None, body={"origin": "bank.example/ringback/main/rc10y/2026"}
    )
    ledger.append_many([gone | {"class": "rc20y"}])
    ledger.close()
    shutil.rmtree(folder(tmp_path, "rc10y").parent)
    [report] = whole(tmp_path)
    assert any("half is missing" in question for question in report.open_questions)


def test_a_case_that_was_closed_is_carried_into_its_follow_up_in_the_longer_log(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))
    ledger.append_many([record("label", "e1"), record("case.closed", "e1", 2)])
    clock.advance(YEAR)
    ledger.append_many([record("complaint", "e1") | {"class": "rc20y"}])
    ledger.append_many([record("case.closed", "e1", 3)])
    ledger.close()
    whole(tmp_path)
    family = case_family(tmp_path, "case-e1")
    third = [leaf for leaf in family if leaf["case"] == "case-e1~3"]
    assert [leaf["kind"] for leaf in third] == [
        "case.opened", "case.moved", "complaint", "case.closed"]  # fmt: skip
    assert third[0]["origin"].endswith("rc20y/2027")
    assert len(third[1]["body"]["from"][0]["hashes"]) == 6 + 3
    bundle = tmp_path / "case.zip"
    export_case(tmp_path, "case-e1", bundle)
    assert verify_bundle(bundle).faults == []


def test_a_case_moves_twice_and_after_a_restart(tmp_path: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    first = [one | ({"class": "rc5y"} if one["kind"] == "case.opened" else {}) for one in
             story("e1", closed=False)]  # fmt: skip
    ledger.append_many([*first, record("event.in", "e1", body={"text": "x" * 70_000}, rid="large")])
    ledger.append_many([record("label", "e1", 1) | {"class": "rc10y"}])
    ledger.close()
    ledger = open_ledger()
    ledger.append_many([record("label", "e1", 2) | {"class": "rc5y"}])
    ledger.append_many([record("label", "e1", 3) | {"class": "rc20y"}])
    ledger.close()
    ledger = open_ledger()
    ledger.append_many([record("case.closed", "e1")])
    ledger.close()
    whole(tmp_path)
    leaves = case_records(tmp_path, "case-e1")
    assert [leaf["case_seq"] for leaf in leaves] == list(range(1, len(leaves) + 1))
    logs = [leaf["origin"].split("/")[-2] for leaf in leaves]
    assert logs == ["rc5y"] * 7 + ["rc10y"] * 4 + ["rc20y"] * 3
    assert len(leaves[11]["body"]["from"]) == 2


def test_a_case_without_a_demanded_class_stays_although_the_default_is_longer(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many([record("case.opened", "e1") | {"class": "rc5y"}, record("event.in", "e1")])
    ledger.append_many([record("case.closed", "e1")])
    ledger.close()
    assert {leaf["origin"][-9:] for leaf in case_records(tmp_path, "case-e1")} == {"rc5y/2026"}
    whole(tmp_path)


def test_a_year_s_log_closes_with_its_last_case(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.append_many([*story("e1"), *story("e2", closed=False)])
    clock.advance(YEAR)
    ledger.tick()
    ledger.append_many(story("e3"))
    ledger.append_many([record("case.closed", "e2")])
    ledger.close()
    assert last_leaf(tmp_path)["kind"] == "log.stop"
    assert last_leaf(tmp_path)["body"].get("final") is None
    ledger = open_ledger()
    clock.advance(3_700_000_000)
    ledger.tick()
    ledger.append_many([record("label", "e2", 9)])  # its case is closed: this year's log takes it
    ledger.close()
    assert last_leaf(tmp_path)["body"]["final"] is True
    open_ledger().close()
    reports = whole(tmp_path)
    assert [report.origin[-4:] for report in reports] == ["2026", "2027"]
    size = reports[0].size
    assert (folder(tmp_path, "rc10y") / "checkpoints" / str(size)).is_file()
    assert not any("log.stop" in question for question in reports[0].open_questions)


def test_a_year_s_end_is_noticed_while_running(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    ledger = open_ledger()
    ledger.append_many([*story("e1"), *story("e2", closed=False)])
    clock.advance(YEAR)
    ledger.tick()
    ledger.append_many([record("case.closed", "e2")])
    clock.advance(3_700_000_000)
    ledger.tick()
    assert last_leaf(tmp_path)["body"]["final"] is True
    ledger.append_many([*story("e3"), record("label", "e1", 4) | {"class": "rc20y"}])
    ledger.close()
    whole(tmp_path)


def test_a_case_in_two_logs_that_never_moved_is_a_fault(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    for name, retention in (("a", "rc10y"), ("b", "rc20y")):
        ledger = open_ledger(data_dir=tmp_path / name, default_class=retention)
        ledger.append_many(story("e1"))
        ledger.close()
    source = folder(tmp_path / "b", "rc20y")
    shutil.copytree(source, folder(tmp_path / "a", "rc20y"))
    reports = verify_ledger(tmp_path / "a" / "ledger")
    # The case lies in both, and so does the decision of its event.
    assert [fault.rule for report in reports for fault in report.faults] == [17, 7]


def last_leaf(data: Path) -> dict[str, Any]:
    """The last published record of the log of 2026."""
    folder = log_path(data) / "tile" / "entries" / "000.p"
    newest = max(folder.iterdir(), key=lambda file: int(file.name))
    leaf: dict[str, Any] = json.loads(unpack_entries(newest.read_bytes())[-1])
    return leaf
