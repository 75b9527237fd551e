"""The figures of the Handbook's protocol, on cases that a hand can count."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from features import quality
from features.quality import DAY_S, WEEK_S

WEDNESDAY = int(datetime(2018, 7, 18, tzinfo=UTC).timestamp())


def _bools(*values: int) -> quality.Bools:
    return np.array(values, dtype=bool)


def _roc_auc(fraud: quality.Bools, score: quality.Floats) -> float:
    """Of all pairs of fraud and honest: how often the fraud scores higher; a tie is half."""
    pairs = [(float(one), float(other)) for one in score[fraud] for other in score[~fraud]]
    return sum((one > other) + (one == other) / 2 for one, other in pairs) / len(pairs)


def _average_precision(fraud: quality.Bools, score: quality.Floats) -> float:
    """Over each threshold, highest first: the recall it adds times its precision."""
    total, before = 0.0, 0
    for threshold in sorted(set(score), reverse=True):
        stopped = score >= threshold
        found = int(fraud[stopped].sum())
        total += (found - before) / int(fraud.sum()) * found / int(stopped.sum())
        before = found
    return total


def test_figures_agree_with_their_definitions_also_where_scores_tie() -> None:
    """AUC and average precision, to the last digits."""
    chance = np.random.default_rng(1)
    for levels in (5, 50, 10**9):
        fraud = chance.random(600) < 0.05
        score = chance.integers(levels, size=600) / levels + 0.2 * fraud
        assert quality.roc_auc(fraud, score) == pytest.approx(_roc_auc(fraud, score), abs=1e-12)
        assert quality.average_precision(fraud, score) == pytest.approx(
            _average_precision(fraud, score), abs=1e-12
        )


def test_without_frauds_there_is_no_figure() -> None:
    """None, never 0: nothing was measured."""
    assert quality.roc_auc(_bools(0, 0), np.array([0.1, 0.2])) is None
    assert quality.average_precision(_bools(0, 0), np.array([0.1, 0.2])) is None


def test_a_card_found_on_one_day_is_out_of_the_pool_on_the_next() -> None:
    """Card 1 is found on day 0; on day 1 card 2 is the one on top."""
    time = np.array([0, 10, DAY_S, DAY_S + 10])
    card = np.array([1, 2, 1, 2])
    fraud = _bools(1, 0, 1, 1)
    score = np.array([0.9, 0.1, 0.9, 0.8])
    assert quality.card_precision(time, card, fraud, score, top=1) == 1.0
    assert quality.card_precision(time, card, fraud, score, top=2) == 0.5


def test_a_card_leaves_the_test_week_once_its_fraud_is_known() -> None:
    """Known from the training week for all days, from the delay week day by day."""
    train, delay, test = WEDNESDAY - 2 * WEEK_S, WEDNESDAY - WEEK_S, WEDNESDAY
    rows = [
        (train, 1, 1),  # fraud in training: gone from the first day
        (delay + 2 * DAY_S, 2, 1),  # fraud on the third day of the delay: gone from the fourth
        (train - 1, 3, 1),  # a fraud before the training week is not looked at
        (test, 1, 0),
        (test, 2, 0),
        (test, 3, 0),
        (test + 2 * DAY_S, 2, 0),
        (test + 3 * DAY_S, 2, 0),
    ]
    time, card, fraud = (np.array(column) for column in zip(*rows, strict=True))
    gone = quality.known_compromised(time, card, fraud.astype(bool), start_s=test)
    assert gone.tolist() == [False, False, False, True, False, False, False, True]


def test_weeks_begin_on_wednesdays_and_are_whole() -> None:
    """Half a week before and after is left out; a file may begin within a Wednesday."""
    time = np.arange(WEDNESDAY + 31, WEDNESDAY + 2 * WEEK_S + 3 * DAY_S, 3_600)
    fraud = np.arange(len(time)) % 50 == 0
    table = quality.weeks(time, np.arange(len(time)), fraud, fraud.astype(float))
    assert [week.start for week in table] == ["2018-07-18", "2018-07-25"]
    assert all(week.roc_auc == 1.0 and week.average_precision == 1.0 for week in table)
    shifted = quality.weeks(time + DAY_S, np.arange(len(time)), fraud, fraud.astype(float))
    assert [week.start for week in shifted] == ["2018-07-25"]


def test_means_are_over_the_four_test_weeks_where_they_are_all_there() -> None:
    """Else over all weeks."""
    one = quality.Week("2018-07-11", 10, 1, 0.0, 0.0, 0.0)
    tested = [quality.Week(start, 10, 1, 1.0, 0.5, 0.25) for start in quality.TEST_WEEKS]
    assert quality.mean_of([one, *tested])["average_precision"] == 0.5
    assert quality.mean_of([one, *tested[:3]])["average_precision"] == 0.375


@pytest.mark.parametrize("seed", range(4))
def test_reliability_is_what_one_counts_by_hand(seed: int) -> None:
    chance = np.random.default_rng(seed)
    said = chance.beta(0.3, 3.0, 3_000)
    fraud = chance.random(3_000) < said
    told = quality.reliability(fraud, said)
    assert told["brier"] == pytest.approx(float(np.mean((said - fraud) ** 2)), abs=1e-7)
    by_step = [
        abs(said[inside].mean() - fraud[inside].mean()) * inside.mean()
        for step in range(10)
        if (inside := (np.floor(said * 10).clip(0, 9) == step)).any()
    ]
    assert told["ece"] == pytest.approx(sum(by_step), abs=1e-7)
    assert sum(row["payments"] for row in told["bins"]) == 3_000
    assert told["ece"] < 0.02, "what is drawn from its probability is reliable"
    assert quality.reliability(fraud, said**0.3)["ece"] > 0.1


def test_reliability_of_nothing_is_nothing() -> None:
    nothing = np.empty(0)
    told = quality.reliability(nothing.astype(bool), nothing)
    assert (told["payments"], told["brier"], told["bins"]) == (0, None, [])
