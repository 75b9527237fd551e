"""Do challengers change nothing, does a promotion hold from its place on, and through a crash?"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import drift, explain, models
from features.model import INPUTS, Model
from flows import shadows
from flows.score import Drifted, Kept, ModelLogic, Scoring, Snapshots
from flows.walk import Appointed, Described, Scored
from risk.labels import Known
from tests.flows.facts import NOON_US, moment

LIGHT = tuple(recipe.id for recipe in models.MODELS if not recipe.off_path)
CHALLENGERS = LIGHT[1:]
Fact = Described | Known | Appointed


def _features(chance: random.Random) -> dict[str, Any]:
    return {name: chance.choice([None, 0, chance.randrange(9), chance.random()]) for name in INPUTS}


def _facts(seed: int, count: int) -> list[Fact]:
    chance = random.Random(seed)
    facts: list[Fact] = []
    for number in range(count):
        features = _features(chance)
        if chance.random() < 0.4:
            facts.append(
                Known(f"l-{number}", f"p-{number}", chance.random() < 0.3, "officer", NOON_US,
                      NOON_US, "cus_1", None, None, None, -1, number, True, features)
            )  # fmt: skip
        else:
            facts.append(Described(moment(f"p-{number}", position=number), features, {}))
    return facts


def _order(model: str, number: int = 1, *, back: bool = False) -> Appointed:
    return Appointed(f"{number}-0", f"mp-{number}", model, "ana", "bo", NOON_US, back)


def _stage(folder: Path | None = None, challengers: tuple[str, ...] = (), **over: Any) -> Scoring:
    makers: dict[str, Callable[[], Model]] = {name: models.BY_ID[name].make for name in challengers}
    return Scoring(
        models.champion, models.load, Snapshots(folder), lambda _: None, lambda: 0,
        challengers=makers, reasons=explain.reasons, **over,
    )  # fmt: skip


def _words(logic: ModelLogic, facts: list[Fact]) -> list[Scored]:
    scored, _ = logic.on_batch(facts)
    return scored


def _without_shadows(scored: list[Scored]) -> list[Scored]:
    return [one._replace(scores={one.model.id: (one.scores or {})[one.model.id]}) for one in scored]


@given(st.integers(0, 10_000), st.sets(st.sampled_from(CHALLENGERS)), st.integers(1, 60))
def test_challengers_change_no_score_no_factor_and_no_mark(
    seed: int, challengers: set[str], count: int
) -> None:
    """Whichever there are: what is decided on is the same with them and without."""
    facts = _facts(seed, count)
    alone = _words(_stage().logic(None), facts)
    beside = _words(_stage(challengers=tuple(challengers)).logic(None), facts)
    assert _without_shadows(beside) == alone
    assert all((one.scores or {}).keys() == {"binned", *challengers} for one in beside)


def test_a_challenger_says_what_it_would_say_as_champion() -> None:
    """Scored before each lesson, taught by the same ones."""
    facts = _facts(1, 150)
    told = _words(_stage(challengers=CHALLENGERS).logic(None), facts)
    for name in CHALLENGERS:
        model, said = models.BY_ID[name].make(), []
        for fact in facts:
            if isinstance(fact, Known):
                model.learn_one(fact.features, fact.fraud)
            elif isinstance(fact, Described):
                said.append(model.score_one(fact.features))
        assert [(one.scores or {})[name] for one in told] == said


def test_a_promotion_holds_from_its_place_on_and_loses_no_lesson(tmp_path: Path) -> None:
    """Before it the champion's word, after it the challenger's, who has learnt all along."""
    before, after = _facts(2, 80), _facts(3, 80)
    lessons = sum(isinstance(fact, Known) for fact in before)
    happened: list[Any] = []
    stage = _stage(tmp_path, ("binned_crossed",), told=happened.extend)
    told = _words(stage.logic(None), [*before, _order("binned_crossed"), *after])
    plain = _words(_stage(challengers=("binned_crossed",)).logic(None), [*before, *after])
    count = len([fact for fact in before if isinstance(fact, Described)])
    assert {one.model.id for one in told[:count]} == {"binned"}
    assert {one.model.id for one in told[count:]} == {"binned_crossed"}
    for acted, shadow in zip(told, plain, strict=True):
        assert acted.scores == shadow.scores
        assert acted.probability == (shadow.scores or {})[acted.model.id]
        assert acted.lessons == shadow.lessons
    (promoted,) = happened
    assert promoted.model.id == "binned_crossed"
    assert promoted.retired.id == "binned"
    raw = Snapshots(tmp_path).find("binned_crossed", promoted.model.sha256)
    assert raw is not None
    assert models.load(raw).lessons == lessons


def test_a_rollback_returns_to_a_model_that_has_learnt_on(tmp_path: Path) -> None:
    """Both orders in one stream; what was never promoted would say the same in the end."""
    parts = [_facts(seed, 60) for seed in (4, 5, 6)]
    stage = _stage(tmp_path, ("hoeffding_tree",))
    logic = stage.logic(None)
    _words(logic, [*parts[0], _order("hoeffding_tree"), *parts[1]])
    told = _words(logic, [_order("binned", 2, back=True), *parts[2]])
    plain = _stage().logic(None)
    _words(plain, [*parts[0], *parts[1]])
    assert [one.probability for one in told] == [one.probability for one in _words(plain, parts[2])]
    assert {one.model.id for one in told} == {"binned"}


@pytest.mark.parametrize("cut", [0, 30, 59, 60, 61, 62, 90, 119])
@pytest.mark.parametrize("target", CHALLENGERS)
def test_a_crash_anywhere_ends_in_the_same_words(
    tmp_path: Path, cut: int, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut, crash, read again from the cut: before, at and after the order."""
    monkeypatch.setattr(shadows, "LESSONS_A_FILE", 7)
    facts = [*_facts(7, 60), _order(target), *_facts(8, 58)]
    through = _stage(tmp_path / "a", CHALLENGERS, watch=drift.resumed).logic(None)
    stage = _stage(tmp_path / "b", CHALLENGERS, watch=drift.resumed)
    crashed = stage.logic(None)
    expected: list[Scored] = []
    told: list[Scored] = []
    for at, fact in enumerate(facts):
        if at == cut:
            kept = Kept(*crashed.snapshot())
            _words(crashed, facts[at : at + 10])  # done, and lost in the crash
            crashed = stage.logic(kept)
            told = told[: sum(isinstance(one, Described) for one in facts[:at])]
        if at % 20 == 0:
            through.snapshot()
            crashed.snapshot()
        expected += _words(through, [fact])
        told += _words(crashed, [fact])
    assert [(one.probability, one.scores, one.factors, one.model.id) for one in told] == [
        (one.probability, one.scores, one.factors, one.model.id) for one in expected
    ]


