"""Would the same be decided again? A decision rebuilt from the record alone, beside the recorded.

From the ledger come the event, its features, what was known of the customer, the set (its bytes lie
there in parts) and the lists, as far as they had been changed by then. The score is given anew by
the model as it was then (flows/model_then.py). ``anomaly`` alone is taken as it is on record: that
opinion learns from every event. Nothing is taken from Redis or from the rule files.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from audit import read
from flows.assemble import known_names, registry_of
from flows.judgement import of_document, rates_of
from flows.model_then import ModelsThen, NotRebuilt, recorded_values
from flows.records import factors_told
from flows.score import Snapshots, score_of
from flows.scored import ScoredFiles
from flows.walk import Values
from risk.brakes import Tripped
from risk.challenge import Asked, Conversation
from risk.events import Moment, moment, parse_us
from risk.lists import Lists
from risk.policy import Bar, Judged, RuleSet, braked, judge, opinions_of
from risk.rest import Word
from risk.rule_check import Vocabulary

if TYPE_CHECKING:
    from features.model import Model  # River takes a second to import

_HOUR_US = 3_600_000_000
COMPARED = ("decision", "reasons", "tags", "points")
RECORDED = ("features", "customer", "anomaly")


class Rebuilt(NamedTuple):
    """A judgement made again, and the recorded decision; ``spoken`` is the model's word again.

    ``spoken`` is None where the score was taken as it is on record.
    """

    judged: Judged
    decision: Mapping[str, Any]
    score: Mapping[str, Any]
    spoken: Mapping[str, Any] | None


class Kept:
    """Sets and lists of a ledger, read once."""

    def __init__(self, changes: Iterable[Mapping[str, Any]], known: Vocabulary) -> None:
        """Take the bodies of all records of configuration, in their order."""
        self._known = known
        self._parts: dict[str, dict[int, str]] = {}
        self._lists: list[tuple[str, Mapping[str, Any]]] = []
        self._sets: dict[str, RuleSet] = {}
        for body in changes:
            if "text" in body:
                self._parts.setdefault(body["set"], {})[body["part"]] = body["text"]
            elif "list" in body:
                self._lists.append((body["version"], body))

    def rules(self, sha256: str) -> RuleSet:
        """The set of a hash, from its parts; its hash is worked out anew."""
        if sha256 not in self._sets:
            parts = self._parts.get(sha256)
            if parts is None:
                raise NotRebuilt(f"set {sha256}: needed its parts in the ledger, got none")
            raw = "".join(parts[number] for number in sorted(parts)).encode()
            got = hashlib.sha256(raw).hexdigest()
            if got != sha256:
                raise NotRebuilt(f"set {sha256}: needed all its bytes, got those of {got}")
            self._sets[sha256] = of_document(raw, self._known)
        return self._sets[sha256]

    def lists(self, version: str) -> Lists:
        """The lists as of a version."""
        if not version:
            return Lists()
        mine = [row for row in self._lists if _order(row[0]) <= _order(version)]
        if not mine or mine[-1][0] != version:
            raise NotRebuilt(f"lists {version}: needed every change up to it, the last is missing")
        return Lists().changed(mine)


def _order(version: str) -> tuple[int, int]:
    time, _, place = version.partition("-")
    return int(time), int(place)


def rebuilt(records: Sequence[Mapping[str, Any]], kept: Kept, models: ModelsThen | None) -> Rebuilt:
    """The judgement of an event from its records; without ``models`` by the score on record."""
    found = {str(one["kind"]): one for one in records if "/late" not in str(one["rid"])}
    for kind in ("event.in", "features", "score", "decision"):
        if kind not in found:
            raise NotRebuilt(f"needed the record {kind} of the event, got none")
    recorded = found["decision"]["body"]
    if recorded.get("degraded"):
        raise NotRebuilt("the fail policy decided, since time had run out: there was no judgement")
    score = found["score"]["body"]
    given = score.get("given")
    if given is None:
        raise NotRebuilt("needed what was known of the customer: decided by an earlier program")
    rules = kept.rules(recorded["policy_sha256"])
    rules = replace(rules, lists=kept.lists(recorded["rule_set"]["lists"]))
    rules = rules.without(frozenset(given.get("demoted", ())))
    event = _moment(found["event.in"], rules, late=given["late"])
    features = recorded_values(found["features"]["body"]["values"])
    spoken = None
    if models is not None and "taught" in score:
        spoken = _spoken(models.at(score["model"], score["taught"]), features, score)
    said = {**score, **(spoken or {})}
    bar = given["bar"]
    now_us = parse_us(given["now"])
    judged = judge(
        event,
        features,
        opinions_of(said["score"], recorded["anomaly"], _factors(said), rules.docket),
        rules,
        conversation_then(given, now_us),
        now_us,
        said.get("lessons", given["lessons"]),
        None if bar is None else Bar(float(said["probability"]), float(bar[1])),
    )
    tripped = [Tripped(*row) for row in given.get("tripped", ())]
    judged = braked(judged, tripped) if tripped else judged
    return Rebuilt(judged, recorded, {**score, "lessons": given["lessons"]}, spoken)


def _spoken(model: "Model", features: Values, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What the model says of these features, as a record has it."""
    from features.explain import reasons

    probability, factors = model.tell_one(features)
    told: dict[str, Any] = {
        "score": score_of(probability),
        "probability": repr(probability),
        "lessons": model.lessons,
    }
    if "factors" in recorded:
        told["factors"] = factors_told(reasons(factors, features))
    return told


