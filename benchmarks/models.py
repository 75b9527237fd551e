"""What do explanation, the watch for drift and each challenger cost the model's stage?

The stage itself (score and, later, one lesson an event), over described events of a simulated bank:
the champion alone, then with factors, with the watch, with both as shipped, and with each model of
the catalogue beside it that is meant for the pass. In turns; processor time.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Given, Result
from features import drift, explain, surface
from features.catalogue import DESCRIBERS
from features.describer import Profile
from features.models import BY_ID, MODELS, champion, load
from flows.assemble import read_rule_set
from flows.files import ndjson
from flows.parts import edge_of, open_house
from flows.score import Scoring, Snapshots
from flows.simulate import simulate, write
from flows.walk import Described
from risk.labels import Known

NAME = "models"
BAR = "the stage with factors and drift <= 2.5 x the champion alone"
MOST = 2.5
LATER = 500  # events from a payment to its lesson


def run(given: Given) -> Result:
    """Time each way a few times in turns; medians are compared."""
    events, rounds = (1_500, 1) if given.quick else (12_000, 5)
    facts = _facts(given.scratch, events)
    beside = [recipe.id for recipe in MODELS[1:] if not recipe.off_path]
    ways: dict[str, dict[str, Any]] = {
        "alone": {},
        "factors": {"reasons": explain.reasons},
        "drift": {"watch": drift.resumed},
        "shipped": {"reasons": explain.reasons, "watch": drift.resumed},
        **{f"alone + {name}": {"challengers": {name: BY_ID[name].make}} for name in beside},
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        for way in ways if number % 2 == 0 else reversed(ways):
            took[way].append(_time(facts, ways[way]) / events)
    gc.unfreeze()
    us = {way: round(harness.median(one), 1) for way, one in took.items()}
    ratio = {way: round(value / us["alone"], 2) for way, value in us.items()}
    raw = {
        "events": events,
        "processor_us_per_event": us,
        "ratio": ratio,
        "rounds_us": {way: [round(value, 1) for value in one] for way, one in took.items()},
        "snapshots": {name: _snapshot(name, facts) for name in (MODELS[0].id, *beside)},
    }
    told = ", ".join(f"{way} {ratio[way]} x" for way in ways if way != "alone")
    return Result(NAME, BAR, ratio["shipped"] <= MOST, f"alone {us['alone']} us; {told}", raw)


def _facts(scratch: Path, events: int) -> list[Described | Known]:
    """Described payments, each with its lesson some events later."""
    told = simulate(1, 400, 60, datetime(2026, 1, 5, tzinfo=UTC))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "events.ndjson"
        write(path, islice(told, events), None)
        house = open_house(Path(folder) / "house")
        rates = read_rule_set(house.settings).rates
        held = [defaultdict[str, Profile](describer.new) for describer in DESCRIBERS]
        facts: list[Described | Known] = []
        rows: list[Described] = []
        for number, fact in enumerate(ndjson(path, edge_of(house), rates, lambda *_: None)):
            moment = fact.moment
            if moment is None:
                continue
            features = dict(surface.describe(moment))
            for describer, profiles in zip(DESCRIBERS, held, strict=True):
                if owner := describer.entity(moment):
                    profile = profiles[owner]
                    features.update(profile.describe(moment))
                    profile.observe(moment)
            rows.append(Described(moment, features, {}))
            facts.append(rows[-1])
            if number >= LATER:
                old = rows[number - LATER]
                of = old.moment
                facts.append(
                    Known(of.id, of.id, number % 50 == 0, "chargeback", moment.time_us, of.time_us,
                          of.customer, None, None, None, 0, 0, True, old.features)
                )  # fmt: skip
        return facts


def _time(facts: list[Described | Known], over: dict[str, Any]) -> float:
    clock: Callable[[], int] = time.perf_counter_ns
    logic = Scoring(champion, load, Snapshots(None), _nobody, clock, **over).logic(None)
    began = time.process_time()
    for at in range(0, len(facts), 100):
        logic.on_batch(list(facts[at : at + 100]))
    return (time.process_time() - began) * 1e6


def _snapshot(name: str, facts: list[Described | Known]) -> dict[str, float]:
    model = BY_ID[name].make()
    for fact in facts:
        if isinstance(fact, Known):
            model.learn_one(fact.features, fact.fraud)
    began = time.process_time()
    raw = model.dump()
    return {"bytes": len(raw), "dump_ms": round((time.process_time() - began) * 1e3, 2)}


def _nobody(_: object) -> None:
    """Keep no journal."""
