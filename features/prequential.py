"""How well did each model rank what it had not learnt yet? By week, by scenario, by label source.

Test, then learn (Gama, Sebastião, Rodrigues: On evaluating stream learning algorithms, Machine
Learning 2013), with labels as late as they are: each label is compared with what the model said
when the event was scored. A scenario's frauds are ranked against all honest events of the week. A
model is measured where it spoke, which may be on fewer events than another: see ``events``.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from features.moment import DAY, SECOND
from features.quality import average_precision, roc_auc

WEEK_US: Final = 7 * DAY
_FIRST_WEDNESDAY: Final = 6 * DAY
_SURE: Final = 1e-9


class Lesson(Protocol):
    """A label, and what each model had said of its event."""

    @property
    def source(self) -> str: ...
    @property
    def time_us(self) -> int: ...
    @property
    def fraud(self) -> bool: ...
    @property
    def scenario(self) -> str: ...
    @property
    def scores(self) -> Mapping[str, float]: ...


class Figures(NamedTuple):
    """One model in one week by the labels of one source; of all scenarios, or of one.

    ``average_precision`` and ``roc_auc`` are None where there is no fraud, or nothing else;
    ``log_loss`` is the mean of -log of what was said of the truth.
    """

    model: str
    week: str
    source: str
    scenario: str
    events: int
    frauds: int
    average_precision: float | None
    roc_auc: float | None
    log_loss: float


ALL: Final = "all"


def week_of(time_us: int) -> str:
    """The Wednesday (UTC) that an event's week begins with, as a date."""
    start = time_us - (time_us - _FIRST_WEDNESDAY) % WEEK_US
    return datetime.fromtimestamp(start // SECOND, tz=UTC).date().isoformat()


class Table:
    """Takes lessons one by one, in a few bytes each, and gives the figures of all of them."""

    def __init__(self) -> None:
        self._scenarios: dict[str, int] = {"": 0}
        self._told: dict[tuple[str, str, str], tuple[bytearray, array[int], array[float]]] = {}

    def add(self, lesson: Lesson) -> None:
        """One more label, with what each model had said."""
        week = week_of(lesson.time_us)
        scenario = self._scenarios.setdefault(lesson.scenario, len(self._scenarios))
        for model, score in lesson.scores.items():
            key = (model, week, lesson.source)
            if key not in self._told:
                self._told[key] = (bytearray(), array("H"), array("d"))
            frauds, scenarios, scores = self._told[key]
            frauds.append(lesson.fraud)
            scenarios.append(scenario)
            scores.append(score)

    def figures(self) -> list[Figures]:
        """By model, week, source and scenario."""
        table: list[Figures] = []
        for (model, week, source), (frauds, scenarios, scores) in sorted(self._told.items()):
            fraud = np.frombuffer(frauds, dtype=np.uint8).astype(bool)
            said = np.array(scores)
            of = np.array(scenarios)
            table.append(_of(model, week, source, ALL, fraud, said))
            for scenario, number in sorted(self._scenarios.items()):
                if scenario and (fraud & (of == number)).any():
                    here = ~fraud | (of == number)
                    table.append(_of(model, week, source, scenario, fraud[here], said[here]))
        return table


def figures(lessons: Iterable[Lesson]) -> list[Figures]:
    """The figures of these lessons."""
    table = Table()
    for lesson in lessons:
        table.add(lesson)
    return table.figures()


def _of(model: str, week: str, source: str, scenario: str, fraud: Any, score: Any) -> Figures:
    said = np.clip(np.where(fraud, score, 1.0 - score), _SURE, 1.0)
    return Figures(
        model,
        week,
        source,
        scenario,
        len(fraud),
        int(fraud.sum()),
        average_precision(fraud, score),
        roc_auc(fraud, score),
        float(-np.log(said).mean()),
    )


def means(table: Iterable[Figures]) -> dict[str, dict[str, float | int]]:
    """Of each model, over weeks and sources: events, frauds, and means weighted by frauds."""
    rows: dict[str, list[Figures]] = defaultdict(list)
    for row in table:
        if row.scenario == ALL and row.average_precision is not None:
            rows[row.model].append(row)
    out: dict[str, dict[str, float | int]] = {}
    for model, found in rows.items():
        frauds = sum(row.frauds for row in found)
        out[model] = {
            "events": sum(row.events for row in found),
            "frauds": frauds,
            "average_precision": sum((row.average_precision or 0) * row.frauds for row in found)
            / frauds,
            "log_loss": sum(row.log_loss * row.events for row in found)
            / sum(row.events for row in found),
        }
    return out
