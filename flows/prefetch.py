"""What will a batch need? All of it is read in one turn, before the stages ask one by one.

Only shards that are open in this process are read ahead; of others, and after a flush, a stage
reads for itself. So this can be wrong about nothing but time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from flows.fraud import Stages
from flows.shards import Cabinet
from flows.walk import Described, Spoken, shard_of
from risk.labels import Known


class ManyReader(Protocol):
    """Reads entities of many stages and shards in one turn."""

    def load_many(
        self, wanted: Mapping[tuple[str, int], list[str]]
    ) -> dict[tuple[str, int], list[bytes | None]]: ...


class Prefetch:
    """Called with the facts of a batch, it fills the cabinets of this process."""

    def __init__(self, stages: Stages, store: ManyReader) -> None:
        self._tiers, self._judge, self._store = stages.tiers, stages.judge, store

    def __call__(self, facts: Sequence[Described | Known | Spoken]) -> None:
        """Read what the stages will ask for of these facts, and lack."""
        wanted: dict[tuple[str, int], list[str]] = {}
        cabinets: dict[str, Cabinet[Any]] = {}
        for cabinet, shard, entity in self._needs(facts):
            if cabinet.lacks(shard, entity):
                cabinets[cabinet.stage] = cabinet
                names = wanted.setdefault((cabinet.stage, shard), [])
                if entity not in names:
                    names.append(entity)
        if not wanted:
            return
        for (stage, shard), rows in self._store.load_many(wanted).items():
            for entity, raw in zip(wanted[stage, shard], rows, strict=True):
                cabinets[stage].read_ahead(shard, entity, raw)

    def _needs(
        self, facts: Sequence[Described | Known | Spoken]
    ) -> Iterable[tuple[Cabinet[Any], int, str]]:
        judge = self._judge
        for fact in facts:
            if not isinstance(fact, Spoken):
                for tier in self._tiers:
                    entity = tier.entity(fact)
                    if entity is not None:
                        yield tier.cabinet, shard_of(entity, tier.shards), entity
            if not isinstance(fact, Known):
                who = fact.customer if isinstance(fact, Spoken) else fact.moment.customer
                yield judge.cabinet, shard_of(who, judge.shards), who
