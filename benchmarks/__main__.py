"""How fast is it? All bars of speed, one after the other, each beside its floor.

    python -m benchmarks [--quick] [--out DIR] [--data FILE.parquet] [--rounds N] [name ...]

Writes ``<name>.json`` (machine, command, raw numbers, bar, met or not) and prints a table. With
``--quick`` it shows that it runs, and its figures prove nothing; they go to a temporary directory
unless ``--out`` is given. Status 0 says that all ran, not that all bars were met.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import harness

#: In order: the shortest first.
ALL = (
    "rules",
    "models",
    "cost",
    "features",
    "overhead",
    "ledger",
    "latency",
    "conversation",
    "throughput",
    "restart",
    "population",
)


def main(arguments: list[str] | None = None) -> int:
    """Run what is named, else all; keep and print what was found."""
    ask = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ask.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(ALL)}")
    ask.add_argument("--quick", action="store_true", help="in short: figures prove nothing")
    ask.add_argument("--out", type=Path, help="where results go")
    ask.add_argument("--data", type=Path, help="payments for `overhead`: parquet or NDJSON")
    ask.add_argument("--rounds", type=int, help="turns of latency and population: fewer, quicker")
    ask.add_argument("--scratch", type=Path, help="a folder whose populations are used again")
    told = ask.parse_args(arguments)
    unknown = sorted(set(told.names) - set(ALL))
    if unknown:
        ask.error(f"needed names of {', '.join(ALL)}; got {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    typed = ["--quick"] * told.quick + (["--data", told.data.name] if told.data else [])
    typed += ["--rounds", str(told.rounds)] if told.rounds else []
    console = Console(stderr=True)
    table = Table("benchmark", "bar", "met", "found", "took", show_lines=True)
    with contextlib.ExitStack() as kept:
        folder = told.scratch or kept.enter_context(
            tempfile.TemporaryDirectory(prefix="ringback-bench-")
        )
        out = told.out or (Path(tempfile.mkdtemp()) if told.quick else harness.RESULTS)
        given = harness.Given(Path(folder), told.quick, told.data, told.rounds)
        for name in told.names or ALL:
            console.print(f"{name} …")
            about, began = harness.machine_now(), time.perf_counter()
            result = import_module(f"benchmarks.{name}").run(given)
            command = " ".join(["python -m benchmarks", *typed, name])
            path = harness.keep(result, quick=told.quick, out=out, about=about, typed=command)
            console.print(f"{name}: {result.summary}\n  {path}")
            took = f"{time.perf_counter() - began:.0f} s"
            table.add_row(name, result.bar, _said(result.met), result.summary, took)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if told.quick:
        print("--quick: these figures prove nothing.")
    return 0


def _said(met: bool | None) -> str:
    return {True: "yes", False: "NO", None: "-"}[met]


if __name__ == "__main__":
    sys.exit(main())
