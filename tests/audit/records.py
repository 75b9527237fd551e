"""Records as producers make them, and a clock that a test moves."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TRANSPORT_KEY = bytes(range(32))
START = 1_780_000_000_000_000
Record = dict[str, Any]


def seal_for_transport(value: str, path: str) -> str:
    """As a producer seals: s1.<base64url(nonce|ciphertext)>, associated data = path."""
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(TRANSPORT_KEY).encrypt(nonce, value.encode(), path.encode())
    return "s1." + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def record(kind: str, event: str | None = "e1", n: int = 0, **fields: Any) -> Record:
    """A producer's record of the case of `event`."""
    made: Record = {
        "v": 1,
        "kind": kind,
        "rid": f"rb:events:0/{event}/{kind}/{n}",
        "tenant": "main",
        "case": None if event is None else f"case-{event}",
        "event": event,
        "subject": "cus_a",
        "actor": {"type": "service", "id": "flow", "role": "engine"},
        "at": "2026-05-28T20:26:40.000000Z",
        "body": {"n": n},
        "payload": [],
        "grade": 1,
    }
    return made | fields


def story(event: str, *, closed: bool = True, personal: bool = False) -> list[Record]:
    """The records of one event's way, in order."""
    kinds = ["case.opened", "event.in", "features", "score", "decision"]
    records = [record(kind, event) for kind in [*kinds, *(["case.closed"] if closed else [])]]
    if personal:
        records[1]["personal"] = {
            "payee.name": {
                "subject": f"acc_{event}",
                "sealed": seal_for_transport("ACME 株式会社", "payee.name"),
            },
            "memo": {"subject": "cus_a", "sealed": seal_for_transport("rent", "memo")},
        }
    return records


@dataclass
class Clock:
    """A wall clock and a steady clock that the test moves."""

    wall: int = START
    steady: int = 0

    def advance(self, micros: int = 1_000) -> None:
        self.wall += micros
        self.steady += micros

    def step(self, micros: int) -> None:
        self.wall += micros


def log_path(data: Path) -> Path:
    return data / "ledger" / "main" / "rc10y" / "2026"
