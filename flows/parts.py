"""How is each part built from the settings? One function a part; settings are read once, here."""

import asyncio
import json
import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.settings import HERE, BadConfig, Settings, read_settings, read_yaml
from flows.cycles import look_seldom
from flows.redis_server import PrivateRedis
from flows.redis_state import script
from flows.secrets import Secrets, named_key, read_secrets
from flows.templates_command import hosts_of
from gateway.edge import Edge
from risk.failing import FailDecision, FailLimits, Spent, fail_policy
from risk.push import public_text, vapid_key

if TYPE_CHECKING:
    from flows.locate import Locator

if TYPE_CHECKING:
    from gateway.ports import Counts, Webhook
    from notifiers.plan import Plans
    from risk.policy import RuleSet


@dataclass(frozen=True)
class House:
    """One data directory with its settings and secrets."""

    data: Path
    settings: Settings
    secrets: Secrets

    @property
    def redis_url(self) -> str:
        """The configured Redis, or the private one of this data directory."""
        if self.settings.redis_url:
            return self.settings.redis_url
        return PrivateRedis(self.data, self.secrets.redis_password).url

    @property
    def run(self) -> dict[str, Any]:
        """What ``run.json`` tells of the running parts; empty before the first start."""
        path = self.data / "run.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def open_house(data: Path, over: Mapping[str, Any] | None = None) -> House:
    """Read settings and secrets of a data directory, making what is missing."""
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    settings = read_settings(HERE / "ringback.yaml", data / "ringback.yaml", over=over)
    return House(data, settings, read_secrets(data))


def edge_of(house: House) -> Edge:
    """The edge of this data directory: the same tokens and seals as its gateway's."""
    return Edge(
        token_root=house.secrets.token_root,
        edge_key=house.secrets.edge_key,
        transport_key=house.secrets.transport_key,
        tenant=house.settings.tenant,
        partitions=house.settings.engine.partitions,
    )


def flow(house: House, generation: int, process: int, addresses: Sequence[str]) -> None:
    """Run one process of the flow."""
    from flows.live import Place, run_flow

    run_flow(
        house.settings,
        house.secrets,
        house.data,
        house.redis_url,
        generation,
        Place(process, tuple(addresses)),
    )


def beside(house: House) -> None:
    """Run the models that are off the path, until SIGTERM."""
    from flows.assemble import registry_of
    from flows.beside import Beside, follow
    from flows.clock import wall_us
    from flows.redis_server import wait
    from flows.scored import SqliteScoreds

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    settings, registry = house.settings, registry_of(house.data)
    follow(
        Beside(
            wait(house.redis_url),
            house.data,
            registry.challengers(settings.models.challengers, off_path=True),
            registry.load,
            SqliteScoreds(house.data / "scored", "beside", wall_us, settings.scored_days),
            wall_us,
            settings.scored_days,
        ),
        stop.is_set,
    )


def ledger(
    house: House,
    ready: Callable[[], None],
    *,
    recover: bool = False,
    witnesses: Sequence[str] = (),
) -> None:
    """Run the one writer of the ledger; `recover` first puts back what a Redis has lost."""
    from audit.writer import run_writer
    from flows.behind import settle
    from flows.redis_server import wait

    settle(house, wait(house.redis_url), recover=recover)
    look_seldom()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    run_writer(
        redis_url=house.redis_url,
        data_dir=house.data,
        origin_bank=house.settings.bank,
        tenant=house.settings.tenant,
        transport_key=house.secrets.transport_key,
        stop=stop,
        witnesses=[*house.settings.witnesses, *witnesses],
        tsa=house.settings.tsa_url,
        ml_dsa=house.settings.ml_dsa,
        on_ready=ready,
    )


def _until_signal(run: Callable[[asyncio.Event], Any]) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(stop)

    import uvloop

    uvloop.run(main())


