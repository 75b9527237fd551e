"""A witness cosigns a log that only grows, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.errors import WitnessRefused
from audit.keys import log_signer
from audit.note import Signer, head_text, parse_checkpoint, parse_line, parse_vkey
from audit.policy import parse_policy
from audit.tree import consistency_path, leaf_hash, nodes_in, root_of
from audit.verify import VERIFIED, verify_ledger
from audit.witness import Witness, WitnessServer, ask_witness, request_of
from tests.audit.conftest import OpenLedger
from tests.audit.records import log_path, story

ORIGIN = "bank.example/ringback/main/rc10y/2026"
LOG = log_signer(bytes(32), ORIGIN)
HASHES = [leaf_hash(str(n).encode()) for n in range(40)]
OTHER = [leaf_hash(b"another"), *HASHES[1:]]


def checkpoint(size: int, hashes: list[bytes] = HASHES, signer: Signer = LOG) -> bytes:
    text = head_text(ORIGIN, size, root_of(hashes[:size]))
    return (text + "\n" + signer.sign(text)).encode()


def request(old: int, size: int, hashes: list[bytes] = HASHES) -> bytes:
    path = consistency_path(old, size, nodes_in(hashes))
    return request_of(old, path, checkpoint(size, hashes))


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(
        tmp_path / "witness", "witness.example", [LOG.verifier], now=lambda: 1_780_000_000
    )


def test_a_log_that_grows_is_cosigned_with_the_time(witness: Witness) -> None:
    for old, size in ((0, 7), (7, 7), (7, 32), (32, 40)):
        answer = witness.add_checkpoint(request(old, size))
        assert answer.status == 200, answer
        line = answer.body.decode()
        assert parse_line(line[:-1]).is_of(witness.verifier)
        head = parse_checkpoint(checkpoint(size) + answer.body)
        assert head.witnessed_at(witness.verifier) == 1_780_000_000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (request(0, 9), 409),
        (request_of(9, [], checkpoint(8)), 400),
        (request_of(7, [], checkpoint(9)), 422),
        (request(7, 20, OTHER), 422),
        (request(7, 7, OTHER), 409),
        (request_of(7, [], checkpoint(9, signer=log_signer(bytes([1]) * 32, ORIGIN))), 403),
        (request(7, 9).replace(ORIGIN.encode(), b"other.example"), 404),
        (b"old 07\n\n" + checkpoint(9), 400),
        (b"new 7\n\n" + checkpoint(9), 400),
        (b"old 7\n!!\n\n" + checkpoint(9), 400),
        (b"", 400),
    ],
)
def test_whatever_does_not_continue_what_was_seen_is_refused(
    witness: Witness, body: bytes, status: int
) -> None:
    assert witness.add_checkpoint(request(0, 7)).status == 200
    answer = witness.add_checkpoint(body)
    assert answer.status == status
    if status == 409:
        assert (answer.kind, answer.body) == ("text/x.tlog.size", b"7\n")
    assert witness.add_checkpoint(request(7, 8)).status == 200


def test_a_witness_remembers_over_a_restart(witness: Witness, tmp_path: Path) -> None:
    assert witness.add_checkpoint(request(0, 20)).status == 200
    again = Witness(tmp_path / "witness", "witness.example", [LOG.verifier])
    assert again.verifier == witness.verifier
    assert again.add_checkpoint(request(0, 5)).status == 409
    assert again.add_checkpoint(request(20, 21)).status == 200


@pytest.fixture
def serve() -> Iterator[list[WitnessServer]]:
    servers: list[WitnessServer] = []
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def start(servers: list[WitnessServer], witness: Witness) -> str:
    server = WitnessServer(("127.0.0.1", 0), witness)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    servers.append(server)
    return f"http://127.0.0.1:{server.server_port}"


def test_a_ledger_with_two_witnesses_verifies_and_rewriting_it_is_caught(
    tmp_path: Path, open_ledger: OpenLedger, serve: list[WitnessServer]
) -> None:
    open_ledger().close()
    keys = (log_path(tmp_path) / "keys").read_text().strip()
    witnesses = [Witness(tmp_path / f"w{n}", f"w{n}.example", [parse_vkey(keys)]) for n in (1, 2)]
    urls = [start(serve, witness) for witness in witnesses]
    ledger = open_ledger(witnesses=[*urls, "http://127.0.0.1:1"])
    for n in range(60):
        ledger.append_many(story(f"e{n}"))
        if n % 20 == 0:
            ledger.publish()
    ledger.close()
    rows = [f"log {keys}", *(f"witness w{n} {w.vkey}" for n, w in enumerate(witnesses))]
    policy = parse_policy("\n".join([*rows, "group both all w0 w1", "quorum both", ""]).encode())
    report = verify_ledger(tmp_path / "ledger", policy=policy)[0]
    assert report.faults == []
    assert report.status == VERIFIED
    # The operator writes another history with the same key: no witness follows him.
    head = parse_checkpoint((log_path(tmp_path) / "checkpoint").read_bytes())
    signer = log_signer(
        bytes.fromhex((tmp_path / "secrets" / "ledger.key").read_text().strip()), head.origin
    )
    text = head_text(head.origin, head.size, bytes(32))
    forged = (text + "\n" + signer.sign(text)).encode()
    with pytest.raises(WitnessRefused) as refusal:
        ask_witness(urls[0], head.size, [], forged)
    assert refusal.value.status == 409
    (log_path(tmp_path) / "checkpoint").write_bytes(forged)
    rules = {fault.rule for fault in verify_ledger(tmp_path / "ledger", policy=policy)[0].faults}
    assert {3, 13} <= rules
