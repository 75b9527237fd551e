"""Is everything that a replay hands over durable, and is a writer that died told by name?"""

import os
import signal
from pathlib import Path

import pytest

from audit.read import case_records
from audit.verify import find_logs, verify_log
from flows.ledger_process import LedgerDied, LedgerProcess
from tests.audit.records import TRANSPORT_KEY, story


def test_everything_handed_over_is_durable_and_in_order_when_it_is_closed(tmp_path: Path) -> None:
    ledger = LedgerProcess(tmp_path, "bank.example", "main", TRANSPORT_KEY)
    for number in range(500):
        ledger.keep(story(f"e{number}"))
    ledger.close()
    [log] = find_logs(tmp_path / "ledger")
    assert verify_log(log).faults == []
    for number in range(500):
        told = [leaf["kind"] for leaf in case_records(tmp_path, f"case-e{number}")]
        assert told == [one["kind"] for one in story(f"e{number}")]


def test_a_writer_that_died_is_told_by_name_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = LedgerProcess(tmp_path, "bank.example", "main", TRANSPORT_KEY)
    pid = ledger._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def hand_over() -> None:  # told at the latest when the waiting bundles are too many
        for number in range(1_000_000):
            ledger.keep(story(f"e{number}"))

    with pytest.raises(LedgerDied, match="writer died"):
        hand_over()
    with pytest.raises(LedgerDied, match="writer died"):
        ledger.close()
    assert not ledger._carrier.is_alive()
    assert not ledger._process.is_alive()
    ledger.end()
