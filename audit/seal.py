"""How can a person be forgotten by a log that forgets nothing? Seal what is personal.

A value is sealed by AES-256-GCM under a data key of its own subject and log; its associated data
is `rid|path|subject`, so it can't be moved to another record. In front of the value, inside the
ciphertext, stand 16 bytes of salt; beside it stands the commitment HMAC-SHA256(salt, path NUL
value), by which a single value can be disclosed without a key. Data keys lie wrapped under the
key-encryption key in a SQLite file of their own, which alone must be overwritten to forget.

Danger: AES-GCM commits to no key, so each data key is committed to in the log (`key.created`).
A backup of the key file made before a key was destroyed still opens what it sealed.
"""

from __future__ import annotations

import base64
import hmac
import os
import sqlite3
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import KeyMissing, RecordRefused

PREFIX = "a1."
TRANSPORT_PREFIX = "s1."
NONCE_BYTES = 12
SALT_BYTES = 16
CACHED_KEYS = 50_000


@dataclass(frozen=True)
class DataKey:
    """One person's key in one log. `version` grows when a person returns after destruction.

    `is_new` is true for whoever asked first, and for nobody else.
    """

    origin: str
    subject: str
    version: int
    cipher: AESGCM
    commitment: str
    is_new: bool = False


@dataclass(frozen=True)
class Disclosure:
    """One opened value, enough for anyone to check it against the leaf's commitment."""

    path: str
    value: str
    salt: str


def commit_to_value(salt: bytes, path: str, value: str) -> str:
    """The commitment in the leaf; its salt keeps a phone number from being guessed."""
    return hmac.digest(salt, path.encode() + b"\0" + value.encode(), "sha256").hex()


def commit_to_key(origin: str, subject: str, version: int, key: bytes) -> str:
    """The commitment in `key.created`: which key it was can't be changed afterwards."""
    text = f"ringback data key v1\n{origin}\n{subject}\n{version}\n".encode()
    return sha256(text + key).hexdigest()


def disclosure_matches(disclosure: Disclosure, commitment: str) -> bool:
    """True when a disclosed value is the one that the leaf committed to."""
    salt = _unbase64url(disclosure.salt)
    found = commit_to_value(salt, disclosure.path, disclosure.value)
    return hmac.compare_digest(found, commitment)


def open_transport(cipher: AESGCM, text: str, path: str) -> str:
    """What a producer sealed for the way to the ledger; RecordRefused when it does not open."""
    if not text.startswith(TRANSPORT_PREFIX):
        raise RecordRefused(f"the sealed value at {path} has no {TRANSPORT_PREFIX} in front")
    try:
        packed = _unbase64url(text[len(TRANSPORT_PREFIX) :])
        plain = cipher.decrypt(packed[:NONCE_BYTES], packed[NONCE_BYTES:], path.encode())
        return plain.decode()
    except (InvalidTag, ValueError) as error:
        raise RecordRefused(f"the sealed value at {path} does not open") from error


