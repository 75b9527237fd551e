"""`ringback replay`: reads a file by its ending, runs the flow over it, reports."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from flows import columns as tables
from flows.assemble import counted, read_rule_set
from flows.cycles import looking_seldom
from flows.errors import BadSettings
from flows.fairness import read_groups
from flows.files import count_events
from flows.ledger_process import LedgerProcess
from flows.parts import edge_of, open_house
from flows.replay import Pace, SimulatedAnswers, Tally, facts_of, replay
from flows.report import report
from flows.shadowed import Shadowed, shown
from risk.seek import Seeking


def span_us(text: str) -> int:
    """A span such as ``7d`` or ``12h`` in microseconds."""
    found = tables.span_us(text)
    if found is None:
        raise BadSettings(f"needed a span such as 7d, 12h, 30m or 0s, got {text!r}")
    return found


def speed_of(text: str) -> float | None:
    """How many times real time; None for as fast as it goes."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise BadSettings(f"replay --speed: needed max or a positive number, got {text!r}")
    return speed


def seeking_of(text: str, per_day: int | None) -> Seeking:
    """Read ``FOLLOW_UPS,REVIEWS[,PAYMENTS]``: how a day's questions seek what is not known yet."""
    parts = text.split(",")
    counts = [int(part) if part.strip().isdecimal() else -1 for part in parts]
    asked, payments = counts[:2], counts[2] if len(counts) > 2 else Seeking().payments
    in_range = min(counts) >= 0 and payments > 0
    if len(counts) not in (2, 3) or not in_range or per_day is None or max(asked) > per_day:
        raise BadSettings(
            "replay --seek: needed FOLLOW_UPS,REVIEWS such as 30,80, each at most the questions a "
            "day of --answers RATE,WRONG,PER_DAY, and maybe the payments of a review, got "
            f"{text!r}"
        )
    return Seeking(per_day=per_day, follow_ups=asked[0], reviews=asked[1], payments=payments)


def answers_of(text: str, tally: Tally, seek: str | None = None) -> SimulatedAnswers:
    """Read ``RATE,WRONG`` or ``RATE,WRONG,PER_DAY``, and ``FOLLOW_UPS,REVIEWS``."""
    parts = text.split(",")
    try:
        rate, wrong = float(parts[0]), float(parts[1])
        per_day = int(parts[2]) if len(parts) > 2 else None
    except (ValueError, IndexError):
        parts, rate, wrong, per_day = [], 0.0, 0.0, None
    in_range = 0 <= rate <= 1 and 0 <= wrong <= 1 and (per_day is None or per_day > 0)
    if len(parts) not in (2, 3) or not in_range:
        raise BadSettings(
            "replay --answers: needed RATE,WRONG or RATE,WRONG,PER_DAY such as 0.6,0.03,100 "
            f"(shares from 0 to 1, questions a day), got {text!r}"
        )
    seeking = None if seek is None else seeking_of(seek, per_day)
    return SimulatedAnswers(rate, wrong, per_day, tally.truth, seeking)


