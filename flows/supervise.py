"""Who keeps the parts running? One supervisor: starts them, watches them, starts them again.

::

    redis (private) <- flow (one cluster) , gateway , ledger , notifier , prosody (demo)

A part that dies is started again at once, then with a growing pause. The flow's processes are one
cluster: when one dies or is silent, all start again, as a new generation.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis

from flows.errors import NotReady
from flows.live import next_generation
from flows.redis_server import free_port
from flows.spare import Call, called, spawn_spare
from risk import names

log = logging.getLogger("ringback.supervisor")
_PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0)
_CALM_SECONDS = 10.0
_DRAIN_SECONDS = 8.0
_SPARE_AFTER_SECONDS = 2.0
_BEATS_EVERY_SECONDS = 0.2  # silence is counted in seconds; a look costs Redis a command
_BUSY_TIMES = 5  # so much longer may a flow be silent that works, or would if it had a core
_BUSY_SHARE = 0.1
_FIRST_BEAT_SECONDS = 45.0  # a busy machine is not helped by starting what is starting again


@dataclass
class Part:
    """One supervised process: how to start it, and what became of it."""

    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    fails: int = 0
    due: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None


def command(part: str, *args: str) -> list[str]:
    """The command line of a part of Ringback, with this interpreter."""
    return [sys.executable, "-m", "flows.cli", part, *args]


def spawn(args: Sequence[str], log_file: Path) -> "subprocess.Popen[bytes]":
    """Start a process with its log appended to a file."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as out:
        return subprocess.Popen(
            list(args), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )


