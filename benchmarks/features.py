"""What do 36 window values cost: three keys x four windows x count, sum and mean?

The same payments through the feature engine (built in, and as somebody would declare them), through
hand-written deques (the floor), River's ``TimeRolling`` and a Redis sorted-set script, in one run;
the engine's answers are compared with the floor's. The ratios are what counts: absolute figures
move with the neighbours.
"""

from __future__ import annotations

import datetime as dt
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from river import stats, utils

from benchmarks import harness
from benchmarks.floors.deques import Deques
from benchmarks.harness import Given, Result
from benchmarks.payment import Payment
from features import asks
from features.catalogue import catalogue
from features.declared import declare
from features.describer import Describer, Profile
from features.moment import DAY, SECOND, span

NAME = "features"
BAR = "36 window values <= 2 x hand-written deques"
MOST = 2.0

WINDOWS = ("30d", "7d", "24h", "1h")
KEYS = ("customer", "payee", "device")
START = 1_700_000_000 * SECOND

Rolling = Any  # TimeRolling passes on whatever it wraps
Step = Callable[[Payment], list[float]]

#: One payment a key; the script of a bank that keeps its windows in Redis.
SCRIPT = """
local now, out = tonumber(ARGV[1]), {}
for k = 1, #KEYS do
  redis.call('ZADD', KEYS[k], now, ARGV[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', now - tonumber(ARGV[4]))
  local rows = redis.call('ZRANGE', KEYS[k], 0, -1, 'WITHSCORES')
  for w = 4, #ARGV do
    local edge, count, total = now - tonumber(ARGV[w]), 0, 0
    for i = #rows, 1, -2 do
      if tonumber(rows[i]) <= edge then break end
      count = count + 1
      total = total + tonumber(string.match(rows[i - 1], '[^:]+$'))
    end
    out[#out + 1] = count
    out[#out + 1] = tostring(total)
  end
end
return out
"""


def payments(count: int) -> list[Payment]:
    """Sixty days of 1,500 customers, 1,000 payees and 1,800 devices, busy and quiet ones."""
    chance = random.Random(20_181)
    step = 60 * DAY // count
    out = []
    for at in range(count):
        customer = int(1_500 * chance.random() ** 1.5)
        payee = int(1_000 * chance.random() ** 1.5)
        device = f"d{customer}" if chance.random() < 0.8 else f"d{1_500 + payee % 300}"
        amount = chance.randrange(100, 50_000)
        when = START + at * step + chance.randrange(step)
        out.append(Payment(f"t{at}", when, amount, f"c{customer}", f"p{payee}", device))
    return out


OWNERS: dict[str, Callable[..., str]] = {
    "customer": lambda event: event.customer,
    "payee": lambda event: event.payee,
    "device": lambda event: event.device,
}


def engine() -> Step:
    """The product: profiles that can be stored, take events out of order, and stay bounded."""
    asked = [make(window) for window in WINDOWS for make in (asks.count, asks.total, asks.mean)]
    return _described(
        [Describer(key, asked, owner=OWNERS[key], labelled=OWNERS[key]) for key in KEYS]
    )


def declared() -> Step:
    """The same as lines of a ``features.yaml``: in pasts of their own, behind a filter."""
    lines = [
        f"  - {what} per {key} in {window} where priced\n"
        for key in KEYS
        for window in WINDOWS
        for what in ("count", "sum amount", "mean amount")
    ]
    text = "version: 1\nfilters: {priced: amount >= 0}\nfeatures:\n" + "".join(lines)
    told = catalogue((text, "features.yaml")).sentences.values()
    bare = [Describer(key, (), owner=OWNERS[key], labelled=OWNERS[key]) for key in KEYS]
    return _described(
        [declare(one, [line for line in told if line.key == one.key], {}) for one in bare]
    )


def _described(describers: list[Describer]) -> Step:
    held: list[dict[str, Profile]] = [{} for _ in describers]

    def step(event: Payment) -> list[float]:
        out: list[float] = []
        for describer, profiles in zip(describers, held, strict=True):
            entity = describer.entity(event) or ""
            profile = profiles.get(entity)
            if profile is None:
                profile = profiles[entity] = describer.new()
            told = profile.describe(event)
            out += told.values()  # type: ignore[arg-type]
            profile.observe(event, told)
        return out

    return step


