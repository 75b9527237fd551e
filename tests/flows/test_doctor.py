"""Does the doctor find each thing that is wrong, say what to do, and find nothing else?"""

import json
import os
import shutil
from collections import namedtuple
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import yaml

from config.settings import HERE
from flows import doctor
from flows.clock import wall_us
from flows.parts import House, open_house
from risk import names
from tests import servers

NOW_US = wall_us()


def _run(house: House, **pids: int) -> None:
    (house.data / "run.json").write_text(json.dumps({"pids": pids}), encoding="utf-8")


def _beat(client: "redis.Redis", process: int = 0, ago_ms: int = 0) -> None:
    client.hset(names.FLOW_BEAT, str(process), str(NOW_US // 1000 - ago_ms))


def examine(house: House) -> list[str]:
    """What the doctor finds at the moment at which these tests play."""
    return doctor.examine(house, lambda: NOW_US)


@pytest.fixture
def house(tmp_path: Path, client: "redis.Redis", way_redis: servers.RedisServer) -> House:
    """A data directory in which nothing is wrong."""
    made = open_house(tmp_path / "data", {"redis_url": way_redis.url})
    _run(made, gateway=os.getpid())
    _beat(client)
    return made


def test_where_nothing_is_wrong_nothing_is_found(house: House) -> None:
    assert examine(house) == []


def test_a_secret_that_others_can_read_is_found(house: House) -> None:
    (house.data / "secrets" / "bank.token").chmod(0o644)
    assert examine(house) == ["secrets/bank.token is readable by others: chmod 600 it"]


def test_what_customers_are_reached_by_is_named(house: House) -> None:
    assert doctor.channels(house)[0] == "channel web: the customer's page"
    assert doctor.channels(house)[2:] == [
        f"channel {k}: not set up" for k in ("push", "sms", "voice")
    ]
    told = {
        "push": {"contact": "mailto:a@bank.example"},
        "sms": {"url": "https://sms.bank.example/"},
    }
    (house.data / "ringback.yaml").write_text(yaml.safe_dump({"channels": told}), encoding="utf-8")
    more = open_house(house.data, {"redis_url": house.redis_url})
    assert doctor.channels(more)[2:4] == [
        "channel push: set up (mailto:a@bank.example)",
        "channel sms: set up (https://sms.bank.example/)",
    ]
    assert examine(more) == []


def test_a_channel_or_a_ladder_that_cannot_be_used_is_found(house: House) -> None:
    told = {"channels": {"sms": {"url": "http://10.0.0.7/"}}}
    (house.data / "ringback.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    (found,) = examine(open_house(house.data, {"redis_url": house.redis_url}))
    assert "channels.sms.url: needed https" in found
    (house.data / "ringback.yaml").unlink()
    (house.data / "ladder.yaml").write_text("version: 1\nladders: {}\n", encoding="utf-8")
    (found,) = examine(house)
    assert "ladders.usual.normal" in found


def test_a_full_disk_is_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024  as shutil gives it
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage(1000 * 2**20, 960 * 2**20, 40 * 2**20)
    )
    (found,) = examine(house)
    assert "is full but for 40 MiB: make room" in found


def test_a_house_in_which_nothing_runs_is_told(house: House) -> None:
    (house.data / "run.json").unlink()
    assert examine(house) == ["nothing runs here: start `ringback run`"]


def test_a_part_that_is_gone_is_found_with_its_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid == 1)
    _run(house, **{"gateway": 1, "flow-0": 2})
    assert examine(house) == ["flow-0 (pid 2) is gone: see log/flow.log"]


def test_a_redis_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"redis://:s3cret@127.0.0.1:{servers.free_port()}/0"
    away = open_house(tmp_path, {"redis_url": url})
    _run(away, gateway=os.getpid())
    (found,) = examine(away)
    assert "does not answer" in found
    assert "start `ringback run`" in found
    assert "s3cret" not in found


def test_a_weak_redis_is_found(house: House, client: "redis.Redis") -> None:
    client.config_set("appendfsync", "everysec")
    try:
        (found,) = examine(house)
    finally:
        client.config_set("appendfsync", "always")
    assert "appendfsync is everysec: needed always" in found


def test_a_flow_that_never_walked_is_found(house: House, client: "redis.Redis") -> None:
    client.delete(names.FLOW_BEAT)
    assert examine(house) == ["no flow has ever told that it walks: see log/flow.log"]


def test_a_silent_flow_is_found(house: House, client: "redis.Redis") -> None:
    _beat(client, 1, ago_ms=60_000)
    (found,) = examine(house)
    assert found.startswith("flow process 1 is silent for 6")


def test_a_ledger_that_lags_is_found(
    house: House, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LEDGER_LAG", 2)
    for _ in range(2):
        client.xadd(names.AUDIT, {"records": "[]"})
    assert examine(house) == []
    client.xadd(names.AUDIT, {"records": "[]"})
    (found,) = examine(house)
    assert found.startswith("3 bundles wait for the ledger")


def test_dead_letters_are_found(house: House, client: "redis.Redis") -> None:
    client.xadd(names.DEAD, {"reason": "unreadable"})
    assert examine(house) == ["1 dead letters: look at them in the stream rb:dead"]


def test_all_that_is_wrong_is_found_at_once(house: House, client: "redis.Redis") -> None:
    (house.data / "secrets" / "bank.token").chmod(0o640)
    (house.data / "run.json").unlink()
    client.xadd(names.DEAD, {"reason": "unreadable"})
    found: list[Any] = examine(house)
    assert len(found) == 3


def test_a_model_whose_card_ran_out_or_is_gone_is_found(house: House) -> None:
    whole = yaml.safe_load((HERE / "models.yaml").read_text(encoding="utf-8"))
    whole["models"]["binned"] |= {"approved": date(2020, 1, 1), "expires": date(2021, 1, 1)}
    del whole["models"]["forest"]
    (house.data / "models.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    ran_out, gone = examine(house)
    assert "binned: its card has run out" in ran_out
    assert "forest: needed a card in models.yaml" in gone
    (house.data / "models.yaml").write_text("version: 2", encoding="utf-8")
    (unreadable,) = examine(house)
    assert unreadable.startswith("models.yaml: ")
