"""How do the parts of the gateway come together? `serve` is what the composition root calls."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from redis.exceptions import RedisError

from gateway import (
    accept,
    answers,
    challenges,
    customers,
    deadline,
    devices,
    enrolment,
    fetched,
    labels,
    webhook,
)
from gateway.bindings import Bindings
from gateway.board import Board
from gateway.callers import Callers
from gateway.devices import Credentials
from gateway.edge import Edge
from gateway.events import Events, Intake
from gateway.evidence import Evidence
from gateway.guard import SCRIPT as DURESS_SCRIPT
from gateway.guard import Guard
from gateway.health import Health
from gateway.heard import Heard
from gateway.inbox import Inbox
from gateway.lists import SCRIPT as LISTS_SCRIPT
from gateway.lists import ListCalls
from gateway.live import Live
from gateway.metrics import Metrics
from gateway.own_word import OwnWord
from gateway.pages import Pages
from gateway.passkeys import Passkeys
from gateway.pending import Pending
from gateway.ports import GatewayPorts, GatewaySettings
from gateway.problems import as_problems
from gateway.proofs import Proofs
from gateway.push import Push
from gateway.reading import Readings
from gateway.replies import Replies
from gateway.turns import StoreAway, Turns, connect
from gateway.unbinding import SCRIPT as UNBIND_SCRIPT
from gateway.unbinding import OwnUnbinding, Removal, Unbinding
from risk import names

log = logging.getLogger("ringback.gateway")
DEFAULT_PARTITIONS = 4
_FOLLOWED = (names.DECISIONS, names.CHALLENGES)


async def serve(
    settings: GatewaySettings,
    ports: GatewayPorts,
    stop: asyncio.Event,
    ready: Callable[[str, int], None],
) -> None:
    """Serve until ``stop`` is set; ``ready`` is called with host and port once it answers.

    Waits for Redis before it listens. When told to stop it takes no new connection, lets those
    under way end (their deadline bounds that), and returns.
    """
    writer = connect(settings.redis_url)
    reader, fetcher = (connect(settings.redis_url, retries=0) for _ in range(2))
    gateway = os.urandom(6).hex()
    scripts = {
        "accept": accept.SCRIPT,
        "spend": deadline.SCRIPT,
        "label": labels.SCRIPT,
        "lists": LISTS_SCRIPT,
        "customer": customers.SCRIPT,
        "answer": answers.SCRIPT,
        "bind": enrolment.SCRIPT,
        "unbind_key": UNBIND_SCRIPT,
        "duress": DURESS_SCRIPT,
        "spend_key": devices.SCRIPT,
        "fetched": fetched.SCRIPT,
        "take": webhook.TAKE,
        "lead": webhook.LEAD,
        "decide": ports.decide_script,
    }
    turns = Turns(writer, scripts)
    replies = Replies(reader, gateway)
    end = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    try:
        partitions = await _when_there(turns, replies, stop)
        if partitions is None:
            return
        parts = _parts(settings, ports, turns, replies, partitions, gateway)
        app = _application(settings, ports, parts, stop)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
            await site.start()
            await parts.board.start()
            replies.listeners.append(parts.board.hear)
            tasks += [_start(replies.run(end)), _start(parts.board.run(end))]
            if settings.inbox:
                inbox = Inbox(fetcher, turns, parts.intake, parts.metrics, gateway)
                tasks.append(_start(inbox.run(end)))
            if settings.webhook is not None:
                told = webhook.Outcomes(turns, settings.webhook, gateway, ports.clock)
                tasks.append(_start(told.run(end)))
            host, port = runner.addresses[0][:2]
            ready(host, port)
            await stop.wait()
        finally:
            await runner.cleanup()
    finally:
        end.set()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        for task in tasks:
            task.cancel()
        await turns.close()
        await reader.aclose()
        await fetcher.aclose()


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work)


async def _when_there(turns: Turns, replies: Replies, stop: asyncio.Event) -> int | None:
    """Wait for Redis; give the number of partitions, or None where told to stop first."""
    while not stop.is_set():
        try:
            await turns.load()
            await turns.ask("HSETNX", names.META, "partitions", DEFAULT_PARTITIONS)
            partitions = int(await turns.ask("HGET", names.META, "partitions"))
            positions = {}
            for stream in _FOLLOWED:
                last = await turns.ask("XREVRANGE", stream, "+", "-", "COUNT", 1)
                positions[stream] = last[0][0].decode() if last else "0"
            replies.start_at(positions)
        except (StoreAway, RedisError, OSError) as away:
            log.warning("waiting for Redis: %s", away)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.2)
        else:
            return partitions
    return None


@dataclass(frozen=True, slots=True)
class Parts:
    """What several calls share."""

    turns: Turns
    replies: Replies
    edge: Edge
    callers: Callers
    metrics: Metrics
    intake: Intake
    labels: labels.Labels
    pages: Pages
    board: Board
    evidence: Evidence
    readings: Readings


def _parts(
    settings: GatewaySettings,
    ports: GatewayPorts,
    turns: Turns,
    replies: Replies,
    partitions: int,
    gateway: str,
) -> Parts:
    callers = Callers(settings.bearers)
    evidence = Evidence(ports.ledger)
    metrics = Metrics()
    edge = Edge(
        token_root=settings.token_root,
        edge_key=settings.edge_key,
        transport_key=settings.transport_key,
        tenant=settings.tenant,
        partitions=partitions,
        locate=ports.locate,
    )
    taking = labels.Labels(turns, edge, callers, ports, settings.label_memory)
    intake = Intake(
        edge=edge,
        acceptance=accept.Acceptance(
            turns,
            idempotency_us=int(settings.idempotency.total_seconds() * 1_000_000),
            evidence=evidence,
        ),
        labels=taking,
        replies=replies,
        deadline=deadline.Deadline(
            turns,
            policy=ports.fail_policy,
            counts=ports.counts or (lambda: (settings.fail_limits, settings.policy_sha256)),
            rates=settings.rates,
            tenant=settings.tenant,
            kept=settings.idempotency,
        ),
        ports=ports,
        metrics=metrics,
        gateway=gateway,
    )
    return Parts(
        turns=turns,
        replies=replies,
        edge=edge,
        callers=callers,
        metrics=metrics,
        intake=intake,
        labels=taking,
        pages=Pages(settings.public_url),
        board=Board(turns, metrics, evidence, ports.clock),
        evidence=evidence,
        readings=Readings(turns, settings.tenant, ports.clock),
    )


def _application(
    settings: GatewaySettings, ports: GatewayPorts, parts: Parts, stop: asyncio.Event
) -> web.Application:
    calls = Events(
        intake=parts.intake,
        turns=parts.turns,
        replies=parts.replies,
        callers=parts.callers,
        evidence=parts.evidence,
        readings=parts.readings,
        wait=settings.wait,
        longest_wait=settings.longest_wait,
        batch_bytes=settings.batch_bytes,
        batch_lines=settings.batch_lines,
        words=ports.words,
    )
    credentials = Credentials(parts.turns)
    passkeys = Passkeys(parts.turns, credentials, settings.edge_key, settings.institution)
    asked = challenges.Challenges(
        settings=settings,
        turns=parts.turns,
        replies=parts.replies,
        answers=answers.Answers(parts.turns, parts.edge, parts.metrics),
        credentials=credentials,
        passkeys=passkeys,
        pages=parts.pages,
        ports=ports,
    )
    reached = customers.Customers(
        parts.turns, parts.edge, parts.callers, ports, settings.push_allow
    )

    async def take_in(raw: dict[str, Any]) -> None:
        event = parts.intake.read(raw, "bank", os.urandom(16).hex(), replying=False)
        if event is not None:
            await parts.intake.acceptance.accept(event)

    pending = Pending(parts.turns, parts.edge, settings.edge_key, take_in, ports)
    enrolling = enrolment.Enrolment(
        parts.turns, parts.pages, pending, reached, credentials, passkeys
    )
    own = OwnWord(
        turns=parts.turns,
        pages=parts.pages,
        pending=pending,
        credentials=credentials,
        passkeys=passkeys,
        wait_us=int(settings.binding_wait.total_seconds() * 1_000_000),
        institution=settings.institution,
    )
    binding = Bindings(
        callers=parts.callers,
        pages=parts.pages,
        pending=pending,
        enrolment=enrolling,
        customers=reached,
        credentials=credentials,
        own=own,
    )
    removal = Removal(parts.turns, parts.edge, pending, reached, credentials)
    unbinding = Unbinding(parts.callers, pending, removal, parts.readings)
    own_unbinding = OwnUnbinding(parts.pages, pending, removal, own)
    guard = Guard(parts.turns, parts.edge, parts.callers, pending)
    bound = (binding, enrolling, unbinding, own_unbinding, guard)
    app = web.Application(middlewares=[as_problems], client_max_size=settings.batch_bytes)
    live = Live(
        settings=settings,
        board=parts.board,
        turns=parts.turns,
        replies=parts.replies,
        callers=parts.callers,
        pages=parts.pages,
        evidence=parts.evidence,
        readings=parts.readings,
        ports=ports,
        stopping=stop,
    )
    heard = Heard(settings, parts.turns, ports)
    push = Push(settings, parts.pages)
    health = Health(parts.turns, parts.replies, parts.board, parts.metrics)
    proofs = Proofs(parts.callers, parts.edge, parts.turns, parts.evidence, parts.readings)
    told = (heard, push, live, health, parts.pages)
    listed = ListCalls(parts.turns, parts.edge, parts.callers, ports)
    for part in (calls, proofs, parts.labels, listed, reached, *bound, asked, *told):
        app.add_routes(part.routes())
    return app
