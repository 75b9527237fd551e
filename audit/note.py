"""Who signed this head? C2SP signed notes, verifier keys, checkpoints and cosignatures.

    origin \n size \n base64(root) \n \n
    — origin base64(4-byte key id, signature)            type 0x01: the log
    — witness base64(4-byte key id, time, signature)     type 0x04: cosignature/v1
    — name base64(4-byte key id, time, signature)        type 0x06: the same by ML-DSA-44

Formats: https://c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature. Lines of unknown keys
are ignored, as the format demands; a line of a known key that does not verify is an error.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.errors import EvidenceMalformed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

LOG_KEY = 0x01
WITNESS_KEY = 0x04
ML_DSA_KEY = 0x06
KINDS = {LOG_KEY: "log", WITNESS_KEY: "witness", ML_DSA_KEY: "ML-DSA-44 witness"}
WITNESS_KINDS = (WITNESS_KEY, ML_DSA_KEY)
_KEY_BYTES = {LOG_KEY: 32, WITNESS_KEY: 32, ML_DSA_KEY: 1312}
_COSIGNATURE_BYTES = {WITNESS_KEY: 8 + 64, ML_DSA_KEY: 8 + 2420}


@dataclass(frozen=True)
class Verifier:
    """A public key with the name it signs under; `vkey` is its C2SP text."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        key = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def accepts(self, message: bytes, signature: bytes) -> bool:
        try:
            if self.kind == ML_DSA_KEY:
                from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True


def parse_vkey(text: str) -> Verifier:
    """Read `<name>+<key id>+<base64 key>`. Refused: an unknown type, an id that isn't the key's."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3:
        raise EvidenceMalformed(f"a verifier key is <name>+<id>+<key>, got {text[:80]!r}")
    name, key_id, encoded = parts
    _check_name(name)
    key = _unbase64(encoded, "verifier key")
    if not key or key[0] not in KINDS or len(key) != 1 + _KEY_BYTES[key[0]]:
        raise EvidenceMalformed(
            f"the key of {name} is no Ed25519 log (1) or witness (4) key, nor one of ML-DSA-44 (6)"
        )
    verifier = Verifier(name, key[0], key[1:])
    if verifier.key_id.hex() != key_id:
        raise EvidenceMalformed(f"the key of {name} has id {verifier.key_id.hex()}, not {key_id}")
    return verifier


class Signer:
    """A private key with the name it signs under. Never logged, never in a leaf."""

    def __init__(self, name: str, seed: bytes, kind: int = LOG_KEY) -> None:
        _check_name(name)
        self._key: Ed25519PrivateKey | MLDSA44PrivateKey
        if kind == ML_DSA_KEY:  # newer than the rest: who doesn't use it needn't have it
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

            self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        else:
            self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, kind, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The signature line of a log over a note's text."""
        return self._line(self._key.sign(text.encode()))

    def cosign(self, text: str, time: int) -> str:
        """The signature line of a witness: it saw this head, consistent, at `time` (POSIX s)."""
        signed = self._key.sign(_cosigned(self.verifier, text, time))
        return self._line(time.to_bytes(8, "big") + signed)

    def _line(self, signature: bytes) -> str:
        packed = base64.b64encode(self.verifier.key_id + signature).decode()
        return f"— {self.verifier.name} {packed}\n"


@dataclass(frozen=True)
class Line:
    """One signature line as it stands in the note."""

    name: str
    key_id: bytes
    signature: bytes

    def is_of(self, verifier: Verifier) -> bool:
        return self.name == verifier.name and self.key_id == verifier.key_id


