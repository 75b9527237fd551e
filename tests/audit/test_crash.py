"""The writer dies at each point of a commit and of a publication; a new one finds its way."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from audit.errors import KeyMissing
from audit.read import case_records, disclose
from audit.verify import verify_log
from tests.audit.conftest import OpenLedger
from tests.audit.records import Clock, log_path, story
from tests.patience import PATIENCE


def record_kinds(data: Path) -> list[str]:
    db = sqlite3.connect(data / "ledger" / "ledger.db")
    try:
        return [row[0] for row in db.execute("SELECT kind FROM records ORDER BY position")]
    finally:
        db.close()


POINTS = [
    ("audit.sequence.Sequencer.take", "before"),
    ("audit.sequence.Sequencer.take", "after"),
    ("audit.seal.Seals.refill", "before"),
    ("audit.seal.Seals.refill", "after"),
    ("audit.store.Store.commit", "before"),
    ("audit.store.Store.commit", "after"),
    ("audit.seal.Seals.destroy", "before"),
    ("audit.publish.write_tile", "before"),
    ("audit.publish.write_tile", "after"),
    ("audit.publish.Publisher._write_head", "before"),
    ("audit.publish.write_atomically", "after"),
    ("audit.tiles.Path.replace", "before"),
    # Between two statements of one transaction: so many rows are in it, and it is not ended.
    *(("statement", str(number)) for number in (1, 2, 5, 13, 21, 34)),
]

PROGRAM = """
import os, sys
from importlib import import_module
from tests.audit.records import START, TRANSPORT_KEY, record, story
from audit.writer import Ledger
steps = iter(range(10**9))
clock = lambda: START + next(steps)
ledger = Ledger(sys.argv[1], origin_bank="bank.example", tenant="main",
                transport_key=TRANSPORT_KEY, now=clock, steady=clock)
ledger.append_many(story("e1", personal=True))
ledger.publish()
target, when = sys.argv[2:4]
if target == "statement":
    left = [int(when)]
    def count(statement):
        left[0] -= statement.startswith(("INSERT", "COMMIT"))
        if not left[0]:
            os.kill(os.getpid(), 9)
    ledger._store._db.set_trace_callback(count)
else:
    parts = target.split(".")
    owner, rest = import_module(".".join(parts[:2])), parts[2:]
    for part in rest[:-1]:
        owner = getattr(owner, part)
    original = getattr(owner, rest[-1])
    def die(*args, **kwargs):
        if when == "after":
            original(*args, **kwargs)
        os._exit(9)
    setattr(owner, rest[-1], die)
forget = record("key.destroyed", None, 1, subject="acc_e1")
for n in range(2, 60):
    ledger.tick()
    ledger.append_many([*story(f"e{n}", personal=True), forget])
    ledger.publish()
"""


@pytest.mark.parametrize(("target", "when"), POINTS)
def test_a_crash_at_any_point_loses_nothing_and_doubles_nothing(
    tmp_path: Path,
    open_ledger: OpenLedger,
    clock: Clock,
    repository: Path,
    target: str,
    when: str,
) -> None:
    died = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), target, when],
        cwd=repository,
        timeout=5 * PATIENCE,
        check=False,
    )
    assert died.returncode in (9, -9), "the point was never reached"
    clock.advance(1_000_000)
    ledger = open_ledger()
    ledger.append_many([*story("e1", personal=True), *story("e2", personal=True)])
    ledger.close()
    for event in ("e1", "e2"):
        kinds = [leaf["kind"] for leaf in case_records(tmp_path, f"case-{event}")]
        assert kinds == [one["kind"] for one in story(event)]
    report = verify_log(log_path(tmp_path))
    assert report.faults == []
    assert len(report.gaps) == 1
    # What was to be forgotten is forgotten even when the crash came between record and deed.
    leaf = case_records(tmp_path, "case-e1")[1]
    if record_kinds(tmp_path).count("key.destroyed"):
        with pytest.raises(KeyMissing):
            disclose(tmp_path, leaf, "payee.name")
    else:
        assert disclose(tmp_path, leaf, "payee.name").value == "ACME 株式会社"


def test_published_files_that_were_cut_short_are_written_again_at_the_next_start(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    for n in range(60):
        ledger.append_many(story(f"e{n}"))
    ledger.close()
    for file in [*(log_path(tmp_path) / "tile").rglob("*"), log_path(tmp_path) / "checkpoint"]:
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert verify_log(log_path(tmp_path)).status == 1
    open_ledger().close()
    assert verify_log(log_path(tmp_path)).faults == []


FULL = """
import resource, signal, sqlite3, sys
from tests.audit.records import START, TRANSPORT_KEY, story
from audit.errors import LedgerFailed
from audit.writer import Ledger
steps = iter(range(10**9))
clock = lambda: START + next(steps)
ledger = Ledger(sys.argv[1], origin_bank="bank.example", tenant="main",
                transport_key=TRANSPORT_KEY, now=clock, steady=clock)
ledger.publish()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
done = 0
try:
    for n in range(10_000):
        ledger.append_many(story(f"e{n}", personal=n % 5 == 0))
        done += 1
except (sqlite3.OperationalError, OSError) as error:
    print(done, type(error).__name__)
try:
    ledger.append_many(story("after"))
except LedgerFailed:
    print("refused")
"""


def test_a_full_disk_stops_the_writer_and_loses_nothing_that_was_acknowledged(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock, repository: Path
) -> None:
    stopped = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=repository, capture_output=True, text=True, timeout=5 * PATIENCE, check=False,
    )  # fmt: skip
    assert stopped.returncode == 0, stopped.stderr
    told = stopped.stdout.split()
    assert told[1:] == ["OperationalError", "refused"]
    acknowledged = int(told[0])
    assert acknowledged > 20
    clock.advance(100_000_000)
    ledger = open_ledger()  # room was made
    ledger.append_many(story("later"))
    ledger.close()
    for event in (0, acknowledged - 1):
        assert len(case_records(tmp_path, f"case-e{event}")) == 6
    assert case_records(tmp_path, f"case-e{acknowledged + 1}") == []
    report = verify_log(log_path(tmp_path))
    assert report.faults == []
    assert len(report.gaps) == 1
