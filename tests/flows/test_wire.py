"""Is what the flow asks answered, whatever became of the connection or of Redis?"""

import threading
from typing import Any

import pytest
import redis

from flows.errors import Fenced
from flows.redis_server import wait
from flows.redis_state import RedisStore, Scripts
from flows.wire import AGAIN, Wire
from tests.servers import RedisServer


def test_replies_come_in_order_and_what_is_refused_is_raised_once_all_are_read(
    client: "redis.Redis",
) -> None:
    wire, large = Wire(client), b"x" * 700_000
    told = wire.exchange(
        [("SET", "a", 1), ("INCR", "a"), ("SET", "b", large), ("GET", "b"), ("GET", "none")]
    )
    assert told == [b"OK", 2, b"OK", large, None]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        wire.exchange([("LPUSH", "a", "no list"), ("INCR", "a")])
    assert wire.ask("GET", "a") == b"3"


def test_each_thread_has_a_connection_of_its_own(client: "redis.Redis") -> None:
    wire = Wire(client)
    found: list[Any] = []

    def ask() -> None:
        found.append([wire.ask("CLIENT", "ID"), wire.ask("CLIENT", "ID")])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(first == second for first, second in found)
    assert len({first for first, _ in found}) == 3


def test_after_a_crash_of_redis_scripts_and_reads_go_on(redis_server: RedisServer) -> None:
    client = wait(redis_server.url)
    client.set("rb:gen", 1)
    store = RedisStore(client, 1)
    store.flush("customer", {0: (1, {"one": b"profile"})})
    wanted = {("customer", 0): ["one", "other"]}
    assert store.load_many(wanted) == {("customer", 0): [b"profile", None]}
    redis_server.kill()
    redis_server.start()
    assert store.load_many(wanted) == {("customer", 0): [b"profile", None]}
    redis_server.kill()
    redis_server.start()
    store.flush("customer", {0: (2, {"one": b"later"})})  # by a Redis that knows no script
    assert store.load_many(wanted) == {("customer", 0): [b"later", None]}


def test_a_redis_that_hangs_up_is_told_so_and_the_next_command_connects_again(
    client: "redis.Redis",
) -> None:
    wire = Wire(client)
    client.client_kill_filter(_id=wire.ask("CLIENT", "ID"))
    with pytest.raises(AGAIN):
        wire.ask("PING")
    assert wire.ask("PING") == b"PONG"


def test_a_refusal_keeps_its_name_on_this_way_too(client: "redis.Redis") -> None:
    scripts = Scripts(client)
    client.set("rb:gen", 7)
    with pytest.raises(Fenced):
        scripts.run("decide", ["flow", 6, 0, 60])
    client.script_flush()
    with pytest.raises(Fenced):
        scripts.run("decide", ["flow", 6, 0, 60])
