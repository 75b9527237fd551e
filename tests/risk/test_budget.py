"""Is the share of customers who may be asked held, whatever the scores look like?"""

import random
from collections import defaultdict
from collections.abc import Callable

import pytest

from risk.budget import DAY_US, SAMPLED, STEP, AskingBudget

Score = Callable[[random.Random, int], float]

SCORES: dict[str, Score] = {
    "rare": lambda chance, day: chance.betavariate(0.05, 5.0),
    "alike": lambda chance, day: 0.2 + 0.001 * chance.random(),
    "rising": lambda chance, day: chance.betavariate(0.3, 12.0 - 0.2 * day),
    "jumping": lambda chance, day: chance.random() ** (2 if day < 15 else 12),
}


def _asked(
    budget: AskingBudget, score: Score, *, customers: int, days: int, ruled: float = 0.0
) -> list[float]:
    """The share of each day's customers who were asked; a few by rules, whatever they score."""
    chance, shares = random.Random(4), []
    for day in range(days):
        seen: dict[int, bool] = defaultdict(bool)
        for _ in range(2 * customers):
            customer = chance.randrange(customers)
            at_us = day * DAY_US + len(seen)
            asks = score(chance, day) >= budget.at_least or chance.random() < ruled
            budget.note(f"c{customer}", asks, at_us)
            seen[customer] |= asks
        shares.append(sum(seen.values()) / len(seen))
    return shares


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_share_is_held_within_a_tenth(name: str, share: float) -> None:
    shares = _asked(AskingBudget(share), SCORES[name], customers=1_500, days=40)
    assert sum(shares[5:]) / len(shares[5:]) == pytest.approx(share, rel=0.1)


def test_questions_by_rules_are_part_of_the_budget() -> None:
    shares = _asked(AskingBudget(0.1), SCORES["rare"], customers=1_000, days=40, ruled=0.02)
    assert sum(shares[5:]) / len(shares[5:]) == pytest.approx(0.1, rel=0.1)


def test_a_busy_day_is_sampled_and_still_held() -> None:
    budget = AskingBudget(0.02)
    shares = _asked(budget, SCORES["rare"], customers=4 * SAMPLED, days=8)
    assert sum(shares[2:]) / len(shares[2:]) == pytest.approx(0.02, rel=0.1)
    assert len(str(budget.state()["seen"])) <= 11 * SAMPLED


def test_it_goes_on_from_the_cut_as_if_nothing_had_been() -> None:
    one, chance = AskingBudget(0.1), random.Random(9)
    facts = [(f"c{chance.randrange(5_000)}", chance.random() < 0.3, n * 40_000_000)
             for n in range(6_000)]  # fmt: skip
    for fact in facts[:4_500]:
        one.note(*fact)
    other = AskingBudget.restored(one.state())
    for fact in facts[4_500:]:
        assert other.note(*fact) == one.note(*fact)
    assert other.state() == one.state()


def test_who_was_asked_already_today_costs_nothing_more() -> None:
    budget = AskingBudget(0.1)
    assert budget.note("c1", True, DAY_US)
    odds = budget.odds
    assert not budget.note("c1", True, DAY_US + 5)
    assert budget.odds == odds
    assert budget.note("c1", True, 2 * DAY_US)
    assert budget.odds == pytest.approx(2 * odds)
    assert not budget.note("c2", True, DAY_US)  # its day is over
    assert odds == pytest.approx(STEP * 0.9)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="needed a share above 0 and up to 1"):
        AskingBudget(share)
