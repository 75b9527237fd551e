"""What would these rules have done? The same payments, judged by today's set and by the proposed.

One replay describes and scores each event once; two judges then decide it, each with its own
customers, questions and caps. Features are recomputed from the events; lists are taken as they were
at each event's time. Nothing is asked, learnt elsewhere or written.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from audit import read
from config.settings import Settings
from flows.assemble import counted
from flows.case_replay import configured
from flows.due import Due, load_kept
from flows.effects import PlainEffects
from flows.files import Fact, Truth
from flows.judge import Decided, Judging
from flows.records import Recorder
from flows.replay import Tally, replay, silent
from flows.scored import MemoryScoreds
from flows.shards import Cabinet, MemoryStore
from flows.walk import Scored
from risk import money
from risk.challenge import Conversation
from risk.docket import Docket
from risk.events import Moment, moment, parse_us, rfc3339
from risk.lists import Entry, Lists, rank
from risk.policy import RuleSet, event_values, opinions_of
from risk.rule_language import words
from risk.rule_truth import because, conjuncts, holds
from risk.rules import Rule

_DAY_US = 86_400_000_000
EXAMPLES = 3
PENDING = 300
NO_SEGMENT = "none"
STOPPED = ("challenge", "decline", "review")
CELLS = ("true_positive", "false_positive", "false_negative", "true_negative")


class ListsThen(Lists):
    """Lists that answer as they were at the time that is asked for, by the changes on record."""

    def __init__(self, changes: Iterable[Mapping[str, Any]]) -> None:
        told: dict[str, dict[tuple[str, str], list[tuple[int, Entry | None]]]] = {}
        rows = [body for body in changes if "list" in body]
        for body in sorted(rows, key=lambda body: _version(body["version"])):
            held = told.setdefault(str(body["list"]), {})
            entry = None
            if body["op"] == "add":
                entry = Entry(str(body["reason"]), str(body["by"]), body.get("until_us"))
            key = (str(body["kind"]), str(body["value"]))
            held.setdefault(key, []).append((_version(body["version"])[0] * 1000, entry))
        super().__init__("", {name: {} for name in told})
        self._told: Mapping[str, Any]
        object.__setattr__(self, "_told", told)

    def find(self, name: str, kind: str, value: str, at_us: int) -> Entry | None:
        """The entry of a value, as of a time."""
        found: Entry | None = None
        for since_us, entry in self._told.get(name, {}).get((kind, value), ()):
            if since_us <= at_us:
                found = entry
        if found is None or (found.until_us is not None and at_us >= found.until_us):
            return None
        return found


def _version(version: str) -> tuple[int, int]:
    time_ms, _, place = version.partition("-")
    return int(time_ms), int(place)


class Question(NamedTuple):
    """One customer who is asked, or whose payment an officer looks at."""

    customer: str
    at_us: int
    channel: str
    segments: tuple[str, ...]


def segments_of(rules: RuleSet) -> tuple[str, ...]:
    """The customers' segments: what the policy names, and each list that doesn't act by itself."""
    named = {step.segment for step in rules.policy.steps if step.segment is not None}
    return tuple(sorted(named | {name for name in rules.lists.entries if rank(name) is None}))


@dataclass
class Side:
    """What one set made of the payments."""

    outcomes: Counter[str] = field(default_factory=Counter)
    decision: list[str] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    asked: list[Question] = field(default_factory=list)
    reviewed: list[Question] = field(default_factory=list)

    def take(
        self, moment: Moment, decision: Mapping[str, Any], segments: Callable[[], tuple[str, ...]]
    ) -> None:
        """Note one decision; ``segments`` tells the customer's, where somebody is bothered."""
        told = str(decision["decision"])
        self.outcomes[told] += 1
        self.decision.append(told)
        self.hits.update(reason["code"] for reason in decision["reasons"])
        if told in ("challenge", "review"):
            rows = self.asked if told == "challenge" else self.reviewed
            channel = moment.channel or "none"
            rows.append(Question(moment.customer, moment.time_us, channel, segments()))


