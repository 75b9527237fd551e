"""What do the benchmarks share? A whole Ringback of their own, a bank that calls it, and sums.

The load is open: each request has the moment at which it should leave, whatever became of those
before it, and its latency counts from that moment (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson
import psutil
import redis
import uvloop
import yaml

from benchmarks import machine
from features.catalogue import DESCRIBERS
from features.moment import DAY
from flows.parts import House, open_house
from flows.redis_server import PrivateRedis, free_port, wait
from flows.supervise import command
from flows.walk import shard_of
from risk.events import Moment
from risk.privacy import Tokens

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
_READY_SECONDS = 180.0
_LARGE_ONE_IN = 200

#: After so long the client gives a request up.
GIVE_UP_S = 30.0

#: Payments are sent for so long before any is counted.
WARM_SECONDS = 2.0

#: Entities that a stage may hold: at most a tenth of the smallest population.
CACHED = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Given:
    """What a benchmark is told: where it may build, whether in short, which payments to read.

    ``rounds`` is how often those that measure in turns do so; None for what each bar asks for.
    """

    scratch: Path
    quick: bool = False
    data: Path | None = None
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark found: a bar in words, whether it was met, and the raw numbers.

    ``met`` is None where there is no bar to meet.
    """

    name: str
    bar: str
    met: bool | None
    summary: str
    raw: Mapping[str, Any]


def keep(
    result: Result, *, quick: bool, out: Path, about: Mapping[str, object], typed: str
) -> Path:
    """Write a result with its machine and command; gives the path."""
    out.mkdir(parents=True, exist_ok=True)
    whole = {
        "name": result.name,
        "date": about["measured"],
        "command": typed,
        "quick": quick,
        "bar": result.bar,
        "met": result.met,
        "summary": result.summary,
        "machine": about,
        "load_after": [str(round(load, 2)) for load in os.getloadavg()],
        "raw": result.raw,
    }
    path = out / f"{result.name}.json"
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine_now() -> dict[str, object]:
    """The machine, as it is before a run begins."""
    return machine.describe(datetime.now(UTC))


# ------------------------------------------------------------------------------------------ sums


