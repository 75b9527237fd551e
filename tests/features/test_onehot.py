"""The quick one-hot regression is River's own, to the last bit."""

import random
from typing import Any

from river import linear_model, optim

from features.onehot import OneHot

PLACES, INPUTS = 60, 12


def _lessons(count: int) -> list[tuple[list[int], bool]]:
    """Of each of 12 inputs one of 5 places; the third one of each is on in frauds more often."""
    chance, rows = random.Random(7), []
    for _ in range(count):
        fraud = chance.random() < 0.05
        picked = [2 if fraud and chance.random() < 0.4 else chance.randrange(5) for _ in range(12)]
        rows.append(([5 * at + one for at, one in enumerate(picked)], fraud))
    return rows


def _rivers() -> Any:
    return linear_model.LogisticRegression(optimizer=optim.AdaGrad(0.1))


def test_each_lesson_moves_weights_and_log_odds_as_rivers_own_regression_does() -> None:
    ours, rivers, said = OneHot(0.1, PLACES), _rivers(), 0.0
    for hot, fraud in _lessons(3_000):
        on = dict.fromkeys(hot, 1)
        said = ours.logit(ours.weigh(hot))
        assert said == rivers._raw_dot_one(on)
        ours.learn(hot, fraud)
        rivers.learn_one(on, fraud)
    assert said != 0.0
    assert {at: weight for at, weight, _ in ours.known()} == rivers.weights
    assert {at: square for at, _, square in ours.known()} == rivers.optimizer.g2
    assert ours.intercept == rivers.intercept
    assert ours.optimizer.n_iterations == rivers.optimizer.n_iterations == 3_000


def test_an_overwhelming_error_is_clipped_as_river_clips_it() -> None:
    ours, rivers = OneHot(0.1, PLACES), _rivers()
    for model in (ours, rivers):
        model.clip_gradient = 0.2
    for hot, fraud in _lessons(50):
        ours.learn(hot, fraud)
        rivers.learn_one(dict.fromkeys(hot, 1), fraud)
    assert {at: weight for at, weight, _ in ours.known()} == rivers.weights


def test_what_was_known_is_given_on_and_what_was_not_weighs_nothing() -> None:
    ours, other = OneHot(0.1, PLACES), OneHot(0.1, PLACES)
    for hot, fraud in _lessons(20):
        ours.learn(hot, fraud)
    for at, weight, square in ours.known():
        other.know(at, weight, square)
    assert other.values == ours.values
    assert [at for at in range(PLACES) if other.knows(at)] == sorted(
        at for at, _, _ in ours.known()
    )
    assert other.weigh([at for at in range(PLACES) if not other.knows(at)]).count(0.0) > 0