def _factors(score: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The factors of a recorded score; a float is its string on record."""
    return [{**one, "weight": float(one["weight"])} for one in score.get("factors") or ()]


def _moment(record: Mapping[str, Any], rules: RuleSet, *, late: bool) -> Moment:
    event = {key: value for key, value in record["body"].items() if key != "sealed"}
    if "geo" in event:  # a float is its string on record
        geo = dict(event["geo"])
        event["geo"] = {
            key: float(value) if key in ("lat", "lon") else value for key, value in geo.items()
        }
    envelope = {"event": event, "accepted": record["at"]}
    made = moment(
        envelope,
        partition=0,
        position=0,
        watermark_us=0,
        lateness_us=0,
        rates=rates_of(orjson.loads(rules.document)),
    )
    return made._replace(late=late)


def conversation_then(given: Mapping[str, Any], now_us: int) -> Conversation:
    """A customer of whom the same is known as then."""
    made = Conversation(asked_us=[now_us - _HOUR_US] * given["asked_24h"])
    for number in range(given["open"]):
        one = Asked(f"ch_{number}", f"e_{number}", now_us - 1, now_us + _HOUR_US, 0)
        made.open[one.id] = one
    if given["blocked"]:
        made.blocked_us = now_us
    if "word" in given:
        ago_us, amount_base, confirmed, *passed = given["word"]  # the sum came later
        made.word = Word(now_us - ago_us, amount_base, bool(confirmed), *passed)
        made.confirmed = [(now_us, given.get("unsigned_24h", 0))]
    return made


def differences(again: Rebuilt) -> list[str]:
    """What is otherwise than recorded, in words; empty where all is the same."""
    judged, recorded = again.judged, again.decision
    shown = recorded.get("would", recorded)
    now: dict[str, Any] = {
        "decision": judged.outcome,
        "reasons": judged.reasons,
        "tags": list(judged.tags) or None,
        "points": judged.points or None,
    }
    pairs = [(name, _told(recorded, shown, name), now[name]) for name in COMPARED]
    pairs += [(name, again.score[name], said) for name, said in (again.spoken or {}).items()]
    return [
        f"{name}: recorded {was!r}, now {said!r}"
        for name, was, said in pairs
        if was != orjson.loads(orjson.dumps(said))
    ]


def _told(recorded: Mapping[str, Any], shown: Mapping[str, Any], name: str) -> Any:
    return (shown if name in ("decision", "reasons") else recorded).get(name)


def configured(data: Path) -> list[dict[str, Any]]:
    """The bodies of all records of configuration, the oldest first."""
    rows = [(orjson.loads(raw), at) for _, _, at, raw in read.steps(data, ("config.change",))]
    return [leaf["body"] for leaf, _ in sorted(rows, key=lambda row: (row[1], row[0]["rid"]))]


def replay_case(args: Sequence[str], data: Path) -> int:
    """`ringback case replay EVENT`: decide again from the record; status 1 where it differs."""
    from flows.parts import edge_of, open_house
    from flows.reading import put_first

    parser = argparse.ArgumentParser(prog="ringback case replay", description=replay_case.__doc__)
    parser.add_argument("event", help="The event's id, or its case.")
    parser.add_argument("--data", type=Path, default=data, help="The data directory.")
    parser.add_argument("--purpose", default="", help="Why it is read; goes on record.")
    parser.add_argument("--json", action="store_true", help="One JSON object.")
    parser.add_argument(
        "--recorded-score", action="store_true", help="Take the score as it is on record."
    )
    chosen = parser.parse_args(args)
    house = open_house(chosen.data)
    event = edge_of(house).id_of(chosen.event.removeprefix("case-"))
    put_first(house, "access.read", {"what": "case", "which": event, "purpose": chosen.purpose})
    kept = Kept(configured(house.data), known_names(house.settings, house.data))
    records = read.event_records(house.data, event)
    with models_then(house.data) as models:
        again = rebuilt(records, kept, None if chosen.recorded_score else models)
    differ = differences(again)
    parts = _parts(again)
    if chosen.json:
        told = {"event": event, "decision": again.judged.outcome, "differences": differ, **parts}
        told["set"] = again.decision["policy_sha256"]
        sys.stdout.write(json.dumps(told) + "\n")
        return 1 if differ else 0
    codes = ", ".join(reason["code"] for reason in again.judged.reasons) or "no reason"
    decided = again.decision["decided"]
    sys.stdout.write(f"{again.judged.outcome} ({codes}), as of {decided}\n")
    for name, said in parts.items():
        sys.stdout.write(f"  {name}: {'; '.join(said)}\n")
    for one in differ or ["The same again, from the record alone."]:
        sys.stdout.write(f"  {one}\n")
    return 1 if differ else 0


@contextmanager
def models_then(data: Path) -> Iterator[ModelsThen]:
    """The models of a data directory as they were."""
    scored = ScoredFiles(data / "scored")

    def features(event: str) -> Values | None:
        row = scored.get(event)
        return None if row is None else row.features

    try:
        with read.by_rid(data) as look:
            yield ModelsThen(look, Snapshots(data / "models"), registry_of(data).load, features)
    finally:
        scored.close()


def _parts(again: Rebuilt) -> dict[str, list[str]]:
    """What was made again, and what was taken as it is on record."""
    mark, rules = again.score["model"], again.decision["rule_set"]
    score = f"score (by {mark['id']} {mark['version']})"
    made = [
        f"rules and policy (set {again.decision['policy_sha256'][:12]})",
        f"lists (as of {rules['lists'] or 'the beginning'})",
    ]
    if again.spoken is None:
        return {"rebuilt": made, "recorded": [*RECORDED, score]}
    return {"rebuilt": [score, *made], "recorded": list(RECORDED)}
