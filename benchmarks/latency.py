"""How long does the bank wait for a decision, against the same way with nothing decided?

Single ``POST /v1/events`` at fixed rates; the product and the floor (``floors/echo.py``) take
turns, each alone on the machine while it is measured.
"""

from __future__ import annotations

from typing import Any

from benchmarks import harness
from benchmarks.harness import Given, Result

NAME = "latency"
BAR = "p50 <= 3 x floor, p99 <= 5 x floor, at 100, 300 and 500/s"
TARGET_P99_MS = 25.0
CUSTOMERS = 20_000


def run(given: Given) -> Result:
    """Measure product and floor in turns; medians of the rounds are compared."""
    rates = (50, 100) if given.quick else (100, 300, 500)
    rounds, seconds = (1, 2.0) if given.quick else (3, 20.0)
    rounds = given.rounds or rounds
    found: list[dict[str, Any]] = []
    for number in range(rounds):
        turns = ("floor", "product") if number % 2 == 0 else ("product", "floor")
        for who in turns:
            found += _turn(who, number, rates, seconds)
    compared = [_compare(rate, found) for rate in rates]
    met = all(row["p50_ratio"] <= 3 and row["p99_ratio"] <= 5 for row in compared)
    overloaded = sorted({row["rate"] for row in found if not harness.healthy(row)})
    worst = compared[-1]
    summary = "; ".join(
        f"{row['rate']}/s p50 {row['product_p50_ms']} ms ({row['p50_ratio']} x), "
        f"p99 {row['product_p99_ms']} ms ({row['p99_ratio']} x)"
        for row in compared
    )
    if overloaded:
        summary += f"; overloaded at {', '.join(map(str, overloaded))}/s"
    raw = {
        "rounds": rounds,
        "compared": compared,
        "overloaded_at": overloaded,
        "target": f"p99 <= {TARGET_P99_MS} ms at {worst['rate']}/s on a quiet machine",
        "processor_us_per_event": {
            str(rate): harness.median(
                [
                    sum(row["processor_us_per_event"].values())
                    for row in found
                    if row["who"] == "product" and row["rate"] == rate
                ]
            )
            for rate in rates
        },
        "target_met": worst["product_p99_ms"] <= TARGET_P99_MS,
        "runs": found,
    }
    return Result(NAME, BAR, met and not overloaded, summary, raw)


def _turn(who: str, number: int, rates: tuple[int, ...], seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if who == "floor":
        with harness.floor() as url:
            for rate in rates:
                bank = harness.Bank(CUSTOMERS, CUSTOMERS, f"f{number}-{rate}")
                rows.append(_row(who, number, rate, seconds, url, {}, bank))
        return rows
    with harness.running() as system:
        for rate in rates:
            bank = harness.Bank(CUSTOMERS, CUSTOMERS, f"p{number}-{rate}")
            url = f"{system.http}/v1/events"
            before = system.processor_seconds()
            row = _row(who, number, rate, seconds, url, system.headers, bank)
            spent = system.processor_seconds()
            # Of the warm-up, too: it is sent at the same rate.
            events = rate * (seconds + harness.WARM_SECONDS)
            row["processor_us_per_event"] = {
                name: round((spent[name] - before.get(name, 0.0)) / events * 1e6) for name in spent
            }
            rows.append(row)
    return rows


def _row(
    who: str,
    number: int,
    rate: int,
    seconds: float,
    url: str,
    headers: dict[str, str],
    bank: harness.Bank,
) -> dict[str, Any]:
    shots = harness.in_loop(lambda: harness.measure(url, headers, bank, rate, seconds))
    return {"who": who, "round": number, "rate": rate, **harness.told(shots, seconds)}


def _compare(rate: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"rate": rate}
    for who in ("floor", "product"):
        for share in ("p50_ms", "p99_ms"):
            mine = [one[share] for one in found if one["who"] == who and one["rate"] == rate]
            row[f"{who}_{share}"] = harness.median(mine)
    row["p50_ratio"] = round(row["product_p50_ms"] / row["floor_p50_ms"], 2)
    row["p99_ratio"] = round(row["product_p99_ms"] / row["floor_p99_ms"], 2)
    return row
