"""From rb:audit to the ledger, against a real Redis, with and without kill -9."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from audit.errors import LedgerBehindRedis, LedgerLocked, RedisBehindLedger
from audit.read import case_records, decisions
from audit.redis_inlet import LEAF, MARK, MARKS, STREAM, Inlet, parse_id
from audit.verify import verify_log
from audit.writer import run_writer
from tests.audit.conftest import OpenLedger
from tests.audit.records import TRANSPORT_KEY, log_path, record, story
from tests.patience import PATIENCE, Watch
from tests.servers import RedisServer


def put(client: redis.Redis, *records: object) -> str:
    answer = client.xadd(STREAM, {"records": orjson.dumps(list(records))})
    assert isinstance(answer, bytes)
    return answer.decode()


def test_records_are_marked_durable_and_trimmed_below_the_mark_only(
    tmp_path: Path, redis_server: RedisServer, open_ledger: OpenLedger
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    ledger = open_ledger()
    inlet = Inlet(redis_server.url, ledger)
    inlet.check()
    assert client.get(MARK) == b"0-0"
    last = [put(client, *story(f"e{n}")) for n in range(300)][-1]
    assert inlet.step() == 300
    assert client.get(MARK) == last.encode()
    assert ledger.stream_id == last
    later = put(client, record("label", "e0"))
    inlet._trimmed = 0.0
    inlet.step()
    client.xtrim(STREAM, maxlen=1, approximate=False)
    assert client.xlen(STREAM) == 1
    assert client.get(MARK) == later.encode()
    assert inlet.step(block_ms=5) == 0
    inlet.close()
    ledger.close()
    client.close()
    assert verify_log(log_path(tmp_path)).faults == []
    assert len(case_records(tmp_path, "case-e299")) == 6


def test_who_waits_for_the_mark_is_woken_by_each_and_finds_the_newest_alone(
    redis_server: RedisServer, open_ledger: OpenLedger
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    ledger = open_ledger()
    inlet = Inlet(redis_server.url, ledger)
    inlet.check()
    seen = "0-0"
    for number in range(3):
        last = put(client, *story(f"e{number}"))
        inlet.step()
        answer: Any = client.xread({MARKS: seen}, block=5_000)
        [(_, [(entry, mark)])] = answer if isinstance(answer, list) else answer.items()
        assert mark == {b"mark": last.encode()}
        seen = entry.decode()
    assert client.xlen(MARKS) == 1
    inlet.close()
    ledger.close()
    client.close()


def test_the_leaf_hash_of_an_outcome_is_told_once_it_is_durable(
    tmp_path: Path, redis_server: RedisServer, open_ledger: OpenLedger
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    ledger = open_ledger()
    inlet = Inlet(redis_server.url, ledger)
    inlet.check()
    put(client, *story("e1", closed=False), record("outcome", "e1"))
    inlet.step()
    told = client.get(LEAF + "e1")
    assert isinstance(told, bytes)
    assert 0 < client.ttl(LEAF + "e1") <= 3600
    put(client, record("case.closed", "e1"), *story("e2"))
    inlet.step()
    assert case_records(tmp_path, "case-e1")[-1]["case_prev"] == told.decode()
    assert ledger.outcomes == {}, "nothing gathers in memory"
    inlet.close()
    ledger.close()
    client.close()


def test_an_entry_that_is_no_array_of_records_is_kept_as_refused(
    tmp_path: Path, redis_server: RedisServer, open_ledger: OpenLedger
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    ledger = open_ledger()
    inlet = Inlet(redis_server.url, ledger)
    client.xadd(STREAM, {"records": b"{not json"})
    client.xadd(STREAM, {"records": b"7"})
    client.xadd(STREAM, {"other": b"7"})
    put(client, *story("e1"))
    inlet.step()
    inlet.close()
    ledger.close()
    client.close()
    assert ledger.refused == 0
    db = sqlite3.connect(tmp_path / "ledger" / "ledger.db")
    found = db.execute("SELECT COUNT(*) FROM records WHERE kind = 'record.refused'").fetchone()
    db.close()
    assert found == (3,)
    assert verify_log(log_path(tmp_path)).faults == []


def test_a_redis_behind_the_ledger_is_refused_by_name(
    tmp_path: Path, redis_server: RedisServer, open_ledger: OpenLedger
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    ledger = open_ledger()
    inlet = Inlet(redis_server.url, ledger)
    put(client, *story("e1"))
    inlet.step()
    client.flushall()
    with pytest.raises(RedisBehindLedger, match="lost acknowledged writes"):
        inlet.check()
    inlet.check(recover=True)
    put(client, *story("e2"))
    assert inlet.step() == 1
    inlet.check()
    inlet.close()
    client.close()
    ledger.close()
    assert len(case_records(tmp_path, "case-e2")) == 6
    assert {leaf["event"] for leaf in decisions(tmp_path)} == {"e1", "e2"}
    assert verify_log(log_path(tmp_path)).faults == []


def test_a_ledger_behind_the_durable_mark_is_refused_by_name(
    tmp_path: Path, redis_server: RedisServer, open_ledger: OpenLedger
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    put(client, *story("e1"))
    client.set(MARK, "1-0")
    inlet = Inlet(redis_server.url, open_ledger())
    with pytest.raises(LedgerBehindRedis, match="right data directory"):
        inlet.check()
    inlet.close()
    client.close()


def test_a_redis_that_goes_and_comes_back_is_waited_for(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    stop, ready = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            run_writer(
                redis_url=redis_server.url,
                data_dir=tmp_path,
                origin_bank="bank.example",
                tenant="main",
                transport_key=TRANSPORT_KEY,
                stop=stop,
                publish_every=0.1,
                on_ready=ready.set,
            )
        except BaseException as error:  # noqa: BLE001  # told to the test below
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert ready.wait(PATIENCE)
    client = redis.Redis.from_url(redis_server.url)
    put(client, *story("e1"))
    with pytest.raises(LedgerLocked):
        run_writer(
            redis_url=redis_server.url,
            data_dir=tmp_path,
            origin_bank="bank.example",
            tenant="main",
            transport_key=TRANSPORT_KEY,
            stop=threading.Event(),
        )
    redis_server.kill()
    redis_server.start()
    last = put(client, *story("e2"))
    wait_for_mark(client, last)
    stop.set()
    writer.join(PATIENCE)
    client.close()
    assert failures == []
    assert len(case_records(tmp_path, "case-e2")) == 6
    assert verify_log(log_path(tmp_path)).faults == []


def test_a_record_is_marked_within_milliseconds(tmp_path: Path, redis_server: RedisServer) -> None:
    writer = start_writer(redis_server.url, tmp_path)
    client = redis.Redis.from_url(redis_server.url)
    took = []
    for n in range(30):
        watch = Watch(writer.pid, redis_server.pid)
        last = put(client, *story(f"e{n}"))
        wait_for_mark(client, last)
        took.append(watch.seconds())
    writer.terminate()
    assert writer.wait(PATIENCE) == 0
    client.close()
    took.sort()
    assert took[15] < 0.05, f"median {took[15] * 1000:.1f} ms"


def test_kill_9_under_load_loses_nothing_doubles_nothing_and_names_the_gap(
    tmp_path: Path, redis_server: RedisServer, repository: Path
) -> None:
    seed = int(os.environ.get("RINGBACK_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    events = 1_500
    (tmp_path / "transport.key").write_text(TRANSPORT_KEY.hex())
    producer = subprocess.Popen(
        [sys.executable, "-m", "tests.audit.produce", redis_server.url, str(events)],
        cwd=repository,
        stdout=subprocess.PIPE,
    )
    client = redis.Redis.from_url(redis_server.url)
    kills = 0
    for _ in range(40):
        writer = start_writer(redis_server.url, tmp_path)
        time.sleep(chance.uniform(0.0, 0.35))
        if producer.poll() is not None and kills >= 5:
            break
        writer.send_signal(signal.SIGKILL)
        writer.wait(PATIENCE)
        kills += 1
    else:
        writer = start_writer(redis_server.url, tmp_path)
    assert producer.wait(5 * PATIENCE) == 0
    tail = client.xinfo_stream(STREAM)
    assert isinstance(tail, dict)
    wait_for_mark(client, tail["last-generated-id"].decode())
    writer.terminate()
    assert writer.wait(PATIENCE) == 0
    client.close()
    report = verify_log(log_path(tmp_path))
    assert report.faults == [], f"seed {seed}"
    assert report.open_questions == [
        "no policy was given: nothing here binds the operator, who holds the keys"
    ]
    db = sqlite3.connect(tmp_path / "ledger" / "ledger.db")
    rows = db.execute("SELECT kind, leaf FROM records ORDER BY position").fetchall()
    db.close()
    counted = Counter(orjson.loads(leaf)["rid"] for _, leaf in rows)
    wanted = {one["rid"] for n in range(events) for one in story(f"e{n}")}
    assert max(counted.values()) == 1, f"seed {seed}"
    assert wanted <= set(counted), f"seed {seed}"
    gaps = [
        (index, orjson.loads(leaf)) for index, (kind, leaf) in enumerate(rows) if kind == "log.gap"
    ]
    assert len(gaps) == len(report.gaps) > 0, f"seed {seed}: {kills} kills and no gap"
    assert all(leaf["body"]["last"] == index - 1 for index, leaf in gaps), f"seed {seed}"
    assert kills >= 5


def start_writer(url: str, data: Path) -> subprocess.Popen[bytes]:
    key = data / "transport.key"
    key.write_text(TRANSPORT_KEY.hex())
    writer = subprocess.Popen(
        [
            *(sys.executable, "-m", "audit", "writer", "--redis", url, "--data", str(data)),
            *("--bank", "bank.example", "--transport-key", str(key)),
        ],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert b"ready" in writer.stdout.readline()
    return writer


def wait_for_mark(client: redis.Redis, wanted: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        mark = client.get(MARK)
        if isinstance(mark, bytes) and parse_id(mark) >= parse_id(wanted):
            return
        time.sleep(0.001)
    raise AssertionError(f"the durable mark did not reach {wanted}")
