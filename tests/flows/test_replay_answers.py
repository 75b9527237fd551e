"""Do simulated customers answer what was asked, in their own time, and never before?"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.assemble import read_rule_set
from flows.errors import BadSettings
from flows.files import Fact, Truth
from flows.parts import House, edge_of, open_house
from flows.replay import ANSWERED_AFTER_US, Pace, SimulatedAnswers, Tally, facts_of, replay
from flows.replay_command import answers_of, replay_file, speed_of
from flows.simulate import simulate, write
from risk.events import Moment
from risk.seek import Seeking

DAY_US = 86_400_000_000
START = datetime(2026, 1, 5, tzinfo=UTC)
SEEK = Seeking(per_day=12, reviews=6, follow_ups=4, payments=5, rest_us=2 * DAY_US)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return open_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A week of a small bank, and its truth."""
    folder = tmp_path_factory.mktemp("bank")
    events, truth = folder / "events.ndjson", folder / "truth.ndjson"
    write(events, simulate(8, 40, 6, START, fraud=12.0), truth)
    return events, truth


class Noted(SimulatedAnswers):
    """The same customers, every answer noted."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.given: list[Fact] = []

    def due(self, at_us: int) -> Fact | None:
        told = super().due(at_us)
        if told is not None:
            assert told.at_us <= at_us
            self.given.append(told)
        return told


def run(
    house: House,
    bank: tuple[Path, Path],
    asking: tuple[float, float, int | None],
    *,
    seeking: Seeking | None = None,
    batch: int = 200,
    flipped_from_us: int | None = None,
    delay_us: int = 30 * DAY_US,
) -> tuple[Tally, Noted]:
    tally = Tally()
    rules = read_rule_set(house.settings)
    edge = edge_of(house)
    facts: Iterable[Fact] = facts_of(
        bank[0], house.settings, delay_us, edge, rules.rates, tally, truth=bank[1]
    )
    truths: Mapping[str, Truth] = tally.truth
    if flipped_from_us is not None:
        facts = _flipped(facts, tally, flipped_from_us)
    answers = Noted(*asking, truths, seeking)
    engine = house.settings.engine.model_copy(update={"batch": batch})
    settings = house.settings.model_copy(update={"engine": engine})
    replay(iter(facts), settings, tally, rules=rules, nonce_key=b"n" * 32, answers=answers)
    return tally, answers


def _flipped(facts: Iterable[Fact], tally: Tally, from_us: int) -> Iterable[Fact]:
    """The same facts, where all payments from a time on were of the other kind."""
    for fact in facts:
        if fact.moment is not None and fact.moment.id in tally.truth and fact.at_us >= from_us:
            was = tally.truth[fact.moment.id]
            tally.truth[fact.moment.id] = Truth(not was.fraud, was.scenario)
        yield fact


def _seen(tally: Tally) -> dict[str, tuple[float, str]]:
    rows = zip(tally.event, tally.probability, tally.decision, strict=True)
    return {event: (probability, decision) for event, probability, decision in rows}


@pytest.mark.parametrize(("per_day", "seeking"), [(None, None), (5, None), (12, SEEK)])
def test_no_batching_changes_who_answers_what_and_what_it_teaches(
    house: House, bank: tuple[Path, Path], per_day: int | None, seeking: Seeking | None
) -> None:
    tally, answers = run(house, bank, (0.8, 0.1, per_day), batch=200, seeking=seeking)
    assert answers.given
    for batch in (1, 17):
        again, others = run(house, bank, (0.8, 0.1, per_day), batch=batch, seeking=seeking)
        assert others.given == answers.given
        assert others.report() == answers.report()
        assert _seen(again) == _seen(tally)


def test_of_each_day_the_highest_of_as_many_customers_are_asked_ten_minutes_into_the_next(
    house: House, bank: tuple[Path, Path]
) -> None:
    tally, answers = run(house, bank, (1.0, 0.0, 5))
    highest: dict[int, dict[str, tuple[float, str]]] = {}
    for place, event in enumerate(tally.event):
        if tally.payment[place]:
            day = highest.setdefault(tally.time_us[place] // DAY_US, {})
            mine = (-tally.probability[place], event)
            customer = tally.customer[place]
            if customer not in day or mine < day[customer]:
                day[customer] = mine
    last_us = max(tally.time_us)
    expected = []
    for day_number, by_customer in sorted(highest.items()):
        at_us = (day_number + 1) * DAY_US + ANSWERED_AFTER_US
        if at_us <= last_us:
            expected += [(at_us, event) for _, event in sorted(by_customer.values())[:5]]
    assert len(expected) == 25
    assert sorted((fact.at_us, fact.label[0]) for fact in answers.given if fact.label) == sorted(
        expected
    )
    assert answers.report()["asked"] == answers.report()["answered"] == 25


def test_without_a_number_a_day_each_challenged_payment_is_answered_in_ten_minutes(
    house: House, bank: tuple[Path, Path]
) -> None:
    tally, answers = run(house, bank, (1.0, 0.0, None))
    asked = {
        (tally.time_us[place] + ANSWERED_AFTER_US, event)
        for place, event in enumerate(tally.event)
        if tally.decision[place] == "challenge"
    }
    in_time = {(at_us, event) for at_us, event in asked if at_us <= max(tally.time_us)}
    assert in_time
    assert {(fact.at_us, fact.label[0]) for fact in answers.given if fact.label} == in_time
    assert answers.report()["asked"] == len(asked)


@pytest.mark.parametrize(("per_day", "seeking"), [(None, None), (5, None), (12, SEEK)])
def test_an_answer_changes_no_score_before_it_was_given(
    house: House, bank: tuple[Path, Path], per_day: int | None, seeking: Seeking | None
) -> None:
    from_us = int((START + timedelta(days=2, hours=12)).timestamp()) * 1_000_000
    tally, answers = run(house, bank, (1.0, 0.0, per_day), seeking=seeking)
    flipped, others = run(
        house, bank, (1.0, 0.0, per_day), flipped_from_us=from_us, seeking=seeking
    )
    differ = [
        mine.at_us
        for mine, theirs in zip(answers.given, others.given, strict=False)
        if mine != theirs
    ]
    first_us = min(differ)
    assert first_us >= from_us + ANSWERED_AFTER_US
    theirs = _seen(flipped)
    changed_us = [
        tally.time_us[place]
        for place, event in enumerate(tally.event)
        if theirs[event] != (tally.probability[place], tally.decision[place])
    ]
    assert changed_us, "the answers taught nothing"
    assert min(changed_us) >= first_us


def test_rate_and_share_of_wrong_answers_are_kept(house: House, bank: tuple[Path, Path]) -> None:
    tally, answers = run(house, bank, (0.5, 0.2, 30))
    told = answers.report()
    assert told["answered"] == told["confirmed"] + told["denied"] == len(answers.given)
    assert 0.35 <= told["answered"] / told["asked"] <= 0.65
    wrong = sum(
        fact.label[1] != tally.truth[fact.label[0]].fraud for fact in answers.given if fact.label
    )
    assert told["wrong"] == wrong
    assert 0.08 <= wrong / told["answered"] <= 0.35
    for rate, wrong_share, right in ((1.0, 1.0, 0), (1.0, 0.0, None), (0.0, 0.0, None)):
        _, others = run(house, bank, (rate, wrong_share, 2))
        counted = Counter(others.report())
        assert counted["answered"] == (counted["asked"] if rate else 0)
        assert counted["wrong"] == (counted["answered"] if right == 0 else 0)


def test_an_answer_after_its_chargeback_teaches_nothing_and_is_counted(
    house: House, bank: tuple[Path, Path]
) -> None:
    _, answers = run(house, bank, (1.0, 0.0, 5), delay_us=0)
    told = answers.report()
    assert told["outranked"] == told["answered"] > 0


def test_seeking_keeps_the_days_budget_and_asks_nobody_twice_about_a_payment(
    house: House, bank: tuple[Path, Path]
) -> None:
    _, answers = run(house, bank, (1.0, 0.0, 12), seeking=SEEK)
    told = answers.report()
    days = 5  # the sixth has no end in the file
    assert told["asked"] <= 12 * (days + 1)
    assert 0 < told["reviews"] <= 6 * days
    assert told["reviews"] < told["reviewed_payments"] <= 5 * told["reviews"]
    assert told["follow_ups"] > 0
    events = [fact.label[0] for fact in answers.given if fact.label]
    assert len(events) == len(set(events)) == told["answered"]


def test_two_payments_of_one_id_do_not_stop_the_replay(house: House) -> None:
    moment = Moment("same", "transaction", 0, "cus", 0, 0, 0, amount=1, currency="CNY")
    tally = Tally(truth={"same": Truth(False, "")})
    times = [day * DAY_US for day in (0, 0, 1, 2)]
    facts = [Fact(at, moment._replace(time_us=at, accepted_us=at), None) for at in times]
    answers = SimulatedAnswers(1.0, 0.0, 5, tally.truth)
    rules = read_rule_set(house.settings)
    replay(iter(facts), house.settings, tally, rules=rules, nonce_key=b"n" * 32, answers=answers)
    assert len(tally.event) == 4


def test_answers_need_a_truth_that_customers_can_know(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("", encoding="utf-8")
    with pytest.raises(BadSettings, match="--answers: needed --truth FILE too"):
        replay_file(
            file,
            data=None,
            over={},
            label_delay="7d",
            out=None,
            with_ledger=False,
            limit=None,
            quiet=True,
            answers="0.6,0.03",
        )


@pytest.mark.parametrize("text", ["", "0.6", "0.6,2", "a,b", "0.6,0.1,0", "0.6,0.1,5,6"])
def test_answers_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="needed RATE,WRONG or RATE,WRONG,PER_DAY"):
        answers_of(text, Tally())


@pytest.mark.parametrize("text", ["", "3", "a,b", "-1,2", "3,4,0", "3,4,5,6", "11,0", "0,11"])
def test_seeking_beyond_the_days_budget_is_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="--seek: needed FOLLOW_UPS,REVIEWS"):
        answers_of("0.6,0.03,10", Tally(), text)
    with pytest.raises(BadSettings, match="--seek: needed FOLLOW_UPS,REVIEWS"):
        answers_of("0.6,0.03", Tally(), "1,1")


def test_a_pace_counts_from_the_first_fact() -> None:
    now = [100.0]
    pace = Pace(10.0, lambda: now[0])
    assert pace(5_000_000) == 0
    assert pace(25_000_000) == pytest.approx(2.0)
    now[0] = 103.0
    assert pace(25_000_000) == pytest.approx(-1.0)


def test_a_paced_replay_takes_its_time_and_says_the_same(
    house: House, bank: tuple[Path, Path], tmp_path: Path
) -> None:
    few = tmp_path / "few.ndjson"
    lines = bank[0].read_text(encoding="utf-8").splitlines()[:12]
    few.write_text("\n".join(lines), encoding="utf-8")
    times = [datetime.fromisoformat(json.loads(line)["time"]) for line in lines]
    real_seconds = (times[-1] - times[0]).total_seconds()
    told = []
    for pace in (None, Pace(real_seconds / 1.5)):
        tally = Tally()
        rules = read_rule_set(house.settings)
        facts = facts_of(few, house.settings, DAY_US, edge_of(house), rules.rates, tally)
        seconds = replay(facts, house.settings, tally, rules=rules, nonce_key=b"n" * 32, pace=pace)
        assert pace is None or seconds >= 1.45
        told.append(_seen(tally))
    assert told[0] == told[1]
    assert len(told[0]) == 12


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan"])
def test_a_speed_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="--speed: needed max or a positive number"):
        speed_of(text)
    assert speed_of("max") is None
    assert speed_of("60") == 60.0
