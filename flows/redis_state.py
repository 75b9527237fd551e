"""How do shards lie in Redis? One hash a shard, one version number, a few undo hashes.

::

    rb:state:<stage>:<shard>            entity -> value
    rb:ver:<stage>:<shard>              the version of the last flush
    rb:undo:<stage>:<shard>:<version>   entity -> value before that flush ('' : was not there)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from flows.errors import Behind, Fenced, StateError, UndoGone, WrongVersion
from flows.wire import AGAIN, Wire

KEPT_VERSIONS = 8
_SCRIPTS = Path(__file__).parent / "scripts"
_ERRORS: Mapping[str, type[StateError]] = {
    "FENCED": Fenced,
    "BEHIND": Behind,
    "NOUNDO": UndoGone,
    "VERSION": WrongVersion,
}


def script(name: str) -> str:
    """The text of one of the flow's Lua scripts."""
    return (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")


class Scripts:
    """The flow's scripts on one connection; their refusals come back as errors with names."""

    def __init__(self, client: "redis.Redis") -> None:
        self._wire = Wire(client)
        self._ready = {
            path.stem: client.register_script(path.read_text(encoding="utf-8"))
            for path in _SCRIPTS.glob("*.lua")
        }

    def run(self, name: str, args: list[Any]) -> Any:
        """Run a script; raises a `StateError` where it refuses."""
        ready = self._ready[name]
        try:
            try:
                return self._wire.ask("EVALSHA", ready.sha, 0, *args)
            except AGAIN:
                return ready(keys=[], args=args)
        except redis.ResponseError as refused:
            word, _, rest = str(refused).partition(" ")
            if word in _ERRORS:
                raise _ERRORS[word](rest) from refused
            raise


class RedisStore:
    """The store of `flows.shards` on Redis; each write is fenced by the flow's generation."""

    def __init__(self, client: "redis.Redis", generation: int) -> None:
        self._client, self._generation = client, generation
        self._scripts, self._wire = Scripts(client), Wire(client)

    def begin(self, stage: str, shard: int, version: int) -> int:
        return int(self._scripts.run("undo", [self._generation, stage, shard, version]))

    def load(self, stage: str, shard: int, entities: list[str]) -> list[bytes | None]:
        rows: Any = self._client.hmget(f"rb:state:{stage}:{shard}", entities)
        return list(rows)

    def load_many(
        self, wanted: Mapping[tuple[str, int], list[str]]
    ) -> dict[tuple[str, int], list[bytes | None]]:
        """Read entities of many stages and shards in one turn."""
        asked = [
            ("HMGET", f"rb:state:{stage}:{shard}", *entities)
            for (stage, shard), entities in wanted.items()
        ]
        try:
            rows = self._wire.exchange(asked)
        except AGAIN:
            return {key: self.load(*key, entities) for key, entities in wanted.items()}
        return dict(zip(wanted, rows, strict=True))

    def scan(
        self, stage: str, shard: int, cursor: int, count: int
    ) -> tuple[int, Mapping[str, bytes]]:
        found: Any = self._client.hscan(f"rb:state:{stage}:{shard}", cursor, count=count)
        then, rows = found
        return int(then), {entity.decode(): raw for entity, raw in rows.items()}

    def flush(self, stage: str, shards: Mapping[int, tuple[int, Mapping[str, bytes]]]) -> None:
        args: list[Any] = [self._generation, stage, KEPT_VERSIONS]
        for shard, (version, values) in shards.items():
            args += [shard, version, len(values)]
            for entity, value in values.items():
                args += [entity, value]
        self._scripts.run("flush", args)
