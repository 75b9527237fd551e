"""What does an event cost before anybody judges it: to describe it, to score it, to learn from it?

The features and the model of the flow, as shipped, over simulated payments with a lesson each. The
steps are timed apart, a hundred events at a time, in processor time: the machine's other work must
not show in it. A scoring pass (probability, factors, reasons, the unlabelled opinion, the watch for
drift) is timed event by event for its 99th percentile.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Given, Result
from features import drift, explain, models, surface
from features.anomaly import HalfSpaceTrees
from features.catalogue import Catalogue
from features.describer import Profile
from flows.assemble import counted, read_rule_set
from flows.cycles import looking_seldom
from flows.files import ndjson
from flows.parts import edge_of, open_house
from flows.simulate import simulate, write
from flows.walk import Values
from risk.events import Moment

NAME = "cost"
BAR = "describe + score + learn <= 250 us an event; a scoring pass p99 <= 1 ms (processor time)"
MOST_US, MOST_PASS_US = 250.0, 1_000.0
STEPS = ("describe", "score", "reasons", "opinion", "drift", "learn")
LATER, TURN, FRAUD_EVERY = 500, 100, 50


def run(given: Given) -> Result:
    """Time the steps a few times over the same payments; medians of the rounds."""
    events, rounds = (3_000, 1) if given.quick else (20_000, 5)
    moments, catalogue = _payments(given.scratch, events)
    took: dict[str, list[float]] = {step: [] for step in STEPS}
    passes: list[float] = []
    gc.collect()
    with looking_seldom():  # as the flow does
        for _ in range(rounds):
            for step, spent_us in _steps(moments, catalogue).items():
                took[step].append(spent_us)
            passes.append(_pass(moments, catalogue))
    us = {step: round(harness.median(one), 1) for step, one in took.items()}
    whole_us = round(sum(us.values()), 1)
    pass_us = round(harness.median(passes), 1)
    raw = {
        "events": len(moments),
        "lessons_per_event": 1,
        "features": len(catalogue.counted),
        "processor_us_per_event": us,
        "whole_us": whole_us,
        "scoring_pass_p99_us": pass_us,
        "rounds_us": {step: [round(value, 1) for value in one] for step, one in took.items()},
        "rounds_pass_p99_us": [round(value, 1) for value in passes],
    }
    told = ", ".join(f"{step} {value}" for step, value in us.items())
    summary = f"{whole_us} us; a pass p99 {pass_us} us; {told} us of processor time an event"
    return Result(NAME, BAR, whole_us <= MOST_US and pass_us <= MOST_PASS_US, summary, raw)


def _payments(scratch: Path, events: int) -> tuple[list[Moment], Catalogue]:
    """Accepted payments, sign-ins and changes of a simulated bank, and what is counted of them."""
    told = simulate(1, 1_000, max(3, events // 2_000), datetime(2026, 1, 5, tzinfo=UTC))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "events.ndjson"
        write(path, islice(told, events), None)
        house = open_house(Path(folder) / "house")
        rules = read_rule_set(house.settings)
        facts = ndjson(path, edge_of(house), rules.rates, lambda *_: None)
        return [fact.moment for fact in facts if fact.moment is not None], counted(rules)


class _Described:
    """Describes one event after the other, by the past that it makes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._held = [(one, defaultdict[str, Profile](one.new)) for one in catalogue.describers]

    def __call__(self, moment: Moment) -> Values:
        values: Values = dict(surface.describe(moment))
        for describer, profiles in self._held:
            owner = describer.entity(moment)
            if owner is not None:
                profile = profiles[owner]
                values.update(profile.describe(moment, values))
                profile.observe(moment, values)
        return values


def _steps(moments: list[Moment], catalogue: Catalogue) -> dict[str, float]:
    """Microseconds of processor time an event, of each step."""
    describe, model = _Described(catalogue), models.champion()
    trees, watch, known = HalfSpaceTrees(), drift.Drift(), list[Values]()
    took = dict.fromkeys(STEPS, 0)
    for at in range(0, len(moments), TURN):
        turn, marks = moments[at : at + TURN], [time.process_time_ns()]
        rows = [describe(moment) for moment in turn]
        marks.append(time.process_time_ns())
        told = [model.tell_one(values) for values in rows]
        marks.append(time.process_time_ns())
        for (_, factors), values in zip(told, rows, strict=True):
            explain.reasons(factors, values)
        marks.append(time.process_time_ns())
        for values in rows:
            trees.meet_one(values)
        marks.append(time.process_time_ns())
        for moment, values, (probability, _) in zip(turn, rows, told, strict=True):
            watch.watch_one(values, round(probability * 1000), moment.time_us)
        marks.append(time.process_time_ns())
        known += rows
        for number in range(max(0, at - LATER), max(0, at - LATER + len(turn))):
            model.learn_one(known[number], number % FRAUD_EVERY == 0)
        marks.append(time.process_time_ns())
        for step, began, ended in zip(STEPS, marks, marks[1:], strict=False):
            took[step] += ended - began
    lessons = max(1, len(moments) - LATER)
    return {
        step: spent / (lessons if step == "learn" else len(moments)) / 1000
        for step, spent in took.items()
    }


def _pass(moments: list[Moment], catalogue: Catalogue) -> float:
    """The 99th percentile of a whole scoring pass, in microseconds of processor time."""
    describe, model = _Described(catalogue), models.champion()
    trees, watch, spent = HalfSpaceTrees(), drift.Drift(), list[float]()
    for number, moment in enumerate(moments):
        values = describe(moment)
        began = time.process_time_ns()
        probability, factors = model.tell_one(values)
        explain.reasons(factors, values)
        trees.meet_one(values)
        watch.watch_one(values, round(probability * 1000), moment.time_us)
        spent.append((time.process_time_ns() - began) / 1000)
        model.learn_one(values, number % FRAUD_EVERY == 0)
    return sorted(spent)[int(0.99 * (len(spent) - 1))]
