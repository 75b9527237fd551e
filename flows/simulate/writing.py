"""How do the days of all become one stream in order of time, and a file?"""

import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from flows.simulate.day import Event, Happening, Truth, micros, rfc3339
from flows.simulate.stories import FRAUDS
from flows.simulate.world import DAY_US, World


def simulate(
    seed: int | str,
    customers: int,
    days: int,
    start: datetime,
    *,
    scenarios: Collection[str] = FRAUDS,
    rate: float = 1.0,
    fraud: float = 1.0,
    noise: float = 1.0,
) -> Iterator[Happening]:
    """Tell `days` days of `customers` customers: raw events in order of time, with their truth.

    The same arguments give the same events to the byte. A story that begins before the last
    midnight may end after it. Refuses, by ValueError, a scenario that isn't in `FRAUDS`, a naive
    `start`, and nobody or no time at all.
    """
    world = World(
        seed, customers, days, start, scenarios=scenarios, rate=rate, fraud=fraud, noise=noise
    )
    return _told(world)


def _told(world: World) -> Iterator[Happening]:
    waiting: list[tuple[int, int, int, int, Happening]] = []
    for number in range(world.days):
        for index in range(world.customers):
            for at_us, customer, order, happening in world.day(number, index):
                # The day stands before the order within it: no tie ever compares happenings.
                heapq.heappush(waiting, (at_us, customer, number, order, happening))
        ends_us = world.start_us + (number + 1) * DAY_US
        while waiting and waiting[0][0] < ends_us:
            yield heapq.heappop(waiting)[-1]
    while waiting:
        yield heapq.heappop(waiting)[-1]


def label(truth: Truth, known: datetime, source: str = "chargeback") -> Event:
    """The label event by which the bank learns a truth, `known` at that time."""
    return {
        "type": "label",
        "id": f"label-{truth.event}",
        "event": truth.event,
        "customer": truth.customer,
        "fraud": truth.fraud,
        "source": source,
        "time": rfc3339(micros(known), 0),
    }


def write(path: Path, happenings: Iterable[Happening], truth_path: Path | None) -> Counter[str]:
    """Write events as NDJSON, one a line, and the truths beside them; count events by scenario.

    A line of truth is `{event, customer, time, fraud, scenario}`; an event that has none is
    honest and unremarkable, counted as "everyday".
    """
    counts: Counter[str] = Counter()
    with path.open("w", encoding="utf-8", newline="\n") as events:
        truths = (
            None if truth_path is None else truth_path.open("w", encoding="utf-8", newline="\n")
        )
        try:
            for event, truth in happenings:
                events.write(_line(event))
                counts[truth.scenario if truth else "everyday"] += 1
                if truths is not None and truth is not None:
                    truths.write(_line(truth._asdict()))
        finally:
            if truths is not None:
                truths.close()
    return counts


def _line(fact: Mapping[str, object]) -> str:
    return json.dumps(fact, ensure_ascii=False, separators=(",", ":")) + "\n"
