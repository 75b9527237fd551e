"""One flow: what HTTP is told is what a replay of the same file says, field by field."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from flows.parts import open_house
from flows.replay_command import replay_file
from flows.simulate import simulate
from risk import names
from tests import servers
from tests.patience import PATIENCE

ALONE = 1_000  # by one flow process; then the house is started again with two
EVENTS = ALONE + 5_000
# What differs by nature: when and how fast it was, who asked, and until when a question is open.
_OF_THE_RUN = ("decided", "stages_us", "trace", "challenge")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of simulated events that ends now: time is the event's own in both worlds."""
    path = tmp_path_factory.mktemp("same") / "events.ndjson"
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    told = simulate(seed=5, customers=120, days=40, start=start - timedelta(days=40))
    with path.open("w", encoding="utf-8") as file:
        for number, happening in enumerate(told):
            if number == EVENTS:
                break
            file.write(json.dumps(happening.event) + "\n")
    return path


@contextmanager
def _running(data: Path, workers: int) -> Iterator[Any]:
    line = [sys.executable, "-m", "flows.cli", "run", "--data", str(data)]
    line += ["--http", "127.0.0.1:0", "--workers", str(workers)]
    with (data / "run.log").open("ab") as log:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    try:
        ready = process.stdout.readline() if process.stdout else b""
        assert ready, (data / "run.log").read_text()[-2000:]
        yield json.loads(ready)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _copy_policy(data: Path) -> None:
    """No customer is asked too often here: that budget goes by the clock of the asking."""
    data.mkdir(parents=True)
    import yaml

    from config.settings import HERE

    policy = yaml.safe_load((HERE / "policy.yaml").read_text(encoding="utf-8"))
    policy["asking"] |= {"per_customer_24h": 100_000, "open_at_once": 100_000}
    (data / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")


async def _send(lines: list[str], run: dict[str, Any], token: str) -> None:
    """Send events one after the other, each after the former's decision."""
    headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=30"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for line in lines:
            async with http.post(
                f"{run['http']}/v1/events",
                data=line.encode(),
                headers={"Content-Type": "application/json"},
            ) as told:
                assert told.status == 200, await told.text()


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in _OF_THE_RUN}


def _by_http(data: Path, file: Path) -> dict[str, dict[str, Any]]:
    _copy_policy(data)
    lines = file.read_text(encoding="utf-8").splitlines()
    kept = {}
    for workers, some in ((1, lines[:ALONE]), (2, lines[ALONE:])):
        with _running(data, workers) as run:
            house = open_house(data)
            asyncio.run(_send(some, run, house.secrets.bearers["ingest"]))
            client: Any = redis.Redis.from_url(house.redis_url)
            for line in some:
                event = json.loads(line)["id"]
                kept[event] = _found(client, event)
    return kept


def _found(client: Any, event: str) -> dict[str, Any]:
    decision = json.loads(client.get(names.decision(event)))
    return _kept(decision) | {"features": json.loads(client.get(names.features(event)))}


def _by_replay(data: Path, file: Path, batch: int, out: Path) -> dict[str, dict[str, Any]]:
    replay_file(
        file,
        data=data,
        over={"engine": {"batch": batch}},
        label_delay="7d",
        out=out,
        with_ledger=False,
        limit=None,
        quiet=True,
    )
    lines = (out / "decisions.ndjson").read_text(encoding="utf-8").splitlines()
    return {row["event"]: _kept(row) for row in map(json.loads, lines)}


def test_http_and_replay_give_the_same_decisions(events: Path, tmp_path: Path) -> None:
    """On one process, from there on on two, by batches of one and of two hundred: all the same."""
    servers.need("redis-server")
    live = _by_http(tmp_path / "live", events)
    assert len(live) == EVENTS
    assert {row["decision"] for row in live.values()} >= {"approve", "challenge"}
    for batch in (1, 200):
        told = _by_replay(tmp_path / "live", events, batch, tmp_path / f"out{batch}")
        assert told.keys() == live.keys()
        for ident, row in live.items():
            assert told[ident] == row, ident
