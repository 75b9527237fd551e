"""Is each score given before the label is learnt, and does a resumed model go on the same?"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import models as real
from features.model import Factor
from flows import score
from flows.score import Kept, Learnt, ModelLogic, Scoring, Snapshots, lesson_json
from flows.walk import Appointed, Described, Scored, Values
from risk.labels import Known
from tests.flows.facts import NOON_US, moment


class Share:
    """A model whose word is the share of frauds among its lessons."""

    id = "share"
    inputs = ("x",)
    spec: Mapping[str, Any] = {}

    def __init__(self, frauds: int = 0, lessons: int = 0) -> None:
        self.frauds, self.lessons = frauds, lessons

    def score_one(self, features: Values) -> float:
        return self.frauds / self.lessons if self.lessons else 0.0

    def explain_one(self, features: Values, top: int = 5) -> list[Factor]:
        return []

    def tell_one(self, features: Values, top: int = 5) -> tuple[float, list[Factor]]:
        return self.score_one(features), []

    def learn_one(self, features: Values, fraud: bool) -> None:
        self.frauds += fraud
        self.lessons += 1

    def dump(self) -> bytes:
        return orjson.dumps([self.frauds, self.lessons])

    @classmethod
    def load(cls, raw: bytes) -> "Share":
        return cls(*orjson.loads(raw))


class Count:
    """An opinion that counts what it saw."""

    id = "count"

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen

    def meet_one(self, features: Values) -> float:
        self.seen += 1
        return (self.seen - 1) / 1000

    def dump(self) -> bytes:
        return str(self.seen).encode()

    @classmethod
    def load(cls, raw: bytes) -> "Count":
        return cls(int(raw))


def _event(position: int = 0) -> Described:
    return Described(moment(f"p-{position}", position=position), {"x": 1.0}, {})


def _label(fraud: bool = True, position: int = 0, *, teaches: bool = True) -> Known:
    return Known(
        f"l-{position}", "p-0", fraud, "officer", NOON_US, NOON_US, "cus_1", None, None, None,
        -1, position, teaches, {"x": 1.0},
    )  # fmt: skip


def _stage(
    folder: Path | None = None,
    journal: Callable[[list[Learnt]], None] = lambda _: None,
    **over: Any,
) -> Scoring:
    return Scoring(Share, Share.load, Snapshots(folder), journal, lambda: 0, **over)


def _scores(logic: ModelLogic, *facts: Described | Known) -> list[int]:
    scored, _ = logic.on_batch(list(facts))
    return [one.score for one in scored]


def test_a_label_changes_no_score_that_was_asked_for_before_it() -> None:
    logic = _stage().logic(None)
    told = _scores(logic, _event(), _label(True), _event(), _label(False), _event())
    assert told == [0, 1000, 500]


def test_a_score_says_which_model_spoke_after_how_many_lessons() -> None:
    logic = _stage().logic(None)
    scored, _ = logic.on_batch([_event(), _label(), _event()])
    first, second = scored
    assert (first.model.id, first.lessons, second.lessons) == ("share", 0, 1)
    assert first.model.version == first.model.sha256[:12] + "+0"
    assert second.model.version == first.model.sha256[:12] + "+1"
    assert second.probability == 1.0


def test_factors_are_told_only_while_somebody_asks_for_them() -> None:
    asked = [False]
    logic = _stage(reasons=lambda found, features: ["why"], explains=lambda: asked[0]).logic(None)
    (first,), _ = logic.on_batch([_event()])
    asked[0] = True
    (second,), _ = logic.on_batch([_event()])
    assert (first.factors, second.factors) == (None, ["why"])


def test_scoring_changes_nothing() -> None:
    logic = _stage().logic(None)
    logic.on_batch([_label()])
    before = logic.snapshot()
    for _ in range(3):
        logic.on_batch([_event()])
    assert logic.snapshot() == before


def test_an_outranked_label_teaches_nothing_and_is_not_journalled() -> None:
    journal: list[Learnt] = []
    logic = _stage(journal=journal.extend).logic(None)
    before = logic.snapshot()
    logic.on_batch([_label(teaches=False)])
    assert logic.snapshot() == before
    assert journal == []


def test_each_lesson_is_journalled_with_the_model_after_it() -> None:
    journal: list[Learnt] = []
    logic = _stage(journal=journal.extend).logic(None)
    logic.on_batch([_label(True, 1), _event(), _label(False, 2)])
    rows = [orjson.loads(lesson_json(one)) for one in journal]
    assert [(row["label"], row["fraud"]) for row in rows] == [("l-1", True), ("l-2", False)]
    assert [row["model"]["version"].partition("+")[2] for row in rows] == ["1", "2"]


def _play(logic: ModelLogic, chance: random.Random, count: int) -> list[Scored]:
    facts: list[Described | Known | Appointed] = [
        _label(chance.random() < 0.5, number) if chance.random() < 0.4 else _event(number)
        for number in range(count)
    ]
    scored, _ = logic.on_batch(facts)
    return scored


@pytest.mark.parametrize("cut", [0, 1, 7, 40])
def test_a_resumed_model_gives_the_same_version_and_the_same_scores(
    cut: int, tmp_path: Path
) -> None:
    stage = _stage(tmp_path, lessons_a_snapshot=5)
    through, resumed = stage.logic(None), stage.logic(None)
    _play(through, random.Random(1), cut)
    _play(resumed, random.Random(1), cut)
    resumed = stage.logic(Kept(*resumed.snapshot()))
    told = [_play(logic, random.Random(2), 30) for logic in (through, resumed)]
    assert told[0] == told[1]
    assert through.snapshot() == resumed.snapshot()


def test_a_version_is_a_stored_file_and_the_lessons_since(tmp_path: Path) -> None:
    journal: list[Learnt] = []
    logic = _stage(tmp_path, journal.extend, lessons_a_snapshot=5).logic(None)
    for number in range(13):
        logic.on_batch([_label(number % 3 == 0, number)])
        ((scored,), _) = logic.on_batch([_event()])
        digest, _, since = scored.model.version.partition("+")
        raw = Snapshots(tmp_path).find("share", scored.model.sha256)
        assert raw is not None
        assert scored.model.sha256.startswith(digest)
        again = Share.load(raw)
        for lesson in journal[len(journal) - int(since) :]:
            again.learn_one(lesson.label.features, lesson.label.fraud)
        assert again.dump() == logic.snapshot().model
    assert len(list((tmp_path / "share").iterdir())) == 3


def test_a_snapshot_whose_bytes_changed_is_not_found(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path)
    digest = kept.keep("share", b"[1,2]")
    assert kept.keep("share", b"[1,2]") == digest
    assert kept.find("share", digest) == b"[1,2]"
    (tmp_path / "share" / f"{digest}.model").write_bytes(b"[9,9]")
    assert kept.find("share", digest) is None
    kept.drop("share", digest)
    kept.drop("share", digest)
    assert kept.find("share", digest) is None
    assert Snapshots(None).find("share", Snapshots(None).keep("share", b"x")) is None


@given(st.permutations(range(12)), st.lists(st.integers(1, 5), min_size=12, max_size=12))
def test_in_a_replay_the_order_of_the_file_counts_and_not_the_order_of_arrival(
    order: list[int], sizes: list[int]
) -> None:
    def fact(number: int) -> Described | Known:
        return _label(number % 4 == 1, number) if number % 2 else _event(number)

    expected = _scores(_stage().logic(None), *(fact(number) for number in range(12)))
    logic = _stage(sequenced=True).logic(None)
    told: list[int] = []
    waiting = list(order)
    for size in sizes:
        batch, waiting = waiting[:size], waiting[size:]
        told += _scores(logic, *(fact(number) for number in batch))
    assert told == expected


def test_a_fact_waits_for_the_one_before_it() -> None:
    logic = _stage(sequenced=True).logic(None)
    assert _scores(logic, _event(1)) == []
    assert len(_scores(logic, _event(0))) == 2


def test_a_word_outside_of_0_to_1_is_kept_within_0_to_1000() -> None:
    class Wild(Share):
        def score_one(self, features: Values) -> float:
            return 3.0 if features["x"] == 1.0 else -2.0

    logic = Scoring(Wild, Wild.load, Snapshots(None), lambda _: None, lambda: 0).logic(None)
    low = Described(moment(), {"x": 0.0}, {})
    assert _scores(logic, _event(), low) == [1000, 0]


def test_the_unlabelled_opinion_is_given_before_it_learns_and_stands_beside_the_score() -> None:
    logic = _stage(opinion=(Count, Count.load)).logic(None)
    scored, _ = logic.on_batch([_event(), _event(), _label(), _event()])
    assert [one.anomaly for one in scored] == [0, 1, 2]
    assert [one.score for one in scored] == [0, 0, 1000]


def test_without_an_opinion_there_is_no_anomaly() -> None:
    scored, _ = _stage().logic(None).on_batch([_event()])
    assert scored[0].anomaly is None


def test_an_opinion_resumes_from_its_last_file_and_begins_anew_where_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "EVENTS_AN_OPINION", 4)
    stage = _stage(tmp_path, opinion=(Count, Count.load))
    logic = stage.logic(None)
    for number in range(30):
        logic.on_batch([_event(number)])
    kept = logic.snapshot()
    assert len(list((tmp_path / "count").iterdir())) == 3
    scored, _ = stage.logic(kept).on_batch([_event()])
    assert scored[0].anomaly == 28
    for path in (tmp_path / "count").iterdir():
        path.unlink()
    scored, _ = stage.logic(kept).on_batch([_event()])
    assert scored[0].anomaly == 0


def test_an_opinion_that_ended_in_order_has_forgotten_nothing(tmp_path: Path) -> None:
    stage = _stage(tmp_path, opinion=(Count, Count.load))
    logic = stage.logic(None)
    for number in range(7):
        logic.on_batch([_event(number)])
    assert logic.on_eof() == ([], False)
    scored, _ = stage.logic(logic.snapshot()).on_batch([_event()])
    assert scored[0].anomaly == 7


def test_the_champion_itself_goes_on_the_same_after_a_resume() -> None:
    stage = Scoring(real.champion, real.load, Snapshots(None), lambda _: None, lambda: 0)
    logic = stage.logic(None)
    chance = random.Random(3)
    _play(logic, chance, 60)
    resumed = stage.logic(Kept(*logic.snapshot()))
    told = [_play(one, random.Random(4), 30) for one in (logic, resumed)]
    assert told[0] == told[1]
