"""How do records come from Redis to the ledger? `rb:audit`, read from the ledger's own position.

    XREAD BLOCK rb:audit <stored id>  ->  one commit  ->  SET rb:audit:durable <last id>, XREAD

While one commit waits for the disk the next records gather: that is the whole group commit. What
has gathered comes in the turn that sets the mark. Where only a few came, more are on their way:
they are waited for by `GATHER_SECONDS`, and until `PACE_SECONDS` after the commit before began,
since a commit costs as much as several records. Who comes alone waits least. The position lies in
the ledger's transaction, so what was committed is never taken twice, and what was not is read
again. The stream is trimmed below the durable mark only. Who waits for the mark blocks on the
stream `rb:audit:marks`, whose one entry is the newest.

The leaf hash of an outcome is told under `rb:leaf:<event>` for an hour, together with the mark
that makes it durable: the closing message to the customer carries it.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

import orjson
import redis

from audit.errors import LedgerBehindRedis, RedisBehindLedger

STREAM = "rb:audit"
FIELD = b"records"
MARK = "rb:audit:durable"
MARKS = "rb:audit:marks"
READ_ENTRIES = 512
BLOCK_MS = 250
GATHER_SECONDS = 0.003
PACE_SECONDS = 0.020
FEW_ENTRIES = 64
LEAF = "rb:leaf:"
LEAF_SECONDS = 3600
TRIM_EVERY = 1.0
WAIT_LONGEST = 1.0

StreamId = tuple[int, int]
Entry = tuple[bytes, dict[bytes, bytes]]


class Taker(Protocol):
    """What the inlet needs of a ledger."""

    @property
    def stream_id(self) -> str: ...

    @property
    def outcomes(self) -> dict[str, str]: ...

    def append_many(self, records: list[Any], *, stream_id: str | None = None) -> None: ...

    def refuse(self, rid: str, why: str, raw: bytes) -> dict[str, Any]: ...

    def tick(self) -> None: ...

    def note(self, kind: str, body: dict[str, Any]) -> None: ...


class Inlet:
    """One blocking connection that moves the stream into a ledger."""

    def __init__(self, redis_url: str, ledger: Taker) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=5.0)
        self._ledger = ledger
        self._trimmed = self._begun = 0.0
        self._gathered: list[Entry] = []

    def check(self, *, recover: bool = False) -> None:
        """Compare both ends. Refused: RedisBehindLedger, LedgerBehindRedis.

        With `recover`, a Redis behind the ledger is moved up to the ledger's position instead,
        so that new entries come after it, and the ledger says so. What Redis lost besides
        (decisions, profiles) is for the caller to put back, see `audit.read.decisions`.
        """
        stored = parse_id(self._ledger.stream_id)
        try:
            info: Any = self._redis.xinfo_stream(STREAM)
            last = parse_id(info["last-generated-id"])
        except redis.ResponseError:
            last = (0, 0)
        if last < stored and recover:
            # An entry with that very id moves the stream's end; it is never read again.
            self._redis.xadd(STREAM, {FIELD: b"[]"}, id=self._ledger.stream_id)
            body = {"ledger": self._ledger.stream_id, "redis": f"{last[0]}-{last[1]}"}
            self._ledger.note("redis.recovered", body)
        elif last < stored:
            raise RedisBehindLedger(
                f"{STREAM} in Redis ends at {last[0]}-{last[1]}, the ledger has already taken "
                f"{self._ledger.stream_id}: Redis lost acknowledged writes. Restore Redis, or "
                "start with --recover-from-ledger"
            )
        mark: Any = self._redis.get(MARK)
        if mark is not None and parse_id(mark) > stored:
            raise LedgerBehindRedis(
                f"{MARK} is {parse_id(mark)[0]}-{parse_id(mark)[1]}, the ledger ends at "
                f"{self._ledger.stream_id}: records that were durable are not in this ledger. "
                "Put the right data directory back; a new ledger must not go on in its place"
            )
        self._redis.set(MARK, self._ledger.stream_id)

    def meet(self, stop: threading.Event, *, recover: bool = False) -> bool:
        """Wait for Redis, then `check`; False when told to stop before it came."""
        pause = 0.02
        while not stop.is_set():
            try:
                self.check(recover=recover)
            except (redis.ConnectionError, redis.TimeoutError):
                stop.wait(pause)
                pause = min(pause * 2, WAIT_LONGEST)
            else:
                return True
        return False

    def run(self, stop: threading.Event) -> None:
        """Move records until told to stop; a Redis that is away is waited for and checked again."""
        pause = 0.02
        while not stop.is_set():
            try:
                self.step()
                pause = 0.02
            except (redis.ConnectionError, redis.TimeoutError):
                self._wait_for_redis(stop, pause)
                pause = min(pause * 2, WAIT_LONGEST)

    def step(self, block_ms: int = BLOCK_MS) -> int:
        """One read, one commit, one mark; how many stream entries were taken.

        What else is due (spare keys, heads) is done once the mark stands: nobody waits for that.
        """
        entries, self._gathered = self._gathered, []
        if not entries:
            position: Any = {STREAM: self._ledger.stream_id}
            entries = _entries(self._redis.xread(position, count=READ_ENTRIES, block=block_ms))
        if not entries:
            self._ledger.tick()
            return 0
        if len(entries) < FEW_ENTRIES:
            due = self._begun + PACE_SECONDS - time.monotonic()
            time.sleep(max(GATHER_SECONDS, due))
            after: Any = {STREAM: entries[-1][0]}
            entries += _entries(self._redis.xread(after, count=READ_ENTRIES))
        records: list[Any] = []
        for entry_id, fields in entries:
            records += self._read(entry_id.decode(), fields)
        last = entries[-1][0].decode()
        self._begun = time.monotonic()
        self._ledger.append_many(records, stream_id=last)
        self._tell(last)
        self._trim(last)
        self._ledger.tick()
        return len(entries)

    def close(self) -> None:
        self._redis.close()

    def _tell(self, last: str) -> None:
        """Move the mark, after the hashes of the outcomes below it; read what has gathered."""
        pipe = self._redis.pipeline(transaction=False)
        for event, leaf in self._ledger.outcomes.items():
            pipe.set(LEAF + event, leaf, ex=LEAF_SECONDS)
        pipe.set(MARK, last)
        pipe.xadd(MARKS, {"mark": last}, maxlen=1, approximate=False)
        after: Any = {STREAM: last}
        pipe.xread(after, count=READ_ENTRIES)
        self._gathered = _entries(pipe.execute()[-1])

    def _read(self, entry_id: str, fields: dict[bytes, bytes]) -> list[Any]:
        raw = fields.get(FIELD, b"")
        rid = f"{STREAM}/{entry_id}/record.refused"
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            return [self._ledger.refuse(rid, f"the entry is no JSON: {error}", raw)]
        if type(found) is dict:
            found = [found]
        if type(found) is not list:
            return [self._ledger.refuse(rid, "the entry is no array of records", raw)]
        return found

    def _trim(self, last: str) -> None:
        now = time.monotonic()
        if now - self._trimmed >= TRIM_EVERY:
            self._trimmed = now
            self._redis.xtrim(STREAM, minid=last, approximate=True)  # `last` itself stays

    def _wait_for_redis(self, stop: threading.Event, pause: float) -> None:
        self._gathered = []
        if stop.wait(pause):
            return
        try:
            self.check()
        except (redis.ConnectionError, redis.TimeoutError):
            return


def _entries(answer: Any) -> list[Entry]:
    """The entries of one stream, in either shape that the client may give them."""
    if not answer:
        return []
    return list(answer[0][1] if isinstance(answer, list) else next(iter(answer.values()))[0])


def parse_id(text: str | bytes) -> StreamId:
    """'1700000000000-3' -> (1700000000000, 3)."""
    if isinstance(text, bytes):
        text = text.decode()
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)
