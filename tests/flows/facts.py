"""Facts that the tests of the way are made of, and doors that remember what left."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from flows.due import Due, load_kept
from flows.effects import Contradiction, Ending, Inquired, Leaving, Note
from flows.inquire import Seeks
from flows.judge import JudgeShard, Judging
from flows.records import Recorder
from flows.scored import MemoryScoreds
from flows.shards import Cabinet, MemoryStore
from flows.walk import HeardUntil, ModelMark, Scored, Spoken, Values, Wished
from risk import events, money
from risk.challenge import Conversation
from risk.events import Moment
from risk.failing import FailLimits
from risk.policy import Policy, RuleSet, Step
from risk.rules import Rule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOON_US = events.micros(NOON)
SECOND_US = 1_000_000
MARK = ModelMark("binned", "0123456789ab+0", "0" * 64)
RATES = money.Rates("CNY", {"USD": [(datetime(2020, 1, 1).date(), Decimal("7.05"))]})  # noqa: DTZ001  a day


def moment(ident: str = "p-1", **over: Any) -> Moment:
    """A payment on its way."""
    known: dict[str, Any] = {
        "id": ident,
        "type": "transaction",
        "time_us": NOON_US,
        "customer": "cus_1",
        "accepted_us": NOON_US,
        "partition": 0,
        "position": 1,
        "amount": 980_000,
        "currency": "CNY",
        "amount_base": 980_000,
        "payee": "acc_1",
        "payee_sealed": "s1.sealed",
    }
    return Moment(**{**known, **over})


def scored(ident: str = "p-1", score: int = 100, **over: Any) -> Scored:
    """A payment that the model has scored."""
    features: Values = {"customer.count.1h": 1, "customer.mean.amount.24h": 12.5, "x": None}
    return Scored(moment(ident, **over), features, score, score / 1000, MARK, {}, 10_000, 7)


def spoken(
    decision: str = "confirm", event: str = "p-1", *, after_us: int = SECOND_US, **over: Any
) -> Spoken:
    """What a customer says about the question of an event."""
    from flows.judge import challenge_id

    received_us = NOON_US + after_us
    entry: dict[str, Any] = {
        "v": 1,
        "challenge": challenge_id(event),
        "event": event,
        "customer": "cus_1",
        "decision": decision,
        "reason": "not_me" if decision == "deny" else None,
        "layer": "A",
        "channel": "xmpp",
        "received": events.rfc3339(received_us),
        "delayed": False,
        "strength": "app",
        **over,
    }
    return Spoken(entry["customer"], f"{received_us // 1000}-0", received_us, entry)


def policy(**over: Any) -> Policy:
    """Challenge from 600 on, decline from 900 on, 120 s to answer."""
    known: dict[str, Any] = {
        "steps": (Step(900, "decline"), Step(600, "challenge")),
        "acts_after_lessons": 0,
        "asked_per_day": 5,
        "open_at_once": 3,
        "answer_within_us": 120 * SECOND_US,
        "unsigned_limit": 5_000_000,
        "fail": FailLimits(50_000, 100_000, 500_000, 20_000_000),
    }
    return Policy(**{**known, **over})


@dataclass
class Doors:
    """Effects in memory, as the scripts have them: the first written stands."""

    keeps: bool = True
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    features: dict[str, Values] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    lates: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    closed: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fetched: set[str] = field(default_factory=set)
    notices: list[dict[str, Any]] = field(default_factory=list)
    inquired: list[dict[str, Any]] = field(default_factory=list)

    def decide(self, leaving: Sequence[Leaving]) -> list[dict[str, Any] | None]:
        told: list[dict[str, Any] | None] = []
        for one in leaving:
            if one.event in self.decisions:
                told.append(orjson.loads(orjson.dumps(self.decisions[one.event])))
                continue
            self.decisions[one.event] = one.decision
            self.features[one.event] = dict(one.features)
            self.records += one.records
            if one.ask is not None:
                self.asked.append(one.ask)
            told.append(None)
        return told

    def recorded_features(self, events: Sequence[str]) -> list[Values | None]:
        return [self.features.get(event) for event in events]

    def late(self, leaving: Leaving, alert: dict[str, Any] | None) -> None:
        if leaving.event not in self.lates:
            self.lates[leaving.event] = leaving.decision
            self.records += leaving.records
            self.alerts += [alert] if alert else []

    def end(self, endings: Sequence[Ending]) -> list[dict[str, Any] | None]:
        told: list[dict[str, Any] | None] = []
        for one in endings:
            if one.event in self.outcomes:
                told.append(self.outcomes[one.event])
                continue
            self.outcomes[one.event] = one.outcome
            self.records += one.records
            self.closed.append(one.close)
            self.labels += [one.label] if one.label else []
            self.alerts += [one.alert] if one.alert else []
            told.append(None)
        return told

    def contradict(self, one: Contradiction) -> None:
        if one.rid in self.notes:
            return
        self.notes.append(one.rid)
        late = one.event in self.fetched
        if late:
            self.outcomes[one.event]["contradicted"] = one.at
        else:
            self.outcomes[one.event] = one.outcome
        self.records += one.records[late]
        self.alerts.append(one.alerts[late])
        self.notices.append(one.notice)
        self.labels += [one.label] if one.label else []

    def note(self, notes: Sequence[Note]) -> None:
        for one in notes:
            self.notes.append(one.rid)
            self.records += orjson.loads(one.records or b"[]")
            self.alerts += [one.alert] if one.alert else []
            self.notices += [one.notice] if one.notice else []

    def made(self, events: Sequence[str]) -> list[bool]:
        return [self.decisions.get(one, {}).get("decision") == "approve" for one in events]

    def inquire(self, one: Inquired) -> None:
        if one.rid in self.notes:
            return
        self.notes.append(one.rid)
        self.records += one.records
        self.inquired += [one.told] if one.told else []
        self.alerts += one.alerts
        self.labels += one.labels


class Judge:
    """One shard of the judging stage, with its doors, its clock and its store."""

    def __init__(
        self, *rules: Rule, mode: str = "act", seeks: Seeks | None = None, **of_policy: Any
    ) -> None:
        self.seeks = seeks
        self.doors, self.store, self.scoreds = Doors(), MemoryStore(), MemoryScoreds()
        self.now_us = NOON_US
        self.rules = RuleSet(rules, policy(**of_policy), "0" * 64, RATES)
        self.mode = mode
        self.version = 0
        self.start()

    def start(self) -> None:
        """Start the process, at the version of the last snapshot."""
        cabinet: Cabinet[Conversation | Due] = Cabinet(
            "judge", self.store, Conversation, load_kept, 100
        )
        self.stage = Judging(
            lambda: self.rules,
            cabinet,
            self.doors,
            Recorder("main"),
            self.scoreds,
            1,
            b"n" * 32,
            lambda _: self.now_us,
            lambda: 0,
            self.mode,
            seeks=self.seeks,
        )
        self.shard: JudgeShard = self.stage.logic(self.version)

    def snapshot(self) -> None:
        """End an epoch."""
        self.version = self.shard.snapshot()

    def hear(self, *facts: Scored | Spoken | HeardUntil | Wished) -> list[dict[str, Any]]:
        """Hand in one batch; gives the decisions that are on record for it."""
        decided, _ = self.shard.on_batch(list(facts))
        return [one.decision for one in decided]

    def heard_until(self, after_us: int) -> None:
        """Tell that all answers up to a time after noon were read."""
        self.hear(HeardUntil(0, NOON_US + after_us))
