"""What holds for every model there is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from features.model import INPUTS, MODELS, BinnedRegression, ModelError, load
from features.moment import Value

Rows = list[tuple[dict[str, Value], bool]]


def _rows(seed: int, count: int) -> Rows:
    """Lessons in which the frauds are those of high amounts or of a payee with a fraud run."""
    chance = random.Random(seed)
    rows: Rows = []
    for _ in range(count):
        fraud = chance.random() < 0.1
        features: dict[str, Value] = {
            name: None if chance.random() < 0.1 else abs(chance.gauss(0, 1)) * 100
            for name in INPUTS
        }
        features["event.amount"] = chance.randrange(20_000, 90_000) if fraud else 5_000
        features["payee.fraud_run.30d"] = chance.randrange(3) + 2 * fraud
        rows.append((features, fraud))
    return rows


@pytest.fixture(params=MODELS, ids=lambda one: one[0])
def fresh(request: pytest.FixtureRequest) -> Callable[[], BinnedRegression]:
    """Each model of the catalogue, before its first lesson."""
    found: Callable[[], BinnedRegression] = request.param[1]
    return found


def test_a_model_is_called_what_the_catalogue_calls_it() -> None:
    """An id is a promise: decisions carry it."""
    assert all(make().id == name for name, make in MODELS)
    assert len({name for name, _ in MODELS}) == len(MODELS)


def test_scoring_changes_nothing(fresh: Callable[[], BinnedRegression]) -> None:
    """Not a byte, and the same answer twice."""
    model, rows = fresh(), _rows(1, 600)
    for features, fraud in rows[:300]:
        model.learn_one(features, fraud)
    before = model.dump()
    first = [model.score_one(features) for features, _ in rows]
    assert [model.score_one(features) for features, _ in rows] == first
    model.explain_one(rows[0][0])
    assert model.dump() == before


def test_a_restored_model_has_the_same_answers_and_the_same_future(
    fresh: Callable[[], BinnedRegression],
) -> None:
    """Also across the lessons at which the bins are set anew."""
    model, rows = fresh(), _rows(2, 1_300)
    for features, fraud in rows[:150]:
        model.learn_one(features, fraud)
    again = load(model.dump())
    assert again.id == model.id
    for features, fraud in rows[150:]:
        assert again.score_one(features) == model.score_one(features)
        model.learn_one(features, fraud)
        again.learn_one(features, fraud)
    assert again.dump() == model.dump()


def test_a_model_ranks_frauds_above_honest_payments(
    fresh: Callable[[], BinnedRegression],
) -> None:
    """After 1,500 lessons of a plain kind nearly all pairs stand right."""
    model, rows = fresh(), _rows(3, 2_000)
    for features, fraud in rows[:1_500]:
        model.learn_one(features, fraud)
    frauds = [model.score_one(features) for features, fraud in rows[1_500:] if fraud]
    honest = [model.score_one(features) for features, fraud in rows[1_500:] if not fraud]
    right = sum(one > other for one in frauds for other in honest)
    assert right / (len(frauds) * len(honest)) > 0.97


def test_missing_null_and_odd_values_are_scored(fresh: Callable[[], BinnedRegression]) -> None:
    """A score is a number from 0 to 1 whatever is not known."""
    model = fresh()
    odd: list[dict[str, Value]] = [
        {},
        dict.fromkeys(INPUTS),
        dict.fromkeys(INPUTS, math.nan),
        dict.fromkeys(INPUTS, math.inf),
        dict.fromkeys(INPUTS, -math.inf),
        dict.fromkeys(INPUTS, 10**30),
        {"nobody.knows.this": 1},
    ]
    for _ in range(3):
        for features in odd:
            assert 0.0 <= model.score_one(features) <= 1.0
            model.learn_one(features, fraud=True)
        for features, fraud in _rows(4, 200):
            model.learn_one(features, fraud)


def test_a_snapshot_stays_small(fresh: Callable[[], BinnedRegression]) -> None:
    """Bins are bounded, so weights are."""
    model = fresh()
    for features, fraud in _rows(5, 3_000):
        model.learn_one(features, fraud)
    assert len(model.dump()) < 1_000_000


def test_the_greatest_factor_moves_the_score_most(fresh: Callable[[], BinnedRegression]) -> None:
    """What is given as the first reason outweighs every other."""
    model, rows = fresh(), _rows(6, 1_500)
    for features, fraud in rows:
        model.learn_one(features, fraud)
    features = next(features for features, fraud in rows if fraud)
    factors = model.explain_one(features, top=5)
    assert len(factors) == 5
    shares = [abs(factor.share) for factor in factors]
    assert shares == sorted(shares, reverse=True)
    assert factors[0].share > 0


def test_damage_and_other_formats_are_refused_by_name() -> None:
    """Nothing is guessed from bytes that another program wrote."""
    stored = MODELS[0][1]().dump()
    with pytest.raises(ModelError, match="format 255"):
        load(stored[:3] + b"\xff" + stored[4:])
    with pytest.raises(ModelError, match="damaged"):
        load(b"not a model")
