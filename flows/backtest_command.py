"""`ringback rules backtest FILE`: over a file of payments, or over the ledger's own past."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from rich.console import Console
from rich.table import Column, Table

from flows import backtest, judgement
from flows.assemble import known_names, read_rule_set
from flows.changes import changed_document
from flows.errors import BadSettings
from flows.files import Fact, count_events
from flows.parts import edge_of, open_house
from flows.replay import Tally, facts_of
from flows.replay_command import bar, span_us
from flows.rules_command import combined, file_rows


def backtest_file(
    file: Path,
    *,
    events: Path | None,
    past: bool,
    data: Path | None,
    columns: Path | None = None,
    truth: Path | None = None,
    label_delay: str = "7d",
    limit: int | None = None,
    minutes: float = 6.0,
    quiet: bool = True,
) -> dict[str, Any]:
    """Backtest the rules of a file and give the comparison; nothing is written."""
    if (events is None) == (not past):
        raise BadSettings("rules backtest: needed either --events FILE or --past")
    if past and data is None:
        raise BadSettings("rules backtest --past: needed --data DIR, whose ledger is read")
    if events is not None and not events.is_file():
        raise BadSettings(f"rules backtest: needed a file of payments, got {events}, which is none")
    refused = combined(file, data)[2]
    if refused:
        raise BadSettings(refused[0])
    with TemporaryDirectory(prefix="ringback-backtest-") as scratch:
        house = open_house(data or Path(scratch))
        settings = house.settings
        known = known_names(settings, data)
        today = read_rule_set(settings, data)
        rows = orjson.loads(orjson.dumps(file_rows(file)))
        document = changed_document(orjson.loads(today.document), rows, None)
        proposed = judgement.fresh(document, known)
        rules = [rule for rule in proposed.rules if rule.id in rows]
        delay_us = span_us(label_delay)

        def facts(tally: Tally) -> Iterator[Fact]:
            if events is None:
                return itertools.islice(backtest.past(house.data, today.rates, tally), limit)
            from flows import columns as tables

            mapped = None if columns is None else tables.read_columns(columns)
            told = facts_of(
                events,
                settings,
                delay_us,
                edge_of(house),
                today.rates,
                tally,
                columns=mapped,
                truth=truth,
            )
            return itertools.islice(told, limit)

        total = None if quiet or events is None else count_events(events)
        with bar(quiet, "backtest", total) as progress:
            return backtest.run(
                facts,
                settings,
                today=today,
                proposed=proposed,
                rules=rules,
                nonce_key=house.secrets.nonce_key,
                data=data,
                lists=backtest.list_changes(data),
                progress=progress,
                minutes=minutes,
            )


def show(told: Mapping[str, Any]) -> None:
    """Print a backtest for a person."""
    console = Console()
    console.print(
        f"{told['payments']:,} payments, {told['labelled']:,} with a known truth, "
        f"from {told['from']} to {told['to']}"
    )
    whole = max(map(len, told["rules"]), default=0)  # an id is typed again: never cut
    table = Table(
        Column("rule", min_width=whole, no_wrap=True),
        "hits", "frauds hit", "honest hit", "frauds missed", "precision", "recall",
    )  # fmt: skip
    for name, row in told["rules"].items():
        counts = (f"{row[key]:,}" for key in ("hits", "true_positive", "false_positive"))
        shares = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("precision", "recall"))
        table.add_row(name, *counts, f"{row['false_negative']:,}", *shares)
    console.print(table)
    sides = Table("", "today", "proposed")
    for key in (
        "precision",
        "recall",
        "f1",
        "frauds_stopped",
        "fraud_stopped",
        "honest_payments_stopped",
        "honest_stopped",
        "questions",
        "customers_asked",
        "customers_asked_twice_in_a_day",
        "reviews",
        "officer_minutes",
    ):
        today, proposed = (told["sides"][name][key] for name in ("today", "proposed"))
        sides.add_row(key.replace("_", " "), _said(today), _said(proposed))
    console.print(sides)
    segments = [told["sides"][name]["by_segment"] for name in ("today", "proposed")]
    for segment in sorted({*segments[0], *segments[1]}):
        now, then = [side.get(segment, {}).get("questions", 0) for side in segments]
        console.print(f"questions to segment {segment}: {now:,} today, {then:,} proposed")


def _said(value: Any) -> str:
    return "-" if value is None else str(value)
