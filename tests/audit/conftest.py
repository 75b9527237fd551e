"""Real servers and records for the tests of the evidence."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.writer import Ledger

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


@pytest.fixture
def clock() -> Clock:
    return Clock()


OpenLedger = Callable[..., Ledger]


@pytest.fixture
def open_ledger(tmp_path: Path, clock: Clock) -> Iterator[OpenLedger]:
    """Open the ledger of this test's directory; what is left open is let go at the end."""
    opened: list[Ledger] = []

    def open_one(**options: Any) -> Ledger:
        made = Ledger(
            options.pop("data_dir", tmp_path),
            origin_bank="bank.example",
            tenant="main",
            transport_key=TRANSPORT_KEY,
            now=lambda: clock.wall,
            steady=lambda: clock.steady,
            **options,
        )
        opened.append(made)
        return made

    yield open_one
    for made in opened:
        if made.is_open:
            made.abandon()


def log_path(data: Path) -> Path:
    return data / "ledger" / "main" / "rc10y" / "2026"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Server:
    """A redis-server of this test alone, that can be killed and started again."""

    folder: Path
    port: int
    binary: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self.binary,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = redis.Redis(port=self.port)
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.RedisError:
                time.sleep(0.025)
        else:
            raise TimeoutError("redis-server did not answer")
        client.close()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    binary = shutil.which("redis-server")
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is missing; in CI it has to be there")
        pytest.skip("redis-server is not installed")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Server(folder, free_port(), binary)
    server.start()
    yield server
    server.kill()
