"""What of a lost Redis comes back from the ledger? What the ledger knows, and nothing guessed.

Decisions and outcomes younger than the idempotency span; the questions that are still open, with
the flow's memory of them; customers' channels, keys and duress words
(`flows/recover_bindings.py`); what was signed (`flows/recover_signatures.py`); and the lists.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import redis

from audit import read
from audit.errors import KeyMissing
from audit.redis_inlet import parse_id
from flows.assemble import read_rule_set
from flows.case_replay import configured
from flows.clock import wall_us
from flows.due import Due
from flows.parts import House
from flows.records import FLOW
from flows.recover_bindings import bindings_back
from flows.recover_signatures import signatures_back
from flows.walk import shard_of
from risk import names
from risk.challenge import Asked, Conversation
from risk.events import instant, parse_us, rfc3339
from risk.money import minor_units
from risk.privacy import NONCE_BYTES, seal

_DAY_US = 86_400_000_000
_CHUNK = 500


def put_back(client: "redis.Redis", house: House, found: str, taken: str) -> dict[str, int]:
    """Put back what can be, and tell how much.

    ``found`` is where ``rb:audit`` ends in Redis, ``taken`` how far the ledger has read it. Safe to
    be run again when it was cut short: the stream's end moves last.
    """
    counted = {
        "decisions": _put_back(client, house, _decisions(house.data)),
        "outcomes": _put_back(client, house, _outcomes(house.data)),
        "bindings": bindings_back(client, house),
        "signatures": signatures_back(client, house),
        "challenges": _ask_again(client, house),
        "lists": lists_back(client, configured(house.data)),
    }
    _forget_cut(client, house.data)
    client.xadd(names.AUDIT, {"records": b"[]"}, id=taken)
    record = _record(house, found, taken, counted)
    client.xadd(names.AUDIT, {"records": orjson.dumps([record])})
    return counted


def _record(house: House, found: str, taken: str, counted: dict[str, int]) -> dict[str, Any]:
    now = wall_us()
    return {
        "v": 1,
        "kind": "redis.recovered",
        "rid": f"redis.recovered/{taken}/{now}",
        "tenant": house.settings.tenant,
        "case": None,
        "event": None,
        "subject": None,
        "actor": FLOW,
        "at": rfc3339(now),
        "body": {"ledger": taken, "redis": found, **counted},
        "payload": [],
        "grade": 1,
    }


def _decisions(data: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for leaf in read.decisions(data):
        body, at = leaf["body"], leaf["at"]
        if "model" in body:
            told = {**body, "stages_us": {}}
        elif "decision" in body:
            told = {
                "event": leaf["event"],
                "decision": body["decision"],
                "score": None,
                "reasons": [{"code": body["code"], "text": body["code"]}],
                "model": None,
                "policy_sha256": body["policy_sha256"],
                "degraded": {"policy": body["policy"], "skipped": body["skipped"]},
                "stages_us": {},
                "decided": at,
            }
        else:
            continue  # too large for a leaf: it lies sealed beside the log
        yield names.decision(leaf["event"]), parse_us(at), told


def _outcomes(data: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    latest: dict[str, tuple[str, Any]] = {}  # a deny after a confirm has turned the first
    for _, event, at, raw in read.steps(data, ["outcome"]):
        leaf = orjson.loads(raw)
        if "state" in leaf["body"]:
            latest[event] = (at, leaf)
    for event, (at, leaf) in latest.items():
        body = leaf["body"]
        by = body["by"]
        told = {
            "state": body["state"],
            "decision": body["decision"],
            "at": at,
            "by": {"type": by, "id": leaf["subject"] if by == "customer" else by},
            "reason": body.get("reason"),
            "challenge": body["challenge"],
        }
        if "was" in body:
            told["was"] = body["was"]
        yield names.outcome(event), parse_us(at), told


def _put_back(
    client: "redis.Redis", house: House, rows: Iterator[tuple[str, int, dict[str, Any]]]
) -> int:
    """Set what is not there, for as long as it would have stayed; how many were set."""
    kept_us, now_us, put = house.settings.idempotency_days * _DAY_US, wall_us(), 0
    pipe, held = client.pipeline(transaction=False), 0
    for key, at_us, told in rows:
        left = (at_us + kept_us - now_us) // 1_000_000
        if left > 0:
            pipe.set(key, orjson.dumps(told), ex=left, nx=True)
            held += 1
        if held >= _CHUNK:
            put, held = put + sum(map(bool, pipe.execute())), 0
    return put + sum(map(bool, pipe.execute()))


def _ask_again(client: "redis.Redis", house: House) -> int:
    """Open again what was asked and not ended, in Redis and in the flow's own memory."""
    ended = {event for _, event, _, _ in read.steps(house.data, ["outcome"])}
    rates = read_rule_set(house.settings, house.data).rates
    shards, kept_s = house.settings.engine.judge_shards, house.settings.idempotency_days * 86_400
    talks: dict[str, Conversation] = {}
    dues: dict[int, Due] = {}
    asks: list[tuple[dict[str, Any], int]] = []
    for leaf in _questions(house.data, ended):
        event = leaf["event"]
        ask = {"v": 1, "op": "ask", **leaf["body"], "payee": _payee(house, leaf)}
        ask.pop("sealed", None)
        asked_us, expires_us = parse_us(ask["created"]), parse_us(ask["expires"])
        minor = minor_units(ask["amount"], ask["currency"])
        base = rates.to_base(minor, ask["currency"], instant(asked_us).date())
        question = Asked(ask["id"], event, asked_us, expires_us, base or 0)
        talks.setdefault(ask["customer"], Conversation()).ask(question)
        due = dues.setdefault(shard_of(ask["customer"], shards), Due())
        due.rows[ask["id"]] = (expires_us, ask["customer"])
        asks.append((ask, expires_us))
    pipe = client.pipeline(transaction=True)
    for customer, talk in talks.items():
        pipe.hset(f"rb:state:judge:{shard_of(customer, shards)}", customer, talk.dump())
    for shard, due in dues.items():
        pipe.hset(f"rb:state:judge:{shard}", "~due", due.dump())
    for ask, expires_us in asks:
        text = orjson.dumps(ask)
        pipe.set(names.challenge(ask["id"]), text, ex=kept_s)
        pipe.zadd(names.OPEN, {ask["id"]: expires_us // 1000})
        pipe.xadd(names.CHALLENGES, {"challenge": text})
    pipe.execute()
    return len(asks)


def _questions(data: Path, ended: set[str]) -> Iterator[dict[str, Any]]:
    """The records of what was asked and has no outcome."""
    for event in [row[1] for row in read.steps(data, ["challenge.created"])]:
        if event in ended:
            continue
        for leaf in read.event_records(data, event):
            if leaf["kind"] == "challenge.created" and "customer" in leaf["body"]:
                yield leaf


def _payee(house: House, leaf: dict[str, Any]) -> str | None:
    if "payee" not in leaf["body"].get("sealed", {}):
        return None
    try:
        value = read.disclose(house.data, leaf, "payee").value
    except KeyMissing:
        return None  # the payee has been forgotten on purpose
    return seal(house.secrets.edge_key, value.encode(), b"payee", os.urandom(NONCE_BYTES))


def lists_back(client: "redis.Redis", changes: Iterable[Mapping[str, Any]]) -> int:
    """Put back the changes of lists that the ledger holds, under the versions that they made."""
    last: Any = client.xrevrange(names.LISTS, count=1)
    known = parse_id(last[0][0].decode()) if last else (0, 0)
    lost = [body for body in changes if "list" in body]
    lost = [body for body in lost if parse_id(body["version"]) > known]
    for body in sorted(lost, key=lambda body: parse_id(body["version"])):
        change = {key: body[key] for key in body if key not in ("version", "signature")}
        client.xadd(names.LISTS, {"change": orjson.dumps(change)}, id=body["version"])
    return len(lost)


def _forget_cut(client: "redis.Redis", data: Path) -> None:
    """Put the flow's cut aside: it counts versions that Redis no longer has."""
    cut = data / "cut"
    if cut.exists():
        number = 1 + len(list(data.glob("cut.lost-*")))
        cut.rename(data / f"cut.lost-{number}")
    for pattern in ("rb:ver:*", "rb:undo:*"):
        for key in client.scan_iter(match=pattern, count=1_000):
            client.unlink(key)
