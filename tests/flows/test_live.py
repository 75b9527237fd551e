"""Is what was laid out once refused to change, and does each start take its own generation?"""

import threading
from typing import Any

import pytest
import redis

from config.settings import Settings
from flows.clock import wall_us
from flows.errors import BadSettings, NotReady
from flows.live import next_generation, settle_layout
from flows.redis_server import PrivateRedis, free_port, wait, weaknesses
from risk import events, names
from tests import servers


def _settings(**engine: Any) -> Settings:
    return Settings.model_validate({"engine": engine})


def test_the_first_start_lays_out_and_a_later_one_finds_it(client: "redis.Redis") -> None:
    for _ in range(2):
        settle_layout(client, _settings(partitions=2, shards=8))
    told: Any = client.hgetall(names.META)
    assert told == {
        b"partitions": b"2",
        b"shards": b"8",
        b"judge_shards": b"2",
        b"format": b"1",
    }


@pytest.mark.parametrize("change", [{"partitions": 3}, {"shards": 9}])
def test_another_layout_is_refused_by_name_and_changes_nothing(
    client: "redis.Redis", change: dict[str, int]
) -> None:
    first = {"partitions": 2, "shards": 8}
    settle_layout(client, _settings(**first))
    before = client.hgetall(names.META)
    ((name, value),) = change.items()
    told = f"engine.{name}: .* laid out with {first[name]}, the settings say {value}; set it back"
    with pytest.raises(BadSettings, match=told):
        settle_layout(client, _settings(**{**first, **change}))
    assert client.hgetall(names.META) == before


def test_a_later_format_is_refused(client: "redis.Redis") -> None:
    client.hset(names.META, "format", "2")
    with pytest.raises(BadSettings, match="laid out with 2, the settings say 1"):
        settle_layout(client, Settings())


def test_what_may_change_later_is_not_laid_out(client: "redis.Redis") -> None:
    settle_layout(client, _settings(processes=1, batch=10))
    settle_layout(client, _settings(processes=2, batch=20))


def test_no_two_starts_take_the_same_generation(client: "redis.Redis") -> None:
    taken: list[int] = []
    threads = [
        threading.Thread(target=lambda: taken.extend(next_generation(client) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 80
    assert min(taken) == 2


def test_the_wall_clock_is_in_microseconds() -> None:
    assert events.instant(wall_us()).year >= 2026


def test_a_server_that_does_not_answer_in_time_is_told_by_name() -> None:
    with pytest.raises(NotReady, match=r"Redis did not answer within 0\.1 s"):
        wait(f"redis://127.0.0.1:{servers.free_port()}/0", seconds=0.1)


def test_a_redis_that_loses_nothing_has_no_weakness(client: "redis.Redis") -> None:
    assert weaknesses(client) == []


@pytest.mark.parametrize(
    ("name", "weak", "strong"),
    [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_redis_that_could_lose_what_it_acknowledged_is_told_with_the_remedy(
    client: "redis.Redis", name: str, weak: str, strong: str
) -> None:
    client.config_set(name, weak)
    try:
        (found,) = weaknesses(client)
    finally:
        client.config_set(name, strong)
    assert f"{name} is {weak}: needed {strong}" in found


def test_the_private_redis_asks_for_its_password_and_keeps_its_port(tmp_path: Any) -> None:
    servers.need("redis-server")
    private = PrivateRedis(tmp_path, "s3cret")
    assert PrivateRedis(tmp_path, "s3cret").port == private.port
    assert free_port() > 0
    process = private.start()
    try:
        assert weaknesses(wait(private.url, seconds=20)) == []
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=private.port).ping()
        assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o077 == 0
    finally:
        process.terminate()
        process.wait(10)
