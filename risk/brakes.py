"""Does a rule, or the whole, decline or ask too much in an hour? Then it is stopped, aloud.

Counted in event time, in twelve buckets of five minutes, by one shard of customers: each shard
takes its share of a limit, so that all together never pass it (an uneven spread trips early).

::

    live rule --(more than its limit in an hour)--> demoted to shadow; the event itself: review
    all rules --(more than the overall limit)-----> review, until the hour is calm again
    a rule that was hit regularly --(ten times its usual pause)--> told of as silent
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

HOUR_US = 3_600_000_000
_BUCKET_US = HOUR_US // 12
_REGULAR = 20  # so many hits make a habit
_PAUSES = 10
ALL = "*"
KINDS = ("challenge", "decline")


@dataclass(frozen=True, slots=True)
class BrakeLimits:
    """The most challenges and declines an hour, of one rule and of all together."""

    challenges_of_a_rule: int
    challenges: int
    declines_of_a_rule: int
    declines: int

    def of(self, kind: str, *, overall: bool) -> int:
        """The limit of a kind of outcome."""
        if kind == "challenge":
            return self.challenges if overall else self.challenges_of_a_rule
        return self.declines if overall else self.declines_of_a_rule


class Tripped(NamedTuple):
    """A brake that tripped: of one rule, or ``*`` for all of them."""

    rule: str
    kind: str
    limit: int

    @property
    def words(self) -> str:
        """What happened, for officers."""
        what = "all rules together" if self.rule == ALL else f"rule {self.rule}"
        asked = "asked" if self.kind == "challenge" else "declined"
        then = "further ones are reviews" if self.rule == ALL else "it is in shadow now"
        return f"{what} {asked} more than {self.limit} times within an hour here; {then}"


@dataclass(slots=True)
class Brakes:
    """What one shard has counted; ``demoted`` are rules by the set in which they tripped."""

    counts: dict[str, dict[int, int]] = field(default_factory=dict)
    demoted: dict[str, str] = field(default_factory=dict)
    habits: dict[str, list[int]] = field(default_factory=dict)
    looked: int = field(default=0, compare=False)

    def state(self) -> dict[str, Any]:
        """The durable form."""
        return {
            "v": 1,
            "counts": {
                key: {str(at): count for at, count in rows.items()}
                for key, rows in self.counts.items()
            },
            "demoted": self.demoted,
            "habits": self.habits,
        }

    @classmethod
    def restored(cls, kept: Mapping[str, Any]) -> "Brakes":
        """Read the durable form."""
        counts = {
            key: {int(at): int(count) for at, count in rows.items()}
            for key, rows in kept["counts"].items()
        }
        return cls(
            counts, dict(kept["demoted"]), {key: list(v) for key, v in kept["habits"].items()}
        )

    def stopped(self, sha256: str) -> frozenset[str]:
        """The rules of a set that have tripped here."""
        return frozenset(rule for rule, of in self.demoted.items() if of == sha256)

    def count(
        self,
        outcome: str,
        rules: Iterable[str],
        at_us: int,
        sha256: str,
        limits: BrakeLimits,
        shards: int,
    ) -> list[Tripped]:
        """Count an outcome and the rules that asked for it; gives what it trips.

        What trips isn't counted: it becomes a review.
        """
        if outcome not in KINDS:
            return []
        keys = [*rules, ALL]
        tripped = []
        for key in keys:
            limit = limits.of(outcome, overall=key == ALL)
            if self._within(f"{outcome}/{key}", at_us) >= max(1, limit // shards):
                tripped.append(Tripped(key, outcome, max(1, limit // shards)))
                if key != ALL:
                    self.demoted[key] = sha256
        if not tripped:
            for key in keys:
                rows = self.counts.setdefault(f"{outcome}/{key}", {})
                bucket = at_us // _BUCKET_US
                rows[bucket] = rows.get(bucket, 0) + 1
        return tripped

    def _within(self, key: str, at_us: int) -> int:
        rows = self.counts.get(key)
        if not rows:
            return 0
        first = at_us // _BUCKET_US - 11
        for bucket in [one for one in rows if one < first - 12]:
            del rows[bucket]
        return sum(count for bucket, count in rows.items() if bucket >= first)

    def hit(self, rule: str, at_us: int) -> None:
        """Note a hit of a live rule: how many there were, the last one, the usual pause."""
        kept = self.habits.get(rule)
        if kept is None:
            self.habits[rule] = [1, at_us, 0]
            return
        pause = max(0, at_us - kept[1])
        weight = min(kept[0], _REGULAR)
        kept[2] = (kept[2] * (weight - 1) + pause) // weight
        kept[0] += 1
        kept[1] = max(kept[1], at_us)

    def silent(self, at_us: int) -> list[tuple[str, int]]:
        """Rules hit regularly that have fallen silent, with their last hit; each told once.

        Looked for once a minute of event time.
        """
        found: list[tuple[str, int]] = []
        if at_us // 60_000_000 == self.looked:
            return found
        self.looked = at_us // 60_000_000
        for rule, (hits, last_us, pause) in list(self.habits.items()):
            if hits >= _REGULAR and at_us - last_us > max(HOUR_US, _PAUSES * pause):
                found.append((rule, last_us))
                del self.habits[rule]
        return found
