"""Is a model measured on what it had not learnt, by week, scenario and source?"""

import random
from typing import NamedTuple

import numpy as np
import pytest

from features.moment import DAY
from features.prequential import ALL, Figures, figures, means, week_of
from features.quality import average_precision, roc_auc

WEDNESDAY = 1_767_744_000_000_000  # 2026-01-07


class Told(NamedTuple):
    """A lesson."""

    source: str
    time_us: int
    fraud: bool
    scenario: str
    scores: dict[str, float]


def _lessons(seed: int, count: int = 600) -> list[Told]:
    chance, told = random.Random(seed), []
    for _ in range(count):
        fraud = chance.random() < 0.2
        good = min(1.0, max(0.0, chance.gauss(0.7 if fraud else 0.3, 0.2)))
        told.append(
            Told(
                chance.choice(["chargeback", "officer", "customer"]),
                WEDNESDAY + chance.randrange(21) * DAY,
                fraud,
                chance.choice(["stolen_card", "card_testing"]) if fraud else "",
                {"good": good, "even": chance.random()},
            )
        )
    return told


def _row(table: list[Figures], *key: str) -> Figures:
    (found,) = [row for row in table if (row.model, row.week, row.source, row.scenario) == key]
    return found


def test_weeks_begin_on_wednesdays_in_utc() -> None:
    """2026-01-07 is one; the microsecond before belongs to the week before."""
    assert week_of(WEDNESDAY) == week_of(WEDNESDAY + 7 * DAY - 1) == "2026-01-07"
    assert week_of(WEDNESDAY - 1) == "2025-12-31"


def test_each_cell_is_the_figure_of_its_own_lessons() -> None:
    """By brute force: model, week, source; a scenario's frauds against all honest ones."""
    lessons = _lessons(1)
    table = figures(lessons)
    for week in ("2026-01-07", "2026-01-14", "2026-01-21"):
        for source in ("chargeback", "officer", "customer"):
            here = [one for one in lessons if (week_of(one.time_us), one.source) == (week, source)]
            for scenario in (ALL, "stolen_card", "card_testing"):
                rows = [one for one in here if not one.fraud or scenario in (ALL, one.scenario)]
                fraud = np.array([one.fraud for one in rows])
                score = np.array([one.scores["good"] for one in rows])
                row = _row(table, "good", week, source, scenario)
                assert (row.events, row.frauds) == (len(rows), int(fraud.sum()))
                assert row.average_precision == average_precision(fraud, score)
                assert row.roc_auc == roc_auc(fraud, score)
                assert row.log_loss > 0
    assert len(table) == 2 * 3 * 3 * 3


def test_the_better_model_has_the_better_figures() -> None:
    """In each cell with frauds enough, and in the mean."""
    found = means(figures(_lessons(2, 3_000)))
    assert found["good"]["average_precision"] > 0.7 > found["even"]["average_precision"]
    assert found["good"]["log_loss"] < found["even"]["log_loss"]
    assert found["good"]["events"] == 3_000


def test_a_challenger_is_measured_where_it_spoke() -> None:
    """One that came later has fewer events; nothing is made up for the others."""
    lessons = _lessons(3, 100)
    late = [one._replace(scores={**one.scores, "late": 0.5}) for one in lessons[60:]]
    table = figures([*lessons[:60], *late])
    assert sum(row.events for row in table if row.model == "late" and row.scenario == ALL) == 40


def test_certainty_that_was_wrong_costs_much_and_not_everything() -> None:
    """A probability of 0 for a fraud: a finite loss; no frauds: no precision."""
    (row,) = figures([Told("officer", WEDNESDAY, True, "", {"sure": 0.0})])
    assert row.log_loss == pytest.approx(-np.log(1e-9))
    (row,) = figures([Told("officer", WEDNESDAY, False, "", {"sure": 0.0})])
    assert (row.average_precision, row.frauds) == (None, 0)
    assert means([row]) == {}
