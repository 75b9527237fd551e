"""Is a part that dies started again, and the flow as a whole, and does all of it end?"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flows import supervise
from flows.clock import wall_us
from flows.errors import NotReady
from flows.spare import Call, called, spawn_spare
from flows.supervise import Part, Supervisor, command, spawn, until
from risk import names
from tests import servers

_WAITS = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


def _run(data: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((data / "run.json").read_text(encoding="utf-8"))
    return told


@pytest.fixture
def supervisor(
    tmp_path: Path, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> Iterator[Supervisor]:
    """A supervisor whose flow is two processes that only wait."""
    monkeypatch.setattr(supervise, "command", lambda part, *args: [*_WAITS, part, *args])
    made = Supervisor(tmp_path, 2, 1.0, lambda: client)
    try:
        yield made
    finally:
        for part in made._all():
            made._kill(part)


def _start(data: Path, line: list[str] | None = None) -> "Callable[[], subprocess.Popen[bytes]]":
    return lambda: spawn(line or _WAITS, data / "log" / "part.log")


def _nowhere() -> "redis.Redis":
    return redis.Redis(port=servers.free_port(), retry=Retry(NoBackoff(), 0))


def _watch_until(supervisor: Supervisor, found: Callable[[], bool]) -> None:
    for _ in range(6_000):
        supervisor.watch()
        if found():
            return
        time.sleep(0.01)
    raise AssertionError("what was waited for did not come")


def _kill(part: Part) -> int:
    assert part.process is not None
    pid = part.process.pid
    os.kill(pid, signal.SIGKILL)
    part.process.wait(60)
    return pid


def test_run_json_names_each_part_s_process_and_keeps_what_else_it_tells(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.write_run(http="http://127.0.0.1:1")
    part = supervisor.add("gateway", _start(tmp_path))
    assert part.process is not None
    assert _run(tmp_path) == {
        "http": "http://127.0.0.1:1",
        "pids": {"supervisor": os.getpid(), "gateway": part.process.pid},
    }


def test_a_part_that_dies_is_started_again_and_run_json_follows(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    part, other = (supervisor.add(name, _start(tmp_path)) for name in ("gateway", "notify"))
    before = other.process
    killed = _kill(part)
    _watch_until(supervisor, lambda: part.alive)
    assert part.process is not None
    assert part.process.pid != killed
    assert _run(tmp_path)["pids"]["gateway"] == part.process.pid
    assert other.process is before


def test_a_part_that_dies_again_and_again_is_given_a_growing_pause(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    part = supervisor.add("gateway", _start(tmp_path, [sys.executable, "-S", "-c", ""]))
    pauses = []
    for _ in range(6):
        assert part.process is not None
        part.process.wait(60)
        now = time.monotonic()
        part.due = 0.0
        supervisor._look_after(part, now)
        pauses.append(part.due - now if part.due else 0.0)
    assert pauses[0] == 0.0
    assert pauses[1:] == sorted(pauses[1:])
    assert pauses[-1] == pytest.approx(2.0)


def test_a_part_that_stays_up_is_forgiven(supervisor: Supervisor, tmp_path: Path) -> None:
    part = supervisor.add("gateway", _start(tmp_path))
    part.fails = 3
    supervisor._look_after(part, part.started + 5.0)
    assert part.fails == 3
    supervisor._look_after(part, part.started + 11.0)
    assert part.fails == 0


def test_a_run_json_that_cannot_be_written_stops_nothing_and_is_written_as_soon_as_it_can(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """As on a full disk: a part that dies then is started again, and told of later."""
    supervisor.write_run(http="http://127.0.0.1:1")
    part = supervisor.add("gateway", _start(tmp_path))
    (tmp_path / "run.new").mkdir()  # in the way of what is written
    supervisor.write_run(page="http://localhost:1")
    killed = _kill(part)
    _watch_until(supervisor, lambda: part.alive)
    assert _run(tmp_path)["pids"]["gateway"] == killed
    (tmp_path / "run.new").rmdir()
    supervisor.watch()
    assert part.process is not None
    assert _run(tmp_path) == {
        "http": "http://127.0.0.1:1",
        "page": "http://localhost:1",
        "pids": {"supervisor": os.getpid(), "gateway": part.process.pid},
    }


def test_a_part_that_cannot_be_started_is_tried_again(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Its log can't be opened, as on a full disk; the flow's is another such."""
    part = supervisor.add("gateway", _start(tmp_path))
    supervisor.add_flow()
    (tmp_path / "log").rename(tmp_path / "away")
    (tmp_path / "log").write_text("in the way of the logs")
    _kill(part)
    _kill(supervisor.flows[0])
    _watch_until(supervisor, lambda: part.fails > 1 and not supervisor.flows[0].alive)
    assert not part.alive
    (tmp_path / "log").unlink()
    _watch_until(supervisor, lambda: part.alive and all(one.alive for one in supervisor.flows))
    assert len(supervisor.flows) == 2


