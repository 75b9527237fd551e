"""Does a brake trip at its limit and not before, and is it the same after a restart?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.brakes import ALL, HOUR_US, BrakeLimits, Brakes, Tripped

LIMITS = BrakeLimits(3, 5, 2, 4)
MINUTE_US = 60_000_000
NOON_US = 1_772_452_800_000_000


def _count(
    brakes: Brakes, outcome: str, rules: tuple[str, ...], at_us: int, shards: int = 1
) -> list[Tripped]:
    return brakes.count(outcome, rules, at_us, "set", LIMITS, shards)


def test_a_rule_trips_when_its_limit_is_passed_and_is_demoted() -> None:
    brakes = Brakes()
    for minute in range(3):
        assert _count(brakes, "challenge", ("a",), NOON_US + minute * MINUTE_US) == []
    assert _count(brakes, "challenge", ("a",), NOON_US + 4 * MINUTE_US) == [
        Tripped("a", "challenge", 3)
    ]
    assert brakes.stopped("set") == {"a"}
    assert brakes.stopped("another set") == set()


def test_challenges_and_declines_are_counted_apart() -> None:
    brakes = Brakes()
    for _ in range(3):
        assert _count(brakes, "challenge", ("a",), NOON_US) == []
    for _ in range(2):
        assert _count(brakes, "decline", ("a",), NOON_US) == []
    (tripped,) = _count(brakes, "decline", ("a",), NOON_US)
    assert tripped.words == (
        "rule a declined more than 2 times within an hour here; it is in shadow now"
    )


@pytest.mark.parametrize("outcome", ["approve", "review"])
def test_what_bothers_nobody_trips_nothing(outcome: str) -> None:
    brakes = Brakes()
    assert all(_count(brakes, outcome, ("a",), NOON_US) == [] for _ in range(50))


def test_all_together_have_a_limit_and_no_rule_is_demoted_for_it() -> None:
    brakes = Brakes()
    for number in range(5):
        assert _count(brakes, "challenge", (f"r{number}",), NOON_US) == []
    assert _count(brakes, "challenge", (), NOON_US) == [Tripped(ALL, "challenge", 5)]
    assert not brakes.demoted
    later = NOON_US + HOUR_US + 5 * MINUTE_US
    assert _count(brakes, "challenge", (), later) == [], "the hour is calm again"


@given(
    st.lists(st.tuples(st.integers(0, 7_200), st.sampled_from(["a", "b"])), max_size=60),
    st.integers(1, 3),
)
def test_no_hour_holds_more_than_the_limits(rows: list[tuple[int, str]], shards: int) -> None:
    brakes = Brakes()
    passed: list[tuple[int, str]] = []
    for second, rule in sorted(rows):
        at_us = NOON_US + second * 1_000_000
        if rule in brakes.stopped("set"):
            continue
        if not _count(brakes, "challenge", (rule,), at_us, shards):
            passed.append((at_us, rule))
    for at_us, _ in passed:
        within = [rule for other, rule in passed if at_us <= other <= at_us + 55 * MINUTE_US]
        assert len(within) <= max(1, 5 // shards)
        assert all(within.count(rule) <= max(1, 3 // shards) for rule in set(within))


def test_a_rule_that_was_hit_regularly_and_falls_silent_is_told_of_once() -> None:
    brakes = Brakes()
    for number in range(25):
        brakes.hit("a", NOON_US + number * 10 * MINUTE_US)
    last_us = NOON_US + 240 * MINUTE_US
    assert brakes.silent(last_us + 99 * MINUTE_US) == []
    assert brakes.silent(last_us + 101 * MINUTE_US) == [("a", last_us)]
    assert brakes.silent(last_us + 999 * MINUTE_US) == []


def test_a_rule_that_is_seldom_hit_may_be_silent() -> None:
    brakes = Brakes()
    for number in range(10):
        brakes.hit("a", NOON_US + number * MINUTE_US)
    assert brakes.silent(NOON_US + 99 * HOUR_US) == []


@given(
    st.lists(st.tuples(st.sampled_from(["challenge", "decline"]), st.integers(0, 90)), max_size=20)
)
def test_a_restored_brake_has_the_same_future(rows: list[tuple[str, int]]) -> None:
    brakes = Brakes()
    for outcome, minute in rows:
        _count(brakes, outcome, ("a",), NOON_US + minute * MINUTE_US)
        brakes.hit("a", NOON_US + minute * MINUTE_US)
    again = Brakes.restored(json.loads(json.dumps(brakes.state())))
    assert again == brakes
    for one in (brakes, again):
        _count(one, "decline", ("a",), NOON_US + HOUR_US)
    assert again == brakes
