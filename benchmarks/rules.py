"""What do 200 live rules cost an event?

The shipped rules and others of their kind, all live, over described payments of a simulated bank:
values handed over, expressions run, reasons made. Beside it the same comparisons as plain Python
functions, which no analyst could write, and which nothing checks.
"""

from __future__ import annotations

import gc
import random
import time
from dataclasses import replace
from typing import Any

from benchmarks import harness
from benchmarks.floors import bare_rules
from benchmarks.harness import Given, Result
from config.settings import Settings
from features.catalogue import BY_NAME
from flows.assemble import read_rule_set
from risk.docket import Docket
from risk.policy import reason
from risk.rules import Rule, read_rules, vocabulary

NAME = "rules"
BAR = "200 live rules <= 150 us an event"
RULES, BAR_US = 200, 150.0


def run(given: Given) -> Result:
    """Time the docket and its floor in turns over the same values."""
    events, rounds = (300, 1) if given.quick else (3_000, 7)
    rules = some_rules(RULES)
    docket, floor = Docket(rules), bare_rules.prepared(rules)
    values = [_values(number) for number in range(events)]
    hits = sum(len(docket.hits("transaction", one, 0)[0]) for one in values)
    took: dict[str, list[float]] = {"docket": [], "floor": []}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        took["docket"].append(_time(lambda one: _judged(docket, one), values))
        took["floor"].append(_time(lambda one: bare_rules.hits(floor, one), values))
    gc.unfreeze()
    us = {way: round(harness.median(one), 1) for way, one in took.items()}
    ratio = round(us["docket"] / us["floor"], 2)
    raw = {
        "rules": len(rules),
        "events": events,
        "names": len(docket.names),
        "hits_per_event": round(hits / events, 2),
        "us_per_event": us,
        "ratio": ratio,
        "rounds_us": {way: [round(value, 1) for value in one] for way, one in took.items()},
    }
    summary = (
        f"{us['docket']} us for {len(rules)} rules over {len(docket.names)} names"
        f" ({hits / events:.2f} hits); plain functions {us['floor']} us ({ratio} x)"
    )
    return Result(NAME, BAR, us["docket"] <= BAR_US, summary, raw)


def some_rules(count: int) -> tuple[Rule, ...]:
    """The shipped rules, all live, and more of three comparisons each up to a count; seeded."""
    shipped = [
        replace(rule, state="live")
        for rule in read_rule_set(Settings()).rules
        if "transaction" in rule.applies_to
    ]
    chance = random.Random(7)
    names = sorted(name for name, one in BY_NAME.items() if one.unit in ("count", "money"))
    names = chance.sample(names, min(len(names), 40))
    rows: list[dict[str, Any]] = []
    for number in range(count - len(shipped)):
        first, second = chance.sample(names, 2)
        when = f"{_asked(first, chance)} && {_asked(second, chance)} && score >= {number}"
        row = {"id": f"r{number}", "title": "One of many", "reason": "One of many.", "when": when}
        rows.append({**row, "action": "challenge", "state": "live"})
    more = read_rules({"version": 2, "rules": rows}, vocabulary(BY_NAME), shipped)
    return (*shipped, *more)


def _asked(name: str, chance: random.Random) -> str:
    if BY_NAME[name].unit == "money":
        return f'{name} >= money("{chance.randrange(100, 9000)}.00")'
    return f"{name} >= {chance.randrange(2, 9)}"


def _values(seed: int) -> dict[str, Any]:
    """A described payment: most of it small, some of it null."""
    chance = random.Random(seed)
    drawn: dict[str, Any] = {}
    for name, feature in BY_NAME.items():
        if chance.random() < 0.1:
            drawn[name] = None
        elif feature.unit == "count":
            drawn[name] = int(chance.expovariate(0.7))
        elif feature.unit == "money":
            amount = chance.expovariate(1 / 60_000)
            drawn[name] = amount if ".mean." in name else int(amount)
        elif feature.unit == "flag":
            drawn[name] = int(chance.random() < 0.2)
        else:
            drawn[name] = chance.random() * 3
    country = chance.choice(["CN", "SG"])
    said = {"event.payee_country": country, "event.country": "CN", "event.late": 0}
    return {**drawn, **said, "score": int(chance.expovariate(0.02)) % 1000, "anomaly": 90}


def _judged(docket: Docket, values: dict[str, Any]) -> None:
    for hit in docket.hits("transaction", values, 0)[0]:
        reason(hit)


def _time(judge: Any, values: list[dict[str, Any]]) -> float:
    began = time.perf_counter()
    for one in values:
        judge(one)
    return (time.perf_counter() - began) / len(values) * 1e6
