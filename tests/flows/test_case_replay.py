"""Is a decision the same again, rebuilt from the record alone, the model's word included?"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.settings import Settings
from features import explain, models
from features.catalogue import BY_NAME
from flows import judgement
from flows.assemble import known_names, read_files
from flows.case_replay import Kept, Rebuilt, conversation_then, differences, rebuilt
from flows.changes import changed_document, rows_of
from flows.model_then import ModelsThen, NotRebuilt
from flows.records import Recorder
from flows.score import Learnt, ModelLogic, Scoring, Snapshots
from flows.walk import Appointed, Described, Scored, Values
from gateway.edge import Edge
from risk import events
from risk.challenge import DAY_US, Conversation
from risk.events import Moment, moment
from risk.labels import Known
from risk.lists import Lists
from risk.policy import RuleSet, judge
from risk.rest import Word
from tests.flows.facts import Judge
from tests.risk import payments
from tests.risk.payments import payment

KNOWN = known_names(Settings())
FILES = read_files(Settings())
EDGE = Edge(
    token_root=b"t" * 32, edge_key=b"e" * 32, transport_key=b"e" * 32, tenant="main", partitions=4
)
START_US = events.micros(datetime(2026, 3, 2, 9, tzinfo=UTC))
DECISIONS = 1_000


def _sets() -> list[RuleSet]:
    """The shipped set, and one in which some shadow rules act and a policy asks less."""
    document = orjson.loads(FILES.document)
    rows = rows_of(document)
    live = {
        name: {**rows[name], "state": "live"}
        for name in ("structuring", "high_risk_country", "far_above_usual")
    }
    limits = {"rule": 120, "overall": 250}
    live["unlike"] = {
        **rows["card_testing"], "id": "unlike", "action": "review", "tests": [],
        "when": "factor.customer.new_payee > 0.2",
    }  # fmt: skip
    live["odd"] = {**rows["card_testing"], "id": "odd", "action": "tag odd", "tests": []}
    brakes = {"challenges_per_hour": limits, "declines_per_hour": {"rule": 40, "overall": 90}}
    policy = {**document["policy"], "score_acts_after_lessons": 10, "brakes": brakes}
    raw = orjson.dumps(changed_document(document, live, policy), option=orjson.OPT_SORT_KEYS)
    return [FILES, judgement.of_document(raw, KNOWN)]


def _changes() -> list[tuple[str, dict[str, Any]]]:
    token = EDGE.tokens.token
    said = [
        ("high_risk_countries", "country", "KP", None),
        ("block", "payee", token("payee.account", "acc-3"), None),
        ("suppress.new_payee_large", "customer", token("customer", "c-2"), START_US + 10**12),
        ("allow", "customer", token("customer", "c-4"), START_US + 5 * 10**8),
        ("watch", "device", token("device.id", "d-1"), None),
        ("final", "payee", token("payee.account", "acc-7"), None),
        ("force.review", "customer", token("customer", "c-5"), START_US + 10**12),
    ]
    return [
        (
            f"{1_000 + place}-0",
            {
                "op": "add", "list": name, "kind": kind, "value": value, "reason": "seen",
                "by": "ann", "until_us": until,
            },
        )
        for place, (name, kind, value, until) in enumerate(said)
    ]  # fmt: skip


def _body(chance: random.Random, number: int) -> dict[str, Any]:
    common = {
        "id": f"e-{number}",
        "time": events.rfc3339(START_US + number * 1_000_000),
        "customer": f"c-{chance.randrange(9)}",
        "device": {"id": f"d-{chance.randrange(3)}"},
        "geo": {"country": chance.choice(["CN", "KP"]), "lat": 39.9, "lon": chance.random()},
    }
    if chance.random() < 0.2:
        return {**common, "type": "login", "result": chance.choice(["success", "failure"])}
    payee = {"account": f"acc-{chance.randrange(9)}", "country": chance.choice(["CN", "KP"])}
    amount = f"{chance.choice([5, 800, 6000, 40000])}.{chance.randrange(100):02d}"
    currency = chance.choice(["CNY", "CNY", "USD", "XAF"])
    if currency == "XAF":
        amount = amount.partition(".")[0]
    return {
        **common, "type": "transaction", "amount": amount, "currency": currency, "payee": payee,
        "channel": "app",
    }  # fmt: skip


def _features(chance: random.Random) -> dict[str, Any]:
    return {
        name: chance.choice([None, 0, 1, 1, chance.randrange(9), chance.random() * 200_000])
        for name in sorted(BY_NAME)
        if not name.startswith("event.")
    }


class Learner:
    """The model stage, what it puts on record, and a crash."""

    def __init__(self, folder: Path) -> None:
        recorder = Recorder("main")
        self.records: dict[str, dict[str, Any]] = {}

        def journal(learnt: list[Learnt]) -> None:
            for one in learnt:
                for record in orjson.loads(recorder.learnt(one)):
                    self.records.setdefault(record["rid"], record)

        self.snapshots = Snapshots(folder)
        self._stage = Scoring(
            models.champion, models.load, self.snapshots, journal, lambda: 0,
            challengers={"binned_crossed": models.BY_ID["binned_crossed"].make},
            reasons=explain.reasons, lessons_a_snapshot=130,
        )  # fmt: skip
        self._logic: ModelLogic = self._stage.logic(None)
        self._cut = self._logic.snapshot()
        self._since: list[Known] = []

    def score(self, event: Moment, features: Values) -> Scored:
        """The model's word, with an opinion beside it that nobody can make again."""
        (scored,), _ = self._logic.on_batch([Described(event, features, {})])
        return scored._replace(anomaly=5)

    def learn(self, label: Known) -> None:
        self._logic.on_batch([label])
        self._since.append(label)

    def cut(self) -> None:
        self._cut = self._logic.snapshot()
        self._since.clear()

    def crash(self, chance: random.Random) -> None:
        """Resume from the cut; what came since comes again, in another order."""
        self._logic = self._stage.logic(self._cut)
        again, self._since = self._since, []
        chance.shuffle(again)
        for label in again:
            self.learn(label)

    def promote(self, model: str) -> None:
        self._logic.on_batch([Appointed("1-0", "mp-1", model, "ann", "bob", START_US, False)])


