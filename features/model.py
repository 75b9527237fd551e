"""Which models rank events, and how does one learn? The only place that knows River.

    features -> bins -> one-hot -> River's logistic regression (AdaGrad) -> probability

``score_one`` changes nothing; ``learn_one`` takes the features *as they were scored* and what
became known since. A model is a pure function of its lessons in their order: ``dump`` and ``load``
give back the same answers and the same future. Missing and null features have a bin of their own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any, Final, Protocol

import orjson
from river import linear_model, optim

from features.bins import Bins, counted, refitted
from features.moment import Value

#: What a stored model begins with; the byte after it is the version of the format.
MAGIC: Final = b"RBM"
VERSION: Final = 1

#: What a new bin keeps of the squared gradients of the old one at its place: little, so that it
#: learns fast again what sets it apart (0.004 of average precision on the handbook's data).
_FRESHNESS: Final = 0.1

_STEEP: Final = 700.0  # beyond, exp() overflows


class ModelError(Exception):
    """A stored model can't be read."""


class Model(Protocol):
    """What the flow needs of a model."""

    @property
    def id(self) -> str: ...
    def score_one(self, features: Mapping[str, Value]) -> float: ...
    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None: ...
    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]: ...
    def dump(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Factor:
    """One reason for a score: a feature, its share of the logit, its value."""

    feature: str
    share: float
    value: Value


class _Regression(linear_model.LogisticRegression):
    """River's logistic regression, with a way to give it what it once knew."""

    def logit(self, hot: dict[str, int]) -> float:
        """Log odds of fraud."""
        return float(self._raw_dot_one(hot))

    def know(self, token: str, weight: float, squares: float) -> None:
        """Set one weight, and the sum of squared gradients that its rate goes by."""
        self._weights[token] = weight
        self.optimizer.g2[token] = squares


class BinnedRegression:
    """Logistic regression over binned features, learnt one lesson at a time."""

    def __init__(
        self,
        id: str,  # noqa: A002  a model's id is its id
        inputs: tuple[str, ...],
        *,
        honest_share: float = 1.0,
        rate: float = 0.1,
    ) -> None:
        """Of the honest lessons only ``honest_share`` is learnt, and scores are set right for it.

        Which ones is a fixed function of their count, so that a replay learns the same.
        """
        self.id = id
        self.inputs = inputs
        self.honest_share, self.rate = honest_share, rate
        self.lessons = self._honest = 0
        self._bins = {name: Bins() for name in inputs}
        self._regression = self._fresh()
        self._plan = self._planned()

    def _fresh(self) -> _Regression:
        return _Regression(optimizer=optim.AdaGrad(self.rate))

    # -- answers -------------------------------------------------------------------------------

    def _hot(self, features: Mapping[str, Value]) -> dict[str, int]:
        """Of each input the one bin that is on."""
        get = features.get
        hot: dict[str, int] = {}
        for name, edges, tokens in self._plan:
            value = get(name)
            if value is None or value != value:  # noqa: PLR0124  NaN is no value either
                hot[tokens[0]] = 1
            else:
                hot[tokens[1 + bisect_left(edges, value)]] = 1
        return hot

    def _planned(self) -> list[tuple[str, list[float], list[str]]]:
        """Of each input its edges, and the names of its bins."""
        return [
            (name, bins.edges, [f"{name}={at}" for at in range(len(bins.edges) + 2)])
            for name, bins in self._bins.items()
        ]

    def score_one(self, features: Mapping[str, Value]) -> float:
        """The probability of fraud, 0 to 1. Changes nothing."""
        logit = self._regression.logit(self._hot(features)) + log(self.honest_share)
        return 1.0 / (1.0 + exp(-logit)) if logit > -_STEEP else 0.0

    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]:
        """The parts of the logit that are greatest, either way; without it the score moves most."""
        weights = self._regression.weights
        found = [
            Factor(name := token.partition("=")[0], share, features.get(name))
            for token in self._hot(features)
            if (share := float(weights.get(token, 0.0)))
        ]
        found.sort(key=lambda factor: (-abs(factor.share), factor.feature))
        return found[:top]

    # -- lessons -------------------------------------------------------------------------------

    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None:
        """One lesson: these features, as scored, were of a fraud or were not."""
        self.lessons += 1
        if counted(self.lessons):
            for name, bins in self._bins.items():
                bins.count(features.get(name))
        if refitted(self.lessons):
            self._refit()
        if not fraud:
            before = int(self._honest * self.honest_share)
            self._honest += 1
            if int(self._honest * self.honest_share) == before:
                return
        self._regression.learn_one(self._hot(features), fraud)

    def _refit(self) -> None:
        """Set the bin edges anew; a new bin starts with what the old one at its place knew."""
        came_from: dict[str, list[int]] = {}
        for name, bins in self._bins.items():
            former = Bins()
            former.edges = bins.fit()
            edges = bins.edges
            places = [*edges, float("inf")]
            came_from[name] = [0, *(former(place) for place in places)]
        old, new = self._regression, self._fresh()
        weights, g2 = old.weights, old.optimizer.g2
        new.intercept = old.intercept
        new.optimizer.n_iterations = old.optimizer.n_iterations

        def carry(token: str, source: str) -> None:
            if source in weights:
                new.know(token, weights[source], g2[source] * _FRESHNESS)

        for name, sources in came_from.items():
            for at, source in enumerate(sources):
                carry(f"{name}={at}", f"{name}={source}")
        self._regression = new
        self._plan = self._planned()

    # -- bytes ---------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """The model as bytes: a header, then JSON whose numbers read back as they were."""
        regression = self._regression
        weights, g2 = regression.weights, regression.optimizer.g2
        state = {
            "id": self.id,
            "inputs": self.inputs,
            "honest_share": self.honest_share,
            "rate": self.rate,
            "lessons": self.lessons,
            "honest": self._honest,
            "bins": {name: bins.state() for name, bins in self._bins.items()},
            "intercept": regression.intercept,
            "steps": regression.optimizer.n_iterations,
            "weights": [(name, weight, g2.get(name, 0.0)) for name, weight in weights.items()],
        }
        return MAGIC + bytes((VERSION,)) + orjson.dumps(state)

    @classmethod
    def load(cls, stored: bytes) -> BinnedRegression:
        """The model that ``dump`` wrote."""
        state = _opened(stored)
        model = cls(
            state["id"],
            tuple(state["inputs"]),
            honest_share=state["honest_share"],
            rate=state["rate"],
        )
        model.lessons, model._honest = state["lessons"], state["honest"]
        model._bins = {name: Bins.restored(state["bins"][name]) for name in model.inputs}
        model._plan = model._planned()
        regression = model._regression
        regression.intercept = state["intercept"]
        regression.optimizer.n_iterations = state["steps"]
        for name, weight, squares in state["weights"]:
            regression.know(name, weight, squares)
        return model