class Seals:
    """The data keys of a ledger. One writer; keys are durable before what they sealed is."""

    def __init__(self, path: Path, kek: bytes, *, read_only: bool = False) -> None:
        self._wrap = AESGCM(kek)
        self._cache: dict[tuple[str, str], DataKey] = {}
        self._retired: dict[tuple[str, str], int] = {}
        if read_only:
            self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._db.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            PRAGMA secure_delete = ON;
            CREATE TABLE IF NOT EXISTS keys (
                origin TEXT NOT NULL, subject TEXT NOT NULL, version INTEGER NOT NULL,
                wrapped BLOB, PRIMARY KEY (origin, subject, version)
            ) WITHOUT ROWID;
            """
        )

    def key_for(self, origin: str, subject: str) -> DataKey:
        """The subject's key in that log, made if there is none. Call `flush` before the commit."""
        found = self._cache.get((origin, subject))
        if found is None:
            row = self._db.execute(
                "SELECT version, wrapped FROM keys WHERE origin = ? AND subject = ?"
                " ORDER BY version DESC LIMIT 1",
                (origin, subject),
            ).fetchone()
            retired = self._retired.get((origin, subject), 0)
            if row is None or row[1] is None or row[0] <= retired:
                found = self._make(origin, subject, 1 if row is None else row[0] + 1)
            else:
                found = self._unwrap(origin, subject, row[0], row[1])
            if len(self._cache) >= CACHED_KEYS:
                self._cache.clear()
            self._cache[origin, subject] = replace(found, is_new=False)
        return found

    def key_of(self, origin: str, subject: str, version: int) -> DataKey:
        """A key that once was made; KeyMissing when it is destroyed or never was."""
        row = self._db.execute(
            "SELECT wrapped FROM keys WHERE origin = ? AND subject = ? AND version = ?",
            (origin, subject, version),
        ).fetchone()
        if row is None or row[0] is None:
            raise KeyMissing(f"the key {version} of {subject} in {origin} is destroyed or unknown")
        return self._unwrap(origin, subject, version, row[0])

    def seal(self, key: DataKey, rid: str, path: str, value: str) -> dict[str, object]:
        """The sealed value as it stands in a leaf's `body.sealed[path]`."""
        salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
        aad = f"{rid}|{path}|{key.subject}".encode()
        sealed = nonce + key.cipher.encrypt(nonce, salt + value.encode(), aad)
        entry: dict[str, object] = {
            "com": commit_to_value(salt, path, value),
            "ct": PREFIX + _base64url(sealed),
            "subject": key.subject,
        }
        if key.version > 1:
            entry["key"] = key.version
        return entry

    def open(self, origin: str, rid: str, path: str, entry: dict[str, object]) -> Disclosure:
        """Open one sealed value of a leaf. KeyMissing when its key has been destroyed."""
        version = entry.get("key", 1)
        subject, text = str(entry["subject"]), str(entry["ct"])
        key = self.key_of(origin, subject, version if isinstance(version, int) else 1)
        packed = _unbase64url(text.removeprefix(PREFIX))
        aad = f"{rid}|{path}|{subject}".encode()
        try:
            plain = key.cipher.decrypt(packed[:NONCE_BYTES], packed[NONCE_BYTES:], aad)
        except InvalidTag as error:
            raise KeyMissing(f"the value at {path} of {rid} does not open with its key") from error
        salt, value = plain[:SALT_BYTES], plain[SALT_BYTES:].decode()
        return Disclosure(path, value, _base64url(salt))

    def seal_bytes(self, key: DataKey, rid: str, data: bytes) -> bytes:
        """A payload too large for a leaf, as the bytes of its file."""
        nonce = os.urandom(NONCE_BYTES)
        aad = f"{rid}|cas|{key.subject}".encode()
        return nonce + key.cipher.encrypt(nonce, data, aad)

    def open_bytes(self, key: DataKey, rid: str, data: bytes) -> bytes:
        aad = f"{rid}|cas|{key.subject}".encode()
        try:
            return key.cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], aad)
        except InvalidTag as error:
            raise KeyMissing(f"the payload of {rid} does not open with its key") from error

    def flush(self) -> None:
        """Make new keys durable. A key without its record is announced at its next use."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    def destroy(self, subject: str, *, before: dict[str, int] | None = None) -> int:
        """Forget a person in every log (up to a version each); how many keys were overwritten."""
        self.flush()
        gone = 0
        for origin, version in self._db.execute(
            "SELECT origin, version FROM keys WHERE subject = ? AND wrapped IS NOT NULL", (subject,)
        ).fetchall():
            if before is None or version <= before.get(origin, 0):
                self._db.execute(
                    "UPDATE keys SET wrapped = NULL"
                    " WHERE origin = ? AND subject = ? AND version = ?",
                    (origin, subject, version),
                )
                self._cache.pop((origin, subject), None)
                gone += 1
        if gone:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def retire(self, subject: str) -> dict[str, int]:
        """Use no key of this subject again; the versions in each log that `destroy` must reach."""
        rows = self._db.execute(
            "SELECT origin, MAX(version) FROM keys WHERE subject = ? GROUP BY origin", (subject,)
        ).fetchall()
        for origin, version in rows:
            self._retired[origin, subject] = version
            self._cache.pop((origin, subject), None)
        return dict(rows)

    def close(self) -> None:
        self.flush()
        self._db.close()

    def _make(self, origin: str, subject: str, version: int) -> DataKey:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        key, nonce = os.urandom(32), os.urandom(NONCE_BYTES)
        wrapped = nonce + self._wrap.encrypt(nonce, key, f"{origin}|{subject}|{version}".encode())
        self._db.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?)", (origin, subject, version, wrapped)
        )
        commitment = commit_to_key(origin, subject, version, key)
        return DataKey(origin, subject, version, AESGCM(key), commitment, True)

    def _unwrap(self, origin: str, subject: str, version: int, wrapped: bytes) -> DataKey:
        aad = f"{origin}|{subject}|{version}".encode()
        try:
            key = self._wrap.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], aad)
        except InvalidTag as error:
            raise KeyMissing(
                f"the key of {subject} does not open: ledger.kek is not the one that wrapped it"
            ) from error
        commitment = commit_to_key(origin, subject, version, key)
        return DataKey(origin, subject, version, AESGCM(key), commitment)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
