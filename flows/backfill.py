"""`ringback backfill`: profiles and model from history, before the first live event.

The same describing and learning steps over a file, on the same cut and the same state as the live
flow, so that it can be stopped and resumed anywhere; it decides nothing and asks nobody. Without
it every customer is new on day one.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from bytewax._bytewax import run_main
from bytewax.recovery import RecoveryConfig

from flows import assemble
from flows.clock import wall_us
from flows.effects import Note, RedisEffects
from flows.errors import FlowError
from flows.file_inlet import FileInlet
from flows.fraud import fraud
from flows.lessons import Lessons
from flows.live import lay_cut, next_generation, settle_layout, settled
from flows.outlet import Watch
from flows.parts import House, edge_of
from flows.records import Recorder
from flows.redis_server import PrivateRedis, wait
from flows.redis_state import RedisStore
from flows.replay import Tally, facts_of
from flows.score import Learnt, Snapshots
from flows.scored import SqliteScoreds
from risk import names

_EPOCH = timedelta(seconds=2)


class FlowRuns(FlowError):
    """A live flow walks over this data directory: a backfill would put it out of order."""


def name_of(file: Path) -> str:
    """The name of a file's partition in the cut: its first megabyte and its size, hashed."""
    with file.open("rb") as content:
        digest = hashlib.sha256(content.read(2**20) + str(file.stat().st_size).encode())
    return f"file-{digest.hexdigest()[:16]}"


def backfill(
    house: House,
    file: Path,
    *,
    delay_us: int,
    progress: Callable[[int], None] | None = None,
) -> Mapping[str, int]:
    """Fill profiles and model from a file; gives what was counted. Resumes where it was stopped.

    Raises `FlowRuns` where a live flow walks over the same data.
    """
    client = wait(house.redis_url)
    settle_layout(client, house.settings)
    _refuse_beside_a_flow(client)
    generation = next_generation(client)
    rules = assemble.read_rule_set(house.settings, house.data)
    recorder = Recorder(house.settings.tenant)
    effects = RedisEffects(
        wait(house.redis_url), generation, house.settings.idempotency_days * 86_400, wall_us
    )
    scoreds = SqliteScoreds(house.data / "scored", "0", wall_us, house.settings.scored_days)
    lessons = Lessons(house.data / "scored", "0", wall_us, house.settings.scored_days)
    tally = Tally()
    counted = {"events": 0, "lessons": 0}

    def journal(learnt: list[Learnt]) -> None:
        counted["lessons"] += len(learnt)
        lessons.keep(learnt)
        effects.note([Note("", recorder.learnt(one), None) for one in learnt])

    def watch(items: list[Any]) -> None:
        counted["events"] += len(items)
        if progress is not None:
            progress(len(items))

    facts = facts_of(file, house.settings, delay_us, edge_of(house), rules.rates, tally)
    inlet = FileInlet(
        facts, assemble.of_itself, scoreds, house.settings.engine.batch, name_of(file)
    )
    parts = assemble.Parts(
        inlet=inlet,
        outlet=Watch(watch),
        store=RedisStore(wait(house.redis_url), generation),
        effects=effects,
        scoreds=scoreds,
        snapshots=Snapshots(house.data / "models"),
        journal=journal,
        now_us=lambda moment: moment.accepted_us if moment else 0,
        tick_ns=time.perf_counter_ns,
        nonce_key=house.secrets.nonce_key,
        catalogue=settled(client, rules, house.data),
        registry=assemble.registry_of(house.data),
    )
    settings = house.settings.model_copy(update={"mode": "backfill"})
    run_main(  # type: ignore[no-untyped-call]  # Bytewax ships its stubs without types
        fraud(assemble.stages(settings, rules, parts)),
        epoch_interval=_EPOCH,
        recovery_config=RecoveryConfig(lay_cut(house.data)),  # type: ignore[no-untyped-call]  # the same
    )
    return counted | {"labels_of_unknown_events": inlet.unknown_labels}


def _refuse_beside_a_flow(client: "redis.Redis") -> None:
    beats: Any = client.hgetall(names.FLOW_BEAT)
    newest = max((int(beat) for beat in beats.values()), default=0)
    if wall_us() // 1000 - newest < 5_000:
        raise FlowRuns(
            "backfill: a flow walks over this data directory; end `ringback run` first, fill, "
            "and start it again"
        )


@contextmanager
def own_servers(house: House) -> Any:
    """The private Redis and the ledger's writer, for as long as a backfill runs alone."""
    from audit.writer import run_writer

    process = None
    if not house.settings.redis_url:
        private = PrivateRedis(house.data, house.secrets.redis_password)
        try:
            redis.Redis.from_url(private.url).ping()
        except redis.RedisError:
            process = private.start()
    wait(house.redis_url)
    stop = threading.Event()
    writer = threading.Thread(
        target=run_writer,
        kwargs={
            "redis_url": house.redis_url,
            "data_dir": house.data,
            "origin_bank": house.settings.bank,
            "tenant": house.settings.tenant,
            "transport_key": house.secrets.transport_key,
            "stop": stop,
        },
        name="ledger",
    )
    writer.start()
    try:
        yield
        _drained(house)
    finally:
        stop.set()
        writer.join()
        if process is not None:
            process.terminate()
            process.wait(30)


def _drained(house: House, seconds: float = 120.0) -> None:
    client = wait(house.redis_url)
    tail: Any = client.xrevrange(names.AUDIT, count=1)
    end = time.monotonic() + seconds
    while tail and time.monotonic() < end:
        mark: Any = client.get(names.AUDIT_DURABLE)
        if mark is not None and _order(mark) >= _order(tail[0][0]):
            return
        time.sleep(0.05)


def _order(entry: bytes) -> tuple[int, int]:
    ms, _, seq = entry.partition(b"-")
    return int(ms), int(seq or b"0")
