"""Does a decision take longer when more entities are known?

The same payments a second with few and with many known customers and payees, keys drawn uniformly
over all of them, a cache of at most a tenth of the fewer, in turns. Into one run of each falls a
rewrite of Redis' append-only file.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Given, Result

NAME = "population"
BAR = "p99 with 1,000,000 known entities of each kind <= 1.5 x p99 with 10,000, at 300/s"
LARGEST_RATIO = 1.5


def run(given: Given) -> Result:
    """Measure both populations in turns; the medians of their p99 are compared."""
    few, many = (10_000, 50_000) if given.quick else (10_000, 1_000_000)
    rate, seconds, rounds = (100, 5.0, 2) if given.quick else (300, 60.0, 5)
    rounds = given.rounds or rounds
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        rewriting = number == rounds // 2
        rows += [
            _one(given, count, number, rate, seconds, rewriting=rewriting)
            for count in ((few, many) if number % 2 == 0 else (many, few))
        ]
    medians = {
        count: {
            share: harness.median([row[share] for row in rows if row["known"] == count])
            for share in ("p50_ms", "p99_ms")
        }
        for count in (few, many)
    }
    ratio = round(medians[many]["p99_ms"] / medians[few]["p99_ms"], 2)
    raw = {
        "rate": rate,
        "rounds": rounds,
        "seconds": seconds,
        "cache_entities": harness.CACHED,
        "medians": {str(count): row for count, row in medians.items()},
        "p99_ratio": ratio,
        "known": [_known(given, count) for count in (few, many)],
        "runs": rows,
    }
    summary = (
        f"p99 {medians[few]['p99_ms']} ms with {few:,}, {medians[many]['p99_ms']} ms with "
        f"{many:,}: {ratio} x; p50 {medians[few]['p50_ms']} and {medians[many]['p50_ms']} ms"
    )
    overloaded = sum(not harness.healthy(row) for row in rows)
    if overloaded:
        summary += f"; overloaded in {overloaded} of {len(rows)} runs, so the ratio says little"
    return Result(NAME, BAR, ratio <= LARGEST_RATIO and not overloaded, summary, raw)


def _known(given: Given, count: int) -> Any:
    return json.loads((harness.populated(given, count) / "known.json").read_text(encoding="utf-8"))


def _one(
    given: Given, count: int, number: int, rate: int, seconds: float, *, rewriting: bool
) -> dict[str, Any]:
    known = harness.populated(given, count)
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        data = harness.copy(known, Path(folder) / "data")
        with harness.running(data) as system:
            bank = harness.Bank(count, count, f"n{number}")
            before = system.processor_seconds()
            timer = threading.Timer(2.0 + seconds / 3, _rewrite, [system])
            if rewriting:
                timer.start()
            shots = harness.in_loop(
                lambda: harness.measure(
                    f"{system.http}/v1/events", system.headers, bank, rate, seconds
                )
            )
            if rewriting:
                timer.join()
            spent = system.processor_seconds()
    return {
        "known": count,
        "round": number,
        "rewrite": rewriting,
        **harness.told(shots, seconds),
        "processor_seconds": {
            name: round(spent[name] - before.get(name, 0.0), 2) for name in spent
        },
    }


def _rewrite(system: harness.System) -> None:
    with contextlib.closing(system.connect()) as client:
        if not client.info("persistence")["aof_rewrite_in_progress"]:  # Redis may have begun itself
            client.bgrewriteaof()
