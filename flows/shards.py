"""Where do the profiles of a shard live between two cuts?

The cut is Bytewax's; what a shard puts into it is a *version number*. The profiles themselves live
in a store behind a bounded cache. A flush makes a new version and keeps the old values in an undo
log; after a crash `begin` undoes whatever was flushed after the cut, so that a shard stands
exactly where the cut stood.

::

    on_batch -> fetch -> (change) -> touch      epoch ends -> snapshot -> flush -> version
    resume(version) -> first batch -> begin: undo what is later than version
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar


class Kept(Protocol):
    """Anything with a durable form."""

    def dump(self) -> bytes: ...


P = TypeVar("P", bound=Kept)

#: How often a stage looks for idle entities, and at about how many: a million in about a day.
SWEEP_EVERY = 8
SWEEP_ROWS = 20


class Store(Protocol):
    """Holds the durable form of entities by stage and shard, in versions."""

    def begin(self, stage: str, shard: int, version: int) -> int:
        """Put a shard back to a version; give how many flushes were undone."""

    def load(self, stage: str, shard: int, entities: list[str]) -> list[bytes | None]:
        """Read entities of a shard; None for one that was never flushed."""

    def flush(self, stage: str, shards: Mapping[int, tuple[int, Mapping[str, bytes]]]) -> None:
        """Write shards whole: shard -> (new version, entity -> value). All or nothing.

        An empty value takes the entity out.
        """

    def scan(
        self, stage: str, shard: int, cursor: int, count: int
    ) -> tuple[int, Mapping[str, bytes]]:
        """Read on through a shard, about so many entities; the cursor 0 begins and ends it."""


class MemoryStore:
    """A store that forgets with its process: for a replay over a file, which starts anew."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], dict[str, bytes]] = {}

    def begin(self, stage: str, shard: int, version: int) -> int:
        """A new process never resumes here."""
        return 0

    def load(self, stage: str, shard: int, entities: list[str]) -> list[bytes | None]:
        kept = self._kept.get((stage, shard), {})
        return [kept.get(entity) for entity in entities]

    def flush(self, stage: str, shards: Mapping[int, tuple[int, Mapping[str, bytes]]]) -> None:
        for shard, (_, values) in shards.items():
            kept = self._kept.setdefault((stage, shard), {})
            kept.update(values)
            for entity in [entity for entity, value in values.items() if not value]:
                del kept[entity]

    def scan(
        self, stage: str, shard: int, cursor: int, count: int
    ) -> tuple[int, Mapping[str, bytes]]:
        return 0, dict(self._kept.get((stage, shard), {}))


class Cabinet(Generic[P]):
    """The cache of one stage in one process, over all of its shards there.

    ``limit`` bounds the clean entries of the whole stage. Only clean entries are evicted: a dirty
    one is not in the store yet. ``expired`` says of a stored entity whether it is forgotten by a
    time, in microseconds since 1970: a few are looked at with each `SWEEP_EVERY`-th flush.
    """

    def __init__(
        self,
        stage: str,
        store: Store,
        new: Callable[[], P],
        load: Callable[[bytes], P],
        limit: int,
        expired: Callable[[bytes, int], bool] | None = None,
    ) -> None:
        self.stage = stage
        self._expired, self._newest_us = expired, 0
        self._flushes, self._swept, self._cursor = 0, 0, 0
        self._store, self._new, self._load, self._limit = store, new, load, limit
        self._cache: dict[int, OrderedDict[str, P]] = {}
        self._dirty: dict[int, set[str]] = {}
        self._versions: dict[int, int] = {}
        self._ahead: dict[tuple[int, str], bytes | None] = {}
        self._held = 0

    def begin(self, shard: int, version: int) -> None:
        """Open a shard at the version of the cut; called before anything else of it."""
        self._store.begin(self.stage, shard, version)
        self._versions[shard] = version
        self._held -= len(self._cache.pop(shard, ()))
        self._ahead.clear()
        self._cache[shard] = OrderedDict()
        self._dirty[shard] = set()

    def lacks(self, shard: int, entity: str) -> bool:
        """Whether reading an entity ahead makes sense: its shard is open here and hasn't it."""
        cache = self._cache.get(shard)
        return cache is not None and entity not in cache and (shard, entity) not in self._ahead

    def read_ahead(self, shard: int, entity: str, raw: bytes | None) -> None:
        """Keep what was read of an entity that the shard `lacks`, until the next flush.

        It is used only by a `fetch` that finds the entity neither held nor written since: what is
        written stays held until the flush, and the flush forgets all that was read before it.
        """
        self._ahead[shard, entity] = raw

    def fetch(self, shard: int, entities: Iterable[str]) -> OrderedDict[str, P]:
        """Give the shard's cache with these entities in it; absent ones are new."""
        cache = self._cache[shard]
        missing = [entity for entity in entities if entity not in cache]
        if missing and self._ahead:
            missing = [entity for entity in missing if not self._from_ahead(shard, entity, cache)]
        if missing:
            missing = list(dict.fromkeys(missing))
            for entity, raw in zip(
                missing, self._store.load(self.stage, shard, missing), strict=True
            ):
                cache[entity] = self._new() if raw is None else self._load(raw)
            self._held += len(missing)
        return cache

    def _from_ahead(self, shard: int, entity: str, cache: OrderedDict[str, P]) -> bool:
        if entity in cache:
            return True
        if (shard, entity) not in self._ahead:
            return False
        raw = self._ahead.pop((shard, entity))
        cache[entity] = self._new() if raw is None else self._load(raw)
        self._held += 1
        return True

    def touch(self, shard: int, entity: str) -> None:
        """Say that an entity was changed since the last flush."""
        self._dirty[shard].add(entity)
        self._cache[shard].move_to_end(entity)

    def passed(self, time_us: int) -> None:
        """Say that time is at least so far, by the events that were seen."""
        self._newest_us = max(self._newest_us, time_us)

    def _sweep(self, whole: dict[int, tuple[int, dict[str, bytes]]]) -> None:
        """Put among what is to be written that some idle entities are gone."""
        self._flushes += 1
        if self._expired is None or self._flushes % SWEEP_EVERY:
            return
        numbers = sorted(self._versions)
        shard = numbers[self._swept % len(numbers)]
        self._cursor, rows = self._store.scan(self.stage, shard, self._cursor, SWEEP_ROWS)
        self._swept += self._cursor == 0
        for entity, raw in rows.items():
            if entity not in self._cache[shard] and self._expired(raw, self._newest_us):
                whole.setdefault(shard, (self._versions[shard] + 1, {}))[1][entity] = b""

    def flush(self, shard: int) -> int:
        """Make all dirty shards of the stage durable in one write; give this shard's version."""
        dirty = {number: touched for number, touched in self._dirty.items() if touched}
        self._ahead.clear()
        if dirty:
            whole: dict[int, tuple[int, dict[str, bytes]]] = {}
            for number, touched in dirty.items():
                cache = self._cache[number]
                values = {entity: cache[entity].dump() for entity in touched}
                whole[number] = (self._versions[number] + 1, values)
            self._sweep(whole)
            self._store.flush(self.stage, whole)
            for number, (version, _) in whole.items():
                self._versions[number] = version
                self._dirty[number] = set()
            self._evict()
        return self._versions[shard]

    def _evict(self) -> None:
        if self._held <= self._limit:
            return
        for cache in self._cache.values():
            share = self._limit // max(1, len(self._cache))
            while len(cache) > share:
                cache.popitem(last=False)
                self._held -= 1
