"""What leaves the flow, and how does it leave only once?

Decisions, outcomes and notes leave by scripts whose first writer wins. What has left is not
undone: a replay after a crash is told what was there first, and carries that on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
import redis

from flows.redis_state import Scripts
from flows.walk import Values
from risk import names


class Leaving(NamedTuple):
    """A decision with everything that leaves because of it."""

    event: str
    decision: dict[str, Any]
    features: Values
    records: list[dict[str, Any]]
    ask: dict[str, Any] | None
    reply: str | None
    expires_us: int


class Ending(NamedTuple):
    """An outcome with everything that leaves because of it."""

    event: str
    challenge: str
    state: str
    outcome: dict[str, Any]
    records: list[dict[str, Any]]
    close: dict[str, Any]
    label: dict[str, Any] | None
    alert: dict[str, Any] | None


class Contradiction(NamedTuple):
    """A deny after a confirm: what follows where it comes in time to turn it, and where not."""

    rid: str
    event: str
    outcome: dict[str, Any]
    at: str
    records: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    alerts: tuple[dict[str, Any], dict[str, Any]]
    notice: dict[str, Any]
    label: dict[str, Any] | None


class Note(NamedTuple):
    """Records of an input (none: empty), the alert and the notice to the customer that go with it.

    Alert and notice are given once by the rid.
    """

    rid: str
    records: bytes
    alert: dict[str, Any] | None
    notice: dict[str, Any] | None = None


class Inquired(NamedTuple):
    """An inquiry that is put, or what was said to one: all that leaves because of it, once a rid.

    ``told`` goes to the notifier; ``labels`` are given by their events.
    """

    rid: str
    records: list[dict[str, Any]]
    told: dict[str, Any] | None
    alerts: list[dict[str, Any]] = []  # noqa: RUF012  a tuple's default, never changed
    labels: list[dict[str, Any]] = []  # noqa: RUF012  the same


class Effects(Protocol):
    """The doors of the flow. ``keeps`` is False where nothing is put on record."""

    @property
    def keeps(self) -> bool: ...

    def decide(self, leaving: Sequence[Leaving]) -> list[dict[str, Any] | None]:
        """Write decisions; for each None where ours was first, else the recorded one."""

    def recorded_features(self, events: Sequence[str]) -> list[Values | None]:
        """The features as scored, of events that have a recorded decision."""

    def late(self, leaving: Leaving, alert: dict[str, Any] | None) -> None:
        """Store a decision that came after the fail policy's, beside it."""

    def end(self, endings: Sequence[Ending]) -> list[dict[str, Any] | None]:
        """Write outcomes; for each None where ours was first, else the recorded one."""

    def contradict(self, one: Contradiction) -> None:
        """Act once on a deny after a confirm; where no caller has fetched that, the deny stands."""

    def note(self, notes: Sequence[Note]) -> None:
        """Put records of inputs that changed nothing else."""

    def made(self, events: Sequence[str]) -> list[bool]:
        """Which of these payments were made: approved, and nobody was asked about them."""

    def inquire(self, one: Inquired) -> None:
        """Put an inquiry, or act on what was said to one; once by its rid."""


def _text(value: Mapping[str, Any] | None) -> bytes:
    return b"" if value is None else orjson.dumps(value)


