"""What would trees say? River's adaptive Hoeffding tree, small enough for the path, and a forest
of them, which is not.

Hulten et al. and Bifet, Gavaldà: Adaptive Learning from Evolving Data Streams (IDA 2009); Gomes
et al.: Adaptive random forests for evolving data stream classification (Machine Learning, 2017).
A tree stores what its leaves saw of each input, so inputs and depth are what bounds it: the
default forest reached 137 MB. A payload is a pickle: it is loaded only where its SHA-256 is the
known one, and by the River that wrote it.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import version
from math import copysign, isnan, log1p
from typing import Any, ClassVar, Final

from river import forest, tree

from features.model import Factor, ModelError, left_out, opened, sealed
from features.moment import Value

#: Of the library: its pickles hold for one version alone.
RIVER: Final = version("river")

INPUTS: Final = (
    "event.amount",
    "customer.count.24h",
    "customer.ratio.amount.30d",
    "customer.outliers.amount.3d",
    "customer.since_last",
    "customer.new_payee",
    "customer.since_fraud.30d",
    "payee.count.24h",
    "payee.fraud_count.7d",
    "payee.fraud_risk.7d",
    "payee.fraud_run.30d",
    "payee.since_fraud.30d",
)

_NOTHING: Final = -50.0  # below every log: no value has a place of its own
_LARGEST: Final = 1e18


class _Trees(ABC):
    """A River classifier over the logarithms of a few features."""

    kind: ClassVar[str]
    constants: ClassVar[Mapping[str, Any]]

    def __init__(self, id: str, inputs: tuple[str, ...]) -> None:  # noqa: A002  a model's id is its id
        self.id, self.inputs = id, inputs
        self.lessons = 0
        self._trees = self._fresh()

    @abstractmethod
    def _fresh(self) -> Any:
        """A River classifier that has learnt nothing."""

    @property
    def spec(self) -> Mapping[str, Any]:
        """Kind, inputs and constants."""
        return {"kind": self.kind, "id": self.id, "inputs": self.inputs, **self.constants}

    def _known(self, features: Mapping[str, Value]) -> dict[str, float]:
        known = {}
        for name in self.inputs:
            value = features.get(name)
            if value is None or isnan(value):
                known[name] = _NOTHING
            else:
                known[name] = copysign(log1p(min(abs(value), _LARGEST)), value)
        return known

    def score_one(self, features: Mapping[str, Value]) -> float:
        """The probability of fraud, 0 to 1; 0 before the first lesson. Changes nothing."""
        told: Mapping[bool, float] = self._trees.predict_proba_one(self._known(features))
        return min(1.0, max(0.0, float(told.get(True, 0.0))))

    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]:
        """By leaving out one value after the other: a score for each input."""
        return left_out(self, features, top)

    def tell_one(self, features: Mapping[str, Value], top: int = 5) -> tuple[float, list[Factor]]:
        """Probability and factors."""
        return self.score_one(features), self.explain_one(features, top)

    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None:
        """One lesson: these features, as scored, were of a fraud or were not."""
        self.lessons += 1
        self._trees.learn_one(self._known(features), fraud)

    def dump(self) -> bytes:
        """The trees as bytes: a pickle, with the River that wrote it."""
        state = (RIVER, self.inputs, self.lessons, self._trees)
        return sealed(self.id, pickle.dumps(state, protocol=5))

    @classmethod
    def load(cls, stored: bytes) -> _Trees:
        """Trees that ``dump`` wrote; the caller has compared their SHA-256."""
        name, payload = opened(stored)
        try:
            by, inputs, lessons, trees = pickle.loads(payload)  # noqa: S301  named by its hash
        except Exception as wrong:  # a pickle can fail in any way
            raise ModelError(
                f"{name}: needed a pickle that River {RIVER} can read, got "
                f"{type(wrong).__name__}: let it learn anew, or run the River that wrote it"
            ) from wrong
        if by.split(".")[:2] != RIVER.split(".")[:2]:
            raise ModelError(
                f"{name}: was written by River {by}, this is {RIVER}: let it learn "
                "anew, or run the River that wrote it"
            )
        model = cls(name, tuple(inputs))
        model.lessons, model._trees = lessons, trees
        return model


class HoeffdingTree(_Trees):
    """One adaptive tree of 63 leaves at most; the defaults never split on rare frauds."""

    kind: ClassVar = "adaptive Hoeffding tree"
    constants: ClassVar = {
        "grace_period": 100,
        "delta": 1e-3,
        "tau": 0.1,
        "max_depth": 5,
        "leaf_prediction": "nb",
        "seed": 1,
    }

    def _fresh(self) -> Any:
        return tree.HoeffdingAdaptiveTreeClassifier(**self.constants)


class Forest(_Trees):
    """Ten adaptive trees that vote; 8 levels each hold it at some megabytes."""

    kind: ClassVar = "adaptive random forest"
    constants: ClassVar = {"n_models": 10, "max_depth": 8, "grace_period": 50, "seed": 1}

    def _fresh(self) -> Any:
        return forest.ARFClassifier(**self.constants)