def test_when_one_process_of_the_flow_dies_all_start_again_as_a_new_generation(
    supervisor: Supervisor, client: "redis.Redis", tmp_path: Path
) -> None:
    supervisor.add_flow()
    assert [part.name for part in supervisor.flows] == ["flow-0", "flow-1"]
    first = [part.process for part in supervisor.flows]
    assert client.get(names.GENERATION) == b"2"
    _kill(supervisor.flows[1])
    _watch_until(supervisor, lambda: client.get(names.GENERATION) == b"3")
    assert all(part.alive for part in supervisor.flows)
    assert all(process is not None and process.poll() is not None for process in first)
    pids = {part.process.pid for part in supervisor.flows if part.process is not None}
    assert pids == {_run(tmp_path)["pids"][f"flow-{number}"] for number in range(2)}
    line = supervisor.flows[1].process
    assert line is not None
    assert {"--generation", "3", "--process", "1", "--addresses"} <= set(map(str, line.args))  # type: ignore[arg-type]


def test_a_flow_that_fell_silent_is_started_again(
    supervisor: Supervisor, client: "redis.Redis"
) -> None:
    supervisor.add_flow()
    _started_ago(supervisor, 120)
    now_ms = wall_us() // 1000
    client.hset(names.FLOW_BEAT, mapping={"0": now_ms, "1": now_ms - 60_000})
    _watch_until(supervisor, lambda: client.get(names.GENERATION) == b"3")


def test_a_flow_that_has_just_started_may_be_silent_for_a_while(
    supervisor: Supervisor, client: "redis.Redis"
) -> None:
    client.hset(names.FLOW_BEAT, mapping={"0": 1, "1": 1})  # of the one before it
    supervisor.add_flow()
    _started_ago(supervisor, supervise._FIRST_BEAT_SECONDS / 2)
    supervisor.watch()
    assert client.get(names.GENERATION) == b"2"
    _started_ago(supervisor, supervise._FIRST_BEAT_SECONDS)
    _watch_until(supervisor, lambda: client.get(names.GENERATION) == b"3")


def _started_ago(supervisor: Supervisor, seconds: float) -> None:
    supervisor._watched_since -= seconds
    supervisor._spawned -= seconds


@pytest.mark.parametrize("step_ms", [250, -3_600_000, 3_600_000])
def test_a_flow_that_beats_is_left_alone_however_the_clock_steps(
    supervisor: Supervisor, client: "redis.Redis", step_ms: int
) -> None:
    supervisor.silence_seconds = 0.5
    supervisor.add_flow()
    _started_ago(supervisor, 60)
    before = [part.process for part in supervisor.flows]
    beat_ms, looks = wall_us() // 1000, 0

    def beaten() -> bool:
        nonlocal beat_ms, looks
        looks, beat_ms = looks + 1, beat_ms + step_ms
        client.hset(names.FLOW_BEAT, mapping={"0": beat_ms, "1": beat_ms})
        return looks > 150

    _watch_until(supervisor, beaten)
    assert [part.process for part in supervisor.flows] == before


