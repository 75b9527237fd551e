"""What the verifier finds, and what it says it can't."""

from __future__ import annotations

import importlib.util
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.cli import main
from audit.errors import EvidenceMalformed
from audit.note import parse_checkpoint
from audit.policy import Policy, parse_policy
from audit.prove import parse_proof, proof_holds, prove, write_proof
from audit.verify import (
    RULES,
    SELF_CONSISTENT,
    VERIFIED,
    Report,
    find_logs,
    verify_ledger,
    verify_log,
)
from tests.audit.conftest import OpenLedger
from tests.audit.records import log_path, record, story

ASSETS = Path(__file__).resolve().parents[1] / "assets" / "ledgers"
EXPECTED: dict[str, dict[str, Any]] = json.loads((ASSETS / "expected.json").read_text())


def policy(quorum: str = "") -> Policy:
    text = (ASSETS / "policy").read_bytes()
    return parse_policy(
        text.replace(b"two-of-three 2", b"two-of-three " + (quorum or "2").encode())
    )


def ask(name: str) -> Report:
    wanted = EXPECTED[name]
    reports = verify_ledger(
        ASSETS / name,
        policy=policy() if wanted["policy"] else None,
        old_checkpoints=[(ASSETS / file).read_bytes() for file in wanted["old"]],
    )
    return next((report for report in reports if report.faults), reports[0])


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_attack_is_caught_by_its_first_bad_record_and_its_rule(name: str) -> None:
    report = ask(name)
    assert report.first is not None
    found = {"index": report.first.index, "rule": report.first.rule}
    assert found == {key: EXPECTED[name][key] for key in ("index", "rule")}, str(report.first)
    assert report.status == 1


def test_the_untouched_twin_passes() -> None:
    old = [file.read_bytes() for file in sorted(ASSETS.glob("saved-*.checkpoint"))]
    report = verify_ledger(ASSETS / "whole", policy=policy(), old_checkpoints=old)[0]
    assert report.faults == []
    assert report.status == VERIFIED
    assert len(report.witnesses) == 3


def test_every_rule_has_an_attack_that_breaks_it() -> None:
    broken = {fault.rule for name in EXPECTED for fault in ask(name).faults}
    assert broken == set(RULES)


def test_every_kept_ledger_is_expected_to_fail_by_name() -> None:
    kept = {path.name for path in ASSETS.iterdir() if any(path.rglob("checkpoint"))}
    assert kept == {*EXPECTED, "whole", "format-1", "a-case-that-moved"}


def test_swapped_keys_are_seen_by_who_got_the_policy_elsewhere_and_by_nobody_else() -> None:
    name = "keys-swapped-with-the-log-and-witness-keys"
    [alone] = verify_ledger(ASSETS / name)
    assert (alone.faults, alone.status) == ([], SELF_CONSISTENT)
    assert "nothing here binds the operator" in str(alone.open_questions)
    assert {fault.rule for fault in ask(name).faults} == {1, 13}


def test_the_untouched_twin_of_a_moved_case_passes() -> None:
    reports = verify_ledger(ASSETS / "a-case-that-moved")
    assert [report.faults for report in reports] == [[], []]


def test_the_kept_ledgers_are_what_their_generator_makes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_ledgers", ASSETS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["make_ledgers"] = module
    try:
        spec.loader.exec_module(module)
        module.make(tmp_path)
    finally:
        del sys.modules["make_ledgers"]
    for made in sorted(tmp_path.rglob("*")):
        if made.is_file():
            assert (ASSETS / made.relative_to(tmp_path)).read_bytes() == made.read_bytes()


