"""One real Redis for all tests of the way; each test finds it empty."""

from collections.abc import Iterator

import pytest
import redis

from tests import servers


@pytest.fixture(scope="session")
def way_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisServer]:
    """The server; ask for `client` instead, unless its address is wanted."""
    server = servers.RedisServer(servers.redis_program(), tmp_path_factory.mktemp("way"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def client(way_redis: servers.RedisServer) -> Iterator["redis.Redis"]:
    """A connection to an empty Redis, of generation 1."""
    connected = redis.Redis.from_url(way_redis.url)
    connected.flushall()
    connected.set("rb:gen", 1)
    try:
        yield connected
    finally:
        connected.close()