class LedgerReading:
    """The gateway's view of the evidence, by the auditor's own reading functions."""

    def __init__(self, data: Path, bank: str = "") -> None:
        self._data, self._bank = data, bank

    def head(self) -> Mapping[str, Any] | None:
        from audit import read
        from audit.errors import AuditError

        try:
            head = read.head(self._data)
        except AuditError:
            return None
        origin = str(head["origin"])
        return {**head, "verified": self._verified(origin), "witnesses": self._witnesses(origin)}

    def _witnesses(self, origin: str) -> list[dict[str, Any]]:
        """Who has cosigned the published head; `own` are the bank's, and bind nobody."""
        from audit import read
        from audit.errors import AuditError
        from audit.note import parse_checkpoint
        from audit.tiles import checkpoint_file

        try:
            data = checkpoint_file(read.log_directory(self._data, origin)).read_bytes()
            found = parse_checkpoint(data).witness_names()
        except (AuditError, OSError):
            return []
        own = (self._bank, f"{self._bank}/")
        return [{"name": one, "own": one == own[0] or one.startswith(own[1])} for one in found]

    def _verified(self, origin: str) -> Any:
        """What the latest review found of a log (`flows/review.py`); None before the first."""
        from audit import read

        file = read.log_directory(self._data, origin) / "verified.json"
        try:
            return json.loads(file.read_bytes())
        except (OSError, ValueError):
            return None

    def event_records(self, event: str) -> Sequence[Mapping[str, Any]]:
        from audit import read

        return read.event_records(self._data, event)

    def proof(self, origin: str, index: int) -> str | None:
        from audit import read

        proof, _ = read.inclusion_proof(self._data, origin, index)
        return proof.as_text().decode()

    def leaf_and_proof(self, origin: str, index: int) -> tuple[bytes, str] | None:
        from audit import read

        proof, leaf = read.inclusion_proof(self._data, origin, index)
        return leaf, proof.as_text().decode()

    def receipt(self, event: str) -> Mapping[str, Any] | None:
        from audit import read

        found = read.decision_position(self._data, event)
        return None if found is None else {"origin": found[0], "index": found[1]}


def locator_of(house: House) -> "Locator | None":
    """Where addresses are looked up; None without a configured database."""
    from flows.locate import Locator

    path = house.settings.geoip
    return None if path is None else Locator(house.data / path)


def gateway(house: House, host: str, port: int, *, demo: bool) -> None:
    """Run one gateway; ``<data>/run.json`` learns its address through the supervisor."""
    from features.explain import in_words
    from flows.assemble import read_rule_set
    from flows.clock import wall_us
    from gateway.app import serve
    from gateway.ports import GatewayPorts, GatewaySettings

    settings, secrets = house.settings, house.secrets
    told = check_channels(house)
    push = told.get("push", {})
    rules = read_rule_set(settings, house.data)
    gateway_settings = GatewaySettings(
        redis_url=house.redis_url,
        data=house.data,
        token_root=secrets.token_root,
        edge_key=secrets.edge_key,
        transport_key=secrets.transport_key,
        web_key=secrets.web_key,
        bearers=secrets.bearers,
        fail_limits=rules.policy.fail,
        rates=rules.rates,
        host=host,
        port=port,
        tenant=settings.tenant,
        institution=settings.institution.name["en"],
        public_url=settings.public_url,
        wait=timedelta(seconds=settings.wait_seconds),
        idempotency=timedelta(days=settings.idempotency_days),
        binding_wait=timedelta(microseconds=rules.policy.binding_wait_us),
        policy_sha256=rules.sha256,
        page=demo,
        demo=demo,
        webhook=_webhook(house),
        push_key=public_text(vapid_key(named_key(house.data, "vapid"))) if push else "",
        push_allow=frozenset(push.get("allow", ())),
        replies_key=named_key(house.data, "sms-in") if {"sms", "voice"} & set(told) else b"",
    )
    ports = GatewayPorts(
        decide_script=script("decide"),
        fail_policy=fail_policy if settings.mode == "act" else _observed,
        clock=wall_us,
        counts=_counts(house, rules),
        ledger=LedgerReading(house.data, settings.bank),
        locate=locator_of(house),
        words=in_words,
    )
    address_file = house.data / "gateway.address"

    def ready(at_host: str, at_port: int) -> None:
        fresh = address_file.with_suffix(".new")
        fresh.write_text(f"{at_host}:{at_port}", encoding="ascii")
        fresh.replace(address_file)
        look_seldom()
        logging.getLogger("ringback.gateway").info("listens on %s:%s", at_host, at_port)

    _until_signal(lambda stop: serve(gateway_settings, ports, stop, ready))


