"""Which model's word counts, who wanted it and who agreed? Proposal, approval, rollback.

::

    challenger --propose (one person)--> proposal --approve (another)--> rb:models --> the flow
                                                                                       |
    former champion, learning on <------------------------------------------- champion +

Proposal and approval are signed, and on record before anything changes; the flow takes an approved
order where it walks by in the stream, and says on record what it did (`model.promoted`,
`model.retired`, `model.refused`). A rollback is a proposal of the champion before: two persons too.
"""

import os
from datetime import UTC, datetime
from typing import Any

import orjson
import redis

from config.cards import Card, same_person
from features.prequential import Figures, figures, means
from flows.assemble import registry_of
from flows.clock import wall_us
from flows.errors import FlowError
from flows.lessons import kept_lessons
from flows.parts import House
from flows.registry import Registry
from flows.staff import Person
from risk import names
from risk.events import rfc3339

PROPOSAL_US = 7 * 86_400_000_000
#: The champion's bytes are written at every cut, so they are bounded in size and in time.
LARGEST_CHAMPION = 1_000_000
SLOWEST_DUMP_US = 50_000
FEWEST_LESSONS = 100


class NotPromoted(FlowError):
    """A model that may not be proposed or approved: what was needed, what was got."""


def standing(client: "redis.Redis") -> dict[str, Any]:
    """What the flow said last of its models: role, version, lessons, bytes, dump time; drift."""
    raw: Any = client.get(names.MODEL_BOARD)
    found: dict[str, Any] = {"models": {}, "drift": {}} if raw is None else orjson.loads(raw)
    beside: Any = client.get(names.MODELS_BESIDE)
    if beside is not None:
        found["models"] = {**orjson.loads(beside)["models"], **found["models"]}
    return found


def measured(house: House) -> list[Figures]:
    """How each model ranked what it had not learnt yet."""
    return figures(kept_lessons(house.data / "scored"))


def proposals(client: "redis.Redis") -> list[dict[str, Any]]:
    """All proposals, the newest first."""
    rows: Any = client.hvals(names.MODEL_PROPOSALS)
    return sorted(map(orjson.loads, rows), key=lambda row: str(row["proposed"]), reverse=True)


def propose(
    house: House, client: "redis.Redis", person: Person, model: str, why: str, *, back: bool = False
) -> dict[str, Any]:
    """Put a challenger forward; its card and what it was seen to do go on record with it."""
    person.need("propose")
    if not why.strip():
        raise NotPromoted(f"models: {model}: needed a reason that goes on record, got none")
    registry, board = registry_of(house.data), standing(client)
    card, row = _ready(registry, board, model)
    now_us = wall_us()
    proposal = {
        "id": f"mp-{os.urandom(5).hex()}",
        "model": model,
        "version": row["version"],
        "back": back,
        "why": why.strip(),
        "proposed_by": person.name,
        "proposed": rfc3339(now_us),
        "state": "open",
    }
    body = {
        **proposal,
        "card": {**card.model_dump(mode="json")},
        "snapshot": row["sha256"],
        "lessons": row["lessons"],
        "bytes": row["bytes"],
        "figures": {
            name: {figure: _told(value) for figure, value in found.items()}
            for name, found in means(measured(house)).items()
        },
    }
    signed = orjson.dumps(proposal, option=orjson.OPT_SORT_KEYS).decode()
    body["signature"], proposal["signed"] = person.sign(signed), signed
    record = _record(house, person, "model.registered", str(proposal["id"]), now_us, body)
    with client.pipeline(transaction=True) as both:
        both.hset(names.MODEL_PROPOSALS, str(proposal["id"]), orjson.dumps(proposal))
        both.xadd(names.AUDIT, {"records": orjson.dumps([record])})
        both.execute()
    return proposal


def rollback(house: House, client: "redis.Redis", person: Person, why: str) -> dict[str, Any]:
    """Propose the champion before; it has learnt on, so nothing is lost."""
    former = [name for name, row in standing(client)["models"].items() if row["role"] == "former"]
    if not former:
        raise NotPromoted(
            "models: rollback: needed a champion before this one, got none: nothing was promoted "
            "yet, or its snapshot was lost"
        )
    return propose(house, client, person, former[0], why, back=True)


