"""Do the benchmarks of quality count what they say?"""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import quality, simulated
from benchmarks.simulated import Seen


def _paid(
    event: str,
    at_s: float,
    *,
    scenario: str = "",
    amount: float = 100.0,
    ruled: int = 0,
    score: int = 0,
    customer: str = "c",
    kind: str = "card",
) -> Seen:
    values = {"event.amount": amount}
    return Seen(event, customer, at_s, scenario, bool(scenario), ruled, score, values, kind)


def test_what_rules_stop_comes_first_then_the_score_then_the_earlier() -> None:
    rows = [
        _paid("a", 1, score=900),
        _paid("b", 2, ruled=1),
        _paid("c", 3, score=900),
        _paid("d", 4, score=950),
    ]
    for budget, chosen in ((1, {"b"}), (2, {"b", "d"}), (3, {"a", "b", "d"})):
        assert simulated.asked(rows, lambda one: (one.ruled, one.score), budget) == chosen


def test_an_answer_settles_the_next_of_the_kind_and_leaves_the_question_to_somebody_else() -> None:
    spree = [_paid(f"s{n}", 60.0 * n, score=900 - n) for n in range(4)]
    thief = [
        _paid(f"t{n}", 60.0 * n, score=800, scenario="stolen_card", customer="d") for n in (1, 2)
    ]
    later = _paid("later", 9_000.0, score=700)
    dear = _paid("dear", 500.0, score=700, amount=301)
    sent = [_paid(f"x{n}", 60.0 * n, score=600, customer="e", kind="transfer") for n in (1, 2)]
    rows = [*spree, *thief, later, dear, *sent]

    def chosen(budget: int, rest_us: int) -> set[str]:
        return simulated.asked(rows, lambda one: one.score, budget, rest_us)

    assert chosen(4, 0) == {"s0", "s1", "s2", "s3"}
    hour_us = 3_600_000_000
    assert chosen(2, hour_us) == {"s0", "t1"}
    assert chosen(6, hour_us) == {"s0", "t1", "dear", "later", "x1", "x2"}


def test_a_story_is_found_with_its_first_question_and_stopped_from_there() -> None:
    thief = [_paid(f"t{n}", 60.0 * n, scenario="card_testing", amount=200) for n in range(6)]
    large = _paid("large", 400.0, scenario="card_testing", amount=90_000)
    other = [_paid("o", 9e6, scenario="card_testing", amount=100)]
    told = simulated.recalls([*thief, large, *other], {"t4"})["card_testing"]
    assert (told["stories"], told["payments"]) == (2, 8)
    assert told["found"] == 0.5
    assert told["payments_asked"] == 0.125
    assert told["value_stopped"] == pytest.approx(90_400 / 91_300, abs=1e-4)
    assert told["stopped_by_4th_small"] == 0.0
    again = simulated.recalls([*thief, large, *other], {"t3"})["card_testing"]
    assert again["stopped_by_4th_small"] == 0.5


def _run(found: float, by_amount: float, by_trees: float) -> dict[str, Any]:
    def told(share: float) -> dict[str, Any]:
        return {name: {figure: share} for name, (figure, _) in quality.FOUND.items()}

    return {
        "scenarios": told(found),
        "asked_each": told(found),
        "amount_alone": told(by_amount),
        "trees_offline": told(by_trees),
        "far_logins_flagged": 1.0,
        "value_stopped": 0.5,
        "stories_found": 0.5,
        "stories_with_nothing_lost": 0.5,
    }


def test_a_bar_counts_only_where_it_is_hard() -> None:
    easy = quality.judged([_run(1.0, 0.9, 1.0), _run(0.98, 0.8, 1.0)], 10)
    assert all(easy["met"].values())
    assert not any(easy["counts"].values())
    hard = quality.judged([_run(0.7, 0.1, 0.9)], 10)
    assert all(hard["counts"].values())
    assert not any(hard["met"][name] for name in quality.FOUND)


def test_bars_are_strict_and_a_budget_is_held_within_a_tenth() -> None:
    scenario = quality.HANDBOOK[2]
    mean = {**scenario.bars, "roc_auc": 0.9}
    report = {"mean": mean, "asked_a_day": {"share": 0.0545}}
    assert all(quality.held(report, scenario)["met"].values())
    report = {"mean": mean, "asked_a_day": {"share": 0.0556}}
    assert quality.held(report, scenario)["met"]["budget_held"] is False
    mean = {**mean, "average_precision": scenario.bars["average_precision"] - 1e-6}
    report = {"mean": mean, "asked_a_day": {"share": 0.05}}
    assert quality.held(report, scenario)["met"]["average_precision"] is False


def test_a_figure_that_moved_beyond_its_tolerance_is_told(tmp_path: Path) -> None:
    path = tmp_path / "quality-x.json"
    kept = {"mean": {"average_precision": 0.75, "card_precision_at_100": 0.3}}
    now = {"mean": {"average_precision": 0.744, "card_precision_at_100": 0.303}}
    assert quality.moved(path, now) == []
    path.write_text(json.dumps(kept), encoding="utf-8")
    assert quality.moved(path, now) == [("average_precision", 0.75, 0.744)]


def test_scenarios_have_names_of_their_own_bars_and_reasons() -> None:
    names = [one.name for one in quality.HANDBOOK]
    assert len(set(names)) == len(names)
    for one in quality.HANDBOOK:
        assert one.why
        assert set(one.bars) <= set(quality.TOLERANCE)
        assert all(one.goals[name] > one.bars[name] for name in one.goals)
