"""What can one ask of the evidence from a shell?

    verify PATH        does it hold?                       0, 1, 2 or 3, see audit/verify.py
    prove LOG INDEX    the proof of one record and its leaf, as two files
    check-proof P L    does the leaf L lie below the checkpoint of the proof P?
    writer             take rb:audit down
    witness            cosign other people's checkpoints
    export             the bundle of one case

Only what a command needs is imported, so that `verify` runs with `cryptography` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from audit.errors import AuditError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m audit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_verify(commands)
    _add_prove(commands)
    _add_check_proof(commands)
    _add_writer(commands)
    _add_witness(commands)
    _add_export(commands)
    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except AuditError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}" + "\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}" + "\n")
        return 2
    return status


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("verify", help="recompute a log, or all logs below a directory")
    parser.add_argument("path", type=Path, help="a log directory, or a ledger of several logs")
    parser.add_argument("--policy", type=Path, help="a C2SP tlog-policy, got from elsewhere")
    parser.add_argument(
        "--old-checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint that you saved earlier",
    )
    parser.add_argument(
        "--since",
        type=Path,
        action="append",
        default=[],
        metavar="CHECKPOINT",
        help="you verified the log up to this checkpoint before: only its root is compared",
    )
    _add_tsa(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.set_defaults(run=_verify)


def _add_tsa(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tsa",
        type=Path,
        action="append",
        default=[],
        metavar="PEM",
        help="certificates of a time-stamp authority whose RFC 3161 tokens count",
    )


def _verify(chosen: argparse.Namespace) -> int:
    from audit.policy import parse_policy
    from audit.verify import RULES, SELF_CONSISTENT, SELF_CONSISTENT_TEXT, to_json, verify_ledger
    from audit.verify import worst as worst_of

    policy = None if chosen.policy is None else parse_policy(chosen.policy.read_bytes())
    old = [file.read_bytes() for file in chosen.old_checkpoint]
    progress = _bar if sys.stderr.isatty() and not chosen.json else None
    reports = verify_ledger(
        chosen.path,
        policy=policy,
        old_checkpoints=old,
        since=[file.read_bytes() for file in chosen.since],
        authorities=[file.read_bytes() for file in chosen.tsa],
        workers=chosen.workers,
        progress=progress,
    )
    status = worst_of(reports)
    if chosen.json:
        _say(to_json(reports))
        return status
    for report in reports:
        _say(f"{report.origin or report.path}: {report.size} records, root {report.root[:16]}…")
        if report.first_ts:
            _say(f"  from {report.first_ts} to {report.last_ts}")
        _say(
            f"  {report.cases} cases, {report.closed} closed, {len(report.gaps)} interruptions"
            f" (log.gap){' at ' + ', '.join(map(str, report.gaps[:10])) if report.gaps else ''}"
        )
        for witness in report.witnesses:
            _say(f"  witness {witness['name']} ({witness['key']}) at {witness['time']}")
        for stamp in report.timestamps:
            _say(f"  time stamp on the head of size {stamp['size']}: {stamp['time']}")
        first = report.first
        if first is not None:
            _say(f"  BROKEN: {first}")
            for fault in report.faults[:20]:
                if fault is not first:
                    _say(f"    also: {fault}")
        for question in report.open_questions:
            _say(f"  not established: {question}")
    if status == SELF_CONSISTENT:
        _say(SELF_CONSISTENT_TEXT)
    elif status == 0:
        _say(f"verified by all {len(RULES)} rules, with the policy's witnesses")
    return status


def _add_prove(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("prove", help="write the proof of one record and its leaf")
    parser.add_argument("log", type=Path, help="the log directory")
    parser.add_argument("index", type=int)
    parser.add_argument("--out", type=Path, default=Path())
    parser.set_defaults(run=_prove)


def _prove(chosen: argparse.Namespace) -> int:
    from audit.prove import write_proof

    for file in write_proof(chosen.log, chosen.index, chosen.out):
        _say(file)
    return 0


def _add_check_proof(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("check-proof", help="check a proof that was handed out")
    parser.add_argument("proof", type=Path, help="a .tlog-proof")
    parser.add_argument("leaf", type=Path, help="the exact bytes of the record")
    parser.add_argument("--policy", type=Path, help="a C2SP tlog-policy, got from elsewhere")
    parser.set_defaults(run=_check_proof)


def _check_proof(chosen: argparse.Namespace) -> int:
    from audit.policy import parse_policy
    from audit.prove import check_proof

    policy = None if chosen.policy is None else parse_policy(chosen.policy.read_bytes())
    report = check_proof(chosen.proof.read_bytes(), chosen.leaf.read_bytes(), policy)
    for fault in report.faults:
        _say(f"BROKEN: {fault}")
    for question in report.open_questions:
        _say(f"not established: {question}")
    _say(f"record {report.index} of {report.origin}, below its head of size {report.size}")
    return report.status


def _add_writer(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("writer", help="the one writer: rb:audit into the ledger")
    parser.add_argument("--redis", required=True, metavar="URL")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--bank", required=True, help="the bank's name in the origin")
    parser.add_argument("--tenant", default="main")
    parser.add_argument(
        "--transport-key",
        type=Path,
        required=True,
        metavar="FILE",
        help="32 bytes in hexadecimal: what producers seal personal values with",
    )
    parser.add_argument("--witness", action="append", default=[], metavar="URL")
    parser.add_argument("--tsa", metavar="URL", help="ask this time-stamp authority every hour")
    parser.add_argument("--ml-dsa", action="store_true", help="cosign with ML-DSA-44 as well")
    parser.add_argument(
        "--recover-from-ledger",
        action="store_true",
        help="go on although Redis has lost what the ledger holds",
    )
    parser.set_defaults(run=_writer)


def _writer(chosen: argparse.Namespace) -> int:
    from audit.keys import read_secret
    from audit.writer import run_writer

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_writer(
        redis_url=chosen.redis,
        data_dir=chosen.data,
        origin_bank=chosen.bank,
        tenant=chosen.tenant,
        transport_key=read_secret(chosen.transport_key),
        stop=stop,
        witnesses=chosen.witness,
        tsa=chosen.tsa,
        ml_dsa=chosen.ml_dsa,
        recover_from_ledger=chosen.recover_from_ledger,
        on_ready=lambda: _say('{"ready": "ledger"}'),
    )
    return 0


def _add_witness(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("witness", help="cosign the heads of logs that only ever grow")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", required=True, help="the witness's name in its key")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument(
        "--log", action="append", default=[], metavar="VKEY", help="a log's key, or a keys file"
    )
    parser.set_defaults(run=_witness)


def _witness(chosen: argparse.Namespace) -> int:
    from audit.note import parse_vkey
    from audit.witness import Witness, WitnessServer

    rows: list[str] = []
    for given in chosen.log:
        rows += Path(given).read_text().splitlines() if Path(given).is_file() else [given]
    witness = Witness(chosen.data, chosen.name, [parse_vkey(row) for row in rows])
    host, _, port = chosen.listen.rpartition(":")
    server = WitnessServer((host, int(port)), witness)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://{host}:{server.server_port}"
    _say(json.dumps({"ready": "witness", "url": url, "vkey": witness.vkey}))
    stop.wait()
    server.shutdown()
    return 0


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("export", help="the evidence of one case as a zip")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--case", required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--policy", type=Path, help="the policy to enclose")
    parser.add_argument("--disclose", action="append", default=[], metavar="PATH")
    parser.set_defaults(run=_export)
    check = commands.add_parser("verify-bundle", help="check the evidence of one case")
    check.add_argument("bundle", type=Path)
    check.add_argument("--policy", type=Path, help="a C2SP tlog-policy, got from elsewhere")
    _add_tsa(check)
    check.set_defaults(run=_verify_bundle)


def _export(chosen: argparse.Namespace) -> int:
    from audit.export import export_case

    policy = None if chosen.policy is None else chosen.policy.read_bytes()
    _put_export_first(chosen)
    export_case(
        chosen.data,
        chosen.case,
        chosen.out,
        disclose=chosen.disclose,
        policy=policy,
        progress=_bar if sys.stderr.isatty() else None,
    )
    _say(chosen.out)
    return 0


def _put_export_first(chosen: argparse.Namespace) -> None:
    """Nothing is handed out that is not on record: while no writer runs, this is the writer."""
    import getpass

    from audit.leaf import FORMAT, utc_text
    from audit.read import head
    from audit.writer import Ledger, wall_clock

    bank, _, rest = str(head(chosen.data)["origin"]).partition("/ringback/")
    tenant = rest.split("/")[0]
    now = wall_clock()
    record = {
        "v": FORMAT,
        "kind": "export",
        "rid": f"cli/{now}/{os.getpid()}/export",
        "tenant": tenant,
        "actor": {"type": "person", "id": f"account.{getpass.getuser()}", "role": "operator"},
        "at": utc_text(now),
        "body": {"case": chosen.case, "fields": chosen.disclose},
        "grade": 1,
    }
    ledger = Ledger(chosen.data, origin_bank=bank, tenant=tenant, transport_key=bytes(32))
    try:
        ledger.append_many([record])
    finally:
        ledger.close()


def _verify_bundle(chosen: argparse.Namespace) -> int:
    from audit.export import verify_bundle
    from audit.policy import parse_policy

    policy = None if chosen.policy is None else parse_policy(chosen.policy.read_bytes())
    authorities = [file.read_bytes() for file in chosen.tsa]
    report = verify_bundle(chosen.bundle, policy=policy, authorities=authorities)
    for fault in report.faults:
        _say(f"BROKEN: {fault}")
    for question in report.open_questions:
        _say(f"not established: {question}")
    for stamp in report.timestamps:
        _say(f"time stamp on {stamp}")
    _say(f"case {report.case}: {report.records} records, status {report.status}")
    return report.status


def _bar(done: int, size: int) -> None:
    width = 40
    filled = width * done // max(size, 1)
    end = "\n" if done >= size else ""
    bar = "#" * filled + "." * (width - filled)
    sys.stderr.write(f"\r{bar} {done}/{size}{end}")
    sys.stderr.flush()


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