def floor() -> Step:
    """Hand-written deques."""
    deques = Deques(tuple(span(window) for window in WINDOWS))
    return lambda event: deques.step(
        (event.customer, event.payee, f"/{event.device}"), event.time_us, event.amount_base
    )


def river() -> Step:
    """River's TimeRolling: sum and mean (a rolling count raises), so two thirds of the values."""
    held: dict[str, list[tuple[Rolling, Rolling]]] = {}
    periods = [dt.timedelta(microseconds=span(window)) for window in WINDOWS]

    def step(event: Payment) -> list[float]:
        out: list[float] = []
        when = dt.datetime.fromtimestamp(event.time_us / SECOND, tz=dt.UTC).replace(tzinfo=None)
        for entity in (event.customer, event.payee, f"/{event.device}"):
            windows = held.get(entity)
            if windows is None:
                windows = held[entity] = [
                    (
                        utils.TimeRolling(stats.Sum, period=period),
                        utils.TimeRolling(stats.Mean, period=period),
                    )
                    for period in periods
                ]
            for total, mean in windows:
                total.update(event.amount_base, t=when)
                mean.update(event.amount_base, t=when)
                out += (total.get(), mean.get())
        return out

    return step


@contextmanager
def sorted_sets() -> Iterator[Step]:
    """The Redis script, over a Unix socket, on a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/redis.sock"
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            client = redis.Redis(unix_socket_path=socket, decode_responses=True)
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            script: Callable[..., list[str]] = client.register_script(SCRIPT)
            spans = [span(window) for window in WINDOWS]

            def step(event: Payment) -> list[float]:
                member = f"{event.id}:{event.amount_base}"
                keys = [event.customer, event.payee, f"/{event.device}"]
                found = script(keys=keys, args=[event.time_us, member, "", *spans])
                out: list[float] = []
                for at in range(0, len(found), 2):
                    count, total = int(found[at]), int(float(found[at + 1]))
                    out += (count, total, total / count)
                return out

            yield step
        finally:
            server.terminate()
            server.wait(10)


def timed(step: Step, stream: list[Payment]) -> tuple[float, list[list[float]]]:
    """Microseconds an event over the second half of the stream, and the last answers."""
    half = len(stream) // 2
    for event in stream[:half]:
        step(event)
    began = time.perf_counter()
    answers = [step(event) for event in stream[half:]]
    return (time.perf_counter() - began) / (len(stream) - half) * 1e6, answers[-500:]


def run(given: Given) -> Result:
    """Time all of them in turns, the slow ones over a quarter of the payments."""
    events, turns = (4_000, 1) if given.quick else (60_000, 3)
    stream, few = payments(events), payments(events)[: events // 4]
    rounds: dict[str, list[float]] = {"engine": [], "declared": [], "deques": []}
    for _ in range(turns):
        floor_us, right = timed(floor(), stream)
        rounds["deques"].append(floor_us)
        for name, made in (("engine", engine()), ("declared", declared())):
            us, answers = timed(made, stream)
            if answers != right:
                raise RuntimeError(f"{name}: its answers differ from the floor's: not measured")
            rounds[name].append(us)
    rounds["river"] = [timed(river(), few)[0]]
    if shutil.which("redis-server"):
        with sorted_sets() as step:
            rounds["redis"] = [timed(step, few)[0]]
    us_an_event = {name: round(harness.median(found), 1) for name, found in rounds.items()}
    ratio = {name: round(us / us_an_event["deques"], 2) for name, us in us_an_event.items()}
    raw = {
        "values": {name: 24 if name == "river" else 36 for name in us_an_event},
        "events": events,
        "rounds_us": {name: [round(one, 1) for one in found] for name, found in rounds.items()},
        "us_per_event": us_an_event,
        "ratio_to_deques": ratio,
    }
    summary = ", ".join(f"{name} {us} us ({ratio[name]} x)" for name, us in us_an_event.items())
    return Result(NAME, BAR, ratio["engine"] <= MOST, summary, raw)
