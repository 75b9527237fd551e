"""What would the flow have said about a file? The same flow, over a file, as fast as it goes.

The stages are those of the live flow; only the doors differ: state in memory, time by the events,
labels merged by the time at which they become known. Nobody is really asked: a question ends in
silence at its deadline, by the events' time. Answers, where they are wished for, are simulated:
they come in as labels at their own time and teach; they don't reach the question.
"""

import hashlib
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, NamedTuple

from bytewax.operators import StatefulBatchLogic
from bytewax.testing import run_main

from config.settings import Settings
from features.catalogue import Catalogue
from flows import assemble
from flows.columns import Columns
from flows.effects import PlainEffects
from flows.errors import BadSettings, FlowError
from flows.files import (
    Answers,
    Fact,
    FileInlet,
    Truth,
    handbook,
    labelled,
    mapped,
    ndjson,
    read_truth,
)
from flows.fraud import fraud
from flows.judge import GRACE_US, Decided, JudgeShard, Judging
from flows.outlet import Watch
from flows.score import Drifted, Learnt, Promoted, Snapshots, nobody
from flows.scored import MemoryScoreds
from flows.shards import MemoryStore
from flows.walk import HeardUntil, Scored, Spoken
from gateway.edge import Edge
from risk import events
from risk.events import Moment
from risk.seek import Paid, Seeker, Seeking

Keep = Callable[[list[dict[str, Any]]], None]
ANSWERED_AFTER_US = 600_000_000
_DAY_US = 86_400_000_000


@dataclass
class Tally:
    """What a replay saw, event by event, in columns; ``note`` gets each decision as it is made.

    ``stages`` counts, for each stage, how many events took how many microseconds there.
    """

    truth: dict[str, Truth] = field(default_factory=dict)
    event: list[str] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    customer: list[str] = field(default_factory=list)
    payment: list[bool] = field(default_factory=list)
    amount: list[int | None] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    lessons: list[int] = field(default_factory=list)
    decision: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    late: int = 0
    note: Callable[[dict[str, Any]], None] | None = None
    stages: dict[str, dict[int, int]] = field(default_factory=dict)

    def take(self, items: list[Decided]) -> None:
        """Note a batch of decided events."""
        for scored, decision, _ in items:
            moment = scored.moment
            self.event.append(moment.id)
            self.time_us.append(moment.time_us)
            self.customer.append(moment.customer)
            self.payment.append(moment.type == "transaction")
            self.amount.append(moment.amount_base)
            self.probability.append(scored.probability)
            self.lessons.append(scored.lessons)
            self.decision.append(decision["decision"])
            self.outcomes[decision["decision"]] += 1
            self.late += moment.late
            for stage, spent in scored.stages_us.items():
                taken = self.stages.setdefault(stage, {})
                taken[spent] = taken.get(spent, 0) + 1
            if self.note is not None:
                self.note({**decision, "features": dict(scored.features)})


def facts_of(
    path: Path,
    settings: Settings,
    delay_us: int,
    edge: Edge,
    rates: Any,
    tally: Tally,
    *,
    columns: Columns | None = None,
    truth: Path | None = None,
) -> Iterator[Fact]:
    """Read a file by its ending: parquet and CSV are tables, anything else is NDJSON.

    ``truth`` is a file of truths for events that come without labels.
    """
    tell = tally.truth.__setitem__
    table = path.suffix in (".parquet", ".csv")
    if columns is not None:
        if not table:
            raise BadSettings(f"replay --map: needed a .csv or .parquet file, got {path.name}")
        if truth is not None and "fraud" in columns.cells:
            raise BadSettings("replay: needed `fraud` in the map or --truth, got both")
        facts = mapped(path, columns, edge, rates, delay_us, tell)
    elif table:
        if truth is not None:
            raise BadSettings(f"replay --truth: {path.name} has its own labels, the handbook's")
        return handbook(path, settings.base_currency, delay_us, tell)
    else:
        facts = ndjson(path, edge, rates, tell)
    if truth is None:
        return facts
    return labelled(facts, read_truth(truth, edge), delay_us, tell)


