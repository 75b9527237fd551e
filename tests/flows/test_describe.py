"""Is each event described by the past alone, in the order of event time, once?"""

import random
from typing import Any

import orjson
import pytest

from flows.describe import DescribeShard, Tier
from flows.shards import Cabinet, MemoryStore
from flows.walk import Described, Values
from risk.events import Moment
from risk.labels import Known
from tests.flows.facts import NOON_US, moment


class Past:
    """A profile that remembers which events it saw, and which labels."""

    def __init__(self, seen: list[str] | None = None) -> None:
        self.seen = seen or []

    def describe(self, event: Moment, so_far: Values) -> Values:
        return {"seen": len(self.seen), "frauds": self.seen.count("fraud")}

    def observe(self, event: Moment, told: Values) -> None:
        self.seen.append(event.id)

    def hear(self, label: Known) -> None:
        self.seen.append("fraud" if label.fraud else "honest")

    def dump(self) -> bytes:
        return orjson.dumps(self.seen)

    @classmethod
    def load(cls, raw: bytes) -> "Past":
        return cls(orjson.loads(raw))


def _tier(store: MemoryStore | None = None) -> Tier:
    cabinet: Cabinet[Any] = Cabinet("payee", store or MemoryStore(), Past, Past.load, 100)
    return Tier(
        "payee", lambda event: event.payee, lambda label: label.payee, cabinet, 1, lambda: 5_000
    )


def _fact(ident: str, after_us: int = 0, **over: Any) -> Described:
    return Described(moment(ident, time_us=NOON_US + after_us, **over), {}, {})


def _label(payee: str | None = "acc_1", after_us: int = 0) -> Known:
    return Known(
        "l", "p-0", True, "officer", NOON_US + after_us, NOON_US, "cus_1", payee, None, None,
        -1, 1, True, {},
    )  # fmt: skip


def _seen(shard: DescribeShard, *facts: Described | Known) -> dict[str, Any]:
    told, _ = shard.on_batch(list(facts))
    assert len(told) == len(facts)
    return {
        fact.moment.id: fact.features.get("seen") for fact in told if isinstance(fact, Described)
    }


def test_an_event_never_explains_itself() -> None:
    shard = _tier().logic(None)
    assert _seen(shard, _fact("p-1")) == {"p-1": 0}
    assert _seen(shard, _fact("p-2")) == {"p-2": 1}


@pytest.mark.parametrize("seed", range(3))
def test_within_a_batch_event_time_counts_and_not_arrival(seed: int) -> None:
    facts = [_fact(f"p-{number}", number) for number in range(10)]
    random.Random(seed).shuffle(facts)
    told = _seen(_tier().logic(None), *facts)
    assert told == {f"p-{number}": number for number in range(10)}


def test_at_the_same_time_the_place_in_the_source_counts() -> None:
    shard = _tier().logic(None)
    told = _seen(shard, _fact("p-2", position=2), _fact("p-1", position=1))
    assert told == {"p-1": 0, "p-2": 1}


def test_a_late_event_is_described_and_changes_nothing() -> None:
    shard = _tier().logic(None)
    assert _seen(shard, _fact("p-1"), _fact("p-2", 1, late=True), _fact("p-3", 2)) == {
        "p-1": 0,
        "p-2": 1,
        "p-3": 1,
    }


def test_a_label_is_heard_from_the_time_it_was_known_and_walks_on() -> None:
    shard = _tier().logic(None)
    told, _ = shard.on_batch([_label(after_us=5), _fact("p-2", 6), _fact("p-1", 4)])
    frauds = {
        fact.moment.id: fact.features["frauds"] for fact in told if isinstance(fact, Described)
    }
    assert frauds == {"p-1": 0, "p-2": 1}
    assert sum(isinstance(fact, Known) for fact in told) == 1


def test_what_has_no_such_entity_walks_on_as_it_is() -> None:
    shard = _tier().logic(None)
    assert _seen(shard, _fact("p-1", payee=None), _label(None)) == {"p-1": None}
    assert _seen(shard, _fact("p-2")) == {"p-2": 0}


def test_one_entity_knows_nothing_of_another() -> None:
    shard = _tier().logic(None)
    told = _seen(shard, _fact("p-1"), _fact("p-2", 1, payee="acc_2"))
    assert told == {"p-1": 0, "p-2": 0}


def test_each_event_tells_how_long_it_took_here() -> None:
    told, _ = _tier().logic(None).on_batch([_fact("p-1")])
    assert isinstance(told[0], Described)
    assert told[0].stages_us == {"payee": 0}


def test_a_shard_goes_on_where_its_last_snapshot_stood() -> None:
    store = MemoryStore()
    shard = _tier(store).logic(None)
    _seen(shard, _fact("p-1"), _fact("p-2"))
    version = shard.snapshot()
    assert version == 1
    again = _tier(store).logic(version)
    assert again.snapshot() == version
    assert _seen(again, _fact("p-3")) == {"p-3": 2}


def test_facts_go_to_the_shard_of_their_entity_and_else_of_their_customer() -> None:
    tier = _tier()
    tier.shards = 16
    assert tier.route(_fact("p-1")) == tier.route(_label())
    alone = _fact("p-1", payee=None)
    assert tier.route(alone) == tier.route(_fact("p-2", payee="cus_1"))
