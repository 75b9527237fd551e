"""Does a shard in Redis stand exactly where the cut stood, or is it refused by name?"""

import random
from typing import Any

import pytest
import redis

from flows.errors import Behind, Fenced, FlowError, StateError, UndoGone, WrongVersion
from flows.redis_state import KEPT_VERSIONS, RedisStore, Scripts, script

STAGE = "customer"


def _everything(client: "redis.Redis") -> dict[bytes, Any]:
    """All that Redis holds, but for the counters."""
    held: dict[bytes, Any] = {}
    keys: Any = client.keys("*")
    for key in keys:
        if key != b"rb:counters":
            held[key] = client.dump(key)
    return held


def _state(client: "redis.Redis", shard: int = 0) -> dict[bytes, bytes]:
    told: Any = client.hgetall(f"rb:state:{STAGE}:{shard}")
    return dict(told)


def test_what_was_flushed_is_read_and_what_never_was_is_none(client: "redis.Redis") -> None:
    store = RedisStore(client, 1)
    store.flush(STAGE, {0: (1, {"a": b"1", "b": b"\x00\xff"}), 3: (1, {"a": b"3"})})
    assert store.load(STAGE, 0, ["b", "none", "a"]) == [b"\x00\xff", None, b"1"]
    assert store.load(STAGE, 3, ["a"]) == [b"3"]
    assert store.load("payee", 0, ["a"]) == [None]


def test_many_shards_are_read_in_one_turn_each_in_its_order(client: "redis.Redis") -> None:
    store = RedisStore(client, 1)
    many = {f"e{number}": str(number).encode() for number in range(2_500)}
    store.flush(STAGE, {0: (1, many), 3: (1, {"a": b"\x00\xff"})})
    wanted = {
        (STAGE, 0): ["none", *reversed(many), "nobody"],
        (STAGE, 3): ["none", "a"],
        ("payee", 0): ["a", "b"],
    }
    assert store.load_many(wanted) == {
        (STAGE, 0): [None, *reversed(many.values()), None],
        (STAGE, 3): [None, b"\x00\xff"],
        ("payee", 0): [None, None],
    }
    assert _state(client) == {name.encode(): value for name, value in many.items()}


