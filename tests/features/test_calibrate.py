"""Does the map make shares of frauds of a model's word, and keep its order?"""

import random
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.calibrate import LESSONS_FIRST, Calibrated, Calibrator
from features.model import INPUTS, BinnedRegression, ModelError
from features.moment import Value


def _overconfident(seed: int, count: int) -> list[tuple[float, bool]]:
    """What a model says whose log odds are twice what they should be, and what came."""
    chance, rows = random.Random(seed), []
    for _ in range(count):
        odds = chance.gauss(-2.0, 2.0)
        said = 1.0 / (1.0 + exp(-2.0 * odds))
        rows.append((said, chance.random() < 1.0 / (1.0 + exp(-odds))))
    return rows


def _taught(rows: list[tuple[float, bool]]) -> Calibrator:
    calibrator = Calibrator()
    for said, fraud in rows:
        calibrator.learn_one(said, fraud)
    return calibrator


def test_an_overconfident_model_is_set_right() -> None:
    calibrator = _taught(_overconfident(1, 30_000))
    for odds in (-3.0, -1.0, 0.0, 1.0, 2.0):
        said, true = 1.0 / (1.0 + exp(-2.0 * odds)), 1.0 / (1.0 + exp(-odds))
        assert calibrator.score_one(said) == pytest.approx(true, abs=0.05)
        if abs(odds) >= 1.0:
            assert abs(calibrator.score_one(said) - true) < abs(said - true)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.0, 1.0),
    st.lists(st.floats(1e-6, 1 - 1e-6), min_size=2, max_size=20),
)
def test_who_scored_higher_still_does(seed: int, share: float, said: list[float]) -> None:
    chance, calibrator = random.Random(seed), Calibrator()
    for _ in range(LESSONS_FIRST + 500):
        calibrator.learn_one(chance.betavariate(0.2, 2.0), chance.random() < share)
    said.sort()
    mapped = [calibrator.score_one(one) for one in said]
    assert mapped == sorted(mapped)
    assert all(0.0 < one < 1.0 for one in mapped)
    apart = [(a, b) for a, b in zip(range(len(said)), range(1, len(said)), strict=False)]
    assert all(mapped[a] < mapped[b] for a, b in apart if said[b] > said[a] * 1.001 + 1e-6)


def test_until_enough_frauds_are_known_the_models_word_stands() -> None:
    few = _taught([(0.2, False)] * (2 * LESSONS_FIRST))
    assert [few.score_one(said) for said in (0.0, 0.2, 1.0)] == [0.0, 0.2, 1.0]


def _lessons(count: int) -> list[tuple[dict[str, Value], bool]]:
    chance, rows = random.Random(3), []
    for _ in range(count):
        fraud = chance.random() < 0.1
        features: dict[str, Value] = dict.fromkeys(INPUTS)
        features["event.amount"] = chance.randrange(3_000, 90_000) * (2 if fraud else 1)
        rows.append((features, fraud))
    return rows


def _load(stored: bytes) -> BinnedRegression:
    return BinnedRegression.load(stored)


def test_a_calibrated_model_is_itself_again_after_a_load_and_ranks_like_its_model() -> None:
    rows = _lessons(LESSONS_FIRST + 1_200)
    model = Calibrated(BinnedRegression("binned", INPUTS))
    for features, fraud in rows[:-200]:
        model.learn_one(features, fraud)
    again = Calibrated.load(model.dump(), _load)
    assert again.dump() == model.dump()
    for features, fraud in rows[-200:]:
        assert again.score_one(features) == model.score_one(features)
        again.learn_one(features, fraud)
        model.learn_one(features, fraud)
    assert again.dump() == model.dump()
    said = [(model.model.score_one(features), model.score_one(features)) for features, _ in rows]
    assert any(raw != mapped for raw, mapped in said)
    by_model = sorted(range(len(said)), key=lambda at: said[at][0])
    assert [said[at][1] for at in by_model] == sorted(mapped for _, mapped in said)


def test_a_snapshot_from_before_the_map_is_read_and_a_torn_map_is_refused() -> None:
    model = BinnedRegression("binned", INPUTS)
    for features, fraud in _lessons(300):
        model.learn_one(features, fraud)
    old = Calibrated.load(model.dump(), _load)
    assert old.lessons == 300
    assert old.score_one({"event.amount": 80_000}) == model.score_one({"event.amount": 80_000})
    stored = bytearray(old.dump())
    stored[stored.index(b"cal") + 8] = ord("x")
    with pytest.raises(ModelError, match="a stored calibrated model: needed the map"):
        Calibrated.load(bytes(stored), _load)