def approve(house: House, client: "redis.Redis", person: Person, ident: str) -> dict[str, Any]:
    """Agree to another's proposal: from here on the stream says so, once."""
    person.need("approve")
    with client.pipeline(transaction=True) as both:
        both.watch(names.MODEL_PROPOSALS)  # type: ignore[no-untyped-call]  # redis-py's
        raw: Any = client.hget(names.MODEL_PROPOSALS, ident)
        if raw is None:
            raise NotPromoted(f"models: needed a proposal's id (`models list`), got {ident!r}")
        proposal: dict[str, Any] = orjson.loads(raw)
        now_us = wall_us()
        _may_approve(proposal, person, now_us)
        _ready(registry_of(house.data), standing(client), proposal["model"])
        proposal |= {"state": "approved", "approved_by": person.name, "approved": rfc3339(now_us)}
        body = {
            "of": "model.promotion",
            "proposal": ident,
            "model": proposal["model"],
            "proposed_by": proposal["proposed_by"],
            "approved_by": person.name,
            "signature": person.sign(proposal["signed"]),
        }
        record = _record(house, person, "model.approved", ident, now_us, body)
        order = {
            "v": 1,
            "proposal": ident,
            **{name: proposal[name] for name in ("model", "back", "proposed_by", "approved_by")},
            "approved": proposal["approved"],
        }
        both.multi()
        both.hset(names.MODEL_PROPOSALS, ident, orjson.dumps(proposal))
        both.xadd(names.AUDIT, {"records": orjson.dumps([record])})
        both.xadd(names.MODELS, {"order": orjson.dumps(order)})
        try:
            both.execute()
        except redis.WatchError as raced:
            raise NotPromoted(
                f"models: {ident}: somebody changed a proposal at the same moment; look again"
            ) from raced
    return proposal


def _may_approve(proposal: dict[str, Any], person: Person, now_us: int) -> None:
    ident = proposal["id"]
    if proposal["state"] != "open":
        raise NotPromoted(f"models: {ident}: needed an open proposal, got {proposal['state']}")
    if same_person(proposal["proposed_by"], person.name):
        raise NotPromoted(
            f"models: {ident}: needed another person than {person.name}, who proposed it: a model "
            "is promoted by two"
        )
    age_us = now_us - int(datetime.fromisoformat(proposal["proposed"]).timestamp() * 1e6)
    if age_us > PROPOSAL_US:
        raise NotPromoted(f"models: {ident}: needed a proposal of the last 7 days: propose anew")


def _ready(registry: Registry, board: dict[str, Any], model: str) -> tuple[Card, dict[str, Any]]:
    """A model's card and standing, or `NotPromoted` where it can't be champion."""
    card = registry.card(model)
    if registry.expired(model, datetime.now(UTC).date()):
        raise NotPromoted(f"models: {model}: needed a valid card, got one until {card.expires}")
    if registry.recipes[model].off_path:
        raise NotPromoted(f"models: {model}: is too large for the path and stays off it")
    row = board["models"].get(model)
    if row is None:
        raise NotPromoted(
            f"models: {model}: needed a challenger that learns beside the champion, got none: put "
            "it under models.challengers in ringback.yaml, and let it learn"
        )
    if row["role"] == "champion":
        raise NotPromoted(f"models: {model}: is the champion already")
    if row["lessons"] < FEWEST_LESSONS:
        raise NotPromoted(
            f"models: {model}: needed {FEWEST_LESSONS} lessons or more, got {row['lessons']}"
        )
    if row["bytes"] > LARGEST_CHAMPION or row["dump_us"] > SLOWEST_DUMP_US:
        raise NotPromoted(
            f"models: {model}: needed at most {LARGEST_CHAMPION} bytes and {SLOWEST_DUMP_US} us a "
            f"dump on the path, got {row['bytes']} and {row['dump_us']}"
        )
    return card, row


def _told(value: float) -> int | str:
    return value if isinstance(value, int) else f"{value:.4f}"


def _record(
    house: House, person: Person, kind: str, ident: str, now_us: int, body: dict[str, Any]
) -> dict[str, Any]:
    return {
        "v": 1,
        "kind": kind,
        "rid": f"models/{ident}/{kind}",
        "tenant": house.settings.tenant,
        "case": None,
        "event": None,
        "subject": None,
        "actor": {"type": "person", "id": person.name, "role": "model"},
        "at": rfc3339(now_us),
        "body": body,
        "payload": [],
        "grade": 1,
    }