@dataclass
class Supervisor:
    """Keeps parts alive until told to stop."""

    data: Path
    flow_processes: int
    silence_seconds: float
    connect: Callable[[], "redis.Redis"]
    parts: list[Part] = field(default_factory=list)
    flows: list[Part] = field(default_factory=list)
    stopping: bool = False
    spares: int = 0  # processes that wait to become a flow; more restarts at once need new ones
    _waiting: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _generation: int = 0
    _watched_since: float = 0.0
    _spawned: float = 0.0
    _looked: float = 0.0  # when the beats were last looked at
    _beats: dict[int, bytes | None] = field(default_factory=dict)  # as they were seen then
    _quiet: dict[int, float] = field(default_factory=dict)  # seconds; empty before the first beat
    _worked: dict[int, float] = field(default_factory=dict)  # seconds, as of the last beat
    _unsaid: dict[str, Any] = field(default_factory=dict)
    _run_is_old: bool = False

    def add(self, name: str, start: Callable[[], "subprocess.Popen[bytes]"]) -> Part:
        """Add a part and start it."""
        part = Part(name, start)
        self.parts.append(part)
        self._start(part)
        return part

    def add_flow(self) -> None:
        """Start the flow as one cluster of a new generation."""
        client = self.connect()
        self._generation = next_generation(client)
        self._beats, self._quiet = _beats_of(client, self.flow_processes), {}
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(self.flow_processes)]
        self.flows = []
        cluster = ";".join(addresses) if len(addresses) > 1 else ""
        for number in range(self.flow_processes):
            start = partial(self._flow, Call(number, self._generation, cluster))
            part = Part(f"flow-{number}", start)
            self.flows.append(part)
            self._try_to_start(part)
        self._watched_since = self._spawned = self._looked = time.monotonic()

    def _flow(self, call: Call) -> "subprocess.Popen[bytes]":
        """A flow process: a spare that is called, or a new one."""
        while self._waiting:
            spare = self._waiting.pop(0)
            if called(spare, call):
                return spare
        args = ["--process", str(call.process), "--generation", str(call.generation)]
        if call.addresses:
            args += ["--addresses", call.addresses]
        line = command("flow", "--data", str(self.data), *args)
        return spawn(line, self.data / "log" / "flow.log")

    def _keep_spares(self, now: float) -> None:
        """Start what is missing of them, one at a time, once the flow is calm."""
        if self.stopping or now - self._watched_since < _SPARE_AFTER_SECONDS:
            return
        alive = [spare for spare in self._waiting if spare.poll() is None]
        self._waiting[:] = alive
        if len(alive) < self.spares:
            line = command("flow", "--data", str(self.data), "--spare")
            try:
                spare = spawn_spare(line, self.data / "log" / "flow.log")
            except OSError as wrong:
                self._watched_since = now  # not at once again
                log.warning("a spare flow can't be started: %s", wrong)
                return
            self._waiting.append(spare)
            self.write_run()

    def _start(self, part: Part) -> None:
        part.process = part.start()
        part.started = time.monotonic()
        self.write_run()

    def write_run(self, **more: Any) -> None:
        """Write the pids into ``<data>/run.json``; other keys stay.

        Where it can't be written, the disk being full, each `watch` tries it again.
        """
        self._unsaid.update(more)
        try:
            self._write_run()
        except OSError as wrong:
            if not self._run_is_old:
                log.warning("run.json can't be written (%s): tried again until it can", wrong)
            self._run_is_old = True
        else:
            self._run_is_old = False
            self._unsaid.clear()

    def _write_run(self) -> None:
        path = self.data / "run.json"
        known: dict[str, Any] = {}
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
        known.update(self._unsaid)
        pids = {part.name: part.process.pid for part in self._all() if part.process is not None}
        waiting = {f"spare-{number}": spare.pid for number, spare in enumerate(self._waiting)}
        known["pids"] = {"supervisor": os.getpid(), **pids, **waiting}
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(known, indent=1), encoding="utf-8")
        fresh.replace(path)

    def _all(self) -> Iterator[Part]:
        yield from self.parts
        yield from self.flows

    def watch(self) -> None:
        """Look after the parts once; call it a few times a second."""
        now = time.monotonic()
        if self._run_is_old:
            self.write_run()
        for part in self.parts:
            self._look_after(part, now)
        if self.flows and not all(part.alive for part in self.flows):
            died = [part.name for part in self.flows if not part.alive]
            self._restart_flow(f"{', '.join(died)} died", now)
        elif self.flows and self._silent(now):
            self._restart_flow(f"silent for {self.silence_seconds} s", now)
        elif self.flows:
            self._keep_spares(now)

    def _look_after(self, part: Part, now: float) -> None:
        if part.alive:
            if part.fails and now - part.started > _CALM_SECONDS:
                part.fails = 0
            return
        if not part.due:
            part.due = now + _PAUSES[min(part.fails, len(_PAUSES) - 1)]
            part.fails += 1
            if part.process is not None:
                log.warning("%s ended with status %s", part.name, part.process.returncode)
        if now >= part.due:
            part.due = 0.0
            self._try_to_start(part)

    def _try_to_start(self, part: Part) -> None:
        """Start a part again; what can't be, the disk being full, is tried again like a death."""
        try:
            self._start(part)
        except OSError as wrong:
            part.process = None
            log.warning("%s can't be started: %s", part.name, wrong)

    def _silent(self, now: float) -> bool:
        """Whether a process of the flow tells nothing any more.

        What counts is that its beat changes, not what it says: the wall clock may step. Nor does
        the time count in which nobody looked, the machine being busy or asleep. A flow that works,
        or waits for a core to work on, is given longer: a restart would make it slower still.
        """
        if now < self._looked + _BEATS_EVERY_SECONDS:
            return False
        passed = min(now - self._looked, 2 * _BEATS_EVERY_SECONDS)
        self._looked = now
        try:
            told = _beats_of(self.connect(), self.flow_processes)
        except redis.RedisError:
            self._watched_since = now
            return False
        for number, beat in told.items():
            if beat != self._beats[number]:
                self._beats[number], self._quiet[number] = beat, 0.0
                self._worked[number] = _worked(self.flows[number])
            elif number in self._quiet:
                self._quiet[number] += passed
        if now - self._watched_since < max(self.silence_seconds, 10.0):
            return False
        if len(self._quiet) < self.flow_processes:
            return now - self._spawned > _FIRST_BEAT_SECONDS
        return any(self._is_silent(number, quiet) for number, quiet in self._quiet.items())

    def _is_silent(self, number: int, quiet: float) -> bool:
        if quiet <= self.silence_seconds:
            return False
        worked = _worked(self.flows[number]) - self._worked[number]
        return worked < _BUSY_SHARE * quiet or quiet > _BUSY_TIMES * self.silence_seconds

    def _restart_flow(self, why: str, now: float) -> None:
        first = self.flows[0]
        if not first.due:
            fails = max(part.fails for part in self.flows)
            log.warning("flow: %s; starting the cluster again", why)
            for part in self.flows:
                self._kill(part)
            pause = _PAUSES[min(fails, len(_PAUSES) - 1)]
            calm = now - first.started > _CALM_SECONDS
            first.fails = 0 if calm else fails + 1
            first.due = now + (0.0 if calm else pause)
        if now >= first.due:
            fails = first.fails
            try:
                self.add_flow()
            except redis.RedisError:
                first.due = now + 0.1
                return
            self.flows[0].fails = fails

    def _kill(self, part: Part) -> None:
        if part.process is not None and part.process.poll() is None:
            part.process.kill()
            part.process.wait()

    def end(self) -> None:
        """Let each part drain, in the way of an event, then end what is left."""
        self.stopping = True
        for spare in self._waiting:
            spare.kill()
            spare.wait()
        gateways = [part for part in self.parts if part.name == "gateway"]
        last = ("redis", "witness")  # the ledger's last words are for them
        rest = [part for part in reversed(self.parts) if part.name not in ("gateway", *last)]
        servers = [part for part in self.parts if part.name in last]
        for group in (gateways, self.flows, rest, servers):
            for part in group:
                if part.alive and part.process is not None:
                    part.process.send_signal(signal.SIGTERM)
            limit = time.monotonic() + _DRAIN_SECONDS
            for part in group:
                if part.process is None:
                    continue
                try:
                    part.process.wait(max(0.05, limit - time.monotonic()))
                except subprocess.TimeoutExpired:
                    log.warning("%s did not drain in time; killed", part.name)
                    self._kill(part)


def _worked(part: Part) -> float:
    """Seconds for which a part's threads had a core or were ready for one; 0 where none tells."""
    total = 0
    if part.process is not None:
        for file in Path(f"/proc/{part.process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, ValueError):
                running, waiting, _ = map(int, file.read_text().split())
                total += running + waiting
    return total / 1e9


def _beats_of(client: "redis.Redis", processes: int) -> dict[int, bytes | None]:
    told: Any = client.hmget(names.FLOW_BEAT, [str(number) for number in range(processes)])
    return dict(enumerate(told))


def until(what: str, ready: Callable[[], bool], watch: Callable[[], None], seconds: float) -> None:
    """Wait for a part to be ready while all are looked after; `NotReady` after ``seconds``."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise NotReady(
                f"{what} was not ready within {seconds} s; see the logs under <data>/log"
            )
        watch()
        time.sleep(0.02)