def test_files_that_no_cut_in_reach_names_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst of lessons drops no file that a cut may still ask for."""
    monkeypatch.setattr(shadows, "LESSONS_A_FILE", 2)
    monkeypatch.setattr(shadows, "LESSONS_AT_MOST", 3)
    stage = _stage(tmp_path, ("handbook_logistic",))
    logic = stage.logic(None)
    first = logic.snapshot()
    for seed in range(30):
        _words(logic, _facts(seed, 20))
    assert Snapshots(tmp_path).find("handbook_logistic", first.shadows[0].sha256) is not None
    for seed in range(45):
        _words(logic, _facts(seed, 20))
        logic.snapshot()
    assert Snapshots(tmp_path).find("handbook_logistic", first.shadows[0].sha256) is None
    assert len(list((tmp_path / "handbook_logistic").iterdir())) <= 45


@pytest.mark.parametrize(
    ("model", "why"), [("binned", "acts already"), ("forest", "doesn't learn beside")]
)
def test_an_order_that_can_not_be_followed_changes_nothing_and_is_told(
    model: str, why: str
) -> None:
    """It was approved when it could be; the flow goes on with what it has."""
    happened: list[Any] = []
    logic = _stage(told=happened.extend).logic(None)
    _words(logic, _facts(9, 20))
    before = logic.snapshot()
    logic.on_batch([_order(model)])
    assert logic.snapshot() == before
    ((order, mark, retired, refused),) = [tuple(one) for one in happened]
    assert (order, retired, mark.id) == (_order(model), None, "binned")
    assert why in refused


def test_a_challenger_whose_file_is_gone_learns_anew(tmp_path: Path) -> None:
    """The champion goes on; nobody is told what was lost as if it were there."""
    stage = _stage(tmp_path, ("binned_crossed",))
    logic = stage.logic(None)
    _words(logic, _facts(10, 60))
    kept = logic.snapshot()
    for path in (tmp_path / "binned_crossed").iterdir():
        path.unlink()
    again = stage.logic(kept)
    (fresh,) = [one for one in again.snapshot().shadows if one.id == "binned_crossed"]
    assert fresh.lessons == ()
    assert len(kept.shadows[0].lessons) > 10


def test_a_cut_of_before_there_were_challengers_is_read() -> None:
    """Five fields then; what came later begins empty, and the list of lessons with a snapshot."""
    logic = _stage().logic(None)
    _words(logic, _facts(11, 40))
    kept = logic.snapshot()
    old = Kept(*kept[:5])
    told = _stage(challengers=("binned_crossed",)).logic(old)
    begun = told.snapshot()
    assert (begun.since, begun.taught) == (0, begun.sha256[:20])
    assert [one.probability for one in _words(told, _facts(12, 20))] == [
        one.probability for one in _words(logic, _facts(12, 20))
    ]


def test_how_everything_stands_is_published_with_sizes_and_dump_times(tmp_path: Path) -> None:
    """For `ringback models show` and for /metrics."""
    clock = iter(range(0, 10**15, 1_500_000_000))
    standing: list[dict[str, Any]] = []
    stage = Scoring(
        models.champion, models.load, Snapshots(tmp_path), lambda _: None, lambda: next(clock),
        challengers={"binned_crossed": models.BY_ID["binned_crossed"].make},
        watch=drift.resumed, publish=standing.append,
    )  # fmt: skip
    logic = stage.logic(None)
    _words(logic, [*_facts(13, 30), _order("binned_crossed")])
    logic.snapshot()
    roles = {name: row["role"] for name, row in standing[-1]["models"].items()}
    assert roles == {"binned_crossed": "champion", "binned": "former"}
    for row in standing[-1]["models"].values():
        assert row["bytes"] > 100
        assert row["dump_us"] > 0
        assert row["version"].startswith(row["sha256"][:12] + "+")
    assert set(standing[-1]["drift"]) == set(drift.WATCHED)


def test_drift_is_told_with_the_event_that_showed_it() -> None:
    """And the stream goes on; sign-ins and late payments are not looked at."""

    class Sees:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def watch_one(self, features: Any, score: int, time_us: int) -> list[drift.Alarm]:
            self.seen.append(time_us)
            return [drift.Alarm("event.amount", "adwin", 0.2, time_us)]

        def forget_score(self, time_us: int) -> None: ...
        def board(self) -> dict[str, dict[str, Any]]:
            return {}

        def dump(self) -> bytes:
            return b"kept"

    happened: list[Any] = []
    sees = Sees()
    logic = _stage(watch=lambda kept: sees, told=happened.extend).logic(None)
    login = Described(moment("p-2", type="login"), {}, {})
    late = Described(moment("p-3", late=True), {}, {})
    _words(logic, [Described(moment("p-1"), {}, {}), login, late])
    assert happened == [Drifted("p-1", "event.amount", "adwin", 0.2, NOON_US)]
    assert len(sees.seen) == 1
    assert logic.snapshot().watch == b"kept"
