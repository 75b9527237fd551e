"""A backfill that is killed and resumed leaves what an undisturbed one leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from flows.assemble import counted, read_rule_set
from flows.backfill import FlowRuns, backfill, own_servers
from flows.catalogue import settle_catalogue
from flows.clock import wall_us
from flows.parts import House, open_house
from flows.simulate import simulate
from flows.simulate_command import with_labels
from risk import names
from tests import servers
from tests.patience import PATIENCE


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Three weeks of a small bank, labels in it."""
    from datetime import timedelta

    path = tmp_path / "history.ndjson"
    told = with_labels(
        simulate(seed=9, customers=40, days=20, start=datetime(2026, 1, 5, tzinfo=UTC), fraud=10.0),
        timedelta(days=3),
    )
    with path.open("w") as file:
        for happening in told:
            file.write(json.dumps(happening.event) + "\n")
    return path


def _twin(tmp_path: Path, name: str) -> House:
    """A data directory with the same secrets as every other of this test."""
    first = open_house(tmp_path / "secrets-of-all")
    data = tmp_path / name
    shutil.copytree(first.data / "secrets", data / "secrets")
    (data / "ringback.yaml").write_text("engine: {batch: 20}\n")
    return open_house(data)


def _state(house: House) -> tuple[dict[bytes, Any], int]:
    client: Any = redis.Redis.from_url(house.redis_url)
    kept = {key: client.hgetall(key) for key in client.scan_iter("rb:state:*")}
    undone = int(client.hget(names.COUNTERS, "undone_flushes") or 0)
    return kept, undone


def _begun(house: House) -> None:
    """Both twins' tracks count since the same moment: it stands in each profile."""
    client: Any = redis.Redis.from_url(house.redis_url)
    settle_catalogue(client, counted(read_rule_set(house.settings), house.data), lambda: 1)


def _filled(house: House, file: Path) -> dict[bytes, Any]:
    with own_servers(house):
        _begun(house)
        backfill(house, file, delay_us=0)
        return _state(house)[0]


def test_a_killed_and_resumed_backfill_equals_an_undisturbed_one(
    history: Path, tmp_path: Path
) -> None:
    servers.need("redis-server")
    whole = _filled(_twin(tmp_path, "whole"), history)
    house = _twin(tmp_path, "killed")
    with own_servers(house):
        _begun(house)
        line = [sys.executable, "-c", _FILL, str(house.data), str(history)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE)
        client: Any = redis.Redis.from_url(house.redis_url)
        end = time.monotonic() + 5 * PATIENCE
        while not client.exists("rb:ver:payee:3") and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        half = _state(house)[0]
    resumed = _filled(house, history)
    assert half != whole
    assert resumed.keys() == whole.keys()
    assert resumed == whole


_FILL = """
import sys
from pathlib import Path
from flows.backfill import backfill
from flows.parts import open_house
backfill(open_house(Path(sys.argv[1])), Path(sys.argv[2]), delay_us=0)
"""


def test_a_second_backfill_of_the_same_file_changes_nothing(history: Path, tmp_path: Path) -> None:
    servers.need("redis-server")
    house = _twin(tmp_path, "twice")
    first = _filled(house, history)
    assert _filled(house, history) == first


def test_a_backfill_beside_a_live_flow_is_refused(history: Path, tmp_path: Path) -> None:
    servers.need("redis-server")
    house = _twin(tmp_path, "live")
    with own_servers(house):
        client = redis.Redis.from_url(house.redis_url)
        client.hset(names.FLOW_BEAT, "0", str(wall_us() // 1000))
        with pytest.raises(FlowRuns, match="end `ringback run` first"):
            backfill(house, history, delay_us=0)
