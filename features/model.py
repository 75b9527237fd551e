"""Which models rank events, and how does one learn? The only place that knows River.

    features -> bins -> one-hot -> River's logistic regression (AdaGrad) -> probability

``score_one`` changes nothing; ``learn_one`` takes the features *as they were scored* and what
became known since. A model is a pure function of its lessons in their order: ``dump`` and ``load``
give back the same answers and the same future. Missing and null features have a bin of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any, Final, Protocol

from river import linear_model, optim

from features.bins import REFITS, Bins
from features.moment import Value

#: What a stored model begins with; the byte after it is the version of the format.
MAGIC: Final = b"RBM"
VERSION: Final = 1

_NUMBER: Final = re.compile(r"[=~]\d+")  # of a token, what is not a name

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
    """One reason for a score: a feature (or a pair), its share of the logit, its value."""

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
    """Logistic regression over binned features and pairs of them, learnt one lesson at a time."""

    def __init__(
        self,
        id: str,  # noqa: A002  a model's id is its id
        inputs: tuple[str, ...],
        crosses: tuple[tuple[str, str], ...] = (),
        *,
        honest_share: float = 1.0,
        rate: float = 0.1,
    ) -> None:
        """Of the honest lessons only ``honest_share`` is learnt, and scores are set right for it.

        Which ones is a fixed function of their count, so that a replay learns the same.
        """
        self.id = id
        self.inputs, self.crosses = inputs, crosses
        self.honest_share, self.rate = honest_share, rate
        self.lessons = self._honest = 0
        self._bins = {name: Bins() for name in inputs}
        self._regression = self._fresh()

    def _fresh(self) -> _Regression:
        return _Regression(optimizer=optim.AdaGrad(self.rate))

    # -- answers -------------------------------------------------------------------------------

    def _hot(self, features: Mapping[str, Value]) -> dict[str, int]:
        """The inputs that are on: one a feature, one a pair."""
        get = features.get
        bins = {name: into(get(name)) for name, into in self._bins.items()}
        hot = {f"{name}={at}": 1 for name, at in bins.items()}
        for one, other in self.crosses:
            hot[f"{one}~{_coarse(bins[one])}&{other}~{_coarse(bins[other])}"] = 1
        return hot

    def score_one(self, features: Mapping[str, Value]) -> float:
        """The probability of fraud, 0 to 1. Changes nothing."""
        logit = self._regression.logit(self._hot(features)) + log(self.honest_share)
        return 1.0 / (1.0 + exp(-logit)) if logit > -_STEEP else 0.0

    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]:
        """The parts of the logit that are greatest, either way; without it the score moves most."""
        weights = self._regression.weights
        found = [
            Factor(_NUMBER.sub("", token), share, None)
            for token in self._hot(features)
            if (share := float(weights.get(token, 0.0)))
        ]
        found.sort(key=lambda factor: (-abs(factor.share), factor.feature))
        return [
            Factor(factor.feature, factor.share, features.get(factor.feature))
            for factor in found[:top]
        ]

    # -- lessons -------------------------------------------------------------------------------

    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None:
        """One lesson: these features, as scored, were of a fraud or were not."""
        self.lessons += 1
        if self.lessons <= REFITS[-1]:
            for name, bins in self._bins.items():
                bins.count(features.get(name))
            if self.lessons in REFITS:
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
                new.know(token, weights[source], g2[source])

        for name, sources in came_from.items():
            for at, source in enumerate(sources):
                carry(f"{name}={at}", f"{name}={source}")
        for one, other in self.crosses:
            for at, source in _pairs(came_from[one]):
                for at2, source2 in _pairs(came_from[other]):
                    carry(f"{one}~{at}&{other}~{at2}", f"{one}~{source}&{other}~{source2}")
        self._regression = new
        if self.lessons >= REFITS[-1]:
            for bins in self._bins.values():
                bins.cells = {}

    # -- bytes ---------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """The model as bytes: a header, then JSON whose numbers read back as they were."""
        regression = self._regression
        weights, g2 = regression.weights, regression.optimizer.g2
        state = {
            "id": self.id,
            "inputs": self.inputs,
            "crosses": self.crosses,
            "honest_share": self.honest_share,
            "rate": self.rate,
            "lessons": self.lessons,
            "honest": self._honest,
            "bins": {name: bins.state() for name, bins in self._bins.items()},
            "intercept": regression.intercept,
            "steps": regression.optimizer.n_iterations,
            "weights": [(name, weight, g2.get(name, 0.0)) for name, weight in weights.items()],
        }
        return MAGIC + bytes((VERSION,)) + json.dumps(state, separators=(",", ":")).encode()

    @classmethod
    def load(cls, stored: bytes) -> BinnedRegression:
        """The model that ``dump`` wrote."""
        state = _opened(stored)
        model = cls(
            state["id"],
            tuple(state["inputs"]),
            tuple((one, other) for one, other in state["crosses"]),
            honest_share=state["honest_share"],
            rate=state["rate"],
        )
        model.lessons, model._honest = state["lessons"], state["honest"]
        model._bins = {name: Bins.restored(state["bins"][name]) for name in model.inputs}
        regression = model._regression
        regression.intercept = state["intercept"]
        regression.optimizer.n_iterations = state["steps"]
        for name, weight, squares in state["weights"]:
            regression.know(name, weight, squares)
        return model


def _coarse(at: int) -> int:
    """The bin of a pair: two neighbours together, no value by itself."""
    return (at + 1) // 2


def _pairs(sources: list[int]) -> list[tuple[int, int]]:
    """Of each coarse bin, the coarse bin it came from."""
    return list({_coarse(at): _coarse(source) for at, source in enumerate(sources)}.items())


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
    state: dict[str, Any] = json.loads(stored[4:])
    return state


#: What the champion looks at. A name here must stand in ``catalogue.py`` (a test sees to it).
INPUTS: Final = (
    "event.amount",
    "event.hour",
    "event.is_weekend",
    "customer.count.24h",
    "customer.count.7d",
    "customer.count.30d",
    "customer.mean.amount.24h",
    "customer.mean.amount.7d",
    "customer.mean.amount.30d",
    "customer.zscore.amount.14d",
    "customer.ratio.amount.30d",
    "customer.since_last",
    "customer.new_payee",
    "customer.fraud_count.7d",
    "customer.fraud_count.30d",
    "customer.since_fraud.30d",
    "payee.count.24h",
    "payee.count.7d",
    "payee.count.30d",
    "payee.since_last",
    "payee.fraud_count.7d",
    "payee.fraud_count.30d",
    "payee.fraud_risk.1d",
    "payee.fraud_risk.7d",
    "payee.fraud_risk.30d",
    "payee.since_fraud.30d",
    "payee.fraud_run.30d",
    "payee.fraud_run_age.30d",
)


def binned() -> BinnedRegression:
    """Each feature by itself: about 30 us a lesson, 3 kB a thousand weights."""
    return BinnedRegression("binned", INPUTS)


#: The models, the champion first. Each is made without a lesson.
MODELS: tuple[tuple[str, Callable[[], BinnedRegression]], ...] = (("binned", binned),)


def champion() -> BinnedRegression:
    """The model whose score decides, before its first lesson."""
    return MODELS[0][1]()


def load(stored: bytes) -> BinnedRegression:
    """Any stored model of the catalogue."""
    return BinnedRegression.load(stored)
