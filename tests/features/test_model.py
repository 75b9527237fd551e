"""What holds for every model there is, and that the catalogue is all of them."""

from __future__ import annotations

import ast
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from features import models, trees
from features.calibrate import Calibrated
from features.model import (
    INPUTS,
    MAGIC,
    Factor,
    Model,
    ModelError,
    left_out,
    logit,
    recipe_sha256,
)
from features.models import MODELS, Recipe, load
from features.moment import Value

Rows = list[tuple[dict[str, Value], bool]]
NAMES = tuple(dict.fromkeys(name for recipe in MODELS for name in recipe.make().inputs))


def _rows(seed: int, count: int) -> Rows:
    """Lessons in which the frauds are those of high amounts or of a payee with a fraud run."""
    chance = random.Random(seed)
    rows: Rows = []
    for _ in range(count):
        fraud = chance.random() < 0.1
        features: dict[str, Value] = {
            name: None if chance.random() < 0.1 else abs(chance.gauss(0, 1)) * 100 for name in NAMES
        }
        features["event.amount"] = chance.randrange(20_000, 90_000) if fraud else 5_000
        features["payee.fraud_run.30d"] = chance.randrange(3) + 2 * fraud
        features["payee.fraud_risk.7d"] = chance.random() / 2 + fraud / 2
        rows.append((features, fraud))
    return rows


@pytest.fixture(params=MODELS, ids=lambda one: one.id)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """Each model of the catalogue."""
    found: Recipe = request.param
    return found


@pytest.fixture
def fresh(recipe: Recipe) -> Callable[[], Model]:
    """Makes it without a lesson."""
    return recipe.make


def _taught(fresh: Callable[[], Model], rows: Rows) -> Model:
    model = fresh()
    for features, fraud in rows:
        model.learn_one(features, fraud)
    return model


def test_a_model_is_called_what_the_catalogue_calls_it() -> None:
    """An id is a promise: decisions carry it."""
    assert all(recipe.make().id == recipe.id for recipe in MODELS)
    assert len({recipe.id for recipe in MODELS}) == len(MODELS)
    assert not MODELS[0].off_path


def test_the_catalogue_is_complete(repository: Path) -> None:
    """Every class that learns and gives factors is made by a line of it; of no id are there two."""
    found = {
        (path.stem, node.name)
        for path in (repository / "features").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and "kind" in map(_named, node.body)
        and node.name != "Track"  # a kind of past, not of model
    }
    fresh = [one.make() for one in MODELS]
    fresh += [model.model for model in fresh if isinstance(model, Calibrated)]
    made = {(type(one).__module__.rpartition(".")[2], type(one).__name__) for one in fresh}
    assert found == made
    assert len(found) >= 4


