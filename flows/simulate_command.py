"""`ringback simulate`: writes a seeded bank's events, with its truth beside or inside."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from flows.errors import BadSettings
from flows.replay_command import span_us
from flows.simulate import FRAUDS, Happening, Truth, label, simulate, write


def with_labels(happenings: "Iterator[Happening]", delay: timedelta) -> "Iterator[Happening]":
    """Put each event's label into the stream at the time when it becomes known."""
    waiting: list[tuple[datetime, int, Happening]] = []
    for order, happening in enumerate(happenings):
        at = datetime.fromisoformat(str(happening.event["time"])).astimezone(UTC)
        while waiting and waiting[0][0] <= at:
            yield heappop(waiting)[2]
        yield happening
        if happening.event["type"] == "transaction":
            known = at + delay
            event = happening.event
            truth = happening.truth or Truth(
                str(event["id"]), str(event["customer"]), str(event["time"]), False, ""
            )
            told = Happening(label(truth, known), None)
            heappush(waiting, (known, order, told))


def drifted(happenings: "Iterator[Happening]", since: datetime) -> "Iterator[Happening]":
    """From a time on, amounts in another unit: three times as much each."""
    for happening in happenings:
        event = happening.event
        if "amount" in event and datetime.fromisoformat(str(event["time"])) >= since:
            event = {**event, "amount": str(Decimal(str(event["amount"])) * 3)}
            yield happening._replace(event=event)
        else:
            yield happening


def simulate_file(
    out: Path,
    *,
    customers: int,
    days: int,
    seed: int,
    start: str,
    scenarios: list[str] | None,
    truth: Path | None,
    label_delay: str,
    drift: int | None = None,
) -> dict[str, int]:
    """Write the file; gives counts by kind of what was written.

    From day ``drift`` on (the first is 0) every amount is three times as much, as if a feed had
    changed its unit: for the watch that must notice it.
    """
    unknown = sorted(set(scenarios or ()) - set(FRAUDS))
    if unknown:
        raise BadSettings(f"simulate: needed scenarios of {FRAUDS}, got {unknown}")
    try:
        first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    except ValueError:
        raise BadSettings(f"simulate: needed a day such as 2026-01-05, got {start!r}") from None
    told: Any = simulate(
        seed=seed,
        customers=customers,
        days=days,
        start=first,
        scenarios=tuple(scenarios) if scenarios else FRAUDS,
    )
    if drift is not None:
        if not 0 <= drift < days:
            raise BadSettings(f"simulate --drift: needed a day from 0 to {days - 1}, got {drift}")
        told = drifted(told, first + timedelta(days=drift))
    if label_delay:
        told = with_labels(told, timedelta(microseconds=span_us(label_delay)))
    out.parent.mkdir(parents=True, exist_ok=True)
    return dict(write(out, told, truth))
