"""What an earlier version wrote is read, gone on with, and verified by this one.

tests/assets/stores/v1 is a whole data directory of a writer as it was at version 1 of the store:
20 cases, one of them (e5) open, one person (acc_e1) forgotten. Its secrets guard nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from audit.errors import KeyMissing
from audit.export import export_case, verify_bundle
from audit.prove import proof_holds
from audit.read import case_records, disclose, inclusion_proof, stream_position
from audit.verify import verify_log
from tests.audit.conftest import OpenLedger
from tests.audit.records import Clock, log_path, record, story

KEPT = Path(__file__).parents[1] / "assets" / "stores" / "v1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT, tmp_path / "data"))


def test_what_version_1_published_verifies(data: Path) -> None:
    report = verify_log(log_path(data))
    assert (report.faults, report.size, report.cases, report.closed) == ([], 129, 21, 19)


def test_what_version_1_stored_is_read_disclosed_and_still_forgotten(data: Path) -> None:
    assert stream_position(data) == "18-0"
    first = case_records(data, "case-e0")
    assert [leaf["kind"] for leaf in first] == [one["kind"] for one in story("e0")]
    assert disclose(data, first[1], "payee.name").value == "ACME 株式会社"
    with pytest.raises(KeyMissing, match="destroyed"):
        disclose(data, case_records(data, "case-e1")[1], "payee.name")
    proof, leaf = inclusion_proof(data, first[1]["origin"], first[1]["index"])
    assert proof_holds(proof, leaf)


def test_a_store_of_version_1_is_gone_on_with(
    data: Path, open_ledger: OpenLedger, clock: Clock
) -> None:
    clock.advance(10_000_000)
    ledger = open_ledger(data_dir=data)
    ledger.append_many(
        [
            *story("e3", personal=True),  # known to it, every one
            record("answer", "e5"),
            record("case.closed", "e5", 1),
            *story("e100", personal=True),
        ]
    )
    assert ledger.dropped == len(story("e3"))
    ledger.close()
    assert [leaf["case_seq"] for leaf in case_records(data, "case-e5")] == [1, 2, 3, 4, 5, 6, 7]
    report = verify_log(log_path(data))
    assert (report.faults, report.gaps) == ([], [])
    export_case(data, "case-e5", data / "case.zip")
    assert verify_bundle(data / "case.zip").faults == []
