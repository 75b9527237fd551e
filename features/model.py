"""How does a model rank events and learn, and what are its bytes? The binned regression's place.

    features -> bins -> one-hot -> River's logistic regression (AdaGrad) -> probability

``score_one`` changes nothing; ``learn_one`` takes the features *as they were scored* and what
became known since. A model is a pure function of its lessons in their order: ``dump`` and ``load``
give back the same answers and the same future. Missing and null features have a bin of their own.
Which models there are stands in ``models.py``.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from math import exp, log
from operator import sub
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import orjson
from river import linear_model

from features.bins import Bins, counted, refitted
from features.moment import Value
from features.onehot import OneHot

#: What a stored model begins with; the byte after it is the version of the format.
#: 1: the JSON of a binned regression. 2: a byte that tells the id's length, the id, the payload.
MAGIC: Final = b"RBM"
VERSION: Final = 2

#: What a new bin keeps of the squared gradients of the old one at its place: little, so that it
#: learns fast again what sets it apart (0.004 of average precision on the handbook's data).
_FRESHNESS: Final = 0.1

_STEEP: Final = 700.0  # beyond, exp() overflows
_SURE: Final = 1e-12  # a probability nearer to 0 or 1 counts as this near

#: So many lessons wait until the bins count them.
_COUNTED_AT_ONCE: Final = 64

#: Of a crossed feature: 0 is no value, else 1 to LEVELS by its bin's place among its bins.
LEVELS: Final = 6


class ModelError(ValueError):
    """A stored model can't be read."""


class Model(Protocol):
    """What the flow needs of a model."""

    @property
    def id(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]:
        """The features that it looks at; it is handed all and must not miss the others."""
        ...

    @property
    def lessons(self) -> int: ...
    @property
    def spec(self) -> Mapping[str, Any]:
        """What it is before its first lesson, as JSON; changed, it is another model."""
        ...

    def score_one(self, features: Mapping[str, Value]) -> float: ...
    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None: ...
    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]: ...
    def tell_one(self, features: Mapping[str, Value], top: int = 5) -> tuple[float, list[Factor]]:
        """What ``score_one`` and ``explain_one`` say, in one turn."""
        ...

    def dump(self) -> bytes: ...


class Factor(NamedTuple):
    """One reason for a score: how much less the log odds would be without this feature's value.

    ``share`` is its part (0 to 1) of all such differences, whichever way they point.
    """

    feature: str
    weight: float
    share: float
    value: Value


def factors_of(
    parts: Iterable[tuple[float, str]], features: Mapping[str, Value], top: int
) -> list[Factor]:
    """The greatest parts of a logit, either way, as factors; ``parts`` are (weight, feature)."""
    moved = [(abs(weight), name, weight) for weight, name in parts if weight]
    whole = sum(one[0] for one in moved) or 1.0
    return [
        Factor(name, weight, size / whole, features.get(name))
        for size, name, weight in nlargest(top, moved)
    ]


def logit(probability: float) -> float:
    """Log odds; finite for 0 and 1 too."""
    sure = min(max(probability, _SURE), 1.0 - _SURE)
    return log(sure / (1.0 - sure))


def left_out(model: Model, features: Mapping[str, Value], top: int) -> list[Factor]:
    """Factors of any model, by leaving out one value after the other: one score an input."""
    known = dict(features)
    whole = logit(model.score_one(known))
    parts = []
    for name in model.inputs:
        value = known.get(name)
        if value is None:
            continue
        known[name] = None
        parts.append((whole - logit(model.score_one(known)), name))
        known[name] = value
    return factors_of(parts, features, top)


def sealed(model_id: str, payload: bytes) -> bytes:
    """A stored model: the header, its id, its own bytes."""
    name = model_id.encode("ascii")
    return MAGIC + bytes((VERSION, len(name))) + name + payload


def opened(stored: bytes) -> tuple[str, bytes]:
    """Id and payload of a stored model of any format so far."""
    if stored[:3] != MAGIC or len(stored) < 5:
        raise ModelError(
            f"a stored model begins with {MAGIC!r} and a version, got {stored[:4]!r}: "
            "it is damaged or something else; take an older snapshot"
        )
    if stored[3] == 1:
        return str(orjson.loads(stored[4:])["id"]), stored[4:]
    if stored[3] != VERSION:
        raise ModelError(
            f"a stored model has format {stored[3]}, this program reads up to {VERSION}: "
            "run the program that wrote it"
        )
    ends = 5 + stored[4]
    return stored[5:ends].decode("ascii", "replace"), stored[ends:]