class Pace:
    """So many times real time: how many seconds must a fact of the file still wait?"""

    def __init__(self, speed: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._speed, self._clock = speed, clock
        self._first: tuple[int, float] | None = None

    def __call__(self, at_us: int) -> float:
        """Seconds until a fact is due; the first one is due at once."""
        if self._first is None:
            self._first = (at_us, self._clock())
        first_us, began = self._first
        return began + (at_us - first_us) / 1e6 / self._speed - self._clock()


class _Word(NamedTuple):
    """An answer on its way, in the order in which it will be heard."""

    at_us: int
    event: str
    says: bool
    customer: str
    payee: str
    time_us: int


class SimulatedAnswers(Answers):
    """Customers who say whether it was them, ten minutes after they were asked.

    ``rate`` of them answer, ``wrong`` of those say the opposite of what is true. Asked is about
    each challenged payment; or, with ``per_day``, at the end of each day (UTC) about the payments
    that scored highest on it, one a customer at most. With ``seeking`` a part of that day's budget
    seeks what is not known yet (``risk/seek.py``). Whether and what somebody answers about a
    payment is drawn from its id alone, so that no batching changes it; about a list, from the id
    of its newest payment: who errs misses the fraud in it, or names an honest one.
    """

    def __init__(
        self,
        rate: float,
        wrong: float,
        per_day: int | None,
        truth: Mapping[str, Truth],
        seeking: Seeking | None = None,
    ) -> None:
        self._rate, self._wrong, self._per_day, self._truth = rate, wrong, per_day, truth
        self._under_way: list[tuple[int, str]] = []
        self._decided: Counter[str] = Counter()
        self._days: dict[int, dict[str, tuple[float, str, Paid]]] = {}
        self._closed_us = 0
        self._answers: list[_Word] = []
        self._seeker = None if seeking is None else Seeker(seeking)
        # Who is sought out depends on what was heard by the day's end: then it is chosen.
        self._chosen_after_us = ANSWERED_AFTER_US if seeking is None else 0
        self._undecided: Counter[str] = Counter()
        self._asked_by: Counter[str] = Counter()
        self._honest: set[str] = set()
        self.counted: Counter[str] = Counter()

    def sent(self, moment: Moment) -> None:
        heapq.heappush(self._under_way, (moment.time_us, moment.id))
        if self._seeker is None or moment.late or moment.id not in self._truth:
            return
        if moment.type == "transaction" and moment.payee is not None:
            self._undecided[moment.id] += 1
            self._seeker.remember(_paid(moment))

    def take(self, items: list[Decided]) -> None:
        """Hear of a batch of decided events."""
        for scored, decision, _ in items:
            moment = scored.moment
            self._decided[moment.id] += 1
            self._undecided.pop(moment.id, None)
            if moment.type != "transaction" or moment.id not in self._truth:
                continue
            if self._per_day is None:
                if decision["decision"] == "challenge":
                    self._ask(_paid(moment), moment.time_us)
                continue
            ends_us = _ends_us(moment.time_us)
            if ends_us <= self._closed_us:
                continue
            today = self._days.setdefault(ends_us, {})
            mine = (-scored.probability, moment.id, _paid(moment))
            today[moment.customer] = min(mine, today.get(moment.customer, mine))

    def settled(self, at_us: int) -> bool:
        asked_us = at_us - ANSWERED_AFTER_US
        if self._per_day is not None:
            chosen_us = at_us - self._chosen_after_us
            asked_us = chosen_us - chosen_us % _DAY_US - 1
        waiting = self._under_way
        while waiting and waiting[0][1] in self._decided:
            event = heapq.heappop(waiting)[1]
            self._decided[event] -= 1
            if not self._decided[event]:
                del self._decided[event]
        if waiting and waiting[0][0] <= asked_us:
            return False
        answers = self._answers
        return not answers or answers[0].at_us > at_us or answers[0].event not in self._undecided

    def due(self, at_us: int) -> Fact | None:
        for ends_us in sorted(self._days):
            if ends_us + self._chosen_after_us > at_us or self._earlier_than(ends_us):
                break
            self._closed_us = ends_us
            self._close(sorted(self._days.pop(ends_us).values()), ends_us)
        if not self._answers or self._answers[0].at_us > at_us:
            return None
        word = heapq.heappop(self._answers)
        counted = self.counted
        counted["answered"] += 1
        counted["denied" if word.says else "confirmed"] += 1
        counted["wrong"] += word.says != self._truth[word.event].fraud
        if self._seeker is not None:
            about = Paid(word.event, word.time_us, word.customer, word.payee)
            for other in self._seeker.heard(about, word.says, word.at_us):
                counted["follow_ups"] += 1
                self._ask(other, word.at_us)
        return Fact(word.at_us, None, (word.event, word.says, "customer"))

    def _earlier_than(self, ends_us: int) -> bool:
        """Whether an answer from before that day's end is still to be heard."""
        seeks = self._seeker is not None
        return seeks and bool(self._answers) and self._answers[0].at_us <= ends_us

    def outranked(self) -> None:
        self.counted["outranked"] += 1

    def _close(self, highest: list[tuple[float, str, Paid]], ends_us: int) -> None:
        """Ask what is to be asked at a day's end."""
        seeker = self._seeker
        if seeker is None:
            for _, _, paid in highest[: self._per_day]:
                self._ask(paid, ends_us)
            return
        left = seeker.left_today - min(seeker.seeking.reviews, seeker.left_today)
        for _, _, paid in highest:
            if left <= 0:
                break
            if not seeker.asked(paid.event):
                left -= 1
                self._ask(paid, ends_us)
        for paid_list in seeker.reviews(ends_us):
            self._review(paid_list, ends_us)

    def _count(self, customer: str, honest: bool) -> None:
        self.counted["asked"] += 1
        self._asked_by[customer] += 1
        if honest:
            self._honest.add(customer)

    def _ask(self, paid: Paid, at_us: int) -> None:
        fraud = self._truth[paid.event].fraud
        self._count(paid.customer, not fraud)
        if _chance(paid.event, "answers") < self._rate:
            wrong = _chance(paid.event, "errs") < self._wrong
            self._say(paid, fraud != wrong, at_us)

    def _review(self, paid: list[Paid], at_us: int) -> None:
        """Ask one customer about a list of payments; the answer is one, about each of them."""
        newest = paid[0].event
        frauds = {one.event for one in paid if self._truth[one.event].fraud}
        self._count(paid[0].customer, not frauds)
        self.counted["reviews"] += 1
        self.counted["reviewed_payments"] += len(paid)
        if _chance(newest, "answers") >= self._rate:
            return
        named = frauds
        if _chance(newest, "errs") < self._wrong:
            named = set() if frauds else {paid[int(_chance(newest, "names") * len(paid))].event}
        for one in paid:
            self._say(one, one.event in named, at_us)

    def _say(self, paid: Paid, says: bool, at_us: int) -> None:
        word = _Word(
            at_us + ANSWERED_AFTER_US, paid.event, says, paid.customer, paid.payee, paid.time_us
        )
        heapq.heappush(self._answers, word)

    def report(self) -> dict[str, int]:
        """How many were asked, answered (so far as the file goes), and what they said."""
        names = ("asked", "answered", "confirmed", "denied", "wrong", "outranked")
        told = {name: self.counted[name] for name in names}
        if self._seeker is not None:
            more = ("follow_ups", "reviews", "reviewed_payments")
            told |= {name: self.counted[name] for name in more}
        return told | {
            "customers_asked": len(self._asked_by),
            "honest_customers_asked": len(self._honest),
            "most_questions_to_one_customer": max(self._asked_by.values(), default=0),
        }


def _paid(moment: Moment) -> Paid:
    return Paid(moment.id, moment.time_us, moment.customer, moment.payee or "")


def _ends_us(time_us: int) -> int:
    return time_us - time_us % _DAY_US + _DAY_US


def _chance(event: str, what: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{what}\0{event}".encode()).digest()[:8]) / 2**64


class _Silence(Judging):
    """The judge of a file: its questions end by the events' time, since no timer runs."""

    def logic(self, version: int | None) -> "_SilentShard":
        return _SilentShard(self, version or 0)


class _SilentShard(JudgeShard):
    """A shard that ends a customer's unanswered questions before it decides the next payment."""

    def __init__(self, stage: Judging, version: int) -> None:
        super().__init__(stage, version)
        self._deadlines: dict[str, int] = {}

    def on_batch(self, values: list[Scored | Spoken | HeardUntil]) -> tuple[list[Decided], bool]:
        facts = [fact for fact in values if isinstance(fact, Scored)]
        facts.sort(key=lambda fact: (fact.moment.time_us, fact.moment.position))
        told: list[Decided] = []
        run: list[Scored | Spoken | HeardUntil] = []
        seen: set[str] = set()
        for fact in facts:
            customer = fact.moment.customer
            if customer in seen:
                told += self._decide_run(run)
                run, seen = [], set()
            run.append(fact)
            seen.add(customer)
            if self._deadlines:
                self._end_by(customer, self._stage.now_us(fact.moment) - GRACE_US)
        return told + self._decide_run(run), StatefulBatchLogic.RETAIN

    def _decide_run(self, run: list[Scored | Spoken | HeardUntil]) -> list[Decided]:
        decided = super().on_batch(run)[0] if run else []
        for fact, decision, _ in decided:
            asked = decision.get("challenge")
            if asked is not None:
                expires_us = events.parse_us(asked["expires"])
                self._deadlines.setdefault(fact.moment.customer, expires_us)
        return decided

    def _end_by(self, customer: str, until_us: int) -> None:
        first = self._deadlines.get(customer)
        if first is None or first > until_us:
            return
        conversation = self._conversation(customer)
        for ended in list(conversation.expire(until_us)):
            self._end(customer, ended)
        self._touch(customer)
        del self._deadlines[customer]
        if conversation.open:
            self._deadlines[customer] = min(one.expires_us for one in conversation.open.values())


def replay(
    facts: Iterator[Fact],
    settings: Settings,
    tally: Tally,
    *,
    rules: Any,
    nonce_key: bytes,
    keep: Keep | None = None,
    durable: Callable[[], None] | None = None,
    models: Path | None = None,
    progress: Callable[[int], None] | None = None,
    journal: Callable[[list[Learnt]], None] = nobody,
    told: Callable[[list[Promoted | Drifted]], None] = nobody,
    pace: Callable[[int], float] | None = None,
    answers: SimulatedAnswers | None = None,
    catalogue: Catalogue | None = None,
) -> float:
    """Run the flow over facts; gives the seconds that it took. The tally is filled.

    Raises what was wrong with the file, once what stood before it has walked through.
    """
    scoreds = MemoryScoreds()
    wrong: list[FlowError] = []

    def watch(items: list[Decided]) -> None:
        tally.take(items)
        if answers is not None:
            answers.take(items)
        if progress is not None:
            progress(len(items))

    inlet = FileInlet(
        _readable(facts, wrong),
        assemble.of_itself,
        scoreds,
        settings.engine.batch,
        pace=pace,
        answers=answers,
    )
    parts = assemble.Parts(
        inlet=inlet,
        outlet=Watch(watch),
        store=MemoryStore(),
        effects=PlainEffects(keep),
        scoreds=scoreds,
        snapshots=Snapshots(models),
        journal=journal,
        now_us=_by_the_event,
        tick_ns=time.perf_counter_ns,
        nonce_key=nonce_key,
        sequenced=True,
        told=told,
        catalogue=catalogue,
    )
    stages = assemble.stages(settings, rules, parts)
    flow = fraud(changed(stages, judge=silent(stages.judge)))
    began = time.perf_counter()
    run_main(flow)  # type: ignore[no-untyped-call]  # Bytewax ships its stubs without types
    if wrong:
        raise wrong[0]
    if durable is not None:
        durable()
    return time.perf_counter() - began


def _readable(facts: Iterator[Fact], wrong: list[FlowError]) -> Iterator[Fact]:
    """Facts up to the first that can't be read: raised inside the engine, it ends in a panic."""
    try:
        yield from facts
    except FlowError as unread:
        wrong.append(unread)


def silent(judge: Judging) -> Judging:
    """The same judge, over a file: its questions end by the events' time."""
    return _Silence(
        judge.rules,
        judge.cabinet,
        judge.effects,
        judge.recorder,
        judge.scoreds,
        judge.shards,
        judge.nonce_key,
        judge.now_us,
        judge.tick_ns,
        judge.mode,
        judge.on_brake,
    )


def _by_the_event(moment: Moment | None) -> int:
    return 0 if moment is None else moment.accepted_us
