"""Does a slow model learn the same, far from the path, and go on the same after a crash?"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from features import models
from features.model import Model
from features.trees import INPUTS
from flows import beside, score, shadows
from flows.beside import Beside
from flows.lessons import kept_lessons
from flows.models import standing
from flows.scored import MemoryScoreds, Row
from risk import events, names
from tests.flows.facts import NOON_US, SECOND_US

SLOW = tuple(recipe.id for recipe in models.MODELS if recipe.off_path)


class Kept(MemoryScoreds):
    """Rows that stay, as they do on disk."""

    def get(self, event: str) -> Row | None:
        return self._rows.get(event)


class Street:
    """What a flow leaves behind: decisions, features as scored, labels."""

    def __init__(self, client: "redis.Redis", folder: Path) -> None:
        self.client, self.folder, self.rows = client, folder, Kept()
        (folder / "scored").mkdir(parents=True, exist_ok=True)
        (folder / "models").mkdir(exist_ok=True)
        self.chance = random.Random(1)
        self.taught: list[tuple[dict[str, Any], bool]] = []

    def open(self) -> Beside:
        makers: dict[str, Callable[[], Model]] = {name: models.BY_ID[name].make for name in SLOW}
        return Beside(
            self.client, self.folder, makers, models.load, self.rows, lambda: NOON_US + SECOND_US
        )

    def decide(self, event: str, *, stored: bool = True) -> dict[str, Any]:
        features = {name: self.chance.choice([None, 0, self.chance.random()]) for name in INPUTS}
        self.client.set(names.features(event), orjson.dumps(features))
        self.client.xadd(names.DECISIONS, {"decision": orjson.dumps({"event": event})})
        told = {"event": event, "outcome": {"state": "confirmed"}}
        self.client.xadd(names.DECISIONS, {"decision": orjson.dumps(told)})
        if stored:
            self.rows.put(Row(event, NOON_US, "cus_1", None, None, None, features))
        return features

    def label(self, event: str, features: dict[str, Any], **over: Any) -> None:
        row = {"event": event, "fraud": self.chance.random() < 0.4, "source": "officer",
               "known": events.rfc3339(NOON_US + 1), **over}  # fmt: skip
        self.client.xadd(names.LABELS, {"label": orjson.dumps(row)})
        if not row.get("outranked"):
            self.taught.append((features, bool(row["fraud"])))

    def live(self, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            self.label(f"p-{number}", self.decide(f"p-{number}"))


def _to_the_end(runs: Beside) -> None:
    for _ in range(1_000):
        if not runs.step():
            return
    raise AssertionError("it reads on and on")


def _expected(street: Street) -> dict[str, Model]:
    made = {name: models.BY_ID[name].make() for name in SLOW}
    for features, fraud in street.taught:
        for model in made.values():
            model.learn_one(features, fraud)
    return made


def _answers(model: shadows.Model | Model) -> list[float]:
    chance = random.Random(2)
    return [model.score_one({name: chance.random() for name in INPUTS}) for _ in range(30)]


def test_it_learns_every_lesson_once_in_order(client: "redis.Redis", tmp_path: Path) -> None:
    """Those that are outranked or unreadable teach it nothing, as they teach the flow nothing."""
    street = Street(client, tmp_path)
    street.live(60)
    street.label("p-99", street.decide("p-99"), outranked=True)
    client.xadd(names.LABELS, {"label": b"{"})
    street.live(40, first=100)
    runs = street.open()
    _to_the_end(runs)
    for name, model in _expected(street).items():
        assert runs.models[name].lessons == 100
        assert _answers(runs.models[name]) == _answers(model)
    lessons = list(kept_lessons(tmp_path / "scored"))
    assert len(lessons) == 100
    assert all(set(lesson.scores) == set(SLOW) for lesson in lessons)
    runs.store()
    assert {row["role"] for row in standing(client)["models"].values()} == {"off the path"}


def test_what_is_said_is_said_before_the_label(client: "redis.Redis", tmp_path: Path) -> None:
    """All decisions first, then all labels: each was scored by a model without a lesson."""
    street = Street(client, tmp_path)
    known = [(f"p-{number}", street.decide(f"p-{number}")) for number in range(30)]
    runs = street.open()
    _to_the_end(runs)
    for event, features in known:
        street.label(event, features)
    _to_the_end(runs)
    fresh = {name: models.BY_ID[name].make() for name in SLOW}
    for lesson in kept_lessons(tmp_path / "scored"):
        features = dict(known)[lesson.event]
        assert lesson.scores == {name: model.score_one(features) for name, model in fresh.items()}


@pytest.mark.parametrize("stored_every", [7, 25, 1_000])
def test_a_crash_reads_and_learns_again_from_the_last_stored_place(
    client: "redis.Redis", tmp_path: Path, stored_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost and nothing learnt twice, whatever was done since."""
    monkeypatch.setattr(beside, "STORE_LESSONS", stored_every)
    street = Street(client, tmp_path)
    for part in range(4):
        street.live(20, first=20 * part)
        _to_the_end(street.open())  # and it is gone, without a word
    runs = street.open()
    _to_the_end(runs)
    for name, model in _expected(street).items():
        assert runs.models[name].lessons == 80
        assert _answers(runs.models[name]) == _answers(model)
    assert len(list(kept_lessons(tmp_path / "scored"))) == 80
    for name in SLOW:
        folder = tmp_path / "models" / name
        assert not folder.exists() or len(list(folder.iterdir())) <= 3


def test_a_label_waits_for_its_event_and_holds_those_behind_it(
    client: "redis.Redis", tmp_path: Path
) -> None:
    """The flow stores what it scored some moments later; the order of lessons stays."""
    street = Street(client, tmp_path)
    features = street.decide("p-0", stored=False)
    street.label("p-0", features, fraud=True)
    street.live(3, first=1)
    runs = street.open()
    _to_the_end(runs)
    assert runs.models[SLOW[0]].lessons == 0
    street.rows.put(Row("p-0", NOON_US, "cus_1", None, None, None, features))
    _to_the_end(runs)
    assert _answers(runs.models[SLOW[0]]) == _answers(_expected(street)[SLOW[0]])


def test_the_scoring_pass_never_meets_a_model_that_is_off_the_path() -> None:
    """Neither by settings, nor by an order, nor by a snapshot's name."""
    from flows.assemble import registry_of

    everything = [recipe.id for recipe in models.MODELS]
    in_the_pass = registry_of().challengers(everything, off_path=False)
    assert not set(SLOW) & set(in_the_pass)
    assert SLOW
    assert "beside" not in vars(score)