@dataclass
class Story:
    """What was decided, all that is on record, and where the models lie."""

    judge: Judge
    kept: Kept
    records: Mapping[str, Mapping[str, Any]]
    snapshots: Snapshots
    history: Mapping[str, Values]

    def models(self, snapshots: Snapshots | None = None) -> ModelsThen:
        found = snapshots or self.snapshots
        return ModelsThen(self.records.get, found, models.load, self.history.get)


def _label(event: str, customer: str, features: Values, place: int) -> Known:
    """Most payments to a new payee were frauds, and some others."""
    fraud = features["customer.new_payee"] == 1 if place % 7 else place % 3 == 0
    return Known(
        f"l-{place}", event, fraud, "officer", START_US + place * 1_000_000, START_US, customer,
        None, None, None, -1, place, True, features,
    )  # fmt: skip


def _story(folder: Path) -> Story:
    """A thousand decisions under changing sets, lists and models, and a crash in between."""
    chance = random.Random(11)
    sets, changes, recorder, learner = _sets(), _changes(), Recorder("main"), Learner(folder)
    judge = Judge()
    judge.mode = "act"
    records: list[dict[str, Any]] = []
    history = {f"old-{place}": _features(chance) for place in range(40)}
    for place, (old, features) in enumerate(history.items()):
        learner.learn(_label(old, "c-0", features, place))
    for place in range(DECISIONS):
        known = changes[: place * 2 * len(changes) // DECISIONS]
        lists = Lists().changed(known)
        judge.rules = replace(sets[place % 2 if place > 300 else 0], lists=lists)
        sent, _ = events.parse(_body(chance, place), datetime(2026, 6, 1, tzinfo=UTC))
        assert not isinstance(sent, events.LabelEvent)
        at_us = START_US + place * 1_000_000
        ready = EDGE.prepare(sent, accepted_us=at_us, role="ingest", reply=None, trace="")
        records += orjson.loads(ready.records)
        event = _moment(ready.envelope, judge.rules, place)
        features = {**_features(chance), "event.amount": event.amount_base}
        judge.now_us = at_us
        judge.hear(learner.score(event, features))
        if place % 2:
            learner.learn(_label(event.id, event.customer, features, place))
        if place == 560:
            learner.cut()
        if place == 600:
            learner.crash(chance)
        if place == 800:
            learner.promote("binned_crossed")
    judge.doors.records += records
    bodies = [
        one["body"]
        for rules in sets
        for one in judgement.set_records(
            rules, lambda rid, told: recorder.configured(rid, told, None, 0)
        )
    ]
    bodies += [{**change, "version": version} for version, change in changes]
    found = {one["rid"]: one for one in orjson.loads(orjson.dumps(judge.doors.records))}
    return Story(
        judge,
        Kept(orjson.loads(orjson.dumps(bodies)), KNOWN),
        {**found, **learner.records},
        learner.snapshots,
        history,
    )


def _moment(envelope: bytes, rules: RuleSet, place: int) -> Moment:
    return moment(
        orjson.loads(envelope),
        partition=0,
        position=place,
        watermark_us=START_US + (10**12 if place % 50 == 7 else 0),
        lateness_us=0,
        rates=rules.rates,
    )


def _by_event(story: Story) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in orjson.loads(orjson.dumps(story.judge.doors.records)):
        if one["event"]:
            found.setdefault(one["event"], []).append(one)
    return found


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return _story(tmp_path_factory.mktemp("models"))


def test_a_thousand_decisions_and_scores_are_the_same_again_from_the_record_alone(
    story: Story,
) -> None:
    by_event, known = _by_event(story), story.models()
    again = 0
    seen: set[str] = set()
    marks: set[str] = set()
    for event, decision in story.judge.doors.decisions.items():
        found = rebuilt(by_event[event], story.kept, known)
        assert found.decision == {
            key: value
            for key, value in orjson.loads(orjson.dumps(decision)).items()
            if key not in ("stages_us", "outcome", "factors")
        }
        assert differences(found) == [], event
        assert found.spoken is not None
        assert found.spoken["probability"] == found.score["probability"]
        assert found.spoken["factors"] == found.score["factors"]
        judged = found.judged
        marks.add(found.score["model"]["sha256"])
        seen |= {judged.outcome, *(reason["code"] for reason in judged.reasons)}
        seen |= {f"tag {tag}" for tag in judged.tags}
        again += 1
    assert again == DECISIONS
    assert len(marks) >= 5, "snapshots were stored, and another model promoted"
    wished = {
        "approve", "challenge", "review", "decline", "open_enough", "late", "no_rate", "score",
        "list.block", "list.final", "list.allow", "list.force.review", "high_risk_country",
        "list.suppress.new_payee_large", "far_above_usual", "brake", "tag watch.device", "tag odd",
        "unlike",
    }  # fmt: skip
    assert wished <= seen


def test_any_decision_can_be_asked_for_first(story: Story) -> None:
    by_event = _by_event(story)
    for event in random.Random(5).sample(sorted(story.judge.doors.decisions), 12):
        assert differences(rebuilt(by_event[event], story.kept, story.models())) == []
    known = story.models()
    for place in (999, 20, 601, 599, 561):  # back and forth in time, around the crash
        assert differences(rebuilt(by_event[f"e-{place}"], story.kept, known)) == []


def test_the_score_can_be_taken_as_it_is_on_record(story: Story) -> None:
    records = _by_event(story)["e-700"]
    found = rebuilt(records, story.kept, None)
    assert (found.spoken, differences(found)) == (None, [])


def _score(records: list[dict[str, Any]]) -> dict[str, Any]:
    (body,) = [one["body"] for one in records if one["kind"] == "score"]
    return dict(body)


def test_a_score_of_an_earlier_program_is_taken_as_it_is_on_record(story: Story) -> None:
    records = _by_event(story)["e-700"]
    for one in records:
        if one["kind"] == "score":
            del one["body"]["taught"]
    found = rebuilt(records, story.kept, story.models())
    assert (found.spoken, differences(found)) == (None, [])


def test_another_score_on_record_is_told_to_the_last_digit(story: Story) -> None:
    records = _by_event(story)["e-700"]
    was = _score(records)["probability"]
    for one in records:
        if one["kind"] == "score":
            one["body"] |= {"probability": was[:-1] + ("1" if was[-1] != "1" else "2")}
    (told,) = differences(rebuilt(records, story.kept, story.models()))
    assert told.startswith("probability: recorded ")
    assert told.endswith(f"now {was!r}")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("features", lambda body: body["values"].update({"customer.new_payee": None})),
        ("score", lambda body: body["given"].update({"asked_24h": 0, "open": 0})),
        ("event.in", lambda body: body.update({"amount": "1.00"})),
    ],
)
def test_a_record_that_says_otherwise_gives_another_decision(
    story: Story, kind: str, change: Any
) -> None:
    differing = 0
    for records in _by_event(story).values():
        for one in records:
            if one["kind"] == kind:
                change(one["body"])
        differing += bool(differences(rebuilt(records, story.kept, None)))
    assert differing


