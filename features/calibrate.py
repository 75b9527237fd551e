"""Of payments that score 0.3, is three in ten a fraud? A map from what a model says to what came.

    model's log odds -> cells -> known frauds and honest ones -> rising steps -> a rising line

Isotonic regression (pool adjacent violators: Ayer et al. 1955, Zadrozny and Elkan 2002), learnt one
label at a time over cells of the log odds, and drawn as a line through the middle of each step, so
that it rises everywhere: of two events the one that scored higher still does. A cell leans on what
the model said with the weight of a few lessons, so few labels move it little; old lessons fade.

``Calibrated`` puts the map behind a model, and is a model itself: one snapshot, one history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from math import exp
from typing import Any, ClassVar, Final, Protocol

import orjson

from features.model import Factor, Model, ModelError, logit, opened, sealed
from features.moment import Value

#: Log odds beyond this count in the outermost cell.
FARTHEST: Final = 12.0
CELL: Final = 0.5
CELLS: Final = int(2 * FARTHEST / CELL)

#: With how many lessons a cell leans on what the model said.
LEANS: Final = 10.0

#: After so many lessons the map is drawn anew; after so many, an old lesson counts half.
DRAWN_EVERY: Final = 500
HALVED_EVERY: Final = 50_000

#: So many frauds and lessons first; until then the model's word stands.
FRAUDS_FIRST: Final = 30
LESSONS_FIRST: Final = 2_000

_HEADER: Final = b"\x01cal"


class Calibrator:
    """The map of one model's probabilities to shares of frauds. It rises strictly."""

    def __init__(self) -> None:
        self.lessons = 0
        self._counts = [0.0] * CELLS
        self._frauds = [0.0] * CELLS
        self._places = [0.0] * CELLS  # sums of log odds
        self._seen_frauds = 0
        self._at: list[float] = []
        self._to: list[float] = []

    def score_one(self, probability: float) -> float:
        """The share of frauds to expect among events of this probability. Changes nothing."""
        at = self._at
        if not at:
            return probability
        odds = logit(probability)
        place = bisect_right(at, odds)
        if place == 0:
            moved = self._to[0] + odds - at[0]
        elif place == len(at):
            moved = self._to[-1] + odds - at[-1]
        else:
            low, high = at[place - 1], at[place]
            part = (odds - low) / (high - low)
            moved = self._to[place - 1] + part * (self._to[place] - self._to[place - 1])
        return 1.0 / (1.0 + exp(-moved))

    def learn_one(self, probability: float, fraud: bool) -> None:
        """What the model said of an event before it learnt its label, and the label."""
        odds = max(-FARTHEST, min(FARTHEST, logit(probability)))
        cell = min(CELLS - 1, int((odds + FARTHEST) / CELL))
        self._counts[cell] += 1.0
        self._frauds[cell] += fraud
        self._places[cell] += odds
        self.lessons += 1
        self._seen_frauds += fraud
        if self.lessons % DRAWN_EVERY:
            return
        if self.lessons >= LESSONS_FIRST and self._seen_frauds >= FRAUDS_FIRST:
            self._draw()
        kept = 0.5 ** (DRAWN_EVERY / HALVED_EVERY)
        for column in (self._counts, self._frauds, self._places):
            column[:] = [value * kept for value in column]

    def _draw(self) -> None:
        """Pool cells until the shares rise, and put a knot into the middle of each pool."""
        pools: list[tuple[float, float, float]] = []  # lessons, frauds, sum of log odds
        for count, frauds, places in zip(self._counts, self._frauds, self._places, strict=True):
            if count < 1.0:
                continue
            said = 1.0 / (1.0 + exp(-places / count))
            pool = (count + LEANS, frauds + LEANS * said, places / count * (count + LEANS))
            while pools and pools[-1][1] * pool[0] >= pool[1] * pools[-1][0]:
                before = pools.pop()
                pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
            pools.append(pool)
        self._at = [places / count for count, _, places in pools]
        self._to = [logit(frauds / count) for count, frauds, _ in pools]

    def state(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "lessons": self.lessons,
            "seen_frauds": self._seen_frauds,
            "counts": self._counts,
            "frauds": self._frauds,
            "places": self._places,
            "at": self._at,
            "to": self._to,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Calibrator:
        """The map of that state."""
        found = cls()
        found.lessons, found._seen_frauds = state["lessons"], state["seen_frauds"]
        found._counts, found._frauds = list(state["counts"]), list(state["frauds"])
        found._places = list(state["places"])
        found._at, found._to = list(state["at"]), list(state["to"])
        return found


class Pupil(Model, Protocol):
    """A model that says in one turn what it thought of an event, and learns its label."""

    def teach_one(self, features: Mapping[str, Value], fraud: bool) -> float: ...


class Calibrated:
    """A model whose probabilities are shares of frauds; it ranks, and explains, as that one does.

    Factors are of the model's own log odds: the map is the same for every event.
    """

    kind: ClassVar = "calibrated"

    def __init__(self, model: Pupil, calibrator: Calibrator | None = None) -> None:
        self.model = model
        self.id, self.inputs = model.id, model.inputs
        self.calibrator = Calibrator() if calibrator is None else calibrator

    @property
    def lessons(self) -> int:
        """How many the model has learnt."""
        return self.model.lessons

    @property
    def spec(self) -> Mapping[str, Any]:
        """The model's own, and the constants of the map."""
        constants = (FARTHEST, CELL, LEANS, DRAWN_EVERY, HALVED_EVERY, FRAUDS_FIRST, LESSONS_FIRST)
        return {"kind": self.kind, "of": self.model.spec, "constants": constants}

    def score_one(self, features: Mapping[str, Value]) -> float:
        """The share of frauds among events like this, 0 to 1. Changes nothing."""
        return self.calibrator.score_one(self.model.score_one(features))

    def explain_one(self, features: Mapping[str, Value], top: int = 5) -> list[Factor]:
        """The model's factors."""
        return self.model.explain_one(features, top)

    def tell_one(self, features: Mapping[str, Value], top: int = 5) -> tuple[float, list[Factor]]:
        """Probability and factors in one look at the features."""
        probability, factors = self.model.tell_one(features, top)
        return self.calibrator.score_one(probability), factors

    def learn_one(self, features: Mapping[str, Value], fraud: bool) -> None:
        """One lesson, for the map with what the model says before it learns."""
        self.calibrator.learn_one(self.model.teach_one(features, fraud), fraud)

    def dump(self) -> bytes:
        """The model as bytes: the map, then the model's own."""
        state = orjson.dumps(self.calibrator.state())
        size = len(state).to_bytes(4, "little")
        return sealed(self.id, _HEADER + size + state + self.model.dump())

    @classmethod
    def load(cls, stored: bytes, load: Callable[[bytes], Pupil]) -> Calibrated:
        """The model that ``dump`` wrote; one from before the map was begins with a fresh one."""
        _, payload = opened(stored)
        if not payload.startswith(_HEADER):
            return cls(load(stored))
        at = len(_HEADER) + 4
        ends = at + int.from_bytes(payload[len(_HEADER) : at], "little")
        try:
            state = orjson.loads(payload[at:ends])
        except orjson.JSONDecodeError as wrong:
            raise ModelError(
                f"a stored calibrated model: needed the map in bytes {at} to {ends}, got {wrong}: "
                "it is damaged; take an older snapshot"
            ) from wrong
        return cls(load(payload[ends:]), Calibrator.restored(state))