class RedisEffects:
    """The doors as Redis scripts, fenced by the flow's generation. Times in microseconds."""

    keeps = True

    def __init__(
        self, client: "redis.Redis", generation: int, ttl_s: int, now_us: Callable[[], int]
    ) -> None:
        self._client, self._generation, self._ttl = client, generation, ttl_s
        self._now_us, self._scripts = now_us, Scripts(client)

    def decide(self, leaving: Sequence[Leaving]) -> list[dict[str, Any] | None]:
        if not leaving:
            return []
        args: list[Any] = ["flow", self._generation, self._now_us() // 1000, self._ttl]
        for one in leaving:
            args += [
                one.event,
                orjson.dumps(one.decision),
                orjson.dumps(one.features),
                orjson.dumps(one.records),
                _text(one.ask),
                one.reply or "",
                one.ask["id"] if one.ask else "",
                one.expires_us // 1000 if one.ask else "",
            ]
        return [
            None if row == b"new" else orjson.loads(row)
            for row in self._scripts.run("decide", args)
        ]

    def recorded_features(self, events: Sequence[str]) -> list[Values | None]:
        if not events:
            return []
        self._client.hincrby(names.COUNTERS, "replayed_events", len(events))
        rows: Any = self._client.mget([names.features(event) for event in events])
        return [None if row is None else orjson.loads(row) for row in rows]

    def late(self, leaving: Leaving, alert: dict[str, Any] | None) -> None:
        self._scripts.run(
            "late",
            [
                self._generation,
                self._ttl,
                leaving.event,
                orjson.dumps(leaving.decision),
                orjson.dumps(leaving.features),
                orjson.dumps(leaving.records),
                _text(alert),
            ],
        )

    def end(self, endings: Sequence[Ending]) -> list[dict[str, Any] | None]:
        if not endings:
            return []
        args: list[Any] = [self._generation, self._now_us() // 1000, self._ttl]
        for one in endings:
            args += [
                one.event,
                one.challenge,
                orjson.dumps(one.outcome),
                one.state,
                orjson.dumps(one.records),
                orjson.dumps(one.close),
                _text(one.label),
                _text(one.alert),
            ]
        return [
            None if row == b"new" else orjson.loads(row)
            for row in self._scripts.run("outcome", args)
        ]

    def contradict(self, one: Contradiction) -> None:
        args: list[Any] = [self._generation, self._ttl, one.event, one.rid]
        args += [orjson.dumps(one.outcome), one.at]
        args += [orjson.dumps(records) for records in one.records]
        args += [orjson.dumps(alert) for alert in one.alerts]
        self._scripts.run("contradict", [*args, orjson.dumps(one.notice), _text(one.label)])

    def note(self, notes: Sequence[Note]) -> None:
        if not notes:
            return
        args: list[Any] = [self._generation, self._ttl]
        for one in notes:
            args += [one.rid, one.records, _text(one.alert), _text(one.notice)]
        self._scripts.run("note", args)

    def made(self, events: Sequence[str]) -> list[bool]:
        if not events:
            return []
        rows: Any = self._client.mget([names.decision(event) for event in events])
        return [row is not None and orjson.loads(row)["decision"] == "approve" for row in rows]

    def inquire(self, one: Inquired) -> None:
        args: list[Any] = [self._generation, self._ttl, one.rid, orjson.dumps(one.records)]
        args.append(_text(one.told))
        args += [len(one.alerts), *(orjson.dumps(alert) for alert in one.alerts)]
        for label in one.labels:
            args += [label["event"], orjson.dumps(label)]
        self._scripts.run("inquiry", args)


class PlainEffects:
    """The doors of a replay over a file: records go to a ledger if there is one, the rest out."""

    def __init__(
        self,
        keep: Callable[[list[dict[str, Any]]], None] | None,
        made: Callable[[str], bool] = lambda event: True,
    ) -> None:
        self._keep, self._made = keep, made
        self.keeps = keep is not None

    def decide(self, leaving: Sequence[Leaving]) -> list[dict[str, Any] | None]:
        if self._keep is not None:
            self._keep([record for one in leaving for record in one.records])
        return [None] * len(leaving)

    def recorded_features(self, events: Sequence[str]) -> list[Values | None]:
        return [None] * len(events)

    def late(self, leaving: Leaving, alert: dict[str, Any] | None) -> None:
        if self._keep is not None:
            self._keep(leaving.records)

    def end(self, endings: Sequence[Ending]) -> list[dict[str, Any] | None]:
        if self._keep is not None:
            self._keep([record for one in endings for record in one.records])
        return [None] * len(endings)

    def contradict(self, one: Contradiction) -> None:
        if self._keep is not None:
            self._keep(one.records[0])

    def note(self, notes: Sequence[Note]) -> None:
        if self._keep is not None:
            self._keep([row for one in notes for row in orjson.loads(one.records or b"[]")])

    def made(self, events: Sequence[str]) -> list[bool]:
        return [self._made(event) for event in events]

    def inquire(self, one: Inquired) -> None:
        if self._keep is not None:
            self._keep(one.records)
