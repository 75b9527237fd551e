"""How does one prove a single record? A C2SP `.tlog-proof` and the leaf it proves.

Both go to the person concerned; they hold without this ledger. A proof of inclusion is no proof
of completeness: that other records of the case exist is not in it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from audit.errors import EvidenceMalformed, NotInLedger
from audit.findings import BROKEN, SELF_CONSISTENT, VERIFIED, Fault
from audit.note import Checkpoint, parse_checkpoint
from audit.policy import NONE, Policy
from audit.tiles import (
    checkpoint_file,
    find_tile,
    saved_checkpoint_file,
    unpack_entries,
    write_atomically,
)
from audit.tree import (
    TILE_HEIGHT,
    TILE_WIDTH,
    NodeAt,
    inclusion_path,
    leaf_hash,
    root_by_path,
    root_of,
)

HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Proof:
    """One record's place below a checkpoint, as handed out."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes

    def as_text(self) -> bytes:
        rows = [HEADER, f"index {self.index}"]
        rows += [base64.b64encode(hashed).decode() for hashed in self.path]
        return "\n".join(rows).encode() + b"\n\n" + self.checkpoint


def parse_proof(data: bytes) -> Proof:
    """Read a `.tlog-proof`; `extra` lines are skipped, since nothing vouches for them."""
    front, _, checkpoint = data.partition(b"\n\n")
    rows = front.decode(errors="replace").split("\n")
    if rows[0] != HEADER:
        raise EvidenceMalformed(f"a proof begins with {HEADER}")
    rows = rows[2:] if len(rows) > 1 and rows[1].startswith("extra ") else rows[1:]
    if not rows or not rows[0].startswith("index ") or not rows[0][6:].isdigit():
        raise EvidenceMalformed("a proof names its index")
    try:
        path = tuple(base64.b64decode(row, validate=True) for row in rows[1:])
    except ValueError as error:
        raise EvidenceMalformed("a proof's hashes are base64") from error
    if any(len(hashed) != 32 for hashed in path) or len(path) > 63:
        raise EvidenceMalformed("a proof has at most 63 hashes of 32 bytes")
    return Proof(int(rows[0][6:]), path, checkpoint)


def proof_holds(proof: Proof, leaf: bytes) -> bool:
    """True when that leaf lies below the proof's checkpoint. Who signed it is asked elsewhere."""
    head = parse_checkpoint(proof.checkpoint)
    root = root_by_path(leaf_hash(leaf), proof.index, head.size, proof.path)
    return root is not None and root == head.root


@dataclass
class ProofReport:
    """What was found of a proof that was handed out. `faults` by the rules of audit/verify.py."""

    origin: str
    size: int
    index: int
    faults: list[Fault]
    open_questions: list[str]

    @property
    def status(self) -> int:
        if self.faults:
            return BROKEN
        return SELF_CONSISTENT if self.open_questions else VERIFIED


def check_proof(proof: bytes, leaf: bytes, policy: Policy | None = None) -> ProofReport:
    """Check what was handed out, by itself. Without a policy nobody is known who signed it."""
    given = parse_proof(proof)
    head = parse_checkpoint(given.checkpoint)
    report = ProofReport(head.origin, head.size, given.index, [], [])
    # 3. The leaf lies below the checkpoint's root.
    if not proof_holds(given, leaf):
        why = "the proof does not lead from this leaf to the checkpoint's root"
        report.faults.append(Fault(3, given.index, why))
    if policy is None or not policy.logs:
        report.open_questions.append("no policy that names the log: who signed it is not known")
    # 1. The log's key signed it.
    elif not any(head.signed_by(key) for key in policy.log_keys(head.origin)):
        report.faults.append(Fault(1, None, f"no key known for {head.origin} signed it"))
    # 13. The witnesses that the policy asks for have cosigned it.
    if policy is not None and policy.quorum == NONE:
        report.open_questions.append("the policy asks for no witness: the operator is not bound")
    elif policy is not None and not policy.is_met(
        lambda witness: head.witnessed_at(witness.verifier) is not None
    ):
        report.faults.append(Fault(13, None, f"the quorum {policy.quorum} is not met"))
    return report


def prove(log: Path, index: int, checkpoint: bytes | None = None) -> tuple[Proof, bytes]:
    """The proof of record `index` below the published checkpoint (or an older one), and its leaf.

    Refused: an index beyond the checkpoint (NotInLedger), tiles that don't give its root
    (EvidenceMalformed): no false proof is handed out.
    """
    data = checkpoint_file(log).read_bytes() if checkpoint is None else checkpoint
    head = parse_checkpoint(data)
    if not 0 <= index < head.size:
        raise NotInLedger(f"{head.origin} has records 0 to {head.size - 1}, no record {index}")
    leaf = read_leaf(log, index, head)
    path = tuple(inclusion_path(index, head.size, nodes_of_tiles(log, head.size)))
    proof = Proof(index, path, data)
    if not proof_holds(proof, leaf):
        raise EvidenceMalformed(f"the tiles of {log} do not give the root of its checkpoint")
    return proof, leaf


def write_proof(log: Path, index: int, out: Path) -> tuple[Path, Path]:
    """Write `<index>.tlog-proof` and `<index>.leaf.json`, and keep the checkpoint handed out."""
    proof, leaf = prove(log, index)
    size = parse_checkpoint(proof.checkpoint).size
    write_atomically(saved_checkpoint_file(log, size), proof.checkpoint)
    files = out / f"{index}.tlog-proof", out / f"{index}.leaf.json"
    write_atomically(files[0], proof.as_text())
    write_atomically(files[1], leaf)
    return files


def read_leaf(log: Path, index: int, head: Checkpoint) -> bytes:
    """The stored bytes of one record from the published entries."""
    n, offset = divmod(index, TILE_WIDTH)
    file = find_tile(log, "entries", n, min(TILE_WIDTH, head.size - n * TILE_WIDTH))
    leaves = [] if file is None else unpack_entries(file.read_bytes())
    if len(leaves) <= offset:
        raise EvidenceMalformed(f"the entries of {log} end before record {index}")
    return leaves[offset]


def nodes_of_tiles(log: Path, size: int) -> NodeAt:
    """Every perfect subtree of a published tree, read from its hash tiles."""
    read: dict[tuple[int, int], bytes] = {}

    def node(height: int, index: int) -> bytes:
        level, within = divmod(height, TILE_HEIGHT)
        start, count = index << within, 1 << within
        n, offset = divmod(start, TILE_WIDTH)
        if (level, n) not in read:
            width = min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - n * TILE_WIDTH)
            file = find_tile(log, str(level), n, width)
            read[level, n] = b"" if file is None else file.read_bytes()
        data = read[level, n][offset * 32 : (offset + count) * 32]
        if len(data) != count * 32:
            raise EvidenceMalformed(f"tile/{level} of {log} lacks tile {n}")
        return root_of(data[i : i + 32] for i in range(0, len(data), 32))

    return node
