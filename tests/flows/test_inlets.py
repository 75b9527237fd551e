"""Does every entry come in once, in order, and does a bad one stop nothing?"""

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import orjson
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flows import inlets
from flows.inlets import LATENESS_US, RedisInlet, position_of
from flows.scored import MemoryScoreds, Row
from flows.walk import Appointed, Described, HeardUntil, Spoken
from risk import events, names
from risk.labels import Known
from tests import servers
from tests.flows.facts import NOON_US, RATES, SECOND_US, spoken

HOUR_US = 3_600 * SECOND_US
SHARDS = 4


class Rows(MemoryScoreds):
    """Scored events that stay, as they do on disk."""

    def get(self, event: str) -> Row | None:
        return self._rows.get(event)


class Street:
    """An inlet on a real Redis, with a clock that is moved by hand."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client, self.scoreds, self.now_us = client, Rows(), NOON_US
        self.open()

    def open(self) -> None:
        """Start anew, as after a crash."""
        self.inlet = RedisInlet(
            self.client,
            1,
            SHARDS,
            RATES,
            lambda moment: {"event.hour": moment.time_us // HOUR_US % 24},
            self.scoreds,
            lambda: self.now_us,
        )

    def close(self) -> None:
        """End the reading thread, and wait until it has ended."""
        reader = self.inlet.reader

        def ended() -> None:
            raise RuntimeError("the test is over")

        reader._read_once = ended  # type: ignore[method-assign]
        if reader._started:
            _until(lambda: reader._failed is not None)

    def part(self, name: str, resume: Any = None) -> Any:
        return self.inlet.build_part("fraud.hear", name, resume)

    def send(self, ident: str, after_us: int = 0, **over: Any) -> None:
        event = {
            "id": ident,
            "type": "transaction",
            "time": events.rfc3339(NOON_US + after_us),
            "customer": "cus_1",
            "amount": "98.00",
            "currency": "USD",
            "payee": {"account": "acc_1", "sealed": "s1.x"},
            **over,
        }
        self.put({"event": event, "accepted": events.rfc3339(NOON_US), "reply": "g1", "trace": ""})

    def put(self, envelope: Any) -> None:
        self.client.xadd(names.events(0), {"e": orjson.dumps(envelope)})

    def label(self, event: str = "p-1", **over: Any) -> None:
        row = {"event": event, "fraud": True, "source": "chargeback", **over}
        row.setdefault("known", events.rfc3339(NOON_US))
        self.client.xadd(names.LABELS, {"label": orjson.dumps(row)})

    def answer(self, **over: Any) -> None:
        entry = {**spoken().entry, **over}
        kept = {key: value for key, value in entry.items() if value is not ...}
        self.client.xadd(names.ANSWERS, {"answer": orjson.dumps(kept)})

    def score(self, event: str = "p-1") -> None:
        self.scoreds.put(Row(event, NOON_US, "cus_1", "acc_1", None, None, {"x": 0.5}))

    def dead(self) -> list[tuple[str, dict[str, Any]]]:
        told: Any = self.client.xrange(names.DEAD)
        return [(row[b"reason"].decode(), orjson.loads(row[b"problem"])) for _, row in told]


@pytest.fixture
def street(client: "redis.Redis") -> Iterator[Street]:
    made = Street(client)
    try:
        yield made
    finally:
        made.close()


def _until(found: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if found():
            return
        time.sleep(0.01)
    raise AssertionError("what was waited for did not come")


def _take(part: Any, count: int) -> list[Any]:
    """Take until there are ``count`` facts, marks of time apart."""
    facts: list[Any] = []

    def found() -> bool:
        facts.extend(one for one in part.next_batch() if not isinstance(one, HeardUntil))
        return len(facts) >= count

    _until(found)
    assert len(facts) == count
    return facts


def _read_to_the_end(street: Street, part: Any) -> None:
    """Wait until the reading thread has looked once more."""
    street.now_us += 1
    _until(lambda: part._feed.heard_until_us >= street.now_us)


def test_an_event_comes_in_described_by_itself_with_its_place(street: Street) -> None:
    street.send("p-1")
    street.send("p-2", 5)
    one, two = _take(street.part("events-0"), 2)
    assert isinstance(one, Described)
    assert (one.moment.id, one.moment.amount, one.moment.amount_base) == ("p-1", 9800, 69090)
    assert (one.moment.reply, one.moment.partition) == ("g1", 0)
    assert one.features == {"event.hour": 12}
    assert two.moment.position > one.moment.position


BROKEN: list[Any] = [
    b"no json",
    orjson.dumps([]),
    orjson.dumps({"event": {}}),
    orjson.dumps({"event": {"id": "p", "type": "login", "time": "noon", "customer": "c"}}),
    orjson.dumps(
        {
            "event": {
                "id": "p",
                "type": "transaction",
                "time": "2026-03-02T12:00:00Z",
                "customer": "c",
                "amount": "a lot",
                "currency": "CNY",
            },
            "accepted": "2026-03-02T12:00:00Z",
        }
    ),
    orjson.dumps(
        {
            "event": {"id": "p", "type": "login", "time": "2026-03-02T12:00:00", "customer": "c"},
            "accepted": "2026-03-02T12:00:00Z",
        }
    ),
]


def test_an_unreadable_entry_goes_to_the_dead_letters_and_the_stream_goes_on(
    street: Street,
) -> None:
    street.send("p-1")
    for raw in BROKEN:
        street.client.xadd(names.events(0), {"e": raw})
    street.client.xadd(names.events(0), {"another": "field"})
    street.send("p-2")
    assert [fact.moment.id for fact in _take(street.part("events-0"), 2)] == ["p-1", "p-2"]
    dead = street.dead()
    assert len(dead) == len(BROKEN) + 1
    assert {reason for reason, _ in dead} == {"unreadable"}
    assert all(problem["field"] == names.events(0) for _, problem in dead)
    assert street.client.hget(names.COUNTERS, "dead_letters") == str(len(dead)).encode()


def test_the_watermark_is_the_greatest_time_seen_and_stamps_what_is_late(street: Street) -> None:
    street.send("p-1", 0)
    street.send("p-2", 2 * HOUR_US)
    street.send("p-3", HOUR_US)
    street.send("p-4", HOUR_US - 1)
    street.send("p-5", 2 * HOUR_US + 1)
    street.send("p-6", 0)
    told = _take(street.part("events-0"), 6)
    late = {fact.moment.id for fact in told if fact.moment.late}
    assert late == {"p-4", "p-6"}
    rows: Any = street.client.xrange(names.LATE_EVENTS)
    assert [orjson.loads(row[b"event"])["event"] for _, row in rows] == ["p-4", "p-6"]
    assert street.client.hget(names.COUNTERS, "late_events") == b"2"


def test_a_resumed_partition_goes_on_at_its_place_with_its_watermark(street: Street) -> None:
    street.send("p-1", 2 * HOUR_US)
    part = street.part("events-0")
    _take(part, 1)
    cut = part.snapshot()
    street.close()
    street.open()
    street.send("p-2", 0)
    (fact,) = _take(street.part("events-0", cut), 1)
    assert fact.moment.id == "p-2"
    assert fact.moment.late
    assert cut[1] == NOON_US + 2 * HOUR_US
    assert LATENESS_US == HOUR_US


def test_a_label_is_joined_with_what_was_known_when_its_event_was_scored(street: Street) -> None:
    street.score()
    street.label(id="l-1")
    street.score("p-2")
    street.label("p-2", outranked=True, fraud=False, source="customer")
    one, two = _take(street.part("labels"), 2)
    assert isinstance(one, Known)
    assert (one.id, one.event, one.fraud, one.source, one.teaches) == (
        "l-1",
        "p-1",
        True,
        "chargeback",
        True,
    )
    assert (one.customer, one.payee, one.features) == ("cus_1", "acc_1", {"x": 0.5})
    assert (two.fraud, two.teaches) == (False, False)


def test_a_label_of_an_unknown_event_waits_and_is_heard_once_the_event_is_scored(
    street: Street,
) -> None:
    street.label()
    part = street.part("labels")

    def waits() -> bool:
        assert part.next_batch() == []
        return street.client.zcard(names.WAITING_LABELS) == 1

    _until(waits)
    street.score()
    assert part.next_batch() == []
    street.now_us += 3 * SECOND_US
    (known,) = _take(part, 1)
    assert known.event == "p-1"
    assert street.client.zcard(names.WAITING_LABELS) == 0
    assert street.dead() == []


@pytest.mark.parametrize("retried_before_the_crash", [True, False])
def test_a_label_that_waited_is_heard_once_though_a_crash_has_it_read_again(
    street: Street, retried_before_the_crash: bool
) -> None:
    street.label(time=events.rfc3339(NOON_US))
    part = street.part("labels")
    _until(lambda: part.next_batch() == [] and bool(street.client.zcard(names.WAITING_LABELS)))
    heard: list[Any] = []
    if retried_before_the_crash:
        street.score()
        street.now_us += 3 * SECOND_US
        heard = _take(part, 1)
    street.close()
    street.open()
    resumed = street.part("labels")  # at a cut before the label came
    street.score()
    (again,) = _take(resumed, 1)
    street.score()
    for _ in range(2):
        street.now_us += 3 * SECOND_US
        _read_to_the_end(street, resumed)
        assert resumed.next_batch() == []
    assert street.client.zcard(names.WAITING_LABELS) == 0
    # What was heard before the crash is heard after it, at the same place in the stream.
    assert heard in ([], [again])


def test_a_label_heard_before_a_crash_is_heard_again_though_its_event_must_be_scored_again(
    street: Street,
) -> None:
    street.label(time=events.rfc3339(NOON_US))
    street.score()
    heard = _take(street.part("labels"), 1)
    assert len(heard) == 1
    street.close()
    street.scoreds = Rows()  # the row was not durable yet when the flow died
    street.open()
    resumed = street.part("labels")  # at a cut before the label came
    _until(lambda: resumed.next_batch() == [] and bool(street.client.zcard(names.WAITING_LABELS)))
    street.score()
    street.now_us += 3 * SECOND_US
    (again,) = _take(resumed, 1)
    assert (again.event, again.fraud) == (heard[0].event, heard[0].fraud)
    for _ in range(2):
        street.now_us += 3 * SECOND_US
        _read_to_the_end(street, resumed)
        assert resumed.next_batch() == []
    assert street.client.zcard(names.WAITING_LABELS) == 0


def test_a_corrected_label_is_another_one_and_the_same_again_is_none(street: Street) -> None:
    street.score()
    for number, fraud in ((0, True), (1, False), (1, False)):
        street.label(fraud=fraud, time=events.rfc3339(NOON_US + number))
    street.score("p-2")
    street.label("p-2")
    told = _take(street.part("labels"), 3)
    assert [(one.event, one.fraud) for one in told] == [
        ("p-1", True),
        ("p-1", False),
        ("p-2", True),
    ]


def test_a_label_that_waited_24_hours_in_vain_is_a_dead_letter(street: Street) -> None:
    street.label("p-unknown")
    part = street.part("labels")
    for _ in range(13):  # every two hours it is tried again, and waits from its first try on
        _until(lambda: part.next_batch() == [] and bool(street.client.zcard("rb:labels:waiting")))
        assert street.dead() == []
        street.now_us += 2 * HOUR_US
    street.now_us += HOUR_US

    def gone() -> bool:
        assert part.next_batch() == []
        return bool(street.dead())

    _until(gone)
    ((reason, problem),) = street.dead()
    assert reason == "label_of_unknown_event"
    assert problem["needed"] == "an event that was scored"
    assert street.client.zcard(names.WAITING_LABELS) == 0
    ((_, row),) = cast("Any", street.client.xrange(names.DEAD))
    assert orjson.loads(row[b"event"])["event"] == "p-unknown"


@pytest.mark.parametrize(
    "label",
    [b"no json", b"[]", b'"text"', b"{}", b'{"event":"p-1"}',
     b'{"event":"p-1","fraud":true,"source":"officer","known":"noon"}'],
)  # fmt: skip
def test_an_unreadable_label_stops_no_label(street: Street, label: bytes) -> None:
    street.score()
    street.client.xadd(names.LABELS, {"label": label})
    street.score("p-2")
    street.label("p-2")
    (known,) = _take(street.part("labels"), 1)
    assert known.event == "p-2"
    assert [reason for reason, _ in street.dead()] == ["unreadable"]


def test_an_answer_comes_in_with_the_time_at_which_its_receiver_got_it(street: Street) -> None:
    street.answer()
    (fact,) = _take(street.part("answers"), 1)
    assert isinstance(fact, Spoken)
    assert (fact.customer, fact.received_us) == ("cus_1", NOON_US + SECOND_US)
    assert fact.entry["decision"] == "confirm"


@pytest.mark.parametrize(
    "over",
    [
        {"received": ...},
        {"received": "noon"},
        {"customer": ...},
        {"customer": 7},
        {"challenge": ...},
        {"challenge": ""},
        {"decision": ...},
        {"decision": "maybe"},
    ],
)
def test_an_answer_that_nobody_could_hear_is_a_dead_letter_and_stops_no_answer(
    street: Street, over: dict[str, Any]
) -> None:
    street.answer(**over)
    street.answer(kind="unreachable", decision=...)
    (fact,) = _take(street.part("answers"), 1)
    assert fact.entry["kind"] == "unreachable"
    assert [reason for reason, _ in street.dead()] == ["unreadable"]


def test_each_shard_is_told_up_to_when_everybody_was_heard(street: Street) -> None:
    part = street.part("answers")
    part.next_batch()
    street.now_us += SECOND_US
    _read_to_the_end(street, part)
    marks = part.next_batch()
    assert [mark.shard for mark in marks] == list(range(SHARDS))
    assert {mark.until_us for mark in marks} == {part._feed.heard_until_us}
    assert part.next_batch() == []
    street.now_us += 250_000
    _read_to_the_end(street, part)
    assert len(part.next_batch()) == SHARDS


def test_no_mark_overtakes_an_answer_that_was_read(street: Street) -> None:
    street.inlet.batch = 3
    for _ in range(5):
        street.answer()
    part = street.part("answers")
    part.next_batch()
    street.now_us += SECOND_US
    _read_to_the_end(street, part)
    _until(lambda: len(part._feed.queue) == 5)
    first, second = part.next_batch(), part.next_batch()
    assert [type(fact) for fact in first] == [Spoken] * 3
    assert [type(fact) for fact in second] == [Spoken] * 2 + [HeardUntil] * SHARDS


def test_a_stopped_inlet_ends_each_of_its_streams(street: Street) -> None:
    parts = [street.part(name) for name in street.inlet.list_parts()]
    street.inlet.stop()
    for part in parts:
        with pytest.raises(StopIteration):
            part.next_batch()


def test_there_is_a_part_for_each_partition_and_for_labels_answers_and_orders(
    client: "redis.Redis",
) -> None:
    inlet = RedisInlet(client, 3, SHARDS, RATES, lambda _: {}, MemoryScoreds(), lambda: 0)
    events_parts = ["events-0", "events-1", "events-2"]
    assert inlet.list_parts() == [*events_parts, "labels", "answers", "models"]


def test_an_order_names_a_model_and_two_persons_and_one_that_does_not_is_a_dead_letter(
    street: Street,
) -> None:
    part = street.part("models")
    order = {
        "proposal": "p1", "model": "binned", "proposed_by": "ana", "approved_by": "bo",
        "approved": "2026-03-02T12:00:00.000000Z", "back": False,
    }  # fmt: skip
    street.client.xadd(names.MODELS, {"order": b"{}"})
    position: Any = street.client.xadd(names.MODELS, {"order": orjson.dumps(order)})
    (told,) = _take(part, 1)
    assert told == Appointed(position.decode(), "p1", "binned", "ana", "bo", NOON_US, back=False)
    assert part.snapshot() == position
    assert street.dead() == [("unreadable", {"field": "rb:models", "needed": "a readable entry",
                                             "got": "KeyError"})]  # fmt: skip


def test_a_stream_is_trimmed_only_below_what_was_in_a_cut_ten_minutes_ago(
    street: Street,
) -> None:
    for number in range(500):
        street.send(f"p-{number}")
    part = street.part("events-0")
    _take(part, 500)
    part.snapshot()
    for _ in range(59):
        street.now_us += 10 * SECOND_US + 1
        part.snapshot()
    assert street.client.xlen(names.events(0)) == 500
    street.now_us += 60 * SECOND_US
    part.snapshot()
    left: Any = street.client.xrange(names.events(0), count=1)
    assert 0 < street.client.xlen(names.events(0)) < 500
    assert position_of(left[0][0]) <= position_of(part.snapshot()[0])


def test_a_flow_whose_redis_is_away_ends_and_does_not_go_on_deaf() -> None:
    gone = redis.Redis(port=servers.free_port(), retry=Retry(NoBackoff(), 0))
    inlet = RedisInlet(gone, 1, SHARDS, RATES, lambda _: {}, MemoryScoreds(), lambda: 0)
    _dies_of(inlet.build_part("fraud.hear", "answers", None), redis.ConnectionError)


def test_whatever_the_reading_thread_dies_of_is_raised_where_facts_are_taken(
    street: Street,
) -> None:
    part = street.part("answers")

    def broken() -> None:
        raise ValueError("I/O operation on closed file")

    street.inlet.reader._read_once = broken  # type: ignore[method-assign]
    _dies_of(part, ValueError)


def _dies_of(part: Any, wrong: type[Exception]) -> None:
    def died() -> bool:
        try:
            part.next_batch()
        except wrong:
            return True
        return False

    _until(died)


def test_a_place_in_a_stream_keeps_its_order_as_a_number() -> None:
    places = [b"1-0", b"1-1", b"1-1048575", b"2-0", b"1772452800000-3", b"1772452800001-0"]
    numbers = [position_of(place) for place in places]
    assert numbers == sorted(set(numbers))
    assert inlets.position_of(b"0-0") == 0
