"""What is done about an event?

One stage, keyed by the customer's shard, so that everything between the bank and one customer has
one order: decisions that ask, answers in the order of their stream, deadlines (flows/hear.py). A
deadline fires only once the answers' stream was read to its end as of the deadline and a grace.
"""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Callable
from typing import Any, NamedTuple

from bytewax.operators import StatefulBatchLogic

from flows.describe import Ticker
from flows.due import DUE, Due
from flows.effects import Effects, Leaving, Note
from flows.hear import Hearing
from flows.inquire import Seeks
from flows.records import Recorder
from flows.scored import Scoreds, row_of
from flows.shards import Cabinet
from flows.walk import HeardUntil, Scored, Spoken, Wished, shard_key, shard_of
from risk import events, money, names
from risk.brakes import ALL, KINDS, BrakeLimits, Brakes
from risk.budget import AskingBudget
from risk.challenge import Asked, Conversation
from risk.policy import Bar, Judged, Policy, RuleSet, braked, judge, opinions_of
from risk.rest import PASSED, RESTS
from risk.rules import SEVERITIES

GRACE_US = 1_000_000
_ALARMS = {"decline": "declined", "review": "to review"}


Fact = Scored | Spoken | HeardUntil | Wished


class Decided(NamedTuple):
    """A scored event with the decision on record for it."""

    scored: Scored
    decision: dict[str, Any]
    replayed: bool


def challenge_id(event: str) -> str:
    """The id of an event's question; the same one again in a replay."""
    digest = hashlib.sha256(b"challenge\0" + event.encode()).digest()
    return "ch_" + b32encode(digest[:13]).decode().lower().rstrip("=")


def _nobody(rule: str, why: str) -> None:
    """Nobody puts a demotion into a later set: over a file, it holds to its end."""


class Judging:
    """The judging stage of one process.

    ``now_us`` is the clock of decisions: the wall's in the live flow, the event's own in a replay.
    ``mode`` is ``act``; ``observe`` (decide, record, answer approve, contact nobody); or
    ``backfill`` (decide nothing: only what was scored is kept, so that labels find it).
    """

    def __init__(
        self,
        rules: Callable[[], RuleSet],
        cabinet: "Cabinet[Conversation | Due]",
        effects: Effects,
        recorder: Recorder,
        scoreds: Scoreds,
        shards: int,
        nonce_key: bytes,
        now_us: Callable[[events.Moment | None], int],
        tick_ns: Ticker,
        mode: str = "act",
        on_brake: Callable[[str, str], None] = _nobody,
        seeks: Seeks | None = None,
    ) -> None:
        self.mode, self.on_brake, self.seeks = mode, on_brake, seeks
        self.rules, self.cabinet, self.effects = rules, cabinet, effects
        self.recorder, self.scoreds, self.shards = recorder, scoreds, shards
        self.nonce_key, self.now_us, self.tick_ns = nonce_key, now_us, tick_ns

    def route(self, fact: Fact) -> str:
        """The key of the fact's shard."""
        return shard_key(self.shard(fact))

    def shard(self, fact: Fact) -> int:
        """The shard of the fact's customer."""
        if isinstance(fact, HeardUntil):
            return fact.shard
        owner = fact.customer if isinstance(fact, Spoken | Wished) else fact.moment.customer
        return shard_of(owner, self.shards)

    def logic(self, version: int | None) -> "JudgeShard":
        """Build or resume one shard's logic; ``version`` is what the cut says."""
        return JudgeShard(self, version or 0)