def test_what_is_missing_is_named(story: Story) -> None:
    records, known = next(iter(_by_event(story).values())), story.models()
    for kind in ("event.in", "features", "score", "decision"):
        less = [one for one in records if one["kind"] != kind]
        with pytest.raises(NotRebuilt, match=f"needed the record {kind} of the event, got none"):
            rebuilt(less, story.kept, known)
    with pytest.raises(NotRebuilt, match="needed its parts in the ledger, got none"):
        rebuilt(records, Kept([], KNOWN), known)
    with pytest.raises(NotRebuilt, match="lists 7-0: needed every change up to it"):
        Kept([], KNOWN).lists("7-0")
    part = {"set": "f" * 64, "part": 1, "parts": 1, "text": "{}"}
    with pytest.raises(NotRebuilt, match="needed all its bytes, got those of 44136fa"):
        Kept([part], KNOWN).rules("f" * 64)
    degraded = orjson.loads(orjson.dumps(records))
    for one in degraded:
        if one["kind"] == "decision":
            one["body"]["degraded"] = {"policy": "fail-open"}
    with pytest.raises(NotRebuilt, match="the fail policy decided"):
        rebuilt(degraded, story.kept, known)
    of_old = orjson.loads(orjson.dumps(records))
    for one in of_old:
        if one["kind"] == "score":
            del one["body"]["given"]
    with pytest.raises(NotRebuilt, match="needed what was known of the customer"):
        rebuilt(of_old, story.kept, known)