def test_time_in_which_nobody_looked_is_no_silence(
    supervisor: Supervisor, client: "redis.Redis"
) -> None:
    """The machine slept, and the flow with it: it gets the time to beat again."""
    supervisor.add_flow()
    _started_ago(supervisor, 60)
    client.hset(names.FLOW_BEAT, mapping={"0": 1, "1": 1})
    supervisor._looked -= 60
    supervisor.watch()
    before = [part.process for part in supervisor.flows]
    supervisor._looked -= 60
    supervisor.watch()
    assert [part.process for part in supervisor.flows] == before
    _watch_until(supervisor, lambda: client.get(names.GENERATION) == b"3")


@pytest.mark.parametrize("works", [True, False])
def test_a_flow_that_works_may_be_silent_for_longer_than_one_that_stands_still(
    tmp_path: Path, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    line = [sys.executable, "-S", "-c", "while True: pass"] if works else _WAITS
    monkeypatch.setattr(supervise, "command", lambda *_: line)
    supervisor = Supervisor(tmp_path, 1, 1.0, lambda: client)
    try:
        supervisor.add_flow()
        _started_ago(supervisor, 60)
        client.hset(names.FLOW_BEAT, "0", 1)
        longest = 0.0

        def restarted() -> bool:
            nonlocal longest
            longest = max(longest, supervisor._quiet.get(0, 0.0))
            return client.get(names.GENERATION) == b"3"

        _watch_until(supervisor, restarted)
        assert longest > supervise._BUSY_TIMES - 1 if works else longest < 2
    finally:
        for part in supervisor.flows:
            supervisor._kill(part)


def test_while_redis_is_away_nobody_is_called_silent(
    supervisor: Supervisor, client: "redis.Redis"
) -> None:
    supervisor.add_flow()
    _started_ago(supervisor, 60)
    supervisor.connect = _nowhere
    before = [part.process for part in supervisor.flows]
    supervisor.watch()
    assert [part.process for part in supervisor.flows] == before
    supervisor.connect = lambda: client


def test_a_flow_that_dies_while_redis_is_away_starts_once_it_is_back(
    supervisor: Supervisor, client: "redis.Redis"
) -> None:
    supervisor.add_flow()
    supervisor.connect = _nowhere
    _kill(supervisor.flows[0])
    supervisor.watch()
    assert not any(part.alive for part in supervisor.flows)
    supervisor.connect = lambda: client
    _watch_until(supervisor, lambda: all(part.alive for part in supervisor.flows))
    assert client.get(names.GENERATION) == b"3"


def test_the_end_drains_the_gateway_first_and_redis_last(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = (
        "import signal, sys, pathlib, time\n"
        "def end(*_):\n"
        "    with open(sys.argv[1], 'a') as file: file.write(sys.argv[2] + '\\n')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1] + '.' + sys.argv[2]).touch()\n"
        "time.sleep(600)\n"
    )
    order = tmp_path / "order"
    for name in ("redis", "ledger", "gateway", "notify"):
        line = [sys.executable, "-S", "-c", code, str(order), name]
        supervisor.add(name, _start(tmp_path, line))
        ready = order.with_name(f"order.{name}")
        _watch_until(supervisor, ready.exists)
    supervisor.end()
    told = order.read_text().split()
    assert (told[0], told[-1]) == ("gateway", "redis")
    assert set(told[1:-1]) == {"ledger", "notify"}
    assert not any(part.alive for part in supervisor.parts)


def test_a_part_that_does_not_drain_is_killed(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_DRAIN_SECONDS", 0.1)
    code = (
        "import signal, sys, pathlib, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(600)\n"
    )
    ready = tmp_path / "deaf"
    part = supervisor.add(
        "notify", _start(tmp_path, [sys.executable, "-S", "-c", code, str(ready)])
    )
    _watch_until(supervisor, ready.exists)
    supervisor.end()
    assert part.process is not None
    assert part.process.returncode == -signal.SIGKILL


def test_waiting_for_a_part_ends_when_it_is_ready_or_by_name_when_it_is_not() -> None:
    looked: list[int] = []
    until("gateway", lambda: len(looked) == 3, lambda: looked.append(1), 60.0)
    assert len(looked) == 3
    with pytest.raises(NotReady, match=r"gateway was not ready within 0\.0 s; see the logs"):
        until("gateway", lambda: False, lambda: None, 0.0)


def test_a_part_is_started_with_this_interpreter() -> None:
    assert command("flow", "--process", "1") == [
        sys.executable, "-m", "flows.cli", "flow", "--process", "1",
    ]  # fmt: skip


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    for word in ("one", "two"):
        line = [sys.executable, "-S", "-c", f"print({word!r})"]
        assert spawn(line, tmp_path / "log" / "x.log").wait(30) == 0
    assert (tmp_path / "log" / "x.log").read_text().split() == ["one", "two"]


_BECOMES = [
    sys.executable,
    "-S",
    "-c",
    (
        "import sys, time\n"
        "told = sys.stdin.readline() if '--spare' in sys.argv else ''\n"
        "open(sys.argv[1], 'a').write(told)\n"
        "time.sleep(600 if told or '--spare' not in sys.argv else 0)"
    ),
]


@pytest.fixture
def spared(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Supervisor]:
    """The same supervisor, with two spares that write down what they are told."""
    line = [*_BECOMES, str(tmp_path / "told")]
    monkeypatch.setattr(supervise, "command", lambda part, *args: [*line, part, *args])
    monkeypatch.setattr(supervise, "_SPARE_AFTER_SECONDS", 0.0)
    supervisor.spares = 2
    yield supervisor
    supervisor.end()


def _spares(supervisor: Supervisor) -> list[int]:
    pids = _run(supervisor.data)["pids"]
    return [pid for name, pid in pids.items() if name.startswith("spare-")]


def test_a_cluster_that_dies_is_stepped_in_for_by_its_spares(spared: Supervisor) -> None:
    spared.add_flow()
    _watch_until(spared, lambda: len(_spares(spared)) == 2)
    spares = _spares(spared)
    os.kill(_run(spared.data)["pids"]["flow-1"], signal.SIGKILL)
    _watch_until(spared, lambda: len(set(_spares(spared)) - set(spares)) == 2)
    pids = _run(spared.data)["pids"]
    assert [pids["flow-0"], pids["flow-1"]] == spares
    _watch_until(spared, lambda: (spared.data / "told").read_text().count("\n") == 2)
    told = [json.loads(line) for line in (spared.data / "told").read_text().splitlines()]
    assert sorted(one["process"] for one in told) == [0, 1]
    assert len({one["generation"] for one in told}) == 1
    assert len(told[0]["addresses"].split(";")) == 2


def test_a_spare_that_died_is_not_called_and_is_replaced(spared: Supervisor) -> None:
    spared.add_flow()
    _watch_until(spared, lambda: len(_spares(spared)) == 2)
    dead, alive = _spares(spared)
    os.kill(dead, signal.SIGKILL)
    _watch_until(spared, lambda: len(_spares(spared)) == 2 and dead not in _spares(spared))
    assert alive in _spares(spared)


def test_a_spare_that_nobody_calls_ends_with_who_might_have(tmp_path: Path) -> None:
    spare = spawn_spare(command("flow", "--data", str(tmp_path), "--spare"), tmp_path / "log")
    assert spare.stdin is not None
    spare.stdin.close()
    assert spare.wait(60) == 0
    assert not called(spare, Call(0, 1, ""))
    assert not (tmp_path / "secrets").exists(), "it has not touched the data directory"
