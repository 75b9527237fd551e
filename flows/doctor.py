"""`ringback doctor`: what is wrong, and what to do about it. Each finding is one line."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psutil
import redis

from config.settings import HERE, BadConfig
from flows import assemble
from flows.changes import Changes
from flows.clock import wall_us
from flows.errors import BadSettings, Unregistered
from flows.parts import House, check_channels
from flows.records import Recorder
from flows.redis_server import weaknesses
from flows.templates_command import hosts_of, in_use
from notifiers import prosody
from notifiers.templates_lint import lint
from risk import names

_FULL = 0.95
_OLD_BEAT_MS = 5_000
_LEDGER_LAG = 10_000


def examine(house: House, clock: Callable[[], int] = wall_us) -> list[str]:
    """Look at a data directory and what runs over it; gives findings, none where all is well.

    ``clock`` gives microseconds since the epoch.
    """
    found = [*_disk(house.data), *_secrets(house.data), *_texts(house), *_processes(house)]
    found += _cards(house, datetime.now(UTC).date())
    try:
        client = redis.Redis.from_url(house.redis_url, socket_connect_timeout=2.0)
        client.ping()
    except redis.RedisError as away:
        where = house.redis_url.rpartition("@")[2]
        found.append(f"Redis at {where} does not answer ({away}): start `ringback run`")
    else:
        found += [
            *weaknesses(client),
            *_judgement(house, client),
            *_flow(client, clock),
            *_ledger(client),
            *_dead(client),
        ]
    return found + _channels(house)


def _judgement(house: House, client: "redis.Redis") -> list[str]:
    """Whether the files say otherwise than what was agreed on, and what waits for somebody."""
    known = assemble.known_names(house.settings, house.data)
    changes = Changes(
        house.data, client, known, Recorder(house.settings.tenant).configured, wall_us
    )
    if changes.head() is None:
        return []
    try:
        differs = changes.differs(assemble.read_files(house.settings, house.data))
    except (BadConfig, BadSettings) as wrong:
        differs = [f"they can't be read: {wrong}"]
    found = [
        f"The rule files are not what was agreed on ({one}): ringback rules propose"
        for one in differs
    ]
    return found + [
        f"Change {one.id} of {one.by} waits for a second person: ringback rules approve {one.id}"
        for one in changes.waiting()
    ]


def channels(house: House) -> list[str]:
    """Say by which channels customers are reached, and which are not set up: a line each."""
    told = house.settings.channels
    xmpp = house.settings.xmpp
    if not xmpp.embedded:
        chat = f"the chat server at {xmpp.host}:{xmpp.port}"
    else:
        chat = "the demo's own chat server" if prosody.available() else "off: Prosody is missing"
    lines = {"web": "the customer's page", "xmpp": chat}
    for kind in ("push", "sms", "voice"):
        at = told.get(kind)
        what = None if at is None else at.get("contact") or at.get("url")
        lines[kind] = "not set up" if at is None else f"set up ({what})"
    return [f"channel {kind}: {line}" for kind, line in lines.items()]


def _channels(house: House) -> list[str]:
    try:
        check_channels(house)
    except BadConfig as wrong:
        return [f"{wrong}: the notifier will not start with it"]
    return []


def _disk(data: Path) -> list[str]:
    usage = shutil.disk_usage(data)
    if usage.used / usage.total > _FULL:
        free = usage.free // 2**20
        return [f"the disk of {data} is full but for {free} MiB: make room, or events are refused"]
    return []


def _secrets(data: Path) -> list[str]:
    loose = [
        path.name
        for path in sorted((data / "secrets").glob("*"))
        if path.is_file() and path.stat().st_mode & 0o077
    ]
    return [f"secrets/{name} is readable by others: chmod 600 it" for name in loose]


def _texts(house: House) -> list[str]:
    """What the bank says to customers, and may not."""
    hosts = hosts_of(house.settings)
    return [
        f"{finding}: mend it; until then another text is used (ringback templates lint)"
        for path in in_use(HERE / "templates", house.data)
        for finding in lint(str(path), path.read_bytes(), hosts)
    ]


def _cards(house: House, today: date) -> list[str]:
    """Models whose card is missing, is another's, or has run out."""
    path = assemble.own_file("models.yaml", house.data)
    try:
        registry = assemble.registry_of(house.data)
    except BadConfig as wrong:
        return [f"{wrong}: mend it, or no flow starts"]
    found = []
    for name in registry.recipes:
        try:
            if registry.expired(name, today):
                found.append(
                    f"{path.name}: {name}: its card has run out: validate it anew and give it one"
                )
        except Unregistered as none:
            found.append(str(none))
    return found


def _processes(house: House) -> list[str]:
    pids: dict[str, int] = house.run.get("pids", {})
    if not pids:
        return ["nothing runs here: start `ringback run`"]
    return [
        f"{name} (pid {pid}) is gone: see log/{name.partition('-')[0]}.log"
        for name, pid in pids.items()
        if not psutil.pid_exists(pid)
    ]


def _flow(client: "redis.Redis", clock: Callable[[], int]) -> list[str]:
    beats: Any = client.hgetall(names.FLOW_BEAT)
    if not beats:
        return ["no flow has ever told that it walks: see log/flow.log"]
    return [
        f"flow process {number.decode()} is silent for {age} ms: see log/flow.log"
        for number, beat in beats.items()
        if (age := clock() // 1000 - int(beat)) > _OLD_BEAT_MS
    ]


def _ledger(client: "redis.Redis") -> list[str]:
    waiting: Any = client.xlen(names.AUDIT)
    if waiting > _LEDGER_LAG:
        return [f"{waiting} bundles wait for the ledger: is its writer alive? see log/ledger.log"]
    return []


def _dead(client: "redis.Redis") -> list[str]:
    dead: Any = client.xlen(names.DEAD)
    return [f"{dead} dead letters: look at them in the stream {names.DEAD}"] if dead else []