@contextmanager
def bar(
    quiet: bool, title: str, total: int | None = None
) -> Iterator[Callable[[int], None] | None]:
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
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
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
    columns: Path | None = None,
    truth: Path | None = None,
    speed: str = "max",
    answers: str | None = None,
    seek: str | None = None,
    groups: Path | None = None,
) -> dict[str, Any]:
    """Replay a file and give the report; everything but ``out`` is gone afterwards."""
    for needed in (file, truth, groups):
        if needed is not None and not needed.is_file():
            raise BadSettings(f"replay: needed a file, got {needed}, which is none")
    if answers is not None and truth is None and file.suffix not in (".csv", ".parquet"):
        raise BadSettings(
            "replay --answers: needed --truth FILE too: a customer knows the truth before the "
            "file's own labels tell it"
        )
    if seek is not None and answers is None:
        raise BadSettings("replay --seek: needed --answers RATE,WRONG,PER_DAY too")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="ringback-replay-")))
        house = open_house(data or scratch, over)
        settings, secrets = house.settings, house.secrets
        rules = read_rule_set(settings, data)
        delay_us = span_us(label_delay)
        tally = Tally(note=None if out is None else stack.enter_context(_kept_decisions(out)))
        facts = facts_of(
            file,
            settings,
            delay_us,
            edge_of(house),
            rules.rates,
            tally,
            columns=None if columns is None else tables.read_columns(columns),
            truth=truth,
        )
        if limit is not None:
            facts = itertools.islice(facts, limit)
        of_groups = None
        if groups is not None:
            known = file.suffix in (".csv", ".parquet") and columns is None
            of_groups = read_groups(
                groups, "cus_{}".format if known else edge_of(house).customer_of
            )
        asked = None if answers is None else answers_of(answers, tally, seek)
        times = speed_of(speed)
        shadowed = Shadowed(bool(settings.models.challengers), tally.truth)
        ledger = None
        if with_ledger:
            ledger = LedgerProcess(
                out or scratch, settings.bank, settings.tenant, secrets.transport_key
            )
            stack.callback(ledger.end)
        total = None if quiet else count_events(file)
        if limit is not None:
            total = None if total is None else min(total, limit)
        with looking_seldom(), bar(quiet, file.name, total) as progress:
            seconds = replay(
                facts,
                settings,
                tally,
                rules=rules,
                nonce_key=secrets.nonce_key,
                catalogue=counted(rules, data),
                keep=ledger.keep if ledger else None,
                durable=ledger.close if ledger else None,
                models=out / "models" if out else None,
                progress=progress,
                journal=shadowed.journal,
                told=shadowed.told,
                pace=None if times is None else Pace(times),
                answers=asked,
            )
        whole = report(
            tally,
            seconds,
            delay_us,
            base=settings.base_currency,
            policy=rules.policy,
            answers=None if asked is None else asked.report(),
            groups=of_groups,
        )
        whole |= shadowed.report()
    if out is not None:
        _write(out, whole, file.name)
    return whole


@contextmanager
def _kept_decisions(out: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write each decision as a line when it is made: a long file's never fit into memory."""
    option = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    out.mkdir(parents=True, exist_ok=True)
    with (out / "decisions.ndjson").open("wb") as file:

        def note(decision: dict[str, Any]) -> None:
            file.write(orjson.dumps(decision, option=option))

        yield note


def _write(out: Path, whole: Mapping[str, Any], title: str) -> None:
    from flows.plots import DARK, LIGHT, drawn
    from flows.report_page import page

    (out / "report.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    light, dark = drawn(whole, LIGHT), drawn(whole, DARK)
    for name, picture in light.items():
        (out / f"{name}.png").write_bytes(picture)
    (out / "report.html").write_text(page(whole, title, light, dark), encoding="utf-8")


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
    _show_scenarios(console, whole["scenarios"])
    for line in shown(whole):
        console.print(line)
    asked, money = whole["friction"], whole["money"]
    console.print(
        f"asked: {asked['customers_asked']:,} of {asked['customers']:,} customers, "
        f"{asked['customers_asked_twice_or_more']:,} of them twice or more; "
        f"{asked['questions_per_1000_payments'] or 0:.1f} questions per 1,000 payments"
    )
    console.print(
        f"fraud stopped {money['fraud_stopped']} {money['currency']}, held "
        f"{money['fraud_held']}, missed {money['fraud_missed']}"
    )
    for kind, rows in whole["groups"].items():
        for group, row in rows.items():
            for name in row["flagged"]:
                console.print(
                    f"[bold]{kind} {group}[/bold]: {name.replace('_', ' ')} {row[name]:.4f}, of "
                    f"the others {row[name + '_of_others']:.4f}"
                )
    said = whole["reliability"]
    if said["payments"]:
        console.print(
            f"reliability: Brier {said['brier']:.5f}, expected calibration error {said['ece']:.5f}"
        )
    daily = whole["asked_a_day"]
    if daily["share"] is not None:
        budget = "" if daily["budget"] is None else f", budget {daily['budget']:.2%}"
        console.print(f"customers asked a day: {daily['share']:.2%}{budget}")
    if whole["answers"]:
        told = ", ".join(f"{name} {count:,}" for name, count in whole["answers"].items())
        console.print(f"simulated answers: {told}")


def _show_scenarios(console: Console, scenarios: Mapping[str, Mapping[str, Any]]) -> None:
    if not scenarios:
        return
    table = Table("scenario", "frauds", "recall in top 0.5 %", "recall at challenge", "stopped")
    for name, row in scenarios.items():
        figures = (row["recall_at_top"], row["recall_at_challenge"], row["stopped"])
        shown = ("-" if figure is None else f"{figure:.3f}" for figure in figures)
        table.add_row(name, f"{row['frauds']:,}", *shown)
    console.print(table)
