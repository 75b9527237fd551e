"""Where do the secrets come from? Generated at the first start, mode 0600, under the data."""

import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

BEARERS = ("ingest", "bank", "officer")


@dataclass(frozen=True)
class Secrets:
    """All secrets of one data directory; keys are 32 bytes each."""

    token_root: bytes = field(repr=False)
    edge_key: bytes = field(repr=False)
    transport_key: bytes = field(repr=False)
    web_key: bytes = field(repr=False)
    code_key: bytes = field(repr=False)
    nonce_key: bytes = field(repr=False)
    webhook_key: bytes = field(repr=False)
    redis_password: str = field(repr=False)
    component_secret: str = field(repr=False)
    bearers: dict[str, str] = field(repr=False)


def _once(path: Path, text: str) -> str:
    """Write a new secret unless there is one; the file appears whole or not at all."""
    if not path.exists():
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)  # fails where another process was first: its secret counts
        except FileExistsError:
            pass
        finally:
            Path(part).unlink()
    return path.read_text(encoding="ascii").strip()


def named_key(data: Path, name: str) -> bytes:
    """A further key of 32 bytes, by the name of its file, made when it is first asked for."""
    return bytes.fromhex(_once(data / "secrets" / f"{name}.key", secrets.token_hex(32)))


def read_secrets(data: Path) -> Secrets:
    """Read the secrets of a data directory, making those that are missing."""
    folder = data / "secrets"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)

    def key(name: str) -> bytes:
        return bytes.fromhex(_once(folder / f"{name}.key", secrets.token_hex(32)))

    def word(name: str) -> str:
        return _once(folder / name, secrets.token_urlsafe(32))

    edge = key("edge")
    return Secrets(
        token_root=key("tokens"),
        edge_key=edge,
        transport_key=edge,  # what was sealed at the edge travels to the ledger as it is
        web_key=key("web"),
        code_key=key("code"),
        nonce_key=key("nonce"),
        webhook_key=key("webhook"),
        redis_password=word("redis.password"),
        component_secret=word("xmpp-component.secret"),
        bearers={role: word(f"{role}.token") for role in BEARERS},
    )
