"""What did the model know when it scored an event? Its snapshot, and the lessons on record since.

::

    snapshot --lesson--> taught 1 --lesson--> taught 2 --lesson--> ... --lesson--> taught n
    <data>/models         learn/<taught 1>                                          the score

A score says which snapshot, and what the model had been ``taught`` since. Each lesson's record is
found by that, and names what was taught before it: so the lessons are walked back in the very order
in which they were learnt, crashes and resumes included, and learnt again.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flows.errors import FlowError
from flows.score import Snapshots, taught_by, untaught
from flows.walk import Values
from risk import names

if TYPE_CHECKING:
    from features.model import Model  # River takes a second to import

Look = Callable[[str], Mapping[str, Any] | None]


class NotRebuilt(FlowError):
    """A record that a decision can't be rebuilt without: which, and why it isn't there."""


class ModelsThen:
    """Models as they were. Going forward in time is cheap: lessons in between are learnt on.

    ``look`` finds a record by its rid; ``scored`` the features of an event that is on no record,
    since it was history before the first live event (`ringback backfill`).
    """

    def __init__(
        self,
        look: Look,
        snapshots: Snapshots,
        load: "Callable[[bytes], Model]",
        scored: Callable[[str], Values | None] = lambda event: None,
    ) -> None:
        self._look, self._snapshots, self._load, self._scored = look, snapshots, load, scored
        self._now: tuple[str, Model] | None = None

    def at(self, mark: Mapping[str, Any], taught: str) -> "Model":
        """The model of that mark, taught so; `NotRebuilt` where a part of it is gone."""
        sha256 = str(mark["sha256"])
        start, here = untaught(sha256), None if self._now is None else self._now[0]
        lessons: list[Mapping[str, Any]] = []
        link = taught
        while link not in (start, here):
            lesson = self._lesson(link, mark)
            lessons.append(lesson)
            link = str(lesson["body"]["before"])
        model = self._now[1] if self._now is not None and link == here else self._stored(mark)
        self._now = None  # a lesson that fails leaves a model that is neither
        for lesson in reversed(lessons):
            model.learn_one(self._features(str(lesson["event"])), bool(lesson["body"]["fraud"]))
        self._now = (taught, model)
        return model

    def _lesson(self, link: str, mark: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._look(names.lesson(link))
        if found is None:
            raise NotRebuilt(
                f"score: needed the lessons of {mark['id']} {mark['version']} on record, got none "
                f"that ends with {link}"
            )
        body = found["body"]
        before, known_us = str(body["before"]), int(body["known_us"])
        told = taught_by(
            before, found["event"], body["source"], known_us, fraud=bool(body["fraud"])
        )
        if told != link:
            raise NotRebuilt(f"score: needed the lesson {link} as it was learnt, got {told}")
        return found

    def _stored(self, mark: Mapping[str, Any]) -> "Model":
        raw = self._snapshots.find(str(mark["id"]), str(mark["sha256"]))
        if raw is None:
            raise NotRebuilt(
                f"score: needed the snapshot models/{mark['id']}/{mark['sha256']}.model, got none "
                "with that hash: put it back from a backup, or take the score as it is on record "
                "with --recorded-score"
            )
        return self._load(raw)

    def _features(self, event: str) -> Values:
        """An event as it was described when it was scored."""
        for late in (False, True):
            record = self._look(names.scored(event, "features", late=late))
            if record is not None:
                return recorded_values(record["body"]["values"])
        found = self._scored(event)
        if found is None:
            raise NotRebuilt(
                f"score: needed the features of {event}, of which the model had learnt, got none: "
                "it was history, and the as-scored store has forgotten it; --recorded-score takes "
                "the score as it is on record"
            )
        return found


def recorded_values(values: Mapping[str, Any]) -> Values:
    """Features from their record: a float is its string, the same bits back."""
    return {
        name: float(value) if isinstance(value, str) else value for name, value in values.items()
    }
