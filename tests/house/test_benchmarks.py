"""Do the benchmarks run, keep what they find, and measure what they say?"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from benchmarks import __main__ as command
from benchmarks import harness
from features.catalogue import DESCRIBERS


def test_a_quick_run_writes_machine_command_bar_and_raw_numbers(
    repository: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path), "overhead"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "prove nothing" in done.stdout
    kept = json.loads((tmp_path / "overhead.json").read_text(encoding="utf-8"))
    assert kept["command"] == "python -m benchmarks --quick overhead"
    assert kept["quick"] is True
    assert kept["bar"]
    assert isinstance(kept["met"], bool)
    assert kept["date"] == kept["machine"]["measured"]
    raw = kept["raw"]
    assert raw["events"] == 3000
    assert raw["labels"] > 0, "nothing was learnt, so the floor was not compared in full"
    assert raw["us_per_event"].keys() == {"bare", "engine", "ledger"}
    assert all(len(rounds) == 1 for rounds in raw["rounds_us"].values())


def test_an_unknown_benchmark_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.main(["--quick", "lateness"])
    said = capsys.readouterr().err
    assert "lateness" in said
    assert all(name in said for name in command.ALL)


def test_every_benchmark_has_a_name_a_bar_and_a_docstring() -> None:
    from importlib import import_module

    for name in command.ALL:
        module = import_module(f"benchmarks.{name}")
        assert name == module.NAME
        assert module.BAR
        assert (module.__doc__ or "").partition("\n")[0].endswith("?")


def test_a_population_is_made_of_every_kind_of_entity() -> None:
    assert harness.NAMED.keys() == {describer.key for describer in DESCRIBERS}


def test_a_floor_has_fewer_than_sixty_lines(repository: Path) -> None:
    floors = sorted((repository / "benchmarks" / "floors").glob("*.py"))
    assert floors
    for floor in floors:
        assert len(floor.read_text(encoding="utf-8").splitlines()) < 60, floor.name


def test_a_stall_is_felt_by_every_payment_that_was_due_in_it() -> None:
    """No coordinated omission: latency counts from when a payment should have left."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if not came:  # at the first that comes
            came.append(body)
            time.sleep(0.4)  # noqa: ASYNC251  the whole server stands still
        return web.json_response({"decision": "approve"})

    came: list[bytes] = []

    async def measured() -> list[harness.Shot]:
        app = web.Application()
        app.add_routes([web.post("/", answer)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            async with harness.session({}) as client:
                bodies = [str(number).encode() for number in range(50)]
                return await harness.paced(client, f"http://127.0.0.1:{port}/", bodies, 100)
        finally:
            await runner.cleanup()

    shots = asyncio.run(measured())
    assert [shot.status for shot in shots] == [200] * 50
    assert shots[0].latency >= 0.4
    for place in range(1, 30):
        due = place / 100
        assert shots[place].latency >= 0.4 - due - 0.05, f"payment {place} forgot the stall"


def test_a_percentile_is_a_value_that_was_measured() -> None:
    latencies = [float(number) for number in range(1, 101)]
    assert harness.percentile(latencies, 0.5) == 50
    assert harness.percentile(latencies, 0.99) == 99
    assert harness.percentile([7.0], 0.999) == 7
    assert harness.median([3.0, 1.0, 2.0]) == 2


def test_a_bank_makes_the_same_payments_from_the_same_seed() -> None:
    one, other = harness.Bank(100, 100, "a"), harness.Bank(100, 100, "a")
    first = [one.payment(1_700_000_000.0) for _ in range(400)]
    assert first == [other.payment(1_700_000_000.0) for _ in range(400)]
    large = [raw for raw in first if float(json.loads(raw)["amount"]) >= 5000]
    assert len(large) == 2, "one in 200 is to be asked about"
