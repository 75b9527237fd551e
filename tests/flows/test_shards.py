"""Does the cache in front of the profiles lose nothing and stay small?"""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.shards import SWEEP_EVERY, Cabinet, MemoryStore


class Tally:
    """A profile that counts."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def dump(self) -> bytes:
        return str(self.count).encode()

    @classmethod
    def load(cls, raw: bytes) -> "Tally":
        return cls(int(raw))


class Watched(MemoryStore):
    """A store that remembers what it was asked, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[list[str]] = []
        self.flushed: list[dict[int, tuple[int, dict[str, bytes]]]] = []
        self.broken = False

    def load(self, stage: str, shard: int, entities: list[str]) -> list[bytes | None]:
        self.loaded.append(entities)
        return super().load(stage, shard, entities)

    def flush(self, stage: str, shards: Mapping[int, tuple[int, Mapping[str, bytes]]]) -> None:
        if self.broken:
            raise ConnectionError("the store is away")
        self.flushed.append({number: (one, dict(two)) for number, (one, two) in shards.items()})
        super().flush(stage, shards)


def _cabinet(store: MemoryStore, limit: int = 100, shards: int = 2) -> Cabinet[Tally]:
    cabinet = Cabinet("customer", store, Tally, Tally.load, limit)
    for shard in range(shards):
        cabinet.begin(shard, 0)
    return cabinet


def _count(cabinet: Cabinet[Tally], shard: int, entity: str) -> None:
    cabinet.fetch(shard, [entity])[entity].count += 1
    cabinet.touch(shard, entity)


def test_a_profile_is_read_once_and_new_where_it_never_was() -> None:
    store = Watched()
    cabinet = _cabinet(store)
    assert cabinet.fetch(0, ["a", "b", "a"])["a"].count == 0
    cabinet.fetch(0, ["b", "a", "c"])
    assert store.loaded == [["a", "b"], ["c"]]


def test_a_flush_writes_all_dirty_shards_at_once_each_under_its_next_version() -> None:
    store = Watched()
    cabinet = _cabinet(store)
    _count(cabinet, 0, "a")
    _count(cabinet, 1, "b")
    cabinet.fetch(0, ["clean"])
    assert cabinet.flush(0) == 1
    assert store.flushed == [{0: (1, {"a": b"1"}), 1: (1, {"b": b"1"})}]
    assert cabinet.flush(1) == 1
    _count(cabinet, 1, "b")
    assert (cabinet.flush(0), cabinet.flush(1)) == (1, 2)
    assert store.flushed[1:] == [{1: (2, {"b": b"2"})}]


def test_what_was_not_changed_is_not_written_again() -> None:
    store = Watched()
    cabinet = _cabinet(store)
    _count(cabinet, 0, "a")
    for _ in range(3):
        assert cabinet.flush(0) == 1
    assert len(store.flushed) == 1


def test_a_failed_flush_leaves_everything_dirty_and_its_version_unused() -> None:
    store = Watched()
    cabinet = _cabinet(store, limit=1)
    for entity in "abc":
        _count(cabinet, 0, entity)
    store.broken = True
    with pytest.raises(ConnectionError):
        cabinet.flush(0)
    store.broken = False
    assert cabinet.flush(0) == 1
    assert store.flushed == [{0: (1, {"a": b"1", "b": b"1", "c": b"1"})}]


def test_a_shard_begins_anew_at_the_version_of_the_cut() -> None:
    store = Watched()
    cabinet = _cabinet(store)
    _count(cabinet, 0, "a")
    cabinet.begin(0, 7)
    assert cabinet.flush(0) == 7
    assert cabinet.fetch(0, ["a"])["a"].count == 0


