"""`ringback replay`: reads a file by its ending, runs the flow over it, reports."""

import itertools
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from flows.assemble import read_rule_set
from flows.errors import BadSettings
from flows.parts import edge_of, open_house
from flows.replay import Tally, facts_of, replay, report

_SPANS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def span_us(text: str) -> int:
    """A span such as ``7d`` or ``12h`` in microseconds."""
    found = re.fullmatch(r"(\d+)([dhms])", text)
    if found is None:
        raise BadSettings(f"needed a span such as 7d, 12h, 30m or 0s, got {text!r}")
    return int(found[1]) * _SPANS[found[2]] * 1_000_000


@contextmanager
def bar(quiet: bool, title: str) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on standard error, moved by calling what it gives; None where ``quiet``."""
    if quiet:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None)
        yield lambda count: progress.advance(task, count)


def replay_file(
    file: Path,
    *,
    data: Path | None,
    over: Mapping[str, Any],
    label_delay: str,
    out: Path | None,
    with_ledger: bool,
    limit: int | None,
    quiet: bool,
) -> dict[str, Any]:
    """Replay a file and give the report; everything but ``out`` is gone afterwards."""
    if not file.exists():
        raise BadSettings(f"replay: needed a file, got {file}, which does not exist")
    with tempfile.TemporaryDirectory(prefix="ringback-replay-") as scratch:
        home = data or Path(scratch)
        house = open_house(home, over)
        settings, secrets = house.settings, house.secrets
        rules = read_rule_set(settings, data)
        delay_us = span_us(label_delay)
        tally = Tally(decisions=[] if out is not None else None)
        facts = facts_of(file, settings, delay_us, edge_of(house), rules.rates, tally)
        if limit is not None:
            facts = itertools.islice(facts, limit)
        ledger = None
        if with_ledger:
            from audit.writer import Ledger

            ledger = Ledger(
                out or Path(scratch),
                origin_bank=settings.bank,
                tenant=settings.tenant,
                transport_key=secrets.transport_key,
            )
        try:
            with bar(quiet, file.name) as progress:
                seconds = replay(
                    facts,
                    settings,
                    tally,
                    rules=rules,
                    nonce_key=secrets.nonce_key,
                    keep=ledger.append_many if ledger else None,
                    models=out / "models" if out else None,
                    progress=progress,
                )
        finally:
            if ledger is not None:
                ledger.close()
        whole = report(tally, seconds, delay_us)
        if out is not None:
            _write(out, whole, tally)
        return whole


def _write(out: Path, whole: Mapping[str, Any], tally: Tally) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    with (out / "decisions.ndjson").open("w", encoding="utf-8") as file:
        for decision in tally.decisions or ():
            file.write(json.dumps(decision, sort_keys=True) + "\n")


def show(whole: Mapping[str, Any]) -> None:
    """Print a report for a person."""
    console = Console()
    console.print(
        f"{whole['events']:,} events in {whole['seconds']:.1f} s: "
        f"{whole['events_per_second']:,.0f} a second"
    )
    outcomes = ", ".join(f"{name} {count:,}" for name, count in whole["outcomes"].items())
    console.print(f"outcomes: {outcomes}")
    stages = ", ".join(f"{name} {value} µs" for name, value in whole["stage_mean_us"].items())
    console.print(f"mean time by stage: {stages}")
    table = Table("week", "events", "frauds", "ROC AUC", "average precision", "card precision@100")
    for week in [*whole["weeks"], {"start": "mean", **whole["mean"]}]:
        figures = (
            week.get(name) for name in ("roc_auc", "average_precision", "card_precision_at_100")
        )
        table.add_row(
            str(week["start"]),
            f"{week['events']:,}" if "events" in week else "",
            f"{week['frauds']:,}" if "frauds" in week else "",
            *("-" if figure is None else f"{figure:.3f}" for figure in figures),
        )
    console.print(table)