def _counts(house: House, rules: "RuleSet") -> "Counts":
    """The fail policy's limits by the set that counts now, followed as the flow does."""
    from flows.assemble import known_names
    from flows.judgement import Bench, Watching, stored
    from flows.redis_server import wait

    known, bench = known_names(house.settings, house.data), Bench(rules)
    client = wait(house.redis_url)
    Watching(bench, client, lambda sha256: stored(house.data, sha256, known), 0.5).start()
    return lambda: (bench().policy.fail, bench().sha256)


def _webhook(house: House) -> "Webhook | None":
    from gateway.ports import Webhook

    told = house.settings.webhook
    if told.url is None:
        return None
    return Webhook(told.url, house.secrets.webhook_key, frozenset(told.allow))


def _observed(amount_base: int | None, spent: Spent, limits: FailLimits, /) -> FailDecision:
    """Observing answers approve whatever happens; what acting would have said goes with it."""
    would = fail_policy(amount_base, spent, limits)
    return FailDecision("approve", f"observe, {would.policy}", would.code)


def check_channels(house: House) -> Mapping[str, Mapping[str, Any]]:
    """Give the settings of the channels, or raise BadConfig where one can't be used."""
    from notifiers import catalogue
    from notifiers.errors import BadSettings

    try:
        catalogue.check(house.settings.channels)
    except BadSettings as wrong:
        raise BadConfig(f"settings: {wrong}") from wrong
    plans_of(house)
    return house.settings.channels


def plans_of(house: House) -> "Plans":
    """Read the ladders: those of the data directory, else the shipped ones."""
    from notifiers.catalogue import KINDS
    from notifiers.errors import BadLadder
    from notifiers.plan import read_plans

    own = house.data / "ladder.yaml"
    path = own if own.exists() else HERE / "ladder.yaml"
    try:
        return read_plans(read_yaml(path), KINDS)
    except BadLadder as wrong:
        raise BadConfig(f"{path.name}: {wrong}") from wrong


def notify(house: House, page: str) -> None:
    """Run one notifier; several share a data directory and stand by for each other."""
    from notifiers.notify import NotifierSettings, run_notifier
    from notifiers.xmpp import XmppAddress

    settings, secrets = house.settings, house.secrets
    xmpp = house.run.get("xmpp") or {}
    address = None
    if xmpp or not settings.xmpp.embedded:
        address = XmppAddress(
            host=settings.xmpp.host,
            port=int(xmpp.get("component_port") or settings.xmpp.port),
            secret=settings.xmpp.secret or secrets.component_secret,
            component=settings.xmpp.component,
            server=settings.xmpp.domain,
            name=settings.institution.name["en"],
        )
    told = NotifierSettings(
        redis=house.redis_url,
        data=house.data,
        tenant=settings.tenant,
        token_root=secrets.token_root,
        seal_key=secrets.edge_key,
        answer_key=secrets.code_key,
        transport_key=secrets.transport_key,
        web_key=secrets.web_key,
        institution=settings.institution.name["en"],
        institutions=settings.institution.name,
        callback=settings.institution.callback,
        hosts=hosts_of(settings),
        templates=HERE / "templates",
        page=page,
        links=settings.xmpp.links,
        xmpp=address,
        room=f"officers@rooms.{settings.xmpp.domain}" if address is not None else "",
        officers=settings.xmpp.officers,
        channels=check_channels(house),
        secret=lambda name: named_key(house.data, name),
        plans=plans_of(house),
    )
    look_seldom()
    _until_signal(lambda stop: run_notifier(told, stop))
