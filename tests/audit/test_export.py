"""The bundle of one case, as a lawyer gets it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from audit.cli import main
from audit.errors import EvidenceMalformed, KeyMissing, NotInLedger
from audit.export import export_case, verify_bundle
from audit.policy import parse_policy
from audit.verify import SELF_CONSISTENT
from tests.audit.conftest import OpenLedger
from tests.audit.records import Clock, log_path, record, story


@pytest.fixture
def data(tmp_path: Path, open_ledger: OpenLedger, clock: Clock) -> Path:
    ledger = open_ledger()
    for n in range(60):
        ledger.append_many(story(f"e{n}", personal=n == 7))
        clock.advance()
        if n % 15 == 0:
            ledger.publisher.publish(keep=True)
    answer = record("answer", "e7", strength="claimed", body={"decision": "deny <b>"})
    ledger.append_many([answer, record("case.closed", "e7", 2)])
    ledger.close()
    return tmp_path


def test_the_bundle_of_a_case_holds_by_itself_and_is_the_same_twice(data: Path) -> None:
    out = data / "case.zip"
    names = export_case(data, "case-e7", out, disclose=["payee.name"])
    report = verify_bundle(out)
    assert report.faults == []
    assert report.records == 6 + 3
    assert report.status == SELF_CONSISTENT
    assert sum(name.endswith(".tlog-proof") for name in names) == 9
    assert sum(name.endswith(".consistency") for name in names) == 2
    again = data / "again.zip"
    export_case(data, "case-e7", again, disclose=["payee.name"])
    assert again.read_bytes() == out.read_bytes()
    with zipfile.ZipFile(out) as bundle:
        page = bundle.read("timeline.html").decode()
        opened = json.loads(bundle.read("disclosures.json"))
    assert [item["value"] for item in opened] == ["ACME 株式会社"]
    assert "payee.name: ACME 株式会社" in page
    assert "memo: sealed" in page
    assert "deny &lt;b&gt;" in page
    assert "it rests on that server" in page
    assert "The customer answered\n(answer)" in page
    assert "rent" not in page


def rewrite(source: Path, out: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    """Change a bundle's files and make its manifest fit again, as a forger would."""
    with zipfile.ZipFile(source) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    edit(files)
    manifest = json.loads(files.pop("manifest.json"))
    manifest["files"] = {name: sha256(text).hexdigest() for name, text in files.items()}
    files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(out, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return out


def in_order(files: dict[str, bytes]) -> list[str]:
    names = [name for name in files if name.startswith("records/") and name.endswith(".json")]
    return sorted(names, key=lambda name: int(Path(name).stem))


def drop(which: int) -> Callable[[dict[str, bytes]], None]:
    def edit(files: dict[str, bytes]) -> None:
        name = in_order(files)[which]
        del files[name], files[name.removesuffix(".json") + ".tlog-proof"]

    return edit


def change(which: int, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def edit(files: dict[str, bytes]) -> None:
        name = in_order(files)[which]
        assert old in files[name]
        files[name] = files[name].replace(old, new)

    return edit


def swap_proofs(files: dict[str, bytes]) -> None:
    names = [name.removesuffix(".json") + ".tlog-proof" for name in in_order(files)]
    files[names[2]], files[names[3]] = files[names[3]], files[names[2]]


def lie_about_the_name(files: dict[str, bytes]) -> None:
    files["disclosures.json"] = files["disclosures.json"].replace(b"ACME", b"EVIL")


@pytest.mark.parametrize(
    ("edit", "rule", "place"),
    [
        (drop(3), 8, 4),
        (drop(5), 10, 6),
        (change(4, b'"n":0', b'"n":1'), 3, 4),
        (swap_proofs, 3, 2),
        (lie_about_the_name, 16, 1),
    ],
)
def test_a_bundle_that_was_tampered_with_names_the_record_and_the_rule(
    data: Path, edit: Callable[[dict[str, bytes]], None], rule: int, place: int
) -> None:
    out = data / "case.zip"
    export_case(data, "case-e7", out, disclose=["payee.name"])
    with zipfile.ZipFile(out) as bundle:
        names = in_order(dict.fromkeys(bundle.namelist(), b""))
    report = verify_bundle(rewrite(out, data / "forged.zip", edit))
    assert report.faults
    first = report.faults[0]
    assert (first.rule, first.index) == (rule, int(Path(names[place]).stem)), str(first)
    assert main(["verify-bundle", str(data / "forged.zip")]) == 1


def test_a_case_that_is_open_or_whose_end_was_cut_is_not_called_complete(data: Path) -> None:
    out = data / "case.zip"
    export_case(data, "case-e7", out)
    report = verify_bundle(rewrite(out, data / "cut.zip", drop(8)))
    assert report.faults == []
    assert any("may have later records" in question for question in report.open_questions)


def test_a_file_that_the_manifest_does_not_know_so_is_a_fault(data: Path) -> None:
    out = data / "case.zip"
    export_case(data, "case-e7", out)
    with zipfile.ZipFile(out) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    files["timeline.html"] += b"<p>innocent</p>"
    with zipfile.ZipFile(out, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    assert [fault.rule for fault in verify_bundle(out).faults] == [15]


def test_a_policy_from_elsewhere_is_asked(data: Path) -> None:
    out = data / "case.zip"
    export_case(data, "case-e7", out, policy=b"quorum none\n")
    key = (log_path(data) / "keys").read_text().strip()
    assert (
        verify_bundle(out, policy=parse_policy(f"log {key}\nquorum none\n".encode())).faults == []
    )
    other = Path(__file__).resolve().parents[1] / "assets" / "ledgers" / "policy"
    faults = verify_bundle(out, policy=parse_policy(other.read_bytes())).faults
    assert {fault.rule for fault in faults} == {1, 13}


def test_what_is_not_there_or_forgotten_is_refused(data: Path, open_ledger: OpenLedger) -> None:
    with pytest.raises(NotInLedger):
        export_case(data, "case-unknown", data / "case.zip")
    ledger = open_ledger()
    ledger.append_many([record("key.destroyed", None, 1, subject="acc_e7")])
    ledger.close()
    export_case(data, "case-e7", data / "case.zip")
    with pytest.raises(KeyMissing):
        export_case(data, "case-e7", data / "case.zip", disclose=["payee.name"])
    (data / "case.zip").write_bytes(b"no zip")
    with pytest.raises(EvidenceMalformed):
        verify_bundle(data / "case.zip")


def test_an_older_checkpoint_that_is_no_beginning_of_the_log_is_found(data: Path) -> None:
    export_case(data, "case-e7", data / "case.zip")

    def swapped(files: dict[str, bytes]) -> None:
        first, second = sorted(name for name in files if name.endswith(".consistency"))
        files[first], files[second] = files[second], files[first]

    def cut(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.endswith(".consistency"))
        rows = files[name].split(b"\n")
        files[name] = b"\n".join([rows[0], *rows[2:]])

    def gone(files: dict[str, bytes]) -> None:
        del files[next(name for name in files if name.endswith(".consistency"))]

    for edit in (swapped, cut, gone):
        report = verify_bundle(rewrite(data / "case.zip", data / "bad.zip", edit))
        assert {fault.rule for fault in report.faults} == {12}, edit
