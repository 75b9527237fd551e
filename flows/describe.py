"""How is an event described by one kind of entity: a customer, a payee?

Pure *logic* with a thin shell: each shard sorts its batch by event time, describes each event by
the past of its entity, and only then lets it become past. A late event is described and changes
nothing; a label is heard and walks on.
"""

from collections.abc import Callable
from typing import Protocol

from bytewax.operators import StatefulBatchLogic

from flows.shards import Cabinet, Kept
from flows.walk import Described, Values, in_order, shard_key, shard_of
from risk.events import Moment
from risk.labels import Known

Ticker = Callable[[], int]


class Profile(Kept, Protocol):
    """What is usual for one entity."""

    def describe(self, event: Moment, so_far: Values) -> Values: ...
    def observe(self, event: Moment, told: Values) -> None: ...
    def hear(self, label: Known) -> None: ...


class Tier:
    """One stage of description in one process: whose past, in how many shards, cached how."""

    def __init__(
        self,
        key: str,
        entity: Callable[[Moment], str | None],
        entity_of_label: Callable[[Known], str | None],
        cabinet: Cabinet[Profile],
        shards: int,
        tick_ns: Ticker,
    ) -> None:
        self.key, self.cabinet, self.shards, self.tick_ns = key, cabinet, shards, tick_ns
        self._entity, self._entity_of_label = entity, entity_of_label

    def entity(self, fact: Described | Known) -> str | None:
        """Whose past describes this fact; None where it has nobody of this kind."""
        if isinstance(fact, Known):
            return self._entity_of_label(fact)
        return self._entity(fact.moment)

    def shard(self, fact: Described | Known) -> int:
        """The shard that a fact goes to; one without an entity goes with its customer."""
        owner = fact.customer if isinstance(fact, Known) else fact.moment.customer
        return shard_of(self.entity(fact) or owner, self.shards)

    def route(self, fact: Described | Known) -> str:
        """The key of the fact's shard."""
        return shard_key(self.shard(fact))

    def logic(self, version: int | None) -> "DescribeShard":
        """Build or resume one shard's logic; ``version`` is what the cut says."""
        return DescribeShard(self, version or 0)


class DescribeShard(StatefulBatchLogic[Described | Known, Described | Known, int]):
    """One shard of a tier. What it puts into the cut is a version number."""

    def __init__(self, tier: Tier, version: int) -> None:
        self._tier, self._version = tier, version
        self._shard: int | None = None

    def on_batch(self, values: list[Described | Known]) -> tuple[list[Described | Known], bool]:
        tier = self._tier
        if self._shard is None:
            self._shard = tier.shard(values[0])
            tier.cabinet.begin(self._shard, self._version)
        shard = self._shard
        began = tier.tick_ns()
        values.sort(key=in_order)
        owners = [tier.entity(fact) for fact in values]
        profiles = tier.cabinet.fetch(shard, [owner for owner in owners if owner is not None])
        for fact, owner in zip(values, owners, strict=True):
            if owner is None:
                continue
            profile = profiles[owner]
            if isinstance(fact, Known):
                profile.hear(fact)
                tier.cabinet.touch(shard, owner)
                continue
            fact.features.update(profile.describe(fact.moment, fact.features))
            if not fact.moment.late:
                profile.observe(fact.moment, fact.features)
                tier.cabinet.passed(fact.moment.time_us)
                tier.cabinet.touch(shard, owner)
        spent = (tier.tick_ns() - began) // (1000 * len(values))
        for fact in values:
            if isinstance(fact, Described):
                fact.stages_us[tier.key] = spent
        return values, StatefulBatchLogic.RETAIN

    def snapshot(self) -> int:
        if self._shard is None:
            return self._version
        self._version = self._tier.cabinet.flush(self._shard)
        return self._version
