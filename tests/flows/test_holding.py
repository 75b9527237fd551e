"""Is a data directory run by one alone, and is what a killed run left behind ended?"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows import holding
from flows.errors import HouseTaken
from flows.holding import held

Spawn = Callable[..., "subprocess.Popen[bytes]"]
_WAITS = "import signal, sys; print(flush=True); signal.pause()"
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start a process that waits, up already; what is left of them is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, cwd: Path = tmp_path, before: str = "") -> "subprocess.Popen[bytes]":
        line = [sys.executable, "-S", "-c", before + _WAITS, *words]
        one = subprocess.Popen(line, cwd=cwd, stdout=subprocess.PIPE)
        started.append(one)
        assert one.stdout is not None
        one.stdout.readline()
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
        if one.stdout is not None:
            one.stdout.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory."""
    made = tmp_path / "house"
    (made / "redis").mkdir(parents=True)
    return made


def _tell(data: Path, **pids: int) -> None:
    (data / "run.json").write_text(json.dumps({"pids": pids}), encoding="utf-8")


def test_a_second_run_is_refused_and_told_who_has_it(data: Path) -> None:
    who = re.escape(f"{data} is run by process {os.getpid()}: end that one first")
    with held(data), pytest.raises(HouseTaken, match=who), held(data):
        pass
    with held(data):
        """What is given back can be had again."""


def test_what_a_killed_run_left_is_ended_and_nobody_elses_process_is(
    data: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "_DRAIN_SECONDS", 0.5)
    gateway = spawn("--data", str(data))
    deaf = spawn("--config", str(data / "prosody" / "prosody.cfg.lua"), before=_DEAF)
    redis = spawn(cwd=data / "redis")
    other = spawn("--data", f"{data}-of-another-bank")
    mine = spawn("--data", str(data))
    _tell(
        data,
        supervisor=mine.pid,
        redis=redis.pid,
        gateway=gateway.pid,
        prosody=deaf.pid,
        notify=other.pid,
        ledger=2**22 + 1,
    )
    with held(data):
        assert None not in (gateway.poll(), redis.poll(), deaf.poll())
        assert (other.poll(), mine.poll()) == (None, None)


@pytest.mark.parametrize("said", ["", "{", "{}"])
def test_a_run_json_that_says_nothing_ends_nothing(data: Path, said: str) -> None:
    (data / "run.json").write_text(said)
    with held(data):
        """It is held all the same."""
