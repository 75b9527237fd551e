"""PyPI sigstore (its private parts): reads the checkpoint as a note, and checks inclusion.

usage: python verify.py, with {checkpoint, index, hashes, leaf} as JSON on stdin; status 1 refuses.
Runs in an environment of its own, and knows nothing of audit/.
"""

import base64
import json
import sys
from types import SimpleNamespace

from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import LogCheckpoint, SignedNote
from sigstore.errors import VerificationError

told = json.load(sys.stdin)
note = SignedNote.from_text(told["checkpoint"])
head = LogCheckpoint.from_text(note.note)
inclusion = SimpleNamespace(
    log_index=told["index"],
    tree_size=head.log_size,
    root_hash=bytes.fromhex(head.log_hash),
    hashes=[base64.b64decode(one) for one in told["hashes"]],
)
leaf = base64.b64decode(told["leaf"])
entry = SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=inclusion, canonicalized_body=leaf))
try:
    verify_merkle_inclusion(entry)
except VerificationError as refused:
    sys.exit(f"refused: {refused}")
