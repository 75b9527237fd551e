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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from flows.file_inlet import Answers, FileInlet
from flows.files import Fact, Truth, handbook, labelled, mapped, ndjson, read_truth
from flows.fraud import fraud
from flows.inquire import Seeks
from flows.judge import GRACE_US, Decided, JudgeShard, Judging
from flows.judge import Fact as JudgeFact
from flows.outlet import Watch
from flows.score import Drifted, Learnt, Promoted, Snapshots, nobody
from flows.scored import MemoryScoreds
from flows.seek import SeekStage, paid
from flows.shards import MemoryStore
from flows.walk import HeardUntil, Scored, Wished
from gateway.edge import Edge
from risk import events
from risk.events import Moment
from risk.labels import Known
from risk.seek import Paid, Seeking

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


class SimulatedAnswers(Answers):
    """Customers who say whether it was them, ten minutes after they were asked.

    ``rate`` of them answer, ``wrong`` of those say the opposite of what is true. Asked is about
    each challenged payment; or, with ``per_day``, at the end of each day (UTC) about the payments
    that scored highest on it, one a customer at most. With ``seeking`` a part of that day's budget
    seeks what is not known yet: the flow's own stage chooses (``flows/seek.py``), and is waited for
    before anything that could be known later goes in. Whether and what somebody answers about a
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
        self.seeking = seeking
        # Who is sought out depends on what was heard by the day's end: then it is chosen.
        self._chosen_after_us = ANSWERED_AFTER_US if seeking is None else 0
        self._awaited: Counter[int] = Counter()  # at which times the stage has still to choose
        self._heard_us, self._followed = 0, 0
        self._asked_about: set[str] = set()
        self._undecided: Counter[str] = Counter()
        self._asked_by: Counter[str] = Counter()
        self._honest: set[str] = set()
        self.counted: Counter[str] = Counter()

    def sent(self, moment: Moment) -> None:
        heapq.heappush(self._under_way, (moment.time_us, moment.id))
        if self.seeking is not None and moment.type == "transaction":
            self._undecided[moment.id] += 1

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
                    self._ask(paid(moment), moment.time_us)
                continue
            ends_us = _ends_us(moment.time_us)
            if ends_us <= self._closed_us:
                continue
            today = self._days.setdefault(ends_us, {})
            mine = (-scored.probability, moment.id, paid(moment))
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
        if self._awaited and self._must_wait(min(self._awaited), at_us):
            return False
        answers = self._answers
        return not answers or answers[0].at_us > at_us or answers[0].event not in self._undecided

    def _must_wait(self, first_us: int, at_us: int) -> bool:
        """Whether what is still chosen at one time may matter by another."""
        ends_us = min(self._days, default=at_us + 1)
        return first_us + ANSWERED_AFTER_US <= at_us or first_us <= ends_us <= at_us

    def due(self, at_us: int) -> Fact | None:
        for ends_us in sorted(self._days):
            if ends_us + self._chosen_after_us > at_us or self._earlier_than(ends_us):
                break
            self._closed_us = ends_us
            self._close(sorted(self._days.pop(ends_us).values()), ends_us)
            if self.seeking is not None:
                self._awaited[ends_us] += 1
                return Fact(ends_us, None, None)
        if not self._answers or self._answers[0].at_us > at_us:
            return None
        word = heapq.heappop(self._answers)
        counted = self.counted
        counted["answered"] += 1
        counted["denied" if word.says else "confirmed"] += 1
        counted["wrong"] += word.says != self._truth[word.event].fraud
        if self.seeking is not None:
            self._awaited[word.at_us] += 1
            self._heard_us = word.at_us
        return Fact(word.at_us, None, (word.event, word.says, "customer"))

    def _earlier_than(self, ends_us: int) -> bool:
        """Whether an answer from before that day's end is still to be heard."""
        seeks = self.seeking is not None
        return seeks and bool(self._answers) and self._answers[0].at_us <= ends_us

    def outranked(self) -> None:
        self.counted["outranked"] += 1
        if self.seeking is not None:
            self._chosen(self._heard_us)

    def walked(self, fact: Known | HeardUntil, wishes: int) -> None:
        """The stage that seeks has taken a fact in, and wished for so many questions."""
        if isinstance(fact, Known):
            if fact.source != "customer":
                return
            self._followed += wishes
            at_us = fact.known_us
        else:
            at_us, self._followed = fact.until_us, 0
        self._awaited[at_us] += wishes
        self._chosen(at_us)

    def sought(self, wish: Wished, asked: Sequence[str]) -> None:
        """A wish has become a question about these payments, or about none."""
        payments = [one for one in wish.payments if one.event in asked]
        if payments and wish.why == "review":
            self._review(payments, wish.at_us)
        elif payments:
            self.counted["follow_ups"] += 1
            self._ask(payments[0], wish.at_us)
        self._chosen(wish.at_us)

    def made(self, event: str) -> bool:
        """Whether a customer knows the truth of a payment, and was not asked about it yet."""
        return event in self._truth and event not in self._asked_about

    def _chosen(self, at_us: int) -> None:
        self._awaited[at_us] -= 1
        if not self._awaited[at_us]:
            del self._awaited[at_us]

    def _close(self, highest: list[tuple[float, str, Paid]], ends_us: int) -> None:
        """Ask what is to be asked at a day's end."""
        left = self._per_day or 0
        if self.seeking is not None:
            left = max(0, self.seeking.per_day - self._followed)
            left -= min(self.seeking.reviews, left)
        for _, _, payment in highest:
            if left <= 0:
                break
            if self.made(payment.event):
                left -= 1
                self._ask(payment, ends_us)

    def _count(self, customer: str, honest: bool) -> None:
        self.counted["asked"] += 1
        self._asked_by[customer] += 1
        if honest:
            self._honest.add(customer)

    def _ask(self, payment: Paid, at_us: int) -> None:
        fraud = self._truth[payment.event].fraud
        self._asked_about.add(payment.event)
        self._count(payment.customer, not fraud)
        if _chance(payment.event, "answers") < self._rate:
            wrong = _chance(payment.event, "errs") < self._wrong
            self._say(payment, fraud != wrong, at_us)

    def _review(self, payments: list[Paid], at_us: int) -> None:
        """Ask one customer about a list of payments; the answer is one, about each of them."""
        newest = payments[0].event
        frauds = {one.event for one in payments if self._truth[one.event].fraud}
        self._asked_about.update(one.event for one in payments)
        self._count(payments[0].customer, not frauds)
        self.counted["reviews"] += 1
        self.counted["reviewed_payments"] += len(payments)
        if _chance(newest, "answers") >= self._rate:
            return
        named = frauds
        if _chance(newest, "errs") < self._wrong:
            guess = payments[int(_chance(newest, "names") * len(payments))].event
            named = set() if frauds else {guess}
        for one in payments:
            self._say(one, one.event in named, at_us)

    def _say(self, payment: Paid, says: bool, at_us: int) -> None:
        heapq.heappush(self._answers, _Word(at_us + ANSWERED_AFTER_US, payment.event, says))

    def report(self) -> dict[str, int]:
        """How many were asked, answered (so far as the file goes), and what they said."""
        names = ("asked", "answered", "confirmed", "denied", "wrong", "outranked")
        told = {name: self.counted[name] for name in names}
        if self.seeking is not None:
            more = ("follow_ups", "reviews", "reviewed_payments")
            told |= {name: self.counted[name] for name in more}
        return told | {
            "customers_asked": len(self._asked_by),
            "honest_customers_asked": len(self._honest),
            "most_questions_to_one_customer": max(self._asked_by.values(), default=0),
        }


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

    def on_batch(self, values: list[JudgeFact]) -> tuple[list[Decided], bool]:
        facts = [fact for fact in values if isinstance(fact, Scored)]
        facts.sort(key=lambda fact: (fact.moment.time_us, fact.moment.position))
        told: list[Decided] = []
        run: list[JudgeFact] = []
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
        told += self._decide_run(run)
        wishes: list[JudgeFact] = [fact for fact in values if isinstance(fact, Wished)]
        if wishes:
            super().on_batch(wishes)
        return told, StatefulBatchLogic.RETAIN

    def _decide_run(self, run: list[JudgeFact]) -> list[Decided]:
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
        conversation = self.hearing.conversation(customer)
        for ended in list(conversation.expire(until_us)):
            self.hearing.end(customer, ended)
        self.hearing.touch(customer)
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

    seeking = None if answers is None else answers.seeking
    seek, seeks, made = None, None, None
    if answers is not None and seeking is not None:
        seek = SeekStage(seeking, sequenced=True, told=answers.walked)
        seeks = Seeks(seeking.rest_us, opens=False, told=answers.sought)
        made = answers.made
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
        effects=PlainEffects(keep, made or (lambda event: True)),
        scoreds=scoreds,
        snapshots=Snapshots(models),
        journal=journal,
        now_us=_by_the_event,
        tick_ns=time.perf_counter_ns,
        nonce_key=nonce_key,
        sequenced=True,
        told=told,
        catalogue=catalogue,
        seek=seek,
        seeks=seeks,
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
        judge.seeks,
    )


def _by_the_event(moment: Moment | None) -> int:
    return 0 if moment is None else moment.accepted_us