class Backtest(Tally):
    """Judges each scored event a second time, by the proposed set, and counts both."""

    def __init__(
        self, today: RuleSet, proposed: RuleSet, rules: Sequence[Rule], judging: Judging
    ) -> None:
        """``rules`` are the proposed ones, whose hits are counted; they act in ``proposed``."""
        super().__init__()
        self.named = {
            name: {rule.id for rule in side.rules}
            for name, side in (("today", today), ("proposed", proposed))
        }
        self.rules = tuple(rules)
        self.sides = {"today": Side(), "proposed": Side()}
        self.hits: list[bool] = []
        self.hit_by: Counter[str] = Counter()
        self.hit_of: dict[str, list[int]] = {rule.id: [] for rule in rules}
        self.statuses: dict[str, str] = {}
        self.place: dict[str, int] = {}
        self.funnel: dict[str, list[int]] = {
            rule.id: [0] * (1 + len(list(conjuncts(rule.when)))) for rule in rules
        }
        self._docket = Docket(proposed.rules)
        self._mine = {rule.id for rule in rules}
        self._second = judging.logic(0)
        self._examples: dict[str, list[dict[str, Any]]] = {cell: [] for cell in CELLS}
        self._pending: dict[bool, list[tuple[int, dict[str, Any]]]] = {True: [], False: []}
        self._lists = proposed.lists
        self._named = segments_of(proposed)

    def take(self, items: list[Decided]) -> None:
        """Note a batch of decided events."""
        first = len(self.event)
        super().take(items)
        facts = [item.scored for item in items]
        again, _ = self._second.on_batch(list(facts))
        second = {one.scored.moment.id: one.decision for one in again}
        for place, item in enumerate(items, first):
            event = item.scored.moment
            if event.type == "status" and event.refers_to:
                self.statuses[event.refers_to] = event.state or ""
            segments = partial(self._segments, event)
            self.sides["today"].take(event, item.decision, segments)
            self.sides["proposed"].take(event, second[event.id], segments)
            self.place[event.id] = place
            self._look(place, item.scored)

    def _segments(self, event: Moment) -> tuple[str, ...]:
        """The customer's segments at that time: the lists on which they stand."""
        on_list, at_us = self._lists.on_list, event.time_us
        found = (n for n in self._named if on_list(n, "customer", event.customer, at_us))
        return tuple(found) or (NO_SEGMENT,)

    def _look(self, place: int, fact: Scored) -> None:
        event = fact.moment
        opinions = opinions_of(fact.score, fact.anomaly, fact.factors, self._docket)
        values: dict[str, Any] = {**fact.features, **event_values(event), **opinions}
        found, _ = self._docket.hits(event.type, values, event.time_us, self._lists.on_list)
        mine = [hit.rule.id for hit in found if hit.rule.id in self._mine]
        for name in mine:
            self.hit_by[name] += 1
            self.hit_of[name].append(place)
        self.hits.append(bool(mine))
        values |= {f"hit.{hit.rule.id}": True for hit in found}
        self._fall(values, event)
        self._example(place, event, values, bool(mine))

    def _fall(self, values: Mapping[str, Any], event: Moment) -> None:
        """How far an event comes through each rule's comparisons."""
        for rule in self.rules:
            if event.type not in rule.applies_to or not rule.valid_at(event.time_us):
                continue
            steps = self.funnel[rule.id]
            steps[0] += 1
            for number, one in enumerate(conjuncts(rule.when), 1):
                if not holds(one, values):
                    break
                steps[number] += 1

    def _example(self, place: int, event: Moment, values: Mapping[str, Any], hit: bool) -> None:
        if event.type != "transaction":
            return
        truth = self.truth.get(event.id)
        if truth is not None:
            kept = self._examples[_cell(hit, truth.fraud)]
            if len(kept) < EXAMPLES:
                kept.append(self._told(event, values, hit))
        elif len(self._pending[hit]) < PENDING:
            self._pending[hit].append((place, self._told(event, values, hit)))

    def _told(self, event: Moment, values: Mapping[str, Any], hit: bool) -> dict[str, Any]:
        why = []
        for rule in self.rules:
            if event.type in rule.applies_to and holds(rule.when, values) == hit:
                for cause in because(rule.when, values, hit):
                    sign, value = cause.operator, _short(cause.value)
                    why.append(f"{cause.feature} is {value}, {sign} {_short(cause.threshold)}")
        return {"event": event.id, "time": rfc3339(event.time_us), "hit": hit, "why": why}

    def examples(self) -> dict[str, list[dict[str, Any]]]:
        """Up to three payments of each cell, with the reason why the rules did or did not fire."""
        found = {cell: list(rows) for cell, rows in self._examples.items()}
        for hit, rows in self._pending.items():
            for _, row in rows:
                truth = self.truth.get(row["event"])
                cell = None if truth is None else found[_cell(hit, truth.fraud)]
                if cell is not None and len(cell) < EXAMPLES:
                    cell.append(row)
        return found


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cell(hit: bool, fraud: bool) -> str:
    return CELLS[(0 if fraud else 1) if hit else (2 if fraud else 3)]


