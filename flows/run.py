"""`ringback run`: everything at once, ready when one line of JSON is printed.

Starts the private Redis (unless one is configured), the ledger's writer, the flow, the gateway,
the demo's chat server and the notifier; watches them; ends them on SIGTERM or Ctrl-C.
"""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from flows import behind, parts
from flows.clock import wall_us
from flows.holding import held
from flows.live import settle_layout
from flows.parts import House
from flows.redis_server import PrivateRedis, free_port, wait
from flows.supervise import Supervisor, command, spawn, until
from risk import names
from risk.events import instant

_READY_SECONDS = 180.0  # a busy machine starts slowly; what died is told of in the log


class Running:
    """Everything of one data directory, running."""

    def __init__(self, house: House, *, http: str, demo: bool, recover: bool = False) -> None:
        self.house, self.demo, self.recover = house, demo, recover
        self.http = http
        self.say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)  # noqa: T201  the command's own voice
        self._client: redis.Redis | None = None
        engine = house.settings.engine
        self.supervisor = Supervisor(
            house.data,
            engine.processes,
            engine.silence_seconds,
            self.connect,
            spares=engine.processes if engine.spares else 0,
        )

    def connect(self) -> "redis.Redis":
        """A connection of the supervisor's own."""
        if self._client is None:
            self._client = redis.Redis.from_url(self.house.redis_url, socket_timeout=2.0)
        return self._client

    def _spawn(self, part: str, *more: str) -> Callable[[], Any]:
        line = command(part, "--data", str(self.house.data), *more)
        return lambda: spawn(line, self.house.data / "log" / f"{part}.log")

    def start(self) -> None:
        """Start all parts and return when they are ready."""
        house, supervisor = self.house, self.supervisor
        parts.check_channels(house)
        (house.data / "run.json").unlink(missing_ok=True)
        (house.data / "gateway.address").unlink(missing_ok=True)
        if not house.settings.redis_url:
            private = PrivateRedis(house.data, house.secrets.redis_password)
            supervisor.add("redis", private.start)
        client = wait(house.redis_url)
        settle_layout(client, house.settings)
        put_back = behind.settle(house, client, recover=self.recover)
        if put_back is not None:
            self.say(f"Redis was behind its ledger; put back: {put_back}. {behind.NOT_KNOWN}")
        client.delete(names.FLOW_BEAT)
        witness = ["--witness", self._start_witness()] if self.demo else []
        supervisor.add("ledger", self._spawn("ledger", *witness))
        reviews = ["--data", str(house.data), "--every", str(house.settings.review_minutes)]
        review_line = command("audit", "review", *reviews)
        supervisor.add("review", lambda: spawn(review_line, house.data / "log" / "review.log"))
        self._start_beside()
        self._start_chat()
        supervisor.add_flow()
        gateway = ["--http", self.http, *(["--demo"] if self.demo else [])]
        supervisor.add("gateway", self._spawn("gateway", *gateway))
        address = house.data / "gateway.address"
        until("gateway", address.exists, supervisor.watch, _READY_SECONDS)
        self.http = address.read_text(encoding="ascii")
        # A gateway that is started again must be found where its callers know it.
        self.supervisor.parts[-1].start = self._spawn(
            "gateway", "--http", self.http, *(["--demo"] if self.demo else [])
        )
        host, _, port = self.http.rpartition(":")
        page = f"http://{'localhost' if host == '127.0.0.1' else host}:{port}"
        supervisor.write_run(
            http=f"http://{self.http}",
            page=page,
            data=str(house.data),
            redis=house.redis_url.rpartition("@")[2],
        )
        supervisor.add("notify", self._spawn("notify", "--page", page))
        until("flow", lambda: bool(client.hlen(names.FLOW_BEAT)), supervisor.watch, _READY_SECONDS)
        supervisor.write_run()

    def _start_witness(self) -> str:
        """The demo's witness; its URL. Run by the bank itself it shows how, and binds nobody."""
        from audit.keys import log_signer, read_or_make_secret
        from audit.leaf import DEFAULT_CLASS

        house, folder = self.house, self.house.data / "witness"
        port_file = folder / "port"
        if not port_file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            port_file.write_text(str(free_port()), encoding="ascii")
        address = f"127.0.0.1:{port_file.read_text(encoding='ascii')}"
        secret = read_or_make_secret(house.data / "secrets" / "ledger.key")
        bank, year = house.settings.bank, instant(wall_us()).year
        known: list[str] = []
        for one in (year, year + 1):
            origin = f"{bank}/ringback/{house.settings.tenant}/{DEFAULT_CLASS}/{one}"
            known += ["--log", log_signer(secret, origin).verifier.vkey]
        line = [sys.executable, "-m", "audit", "witness", "--data", str(folder)]
        line += ["--name", f"{bank}/witness", "--listen", address, *known]
        log_file = house.data / "log" / "witness.log"
        self.supervisor.add("witness", lambda: spawn(line, log_file))
        return f"http://{address}"

    def _start_beside(self) -> None:
        """The models that are too slow for the path, where some are configured."""
        wanted = self.house.settings.models.challengers
        if not wanted:
            return
        from flows.assemble import registry_of

        if registry_of(self.house.data).challengers(wanted, off_path=True):
            line = command("models", "beside", "--data", str(self.house.data))
            log_file = self.house.data / "log" / "beside.log"
            self.supervisor.add("beside", lambda: spawn(line, log_file))

    def _start_chat(self) -> None:
        settings = self.house.settings.xmpp
        if not settings.embedded:
            return
        from notifiers import prosody

        if not prosody.available():
            self.say("Prosody is not installed: challenges are asked on the browser page alone.")
            return
        ports_file = self.house.data / "prosody" / "ports.json"
        if not ports_file.exists():
            ports_file.parent.mkdir(parents=True, exist_ok=True)
            ports = {name: free_port() for name in ("client", "component", "web")}
            ports_file.write_text(json.dumps(ports), encoding="ascii")
        ports = json.loads(ports_file.read_text(encoding="ascii"))
        self.chat = prosody.Prosody(
            prosody.ProsodySettings(
                directory=self.house.data / "prosody",
                domain=settings.domain,
                secret=self.house.secrets.component_secret,
                client_port=ports["client"],
                component_port=ports["component"],
                web_port=ports["web"],
                bot_name=self.house.settings.institution.name["en"],
            )
        )
        line = self.chat.command()
        log_file = self.house.data / "log" / "prosody.log"
        self.supervisor.add("prosody", lambda: spawn(line, log_file))
        self.supervisor.write_run(
            xmpp={
                "domain": settings.domain,
                "client_port": ports["client"],
                "component_port": ports["component"],
                "websocket": f"ws://127.0.0.1:{ports['web']}/xmpp-websocket",
            }
        )

    def ready_line(self) -> str:
        """The one line that says where everything is."""
        return json.dumps(self.house.run)

    def watch(self, stop: Callable[[], bool], beside: Callable[[], None] | None = None) -> None:
        """Look after the parts until told to stop."""
        while not stop():
            self.supervisor.watch()
            if beside is not None:
                beside()
            time.sleep(0.02)


def run(
    house: House,
    *,
    http: str,
    demo: bool,
    told: Callable[[Running], None],
    recover: bool = False,
) -> None:
    """Run until SIGTERM or Ctrl-C; ``told`` is called once, when everything is ready.

    One at a time: `HouseTaken` where the directory is run already.
    """
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: stopped.append(got))
    with held(house.data):
        running = Running(house, http=http, demo=demo, recover=recover)
        try:
            running.start()
            told(running)
            running.watch(lambda: bool(stopped))
        finally:
            running.supervisor.end()
            Path(house.data / "run.json").unlink(missing_ok=True)
