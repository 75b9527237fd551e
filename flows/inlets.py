"""How do facts come in from Redis? One inlet, a partition a stream, positions in the cut.

::

    rb:events:<p> --> Described (event alone so far), stamped with its partition's watermark
    rb:labels     --> Known: joined once with what was known when the event was scored
    rb:models     --> Appointed: another model's word counts from here on
    rb:answers    --> Spoken, and HeardUntil marks: "read to the end as of ..."

One thread a process reads all of its streams with a blocking XREAD, so that an event waits for no
poll. What can't be read goes to the dead letters with its reason, and the stream goes on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from features.moment import LATENESS
from flows.scored import Scoreds
from flows.walk import Appointed, Described, HeardUntil, Spoken, Values
from flows.wire import AGAIN, Wire
from flows.worker_thread import hold_state
from risk import events, money, names
from risk.events import Moment
from risk.labels import Known

LATENESS_US = LATENESS
BATCH = 200
_READ_COUNT = 500
_QUEUED_AT_MOST = 2_000
_BLOCK_MS = 100
_MARK_EVERY_US = 250_000
_RETRY_EVERY_US = 1_000_000
_LABEL_WAITS_MS = 24 * 3_600_000

Entry = tuple[bytes, dict[bytes, bytes]]

_WAIT = """
local key = 'rb:label:heard:' .. ARGV[3]
if redis.call('GET', key) == ARGV[4] then redis.call('DEL', key) end
redis.call('ZADD', 'rb:labels:waiting', 'NX', ARGV[1], ARGV[2]) return 1
"""
_HEARD = """
local key = 'rb:label:heard:' .. ARGV[1]
redis.call('SET', key, ARGV[2], 'NX', 'EX', ARGV[3])
return redis.call('GET', key)
"""
_RETRY = """
local due = redis.call('ZRANGEBYSCORE', 'rb:labels:waiting', '-inf', ARGV[1], 'LIMIT', 0, 100)
for _, row in ipairs(due) do
  redis.call('ZREM', 'rb:labels:waiting', row)
  local label = cjson.decode(row)
  local since = tonumber(label['waiting_since_ms'] or ARGV[1])
  if since + tonumber(ARGV[2]) < tonumber(ARGV[1]) then
    redis.call('XADD', 'rb:dead', '*', 'reason', 'label_of_unknown_event', 'problem',
      '{"field":"event","needed":"an event that was scored","got":"an unknown one for 24 h"}',
      'event', row)
    redis.call('HINCRBY', 'rb:counters', 'dead_letters', 1)
  else
    redis.call('XADD', 'rb:labels', '*', 'label', row)
  end