def percentile(latencies: Sequence[float], share: float) -> float:
    """The value below which this share of them lies (nearest rank); they need not be sorted."""
    ordered = sorted(latencies)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value; the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: seconds from its intended moment to its answer, and what was answered."""

    latency: float
    status: int
    degraded: bool
    outcome: str


def told(shots: Sequence[Shot], seconds: float) -> dict[str, Any]:
    """Shots as the raw numbers of a result; times in milliseconds.

    A payment that was not answered counts as if it had waited until the client gave up: a fast
    refusal must not look like a fast decision.
    """
    good = [shot for shot in shots if shot.status == 200]
    waited = [
        1000 * (shot.latency if shot.status == 200 else max(shot.latency, GIVE_UP_S))
        for shot in shots
    ]
    return {
        "requests": len(shots),
        "answered": len(good),
        "not_answered": dict(Counter(str(shot.status) for shot in shots if shot.status != 200)),
        "degraded": sum(shot.degraded for shot in shots),
        "challenges": sum(shot.outcome == "challenge" for shot in shots),
        "per_second": round(len(good) / seconds, 1),
        "p50_ms": round(percentile(waited, 0.5), 2),
        "p90_ms": round(percentile(waited, 0.9), 2),
        "p99_ms": round(percentile(waited, 0.99), 2),
        "p999_ms": round(percentile(waited, 0.999), 2),
        "max_ms": round(max(waited), 2),
    }


def healthy(row: Mapping[str, Any]) -> bool:
    """Whether a run says anything of latency: all was answered, 99 of 100 by the flow in time."""
    return bool(
        row["answered"] == row["requests"] and row["degraded"] <= 0.01 * float(row["requests"])
    )


# ------------------------------------------------------------------------------------- the system


class System:
    """One whole Ringback, started by its own command and ended in order."""

    def __init__(self, data: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        if settings:
            (data / "ringback.yaml").write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
        self.house: House = open_house(data)
        self._process: subprocess.Popen[bytes] | None = None
        self.http = ""

    @property
    def pids(self) -> dict[str, int]:
        """Which process is which, by now."""
        return dict(self.house.run.get("pids", {}))

    @property
    def headers(self) -> dict[str, str]:
        """What the transaction system says with each request."""
        bearer = self.house.secrets.bearers["bank"]
        return {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}

    def connect(self) -> redis.Redis:
        """A connection to its Redis."""
        return wait(self.house.redis_url, _READY_SECONDS)

    def start(self) -> None:
        """Start all parts; returns when they are ready."""
        log = (self.data / "bench.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                command("run", "--data", str(self.data), "--http", "127.0.0.1:0"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        pipe = self._process.stdout
        line = pipe.readline() if pipe is not None else b""
        if not line:
            self.stop()
            raise RuntimeError(f"ringback run did not become ready; see {self.data}/bench.log")
        self.http = json.loads(line)["http"]

    def stop(self) -> None:
        """End all parts in order; what does not end is killed by its pid."""
        process, self._process = self._process, None
        if process is None:
            return
        parts = [
            psutil.Process(pid)
            for name, pid in self.pids.items()
            if name != "supervisor" and psutil.pid_exists(pid)
        ]
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        if process.poll() is None:
            process.kill()
            process.wait()
        for part in parts:
            with contextlib.suppress(psutil.NoSuchProcess):
                part.kill()
        if process.stdout is not None:
            process.stdout.close()

    def complaints(self) -> list[str]:
        """What the supervisor and the flow complained of: a part that died explains a figure."""
        found: list[str] = []
        for log in (self.data / "bench.log", self.data / "log" / "flow.log"):
            if log.exists():
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                found += [line for line in lines if " WARNING " in line or "Error" in line]
        return found

    def processor_seconds(self) -> dict[str, float]:
        """How much of the processor each part has used since its start."""
        spent: dict[str, float] = {}
        for name, pid in self.pids.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = psutil.Process(pid).cpu_times()
                spent[name] = times.user + times.system
        return spent


@contextlib.contextmanager
def running(
    data: Path | None = None, settings: Mapping[str, Any] | None = None, *, killing: bool = False
) -> Iterator[System]:
    """A Ringback that runs as long as the block; in a directory of its own, unless given one.

    What its parts complained of is printed at the end, unless they are killed on purpose.
    """
    with tempfile.TemporaryDirectory(prefix="ringback-bench-") as scratch:
        system = System(data or Path(scratch) / "data", settings)
        try:
            system.start()
            yield system
        finally:
            system.stop()
            if not killing:
                for line in system.complaints()[-20:]:
                    sys.stderr.write(f"  {line}\n")


@contextlib.contextmanager
def floor() -> Iterator[str]:
    """The latency floor with a Redis like the product's; gives its address."""
    with tempfile.TemporaryDirectory(prefix="ringback-floor-") as scratch:
        server = PrivateRedis(Path(scratch), "floor")
        started = [server.start()]
        port = free_port()
        try:
            wait(server.url).close()
            for line in (("echo", server.url, str(port)), ("back", server.url)):
                module = [sys.executable, "-m", f"benchmarks.floors.{line[0]}", *line[1:]]
                started.append(subprocess.Popen(module, cwd=ROOT))
            _listens(port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(20)


def _listens(port: int) -> None:
    import socket

    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > end:
            raise TimeoutError(f"nothing listens on port {port} after 30 s")
        time.sleep(0.05)


# ------------------------------------------------------------------------------- whom it knows


def customer(number: int) -> str:
    """A customer as the bank calls it."""
    return f"c{number:07d}"


def payee(number: int) -> str:
    """A payee's account as the bank calls it."""
    return f"ACC{number:07d}"


def device(number: int) -> str:
    """A device's id, as the bank's app gives it."""
    return f"d{number:07d}"


def address(number: int) -> str:
    """An IP address: one of the private ones, so that nobody's is meant."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


#: For each kind of entity the field that its token is made for, and its name at the bank.
NAMED: Mapping[str, tuple[str, Callable[[int], str]]] = {
    "customer": ("customer", customer),
    "payee": ("payee.account", payee),
    "device": ("device.id", device),
    "ip": ("ip", address),
}


def populated(given: Given, count: int) -> Path:
    """A data directory whose Redis knows so many of each; made once a run. Take a `copy`."""
    data = given.scratch / f"known-{count}"
    if not data.exists():
        about = populate(data, {"engine": {"cache_entities": CACHED}}, count)
        (data / "known.json").write_text(json.dumps(about), encoding="utf-8")
    return data


def copy(data: Path, to: Path) -> Path:
    """A data directory of its own for one run. Redis never changes a base file, so it is linked."""

    def linked(source: str, target: str) -> None:
        (os.link if source.endswith(".base.rdb") else shutil.copy2)(source, target)

    shutil.copytree(data, to, copy_function=linked)
    (to / "redis" / "port").unlink()  # another may have taken it since
    return to


def populate(data: Path, settings: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Make a data directory whose Redis knows ``count`` entities of each kind.

    The profiles are what the describers dump after a month of payments; they are written as the
    flow's flush writes them, and Redis then writes its append-only file.
    """
    system = System(data, settings)
    house = system.house
    tokens = Tokens(house.secrets.token_root, house.settings.tenant)
    shards = house.settings.engine.shards
    server = PrivateRedis(data, house.secrets.redis_password)
    process = server.start()
    began = time.perf_counter()
    try:
        client = wait(server.url)
        client.config_set("appendonly", "no")
        sizes: dict[str, int] = {}
        for describer in DESCRIBERS:
            dumps = _pasts(describer.key)
            sizes[describer.key] = sum(map(len, dumps)) // len(dumps)
            field, name = NAMED[describer.key]
            for start in range(0, count, 5_000):
                by_shard: dict[int, dict[str, bytes]] = {}
                for number in range(start, min(count, start + 5_000)):
                    token = tokens.token(field, name(number))
                    shard = by_shard.setdefault(shard_of(token, shards), {})
                    shard[token] = dumps[number % len(dumps)]
                pipe = client.pipeline(transaction=False)
                for shard_number, values in by_shard.items():
                    pipe.hset(
                        f"rb:state:{describer.key}:{shard_number}", mapping=dict(values.items())
                    )
                pipe.execute()
        client.config_set("appendonly", "yes")  # writes the whole file, once
        _rewritten(client)
        memory: Any = client.info("memory")
        client.close()
    finally:
        process.terminate()
        process.wait(120)
    return {
        "entities_of_each_kind": count,
        "profile_bytes": sizes,
        "redis_bytes": memory["used_memory"],
        "seconds": round(time.perf_counter() - began, 1),
    }


def _rewritten(client: redis.Redis) -> None:
    """Wait until Redis has written its append-only file."""
    while True:
        time.sleep(0.1)
        about: Any = client.info("persistence")
        if not about["aof_rewrite_in_progress"] and not about["aof_rewrite_scheduled"]:
            break
    if about["aof_last_bgrewrite_status"] != "ok":
        raise RuntimeError("Redis could not write its append-only file; see its log")


def _pasts(key: str, variants: int = 500) -> list[bytes]:
    """Profiles after a month of payments, of quieter and busier entities."""
    describer = next(one for one in DESCRIBERS if one.key == key)
    chance = random.Random(41)
    now_us = time.time_ns() // 1000
    dumps: list[bytes] = []
    for variant in range(variants):
        profile = describer.new()
        known = [f"acc_{chance.getrandbits(130):026x}" for _ in range(8)]
        times = sorted(
            now_us - chance.randrange(DAY // 24, 30 * DAY) for _ in range(10 + variant % 40)
        )
        for place, at_us in enumerate(times):
            profile.observe(
                Moment(
                    id=f"p{place}",
                    type="transaction",
                    time_us=at_us,
                    customer=chance.choice(known),
                    accepted_us=at_us,
                    partition=0,
                    position=place,
                    amount=(amount := chance.randrange(500, 80_000)),
                    currency="CNY",
                    amount_base=amount,
                    payee=chance.choice(known),
                    device="dev",
                    ip="ip",
                )
            )
        dumps.append(profile.dump())
    return dumps


# --------------------------------------------------------------------------------------- the bank


class Bank:
    """Payments of so many customers to so many payees, drawn uniformly; the same by their seed.

    One in ``large`` is large and to somebody new, so that a question is asked (0: none).
    """

    def __init__(
        self, customers: int, payees: int, seed: str, *, large: int = _LARGE_ONE_IN
    ) -> None:
        self._customers, self._payees, self._large = customers, payees, large
        self._chance, self._seed, self._made = random.Random(seed), seed, 0

    def payment(self, at: float) -> bytes:
        """One payment as JSON, at a time in seconds since 1970."""
        chance, self._made = self._chance, self._made + 1
        large = self._large and self._made % self._large == 0
        cents = chance.randrange(600_000, 900_000) if large else chance.randrange(200, 60_000)
        return orjson.dumps(
            {
                "id": f"{self._seed}-{self._made}",
                "type": "transaction",
                "time": datetime.fromtimestamp(at, UTC).isoformat(),
                "customer": customer(chance.randrange(self._customers)),
                "channel": "app",
                "device": {"id": device(chance.randrange(self._customers)), "os": "ios"},
                "ip": address(chance.randrange(self._customers)),
                "amount": f"{cents // 100}.{cents % 100:02d}",
                "currency": "CNY",
                "payee": {
                    "account": payee(chance.randrange(self._payees)),
                    "name": "Ivory Mill Bakery",
                    "country": "CN",
                },
                "kind": "transfer",
            }
        )

    def payments(self, count: int, rate: float) -> list[bytes]:
        """So many payments, as they happen at this rate from now on."""
        now = time.time()
        return [self.payment(now + place / rate) for place in range(count)]


def in_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine in a loop like the gateway's, without the collector's pauses."""

    async def main() -> T:
        return await work()

    gc.collect()
    gc.disable()
    try:
        return uvloop.run(main())
    finally:
        gc.enable()


def session(headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """The bank's client: connections are kept and not limited."""
    return aiohttp.ClientSession(
        headers=dict(headers),
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=GIVE_UP_S),
    )


async def shoot(client: aiohttp.ClientSession, url: str, body: bytes, due: float) -> Shot:
    """Send one payment; its latency counts from when it was due (``time.perf_counter``)."""
    try:
        async with client.post(url, data=body) as response:
            raw = await response.read()
            status = response.status
    except (aiohttp.ClientError, TimeoutError):
        return Shot(time.perf_counter() - due, 0, False, "")
    latency = time.perf_counter() - due
    if status != 200:
        return Shot(latency, status, False, "")
    answer = orjson.loads(raw)
    return Shot(latency, status, bool(answer.get("degraded")), answer.get("decision", ""))


async def paced(
    client: aiohttp.ClientSession, url: str, bodies: Sequence[bytes], rate: float
) -> list[Shot]:
    """Send payments at a fixed rate, each at its moment; gives the shots in that order.

    A thread keeps the time: an event loop's own timers are whole milliseconds.
    """
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[Shot]] = []
    sent = asyncio.Event()
    start = time.perf_counter() + 0.05

    def send(body: bytes, due: float) -> None:
        tasks.append(loop.create_task(shoot(client, url, body, due)))

    def keep_time() -> None:
        for place, body in enumerate(bodies):
            due = start + place / rate
            ahead = due - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
            loop.call_soon_threadsafe(send, body, due)
        loop.call_soon_threadsafe(sent.set)

    keeper = threading.Thread(target=keep_time, name="pace", daemon=True)
    keeper.start()
    await sent.wait()
    keeper.join()
    return list(await asyncio.gather(*tasks))


async def measure(
    url: str,
    headers: Mapping[str, str],
    bank: Bank,
    rate: float,
    seconds: float,
    warm: float = WARM_SECONDS,
) -> list[Shot]:
    """Warm up, then send single payments at a rate for so long."""
    async with session(headers) as client:
        if warm:
            bodies = bank.payments(int(rate * warm), rate)
            await paced(client, url, bodies, rate)
        return await paced(client, url, bank.payments(int(rate * seconds), rate), rate)
