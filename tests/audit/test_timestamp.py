"""RFC 3161 time stamps on heads, and lines of other kinds of key, as options."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.cli import main
from audit.errors import TimestampRefused
from audit.export import export_case, verify_bundle
from audit.note import ML_DSA_KEY, Signer, parse_checkpoint, parse_vkey
from audit.policy import parse_policy
from audit.timestamp import ask, timestamp_file, tokens
from audit.verify import SELF_CONSISTENT, VERIFIED, verify_log
from tests.audit.authority import Authority, authority
from tests.audit.conftest import OpenLedger
from tests.audit.records import Clock, log_path, story
from tests.servers import need


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    need("openssl")
    with authority(tmp_path_factory.mktemp("tsa") / "authority") as made:
        yield made


@pytest.fixture
def data(tmp_path: Path, open_ledger: OpenLedger, clock: Clock, tsa: Authority) -> Path:
    """A ledger whose case e1 was stamped while it was open, and whose end is not stamped."""
    ledger = open_ledger(tsa=tsa.url)
    ledger.append_many(story("e1"))
    ledger.publish()
    clock.advance()
    ledger.append_many(story("e2"))
    ledger.close()
    return tmp_path


def test_a_head_is_stamped_and_its_stamp_checked_by_the_authority_s_certificate(
    data: Path, tsa: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(tokens(log_path(data))) == [7]
    report = verify_log(log_path(data))
    assert any("whose stamps count was not said" in one for one in report.open_questions)
    report = verify_log(log_path(data), authorities=[tsa.root.read_bytes()])
    assert (report.faults, [stamp["size"] for stamp in report.timestamps]) == ([], [7])
    assert main(["verify", str(data / "ledger"), "--tsa", str(tsa.root)]) == SELF_CONSISTENT
    assert "time stamp on the head of size 7: 2" in capsys.readouterr().out


def test_openssl_checks_the_same_token(data: Path, tsa: Authority, tmp_path: Path) -> None:
    head = parse_checkpoint((log_path(data) / "checkpoints" / "7").read_bytes())
    (tmp_path / "text").write_text(head.text)
    checked = subprocess.run(
        ["openssl", "ts", "-verify", "-in", timestamp_file(log_path(data), 7), "-data",
         tmp_path / "text", "-CAfile", tsa.root],
        capture_output=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_a_stamp_of_another_head_or_of_another_authority_is_a_fault(
    data: Path, tsa: Authority, tmp_path: Path
) -> None:
    log = log_path(data)
    with authority(tmp_path / "stranger") as stranger:
        report = verify_log(log, authorities=[stranger.root.read_bytes()])
        assert [fault.rule for fault in report.faults] == [12]
    shutil.copy(timestamp_file(log, 7), timestamp_file(log, 14))
    report = verify_log(log, authorities=[tsa.root.read_bytes()])
    assert [fault.rule for fault in report.faults] == [12]
    assert "size 14" in str(report.first)


def test_a_bundle_encloses_the_first_stamp_that_covers_its_case(data: Path, tsa: Authority) -> None:
    out = data / "case.zip"
    names = export_case(data, "case-e1", out)
    assert "logs/1/timestamps/7.tsr" in names
    assert "logs/1/older-7" in names
    report = verify_bundle(out, authorities=[tsa.root.read_bytes()])
    assert (report.faults, len(report.timestamps)) == ([], 1)
    assert main(["verify-bundle", str(out), "--tsa", str(tsa.root)]) == SELF_CONSISTENT


def test_an_authority_that_is_away_costs_its_stamp_only(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    with pytest.raises(TimestampRefused, match="is not there"):
        ask("http://127.0.0.1:9/", "text")
    ledger = open_ledger(tsa="http://127.0.0.1:9/")
    ledger.append_many(story("e1"))
    ledger.publish()
    assert isinstance(ledger.publisher.failure, TimestampRefused)
    ledger.close()
    assert verify_log(log_path(tmp_path)).faults == []


def test_without_the_package_a_time_stamp_is_not_passed_over(
    data: Path, tsa: Authority, repository: Path
) -> None:
    program = (
        "import sys\nsys.modules['rfc3161_client'] = None\nfrom audit.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    line = [sys.executable, "-c", program, "verify", str(data / "ledger")]
    bare = subprocess.run(line, cwd=repository, capture_output=True, text=True, check=False)
    assert bare.returncode == SELF_CONSISTENT
    asked = subprocess.run(
        [*line, "--tsa", tsa.root], cwd=repository, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 2
    assert "ringback[timestamp]" in asked.stderr


def test_a_line_of_ml_dsa_stands_beside_and_can_be_asked_for(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger(ml_dsa=True)
    ledger.append_many(story("e1"))
    ledger.close()
    log = log_path(tmp_path)
    own, ml_dsa = map(parse_vkey, (log / "keys").read_text().splitlines())
    assert ml_dsa.kind == ML_DSA_KEY
    head = parse_checkpoint((log / "checkpoint").read_bytes())
    assert head.signed_by(own)
    assert head.witnessed_at(ml_dsa) is not None
    policy = parse_policy(f"log {own.vkey}\nwitness m {ml_dsa.vkey}\nquorum m\n".encode())
    assert verify_log(log, policy=policy).status == VERIFIED
    stranger = Signer(ml_dsa.name, b"s" * 32, ML_DSA_KEY).verifier
    other = parse_policy(f"log {own.vkey}\nwitness m {stranger.vkey}\nquorum m\n".encode())
    assert [fault.rule for fault in verify_log(log, policy=other).faults] == [13]


def test_any_changed_byte_of_a_line_of_ml_dsa_makes_it_fail() -> None:
    signer = Signer("bank.example/log", b"m" * 32, ML_DSA_KEY)
    own = Signer("bank.example/log", b"o" * 32)
    text = "bank.example/log\n7\n" + "A" * 43 + "=\n"
    note = (text + "\n" + own.sign(text) + signer.cosign(text, 1_780_000_000)).encode()
    head = parse_checkpoint(note)
    assert head.witnessed_at(signer.verifier) == 1_780_000_000
    other = parse_checkpoint(note.replace(b"\n7\n", b"\n8\n", 1))
    assert other.witnessed_at(signer.verifier) is None