@dataclass(frozen=True)
class Checkpoint:
    """A tree head with its signatures, unverified until asked."""

    origin: str
    size: int
    root: bytes
    text: str
    lines: tuple[Line, ...] = field(default=())

    def signed_by(self, verifier: Verifier) -> bool:
        """True when a line of that log key is there and verifies; one bad line spoils it."""
        found = [line for line in self.lines if line.is_of(verifier)]
        return bool(found) and all(
            verifier.accepts(self.text.encode(), line.signature) for line in found
        )

    def witnessed_at(self, verifier: Verifier) -> int | None:
        """The witness's own time (POSIX s) if that witness cosigned this head, else None."""
        for line in self.lines:
            if line.is_of(verifier) and len(line.signature) == _COSIGNATURE_BYTES[verifier.kind]:
                time = int.from_bytes(line.signature[:8], "big")
                message = _cosigned(verifier, self.text, time)
                if verifier.accepts(message, line.signature[8:]):
                    return time
        return None

    def witness_names(self) -> list[str]:
        sizes = _COSIGNATURE_BYTES.values()
        return [line.name for line in self.lines if len(line.signature) in sizes]


def head_text(origin: str, size: int, root: bytes) -> str:
    """The text of a checkpoint, which is what gets signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Read a signed checkpoint strictly. Refused: no blank line, odd numbers, repeated lines."""
    try:
        note = data.decode()
    except UnicodeDecodeError as error:
        raise EvidenceMalformed("a checkpoint is UTF-8 text") from error
    if any(ord(sign) < 0x20 and sign != "\n" for sign in note):
        raise EvidenceMalformed("a checkpoint holds no control character but the newline")
    split = note.rfind("\n\n")
    if split < 0 or not note.endswith("\n"):
        raise EvidenceMalformed("a checkpoint is text, an empty line and signature lines")
    text, signatures = note[: split + 1], note[split + 2 :]
    rows = text[:-1].split("\n")
    if len(rows) < 3 or not all(rows):
        raise EvidenceMalformed("a checkpoint begins with origin, size and root")
    origin, size, root = rows[0], rows[1], _unbase64(rows[2], "root")
    if not size.isascii() or not size.isdigit() or (size != "0" and size[0] == "0"):
        raise EvidenceMalformed(f"a checkpoint's size is a plain decimal, got {size[:40]!r}")
    if len(size) > 19 or len(root) != 32:
        raise EvidenceMalformed("a checkpoint's root has 32 bytes and its size at most 19 digits")
    lines = tuple(parse_line(row) for row in signatures[:-1].split("\n"))
    if not signatures or len({(line.name, line.key_id) for line in lines}) != len(lines):
        raise EvidenceMalformed("a checkpoint has signatures, and each key signs once")
    return Checkpoint(origin, int(size), root, text, lines)


def parse_line(row: str) -> Line:
    """Read one `— <name> <base64>` line."""
    parts = row.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise EvidenceMalformed(f"a signature line is '— <name> <base64>', got {row[:80]!r}")
    _check_name(parts[1])
    packed = _unbase64(parts[2], "signature")
    if len(packed) < 5:
        raise EvidenceMalformed("a signature has a key id of 4 bytes and a signature after it")
    return Line(parts[1], packed[:4], packed[4:])


def _cosigned(verifier: Verifier, text: str, time: int) -> bytes:
    if verifier.kind != ML_DSA_KEY:
        return f"cosignature/v1\ntime {time}\n{text}".encode()
    # The ML-DSA-44 message names the cosigner and the tree itself, whatever else is in the note.
    origin, size, root = text.split("\n")[:3]
    named = [len(part).to_bytes() + part for part in (verifier.name.encode(), origin.encode())]
    tree = (0).to_bytes(8) + int(size).to_bytes(8) + base64.b64decode(root)
    return b"subtree/v1\n\0" + named[0] + time.to_bytes(8) + named[1] + tree


def _check_name(name: str) -> None:
    if not name or "+" in name or any(sign.isspace() for sign in name):
        raise EvidenceMalformed(f"a key's name has no space and no '+', got {name[:80]!r}")


def _unbase64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceMalformed(f"the {what} is no base64: {text[:80]!r}") from error
    if base64.b64encode(data).decode() != text:
        raise EvidenceMalformed(f"the {what} is base64 with stray bits: {text[:80]!r}")
    return data
