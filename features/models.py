"""Which models are there? All of them stand here, the first champion first.

To add one: a line below and a card in ``config/models.yaml`` (``docs/adding.md``). An id is a
promise: decisions, records and snapshots carry it. Changed inputs or constants are a new model
with a new id; its card names it by the SHA-256 of its recipe, and another recipe is not loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from features import logistic, trees
from features.calibrate import Calibrated
from features.logistic import PlainRegression
from features.model import INPUTS, BinnedRegression, Model, ModelError, opened
from features.trees import Forest, HoeffdingTree

#: Pairs of features whose levels are looked at together.
CROSSES = (
    ("event.amount", "customer.new_payee"),
    ("event.amount", "payee.fraud_run.30d"),
    ("customer.ratio.amount.30d", "customer.count.1h"),
    ("customer.ratio.amount.30d", "payee.fraud_risk.7d"),
    ("customer.outliers.amount.3d", "customer.since_fraud.30d"),
    ("payee.fraud_count.7d", "payee.since_fraud.30d"),
    ("payee.count.24h", "payee.fraud_run.30d"),
    ("customer.since_last", "customer.count.24h"),
)


class Recipe(NamedTuple):
    """A model before its first lesson, and how its stored form is read.

    ``off_path``: too large or too slow for the scoring pass; it learns and is measured in a
    process of its own and can't be champion.
    """

    id: str
    make: Callable[[], Model]
    load: Callable[[bytes], Model]
    off_path: bool
    words: str


def _recipe(
    make: Callable[[], Model], load: Callable[[bytes], Model], words: str, *, off_path: bool = False
) -> Recipe:
    return Recipe(make().id, make, load, off_path, words)


MODELS: tuple[Recipe, ...] = (
    _recipe(
        lambda: Calibrated(BinnedRegression("binned", INPUTS)),
        lambda stored: Calibrated.load(stored, BinnedRegression.load),
        "logistic regression over binned features, each by itself",
    ),
    _recipe(
        lambda: Calibrated(BinnedRegression("binned_crossed", INPUTS, crosses=CROSSES)),
        lambda stored: Calibrated.load(stored, BinnedRegression.load),
        "the same with pairs of features",
    ),
    _recipe(
        lambda: PlainRegression("handbook_logistic", logistic.INPUTS),
        PlainRegression.load,
        "logistic regression over the Handbook's own features",
    ),
    _recipe(
        lambda: HoeffdingTree("hoeffding_tree", trees.INPUTS),
        HoeffdingTree.load,
        "one adaptive Hoeffding tree over twelve features",
    ),
    _recipe(
        lambda: Forest("forest", trees.INPUTS),
        Forest.load,
        "adaptive random forest of ten trees, eight levels deep",
        off_path=True,
    ),
)

BY_ID: dict[str, Recipe] = {recipe.id: recipe for recipe in MODELS}


def champion() -> Model:
    """The first champion, before its first lesson."""
    return MODELS[0].make()


def load(stored: bytes) -> Model:
    """Any stored model of the catalogue; `ModelError` of one that is none."""
    name, _ = opened(stored)
    recipe = BY_ID.get(name)
    if recipe is None:
        raise ModelError(
            f"a stored model calls itself {name!r}, the catalogue has {', '.join(BY_ID)}: "
            "run the program that wrote it, or give it its line in features/models.py again"
        )
    return recipe.load(stored)
