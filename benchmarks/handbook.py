"""How well, and how fast, with no engine at all? Describe, score, learn in a plain loop.

    python -m benchmarks.handbook PARQUET [--label-delay-days 7] [--rows N] [--model ID]
                                  [--out RESULT.json]

Reads the columns of the handbook's simulated data (tx_id, seconds, customer, terminal,
amount_cents, fraud). Labels are merged by the time they become known; an event is scored before
anything is learnt from it. Prints the weekly table. This loop is also the floor that a replay's
overhead is measured against.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.payment import Payment
from features import quality, surface
from features.catalogue import DESCRIBERS
from features.describer import Profile
from features.models import BY_ID, champion
from features.moment import DAY, SECOND, Value

START_S = int(datetime(2018, 4, 1, tzinfo=UTC).timestamp())


@dataclass(slots=True)
class Chargeback:
    """Its label."""

    event: str
    fraud: bool
    known_us: int
    event_time_us: int
    customer: str
    payee: str
    features: dict[str, Value]
    source: str = "chargeback"
    device: str | None = None
    ip: str | None = None
    card: str | None = None
    terminal: str | None = None


def payments(frame: pl.DataFrame) -> Iterator[tuple[Payment, bool]]:
    """The rows, one by one, in order of time."""
    columns = frame.select("tx_id", "seconds", "customer", "terminal", "amount_cents", "fraud")
    for tx, seconds, customer, terminal, cents, fraud in columns.iter_rows():
        at = (START_S + seconds) * SECOND
        yield Payment(f"t{tx}", at, cents, f"c{customer}", f"p{terminal}"), bool(fraud)


def main() -> None:
    """Run the loop, print the table, keep the result."""
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("parquet", type=Path)
    ask.add_argument("--label-delay-days", type=float, default=7)
    ask.add_argument("--rows", type=int)
    ask.add_argument("--model", help="an id of the catalogue; the champion without")
    ask.add_argument("--out", type=Path)
    given = ask.parse_args()
    frame = pl.read_parquet(given.parquet)
    if given.rows:
        frame = frame.head(given.rows)
    delay = int(given.label_delay_days * DAY)

    model = BY_ID[given.model].make() if given.model else champion()
    held: list[dict[str, Profile]] = [{} for _ in DESCRIBERS]
    pending: list[tuple[Payment, bool, dict[str, Value]]] = []
    heard = 0
    scores = np.empty(len(frame))
    spent = {"describe": 0, "score": 0, "hear": 0, "learn": 0, "observe": 0}
    clock = time.process_time_ns
    began = time.perf_counter()
    for at, (payment, fraud) in enumerate(payments(frame)):
        while heard < len(pending) and pending[heard][0].time_us + delay <= payment.time_us:
            old, was_fraud, scored = pending[heard]
            pending[heard] = None  # type: ignore[call-overload]
            heard += 1
            t0 = clock()
            label = Chargeback(
                old.id, was_fraud, old.time_us + delay, old.time_us, old.customer, old.payee, scored
            )
            for describer, profiles in zip(DESCRIBERS, held, strict=True):
                if owner := describer.entity_of_label(label):
                    profiles[owner].hear(label)
            t1 = clock()
            model.learn_one(scored, was_fraud)
            spent["hear"] += t1 - t0
            spent["learn"] += clock() - t1
        t0 = clock()
        features = surface.describe(payment)
        mine = []
        for describer, profiles in zip(DESCRIBERS, held, strict=True):
            entity = describer.entity(payment)
            if entity is None:
                continue
            profile = profiles.get(entity)
            if profile is None:
                profile = profiles[entity] = describer.new()
            mine.append(profile)
            features.update(profile.describe(payment))
        t1 = clock()
        scores[at] = model.score_one(features)
        t2 = clock()
        for profile in mine:
            profile.observe(payment)
        spent["describe"] += t1 - t0
        spent["score"] += t2 - t1
        spent["observe"] += clock() - t2
        pending.append((payment, fraud, features))
    took = time.perf_counter() - began

    table = quality.weeks(
        frame["seconds"].to_numpy().astype(np.int64) + START_S,
        frame["customer"].to_numpy().astype(np.int64),
        frame["fraud"].to_numpy().astype(bool),
        scores,
        delay_s=int(delay // SECOND),
    )
    for week in table:
        print(week)
    result = {
        "command": " ".join(["python -m benchmarks.handbook", given.parquet.name, *sys.argv[2:]]),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "model": model.id,
        "rows": len(frame),
        "seconds": round(took, 1),
        "us_per_event": {stage: round(ns / len(frame) / 1000, 1) for stage, ns in spent.items()},
        "snapshot_bytes": len(model.dump()),
        **quality.report(table),
    }
    shown = {name: value for name, value in result.items() if name != "weeks"}
    print(json.dumps(shown, indent=2))
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
