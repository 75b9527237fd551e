"""How does one flow process run? Resume from the cut, walk until told to stop, drain, end.

A flow of several processes is one cluster: they start together and end together. Each start takes
a generation; whatever an older one still tries to write is refused.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import redis
from bytewax._bytewax import cluster_main, init_db_dir, run_main
from bytewax.recovery import RecoveryConfig

from config.settings import BadConfig, Settings
from features.catalogue import Catalogue
from flows import assemble
from flows.catalogue import settle_agreed, settle_catalogue
from flows.changes import BadChange, Changes
from flows.clock import wall_us
from flows.cycles import look_seldom
from flows.effects import Note, RedisEffects
from flows.errors import BadSettings
from flows.fraud import fraud
from flows.inlets import RedisInlet
from flows.inquire import Seeks
from flows.judgement import Bench, Watching, fresh, moved, read_lists, refused, stored
from flows.lessons import Lessons
from flows.outlet import Watch, nobody
from flows.prefetch import Prefetch
from flows.records import Recorder
from flows.redis_server import wait
from flows.redis_state import RedisStore
from flows.score import Drifted, Learnt, Promoted, Snapshots
from flows.scored import SqliteScoreds
from flows.secrets import Secrets
from flows.seek import SeekStage
from risk import names
from risk.events import Moment
from risk.policy import RuleSet
from risk.rule_check import Vocabulary

FORMAT = "1"
RECOVERY_PARTITIONS = 1  # each is a file that an epoch waits for seven times; keys are few (D2)
_BEAT_SECONDS = 0.25
_STUCK_SECONDS = 10.0  # a flow that works off a long batch is slow, and a restart makes it slower
log = logging.getLogger("ringback.flow")


@dataclass(frozen=True)
class Place:
    """Which process of the cluster this is; ``addresses`` is empty for a flow of one."""

    process: int = 0
    addresses: tuple[str, ...] = ()


def settle_layout(client: "redis.Redis", settings: Settings) -> None:
    """Write partitions and shards at the first start; refuse a later change of them."""
    wanted = {
        "partitions": str(settings.engine.partitions),
        "shards": str(settings.engine.shards),
        "judge_shards": str(settings.engine.judge_shards),
        "format": FORMAT,
    }
    for name, value in wanted.items():
        client.hsetnx(names.META, name, value)
        stands: Any = client.hget(names.META, name)
        if stands.decode() != value:
            raise BadSettings(
                f"engine.{name}: this data directory was laid out with {stands.decode()}, the "
                f"settings say {value}; set it back, or start with a new data directory"
            )


def settled(client: "redis.Redis", rules: RuleSet, data: Path) -> Catalogue:
    """The features to count, each with the time since which it counts."""
    counted = assemble.counted(rules, data)
    return counted.stamped(settle_catalogue(client, counted, wall_us))


def lay_cut(data: Path) -> Path:
    """Make the folder of Bytewax's recovery at the first start; whole or not at all."""
    recovery = data / "cut"
    if not recovery.exists():
        fresh = data / "cut.new"
        fresh.mkdir(parents=True, exist_ok=True)
        init_db_dir(fresh, RECOVERY_PARTITIONS)  # type: ignore[no-untyped-call]  # Bytewax's own
        fresh.rename(recovery)
    return recovery


def next_generation(client: "redis.Redis") -> int:
    """Take a generation: from now on all older flows are refused."""
    return int(client.incr(names.GENERATION))