def test_a_ledger_written_in_format_1_still_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    report = verify_log(ASSETS / "format-1")
    assert report.faults == []
    assert report.size == 324
    assert report.closed == 50
    monkeypatch.setattr("audit.entries.PARALLEL_FROM", 1)
    assert verify_log(ASSETS / "format-1", workers=2) == report


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_changed_byte_in_the_ledger_is_found(tmp_path: Path, data: st.DataObject) -> None:
    source = ASSETS / "whole"
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.name != "keys")
    file = data.draw(st.sampled_from(files))
    original = file.read_bytes()
    folder = tmp_path / "log"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    changed = bytearray(original)
    match data.draw(st.sampled_from(["flip", "cut", "append", "remove"])):
        case "flip":
            at = data.draw(st.integers(0, len(changed) - 1))
            changed[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del changed[data.draw(st.integers(0, len(changed) - 1)) :]
        case "append":
            changed += data.draw(st.binary(min_size=1, max_size=40))
        case "remove":
            changed = bytearray()
    target = folder / file.relative_to(source)
    if changed or file.parent.name != "checkpoints":
        target.write_bytes(changed)
        assert verify_log(folder, policy=policy("all")).status == 1
    target.write_bytes(original)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_changed_byte_in_a_ledger_of_several_tiles_is_found(
    tmp_path: Path, data: st.DataObject
) -> None:
    source = ASSETS / "format-1"
    folder = tmp_path / "log"
    if not folder.exists():
        shutil.copytree(source, folder)
    tiles = sorted(path for path in (source / "tile").rglob("*") if path.is_file())
    file = data.draw(st.sampled_from(tiles))
    original = file.read_bytes()
    changed = bytearray(original)
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    target = folder / file.relative_to(source)
    target.write_bytes(changed)
    report = verify_log(folder)
    target.write_bytes(original)
    assert report.status == 1
    assert report.first is not None
    assert report.first.index is not None


def test_a_proof_of_one_record_shown_with_another_does_not_hold(tmp_path: Path) -> None:
    proof, leaf = prove(ASSETS / "whole", 9)
    _, another = prove(ASSETS / "whole", 10)
    assert proof_holds(proof, leaf)
    assert not proof_holds(proof, another)
    shutil.copytree(ASSETS / "whole", tmp_path / "log")
    files = write_proof(tmp_path / "log", 9, tmp_path)
    assert parse_proof(files[0].read_bytes()) == proof
    assert files[1].read_bytes() == leaf
    head = parse_checkpoint(proof.checkpoint)
    assert (tmp_path / "log" / "checkpoints" / str(head.size)).read_bytes() == proof.checkpoint


def test_no_false_proof_is_handed_out() -> None:
    with pytest.raises(EvidenceMalformed, match="do not give the root"):
        prove(ASSETS / "a-tile-forged", 9)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["verify", str(ASSETS / "whole"), "--policy", str(ASSETS / "policy")], 0),
        (["verify", str(ASSETS / "whole")], 3),
        (["verify", str(ASSETS / "two-swapped")], 1),
        (["verify", str(ASSETS / "nowhere")], 2),
        (["verify", str(ASSETS / "whole"), "--policy", str(ASSETS / "make.py")], 2),
        (["prove", str(ASSETS / "whole"), "99"], 2),
    ],
)
def test_the_exit_status_says_what_was_found(arguments: list[str], status: int) -> None:
    assert main(arguments) == status


