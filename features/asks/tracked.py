"""What is asked of names met and of sequences: only ever of a track (``features/tracks.py``)."""

from __future__ import annotations

from features.asks.kinds import Over
from features.chain import Chain
from features.describer import Sight
from features.moment import Value
from features.seen import Seen
from features.timeline import Timeline
from features.tracks import Names, Steps, Track


class Distinct(Over):
    """How many different names of a field, this one's included."""

    aggregate = "distinct"
    unit = "count"
    words = "how many different ones within {}"

    def __init__(self, window: str, track: Names) -> None:
        super().__init__(window)
        self.track = track

    def of(self, sight: Sight) -> Value:
        """Exact while few, then about so many (``seen.py``); None without the second key."""
        past = sight.past(self.track)
        if not isinstance(past, Seen):
            return None
        chosen = self.track.chosen(sight.event, sight.told)
        here = self.track.field(sight.event) if chosen else None
        return past.count(sight.time - self.reach, sight.time, here)


class New(Over):
    """1 if no earlier event in the window had this one's name in the field, else 0."""

    aggregate = "new"
    unit = "flag"
    words = "1: not met within {} before"

    def __init__(self, window: str, track: Names) -> None:
        super().__init__(window)
        self.track = track

    def of(self, sight: Sight) -> Value:
        """None without the field, or the second key."""
        past, name = sight.past(self.track), self.track.field(sight.event)
        if name is None or not isinstance(past, Seen):
            return None
        return int(not past.knew(name, sight.time - self.reach, sight.time))


class Share(Over):
    """Of the earlier events in the window, the share that had this one's name in the field."""

    aggregate = "share"
    unit = "ratio"
    words = "share of the earlier ones within {} with the same"

    def __init__(self, window: str, same: Track, whole: Track | None) -> None:
        """``same`` is split by the field, ``whole`` is not; without it, all payments are."""
        super().__init__(window)
        self.same, self.whole = same, whole

    def of(self, sight: Sight) -> Value:
        """None without the field, and without any earlier one."""
        same, whole = sight.past(self.same), sight.through(self.whole)
        if not isinstance(same, Timeline) or whole is None:
            return None
        after = sight.time - self.reach
        earlier = whole.payments.tally(after, sight.time)[0]
        return min(1.0, same.tally(after, sight.time)[0] / earlier) if earlier else None


class Reached(Over):
    """How many steps of the sequence were done one after the other, this one included."""

    aggregate = "sequence"
    unit = "count"
    words = "how many steps were done in this order within {}"

    def __init__(self, window: str, track: Steps) -> None:
        super().__init__(window)
        self.track = track

    def of(self, sight: Sight) -> Value:
        """0: not even the first; None without the second key."""
        past = sight.past(self.track)
        if not isinstance(past, Chain):
            return None
        mask = self.track.mask(sight.event, sight.told)
        return past.reached(sight.time, self.reach, mask)