def test_a_model_that_cannot_be_had_again_is_refused_by_name(story: Story, tmp_path: Path) -> None:
    records = _by_event(story)["e-30"]
    score = _score(records)
    mark, link = score["model"], score["taught"]

    def asked(known: ModelsThen) -> Rebuilt:
        return rebuilt(records, story.kept, known)

    gone = f"needed the snapshot models/{mark['id']}/{mark['sha256']}.model, got none with that"
    with pytest.raises(NotRebuilt, match=gone + r".*--recorded-score"):
        asked(story.models(Snapshots(tmp_path)))
    without = ModelsThen(lambda rid: None, story.snapshots, models.load)
    with pytest.raises(NotRebuilt, match=f"needed the lessons of binned .* that ends with {link}"):
        asked(without)
    forgotten = ModelsThen(story.records.get, story.snapshots, models.load)
    with pytest.raises(NotRebuilt, match=r"needed the features of old-\d+, of which the model had"):
        asked(forgotten)

    def turned(rid: str) -> Mapping[str, Any] | None:
        found = story.records.get(rid)
        if found is None or not rid.startswith("learn/"):
            return found
        return {**found, "body": {**found["body"], "fraud": not found["body"]["fraud"]}}

    with pytest.raises(NotRebuilt, match=f"needed the lesson {link} as it was learnt, got "):
        asked(ModelsThen(turned, story.snapshots, models.load, story.history.get))


def test_what_the_customer_last_said_of_a_card_payment_is_on_record() -> None:
    at_us = START_US + 5_000_000
    kept = Conversation(word=Word(START_US, 9_800, confirmed=True, passed_base=88_200))
    kept.confirmed = [(START_US, 98_000)]
    sets = payments.rule_set(rest_us=DAY_US)
    event = payment(kind="card")
    said = {"score": 700, "anomaly": None}
    judged = judge(event, {}, said, sets, kept, at_us)
    assert judged.outcome == "approve"
    given = orjson.loads(orjson.dumps(judged.given))
    again = judge(event, {}, said, sets, conversation_then(given, at_us), at_us)
    assert again == judged