def test_the_json_names_the_first_bad_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(ASSETS / "two-swapped"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["logs"][0]["first_bad"]["index"] == 8
    assert found["logs"][0]["first_bad"]["rule"] == 4


def test_an_unfinished_log_says_what_is_not_established(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many([*story("e1", closed=False), record("note", None)])
    ledger.publish()
    ledger.abandon()
    report = verify_log(log_path(tmp_path))
    assert report.faults == []
    assert report.uncovered == 1
    assert any("no log.stop" in question for question in report.open_questions)
    assert any("1 open cases" in question for question in report.open_questions)


def test_a_saved_checkpoint_of_a_log_that_is_not_there_is_a_fault(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    open_ledger().close()
    old = (ASSETS / "saved-8.checkpoint").read_bytes()
    moved = old.replace(b"rc10y/2026", b"rc10y/2025")
    report = verify_ledger(tmp_path / "ledger", old_checkpoints=[moved])[0]
    assert report.first is not None
    assert report.first.rule == 12


@pytest.mark.parametrize("size", [8, 14, 20])
def test_what_was_verified_before_is_only_hashed(size: int) -> None:
    saved = (ASSETS / f"saved-{size}.checkpoint").read_bytes()
    [report] = verify_ledger(ASSETS / "whole", policy=policy(), since=[saved])
    assert report.faults == []
    assert any("only the root was compared" in question for question in report.open_questions)


def test_since_a_checkpoint_the_new_part_is_held_to_the_rules_and_the_old_to_its_root() -> None:
    saved = (ASSETS / "saved-8.checkpoint").read_bytes()

    def rules(name: str) -> set[int]:
        [report] = verify_ledger(ASSETS / name, since=[saved])
        return {fault.rule for fault in report.faults}

    # Faults after the checkpoint are found as ever, except what needs the part before it.
    after = {"a-number-with-a-fraction", "a-record-after-the-close", "a-follow-up-of-another-end",
             "a-close-that-counts-wrong", "a-byte-flipped"}  # fmt: skip
    for name in after:
        assert EXPECTED[name]["rule"] in rules(name), name
    # What was rewritten before it no longer gives its root.
    later = (ASSETS / "saved-14.checkpoint").read_bytes()
    [rewritten] = verify_ledger(ASSETS / "history-rewritten-with-the-key", since=[later])
    assert {fault.rule for fault in rewritten.faults} == {12}
    assert 12 in rules("a-case-that-nobody-opened")


def test_a_long_log_is_verified_from_the_middle_on(tmp_path: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    for n in range(70):
        ledger.append_many(story(f"e{n}", closed=n % 7 > 0, personal=n % 50 == 0))
    ledger.publish()
    saved = (log_path(tmp_path) / "checkpoint").read_bytes()
    for n in range(70, 150):
        ledger.append_many(story(f"e{n}", closed=n % 7 > 0, personal=n % 50 == 0))
    ledger.append_many([record("label", f"e{n}", 1) for n in range(150)])
    ledger.append_many([record("case.closed", f"e{n}", 2) for n in range(0, 150, 7)])
    ledger.close()
    [report] = verify_ledger(tmp_path / "ledger", since=[saved])
    assert report.faults == []
    assert verify_ledger(tmp_path / "ledger")[0].faults == []


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_run_by_run_and_record_by_record_the_same_is_found(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = [report.as_json() for report in verify_ledger(ASSETS / name)]
    with monkeypatch.context() as patch:
        patch.setattr("audit.chain.Chain.absorb", lambda *_: False)
        slow = [report.as_json() for report in verify_ledger(ASSETS / name)]
    assert quick == slow


def test_a_whole_log_is_taken_run_by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a record of the whole ledger was looked at by itself")

    monkeypatch.setattr("audit.verify.seen", never)
    assert verify_log(ASSETS / "whole").faults == []


def test_logs_are_not_looked_for_among_tiles_that_a_writer_replaces(tmp_path: Path) -> None:
    log, tile = tmp_path / "main" / "rc10y" / "2026", "tile/0/006.p"
    (log / tile).mkdir(parents=True)
    for folder in (log, log / tile):
        (folder / "checkpoint").write_bytes(b"")
    assert find_logs(tmp_path) == [log]


def test_a_ledger_that_is_being_written_gives_no_false_alarm(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.publish()

    def write() -> None:
        for n in range(400):
            ledger.append_many(story(f"e{n}"))
            if n % 3 == 0:
                ledger.publish()

    writing = threading.Thread(target=write)
    writing.start()
    rounds, before = 0, 0
    while writing.is_alive() or not rounds:
        [report] = verify_ledger(tmp_path / "ledger")
        assert report.faults == []
        assert report.size >= before
        rounds, before = rounds + 1, report.size
    writing.join()
    assert rounds > 1
    ledger.close()
    assert verify_log(log_path(tmp_path)).faults == []
