"""How well does the textbook's model do on the same stream? The yardstick of all others.

The Fraud Detection Handbook's features (amount, night, weekend, the customer's counts and means
over 1, 7 and 30 days, the terminal's counts and its risk from labels 7 days old), brought to zero
mean and unit variance as they come, into River's logistic regression. (Le Borgne et al.:
Reproducible Machine Learning for Credit Card Fraud Detection, chapters 3 and 5.)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, isfinite, sqrt
from typing import Any, ClassVar, Final

import orjson
from river import optim

from features.model import Factor, Regression, factors_of, opened, sealed
from features.moment import Value

INPUTS: Final = (
    "event.amount",
    "event.is_night",
    "event.is_weekend",
    "customer.count.24h",
    "customer.count.7d",
    "customer.count.30d",
    "customer.mean.amount.24h",
    "customer.mean.amount.7d",
    "customer.mean.amount.30d",
    "payee.count.24h",
    "payee.count.7d",
    "payee.count.30d",
    "payee.fraud_risk.1d",
    "payee.fraud_risk.7d",
    "payee.fraud_risk.30d",
)

_FARTHEST: Final = 8.0  # standard deviations; what lies beyond counts as this far
_STEEP: Final = 700.0


class PlainRegression:
    """Logistic regression over standardised features; a missing one counts as its mean."""

    kind: ClassVar = "logistic regression"

    def __init__(self, id: str, inputs: tuple[str, ...], *, rate: float = 0.01) -> None:  # noqa: A002  a model's id is its id
        self.id, self.inputs, self.rate = id, inputs, rate
        self.lessons = 0
        self._seen = dict.fromkeys(inputs, (0, 0.0, 0.0))  # count, mean, sum of squares
        self._regression = Regression(optimizer=optim.SGD(rate))

    @property
    def spec(self) -> Mapping[str, Any]:
        """Kind, inputs and constants."""
        return {"kind": self.kind, "id": self.id, "inputs": self.inputs, "rate": self.rate}

    def _scaled(self, features: Mapping[str, Value]) -> dict[str, float]:
        scaled = {}
        for name, (count, mean, squares) in self._seen.items():
            value = features.get(name)
            if value is None or not isfinite(value) or not squares:
                continue
            distance = (value - mean) / sqrt(squares / count)
            scaled[name] = max(-_FARTHEST, min(_FARTHEST, distance))
        return scaled

    def score_one(self, features: Mapping[str, Value]) -> float:
        """The probability of fraud, 0 to 1. Changes nothing."""
        logit = self._regression.logit(self._scaled(features))
        return 1.0 / (1.0 + exp(-logit)) if logit > -_STEEP else 0.0

    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]:
        """Weight times distance from the mean: a missing value counts as the mean."""
        weight = self._regression.weight
        parts = ((weight(name) * value, name) for name, value in self._scaled(features).items())
        return factors_of(parts, features, top)

    def tell_one(self, features: Mapping[str, Value], top: int = 5) -> tuple[float, list[Factor]]:
        """Probability and factors."""
        return self.score_one(features), self.explain_one(features, top)

    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None:
        """One lesson: these features, as scored, were of a fraud or were not."""
        self.lessons += 1
        for name, (count, mean, squares) in self._seen.items():
            value = features.get(name)
            if value is None or not isfinite(value) or abs(value) > 1e15:
                continue
            moved = value - mean
            now = mean + moved / (count + 1)
            self._seen[name] = (count + 1, now, squares + moved * (value - now))
        self._regression.learn_one(self._scaled(features), fraud)

    def dump(self) -> bytes:
        """The model as bytes: a header, then JSON whose numbers read back as they were."""
        regression = self._regression
        state = {
            "rate": self.rate,
            "inputs": self.inputs,
            "lessons": self.lessons,
            "seen": self._seen,
            "intercept": regression.intercept,
            "steps": regression.optimizer.n_iterations,
            "weights": list(regression.weights.items()),
        }
        return sealed(self.id, orjson.dumps(state))

    @classmethod
    def load(cls, stored: bytes) -> PlainRegression:
        """The model that ``dump`` wrote."""
        name, payload = opened(stored)
        state: dict[str, Any] = orjson.loads(payload)
        model = cls(name, tuple(state["inputs"]), rate=state["rate"])
        model.lessons = state["lessons"]
        model._seen = {
            name: (count, mean, squares) for name, (count, mean, squares) in state["seen"].items()
        }
        regression = model._regression
        regression.intercept = state["intercept"]
        regression.optimizer.n_iterations = state["steps"]
        for token, weight in state["weights"]:
            regression.know(token, weight)
        return model
