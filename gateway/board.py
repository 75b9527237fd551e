"""What is going on now? The newest decisions, open questions, and the vital signs of the house.

Fed by the streams that the gateway follows anyway; nothing here decides, and nothing here holds
a clear value: whoever looks sees tokens, masked.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.evidence import Evidence
from gateway.metrics import Metrics
from gateway.replies import News
from gateway.turns import StoreAway, Turns
from risk import events, names

log = logging.getLogger("ringback.gateway")
KEPT = 200
SECONDS = 120
BINS = 20
OLD_BEAT_MS = 2_000
_LEDGER_EVERY = 5


def masked(token: str | None) -> str | None:
    """So much of a token that two can be told apart on a page."""
    return None if token is None else token[:10] + "…"


class Board:
    """The state of the live page, kept up to date by what the streams say."""

    def __init__(self, turns: Turns, metrics: Metrics, evidence: Evidence, clock: Any) -> None:
        self._turns = turns
        self._metrics = metrics
        self._evidence = evidence
        self._clock = clock
        self.decisions: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.outcomes: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.open: dict[str, dict[str, Any]] = {}
        self.decided: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.scores = [0] * BINS
        self.seen = 0  # decisions ever seen; a watcher keeps the number up to which it was told
        self.seen_outcomes = 0
        self.vitals: dict[str, Any] = {}
        self._seconds: Counter[int] = Counter()

    async def start(self) -> None:
        """Take up what stands in Redis already."""
        rows = await self._turns.ask("XREVRANGE", names.DECISIONS, "+", "-", "COUNT", KEPT)
        for _, fields in reversed(rows):
            values = fields.values() if isinstance(fields, dict) else fields[1::2]
            self._decision(orjson.loads(next(iter(values))), count=False)
        waiting = [one.decode() for one in await self._turns.ask("ZRANGE", names.OPEN, 0, 999)]
        for raw in await asyncio.gather(
            *(self._turns.ask("GET", names.challenge(one)) for one in waiting)
        ):
            if raw:
                self._challenge(orjson.loads(raw))

    def hear(self, news: News) -> None:
        """Take in one entry of a followed stream."""
        if news.stream == names.DECISIONS:
            self._decision(news.value, count=True)
        elif news.stream == names.CHALLENGES and news.value.get("op") in ("ask", "close"):
            self._challenge(news.value)
            step = "asked" if news.value.get("op") == "ask" else str(news.value.get("state"))
            self._metrics.challenges.labels(step).inc()

    def per_second(self) -> list[int]:
        """Decisions in each of the last full seconds, oldest first."""
        now = self._clock() // 1_000_000
        return [self._seconds[now - back] for back in range(SECONDS, 0, -1)]

    async def run(self, stop: asyncio.Event) -> None:
        """Look at the vital signs once a second until told to stop."""
        turn = 0
        while not stop.is_set():
            try:
                self.vitals = {**self.vitals, **await self._look()}
                if turn % _LEDGER_EVERY == 0:
                    self.vitals["ledger"] = await self._head()
            except StoreAway:
                self.vitals["redis"] = False
            turn += 1
            oldest = self._clock() // 1_000_000 - SECONDS - 5
            for second in [second for second in self._seconds if second < oldest]:
                del self._seconds[second]
            try:
                await asyncio.wait_for(stop.wait(), 1.0)
            except TimeoutError:
                continue

    def _decision(self, value: Mapping[str, Any], *, count: bool) -> None:
        if value.get("outcome") is not None:
            outcome = value["outcome"]
            self.outcomes.append({"event": value.get("event"), **outcome})
            self.seen_outcomes += 1
            for known in self.decisions:
                if known["event"] == value.get("event"):
                    known["outcome"] = outcome
            if count:
                self.ended[str(outcome.get("state"))] += 1
            return
        self.decisions.append(_summary(value))
        self.seen += 1
        if not count:
            return
        if value.get("late"):
            self._metrics.late_decisions.inc()
            return
        decision = str(value.get("decision"))
        self.decided[decision] += 1
        self._metrics.decisions.labels(decision).inc()
        score = value.get("score")
        if isinstance(score, int):
            self.scores[min(BINS - 1, max(0, score * BINS // 1001))] += 1
        self._seconds[self._clock() // 1_000_000] += 1

    def _challenge(self, value: Mapping[str, Any]) -> None:
        if value.get("op") == "ask":
            self.open[value["id"]] = dict(value)
        else:
            self.open.pop(value.get("id", ""), None)
        self._metrics.open_challenges.set(len(self.open))

    def shown_open(self) -> list[dict[str, Any]]:
        """Open questions as a page may show them: no payee, and masked tokens."""
        asked = sorted(self.open.values(), key=lambda one: str(one["expires"]))
        fields = ("id", "event", "amount", "currency", "kind", "created", "expires", "reasons")
        return [
            {
                **{field: one.get(field) for field in fields},
                "customer": masked(one.get("customer")),
            }
            for one in asked[:KEPT]
        ]

    async def _look(self) -> dict[str, Any]:
        beats, channels, durable, tail, dead, late, counters, models = await asyncio.gather(
            self._turns.ask("HGETALL", names.FLOW_BEAT),
            self._turns.ask("HGETALL", "rb:channels"),
            self._turns.ask("GET", names.AUDIT_DURABLE),
            self._turns.ask("XREVRANGE", names.AUDIT, "+", "-", "COUNT", 1),
            self._turns.ask("XLEN", names.DEAD),
            self._turns.ask("XLEN", names.LATE_EVENTS),
            self._turns.ask("HGETALL", names.COUNTERS),
            self._turns.ask("GET", names.MODEL_BOARD),
        )
        now_ms = self._clock() // 1000
        ages = [now_ms - int(beat) for beat in beats.values()]
        lag = _lag_seconds(durable, tail, now_ms)
        self._metrics.ledger_lag.set(lag)
        self._metrics.late_events.set(late)
        counts = {name.decode(): float(count) for name, count in counters.items()}
        self._metrics.flow_counts(counts)
        if models is not None:
            self._metrics.models(orjson.loads(models))
        return {
            "redis": True,
            "flow": {"processes": len(ages), "silent": sum(1 for age in ages if age > OLD_BEAT_MS)},
            "channels": {name.decode(): _told(state) for name, state in channels.items()},
            "ledger_lag": round(lag, 1),
            "dead_letters": dead,
            "late_events": late,
            "counters": {name: int(count) for name, count in counts.items()},
        }

    async def _head(self) -> dict[str, Any] | None:
        head = await self._evidence.head()
        return dict(head) if head else None


def _summary(value: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("event", "decision", "score", "decided", "degraded", "challenge", "late", "would")
    kept = {field: value[field] for field in fields if value.get(field) is not None}
    kept["reasons"] = [
        {"code": reason.get("code"), "text": reason.get("text")}
        for reason in value.get("reasons") or ()
    ][:4]
    return {"event": None, "decision": None, **kept}


def _told(state: bytes) -> Any:
    """A channel's state as its adapter told it: JSON, or a word."""
    try:
        return orjson.loads(state)
    except orjson.JSONDecodeError:
        return {"state": state.decode("utf-8", "replace")[:40]}


def _lag_seconds(durable: bytes | None, tail: Any, now_ms: int) -> float:
    """How old the oldest record may be that isn't durable yet; 0 where all is."""
    if not tail:
        return 0.0
    newest = tail[0][0].decode()
    mark = durable.decode() if durable else "0-0"
    if _place(mark) >= _place(newest):
        return 0.0
    return max(0.0, (now_ms - max(_place(mark)[0], now_ms - 3_600_000)) / 1000)


def _place(entry: str) -> tuple[int, int]:
    ms, _, seq = entry.partition("-")
    return int(ms), int(seq or 0)


def instant(clock: Any) -> str:
    """The time now, as text."""
    return events.rfc3339(clock())