def _opened(stored: bytes) -> dict[str, Any]:
    """The state behind the header."""
    if stored[:3] != MAGIC or len(stored) < 4:
        raise ModelError(
            f"a stored model begins with {MAGIC!r} and a version, got {stored[:4]!r}: "
            "it is damaged or something else; take an older snapshot"
        )
    if stored[3] != VERSION:
        raise ModelError(
            f"a stored model has format {stored[3]}, this program reads {VERSION}: "
            "run the program that wrote it"
        )
    state: dict[str, Any] = orjson.loads(stored[4:])
    return state


#: What the champion looks at. A name here must stand in ``catalogue.py`` (a test sees to it).
INPUTS: Final = (
    "event.amount",
    "event.hour",
    "event.is_weekend",
    "customer.count.1m",
    "customer.count.1h",
    "customer.count.24h",
    "customer.count.7d",
    "customer.count.30d",
    "customer.sum.amount.1h",
    "customer.sum.amount.24h",
    "customer.sum.amount.7d",
    "customer.sum.amount.30d",
    "customer.mean.amount.1h",
    "customer.mean.amount.24h",
    "customer.mean.amount.7d",
    "customer.mean.amount.30d",
    "customer.zscore.amount.14d",
    "customer.ratio.amount.30d",
    "customer.median_ratio.amount.30d",
    "customer.max_ratio.amount.7d",
    "customer.outliers.amount.3d",
    "customer.outliers.amount.14d",
    "customer.mean_ratio.amount.24h.30d",
    "customer.mean_ratio.amount.7d.30d",
    "customer.since_last",
    "customer.new_payee",
    "customer.fraud_count.7d",
    "customer.fraud_count.30d",
    "customer.since_fraud.30d",
    "payee.count.1m",
    "payee.count.1h",
    "payee.count.24h",
    "payee.count.7d",
    "payee.count.30d",
    "payee.sum.amount.1h",
    "payee.sum.amount.24h",
    "payee.sum.amount.7d",
    "payee.sum.amount.30d",
    "payee.mean.amount.1h",
    "payee.mean.amount.24h",
    "payee.mean.amount.7d",
    "payee.mean.amount.30d",
    "payee.since_last",
    "payee.fraud_count.7d",
    "payee.fraud_count.30d",
    "payee.fraud_risk.1d",
    "payee.fraud_risk.3d",
    "payee.fraud_risk.7d",
    "payee.fraud_risk.14d",
    "payee.fraud_risk.30d",
    "payee.since_fraud.30d",
    "payee.fraud_run.30d",
    "payee.fraud_run_age.30d",
    "payee.honest_since_fraud.30d",
    "payee.fraud_age.37d",
    "payee.quiet_frauds.37d",
    "payee.quiet_fraud_age.37d",
    "payee.since_quiet_fraud.37d",
)


def binned() -> BinnedRegression:
    """Each feature by itself. Pairs of features were tried and gained nothing beside these."""
    return BinnedRegression("binned", INPUTS)


#: The models, the champion first. Each is made without a lesson.
MODELS: tuple[tuple[str, Callable[[], BinnedRegression]], ...] = (("binned", binned),)


def champion() -> BinnedRegression:
    """The model whose score decides, before its first lesson."""
    return MODELS[0][1]()


def load(stored: bytes) -> BinnedRegression:
    """Any stored model of the catalogue."""
    return BinnedRegression.load(stored)