def run(
    facts: Callable[[Tally], Iterator[Fact]],
    settings: Settings,
    *,
    today: RuleSet,
    proposed: RuleSet,
    rules: Sequence[Rule],
    nonce_key: bytes,
    data: Path | None = None,
    lists: Iterable[Mapping[str, Any]] = (),
    progress: Callable[[int], None] | None = None,
    minutes: float = 6.0,
) -> dict[str, Any]:
    """Judge facts by both sets and give the comparison; ``minutes`` is an officer's per review.

    ``rules`` are the proposed ones; they act, whatever their state is. ``facts`` tells the tally
    the truth as it reads.
    """
    then = ListsThen(lists)
    acting = {rule.id for rule in rules}
    live = tuple(
        replace(rule, state="live") if rule.id in acting else rule for rule in proposed.rules
    )
    today, proposed = replace(today, lists=then), replace(proposed, rules=live, lists=then)
    judging = _second(settings, proposed, nonce_key)
    tally = Backtest(today, proposed, [rule for rule in live if rule.id in acting], judging)
    began = time.perf_counter()
    both = replace(today, rules=(*today.rules, *live))
    if both.docket.factors:  # or the proposed rules would miss what today's do without
        explaining = settings.models.model_copy(update={"factors": True})
        settings = settings.model_copy(update={"models": explaining})
    replay(
        facts(tally),
        settings,
        tally,
        rules=today,
        nonce_key=nonce_key,
        progress=progress,
        catalogue=counted(both, data),
    )
    return compared(tally, settings.base_currency, time.perf_counter() - began, minutes)


def _second(settings: Settings, rules: RuleSet, nonce_key: bytes) -> Judging:
    cabinet: Cabinet[Conversation | Due] = Cabinet(
        "backtest", MemoryStore(), Conversation, load_kept, settings.engine.cache_entities
    )
    return silent(
        Judging(
            lambda: rules,
            cabinet,
            PlainEffects(None),
            Recorder(settings.tenant),
            MemoryScoreds(),
            1,
            nonce_key,
            lambda moment: 0 if moment is None else moment.accepted_us,
            time.perf_counter_ns,
        )
    )


# --- the comparison -------------------------------------------------------------------------