@pytest.mark.parametrize("seed", range(6))
def test_an_undo_to_any_kept_version_gives_the_state_that_stood_then(
    client: "redis.Redis", seed: int
) -> None:
    chance = random.Random(seed)
    store = RedisStore(client, 1)
    states: list[dict[bytes, bytes]] = [{}]
    # Walk on, go back, and walk on from there: crash upon crash.
    for _ in range(6):
        for _ in range(chance.randint(1, 12)):
            version = len(states)
            values = {
                f"e{chance.randrange(8)}": str(chance.random()).encode()
                for _ in range(chance.randint(1, 6))
            }
            store.flush(STAGE, {0: (version, values)})
            states.append({**states[-1], **{key.encode(): one for key, one in values.items()}})
            assert _state(client) == states[-1]
        found = len(states) - 1
        back = chance.randint(max(0, found - KEPT_VERSIONS // 2), found)
        assert store.begin(STAGE, 0, back) == found - back
        assert _state(client) == states[back]
        assert client.get(f"rb:ver:{STAGE}:0") == str(back).encode()
        del states[back + 1 :]


def test_a_flush_of_many_more_than_lua_hands_over_at_once_is_whole_and_undone_whole(
    client: "redis.Redis",
) -> None:
    store, count = RedisStore(client, 1), 12_345
    first = {f"e{number}": str(number).encode() for number in range(count)}
    store.flush(STAGE, {0: (1, first), 1: (1, {})})
    assert _state(client) == {entity.encode(): value for entity, value in first.items()}
    # Some change, some go, some are new.
    second = {f"e{number}": b"" if number % 3 else b"new" for number in range(count, 0, -2)}
    store.flush(STAGE, {0: (2, second), 1: (2, {"a": b"1"})})
    both = {entity: value for entity, value in {**first, **second}.items() if value}
    assert _state(client) == {entity.encode(): value for entity, value in both.items()}
    assert store.begin(STAGE, 0, 1) == store.begin(STAGE, 1, 1) == 1
    assert _state(client) == {entity.encode(): value for entity, value in first.items()}
    assert store.begin(STAGE, 1, 0) == 1, "a flush of nothing has its undo, too"


def test_an_undo_reaches_back_over_all_kept_versions_and_no_further(
    client: "redis.Redis",
) -> None:
    store = RedisStore(client, 1)
    for version in range(1, 12):
        store.flush(STAGE, {0: (version, {"a": str(version).encode(), f"n{version}": b"x"})})
    before = _everything(client)
    with pytest.raises(UndoGone, match="stands at 11, the cut at 2, and the undo of 3 is gone"):
        store.begin(STAGE, 0, 2)
    assert _everything(client) == before
    assert store.begin(STAGE, 0, 11 - KEPT_VERSIONS) == KEPT_VERSIONS
    assert store.load(STAGE, 0, ["a", "n3", "n4"]) == [b"3", b"x", None]
    assert client.hget("rb:counters", "undone_flushes") == b"8"


def test_a_shard_that_stands_at_the_cut_is_left_as_it_is(client: "redis.Redis") -> None:
    store = RedisStore(client, 1)
    store.flush(STAGE, {0: (1, {"a": b"1"})})
    before = _everything(client)
    assert store.begin(STAGE, 0, 1) == 0
    assert _everything(client) == before
    assert client.hget("rb:counters", "undone_flushes") is None


def test_a_store_behind_the_cut_is_refused_by_name(client: "redis.Redis") -> None:
    store = RedisStore(client, 1)
    store.flush(STAGE, {0: (1, {"a": b"1"})})
    before = _everything(client)
    with pytest.raises(Behind, match="shard customer:0 stands at 1, the cut at 5"):
        store.begin(STAGE, 0, 5)
    assert _everything(client) == before


def test_a_flush_of_another_version_than_the_next_is_refused_and_writes_nothing(
    client: "redis.Redis",
) -> None:
    store = RedisStore(client, 1)
    store.flush(STAGE, {0: (1, {"a": b"1"}), 1: (1, {"b": b"1"})})
    before = _everything(client)
    for wrong in (1, 3):
        with pytest.raises(WrongVersion, match=f"stands at 1, the flush is for {wrong}"):
            store.flush(STAGE, {0: (2, {"a": b"2", "c": b"2"}), 1: (wrong, {"b": b"2"})})
        assert _everything(client) == before


def test_an_older_generation_is_refused_by_name_and_writes_nothing(
    client: "redis.Redis",
) -> None:
    old = RedisStore(client, 1)
    old.flush(STAGE, {0: (1, {"a": b"1"})})
    client.incr("rb:gen")
    before = _everything(client)
    with pytest.raises(Fenced, match="a newer flow was started"):
        old.flush(STAGE, {0: (2, {"a": b"2"})})
    with pytest.raises(Fenced):
        old.begin(STAGE, 0, 0)
    assert _everything(client) == before
    RedisStore(client, 2).flush(STAGE, {0: (2, {"a": b"2"})})


def test_a_store_without_any_generation_is_refused(client: "redis.Redis") -> None:
    client.delete("rb:gen")
    with pytest.raises(Fenced):
        RedisStore(client, 1).flush(STAGE, {0: (1, {"a": b"1"})})


def test_each_refusal_is_a_state_error_of_the_flow() -> None:
    for refusal in (Fenced, Behind, UndoGone, WrongVersion):
        assert issubclass(refusal, StateError)
        assert issubclass(refusal, FlowError)


def test_a_fault_that_is_no_refusal_keeps_its_own_name(client: "redis.Redis") -> None:
    client.set("rb:state:customer:0", "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        RedisStore(client, 1).flush(STAGE, {0: (1, {"a": b"1"})})


def test_the_text_of_a_script_is_the_file_s() -> None:
    assert script("decide").startswith("-- The first written is the decision.")


def test_a_script_outlives_a_redis_that_forgot_it(client: "redis.Redis") -> None:
    scripts = Scripts(client)
    scripts.run("note", [1, 60])
    client.script_flush()
    assert scripts.run("note", [1, 60]) == 0


def test_what_was_taken_out_is_gone_and_an_undo_puts_it_back(client: "redis.Redis") -> None:
    store = RedisStore(client, 1)
    store.flush(STAGE, {0: (1, {"idle": b"old", "busy": b"1"})})
    store.flush(STAGE, {0: (2, {"idle": b"", "busy": b"2"})})
    assert _state(client) == {b"busy": b"2"}
    store.flush(STAGE, {0: (3, {"idle": b"new"})})
    assert store.begin(STAGE, 0, 1) == 2
    assert _state(client) == {b"idle": b"old", b"busy": b"1"}


def test_a_shard_is_read_on_through_to_its_end(client: "redis.Redis") -> None:
    store = RedisStore(client, 1)
    values = {f"e{number}": b"x" * 100 for number in range(2_000)}
    store.flush(STAGE, {0: (1, values)})
    found: dict[str, bytes] = {}
    cursor, turns = store.scan(STAGE, 0, 0, 100)
    found.update(turns)
    for _ in range(100):
        if not cursor:
            break
        cursor, turns = store.scan(STAGE, 0, cursor, 100)
        found.update(turns)
    assert found == values
