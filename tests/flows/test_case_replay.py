"""Is a decision the same again, rebuilt from the record alone?"""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from config.settings import Settings
from features.catalogue import BY_NAME
from flows import judgement
from flows.assemble import read_files
from flows.case_replay import Kept, NotRebuilt, differences, rebuilt
from flows.catalogue import read_catalogue
from flows.changes import changed_document, rows_of
from flows.records import Recorder
from flows.walk import Scored
from gateway.edge import Edge
from risk import events
from risk.events import Moment, moment
from risk.lists import Lists
from risk.policy import RuleSet
from risk.rules import vocabulary
from tests.flows.facts import MARK, Judge

KNOWN = vocabulary(read_catalogue().by_name)
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


def _decided() -> tuple[Judge, Kept]:
    """A thousand decisions under changing sets and lists, with all that is put on record."""
    chance = random.Random(11)
    sets, changes, recorder = _sets(), _changes(), Recorder("main")
    judge = Judge()
    judge.mode = "act"
    records: list[dict[str, Any]] = []
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
        score = chance.choice([0, 100, 650, 990])
        judge.now_us = at_us
        fact = Scored(event, features, score, score / 1000, MARK, {}, chance.choice([3, 900]), 5)
        judge.hear(fact)
    judge.doors.records += records
    bodies = [
        one["body"]
        for rules in sets
        for one in judgement.set_records(
            rules, lambda rid, told: recorder.configured(rid, told, None, 0)
        )
    ]
    bodies += [{**change, "version": version} for version, change in changes]
    return judge, Kept(orjson.loads(orjson.dumps(bodies)), KNOWN)


def _moment(envelope: bytes, rules: RuleSet, place: int) -> Moment:
    return moment(
        orjson.loads(envelope),
        partition=0,
        position=place,
        watermark_us=START_US + (10**12 if place % 50 == 7 else 0),
        lateness_us=0,
        rates=rules.rates,
    )


def _by_event(judge: Judge) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in orjson.loads(orjson.dumps(judge.doors.records)):
        if one["event"]:
            found.setdefault(one["event"], []).append(one)
    return found


JUDGE, KEPT = _decided()


def test_a_thousand_decisions_are_the_same_again_from_the_record_alone() -> None:
    by_event = _by_event(JUDGE)
    again = 0
    seen: set[str] = set()
    for event, decision in JUDGE.doors.decisions.items():
        judged, recorded = rebuilt(by_event[event], KEPT)
        assert recorded == {
            key: value
            for key, value in orjson.loads(orjson.dumps(decision)).items()
            if key not in ("stages_us", "outcome", "factors")
        }
        assert differences(judged, recorded) == [], event
        seen |= {judged.outcome, *(reason["code"] for reason in judged.reasons)}
        seen |= {f"tag {tag}" for tag in judged.tags}
        again += 1
    assert again == DECISIONS
    wished = {
        "approve", "challenge", "review", "decline", "open_enough", "late", "no_rate", "score",
        "list.block", "list.final", "list.allow", "list.force.review", "high_risk_country",
        "list.suppress.new_payee_large", "far_above_usual", "brake", "tag watch.device", "tag odd",
    }  # fmt: skip
    assert wished <= seen


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("features", lambda body: body["values"].update({"customer.new_payee": None})),
        ("score", lambda body: body["given"].update({"asked_24h": 0, "open": 0})),
        ("event.in", lambda body: body.update({"amount": "1.00"})),
    ],
)
def test_a_record_that_says_otherwise_gives_another_decision(kind: str, change: Any) -> None:
    differing = 0
    for records in _by_event(JUDGE).values():
        for one in records:
            if one["kind"] == kind:
                change(one["body"])
        differing += bool(differences(*rebuilt(records, KEPT)))
    assert differing


def test_what_is_missing_is_named() -> None:
    records = next(iter(_by_event(JUDGE).values()))
    for kind in ("event.in", "features", "score", "decision"):
        less = [one for one in records if one["kind"] != kind]
        with pytest.raises(NotRebuilt, match=f"needed the record {kind} of the event, got none"):
            rebuilt(less, KEPT)
    with pytest.raises(NotRebuilt, match="needed its parts in the ledger, got none"):
        rebuilt(records, Kept([], KNOWN))
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
        rebuilt(degraded, KEPT)
