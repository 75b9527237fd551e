"""Three stories that end before somebody who trusts nobody."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
import redis

from audit.errors import LedgerBehindRedis
from audit.export import bundle_records, export_case, verify_bundle
from audit.keys import log_signer, read_secret
from audit.leaf import decode
from audit.note import head_text, parse_checkpoint, parse_vkey
from audit.policy import Policy, parse_policy
from audit.prove import parse_proof
from audit.read import case_family
from audit.redis_inlet import STREAM, Inlet
from audit.tiles import payload_file, write_atomically
from audit.tree import leaf_hash, root_of
from audit.verify import SELF_CONSISTENT, VERIFIED, verify_ledger
from audit.witness import Witness, WitnessServer
from flows.parts import open_house
from flows.reconcile import reconcile
from risk import names
from tests.audit.conftest import OpenLedger
from tests.audit.records import Clock, log_path, record, story
from tests.audit.tools import Verdict

YEAR = 366 * 86_400_000_000


@pytest.fixture
def witnesses(tmp_path: Path, open_ledger: OpenLedger, clock: Clock) -> Iterator[list[str]]:
    """Two witnesses of this year's log and the next, run by others; their URLs.

    The policy lies beside the ledger.
    """
    open_ledger().close()
    secret = read_secret(tmp_path / "secrets" / "ledger.key")
    origin = parse_vkey((log_path(tmp_path) / "keys").read_text()).name
    keys = [log_signer(secret, origin[:-4] + year).verifier for year in ("2026", "2027")]
    servers, rows = [], [f"log {key.vkey}" for key in keys]
    for name in ("notary.example", "regulator.example"):
        witness = Witness(tmp_path / name, name, keys)
        server = WitnessServer(("127.0.0.1", 0), witness)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        servers.append(server)
        rows.append(f"witness {name} {witness.vkey}")
    rows += ["group both all notary.example regulator.example", "quorum both", ""]
    (tmp_path / "policy").write_text("\n".join(rows))
    yield [f"http://127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def policy_of(data: Path) -> Policy:
    return parse_policy((data / "policy").read_bytes())


def test_a_year_later_a_lawyer_verifies_a_disputed_payment_with_other_people_s_tools(
    tmp_path: Path,
    open_ledger: OpenLedger,
    clock: Clock,
    witnesses: list[str],
    go: Verdict,
    npm: Verdict,
    sigstore: Verdict,
) -> None:
    ledger = open_ledger(witnesses=witnesses)
    for n in range(80):
        ledger.append_many(story(f"e{n}", personal=n == 33, closed=n != 33))
        clock.advance()
    answer = record("answer", "e33", strength="signed", body={"decision": "confirm"})
    ledger.append_many([answer, record("case.closed", "e33", 1)])
    ledger.close()
    # A year later she says that it was not her; the fact goes on record after the case's end.
    clock.advance(YEAR)
    ledger = open_ledger(witnesses=witnesses)
    dispute = record("complaint", "e33", body={"says": "it was not me"})
    ledger.append_many([dispute, record("case.closed", "e33", 2)])
    ledger.close()
    out = tmp_path / "case.zip"
    policy = (tmp_path / "policy").read_bytes()
    export_case(tmp_path, "case-e33", out, disclose=["payee.name"], policy=policy)
    # Hers to keep: nothing of the bank's is needed from here on.
    shutil.move(tmp_path / "ledger", tmp_path / "out-of-reach")
    report = verify_bundle(out, policy=policy_of(tmp_path))
    assert (report.faults, report.status) == ([], VERIFIED)
    folder = tmp_path / "bundle"
    with zipfile.ZipFile(out) as bundle:
        bundle.extractall(folder)
    leaves = sorted((folder / "records").rglob("*.json"))
    assert len(leaves) == len(story("e33")) - 1 + 2 + 3
    for leaf in leaves:
        key = (folder / "logs" / leaf.parent.name / "keys").read_text()
        proof = leaf.with_suffix(".tlog-proof")
        parsed = parse_proof(proof.read_bytes())
        assert go("-proof", proof, leaf, tmp_path / "policy") == 0
        assert npm(parsed, leaf.read_bytes(), key) == 0
        assert sigstore(parsed, leaf.read_bytes()) == 0
    page = (folder / "timeline.html").read_text()
    assert "it was not me" in page
    assert "the bank could not have made it up" in page
    # What was changed for her eyes is found by all of them; what was left out, by ours alone.
    answered = next(leaf for leaf in leaves if decode(leaf.read_bytes())["kind"] == "answer")
    answer_proof = parse_proof(answered.with_suffix(".tlog-proof").read_bytes())
    lie = tmp_path / "lie.json"
    lie.write_bytes(answered.read_bytes().replace(b"confirm", b"deny"))
    assert go("-proof", answered.with_suffix(".tlog-proof"), lie, tmp_path / "policy") == 1
    key = (folder / "logs" / "1" / "keys").read_text()
    assert npm(answer_proof, lie.read_bytes(), key) == 1
    assert sigstore(answer_proof, lie.read_bytes()) == 1


def test_an_operator_who_rewrites_history_is_caught_by_the_quorum_and_by_a_kept_checkpoint(
    tmp_path: Path, open_ledger: OpenLedger, clock: Clock, witnesses: list[str]
) -> None:
    ledger = open_ledger(witnesses=witnesses)
    for n in range(50):
        ledger.append_many(story(f"e{n}"))
    ledger.publish()
    kept = (log_path(tmp_path) / "checkpoint").read_bytes()  # by a customer, with her receipt
    ledger.append_many(story("later"))
    ledger.close()
    assert verify_ledger(tmp_path / "ledger", policy=policy_of(tmp_path))[0].status == VERIFIED
    rewrite(tmp_path, "e7")
    # All is consistent with itself: he has the key.
    alone = verify_ledger(tmp_path / "ledger")[0]
    assert (alone.faults, alone.status) == ([], SELF_CONSISTENT)
    [report] = verify_ledger(tmp_path / "ledger", policy=policy_of(tmp_path))
    assert [fault.rule for fault in report.faults] == [13]
    [report] = verify_ledger(tmp_path / "ledger", old_checkpoints=[kept])
    assert [fault.rule for fault in report.faults] == [12]
    assert "history was rewritten" in str(report.first)
    # Nor do the witnesses follow him, should he start his writer on what he wrote.
    ledger = open_ledger(witnesses=witnesses)
    ledger.append_many(story("after"))
    ledger.close()
    [report] = verify_ledger(tmp_path / "ledger", policy=policy_of(tmp_path))
    assert [fault.rule for fault in report.faults] == [13]


def rewrite(data: Path, event: str) -> None:
    """Another score, with every chain, hash, tile and signature made to fit, in the store too."""
    db = sqlite3.connect(data / "ledger" / "ledger.db")
    rows = db.execute("SELECT position, leaf FROM records ORDER BY position").fetchall()
    stand: dict[str, tuple[int, str]] = {}
    changed: set[str] = set()
    hashes: list[bytes] = []
    for position, raw in rows:
        leaf = orjson.loads(raw)
        case = leaf["case"]
        if leaf["event"] == event and leaf["kind"] == "score":
            leaf["body"] = {"score": 1}
        if leaf["kind"] == "case.heads":
            lines = sorted(f"{one} {stand[one][0]} {stand[one][1]}" for one in changed)
            listing = "".join(line + "\n" for line in lines).encode()
            leaf["body"]["list"] = sha256(listing).hexdigest()
            leaf["body"]["root"] = root_of(leaf_hash(line.encode()) for line in lines).hex()
            write_atomically(payload_file(log_path(data), leaf["body"]["list"]), listing)
            changed.clear()
        if case in stand:
            leaf["case_prev"] = stand[case][1]
        made = orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS)
        hashes.append(leaf_hash(made))
        if case is not None:
            stand[case] = leaf["case_seq"], hashes[-1].hex()
            changed.add(case)
        db.execute(
            "UPDATE records SET leaf = ?, hash = ? WHERE position = ?", (made, hashes[-1], position)
        )
    origin, size, log = db.execute("SELECT origin, size, log FROM logs").fetchone()
    for n in range(size // 256):
        node = root_of(hashes[n * 256 : n * 256 + 256])
        db.execute("UPDATE nodes SET hash = ? WHERE log = ? AND n = ?", (node, log, n))
    text = head_text(origin, size, root_of(hashes))
    note = text + "\n" + log_signer(read_secret(data / "secrets" / "ledger.key"), origin).sign(text)
    db.execute("UPDATE logs SET root = ?, note = ?", (root_of(hashes), note))
    for case, (_, last) in stand.items():
        db.execute("UPDATE cases SET prev = ? WHERE name = ?", (bytes.fromhex(last), case))
    db.commit()
    db.close()
    published = log_path(data)
    for gone in ("tile", "checkpoints"):
        shutil.rmtree(published / gone)
    republish(data, note)


def republish(data: Path, note: str) -> None:
    from audit.publish import Publisher

    log = log_path(data)
    origin = parse_checkpoint(note.encode()).origin
    signer = log_signer(read_secret(data / "secrets" / "ledger.key"), origin)
    publisher = Publisher(data / "ledger", lambda _: [signer])
    publisher.publish()
    publisher.close()
    shutil.rmtree(log / "checkpoints")


def test_a_lost_ledger_is_told_by_what_redis_holds_and_what_a_bundle_proves(
    tmp_path: Path, redis_url: str, open_ledger: OpenLedger
) -> None:
    (tmp_path / "ringback.yaml").write_text(f"redis_url: {redis_url}\n")
    ledger = open_ledger()
    with redis.Redis.from_url(redis_url) as client:
        for event, decision in (("e1", "approve"), ("e2", "decline"), ("e3", "approve")):
            records = story(event)
            records[4]["body"] = {"decision": decision, "model": {"id": "m"}}
            client.xadd(STREAM, {"records": orjson.dumps(records)})
            told = {"event": event, "decision": decision, "decided": records[4]["at"]}
            client.set(names.decision(event), orjson.dumps(told))
        inlet = Inlet(redis_url, ledger)
        inlet.check()
        assert inlet.step() == 3
        ledger.close()
        bundles = [tmp_path / f"{event}.zip" for event in ("e2", "e3")]
        for bundle in bundles:
            export_case(tmp_path, f"case-{bundle.stem}", bundle)
        shutil.rmtree(tmp_path / "ledger")  # the disk is lost
        client.delete(names.decision("e3"))  # and Redis has let go of what is old
        # A new ledger must not go on in the place of the lost one.
        ledger = open_ledger()
        with pytest.raises(LedgerBehindRedis, match="must not go on in its place"):
            Inlet(redis_url, ledger).check()
        ledger.abandon()
        shutil.rmtree(tmp_path / "ledger")
        found = reconcile(open_house(tmp_path), bundles=bundles)
        assert [one.step for one in found.missing] == ["ledger"]
        assert found.apart == {
            "bundle_and_redis": ["e2"],
            "redis_alone": ["e1"],
            "bundle_alone": ["e3"],
        }
        # A Redis that now says something else is contradicted by what was handed out.
        client.set(names.decision("e2"), orjson.dumps({"decision": "approve", "decided": ""}))
        said = [str(one) for one in reconcile(open_house(tmp_path), bundles=bundles).missing]
        assert "decided e2: approve in Redis, decline in its bundle" in said
        # And a bundle that was tampered with proves nothing.
        bundles[0].write_bytes(bundles[0].read_bytes().replace(b"decline", b"approve"))
        found = reconcile(open_house(tmp_path), bundles=bundles[:1])
        assert [one.step for one in found.missing] == ["ledger", "bundle"]
        inlet.close()


def test_the_records_of_a_bundle_are_those_of_the_case(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    ledger.append_many(story("e1"))
    ledger.close()
    export_case(tmp_path, "case-e1", tmp_path / "e1.zip")
    rids = {leaf["rid"] for leaf in bundle_records(tmp_path / "e1.zip")}
    assert rids == {leaf["rid"] for leaf in case_family(tmp_path, "case-e1")}
