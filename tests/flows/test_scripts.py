"""Does what leaves the flow leave once, with all that belongs to it, or not at all?"""

from typing import Any

import orjson
import pytest
import redis

from flows.effects import Contradiction, Ending, Inquired, Leaving, Note, RedisEffects
from flows.errors import Fenced
from flows.redis_state import Scripts
from risk import names
from tests.flows.facts import NOON_US

TTL_S = 600


def _effects(client: "redis.Redis", generation: int = 1) -> RedisEffects:
    return RedisEffects(client, generation, TTL_S, lambda: NOON_US)


def _leaving(event: str = "p-1", *, ask: bool = False, **over: Any) -> Leaving:
    decision = {"event": event, "decision": "challenge" if ask else "approve", "score": 7}
    question = {"id": f"ch_{event}", "event": event, "op": "ask"} if ask else None
    known: dict[str, Any] = {
        "event": event,
        "decision": decision,
        "features": {"customer.count.1h": 1},
        "records": [{"rid": f"event/{event}/decision"}],
        "ask": question,
        "reply": "g1",
        "expires_us": NOON_US + 120_000_000 if ask else 0,
    }
    return Leaving(**{**known, **over})


def _ending(event: str = "p-1", state: str = "confirmed", **over: Any) -> Ending:
    known: dict[str, Any] = {
        "event": event,
        "challenge": f"ch_{event}",
        "state": state,
        "outcome": {"state": state, "decision": "approve"},
        "records": [{"rid": f"challenge/ch_{event}/outcome"}],
        "close": {"op": "close", "id": f"ch_{event}"},
        "label": {"event": event, "fraud": False},
        "alert": None,
    }
    return Ending(**{**known, **over})


def _stream(client: "redis.Redis", name: str, field: str) -> list[Any]:
    told: Any = client.xrange(name)
    return [orjson.loads(entry[field.encode()]) for _, entry in told]


def _counters(client: "redis.Redis") -> dict[str, int]:
    told: Any = client.hgetall(names.COUNTERS)
    return {key.decode(): int(value) for key, value in told.items()}


