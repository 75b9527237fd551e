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
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import KeyMissing, RecordRefused

PREFIX = "a1."
TRANSPORT_PREFIX = "s1."
NONCE_BYTES = 12
SALT_BYTES = 16
_KEY_BYTES = 32
CACHED_KEYS = 50_000
MANY_SPARE = 1_024
FEW_SPARE = 512


@dataclass(frozen=True)
class DataKey:
    """One person's key in one log. `version` grows when a person returns after destruction.

    `is_new` is true for whoever asked first, and for nobody else.
    """

    origin: str
    subject: str
    version: int
    number: int
    cipher: AESGCM
    commitment: str
    is_new: bool = False

    def known(self) -> DataKey:
        """The same for everyone after the first."""
        return DataKey(
            self.origin, self.subject, self.version, self.number, self.cipher, self.commitment
        )


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
    """The data keys of a ledger, by number. One writer.

    Keys are made in advance, durably, and without an owner. Whose a key becomes is a row in the
    ledger, written in the transaction of the record that uses it first: so sealing for a new
    person costs no second wait for the disk, and no key is ever lost or owned twice.
    """

    def __init__(self, path: Path, kek: bytes, *, first_free: int | None = None) -> None:
        """`first_free` is the first number that the ledger has given to nobody; None reads only."""
        self._wrap = AESGCM(kek)
        self._cache: OrderedDict[tuple[str, str], DataKey] = OrderedDict()
        self._subjects: Counter[str] = Counter()
        self._ahead: dict[int, bytes | None] = {}
        self._retired: set[int] = set()
        self._fresh: dict[int, str] = {}
        self._spare: dict[int, bytes] = {}
        if first_free is None:
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
            CREATE TABLE IF NOT EXISTS keys (number INTEGER PRIMARY KEY, wrapped BLOB);
            """
        )
        self._next = first_free
        row = self._db.execute("SELECT COALESCE(MAX(number), 0) FROM keys").fetchone()
        self._end = max(int(row[0]) + 1, first_free)
        self.refill()

    def key_for(
        self, origin: str, subject: str, latest: Callable[[], tuple[int, int] | None]
    ) -> DataKey:
        """The subject's key in that log; a new one when there is none or it was destroyed.

        `latest` looks up (version, number) in the ledger. Who gets a key with `is_new` writes
        down whose it is, in the transaction of what it seals.
        """
        owner = (origin, subject)
        found = self._cache.get(owner)
        if found is not None:
            self._cache.move_to_end(owner)
            return found
        known = latest()
        wrapped = None if known is None else self._wrapped(known[1])
        if known is None or wrapped is None or known[1] in self._retired:
            found = self._take(origin, subject, 1 if known is None else known[0] + 1)
        else:
            found = self._unwrap(origin, subject, known[0], known[1], wrapped)
        self._subjects[subject] += 1
        self._cache[owner] = found.known() if found.is_new else found
        return found

    def knows(self, subject: str) -> bool:
        """Whether a key of theirs is at hand."""
        return subject in self._subjects

    def read_ahead(self, numbers: Sequence[int]) -> None:
        """Read these keys at once, for what is sealed next."""
        self._ahead = {}
        for start in range(0, len(numbers), 500):
            part = numbers[start : start + 500]
            sql = f"SELECT number, wrapped FROM keys WHERE number IN ({','.join('?' * len(part))})"  # noqa: S608  marks only
            self._ahead.update(self._db.execute(sql, part).fetchall())

    def committed(self) -> None:
        """The ledger has the rows of all keys handed out; those longest unused may go."""
        self._fresh.clear()
        self._ahead = {}
        while len(self._cache) > CACHED_KEYS:
            self._drop(next(iter(self._cache)))

    def key_of(self, origin: str, subject: str, version: int, number: int) -> DataKey:
        """A key that once was made; KeyMissing when it is destroyed."""
        wrapped = self._wrapped(number)
        if wrapped is None:
            raise KeyMissing(f"the key {version} of {subject} in {origin} is destroyed")
        return self._unwrap(origin, subject, version, number, wrapped)

    def seal(self, key: DataKey, rid: str, path: str, value: str) -> dict[str, object]:
        """The sealed value as it stands in a leaf's `body.sealed[path]`."""
        drawn = os.urandom(SALT_BYTES + NONCE_BYTES)
        salt, nonce = drawn[:SALT_BYTES], drawn[SALT_BYTES:]
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

    def open(self, key: DataKey, rid: str, path: str, text: str) -> Disclosure:
        """Open one sealed value. KeyMissing when it was sealed under another key or for another
        record, path or person."""
        packed = _unbase64url(text.removeprefix(PREFIX))
        aad = f"{rid}|{path}|{key.subject}".encode()
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
        """The payload again. KeyMissing when it was sealed under another key or record."""
        aad = f"{rid}|cas|{key.subject}".encode()
        try:
            return key.cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], aad)
        except InvalidTag as error:
            raise KeyMissing(f"the payload of {rid} does not open with its key") from error

    def retire(self, subject: str, numbers: Iterable[int]) -> None:
        """Use these keys of a subject no more; what the subject does next gets a new key."""
        self._retired.update(numbers)
        for owner in [owner for owner in self._cache if owner[1] == subject]:
            self._drop(owner)

    def pending(self, subject: str) -> list[int]:
        """Keys handed out for a subject whose rows the ledger does not have yet."""
        return [number for number, owner in self._fresh.items() if owner == subject]

    def destroy(self, numbers: Iterable[int]) -> None:
        """Overwrite keys for good, in the file and in its write-ahead log."""
        rows = [(number,) for number in numbers]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "UPDATE keys SET wrapped = NULL WHERE number = ? AND wrapped IS NOT NULL", rows
        )
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def refill(self) -> None:
        """Make spare keys, when few are left; one wait for the disk for hundreds of them."""
        if self._end - self._next >= FEW_SPARE:
            return
        rows = []
        size = _KEY_BYTES + NONCE_BYTES
        drawn = os.urandom(size * (self._next + MANY_SPARE - self._end))
        for place, number in enumerate(range(self._end, self._next + MANY_SPARE)):
            key = drawn[place * size : place * size + _KEY_BYTES]
            nonce = drawn[place * size + _KEY_BYTES : (place + 1) * size]
            rows.append((number, nonce + self._wrap.encrypt(nonce, key, _aad(number))))
            self._spare[number] = key
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO keys VALUES (?, ?)", rows)
        self._db.execute("COMMIT")
        self._end = self._next + MANY_SPARE

    def close(self) -> None:
        self._db.close()

    def _take(self, origin: str, subject: str, version: int) -> DataKey:
        if self._next >= self._end:
            self.refill()
        number, self._next = self._next, self._next + 1
        key = self._spare.pop(number, None)
        if key is None:  # made before the last start
            wrapped = self._wrapped(number)
            if wrapped is None:
                raise KeyMissing(f"the spare key {number} is gone: seals.db is not this ledger's")
            key = self._opened(subject, number, wrapped)
        self._fresh[number] = subject
        commitment = commit_to_key(origin, subject, version, key)
        return DataKey(origin, subject, version, number, AESGCM(key), commitment, True)

    def _drop(self, owner: tuple[str, str]) -> None:
        del self._cache[owner]
        self._subjects[owner[1]] -= 1
        if not self._subjects[owner[1]]:
            del self._subjects[owner[1]]

    def _wrapped(self, number: int) -> bytes | None:
        if number in self._ahead:
            return self._ahead[number]
        row = self._db.execute("SELECT wrapped FROM keys WHERE number = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def _unwrap(
        self, origin: str, subject: str, version: int, number: int, wrapped: bytes
    ) -> DataKey:
        key = self._opened(subject, number, wrapped)
        commitment = commit_to_key(origin, subject, version, key)
        return DataKey(origin, subject, version, number, AESGCM(key), commitment)

    def _opened(self, subject: str, number: int, wrapped: bytes) -> bytes:
        try:
            return self._wrap.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _aad(number))
        except InvalidTag as error:
            raise KeyMissing(
                f"the key of {subject} does not open: ledger.kek is not the one that wrapped it"
            ) from error


def _aad(number: int) -> bytes:
    return f"ringback data key {number}".encode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
