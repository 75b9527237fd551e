"""What does the engine add to an event, over describing and judging it in a plain loop?

The same facts through ``flows.replay.replay`` (with and without a ledger) and through
``floors/bare_loop.py``, in turns. Both say the same of every event, or nothing is measured.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.floors import bare_loop
from benchmarks.harness import Given, Result
from flows.assemble import read_rule_set
from flows.cycles import looking_seldom
from flows.files import Fact
from flows.ledger_process import LedgerProcess
from flows.parts import House, open_house
from flows.replay import Tally, facts_of, replay
from flows.simulate import simulate, write
from flows.simulate_command import with_labels

NAME = "overhead"
BAR = "replay - bare loop <= 60 us an event without the ledger, <= 150 us with it"
WITHOUT_US, WITH_US = 60.0, 150.0
LABEL_DELAY = timedelta(days=7)
#: Outcomes, and the sum of all probabilities.
Said = tuple[dict[str, int], float]
WAYS = ("bare", "engine", "ledger")


def run(given: Given) -> Result:
    """Time each way a few times in turns; the medians are compared."""
    events, rounds = (3_000, 1) if given.quick else (30_000, 3)
    wall: dict[str, list[float]] = {way: [] for way in WAYS}
    processor: dict[str, list[float]] = {way: [] for way in WAYS}
    expected: Said | None = None
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        scratch = Path(folder)
        house = open_house(scratch / "house")
        facts, source = _facts(house, given, events, scratch)
        count = sum(fact.moment is not None for fact in facts)
        gc.collect()
        turns = (way for n in range(rounds) for way in (WAYS if n % 2 == 0 else WAYS[::-1]))
        with looking_seldom():  # as a replay does; the bare loop, too
            for number, way in enumerate(turns):
                gc.collect()
                began = time.process_time()
                seconds, said = _one(way, facts, house, scratch / f"{way}-{number}")
                processor[way].append((time.process_time() - began) / count * 1e6)
                wall[way].append(seconds / count * 1e6)
                expected = expected or said
                if said != expected:
                    raise RuntimeError(f"overhead: {way} said {said}, another way {expected}")
    us, differ, ratio = _compare(wall)
    cpu_us, cpu_differ, cpu_ratio = _compare(processor)
    raw = {
        "input": source,
        "events": count,
        "labels": len(facts) - count,
        "outcomes": expected[0] if expected else {},
        "us_per_event": us,
        "difference_us": differ,
        "ratio": ratio,
        "processor_us_per_event": cpu_us,
        "processor_difference_us": cpu_differ,
        "processor_ratio": cpu_ratio,
        "rounds_us": _rounded(wall),
        "rounds_processor_us": _rounded(processor),
    }
    summary = (
        f"bare {us['bare']} us; engine +{differ['engine']} us ({ratio['engine']} x); with ledger"
        f" +{differ['ledger']} us ({ratio['ledger']} x); of processor time"
        f" {cpu_us['bare']}, +{cpu_differ['engine']}, +{cpu_differ['ledger']} us"
    )
    met = differ["engine"] <= WITHOUT_US and differ["ledger"] <= WITH_US
    return Result(NAME, BAR, met, summary, raw)


def _compare(
    rounds: dict[str, list[float]],
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Of the rounds' medians: each way, its difference to the bare loop, its ratio to it."""
    us = {way: round(harness.median(values), 1) for way, values in rounds.items()}
    differ = {way: round(us[way] - us["bare"], 1) for way in WAYS[1:]}
    return us, differ, {way: round(us[way] / us["bare"], 2) for way in WAYS[1:]}


def _rounded(rounds: dict[str, list[float]]) -> dict[str, list[float]]:
    return {way: [round(one, 1) for one in values] for way, values in rounds.items()}


def _facts(house: House, given: Given, events: int, scratch: Path) -> tuple[list[Fact], str]:
    """Payments with their labels: of the file that was given, else of a simulated bank."""
    path, source = given.data, "the file given"
    delay = timedelta(hours=6) if given.quick else LABEL_DELAY
    if path is None:
        path, source = scratch / "simulated.ndjson", "simulated: seed 1, 1,500 customers"
        start = datetime(2026, 1, 5, tzinfo=UTC)
        told = simulate(1, 1_500, max(2, round(events / 3_000)), start)
        write(path, islice(with_labels(told, delay), 2 * events), None)
    settings = house.settings
    rates = read_rule_set(settings).rates
    delay_us = int(delay.total_seconds() * 1e6)
    edge = _edge(house)
    return list(_until(facts_of(path, settings, delay_us, edge, rates, Tally()), events)), source


def _until(facts: Iterator[Fact], events: int) -> Iterator[Fact]:
    for fact in facts:
        events -= fact.moment is not None
        if events < 0:
            return
        yield fact


def _edge(house: House) -> Any:
    from gateway.edge import Edge

    return Edge(
        token_root=house.secrets.token_root,
        edge_key=house.secrets.edge_key,
        transport_key=house.secrets.transport_key,
        tenant=house.settings.tenant,
        partitions=house.settings.engine.partitions,
    )


def _one(way: str, facts: list[Fact], house: House, folder: Path) -> tuple[float, Said]:
    """One way over all facts: seconds, and what was said."""
    rules = read_rule_set(house.settings)
    if way == "bare":
        seconds, outcomes, total = bare_loop.run(facts, rules)
        return seconds, (dict(sorted(outcomes.items())), round(total, 6))
    ledger = None
    if way == "ledger":
        settings = house.settings
        ledger = LedgerProcess(folder, settings.bank, settings.tenant, house.secrets.transport_key)
    tally = Tally()
    try:
        seconds = replay(
            iter(facts),
            house.settings,
            tally,
            rules=rules,
            nonce_key=house.secrets.nonce_key,
            keep=ledger.keep if ledger else None,
            durable=ledger.close if ledger else None,
        )
    finally:
        if ledger is not None:
            ledger.end()
    in_order = dict(sorted(tally.outcomes.items()))
    return seconds, (in_order, round(sum(tally.probability), 6))