def _by_gateway(client: "redis.Redis", event: str, decision: dict[str, Any]) -> bytes:
    """The gateway's side of the same script, as its fail policy calls it."""
    args: list[Any] = ["gateway", "", NOON_US // 1000, TTL_S]
    args += [event, orjson.dumps(decision), "", b"[]", "", "", "", ""]
    told: bytes = Scripts(client).run("decide", args)[0]
    return told


def test_a_decision_leaves_with_everything_that_belongs_to_it(client: "redis.Redis") -> None:
    one = _leaving(ask=True)
    assert _effects(client).decide([one]) == [None]
    for key, value in (
        (names.decision("p-1"), one.decision),
        (names.features("p-1"), one.features),
        (names.challenge("ch_p-1"), one.ask),
    ):
        assert orjson.loads(client.get(key) or b"") == value
        assert 0 < client.ttl(key) <= TTL_S
    assert _stream(client, names.DECISIONS, "decision") == [one.decision]
    assert _stream(client, names.AUDIT, "records") == [one.records]
    assert _stream(client, names.CHALLENGES, "challenge") == [one.ask]
    assert _stream(client, names.reply("g1"), "decision") == [one.decision]
    assert client.zscore(names.OPEN, "ch_p-1") == one.expires_us // 1000
    assert _counters(client) == {"decisions_flow": 1, "challenges_asked": 1}


def test_what_is_asked_or_closed_names_the_record_after_which_it_may_leave(
    client: "redis.Redis",
) -> None:
    effects = _effects(client)
    effects.decide([_leaving("p-1", ask=True), _leaving("p-2", ask=True)])
    effects.end([_ending("p-1")])
    inquiry = Inquired("wish/1", [{"rid": "wish/1/case.opened"}], {"op": "inquire", "id": "in_1"})
    effects.inquire(inquiry)
    records: Any = client.xrange(names.AUDIT)
    told: Any = client.xrange(names.CHALLENGES)
    assert [entry[b"after"] for _, entry in told] == [entry for entry, _ in records]


def test_an_approval_asks_nobody_and_replies_to_no_gateway_that_did_not_ask(
    client: "redis.Redis",
) -> None:
    _effects(client).decide([_leaving(reply=None)])
    assert not client.exists(names.CHALLENGES, names.OPEN, names.reply("g1"), names.reply(""))


def test_the_same_decision_again_leaves_nothing_and_tells_the_recorded_one(
    client: "redis.Redis",
) -> None:
    effects = _effects(client)
    effects.decide([_leaving(ask=True)])
    counted = _counters(client)
    again = _leaving(ask=True)._replace(decision={"event": "p-1", "decision": "decline"})
    assert effects.decide([again]) == [{"event": "p-1", "decision": "challenge", "score": 7}]
    for stream in (names.DECISIONS, names.AUDIT, names.CHALLENGES, names.reply("g1")):
        assert client.xlen(stream) == 1
    assert _counters(client) == counted


def test_in_one_batch_each_event_is_told_its_own(client: "redis.Redis") -> None:
    effects = _effects(client)
    effects.decide([_leaving("p-2")])
    told = effects.decide([_leaving("p-1"), _leaving("p-2"), _leaving("p-3")])
    assert told == [None, {"event": "p-2", "decision": "approve", "score": 7}, None]
    assert effects.decide([]) == []


def test_where_the_fail_policy_was_first_the_flow_is_told_its_decision(
    client: "redis.Redis",
) -> None:
    failed = {"event": "p-1", "decision": "approve", "degraded": {"policy": "fail-open"}}
    assert _by_gateway(client, "p-1", failed) == b"new"
    assert _effects(client).decide([_leaving(ask=True)]) == [failed]
    assert not client.exists(names.CHALLENGES, names.features("p-1"))
    assert _counters(client) == {"decisions_gateway": 1}


def test_where_the_flow_was_first_the_gateway_is_told_its_decision(client: "redis.Redis") -> None:
    one = _leaving()
    _effects(client).decide([one])
    told = _by_gateway(client, "p-1", {"event": "p-1", "decision": "decline"})
    assert orjson.loads(told) == one.decision


def test_the_gateway_needs_no_generation(client: "redis.Redis") -> None:
    client.set("rb:gen", 99)
    assert _by_gateway(client, "p-1", {"event": "p-1"}) == b"new"


def test_recorded_features_are_told_and_counted_as_replayed(client: "redis.Redis") -> None:
    effects = _effects(client)
    effects.decide([_leaving("p-1")])
    assert effects.recorded_features(["p-1", "p-9"]) == [{"customer.count.1h": 1}, None]
    assert _counters(client)["replayed_events"] == 2
    assert effects.recorded_features([]) == []


def test_a_late_decision_lies_beside_the_first_and_is_told_once(client: "redis.Redis") -> None:
    _by_gateway(client, "p-1", {"event": "p-1", "decision": "approve"})
    late = _leaving()._replace(decision={"event": "p-1", "decision": "decline", "late": True})
    alert = {"event": "p-1", "kind": "late"}
    for _ in range(2):
        _effects(client).late(late, alert)
    assert orjson.loads(client.get(names.late("p-1")) or b"") == late.decision
    assert orjson.loads(client.get(names.decision("p-1")) or b"")["decision"] == "approve"
    assert orjson.loads(client.get(names.features("p-1")) or b"") == late.features
    assert _stream(client, names.DECISIONS, "decision")[1:] == [late.decision]
    assert _stream(client, names.ALERTS, "alert") == [alert]
    assert _counters(client)["decisions_late"] == 1


def test_a_late_decision_without_alarm_alarms_nobody(client: "redis.Redis") -> None:
    _effects(client).late(_leaving(), None)
    assert not client.exists(names.ALERTS)


def test_an_outcome_leaves_with_its_decision_label_alert_and_close(client: "redis.Redis") -> None:
    effects = _effects(client)
    effects.decide([_leaving(ask=True)])
    one = _ending(alert={"kind": "denied"})
    assert effects.end([one]) == [None]
    assert orjson.loads(client.get(names.outcome("p-1")) or b"") == one.outcome
    assert client.zscore(names.OPEN, "ch_p-1") is None
    whole = _stream(client, names.DECISIONS, "decision")[-1]
    assert whole == {**_leaving(ask=True).decision, "outcome": one.outcome}
    assert _stream(client, names.CHALLENGES, "challenge")[-1] == one.close
    assert _stream(client, names.LABELS, "label") == [one.label]
    assert _stream(client, names.ALERTS, "alert") == [one.alert]
    assert _counters(client)["challenges_confirmed"] == 1


def test_the_first_outcome_stands_and_a_second_leaves_nothing(client: "redis.Redis") -> None:
    effects = _effects(client)
    effects.end([_ending()])
    lengths = [client.xlen(name) for name in (names.AUDIT, names.CHALLENGES, names.LABELS)]
    assert effects.end([_ending(state="denied")]) == [_ending().outcome]
    assert lengths == [client.xlen(name) for name in (names.AUDIT, names.CHALLENGES, names.LABELS)]
    assert _counters(client) == {"challenges_confirmed": 1}
    assert effects.end([]) == []


def test_a_customer_s_word_after_an_officer_s_is_marked_as_outranked(
    client: "redis.Redis",
) -> None:
    client.hset("rb:labelled:p-1", "rank", 3)
    _effects(client).end([_ending("p-1"), _ending("p-2")])
    told = _stream(client, names.LABELS, "label")
    assert [row.get("outranked", False) for row in told] == [True, False]
    assert client.hget("rb:labelled:p-1", "rank") == b"3"
    assert client.hget("rb:labelled:p-2", "rank") == b"1"


def test_an_outcome_that_teaches_nothing_puts_no_label(client: "redis.Redis") -> None:
    _effects(client).end([_ending(state="expired", label=None)])
    assert not client.exists(names.LABELS, "rb:labelled:p-1")


def _contradiction(event: str = "p-1") -> Contradiction:
    return Contradiction(
        rid=f"rb:answers/{event}",
        event=event,
        outcome={"state": "denied", "decision": "decline", "was": "confirmed"},
        at="2026-03-02T12:00:00Z",
        records=([{"rid": "turned"}], [{"rid": "kept"}]),
        alerts=({"text": "turned"}, {"text": "kept"}),
        notice={"op": "notice", "say": "contradicted"},
        label={"event": event, "fraud": True},
    )


@pytest.mark.parametrize("fetched", [False, True])
def test_a_contradiction_turns_an_outcome_that_nobody_fetched_and_is_told_once(
    client: "redis.Redis", fetched: bool
) -> None:
    effects = _effects(client)
    effects.decide([_leaving(ask=True)])
    effects.end([_ending()])
    if fetched:
        client.set(names.fetched("p-1"), 1)
    for _ in range(2):
        effects.contradict(_contradiction())
    raw: Any = client.get(names.outcome("p-1"))
    outcome = orjson.loads(raw)
    assert outcome["decision"] == ("approve" if fetched else "decline")
    assert ("contradicted" in outcome) is fetched
    word = "kept" if fetched else "turned"
    assert _stream(client, names.ALERTS, "alert") == [{"text": word}]
    assert _stream(client, names.AUDIT, "records")[-1] == [{"rid": word}]
    told = [one for one in _stream(client, names.DECISIONS, "decision") if "outcome" in one]
    assert [one["outcome"] for one in told] == [
        {"state": "confirmed", "decision": "approve"},
        outcome,
    ]
    assert _stream(client, names.CHALLENGES, "challenge")[-1]["say"] == "contradicted"
    assert _stream(client, names.LABELS, "label")[-1]["fraud"] is True
    assert _counters(client)[f"contradicted_{word}"] == 1


def test_what_a_customer_is_told_leaves_once(client: "redis.Redis") -> None:
    effects = _effects(client)
    for _ in range(2):
        notice = {"op": "notice", "id": "ch_1", "channel": "web", "say": "unsigned"}
        effects.note([Note("rid", b"", None, notice)])
    assert client.get(names.notice("ch_1", "web")) == b"unsigned"
    assert [one["say"] for one in _stream(client, names.CHALLENGES, "challenge")] == ["unsigned"]
    assert _stream(client, names.ALERTS, "alert") == []


def test_a_note_is_put_each_time_and_its_alert_once(client: "redis.Redis") -> None:
    effects = _effects(client)
    note = Note("rb:answers/1-0", b"[]", {"kind": "contradicted"})
    for _ in range(2):
        effects.note([note, Note("rb:answers/2-0", b"[]", None)])
    # The ledger's writer drops a known rid; the alert has nobody who would.
    assert client.xlen(names.AUDIT) == 4
    assert client.xlen(names.ALERTS) == 1
    effects.note([])


@pytest.mark.parametrize(
    "leave",
    [
        lambda effects: effects.decide([_leaving(ask=True)]),
        lambda effects: effects.late(_leaving(), {"kind": "late"}),
        lambda effects: effects.end([_ending()]),
        lambda effects: effects.note([Note("rid", b"[]", {"kind": "x"})]),
        lambda effects: effects.contradict(_contradiction()),
    ],
)
def test_an_older_flow_is_refused_and_nothing_of_it_leaves(
    client: "redis.Redis", leave: Any
) -> None:
    client.set("rb:gen", 2)
    with pytest.raises(Fenced):
        leave(_effects(client, 1))
    assert client.keys("*") == [b"rb:gen"]
