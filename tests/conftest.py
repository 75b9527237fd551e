"""Fixtures that every test may ask for. The servers themselves are in tests/servers.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import servers

# Laws are searched without a clock: a busy machine makes no law false. In CI by the same examples
# each time, so that what it refuses is the change; new ones are found at every other run.
settings.register_profile(
    "unhurried",
    settings(),
    deadline=None,
    derandomize=servers.in_ci(),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Call it for a TCP port on 127.0.0.1 that is free."""
    return servers.free_port


@pytest.fixture
def need() -> Callable[[str], str]:
    """Call it with a program's name for its path; skips without it, fails in CI."""
    return servers.need


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[servers.RedisServer]:
    """A real, empty redis-server of this test's own: `.url`, `.port`, `.kill()`, `.start()`."""
    server = servers.RedisServer(servers.redis_program(), tmp_path / "redis")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: servers.RedisServer) -> str:
    """The address of this test's own Redis."""
    return redis_server.url


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return Path(__file__).resolve().parents[1]
