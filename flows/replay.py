"""What would the flow have said about a file? The same flow, over a file, as fast as it goes.

The stages are those of the live flow; only the doors differ: state in memory, time by the events,
labels merged by the time at which they become known.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bytewax.testing import run_main

from config.settings import Settings
from features import quality
from flows import assemble
from flows.effects import PlainEffects
from flows.files import Fact, FileInlet, Truth, handbook, ndjson
from flows.fraud import fraud
from flows.judge import Decided
from flows.outlet import Watch
from flows.score import Snapshots
from flows.scored import MemoryScoreds
from flows.shards import MemoryStore
from gateway.edge import Edge
from risk.events import Moment

Keep = Callable[[list[dict[str, Any]]], None]


@dataclass
class Tally:
    """What a replay saw, event by event, in columns."""

    truth: dict[str, Truth] = field(default_factory=dict)
    event: list[str] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    customer: list[str] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    decisions: list[dict[str, Any]] | None = None
    stages_us: Counter[str] = field(default_factory=Counter)

    def take(self, items: list[Decided]) -> None:
        """Note a batch of decided events."""
        for scored, decision, _ in items:
            moment = scored.moment
            self.event.append(moment.id)
            self.time_us.append(moment.time_us)
            self.customer.append(moment.customer)
            self.probability.append(scored.probability)
            self.outcomes[decision["decision"]] += 1
            self.stages_us.update(scored.stages_us)
            if self.decisions is not None:
                self.decisions.append({**decision, "features": dict(scored.features)})


def facts_of(
    path: Path, settings: Settings, delay_us: int, edge: Edge, rates: Any, tally: Tally
) -> Iterator[Fact]:
    """Read a file by its ending."""
    if path.suffix == ".parquet":
        return handbook(path, settings.base_currency, delay_us, tally.truth.__setitem__)
    return ndjson(path, edge, rates, tally.truth.__setitem__)


def replay(
    facts: Iterator[Fact],
    settings: Settings,
    tally: Tally,
    *,
    rules: Any,
    nonce_key: bytes,
    keep: Keep | None = None,
    models: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> float:
    """Run the flow over facts; gives the seconds that it took. The tally is filled."""
    scoreds = MemoryScoreds()

    def watch(items: list[Decided]) -> None:
        tally.take(items)
        if progress is not None:
            progress(len(items))

    inlet = FileInlet(facts, assemble.of_itself, scoreds, settings.engine.batch)
    parts = assemble.Parts(
        inlet=inlet,
        outlet=Watch(watch),
        store=MemoryStore(),
        effects=PlainEffects(keep),
        scoreds=scoreds,
        snapshots=Snapshots(models),
        journal=lambda learnt: None,
        now_us=_by_the_event,
        tick_ns=time.perf_counter_ns,
        nonce_key=nonce_key,
        sequenced=True,
    )
    flow = fraud(assemble.stages(settings, rules, parts))
    began = time.perf_counter()
    run_main(flow)  # type: ignore[no-untyped-call]  # Bytewax ships its stubs without types
    return time.perf_counter() - began


def _by_the_event(moment: Moment | None) -> int:
    return 0 if moment is None else moment.accepted_us


def report(tally: Tally, seconds: float, delay_us: int) -> dict[str, Any]:
    """The one object that ``replay --json`` prints."""
    count = len(tally.event)
    whole: dict[str, Any] = {
        "events": count,
        "seconds": round(seconds, 3),
        "events_per_second": round(count / seconds, 1) if seconds else None,
        "outcomes": dict(tally.outcomes),
        "stage_mean_us": {
            stage: round(total / max(1, count), 1) for stage, total in tally.stages_us.items()
        },
        "answers": {},
    }
    labelled = [place for place, event in enumerate(tally.event) if event in tally.truth]
    cards = {customer: number for number, customer in enumerate(dict.fromkeys(tally.customer))}
    table = quality.weeks(
        np.array([tally.time_us[place] // 1_000_000 for place in labelled], dtype=np.int64),
        np.array([cards[tally.customer[place]] for place in labelled], dtype=np.int64),
        np.array([tally.truth[tally.event[place]].fraud for place in labelled], dtype=np.bool_),
        np.array([tally.probability[place] for place in labelled], dtype=np.float64),
        delay_s=max(delay_us // 1_000_000, 0),
    )
    return whole | quality.report(table)