end
return #due
"""


_HEARD_SECONDS = 2 * 86_400


def position_of(entry: bytes) -> int:
    """A stream id as one number that keeps the order."""
    ms, _, seq = entry.partition(b"-")
    return int(ms) << 20 | int(seq)


@dataclass
class _Feed:
    stream: str
    last: bytes
    queue: deque[Entry] = field(default_factory=deque)
    heard_until_us: int = 0


class Reader:
    """The one reading thread of a process; feeds are registered before it starts."""

    def __init__(self, client: "redis.Redis", now_us: Callable[[], int]) -> None:
        self._client, self._now_us = client, now_us
        self._wire = Wire(client)
        self._feeds: dict[str, _Feed] = {}
        self._started = False
        self._failed: BaseException | None = None

    def feed(self, stream: str, last: bytes) -> _Feed:
        """Register a stream to be read after an id."""
        self._feeds[stream] = _Feed(stream, last)
        return self._feeds[stream]

    def take(self, feed: _Feed, limit: int) -> list[Entry]:
        """Take what has been read; raises what the thread died of."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._read, name="inlet", daemon=True).start()
        if self._failed is not None:
            raise self._failed
        queue = feed.queue
        return [queue.popleft() for _ in range(min(limit, len(queue)))]

    def _read(self) -> None:
        try:
            while True:
                self._read_once()
        except Exception as died:  # noqa: BLE001  whatever it is, the flow must not go on deaf
            self._failed = died

    def _read_once(self) -> None:
        wanted = {
            feed.stream: feed.last
            for feed in self._feeds.values()
            if len(feed.queue) < _QUEUED_AT_MOST
        }
        began = self._now_us()
        if not wanted:
            threading.Event().wait(0.002)
            return
        full: set[str] = set()
        for name, entries in self._news(wanted):
            feed = self._feeds[name.decode()]
            feed.queue.extend(
                (entry, dict(zip(pairs[::2], pairs[1::2], strict=True))) for entry, pairs in entries
            )
            feed.last = entries[-1][0]
            if len(entries) >= _READ_COUNT:
                full.add(feed.stream)
        for stream in wanted:
            if stream not in full:
                self._feeds[stream].heard_until_us = began

    def _news(self, wanted: dict[str, bytes]) -> Iterable[tuple[bytes, list[Any]]]:
        """What has come since, by stream: entries as ``(id, [name, value, ...])``."""
        ask = ("XREAD", "COUNT", _READ_COUNT, "BLOCK", _BLOCK_MS, "STREAMS", *wanted)
        while True:
            try:
                return self._wire.ask(*ask, *wanted.values()) or ()
            except AGAIN:
                self._client.ping()  # tries to connect for a while, and gives up


class _Part(StatefulSourcePartition[Any, Any]):
    def __init__(self, inlet: "RedisInlet", stream: str, last: bytes) -> None:
        self._inlet, self._stream, self._last = inlet, stream, last
        self._feed = inlet.reader.feed(stream, last)

    def _entries(self) -> list[Entry]:
        self._inlet.polled = time.monotonic()
        if self._inlet.stopping:
            raise StopIteration
        entries = self._inlet.reader.take(self._feed, self._inlet.batch)
        if entries:
            self._last = entries[-1][0]
        return entries

    def _dead(self, entry: Entry, wrong: Exception) -> None:
        problem = {"field": self._stream, "needed": "a readable entry", "got": type(wrong).__name__}
        self._inlet.client.xadd(
            names.DEAD,
            {"reason": "unreadable", "problem": orjson.dumps(problem), "event": entry[0]},
        )
        self._inlet.client.hincrby(names.COUNTERS, "dead_letters", 1)

    def snapshot(self) -> Any:
        self._inlet.seen(self._stream, self._last)
        return self._last


class EventsPart(_Part):
    """One partition of accepted events, with its watermark: the greatest event time seen."""

    def __init__(self, inlet: "RedisInlet", partition: int, resume: Any) -> None:
        last: bytes
        self._watermark_us: int
        last, self._watermark_us = resume or (b"0-0", 0)
        super().__init__(inlet, names.events(partition), last)
        self._partition = partition

    def next_batch(self) -> list[Described]:
        facts: list[Described] = []
        for entry in self._entries():
            try:
                facts.append(self._described(entry))
            except (KeyError, ValueError, TypeError, AttributeError) as wrong:
                self._dead(entry, wrong)
        if facts and self._inlet.ahead is not None:
            self._inlet.ahead(facts)
        return facts

    def _described(self, entry: Entry) -> Described:
        moment = events.moment(
            orjson.loads(entry[1][b"e"]),
            partition=self._partition,
            position=position_of(entry[0]),
            watermark_us=self._watermark_us,
            lateness_us=LATENESS_US,
            rates=self._inlet.rates,
        )
        self._watermark_us = max(self._watermark_us, moment.time_us)
        if moment.late:
            self._inlet.late(moment, self._watermark_us)
        return Described(moment, self._inlet.surface(moment), {})

    def snapshot(self) -> Any:
        return super().snapshot(), self._watermark_us