def recipe_sha256(model: Model) -> str:
    """What a card names a model by: the SHA-256 of its spec, whatever it has learnt."""
    return hashlib.sha256(orjson.dumps(model.spec, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Regression(linear_model.LogisticRegression):
    """River's logistic regression, with a way to give it what it once knew."""

    def logit(self, hot: dict[str, int] | dict[str, float]) -> float:
        """Log odds of fraud."""
        return float(self._raw_dot_one(hot))

    def weight(self, token: str) -> float:
        """One weight; 0 of what was never learnt."""
        found: float = self._weights.get(token, 0.0)
        return found

    def know(self, token: str, weight: float) -> None:
        """Set one weight."""
        self._weights[token] = weight


class BinnedRegression:
    """Logistic regression over binned features, and pairs of them, learnt one lesson at a time."""

    kind: ClassVar = "binned regression"

    def __init__(
        self,
        id: str,  # noqa: A002  a model's id is its id
        inputs: tuple[str, ...],
        *,
        honest_share: float = 1.0,
        rate: float = 0.1,
        crosses: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Of the honest lessons only ``honest_share`` is learnt, and scores are set right for it.

        Which ones is a fixed function of their count, so that a replay learns the same.
        """
        self.id = id
        self.inputs = inputs
        self.honest_share, self.rate, self.crosses = honest_share, rate, crosses
        self.lessons = self._honest = 0
        self._bins = {name: Bins() for name in inputs}
        self._uncounted: list[list[Value]] = []  # values that the bins are to count, a lesson each
        self._place = {name: at for at, name in enumerate(inputs)}
        self._plan()
        self._regression = self._fresh()

    @property
    def spec(self) -> Mapping[str, Any]:
        """Kind, inputs and constants."""
        return {
            "kind": self.kind,
            "id": self.id,
            "inputs": self.inputs,
            "honest_share": self.honest_share,
            "rate": self.rate,
            "crosses": self.crosses,
        }

    def _plan(self) -> None:
        """Lay the places out: of each input its bins one after the other, then the crosses."""
        self._edges = [bins.edges for bins in self._bins.values()]
        self._base: list[int] = []  # of each input, the place of its bin of no value
        self._tokens: list[str] = []  # of each place, its name in a snapshot
        for name, bins in self._bins.items():
            self._base.append(len(self._tokens))
            self._tokens += [f"{name}={at}" for at in range(len(bins.edges) + 2)]
        self._pairs: list[tuple[int, int, int]] = []  # two inputs, the place of no value of either
        span = range(LEVELS + 1)
        for one, other in self.crosses:
            self._pairs.append((self._place[one], self._place[other], len(self._tokens)))
            self._tokens += [f"{one}*{other}={at},{beside}" for at in span for beside in span]

    def _fresh(self) -> OneHot:
        return OneHot(self.rate, len(self._tokens))

    # -- answers -------------------------------------------------------------------------------

    def _hot(self, features: Mapping[str, Value]) -> list[int]:
        """Of each input the one bin that is on, and of each cross the one pair of levels."""
        hot = [
            base if value is None or value != value else base + 1 + bisect_left(edges, value)  # noqa: PLR0124  NaN is no value either
            for value, edges, base in zip(
                map(features.get, self.inputs), self._edges, self._base, strict=True
            )
        ]
        for one, other, base in self._pairs:
            at, beside = self._level(hot, one), self._level(hot, other)
            hot.append(base + at * (LEVELS + 1) + beside)
        return hot

    def _level(self, hot: Sequence[int], at: int) -> int:
        """The bin that is on among only so many: 0 is no value, else 1 to `LEVELS`."""
        place = hot[at] - self._base[at]
        return 0 if place == 0 else 1 + (place - 1) * LEVELS // (len(self._edges[at]) + 1)

    def score_one(self, features: Mapping[str, Value]) -> float:
        """The probability of fraud, 0 to 1. Changes nothing."""
        return self._probability(self._regression.weigh(self._hot(features)))

    def _probability(self, weights: Sequence[float]) -> float:
        logit = self._regression.logit(weights) + log(self.honest_share)
        return 1.0 / (1.0 + exp(-logit)) if logit > -_STEEP else 0.0

    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]:
        """The features whose values move the logit most against not being known.

        Exact, for the logit is a sum: what the bin that is on weighs, less the bin of no value.
        """
        return self.tell_one(features, top)[1]

    def tell_one(self, features: Mapping[str, Value], top: int = 5) -> tuple[float, list[Factor]]:
        """Probability and factors in one look at the features."""
        hot = self._hot(features)
        weights = self._regression.weigh(hot)
        return self._probability(weights), self._factors(hot, weights, features, top)

    def _factors(
        self, hot: list[int], weights: list[float], features: Mapping[str, Value], top: int
    ) -> list[Factor]:
        """This runs for every event: what can be one call over all inputs is."""
        weigh = self._regression.weigh
        moved = list(map(sub, weights, weigh(self._base)))  # as long as the shorter, the inputs
        for one, other, base in self._pairs:
            at, beside = self._level(hot, one), self._level(hot, other)
            row = base + at * (LEVELS + 1)
            both, first, second = weigh((row + beside, base + beside, row))
            moved[one] += both - first
            moved[other] += both - second
        sizes = list(map(abs, moved))
        whole = sum(sizes) or 1.0
        inputs, get = self.inputs, features.get
        least = min(sorted(sizes, reverse=True)[:top], default=0.0)
        greatest = [at for at, size in enumerate(sizes) if size >= least]
        greatest.sort(key=sizes.__getitem__, reverse=True)
        return [
            Factor(inputs[at], moved[at], sizes[at] / whole, get(inputs[at]))
            for at in greatest[:top]
            if sizes[at]
        ]

    # -- lessons -------------------------------------------------------------------------------

    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None:
        """One lesson: these features, as scored, were of a fraud or were not."""
        self._learn(self._hot(features), features, fraud)

    def teach_one(self, features: Mapping[str, Value], fraud: bool) -> float:
        """Learn as ``learn_one`` does, and give what ``score_one`` said before."""
        hot = self._hot(features)
        said = self._probability(self._regression.weigh(hot))
        self._learn(hot, features, fraud)
        return said

    def _learn(self, hot: list[int], features: Mapping[str, Value], fraud: bool) -> None:
        self.lessons += 1
        if counted(self.lessons):
            self._uncounted.append(list(map(features.get, self.inputs)))
            if len(self._uncounted) == _COUNTED_AT_ONCE:
                self._count()
        if refitted(self.lessons):
            self._refit()
            hot = self._hot(features)
        if not fraud:
            before = int(self._honest * self.honest_share)
            self._honest += 1
            if int(self._honest * self.honest_share) == before:
                return
        self._regression.learn(hot, fraud)

    def _count(self) -> None:
        """Let the bins count what waits for it: many lessons at once are cheaper, and the same."""
        if self._uncounted:
            for bins, values in zip(
                self._bins.values(), zip(*self._uncounted, strict=True), strict=True
            ):
                bins.count_all(values)
            self._uncounted.clear()

    def _refit(self) -> None:
        """Set the bin edges anew; a new bin starts with what the old one at its place knew."""
        self._count()
        old, bases, pairs = self._regression, self._base, self._pairs
        came_from: list[list[int]] = []
        for bins in self._bins.values():
            former = Bins()
            former.edges = bins.fit()
            came_from.append([0, *map(former, (*bins.edges, float("inf")))])
        self._plan()
        self._regression = new = self._fresh()
        new.intercept = old.intercept
        new.optimizer.n_iterations = old.optimizer.n_iterations

        def carry(place: int, source: int) -> None:
            if old.knows(source):
                new.know(place, old.values[source], old.squares[source] * _FRESHNESS)

        for base, before, sources in zip(self._base, bases, came_from, strict=True):
            for at, source in enumerate(sources):
                carry(base + at, before + source)
        if pairs:  # a level is a place among the bins, and means the same after the refit
            moved = self._pairs[0][2] - pairs[0][2]
            for place, _, _ in old.known():
                if place >= pairs[0][2]:
                    carry(place + moved, place)

    # -- bytes ---------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """The model as bytes: a header, then JSON whose numbers read back as they were."""
        self._count()
        regression = self._regression
        tokens = self._tokens
        state = {
            "id": self.id,
            "inputs": self.inputs,
            "honest_share": self.honest_share,
            "rate": self.rate,
            "crosses": self.crosses,
            "lessons": self.lessons,
            "honest": self._honest,
            "bins": {name: bins.state() for name, bins in self._bins.items()},
            "intercept": regression.intercept,
            "steps": regression.optimizer.n_iterations,
            "weights": [(tokens[at], weight, square) for at, weight, square in regression.known()],
        }
        return sealed(self.id, orjson.dumps(state))

    @classmethod
    def load(cls, stored: bytes) -> BinnedRegression:
        """The model that ``dump`` wrote."""
        state: dict[str, Any] = orjson.loads(opened(stored)[1])
        model = cls(
            state["id"],
            tuple(state["inputs"]),
            honest_share=state["honest_share"],
            rate=state["rate"],
            crosses=tuple((one, other) for one, other in state.get("crosses", ())),
        )
        model.lessons, model._honest = state["lessons"], state["honest"]
        model._bins = {name: Bins.restored(state["bins"][name]) for name in model.inputs}
        model._plan()
        regression = model._regression = model._fresh()
        regression.intercept = state["intercept"]
        regression.optimizer.n_iterations = state["steps"]
        places = {token: at for at, token in enumerate(model._tokens)}
        for token, weight, square in state["weights"]:
            if token not in places:
                raise ModelError(
                    f"a stored model: needed a weight of one of its bins, got one of {token!r}: "
                    "it is damaged; take an older snapshot"
                )
            regression.know(places[token], weight, square)
        return model


#: What the regressions look at. A name here must stand in ``catalogue.py`` (a test sees to it).
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