class JudgeShard(StatefulBatchLogic[Fact, Decided, int]):
    """One shard of customers: their decisions, questions, answers and deadlines."""

    def __init__(self, stage: Judging, version: int) -> None:
        self._stage, self._version = stage, version
        self._shard: int | None = None
        self.hearing = Hearing(stage, 0)

    def snapshot(self) -> int:
        if self._shard is None:
            return self._version
        self._stage.scoreds.commit()
        self._version = self._stage.cabinet.flush(self._shard)
        return self._version

    def on_batch(self, values: list[Fact]) -> tuple[list[Decided], bool]:
        stage = self._stage
        if self._shard is None:
            self._shard = stage.shard(values[0])
            self.hearing = Hearing(stage, self._shard)
            stage.cabinet.begin(self._shard, self._version)
        scored = [fact for fact in values if isinstance(fact, Scored)]
        scored.sort(
            key=lambda fact: (fact.moment.time_us, fact.moment.partition, fact.moment.position)
        )
        if stage.mode == "backfill":
            return self._keep(scored), StatefulBatchLogic.RETAIN
        decided = self._decide(scored) if scored else []
        spoken = [fact for fact in values if isinstance(fact, Spoken)]
        for one in spoken:
            self.hearing.hear(one)
        for wish in (fact for fact in values if isinstance(fact, Wished)):
            self.hearing.inquire(wish)
        until = max((fact.until_us for fact in values if isinstance(fact, HeardUntil)), default=0)
        if until:
            self.hearing.expire(until - GRACE_US)
        return decided, StatefulBatchLogic.RETAIN

    def _keep(self, scored: list[Scored]) -> list[Decided]:
        for fact in scored:
            self._stage.scoreds.put(row_of(fact))
        return [Decided(fact, {"decision": "none"}, replayed=False) for fact in scored]

    # --- deciding ---------------------------------------------------------------------------

    def _budget(self, share: float | None) -> AskingBudget | None:
        if share is None:
            return None
        due = self.hearing.due()
        due.budget = due.budget or AskingBudget(share)
        due.budget.share = share
        return due.budget

    def _decide(self, scored: list[Scored]) -> list[Decided]:
        stage = self._stage
        stage.cabinet.fetch(self._shard or 0, [fact.moment.customer for fact in scored])
        whole = rules = stage.rules()
        brakes = self._brakes(rules.policy.brakes)
        budget = self._budget(rules.policy.customers_share)
        decided: list[Decided] = []
        # A customer's second event in one batch must see the question that the first one opened,
        # so a batch leaves in runs in which no customer comes twice.
        for run in _runs(scored):
            leaving: list[Leaving] = []
            judgements: list[Judged] = []
            for fact in run:
                began = stage.tick_ns()
                now_us = stage.now_us(fact.moment)
                if brakes is not None and brakes.demoted:
                    rules = whole.without(brakes.stopped(whole.sha256))
                conversation = self.hearing.conversation(fact.moment.customer)
                judged = judge(
                    fact.moment,
                    fact.features,
                    opinions_of(fact.score, fact.anomaly, fact.factors, rules.docket),
                    rules,
                    conversation,
                    now_us,
                    fact.lessons,
                    None if budget is None else Bar(fact.probability, budget.at_least),
                )
                if brakes is not None:
                    if rules is not whole:
                        stopped = sorted(brakes.stopped(whole.sha256))
                        judged = judged._replace(given={**judged.given, "demoted": stopped})
                    judged = self._brake(brakes, fact, judged, whole)
                if budget is not None:
                    self._count(budget, fact, judged, rules.policy, now_us)
                fact.stages_us["judge"] = (stage.tick_ns() - began) // 1000
                judgements.append(judged)
                leaving.append(self._leaving(fact, judged, rules, now_us))
            told = stage.effects.decide(leaving)
            decided += self._settle(run, leaving, judgements, told)
        return decided

    def _brakes(self, limits: BrakeLimits | None) -> Brakes | None:
        if limits is None:
            return None
        due = self.hearing.due()
        due.brakes = due.brakes or Brakes()
        return due.brakes

    def _brake(self, brakes: Brakes, fact: Scored, judged: Judged, rules: RuleSet) -> Judged:
        """Count what is asked and declined; what trips a brake is a review, and is told of."""
        stage, at_us, limits = self._stage, fact.moment.time_us, rules.policy.brakes
        if limits is None or fact.moment.late:
            return judged
        for hit in judged.hits:
            brakes.hit(hit.rule.id, at_us)
        asked_by = [hit.rule.id for hit in judged.hits if hit.rule.outcome == judged.outcome]
        tripped = brakes.count(judged.outcome, asked_by, at_us, rules.sha256, limits, stage.shards)
        notes = [
            stage.recorder.braked(one, rules.sha256, self._shard or 0, at_us) for one in tripped
        ]
        notes += [stage.recorder.silent(rule, at) for rule, at in brakes.silent(at_us)]
        if judged.hits or tripped or notes or judged.outcome in KINDS:
            self.hearing.due().brakes = (
                brakes  # the former may have left the cache since the batch began
            )
            self.hearing.touch(DUE)
        if notes:
            stage.effects.note(notes)
        for one in tripped:
            if one.rule != ALL:
                stage.on_brake(one.rule, one.words)
        return braked(judged, tripped) if tripped else judged

    def _count(
        self, budget: AskingBudget, fact: Scored, judged: Judged, policy: Policy, now_us: int
    ) -> None:
        """Move the bar by a payment; not before the model's word counts."""
        asked = judged.outcome == "challenge"
        if fact.moment.type != "transaction" or fact.lessons < policy.acts_after_lessons:
            return
        if budget.note(fact.moment.customer, asked, now_us):
            self.hearing.due().budget = (
                budget  # the former may have left the cache since the batch began
            )
            self.hearing.touch(DUE)

    def _leaving(self, fact: Scored, judged: Judged, rules: RuleSet, now_us: int) -> Leaving:
        moment = fact.moment
        decision: dict[str, Any] = {
            "event": moment.id,
            "decision": judged.outcome,
            "score": fact.score,
            "anomaly": fact.anomaly,
            "reasons": judged.reasons,
            "model": fact.model._asdict(),
            "policy_sha256": rules.sha256,
            "rule_set": {"sha256": rules.whole(fact.model), "lists": rules.lists.version},
            "degraded": None,
            "trace": moment.trace,
            "stages_us": fact.stages_us,
            "decided": events.rfc3339(now_us),
        }
        if judged.tags:
            decision["tags"] = list(judged.tags)
        if judged.points:
            decision["points"] = judged.points
        ask, expires_us = None, 0
        if self._stage.mode == "observe":
            decision |= {
                "decision": "approve",
                "would": {"decision": judged.outcome, "reasons": judged.reasons},
            }
        elif judged.outcome == "challenge":
            expires_us = now_us + rules.policy.answer_within_us
            ask = self._question(fact, now_us, expires_us, judged)
            decision["challenge"] = {"id": ask["id"], "expires": ask["expires"]}
        if fact.factors is not None:
            decision["factors"] = fact.factors  # the last key: the gateway cuts it off unread
        records = []
        if self._stage.effects.keeps:
            told = judged._replace(outcome=decision["decision"])
            records = self._stage.recorder.decided(fact, told, decision, ask, now_us)
        return Leaving(moment.id, decision, fact.features, records, ask, moment.reply, expires_us)

    def _question(
        self, fact: Scored, now_us: int, expires_us: int, judged: Judged
    ) -> dict[str, Any]:
        moment = fact.moment
        nonce = hmac.digest(self._stage.nonce_key, moment.id.encode(), hashlib.sha256)
        return {
            "v": 1,
            "op": "ask",
            "id": challenge_id(moment.id),
            "event": moment.id,
            "case": names.case(moment.id),
            "customer": moment.customer,
            "amount": str(events.amount_of(moment)),
            "currency": moment.currency,
            "payee": moment.payee_sealed,
            "kind": moment.kind,
            "nonce": nonce.hex()[:32],
            "created": events.rfc3339(now_us),
            "expires": events.rfc3339(expires_us),
            "reasons": [reason["code"] for reason in judged.reasons],
            "severity": max(
                (hit.rule.severity for hit in judged.hits), key=SEVERITIES.index, default="medium"
            ),
            "must_sign": self._must_sign(moment, now_us),
        }

    def _must_sign(self, moment: events.Moment, now_us: int) -> bool:
        """Whether, as things stand, only a signed confirm would count; the arbiter decides then."""
        limit = self._stage.rules().policy.unsigned_limit
        spent = self.hearing.conversation(moment.customer).unsigned_spent(now_us)
        return limit is not None and spent + _amount_base(moment) > limit

    def _settle(
        self,
        run: list[Scored],
        leaving: list[Leaving],
        judgements: list[Judged],
        told: list[dict[str, Any] | None],
    ) -> list[Decided]:
        stage = self._stage
        known = [place for place, row in enumerate(told) if row is not None]
        kept_features = dict(
            zip(
                known,
                stage.effects.recorded_features([run[place].moment.id for place in known]),
                strict=True,
            )
        )
        decided: list[Decided] = []
        for place, fact in enumerate(run):
            recorded = told[place]
            decision = leaving[place].decision if recorded is None else recorded
            if recorded is not None and recorded.get("degraded"):
                self._too_late(fact, leaving[place], judgements[place], recorded)
            elif recorded is not None and kept_features[place] is not None:
                fact.features.clear()
                fact.features.update(kept_features[place] or {})
            self._note_question(fact, decision)
            self._note_passed(fact, decision)
            stage.scoreds.put(row_of(fact, with_paid=stage.seeks is not None))
            if fact.moment.type == "status" and fact.moment.refers_to:
                self.hearing.withdraw(fact)
            decided.append(Decided(fact, decision, recorded is not None))
        stage.effects.note([_alarm(one) for one in decided if one.decision["decision"] in _ALARMS])
        return decided

    def _note_question(self, fact: Scored, decision: dict[str, Any]) -> None:
        if decision["decision"] != "challenge" or decision.get("degraded"):
            return
        moment, asked = fact.moment, decision["challenge"]
        expires_us = events.parse_us(asked["expires"])
        question = Asked(
            asked["id"],
            moment.id,
            events.parse_us(decision["decided"]),
            expires_us,
            _amount_base(moment),
            moment.kind == RESTS,
        )
        conversation = self.hearing.conversation(moment.customer)
        conversation.ask(question)
        self.hearing.touch(moment.customer)
        self.hearing.due().rows[question.id] = (expires_us, moment.customer)
        self.hearing.touch(DUE)
        word = conversation.held(question.id)
        if word is not None:
            self.hearing.hear(Spoken(moment.customer, word[0], word[1], word[2]))
        gone = conversation.held(moment.id)
        if gone is not None:
            self.hearing.withdrawn(moment.customer, moment.id, gone[0])

    def _note_passed(self, fact: Scored, decision: dict[str, Any]) -> None:
        if any(reason["code"] == PASSED for reason in decision.get("reasons", ())):
            customer = fact.moment.customer
            at_us = events.parse_us(decision["decided"])
            self.hearing.conversation(customer).passes(_amount_base(fact.moment), at_us)
            self.hearing.touch(customer)

    def _too_late(
        self, fact: Scored, leaving: Leaving, judged: Judged, recorded: dict[str, Any]
    ) -> None:
        decision = {**leaving.decision, "late": True}
        decision.pop("challenge", None)
        at_us = events.parse_us(decision["decided"])
        records = self._stage.recorder.decided(fact, judged, decision, None, at_us, late=True)
        alert = None
        if judged.outcome != "approve" and recorded["decision"] == "approve":
            alert = {
                "event": fact.moment.id,
                "kind": "late",
                "text": f"Passed by the fail policy; the flow would have said {judged.outcome}.",
            }
        self._stage.effects.late(
            leaving._replace(decision=decision, records=records, ask=None), alert
        )


def _alarm(decided: Decided) -> Note:
    """Tell the officers, once, of what waits for them or was declined."""
    decision = decided.decision
    why = "; ".join(reason["text"] for reason in decision["reasons"]) or "no reason was given"
    kind = _ALARMS[decision["decision"]]
    alert = {"event": decision["event"], "kind": kind, "text": f"{kind.capitalize()}: {why}"}
    return Note(f"event/{decision['event']}/alert", b"", alert)


def _amount_base(moment: events.Moment) -> int:
    """Without a rate nobody knows how much it is: it counts as more than any limit."""
    return money.LARGEST_MINOR if moment.amount_base is None else moment.amount_base


def _runs(scored: list[Scored]) -> list[list[Scored]]:
    runs: list[list[Scored]] = []
    seen: set[str] = set()
    for fact in scored:
        if not runs or fact.moment.customer in seen:
            runs.append([])
            seen = set()
        runs[-1].append(fact)
        seen.add(fact.moment.customer)
    return runs
