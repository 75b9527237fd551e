"""Which secrets does the ledger own? Two files under `<data>/secrets/`, mode 0600.

ledger.key   32 bytes; each log's Ed25519 key is derived from it (one key a log, as a policy
             must not name one key twice)
ledger.kek   32 bytes; wraps the data keys of persons. Keep it apart from the ledger's backups
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from audit.errors import KeyMissing
from audit.note import LOG_KEY, ML_DSA_KEY, Signer
from audit.tiles import sync_directory

SECRET_BYTES = 32


def read_or_make_secret(path: Path) -> bytes:
    """The secret in that file, made at the first start. Refused: a file that holds another size."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(os.urandom(SECRET_BYTES).hex() + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(scratch, path)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
        sync_directory(path.parent)
    return read_secret(path)


def read_secret(path: Path) -> bytes:
    """The 32 bytes in a file of hexadecimal. KeyMissing says what is wrong with it."""
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except FileNotFoundError as error:
        raise KeyMissing(f"no secret at {path}; put it back from its backup") from error
    except ValueError as error:
        raise KeyMissing(f"{path} holds no hexadecimal secret") from error
    if len(secret) != SECRET_BYTES:
        raise KeyMissing(f"{path} holds {len(secret)} bytes, needed are {SECRET_BYTES}")
    return secret


def log_signer(secret: bytes, origin: str) -> Signer:
    """The key of one log: HKDF-SHA256 of the secret, bound to the origin."""
    info = b"ringback log key v1\n" + origin.encode()
    seed = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=info).derive(secret)
    return Signer(origin, seed, LOG_KEY)


def ml_dsa_signer(secret: bytes, origin: str) -> Signer:
    """The key by which a log cosigns its own heads with ML-DSA-44, derived in the same way."""
    info = b"ringback log ml-dsa-44 key v1\n" + origin.encode()
    seed = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=info).derive(secret)
    return Signer(origin, seed, ML_DSA_KEY)