class _Beat:
    """Tells the supervisor that the flow moves, not only that its process lives."""

    def __init__(self, client: "redis.Redis", inlet: RedisInlet, process: int) -> None:
        self._client, self._inlet, self._process = client, inlet, process

    def start(self) -> None:
        threading.Thread(target=self._run, name="beat", daemon=True).start()

    def _run(self) -> None:
        while True:
            if time.monotonic() - self._inlet.polled < _STUCK_SECONDS:
                try:
                    self._client.hset(names.FLOW_BEAT, str(self._process), str(wall_us() // 1000))
                except redis.RedisError:
                    log.warning("beat: Redis is away")
            time.sleep(_BEAT_SECONDS)


def _bench(
    client: "redis.Redis",
    settings: Settings,
    data: Path,
    known: Vocabulary,
    recorder: Recorder,
    place: Place,
) -> Bench:
    """What judges from the start: the set that was agreed on; at the first start, the files'."""
    changes = Changes(data, client, known, recorder.configured, wall_us)
    if place.process == 0:
        try:
            written = assemble.read_files(settings, data)
        except (BadSettings, BadConfig) as wrong:
            if changes.head() is None:
                raise
            refused(client, "files", f"The rule files can't be read: {wrong}")
        else:
            changes.adopt(written)
            differs = changes.differs(written)
            if differs:
                told = f"{'; '.join(differs)}: ringback rules propose lets them count"
                refused(client, written.sha256, told)
        held = settle_agreed(data)
        if held:
            told = f"features.yaml counts {', '.join(held)} otherwise, and live rules look at that"
            refused(client, f"features/{'/'.join(held)}", f"{told}: ringback features propose")
    while changes.head() is None:
        time.sleep(0.02)
    return Bench(replace(changes.current(), lists=read_lists(client)))


def _demoting(
    client: "redis.Redis", data: Path, known: Vocabulary, recorder: Recorder
) -> Callable[[str, str], None]:
    """Put a rule that tripped its brake into shadow for everybody, off the events' way."""
    changes = Changes(data, client, known, recorder.configured, wall_us)

    def demote(rule: str, why: str) -> None:
        for _ in range(10):
            try:
                changes.demote(rule, why)
            except BadChange as came_first:
                log.warning("brake: %s: %s", rule, came_first)
                time.sleep(0.05)
            except (redis.RedisError, BadSettings):
                log.exception("brake: %s is in shadow here alone", rule)
                return
            else:
                return

    return lambda rule, why: threading.Thread(target=demote, args=(rule, why), daemon=True).start()


def _watch(bench: Bench, client: "redis.Redis", data: Path, known: Vocabulary) -> None:
    """Follow changes of the judgement; a rule that needs what is not counted restarts the flow."""
    counted = assemble.counted(bench(), data).counted

    def load(sha256: str) -> RuleSet:
        rules = stored(data, sha256, known)
        lacking = assemble.counted(rules, data).counted - counted
        lacking |= set(moved(rules, fresh(orjson.loads(rules.document), known)))
        if lacking:
            log.warning("flow: %s must be counted now; starting again", ", ".join(sorted(lacking)))
            signal.raise_signal(signal.SIGTERM)
        return rules

    Watching(bench, client, load).start()


def run_flow(
    settings: Settings,
    secrets: Secrets,
    data: Path,
    redis_url: str,
    generation: int,
    place: Place,
) -> None:
    """Run one process of the flow until SIGTERM; returns when it has drained."""
    client = wait(redis_url)
    recovery = data / "cut"
    if place.process == 0:
        lay_cut(data)
    while not recovery.exists():
        time.sleep(0.02)
    recorder = Recorder(settings.tenant)
    ttl = settings.idempotency_days * 86_400
    effects = RedisEffects(wait(redis_url), generation, ttl, wall_us)
    scoreds = SqliteScoreds(data / "scored", str(place.process), wall_us, settings.scored_days)
    known = assemble.known_names(settings, data)
    bench = _bench(client, settings, data, known, recorder, place)
    rules = bench()

    lessons = Lessons(data / "scored", str(place.process), wall_us, settings.scored_days)

    def journal(learnt: list[Learnt]) -> None:
        lessons.keep(learnt)
        effects.note([Note("", recorder.learnt(one), None) for one in learnt])

    def told(happened: list[Promoted | Drifted]) -> None:
        effects.note([recorder.of_model(one) for one in happened])

    board = wait(redis_url)

    def publish(standing: dict[str, Any]) -> None:
        board.set(names.MODEL_BOARD, orjson.dumps({**standing, "at_ms": wall_us() // 1000}))

    inlet = RedisInlet(
        client,
        settings.engine.partitions,
        settings.engine.judge_shards,
        rules.rates,
        assemble.of_itself,
        scoreds,
        wall_us,
        settings.engine.batch,
    )
    seeking = assemble.seeking_of(settings)
    within_us = int(settings.seeking.answer_within_hours * 3_600_000_000)
    store = RedisStore(wait(redis_url), generation)
    parts = assemble.Parts(
        inlet=inlet,
        outlet=Watch(nobody),
        store=store,
        effects=effects,
        scoreds=scoreds,
        snapshots=Snapshots(data / "models"),
        journal=journal,
        now_us=_at_the_clock,
        tick_ns=time.perf_counter_ns,
        nonce_key=secrets.nonce_key,
        catalogue=settled(client, rules, data),
        registry=assemble.registry_of(data),
        told=told,
        publish=publish,
        on_brake=_demoting(wait(redis_url), data, known, recorder),
        seek=None if seeking is None else SeekStage(seeking, scoreds.since),
        seeks=None if seeking is None else Seeks(seeking.rest_us, within_us),
    )
    stages = assemble.stages(settings, bench, parts)
    inlet.ahead = Prefetch(stages, store)
    flow = fraud(stages)
    signal.signal(signal.SIGTERM, lambda *_: inlet.stop())
    _Beat(wait(redis_url), inlet, place.process).start()
    _watch(bench, wait(redis_url), data, known)
    log.info("flow %s of generation %s walks", place.process, generation)
    epoch = timedelta(seconds=settings.engine.epoch_seconds)
    cut = RecoveryConfig(recovery)  # type: ignore[no-untyped-call]  # Bytewax ships its stubs without types
    look_seldom()
    if place.addresses:
        cluster_main(
            flow, list(place.addresses), place.process, epoch_interval=epoch, recovery_config=cut
        )  # type: ignore[no-untyped-call]  # the same
    else:  # as bytewax.run does: in this thread, and no second one that only looks at it
        run_main(flow, epoch_interval=epoch, recovery_config=cut)  # type: ignore[no-untyped-call]  # the same


def _at_the_clock(moment: Moment | None) -> int:
    return wall_us()