def test_the_cache_is_bounded_after_each_flush_and_keeps_what_was_touched_last() -> None:
    store = Watched()
    cabinet = _cabinet(store, limit=10)
    for number in range(50):
        _count(cabinet, number % 2, f"e{number}")
    cabinet.flush(0)
    store.loaded.clear()
    for number in range(40, 50):
        cabinet.fetch(number % 2, [f"e{number}"])
    assert store.loaded == []
    cabinet.fetch(0, ["e0"])
    assert store.loaded == [["e0"]]


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 2), st.integers(0, 12)),
        st.tuples(st.just("look"), st.integers(0, 2), st.integers(0, 12)),
        st.tuples(st.just("flush"), st.integers(0, 2), st.just(0)),
    ),
    max_size=60,
)


@given(_STEPS, st.integers(0, 12))
def test_no_count_is_lost_however_small_the_cache(
    steps: list[tuple[str, int, int]], limit: int
) -> None:
    cabinet = _cabinet(MemoryStore(), limit=limit, shards=3)
    counts: dict[tuple[int, str], int] = {}
    for step, shard, number in steps:
        entity = f"e{number}"
        if step == "flush":
            cabinet.flush(shard)
        else:
            assert cabinet.fetch(shard, [entity])[entity].count == counts.get((shard, entity), 0)
        if step == "count":
            _count(cabinet, shard, entity)
            counts[shard, entity] = counts.get((shard, entity), 0) + 1
    _count(cabinet, 0, "last")
    cabinet.flush(0)
    assert sum(len(cabinet.fetch(shard, [])) for shard in range(3)) <= limit
    for (shard, entity), count in counts.items():
        assert cabinet.fetch(shard, [entity])[entity].count == count


def test_what_was_read_ahead_is_used_once_and_never_instead_of_what_is_held() -> None:
    store = MemoryStore()
    cabinet = Cabinet("customer", store, Tally, Tally.load, 10)
    cabinet.begin(0, 0)
    assert cabinet.lacks(0, "a")
    assert not cabinet.lacks(1, "a")  # a shard that is not open here
    cabinet.read_ahead(0, "a", Tally(7).dump())
    assert not cabinet.lacks(0, "a")
    assert cabinet.fetch(0, ["a", "b", "a"])["a"].count == 7
    assert not cabinet.lacks(0, "a")


def test_a_flush_forgets_what_was_read_before_it() -> None:
    cabinet = Cabinet("customer", MemoryStore(), Tally, Tally.load, 0)
    cabinet.begin(0, 0)
    cabinet.read_ahead(0, "a", Tally(1).dump())
    cabinet.fetch(0, ["b"])["b"].count = 5
    cabinet.touch(0, "b")
    cabinet.flush(0)
    assert cabinet.lacks(0, "a")
    assert cabinet.fetch(0, ["a"])["a"].count == 0


def test_who_is_forgotten_is_taken_out_of_the_store_a_few_at_a_time() -> None:
    """Idle entities go, by the time of the events; held ones and those of later stay."""
    store = MemoryStore()
    kept = {f"e{number}": str(number).encode() for number in range(50)}
    store.flush("customer", {0: (1, kept), 1: (1, {"other": b"3"})})
    cabinet = Cabinet(
        "customer", store, Tally, Tally.load, 100, lambda raw, now: int(raw) < now - 60
    )
    cabinet.begin(0, 1)
    cabinet.begin(1, 1)
    cabinet.fetch(0, ["e1"])
    cabinet.passed(80)
    versions = []
    for _ in range(2 * SWEEP_EVERY):
        _count(cabinet, 0, "busy")
        versions.append(cabinet.flush(0))
    assert versions == list(range(2, 2 * SWEEP_EVERY + 2))
    left = [f"e{number}" for number in range(50) if store.load("customer", 0, [f"e{number}"])[0]]
    assert left == ["e1", *(f"e{number}" for number in range(20, 50))]
    assert store.load("customer", 1, ["other"]) == [None]
    assert store.load("customer", 0, ["busy"]) == [str(2 * SWEEP_EVERY).encode()]
