"""`ringback`: the composition root and its commands."""

import argparse
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.errors import AuditError
from config.settings import BadConfig
from flows.errors import FlowError
from flows.features_command import features_app
from flows.lists_command import lists_app
from flows.models_command import models_app
from flows.rules_command import rules_app, staff_app
from flows.templates_command import app as templates_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Real-time fraud decisions that ring the customer back before the money moves.",
)
Data = Annotated[Path, typer.Option(help="The data directory.")]
VAR = Path("var")
RECOVER = "Redis has lost what the ledger holds: put back what can be, and go on."


def _house(data: Path, **over: Any) -> Any:
    from flows.parts import open_house

    return open_house(data, {key: value for key, value in over.items() if value is not None})


def _say(text: str) -> None:
    typer.echo(text)


@app.command()
def init(data: Data = VAR) -> None:
    """Make a data directory with its secrets; `run` does it too."""
    house = _house(data)
    _say(f"{house.data} is ready; its secrets are in {house.data / 'secrets'} (mode 0600).")


@app.command()
def run(
    data: Data = VAR,
    http: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 picks one.")] = None,
    demo: Annotated[bool, typer.Option(help="Play a small bank, with you as a customer.")] = False,
    workers: Annotated[int | None, typer.Option(help="Flow processes.")] = None,
    recover: Annotated[bool, typer.Option("--recover-from-ledger", help=RECOVER)] = False,
) -> None:
    """Start everything, and end it on Ctrl-C."""
    from flows.run import run as run_all

    over = {"engine": {"processes": workers}} if workers else {}
    house = _house(data, **over)
    if demo:
        from flows.demo import prepare

        prepare(house)

    def told(running: Any) -> None:
        _say(running.ready_line())
        if demo:
            from flows.demo import play

            play(running, _say)

    run_all(house, http=http or house.settings.http, demo=demo, told=told, recover=recover)


@app.command()
def flow(
    data: Data = VAR,
    process: int = 0,
    generation: Annotated[int, typer.Option(help="0 takes the next one.")] = 0,
    addresses: Annotated[str, typer.Option(help="host:port;host:port of the cluster.")] = "",
    spare: Annotated[bool, typer.Option(help="Wait for what to do on standard input.")] = False,
) -> None:
    """One process of the flow, alone."""
    from flows import parts
    from flows.live import next_generation, settle_layout
    from flows.redis_server import wait
    from flows.spare import waited_for

    if spare:
        call = waited_for()
        if call is None:
            return
        process, generation, addresses = call
    house = _house(data)
    if not generation:
        client = wait(house.redis_url)
        settle_layout(client, house.settings)
        generation = next_generation(client)
    parts.flow(house, generation, process, [one for one in addresses.split(";") if one])


@app.command()
def gateway(
    data: Data = VAR,
    http: Annotated[str, typer.Option(help="HOST:PORT; port 0 picks one.")] = "127.0.0.1:8080",
    demo: bool = False,
) -> None:
    """The HTTP gateway, alone."""
    from flows import parts

    host, _, port = http.rpartition(":")
    parts.gateway(_house(data), host, int(port), demo=demo)


@app.command()
def ledger(
    data: Data = VAR,
    recover: Annotated[bool, typer.Option("--recover-from-ledger", help=RECOVER)] = False,
    witness: Annotated[list[str] | None, typer.Option(help="URL of one more witness.")] = None,
) -> None:
    """The one writer of the ledger, alone."""
    from flows import parts

    log = logging.getLogger("ringback.ledger")
    parts.ledger(_house(data), lambda: log.info("writes"), recover=recover, witnesses=witness or ())


@app.command()
def notify(
    data: Data = VAR,
    page: Annotated[str, typer.Option(help="Where the customer's pages are.")] = "",
) -> None:
    """The notifier, alone; a second one stands by."""
    from flows import parts

    parts.notify(_house(data), page)


