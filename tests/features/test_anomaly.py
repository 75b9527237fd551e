"""Half-space trees: River's own, walked once an event, to the last bit."""

import random
from math import log1p, nan

from river import anomaly

from features.anomaly import RANGES, HalfSpaceTrees
from features.moment import Value


def _events(count: int) -> list[dict[str, Value]]:
    chance, rows = random.Random(11), []
    for _ in range(count):
        row: dict[str, Value] = {
            name: chance.choice((None, 0, chance.random() * top, chance.random() * top / 50))
            for name, top in RANGES.items()
        }
        rows.append(row)
    rows[5]["event.amount"], rows[6]["event.amount"] = nan, -1.0
    return rows


def _scaled(features: dict[str, Value]) -> dict[str, float]:
    known = {name: max(0.0, min(float(features[name] or 0), top)) for name, top in RANGES.items()}
    return {name: log1p(known[name]) / log1p(top) for name, top in RANGES.items()}


def test_the_trees_say_and_learn_what_rivers_own_do() -> None:
    ours = HalfSpaceTrees()
    rivers = anomaly.HalfSpaceTrees(
        n_trees=10, height=8, window_size=1_000, limits=dict.fromkeys(RANGES, (0.0, 1.0)), seed=1
    )
    said = []
    for features in _events(2_400):
        looked = ours.score_one(features)
        said.append(ours.meet_one(features))
        assert looked == said[-1] == float(rivers.score_one(_scaled(features)))  # type: ignore[no-untyped-call]  # River's
        rivers.learn_one(_scaled(features))  # type: ignore[no-untyped-call]  # River's
    assert set(said[:1_000]) == {0.0}
    assert len(set(said[1_000:])) > 50


def test_stored_trees_say_and_learn_the_same_as_those_that_went_on() -> None:
    rows = _events(2_100)
    ours = HalfSpaceTrees()
    for number, features in enumerate(rows):
        ours.meet_one(features)
        if number in (0, 700, 998, 999, 1_000, 1_500):
            again = HalfSpaceTrees.load(ours.dump())
            assert again.seen == ours.seen == number + 1
            assert again.dump() == ours.dump()
            ours = again
    kept = HalfSpaceTrees.load(ours.dump())
    assert [kept.meet_one(row) for row in rows[:50]] == [ours.meet_one(row) for row in rows[:50]]


def test_trees_that_saw_nothing_are_stored_and_say_nothing() -> None:
    fresh = HalfSpaceTrees.load(HalfSpaceTrees().dump())
    assert fresh.score_one({}) == 0.0
    fresh.learn_one({})
    assert fresh.seen == 1
