"""What does a replay say of challengers and of drift? Collected as it runs, told in the report."""

from collections.abc import Mapping
from typing import Any

from flows.files import Truth
from flows.lessons import lesson_of
from flows.score import Drifted, Learnt, Promoted
from risk.events import rfc3339


class Shadowed:
    """Hears lessons and drift. Without challengers no lesson is kept: the report has the champion.

    ``truth`` tells scenarios, which no label of a live flow knows.
    """

    def __init__(self, challengers: bool, truth: Mapping[str, Truth]) -> None:
        from features.prequential import Table

        self._table = Table() if challengers else None
        self._truth = truth
        self._drift: list[Drifted] = []

    def journal(self, learnt: list[Learnt]) -> None:
        """Take what was learnt, before it counts as known."""
        if self._table is None:
            return
        for one in learnt:
            truth = self._truth.get(one.label.event)
            lesson = lesson_of(one, "" if truth is None else truth.scenario)
            if lesson is not None:
                self._table.add(lesson)

    def told(self, happened: list[Promoted | Drifted]) -> None:
        """Take an alarm."""
        self._drift += [one for one in happened if isinstance(one, Drifted)]

    def report(self) -> dict[str, Any]:
        """``{models: {id: [figures]}, drift: [alarms]}`` of the report."""
        models: dict[str, list[dict[str, Any]]] = {}
        for row in [] if self._table is None else self._table.figures():
            told = row._asdict()
            models.setdefault(str(told.pop("model")), []).append(told)
        return {
            "models": models,
            "drift": [
                {
                    "series": one.series,
                    "test": one.test,
                    "size": round(one.size, 4),
                    "event": one.event,
                    "at": rfc3339(one.at_us),
                }
                for one in self._drift
            ],
        }


def shown(whole: Mapping[str, Any]) -> list[str]:
    """Lines for a person: each model's means over its weeks, and what drifted when."""
    lines = []
    for model, rows in whole.get("models", {}).items():
        found = [row for row in rows if row["scenario"] == "all" and row["frauds"]]
        frauds = sum(row["frauds"] for row in found)
        if frauds:
            mean = sum(row["average_precision"] * row["frauds"] for row in found) / frauds
            events = sum(row["events"] for row in found)
            lines.append(f"{model}: average precision {mean:.3f} over {events:,} labelled events")
    lines += [
        f"drift: {one['series']} by {one['test']} {one['size']} at {one['at']}"
        for one in whole.get("drift", ())
    ]
    return lines