@app.command()
def replay(
    file: Path,
    data: Annotated[Path | None, typer.Option(help="Secrets and settings to use.")] = None,
    label_delay: Annotated[str, typer.Option(help="When labels become known: 7d, 12h, 0d.")] = "7d",
    out: Annotated[Path | None, typer.Option(help="Keep report, decisions, models here.")] = None,
    no_ledger: Annotated[bool, typer.Option("--no-ledger", help="Put nothing on record.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first N facts.")] = None,
    batch: Annotated[int | None, typer.Option(help="Facts a batch.")] = None,
    columns: Annotated[
        Path | None, typer.Option("--map", help="Which column is what, YAML: docs/replay.md.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="What `simulate --truth` wrote, for a file without labels.")
    ] = None,
    speed: Annotated[str, typer.Option(help="max, or so many times real time.")] = "max",
    answers: Annotated[
        str | None,
        typer.Option(help="Simulated customers: RATE,WRONG[,PER_DAY] such as 0.6,0.03,100."),
    ] = None,
    seek: Annotated[
        str | None,
        typer.Option(help="Of those a day, at most FOLLOW_UPS,REVIEWS[,PAYMENTS] that seek."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV of customers' groups (customer,age_band,region) for the report."),
    ] = None,
    challenger: Annotated[
        list[str] | None, typer.Option(help="Models to score in shadow: `ringback models list`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Run the flow over a file (NDJSON, CSV, parquet), as fast as it goes, and report."""
    from flows.replay_command import replay_file

    over: dict[str, Any] = {"engine": {"batch": batch}} if batch else {}
    if challenger:
        over["models"] = {"challengers": challenger}
    report = replay_file(
        file,
        data=data,
        over=over,
        label_delay=label_delay,
        out=out,
        with_ledger=not no_ledger,
        limit=limit,
        quiet=as_json,
        columns=columns,
        truth=truth,
        speed=speed,
        answers=answers,
        seek=seek,
        groups=groups,
    )
    if as_json:
        _say(json.dumps(report))
        return
    from flows.replay_command import show

    show(report)


@app.command()
def backfill(
    file: Path,
    data: Data = VAR,
    label_delay: Annotated[str, typer.Option(help="When labels become known.")] = "7d",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Fill profiles and model from history; decides nothing, asks nobody, can be resumed."""
    from flows import backfill as filling
    from flows.replay_command import bar, span_us

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    house = _house(data)
    with filling.own_servers(house), bar(as_json, file.name) as progress:
        counted = filling.backfill(house, file, delay_us=span_us(label_delay), progress=progress)
    _say(json.dumps(counted) if as_json else f"filled: {counted}")


app.add_typer(features_app, name="features")
app.add_typer(models_app, name="models")
app.add_typer(rules_app, name="rules")
app.add_typer(lists_app, name="lists")
app.add_typer(staff_app, name="staff")
app.add_typer(templates_app, name="templates")
dead = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be taken, and why.")
app.add_typer(dead, name="dead")


@dead.command("list")
def dead_list(
    data: Data = VAR,
    limit: int = 50,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show the dead letters, newest first; personal values stay masked."""
    from flows import dead as letters

    rows = letters.listed(_house(data), limit)
    if as_json:
        _say(json.dumps(rows))
        return
    for row in rows:
        _say(f"{row['id']}  {row['reason']}  {row['problem']}")
    if not rows:
        _say("There are no dead letters.")


@dead.command("resubmit")
def dead_resubmit(ids: list[str], data: Data = VAR) -> None:
    """Put dead letters back into the inbox, after what was wrong has been mended."""
    from flows import dead as letters

    for ident in ids:
        _say(letters.resubmitted(_house(data), ident))


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Where the events go, NDJSON.")],
    customers: int = 1000,
    days: int = 30,
    seed: int = 1,
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")] = "2026-01-05",
    scenario: Annotated[list[str] | None, typer.Option(help="Only these frauds.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Where the truth goes, NDJSON.")] = None,
    label_delay: Annotated[str, typer.Option(help="Put label events in, this late; '' none.")] = "",
    drift: Annotated[
        int | None, typer.Option(help="From this day on all amounts come in another unit (x 3).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Write a seeded bank's events: people who live, and some who are robbed."""
    from flows.simulate_command import simulate_file

    counted = simulate_file(
        out,
        customers=customers,
        days=days,
        seed=seed,
        start=start,
        scenarios=scenario,
        truth=truth,
        label_delay=label_delay,
        drift=drift,
    )
    if as_json:
        _say(json.dumps(counted))
    else:
        for kind, count in counted.items():
            _say(f"{count:>9}  {kind}")


@app.command()
def doctor(data: Data = VAR, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Say what is wrong and what to do; status 1 where something is."""
    from flows.doctor import channels, examine

    house = _house(data)
    found = examine(house)
    if as_json:
        _say(json.dumps(found))
    else:
        for line in channels(house):
            _say(line)
        for line in found or ["Nothing is wrong."]:
            _say(line)
    raise typer.Exit(1 if found else 0)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def audit(context: typer.Context) -> None:
    """The evidence: `ringback audit verify PATH`, `prove`, ...; the same as `python -m audit`.

    Two more here, which need Redis too: `ringback audit reconcile [--data DIR] [--json]`, and
    `ringback audit review [--data DIR] [--every MINUTES] [--json]`. `export` is on record first.
    """
    if context.args[:1] == ["reconcile"]:
        raise typer.Exit(_reconcile(context.args[1:]))
    if context.args[:1] == ["export"]:
        from flows.reading import export

        raise typer.Exit(export(context.args[1:], VAR))
    if context.args[:1] == ["review"]:
        from flows.review import command

        raise typer.Exit(command(context.args[1:], VAR))
    from audit.cli import main as audit_main

    raise typer.Exit(audit_main(context.args))


case = typer.Typer(no_args_is_help=True, help="Cases, as the ledger tells them.")
app.add_typer(case, name="case")


@case.command(
    "show",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def case_show(context: typer.Context) -> None:
    """Show a case's records, once the reading is on record: `case show ID [--disclose PATH]`."""
    from flows.reading import show_case

    raise typer.Exit(show_case(context.args, VAR))


@case.command(
    "find",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def case_find(context: typer.Context) -> None:
    """Find records, once the reading is on record: `case find --customer ID --since 2026-05-01`."""
    from flows.reading import find_records

    raise typer.Exit(find_records(context.args, VAR))


@case.command(
    "replay",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def case_replay(context: typer.Context) -> None:
    """Decide an event again from the record alone: `case replay EVENT`; status 1 if otherwise."""
    from flows.case_replay import replay_case

    raise typer.Exit(replay_case(context.args, VAR))


@case.command(
    "explain",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def case_explain(context: typer.Context) -> None:
    """Say why an event has its score, once the reading is on record: `case explain EVENT`."""
    from flows.explained import explain_case

    raise typer.Exit(explain_case(context.args, VAR))


def _reconcile(args: list[str]) -> int:
    from flows.reconcile import reconcile

    parser = argparse.ArgumentParser(prog="ringback audit reconcile")
    parser.add_argument("--data", type=Path, default=VAR, help="The data directory.")
    parser.add_argument("--json", action="store_true", help="One JSON object.")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="Handed-out cases, as proof."
    )
    chosen = parser.parse_args(args)
    found = reconcile(_house(chosen.data), bundles=chosen.bundle)
    if chosen.json:
        _say(json.dumps(found.as_json()))
    else:
        for side, counted in found.counted.items():
            _say(f"{side:>7}: " + ", ".join(f"{n} {step}" for step, n in counted.items()))
        for who, events in found.apart.items():
            _say(f"{who.replace('_', ' ')}: {len(events)} {' '.join(events[:20])}")
        for one in found.missing:
            _say(f"MISSING {one}")
        _say(f"{len(found.missing)} are missing." if found.missing else "Both sides agree.")
    return 1 if found.missing else 0


def main() -> None:
    """Run a command; what goes wrong is told in a line, not in a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("slixmpp").setLevel(logging.WARNING)
    try:
        app()
    except (FlowError, BadConfig) as wrong:
        typer.echo(f"ringback: {wrong}", err=True)
        sys.exit(2)
    except AuditError as wrong:
        typer.echo(f"ringback: {type(wrong).__name__}: {wrong}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
