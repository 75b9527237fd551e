"""Who changes the judgement? People, each with a signing key of their own.

``ringback staff add NAME`` makes an Ed25519 key: the private half goes to a file that only its
owner should have, the public half stays. A change is signed by who proposes it and by who approves
it, and the signatures are on record.

What it doesn't prove: that the holder of the file is the person (no sign-in, no second factor),
and that whoever keeps the machine made no person of their own; that a person was made is on
record, too.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from flows.errors import FlowError

#: What a person may be allowed: to propose, to approve, to keep lists, to force an outcome.
RIGHTS = ("propose", "approve", "lists", "force")
USUAL = ("propose", "approve", "lists")
KEY_VARIABLE = "RINGBACK_KEY"
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")


class NotAllowed(FlowError):
    """Somebody who may not do this: unknown, without the right, or with another's key."""


@dataclass(frozen=True)
class Person:
    """Somebody with a key; ``sign`` makes the hexadecimal signature of a text."""

    name: str
    rights: tuple[str, ...]
    key: Ed25519PrivateKey = field(repr=False)

    def sign(self, text: str) -> str:
        """The signature of a text, in hexadecimal digits."""
        return self.key.sign(text.encode()).hex()

    def need(self, right: str) -> None:
        """Raise `NotAllowed` without the right."""
        if right not in self.rights:
            got = ", ".join(self.rights) or "none"
            raise NotAllowed(
                f"staff: {self.name}: needed the right {right!r}, got {got}; "
                f"ringback staff add {self.name} --right {right} gives it"
            )


def _folder(data: Path) -> Path:
    return data / "secrets" / "staff"


def _register(data: Path, name: str) -> Path:
    return _folder(data) / f"{name}.json"


def add(data: Path, name: str, rights: Sequence[str], out: Path | None = None) -> tuple[Path, str]:
    """Make a person, or give one other rights; the key's file and the public half (hex).

    The private key is written to ``out`` (mode 0600), or beside the register of the staff.
    """
    if not _NAME.fullmatch(name):
        raise NotAllowed(f"staff: needed a name of a-z, 0-9, '.', '_' or '-', got {name!r}")
    for right in rights:
        if right not in RIGHTS:
            raise NotAllowed(f"staff: needed rights of {', '.join(RIGHTS)}, got {right!r}")
    folder = _folder(data)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path, kept = out or folder / f"{name}.key", _register(data, name)
    if kept.exists():
        public = str(json.loads(kept.read_text(encoding="utf-8"))["public"])
    else:
        key = Ed25519PrivateKey.generate()
        raw = key.private_bytes_raw().hex()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(raw + "\n")
        public = _public(key)
    row = {"v": 1, "name": name, "rights": sorted(set(rights)), "public": public}
    fresh = kept.with_suffix(".new")
    fresh.write_text(json.dumps(row), encoding="utf-8")
    fresh.chmod(0o600)
    fresh.replace(kept)
    return path, public


def _public(key: Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw.hex()


def listed(data: Path) -> list[dict[str, object]]:
    """Everybody there is: name, rights, public key."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(_folder(data).glob("*.json"))
    ]


def person(data: Path, name: str, key: Path | None = None) -> Person:
    """Somebody who is here with their key, or `NotAllowed`."""
    kept = _register(data, name)
    if not _NAME.fullmatch(name) or not kept.exists():
        known = ", ".join(str(row["name"]) for row in listed(data)) or "nobody"
        raise NotAllowed(
            f"staff: needed somebody known ({known}), got {name!r}: ringback staff add"
        )
    row = json.loads(kept.read_text(encoding="utf-8"))
    path = key or Path(os.environ.get(KEY_VARIABLE) or _folder(data) / f"{name}.key")
    if not path.exists():
        raise NotAllowed(
            f"staff: {name}: needed their key, got no file at {path}; name it by --key or in "
            f"{KEY_VARIABLE}"
        )
    try:
        signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
    except ValueError as wrong:
        raise NotAllowed(f"staff: {name}: needed 32 bytes in hexadecimal in {path}") from wrong
    if _public(signing) != row["public"]:
        raise NotAllowed(f"staff: {name}: needed their own key, got another's in {path}")
    return Person(name, tuple(row["rights"]), signing)


def signed(public: str, text: str, signature: str) -> bool:
    """Whether a signature is that key's, of that text."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