class LabelsPart(_Part):
    """Labels, joined with what was known when their events were scored."""

    def __init__(self, inlet: "RedisInlet", resume: Any) -> None:
        super().__init__(inlet, names.LABELS, resume or b"0-0")
        self._retried_us = 0

    def next_batch(self) -> list[Known]:
        inlet = self._inlet
        now_us = inlet.now_us()
        if now_us - self._retried_us > _RETRY_EVERY_US:
            self._retried_us = now_us
            inlet.client.eval(_RETRY, 0, str(now_us // 1000), str(_LABEL_WAITS_MS))
        known: list[Known] = []
        for entry in self._entries():
            try:
                label = orjson.loads(entry[1][b"label"])
                row = inlet.scoreds.get(label["event"])
                if row is None:
                    self._wait(label, entry[0], now_us // 1000)
                    continue
                if not self._is_the_one(label, entry[0]):
                    continue
                known.append(
                    Known(
                        id=str(label.get("id") or entry[0].decode()),
                        event=label["event"],
                        fraud=bool(label["fraud"]),
                        source=label["source"],
                        known_us=events.parse_us(label["known"]),
                        event_time_us=row.time_us,
                        customer=row.customer,
                        payee=row.payee,
                        device=row.device,
                        ip=row.ip,
                        partition=-1,
                        position=position_of(entry[0]),
                        teaches=not label.get("outranked", False),
                        features=row.features,
                        card=row.card,
                        terminal=row.terminal,
                        scores=row.scores,
                    )
                )
            except (KeyError, ValueError, TypeError, AttributeError) as wrong:
                self._dead(entry, wrong)
        return known

    def _wait(self, label: dict[str, Any], entry: bytes, now_ms: int) -> None:
        """Put a label of an event that is not known, or not again, off for half a second.

        If this very entry was heard before, that was undone by a crash with the row of its event:
        the entry that the waiting makes is then the one.
        """
        label.setdefault("waiting_since_ms", now_ms)
        row = orjson.dumps(label)
        self._inlet.client.eval(_WAIT, 0, str(now_ms + 500), row, _said(label), entry)

    def _is_the_one(self, label: dict[str, Any], entry: bytes) -> bool:
        """False for another entry of a label already heard.

        After a crash a label that had waited can come by two entries: its own, read again, and the
        one that its waiting made. A resumed flow must hear again the one that it heard before.
        """
        seconds = str(_HEARD_SECONDS)
        first: Any = self._inlet.client.eval(_HEARD, 0, _said(label), entry, seconds)
        return bytes(first) == entry


def _said(label: dict[str, Any]) -> str:
    return ":".join(str(label.get(part)) for part in ("event", "source", "time", "known"))


def _must_be_an_answer(entry: dict[str, Any]) -> None:
    """Raise ValueError for what no shard could hear; it would end the flow at each new start."""
    if entry.get("kind") in ("freeze", "unfreeze"):
        if not (isinstance(entry["customer"], str) and entry["customer"]):
            raise ValueError("answer: needed a customer")
        return
    if not all(isinstance(entry[name], str) and entry[name] for name in ("customer", "challenge")):
        raise ValueError("answer: needed a customer and a challenge")
    if entry.get("kind") != "unreachable" and entry["decision"] not in ("confirm", "deny"):
        raise ValueError("answer: needed confirm or deny")


class AnswersPart(_Part):
    """What customers answered, and up to when everybody was heard."""

    def __init__(self, inlet: "RedisInlet", resume: Any) -> None:
        super().__init__(inlet, names.ANSWERS, resume or b"0-0")
        self._marked_us = 0

    def next_batch(self) -> list[Spoken | HeardUntil]:
        until_us = self._feed.heard_until_us
        facts: list[Spoken | HeardUntil] = []
        for entry in self._entries():
            try:
                answer = orjson.loads(entry[1][b"answer"])
                received_us = events.parse_us(answer["received"])
                _must_be_an_answer(answer)
                facts.append(Spoken(answer["customer"], entry[0].decode(), received_us, answer))
            except (KeyError, ValueError, TypeError, AttributeError) as wrong:
                self._dead(entry, wrong)
        if until_us - self._marked_us >= _MARK_EVERY_US and not self._feed.queue:
            self._marked_us = until_us
            facts += [HeardUntil(shard, until_us) for shard in range(self._inlet.shards)]
        return facts


class ModelsPart(_Part):
    """Which model's word was to count, from where on."""

    def __init__(self, inlet: "RedisInlet", resume: Any) -> None:
        super().__init__(inlet, names.MODELS, resume or b"0-0")

    def next_batch(self) -> list[Appointed]:
        orders: list[Appointed] = []
        for entry in self._entries():
            try:
                told = orjson.loads(entry[1][b"order"])
                orders.append(
                    Appointed(
                        entry[0].decode(),
                        str(told["proposal"]),
                        str(told["model"]),
                        str(told["proposed_by"]),
                        str(told["approved_by"]),
                        events.parse_us(told["approved"]),
                        bool(told.get("back")),
                    )
                )
            except (KeyError, ValueError, TypeError, AttributeError) as wrong:
                self._dead(entry, wrong)
        return orders


class RedisInlet(FixedPartitionedSource[Any, Any]):
    """All streams that the flow reads: ``partitions`` of events, labels, answers, orders."""

    def __init__(
        self,
        client: "redis.Redis",
        partitions: int,
        shards: int,
        rates: money.Rates,
        surface: Callable[[Moment], Values],
        scoreds: Scoreds,
        now_us: Callable[[], int],
        batch: int = BATCH,
    ) -> None:
        self.client, self.shards, self.rates, self.batch = client, shards, rates, batch
        self.surface, self.scoreds, self.now_us = surface, scoreds, now_us
        self._partitions = partitions
        self.reader = Reader(client, now_us)
        self._positions: dict[str, deque[tuple[int, bytes]]] = {}
        self.ahead: Callable[[list[Described]], None] | None = None
        self.polled = time.monotonic()
        self.stopping = False

    def stop(self) -> None:
        """End each stream where it is: what was read is walked to its end, then the flow ends."""
        self.stopping = True

    def list_parts(self) -> list[str]:
        events_parts = (f"events-{p}" for p in range(self._partitions))
        return [*events_parts, "labels", "answers", "models"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _Part:
        hold_state()
        if for_part == "labels":
            return LabelsPart(self, resume_state)
        if for_part == "answers":
            return AnswersPart(self, resume_state)
        if for_part == "models":
            return ModelsPart(self, resume_state)
        return EventsPart(self, int(for_part.removeprefix("events-")), resume_state)

    def late(self, moment: Moment, watermark_us: int) -> None:
        """Count a late event and put it on the side stream."""
        row = {
            "event": moment.id,
            "time": events.rfc3339(moment.time_us),
            "watermark": events.rfc3339(watermark_us),
        }
        self.client.xadd(names.LATE_EVENTS, {"event": orjson.dumps(row)}, maxlen=100_000)
        self.client.hincrby(names.COUNTERS, "late_events", 1)

    def seen(self, stream: str, last: bytes) -> None:
        """Trim a stream far below what a resume could still ask for.

        Positions of snapshots are kept for ten minutes, many epochs longer than a commit may lag
        while the flow lives; a flow that is stalled takes no snapshots, and trims nothing.
        """
        if last == b"0-0":
            return
        now_us = self.now_us()
        kept = self._positions.setdefault(stream, deque())
        if not kept or now_us - kept[-1][0] > 10_000_000:
            kept.append((now_us, last))
        if now_us - kept[0][0] > 600_000_000:
            _, safe = kept.popleft()
            self.client.xtrim(stream, minid=safe.decode(), approximate=True)