def _named(node: ast.stmt) -> str | None:
    """The name that a class gives a type or a value, with its type."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return None


def test_a_recipe_names_a_model_before_and_after_its_lessons(fresh: Callable[[], Model]) -> None:
    """Learning changes no recipe; another constant or input does."""
    model = _taught(fresh, _rows(8, 50))
    assert recipe_sha256(model) == recipe_sha256(fresh()) == recipe_sha256(load(model.dump()))
    assert len({recipe_sha256(one.make()) for one in MODELS}) == len(MODELS)


def test_scoring_changes_nothing(fresh: Callable[[], Model]) -> None:
    """Not a byte, and the same answer twice."""
    rows = _rows(1, 600)
    model = load(_taught(fresh, rows[:300]).dump())
    before = model.dump()
    first = [model.score_one(features) for features, _ in rows]
    assert [model.score_one(features) for features, _ in rows] == first
    model.explain_one(rows[0][0])
    assert model.dump() == before


def test_a_restored_model_has_the_same_answers_and_the_same_future(
    fresh: Callable[[], Model],
) -> None:
    """Also across the lessons at which bins are set anew and trees split."""
    rows = _rows(2, 1_300)
    model = _taught(fresh, rows[:450])
    again = load(model.dump())
    assert (again.id, again.lessons, again.inputs) == (model.id, model.lessons, model.inputs)
    for features, fraud in rows[450:]:
        assert again.score_one(features) == model.score_one(features)
        model.learn_one(features, fraud)
        again.learn_one(features, fraud)
    assert [again.score_one(features) for features, _ in rows] == [
        model.score_one(features) for features, _ in rows
    ]


def test_a_lesson_changes_no_answer_given_before_it(fresh: Callable[[], Model]) -> None:
    """No look-ahead: the answers before t are the same whatever is learnt from t on."""
    rows = _rows(9, 400)
    told: list[list[float]] = []
    for turned in (False, True):
        model, answers = fresh(), []
        for at, (features, fraud) in enumerate(rows):
            answers.append(model.score_one(features))
            model.learn_one(features, fraud != (turned and at >= 200))
        told.append(answers)
    assert told[0][:201] == told[1][:201]
    assert told[0][201:] != told[1][201:]


def test_a_model_looks_at_its_inputs_alone(fresh: Callable[[], Model]) -> None:
    """What it doesn't name as an input can't move its answer."""
    rows = _rows(10, 300)
    model = _taught(fresh, rows)
    for features, _ in rows[:20]:
        mine = {name: features[name] for name in model.inputs}
        assert model.score_one(mine) == model.score_one({**features, "nobody.knows": 7})


def test_a_model_ranks_frauds_above_honest_payments(fresh: Callable[[], Model]) -> None:
    """After 1,500 lessons of a plain kind nearly all pairs stand right."""
    rows = _rows(3, 1_900)
    model = _taught(fresh, rows[:1_500])
    frauds = [model.score_one(features) for features, fraud in rows[1_500:] if fraud]
    honest = [model.score_one(features) for features, fraud in rows[1_500:] if not fraud]
    right = sum((one > other) + 0.5 * (one == other) for one in frauds for other in honest)
    assert right / (len(frauds) * len(honest)) > 0.97


def test_missing_null_and_odd_values_are_scored(fresh: Callable[[], Model]) -> None:
    """A score is a number from 0 to 1, and a factor a finite one, whatever is not known."""
    model = fresh()
    odd: list[dict[str, Value]] = [
        {},
        dict.fromkeys(NAMES),
        dict.fromkeys(NAMES, math.nan),
        dict.fromkeys(NAMES, math.inf),
        dict.fromkeys(NAMES, -math.inf),
        dict.fromkeys(NAMES, 10**30),
        {"nobody.knows.this": 1},
    ]
    for turn in range(3):
        for features in odd:
            assert 0.0 <= model.score_one(features) <= 1.0
            factors = model.explain_one(features)
            assert all(math.isfinite(one.weight) and 0 < one.share <= 1 for one in factors)
            model.learn_one(features, fraud=True)
        for features, fraud in _rows(4 + turn, 150):
            model.learn_one(features, fraud)
            assert 0.0 <= model.score_one(features) <= 1.0


def test_a_snapshot_stays_small(recipe: Recipe) -> None:
    """Bins, depth and inputs are bounded, so bytes are; an off-path model may have more of them."""
    count = 3_000 if not recipe.off_path else 1_200
    model = _taught(recipe.make, _rows(5, count))
    assert len(model.dump()) < (1_000_000 if not recipe.off_path else 16_000_000)


def test_removing_the_first_factor_moves_the_score_most(fresh: Callable[[], Model]) -> None:
    """Without the value that is named first the log odds change more than without any other."""
    rows = _rows(6, 1_200)
    model = _taught(fresh, rows)
    asked = [features for features, fraud in rows if fraud][:10]
    for features in asked:
        whole = logit(model.score_one(features))
        moved = {
            name: abs(whole - logit(model.score_one({**features, name: None})))
            for name in model.inputs
            if features[name] is not None
        }
        factors = model.explain_one(features, top=5)
        most = max(moved.values())
        assert moved[factors[0].feature] == pytest.approx(most, rel=1e-6)
        sizes = [abs(factor.weight) for factor in factors]
        assert sizes == sorted(sizes, reverse=True)
        assert all(factor.value == features[factor.feature] for factor in factors)
        assert sum(factor.share for factor in factors) <= 1.0 + 1e-9


def test_the_quick_factors_are_those_of_leaving_out(fresh: Callable[[], Model]) -> None:
    """A sum's parts need no second score; they say what leaving out one by one would say."""
    rows = _rows(7, 900)
    model = _taught(fresh, rows)
    for features, _ in rows[:10]:
        slow = {one.feature: one for one in left_out(model, features, 100)}
        assert model.tell_one(features) == (model.score_one(features), model.explain_one(features))
        for quick in model.explain_one(features, top=5):
            slower = slow.get(quick.feature, Factor("", 0.0, 0.0, None))
            assert quick.weight == pytest.approx(slower.weight, abs=1e-6)
            assert quick.share == pytest.approx(slower.share, abs=1e-6)


def test_a_snapshot_of_the_first_format_is_read(repository: Path) -> None:
    """Written by an earlier version of this program, with the answers that it gave."""
    kept = repository / "tests" / "assets" / "models"
    model = load((kept / "binned-1.model").read_bytes())
    asked = json.loads((kept / "binned-1.json").read_text(encoding="utf-8"))
    assert (model.id, model.lessons, model.inputs) == ("binned", 260, INPUTS)
    assert len(asked) == 4
    for row in asked:
        assert repr(model.score_one(row["features"])) == row["score"]
    again = load(model.dump())
    for features, fraud in _rows(11, 100):
        model.learn_one(features, fraud)
        again.learn_one(features, fraud)
    assert again.dump() == model.dump()


def test_damage_and_other_formats_are_refused_by_name() -> None:
    """Nothing is guessed from bytes that another program wrote."""
    stored = MODELS[0].make().dump()
    with pytest.raises(ModelError, match="format 255"):
        load(stored[:3] + b"\xff" + stored[4:])
    with pytest.raises(ModelError, match="damaged"):
        load(b"not a model")
    with pytest.raises(ModelError, match="the catalogue has binned"):
        load(MAGIC + bytes((2, 5)) + b"other" + b"{}")


def test_a_pickle_of_another_river_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees are stored as pickles, and those hold for one River alone."""
    stored = models.BY_ID["hoeffding_tree"].make().dump()
    monkeypatch.setattr(trees, "RIVER", "0.31.0")
    with pytest.raises(ModelError, match=r"written by River 0\.\d+.*this is 0\.31\.0"):
        load(stored)
    with pytest.raises(ModelError, match="let it learn anew"):
        load(stored[:-9])