def compared(tally: Backtest, base: str, seconds: float, minutes: float) -> dict[str, Any]:
    """Everything that a backtest tells, as one object."""
    payments = [place for place, payment in enumerate(tally.payment) if payment]
    known = [place for place in payments if tally.event[place] in tally.truth]
    times = [tally.time_us[place] for place in range(len(tally.event))]
    sets = {place: True for place, hit in enumerate(tally.hits) if hit}
    return {
        "events": len(tally.event),
        "payments": len(payments),
        "labelled": len(known),
        "seconds": round(seconds, 3),
        "from": rfc3339(min(times)) if times else None,
        "to": rfc3339(max(times)) if times else None,
        "rules": {
            rule.id: {
                "hits": tally.hit_by[rule.id],
                **matrix(tally, known, dict.fromkeys(tally.hit_of[rule.id], True)),
                "funnel": _funnel(rule, tally.funnel[rule.id]),
            }
            for rule in tally.rules
        },
        "together": {"hits": sum(tally.hits), **matrix(tally, known, sets)},
        "money": {"currency": base, **_money(tally, known, payments, base)},
        "sides": {
            name: _side(tally, side, known, payments, base, minutes, tally.named[name])
            for name, side in tally.sides.items()
        },
        "changed": _changed(tally),
        "examples": tally.examples(),
    }


def matrix(tally: Tally, known: Sequence[int], hits: Mapping[int, bool]) -> dict[str, Any]:
    """The confusion matrix of hits over the payments whose truth is known, and what follows."""
    cells = Counter(_cell(place in hits, tally.truth[tally.event[place]].fraud) for place in known)
    true, false, missed = (cells[cell] for cell in CELLS[:3])
    precision = _share(true, true + false)
    recall = _share(true, true + missed)
    both = (precision or 0) + (recall or 0)
    f1 = round(2 * (precision or 0) * (recall or 0) / both, 6) if both else None
    counted_cells = {cell: cells[cell] for cell in CELLS}
    return {**counted_cells, "precision": precision, "recall": recall, "f1": f1}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _funnel(rule: Rule, steps: Sequence[int]) -> list[dict[str, Any]]:
    names = ["of its events", *(words(one) for one in conjuncts(rule.when))]
    return [{"step": name, "events": count} for name, count in zip(names, steps, strict=True)]


def _money(
    tally: Backtest, known: Sequence[int], payments: Sequence[int], base: str
) -> dict[str, Any]:
    """Of the payments that were hit: what was fraud, what was not, and what the bank did."""
    hit = [place for place in known if tally.hits[place]]
    fraud, honest = (
        _sum(tally, (p for p in hit if tally.truth[tally.event[p]].fraud == side), base)
        for side in (True, False)
    )
    by_status: dict[str, list[int]] = {}
    for place in payments:
        if tally.hits[place]:
            state = tally.statuses.get(tally.event[place], "unknown")
            by_status.setdefault(state, []).append(place)
    return {
        "fraud_hit": fraud,
        "honest_hit": honest,
        "hit_by_status": {state: _sum(tally, rows, base) for state, rows in by_status.items()},
    }


def _sum(tally: Tally, places: Iterable[int], base: str) -> str:
    return money.plain(sum(tally.amount[place] or 0 for place in places), base)


def _side(
    tally: Backtest,
    side: Side,
    known: Sequence[int],
    payments: Sequence[int],
    base: str,
    minutes: float,
    rules: AbstractSet[str],
) -> dict[str, Any]:
    stopped = [place for place in known if side.decision[place] in STOPPED]
    fraud = [place for place in stopped if tally.truth[tally.event[place]].fraud]
    honest = [place for place in stopped if not tally.truth[tally.event[place]].fraud]
    stops = dict.fromkeys(stopped, True)
    by_status = Counter[str]()
    for place in (p for p in payments if side.decision[p] in STOPPED):
        by_status[tally.statuses.get(tally.event[place], "unknown")] += tally.amount[place] or 0
    return {
        "outcomes": dict(side.outcomes),
        "hits": {name: side.hits[name] for name in sorted(rules & side.hits.keys())},
        **matrix(tally, known, stops),
        "fraud_stopped": _sum(tally, fraud, base),
        "honest_stopped": _sum(tally, honest, base),
        "stopped_by_status": {state: money.plain(sum_, base) for state, sum_ in by_status.items()},
        "frauds_stopped": len(fraud),
        "honest_payments_stopped": len(honest),
        "reviews": side.outcomes["review"],
        **_friction(side.asked, side.outcomes["review"], minutes),
        "by_day": _split(side, lambda one: (rfc3339(one.at_us)[:10],), minutes),
        "by_segment": _split(side, lambda one: one.segments, minutes),
        "by_channel": _split(side, lambda one: (one.channel,), minutes),
    }


def _friction(asked: Sequence[Question], reviews: int, minutes: float) -> dict[str, Any]:
    """Whom it bothers: questions, customers asked, those asked twice in 24 hours, officers."""
    times: dict[str, list[int]] = {}
    for one in asked:
        times.setdefault(one.customer, []).append(one.at_us)
    return {
        "questions": len(asked),
        "customers_asked": len(times),
        "customers_asked_twice_in_a_day": sum(map(_twice_in_a_day, times.values())),
        "officer_minutes": round(reviews * minutes, 1),
    }


def _split(
    side: Side, parts: Callable[[Question], tuple[str, ...]], minutes: float
) -> dict[str, dict[str, Any]]:
    """The friction in parts; who is of two segments counts in both."""
    asked: dict[str, list[Question]] = {}
    reviews = Counter(part for one in side.reviewed for part in parts(one))
    for one in side.asked:
        for part in parts(one):
            asked.setdefault(part, []).append(one)
    return {
        part: _friction(asked.get(part, ()), reviews[part], minutes)
        for part in sorted(asked.keys() | reviews)
    }


def _twice_in_a_day(times: list[int]) -> bool:
    ordered = sorted(times)
    return any(after - before < _DAY_US for before, after in pairwise(ordered))


def _changed(tally: Backtest) -> dict[str, int]:
    """How many events get which other outcome: ``approve -> challenge``."""
    sides = (tally.sides["today"].decision, tally.sides["proposed"].decision)
    rows = Counter(f"{one} -> {other}" for one, other in zip(*sides, strict=True) if one != other)
    return dict(rows.most_common())


# --- the ledger's own past ------------------------------------------------------------------


def past(data: Path, rates: money.Rates, tally: Tally) -> Iterator[Fact]:
    """The events and labels that the ledger holds, in the order in which they became known."""
    rows: list[tuple[int, int, Mapping[str, Any]]] = []
    for kind, _, _, raw in read.steps(data, ("event.in", "label")):
        leaf = orjson.loads(raw)
        body = leaf["body"]
        if kind == "label":
            if "fraud" in body and not body.get("outranked"):
                rows.append((parse_us(body["known"]), 1, body))
        else:
            rows.append((parse_us(leaf["at"]), 0, {"event": body, "accepted": leaf["at"]}))
    rows.sort(key=lambda row: row[:2])
    for body in (row[2] for row in rows if row[1]):
        tally.truth[body["event"]] = Truth(bool(body["fraud"]), "")
    seen: set[str] = set()
    latest_us = 0
    for place, (at_us, label, body) in enumerate(rows):
        if not label:
            event = _with_floats(body["event"])
            made = moment(
                {**body, "event": event},
                partition=0,
                position=place,
                watermark_us=latest_us,
                lateness_us=3_600_000_000,
                rates=rates,
            )
            latest_us = max(latest_us, made.time_us)
            seen.add(made.id)
            yield Fact(at_us, made, None)
        elif body["event"] in seen:
            yield Fact(at_us, None, (body["event"], bool(body["fraud"]), str(body["source"])))


def _with_floats(event: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(event)
    if "geo" in made:  # a float is its string on record
        made["geo"] = {
            key: float(value) if key in ("lat", "lon") else value
            for key, value in made["geo"].items()
        }
    return made


def list_changes(data: Path | None) -> list[dict[str, Any]]:
    """Every change of a list on record; none where there is no ledger."""
    if data is None or not (data / "ledger").exists():
        return []
    return configured(data)
